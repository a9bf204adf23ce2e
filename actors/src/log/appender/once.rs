//! Sends to a topic with a window ([`crate::dedup`]): what is stored already within it is answered as it was.
//!
//! Each message of a send is looked up first, then those that are new are stored, all of them or none, and
//! remembered. So a batch that is sent again is not stored again, nor one that has been put together of
//! messages that were stored before; what is new in it is.
//!
//! A duplicate of something in the log is answered when the round ends that it belongs to, and with SYNC_FLUSH
//! when that is on the disk: its first copy is before it, and on the disk as well. Keys of the round under way
//! are kept as texts, since its records cannot be read yet; they are forgotten with the round.

use std::collections::HashMap;

use gantry_codec::{Record, properties as names};
use gantry_storage::{AppendError, PhysicalOffset};
use slog::warn;

use super::{Appender, Place, record};
use crate::{
    dedup::{Key, Keys, Window},
    log::batch::{NewMessage, Send, SendResult},
};

/// A message that is stored, as its sender was told.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct First {
    at: PhysicalOffset,
    queue_id: u32,
    queue_offset: u64,
    unique_key: Box<str>,
}

/// What was stored in the round under way: keys by the place of their messages.
pub(super) type Unpublished = HashMap<PhysicalOffset, (Box<str>, First)>;

/// What becomes of a message.
enum Fate {
    /// It is stored, and remembered by this if it has a key.
    New(Option<u64>),
    /// It is there.
    Stored(First),
    /// It is the same as an earlier one of this send.
    Twin(usize),
}

impl Appender {
    /// Writes those messages of one send that are new to the window: all of them or none.
    pub(super) fn store_once(
        &mut self,
        window: &Window,
        send: &mut Send,
        messages: &mut [NewMessage],
        properties: &mut String,
        now: i64,
    ) -> Result<SendResult, AppendError> {
        if !send.slot.is_alive() {
            return Ok(SendResult::QueueGone);
        }
        let mut keys = window.keys();
        keys.expire(now.saturating_sub(window.settings.window_ms));
        let fates = self.fates(window, &keys, messages, properties);
        let is_new = |fate: &Fate| matches!(fate, Fate::New(_));
        let count = fates.iter().filter(|fate| is_new(fate)).count() as u64;
        let host = self.parts.store_host;
        let new = messages.iter().zip(&fates).filter(|(_, fate)| is_new(fate));
        let bytes = new.map(|(m, _)| record(send, m, properties, host).encoded_len() as u64);
        let mut light = match self.light_places(send, messages, properties) {
            Ok(light) => light,
            Err(refused) => return Ok(refused),
        };
        let more = light.iter().map(|(_, places)| places.properties_max() as u64);
        let bytes = bytes.chain(more).sum();
        if count > 0 {
            self.tail.check_room(bytes)?;
        }
        let mut next = match self.take(send, count) {
            Ok(first) => first,
            Err(why) => return Ok(SendResult::Refused(why.into())),
        };
        let end = next + count;
        let before = self.round.bytes;
        let mut first_offset = None;
        for (at, fate) in fates.into_iter().enumerate() {
            let (before, rest) = messages.split_at_mut(at);
            let Some(message) = rest.first_mut() else { break };
            let offset = match fate {
                Fate::New(hash) => {
                    let in_light = light.iter().position(|(of, _)| *of == at as u64);
                    let in_light = in_light.map(|found| light.swap_remove(found).1);
                    let place = Place { offset: next, now, continues: next + 1 < end };
                    self.store_new(send, message, properties, place, in_light)?;
                    if let Some(hash) = hash {
                        self.remember(
                            window,
                            &mut keys,
                            hash,
                            send,
                            message,
                            properties,
                            (next, now),
                        );
                    }
                    next += 1;
                    next - 1
                }
                Fate::Stored(first) => {
                    take_over(message, &first, properties);
                    if at == 0 {
                        send.asked_queue = first.queue_id;
                    }
                    first.queue_offset
                }
                Fate::Twin(earlier) => {
                    if let Some(earlier) = before.get(earlier) {
                        message.offset = earlier.offset;
                    }
                    0
                }
            };
            first_offset.get_or_insert(offset);
        }
        send.slot.count_written(count, (self.round.bytes - before) as u64);
        self.round.messages += count as usize;
        window.suppressed(messages.len() as u64 - count);
        let first_offset = first_offset.unwrap_or_default();
        Ok(match count {
            0 => SendResult::Duplicate(first_offset),
            _ => SendResult::Stored(first_offset),
        })
    }

