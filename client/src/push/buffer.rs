//! What a consumer holds of one queue: messages that wait, messages being worked on, and how far the
//! queue is done.
//!
//! A plain value. Progress is the lowest offset that is not done: a message that takes long holds it back,
//! whatever was done behind it, so nothing is lost with its consumer. Room is bounded by count and by
//! bytes; what is being worked on counts too.

use std::collections::BTreeMap;

use crate::message::MessageExt;

/// See the module's text.
#[derive(Debug)]
pub(super) struct Buffer {
    waiting: BTreeMap<i64, MessageExt>,
    /// By offset, the bytes of messages that a handler has.
    running: BTreeMap<i64, usize>,
    bytes: usize,
    /// The offset to pull next.
    next: i64,
    messages_max: usize,
    bytes_max: usize,
}

impl Buffer {
    /// Nothing yet of a queue that is consumed from `next` on.
    pub(super) fn new(next: i64, messages_max: usize, bytes_max: usize) -> Buffer {
        let (waiting, running) = (BTreeMap::new(), BTreeMap::new());
        Buffer { waiting, running, bytes: 0, next, messages_max, bytes_max }
    }

    /// The offset to pull next.
    pub(super) fn next(&self) -> i64 {
        self.next
    }

    /// Whether there is room for another pull.
    pub(super) fn has_room(&self) -> bool {
        self.len() < self.messages_max && self.bytes < self.bytes_max
    }

    /// Messages that are not done.
    pub(super) fn len(&self) -> usize {
        self.waiting.len() + self.running.len()
    }

    /// Bytes of their bodies.
    pub(super) fn bytes(&self) -> usize {
        self.bytes
    }

    /// Takes in what a pull brought, which ended before offset `next`.
    pub(super) fn put(&mut self, messages: Vec<MessageExt>, next: i64) {
        for message in messages {
            self.bytes += message.body.len();
            self.waiting.insert(message.queue_offset, message);
        }
        self.next = next;
    }

    /// Forgets everything and goes on at `next`: the broker has moved the group's offset.
    pub(super) fn restart(&mut self, next: i64) {
        *self = Buffer::new(next, self.messages_max, self.bytes_max);
    }

    /// Hands out the next messages, at most `count`.
    pub(super) fn take(&mut self, count: usize) -> Vec<MessageExt> {
        let mut taken = Vec::new();
        while taken.len() < count
            && let Some((offset, message)) = self.waiting.pop_first()
        {
            self.running.insert(offset, message.body.len());
            taken.push(message);
        }
        taken
    }

    /// These are done.
    pub(super) fn done(&mut self, offsets: &[i64]) {
        for offset in offsets {
            // One that is not there was handed out before a restart.
            self.bytes -= self.running.remove(offset).unwrap_or(0);
        }
    }

    /// These shall be handed out again, in their place.
    pub(super) fn give_back(&mut self, messages: Vec<MessageExt>) {
        for message in messages {
            if self.running.remove(&message.queue_offset).is_some() {
                self.waiting.insert(message.queue_offset, message);
            }
        }
    }

    /// The lowest offset that is not done.
    pub(super) fn progress(&self) -> i64 {
        let running = self.running.keys().next().copied();
        let waiting = self.waiting.keys().next().copied();
        running.into_iter().chain(waiting).min().unwrap_or(self.next)
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::*;

    fn message(queue_offset: i64) -> MessageExt {
        let host = "127.0.0.1:1".parse().expect("an address");
        MessageExt {
            topic: "t".into(),
            queue_id: 0,
            queue_offset,
            physical_offset: 0,
            sys_flag: 0,
            flag: 0,
            born_timestamp: 0,
            born_host: host,
            store_timestamp: 0,
            store_host: host,
            reconsume_times: 0,
            prepared_transaction_offset: 0,
            body: Bytes::from_static(b"12345"),
            properties: "".into(),
        }
    }

    fn buffer() -> Buffer {
        let mut buffer = Buffer::new(10, 4, 100);
        buffer.put(vec![message(10), message(11), message(13)], 20);
        buffer
    }

    fn offsets(messages: &[MessageExt]) -> Vec<i64> {
        messages.iter().map(|message| message.queue_offset).collect()
    }

    #[test]
    fn progress_waits_for_the_slowest() {
        let mut buffer = buffer();
        assert_eq!(offsets(&buffer.take(2)), [10, 11]);
        assert_eq!(offsets(&buffer.take(9)), [13]);
        buffer.done(&[13, 11]);
        assert_eq!(buffer.progress(), 10);
        buffer.done(&[10]);
        assert_eq!(buffer.progress(), 20, "what the filter left out is done as well");
        assert_eq!((buffer.len(), buffer.bytes()), (0, 0));
    }

    #[test]
    fn what_is_given_back_comes_first_again() {
        let mut buffer = buffer();
        let taken = buffer.take(1);
        buffer.give_back(taken);
        assert_eq!(offsets(&buffer.take(3)), [10, 11, 13]);
        assert_eq!(buffer.bytes(), 15);
    }

    #[test]
    fn room_is_bounded_by_count_and_by_bytes() {
        let mut full = buffer();
        assert!(full.has_room());
        full.put(vec![message(20)], 21);
        assert!(!full.has_room(), "four messages");
        full.take(4);
        assert!(!full.has_room(), "they are still held");
        full.done(&[10]);
        assert!(full.has_room());
        let mut heavy = Buffer::new(0, 100, 6);
        heavy.put(vec![message(0), message(1)], 2);
        assert!(!heavy.has_room(), "ten bytes");
    }

    #[test]
    fn after_a_restart_the_old_ones_count_for_nothing() {
        let mut buffer = buffer();
        let old = buffer.take(2);
        buffer.restart(5);
        buffer.done(&[10]);
        buffer.give_back(old);
        assert_eq!((buffer.progress(), buffer.len(), buffer.bytes()), (5, 0, 0));
    }
}
