//! Messages that can be told apart, and the ledger of those that the broker has acknowledged.
//!
//! Senders number their messages; the number decides the queue. So a queue holds each message at most
//! once if each sender's numbers rise in it, and all queues together do.

use std::{
    cell::RefCell,
    collections::{BTreeMap, HashMap, VecDeque},
    time::Duration,
};

use bytes::{BufMut, Bytes, BytesMut};
use gantry_client::{
    Client, Message, MessageExt, MessageQueue, Producer, PullRequest, SendError, SendReceipt,
    SendStatus, TopicSpec,
};
use tokio::time::{Instant, sleep};

/// How long something that happens by itself is waited for.
pub const PATIENCE: Duration = Duration::from_secs(10);
/// Sends that one sender has under way.
const WINDOW: usize = 128;
/// Bytes of a checksum.
const CHECKSUM: usize = 4;

/// What tells one message from all others.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stamp {
    pub sender: u32,
    /// Rises with every message of the sender.
    pub number: u64,
}

impl Stamp {
    /// A body that carries the stamp, some ballast and a checksum of both.
    pub fn body(self) -> Bytes {
        let ballast = 100 + (self.number * 37 % 900) as usize;
        let mut body = BytesMut::new();
        body.put_u32(self.sender);
        body.put_u64(self.number);
        body.put_bytes(self.number as u8, ballast);
        body.put_u32(crc32fast::hash(&body));
        body.freeze()
    }

    /// The stamp of a body that is whole.
    pub fn of(body: &[u8]) -> Option<Self> {
        let (content, checksum) = body.split_last_chunk::<CHECKSUM>()?;
        let (sender, rest) = content.split_first_chunk()?;
        let (number, _) = rest.split_first_chunk()?;
        let whole = crc32fast::hash(content) == u32::from_be_bytes(*checksum);
        whole.then_some(Self {
            sender: u32::from_be_bytes(*sender),
            number: u64::from_be_bytes(*number),
        })
    }
}

/// What was acknowledged, by queue and offset.
#[derive(Clone)]
pub struct Ledger {
    queues: Vec<MessageQueue>,
    acknowledged: Vec<BTreeMap<i64, Stamp>>,
}

impl Ledger {
    /// A ledger of messages to these queues.
    pub fn new(queues: Vec<MessageQueue>) -> Self {
        let acknowledged = vec![BTreeMap::new(); queues.len()];
        Self { queues, acknowledged }
    }

    pub fn queues(&self) -> &[MessageQueue] {
        &self.queues
    }

    /// Acknowledged messages.
    pub fn count(&self) -> usize {
        (0..self.queues.len()).map(|place| self.count_at(place)).sum()
    }

    /// Acknowledged messages of the queue at `place`.
    pub fn count_at(&self, place: usize) -> usize {
        self.acknowledged[place].len()
    }

    fn place_of(&self, number: u64) -> usize {
        number as usize % self.queues.len()
    }

    pub fn queue_of(&self, number: u64) -> MessageQueue {
        self.queues[self.place_of(number)].clone()
    }

    pub fn acknowledge(&mut self, stamp: Stamp, receipt: &SendReceipt) {
        assert_eq!(receipt.status, SendStatus::Stored, "{stamp:?}");
        assert_eq!(receipt.queue, self.queue_of(stamp.number), "{stamp:?}");
        let place = self.place_of(stamp.number);
        let taken = self.acknowledged[place].insert(receipt.queue_offset, stamp);
        assert_eq!(taken, None, "an offset is given once: {receipt:?}");
    }

    /// Checks the whole content of the queue at `place`: consecutive offsets, whole bodies, every
    /// sender's messages in order and once, and every acknowledged message where it was acknowledged.
    pub fn check(&self, place: usize, messages: &[MessageExt]) {
        let queue = &self.queues[place];
        let mut last: HashMap<u32, u64> = HashMap::new();
        let mut stored = BTreeMap::new();
        for (offset, message) in (0..).zip(messages) {
            let here = (&*message.topic, message.queue_id, message.queue_offset);
            assert_eq!(here, (queue.topic.as_str(), queue.queue_id, offset));
            let stamp = Stamp::of(&message.body).unwrap_or_else(|| panic!("torn: {message:?}"));
            assert_eq!(self.place_of(stamp.number), place, "{stamp:?} is of another queue");
            let before = last.insert(stamp.sender, stamp.number);
            assert!(before < Some(stamp.number), "{stamp:?} at {here:?} comes after {before:?}");
            stored.insert(offset, stamp);
        }
        for (offset, stamp) in &self.acknowledged[place] {
            assert_eq!(stored.get(offset), Some(stamp), "acknowledged at {offset} of {queue:?}");
        }
    }
}

/// Sends numbered messages with many of them under way.
pub struct Sender {
    producer: Producer,
    sender: u32,
    /// The number of its next message.
    pub next: u64,
}

impl Sender {
    pub fn new(client: &Client, sender: u32, next: u64) -> Self {
        Self { producer: client.producer("senders"), sender, next }
    }

    /// Sends up to number `end`, and enters what is acknowledged. Stops at the first failure; what
    /// was under way then is still waited for.
    pub async fn run(&mut self, end: u64, ledger: &RefCell<Ledger>) -> Result<(), SendError> {
        let mut under_way = VecDeque::new();
        let mut outcome = Ok(());
        loop {
            if outcome.is_ok() && self.next < end && under_way.len() < WINDOW {
                let stamp = Stamp { sender: self.sender, number: self.next };
                self.next += 1;
                let queue = ledger.borrow().queue_of(stamp.number);
                let message = Message::new(queue.topic.as_str(), stamp.body());
                match self.producer.send_async_to(&queue, &message).await {
                    Ok(send) => under_way.push_back((stamp, send)),
                    Err(e) => outcome = Err(e),
                }
                continue;
            }
            let Some((stamp, send)) = under_way.pop_front() else { return outcome };
            match send.await {
                Ok(receipt) => ledger.borrow_mut().acknowledge(stamp, &receipt),
                Err(e) => outcome = outcome.and(Err(e)),
            }
        }
    }
}

/// Makes a topic and waits until clients are told of it.
pub async fn create_topic(client: &Client, broker: &str, topic: &str, queues: i32) {
    client.admin().create_topic(broker, &TopicSpec::new(topic, queues)).await.unwrap();
    eventually("the topic's route", async || {
        let route = client.routes().refresh(topic).await;
        route.is_ok_and(|route| route.publish.len() == queues as usize)
    })
    .await;
}

/// Asks until the answer is yes.
pub async fn eventually(what: &str, mut ask: impl AsyncFnMut() -> bool) {
    let deadline = Instant::now() + PATIENCE;
    while !ask().await {
        assert!(Instant::now() < deadline, "waited in vain for {what}");
        sleep(Duration::from_millis(2)).await;
    }
}

/// Everything that consumers can read in a queue.
pub async fn read_all(client: &Client, queue: &MessageQueue) -> Vec<MessageExt> {
    let consumer = client.pull_consumer("readers");
    let end = client.max_offset(queue).await.unwrap();
    let mut messages = Vec::new();
    while (messages.len() as i64) < end {
        let request = PullRequest::new(queue.clone(), messages.len() as i64);
        let pulled = consumer.pull(&request).await.unwrap();
        assert!(!pulled.messages.is_empty(), "{queue:?} ends at {end}: {pulled:?}");
        messages.extend(pulled.messages);
    }
    messages
}