    fn take(&self, send: &Send, count: u64) -> Result<u64, String> {
        if count == 0 { Ok(0) } else { send.slot.take_offsets(self.round.number, count) }
    }

    fn fates(
        &self,
        window: &Window,
        keys: &Keys,
        messages: &[NewMessage],
        properties: &str,
    ) -> Vec<Fate> {
        let mut met: HashMap<&str, usize> = HashMap::new();
        let mut fate = |(at, message): (usize, &NewMessage)| {
            let own = properties.get(message.properties.clone());
            let Some(key) = own.and_then(|own| window.key_in(own)) else { return Fate::New(None) };
            let hash = Key::hash_of(key);
            if let Some(first) = keys.places(hash).find_map(|place| self.first(window, key, place))
            {
                return Fate::Stored(first);
            }
            match *met.entry(key).or_insert(at) {
                earlier if earlier < at => Fate::Twin(earlier),
                _ => Fate::New(Some(hash)),
            }
        };
        messages.iter().enumerate().map(&mut fate).collect()
    }

    /// What lies at that place, if it has the key.
    fn first(&self, window: &Window, key: &str, place: PhysicalOffset) -> Option<First> {
        if let Some((text, first)) = self.unpublished.get(&place) {
            return (**text == *key).then(|| first.clone());
        }
        let bytes = self.parts.log.record_at(place)?;
        let record = Record::decode(&bytes).ok()?;
        if !window.is_first(&record, key) {
            return None;
        }
        let real = || names::get(record.properties, names::REAL_QID)?.parse().ok();
        let waits = *record.topic != *window.topic;
        let queue_id = if waits { real() } else { None }.unwrap_or(record.queue_id as u32);
        Some(First {
            at: place,
            queue_id,
            queue_offset: record.queue_offset as u64,
            unique_key: names::get(record.properties, names::UNIQ_KEY).unwrap_or_default().into(),
        })
    }

    #[expect(clippy::too_many_arguments, reason = "what is stored, where, and who remembers it")]
    fn remember(
        &mut self,
        window: &Window,
        keys: &mut Keys,
        hash: u64,
        send: &Send,
        message: &NewMessage,
        properties: &str,
        (queue_offset, stored_ms): (u64, i64),
    ) {
        let text = |range: &std::ops::Range<usize>| properties.get(range.clone());
        let key = text(&message.properties).and_then(|own| window.key_in(own)).unwrap_or_default();
        let first = First {
            at: message.offset,
            queue_id: send.asked_queue,
            queue_offset,
            unique_key: text(&message.unique_key).unwrap_or_default().into(),
        };
        self.unpublished.insert(message.offset, (key.into(), first));
        let key = Key { stored_ms, hash, at: message.offset };
        if keys.insert(key, window.settings.keys_max) && window.is_too_small() {
            warn!(self.parts.log_to, "keys are forgotten before the end of their window";
                "topic" => &*window.topic, "keys" => keys.len(),
                "raise" => "gantry.dedup.keys.max");
        }
    }
}

/// The message is answered as the one that is there.
fn take_over(message: &mut NewMessage, first: &First, properties: &mut String) {
    message.offset = first.at;
    if properties.get(message.unique_key.clone()) != Some(&*first.unique_key) {
        let from = properties.len();
        properties.push_str(&first.unique_key);
        message.unique_key = from..properties.len();
    }
}
