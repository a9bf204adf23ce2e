//! The world of the model: a log in memory, producers, and what can happen to them.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use actix::Addr;
use bytes::Bytes;
use gantry_codec::{Record, properties as names};
use gantry_supervisor::Shell;

use super::super::{
    forms::Forms,
    half::Half,
    ledger::CheckLimits,
    op,
    orders::{End, EndOrder, Outcome},
    recovery::{Past, recover},
    settlement::{Settlement, source},
};
use crate::{
    log::batch::{SendBatch, SendResult},
    topic::{
        Queue, QueueSlot, TopicTable, TopicView,
        catalog::topic_config,
        names::{HALF_TOPIC, OP_HALF_TOPIC, SCHEDULE_TOPIC, TRANS_CHECK_MAX_TIME_TOPIC},
        view::QueueSource,
    },
};

pub const LIMITS: CheckLimits = CheckLimits {
    timeout_ms: 60,
    interval_ms: 300,
    checks_max: 4,
    age_max_ms: 1_000_000,
    lag_max: 40,
};
const HOST: ([u8; 4], u16) = ([10, 0, 0, 2], 10_911);

struct NoFiles;

impl QueueSource for NoFiles {
    fn range(&self, _: &QueueSlot) -> Result<(u64, u64), String> {
        Ok((0, 0))
    }

    fn start(&self, _: &Arc<QueueSlot>) -> Addr<Shell<Queue>> {
        panic!("there are no actors here")
    }
}

fn topics() -> TopicTable {
    let table = TopicTable::default();
    for (name, queues) in [
        (HALF_TOPIC, 1),
        (OP_HALF_TOPIC, 1),
        (TRANS_CHECK_MAX_TIME_TOPIC, 1),
        (SCHEDULE_TOPIC, 2),
        ("t", 4),
    ] {
        let name: Arc<str> = name.into();
        let slots = (0..queues).map(|id| QueueSlot::new(name.clone(), id, Arc::new(NoFiles)));
        let config = topic_config(&name, queues as i32, queues as i32, 6);
        table.insert(&name, &Arc::new(TopicView::new(config, slots.collect(), None)));
    }
    table
}

/// A log in memory, with its queues. A record's place is its number.
#[derive(Default)]
pub struct Log {
    records: Vec<Bytes>,
    queues: BTreeMap<(String, u32), Vec<usize>>,
    committed: (u64, u64),
    /// How far a start looks back for what has no note.
    pub looks_back: usize,
}

impl Log {
    fn append(&mut self, mut record: Record<'_>) -> (u64, u64) {
        let queue = (record.topic.to_owned(), record.queue_id as u32);
        let queue = self.queues.entry(queue).or_default();
        record.queue_offset = queue.len() as i64;
        record.physical_offset = self.records.len() as i64 + 1;
        queue.push(self.records.len());
        let offset = record.queue_offset as u64;
        let mut bytes = vec![0; record.encoded_len()];
        record.write_to(&mut bytes);
        self.records.push(bytes.into());
        (offset, self.records.len() as u64)
    }

    fn queue(&self, topic: &str, queue: u32) -> &[usize] {
        self.queues.get(&(topic.to_owned(), queue)).map(Vec::as_slice).unwrap_or_default()
    }

    pub fn at(&self, physical: u64) -> Bytes {
        self.records[physical as usize - 1].clone()
    }

    fn half_bytes(&self, offset: u64) -> Bytes {
        self.records[self.queue(HALF_TOPIC, 0)[offset as usize]].clone()
    }

    /// The unique keys of what is in a topic.
    pub fn keys(&self, topic: &str) -> Vec<String> {
        let mut keys: Vec<String> = Vec::new();
        for bytes in &self.records {
            let record = Record::decode(bytes).unwrap();
            if record.topic == topic {
                keys.push(names::get(record.properties, names::UNIQ_KEY).unwrap().to_owned());
            }
        }
        keys.sort_unstable();
        keys
    }
}

impl Past for Log {
    fn halves(&self) -> (u64, u64) {
        (self.committed.0, self.queue(HALF_TOPIC, 0).len() as u64)
    }

    fn ops(&self) -> (u64, u64) {
        (self.committed.1, self.queue(OP_HALF_TOPIC, 0).len() as u64)
    }

    fn half(&self, offset: u64) -> Option<Half> {
        Some(Half::of(&Record::decode(&self.half_bytes(offset)).unwrap()))
    }

    fn op(&self, offset: u64) -> Vec<u64> {
        let at = self.queue(OP_HALF_TOPIC, 0)[offset as usize];
        op::halves(&Record::decode(&self.records[at]).unwrap())
    }

    fn newest(&self, _: BTreeSet<Arc<str>>, f: &mut dyn FnMut(&Record<'_>)) {
        let newest = self
            .records
            .iter()
            .rev()
            .take(self.looks_back)
            .map(|bytes| Record::decode(bytes).unwrap());
        newest.for_each(|record| f(&record));
    }
}

/// A transaction as its producer knows it.
pub struct Sent {
    pub key: String,
    pub outcome: Outcome,
    pub half: u64,
    pub physical: u64,
    pub group: &'static str,
    pub is_decided: bool,
}

pub struct World {
    dice: fastrand::Rng,
    pub topics: TopicTable,
    pub log: Log,
    pub settlement: Settlement,
    pub now_ms: i64,
    pub sent: Vec<Sent>,
    alive: BTreeSet<&'static str>,
    /// The batch that the appender has.
    batch: Option<Box<SendBatch>>,
    pub restarts: usize,
    pub copies: usize,
}

impl World {
    pub fn new(seed: u64) -> Self {
        let log = Log { looks_back: 60, ..Log::default() };
        let settlement = recover(&log, LIMITS, 0);
        let alive = BTreeSet::from(["g", "h"]);
        let dice = fastrand::Rng::with_seed(seed);
        let (topics, sent) = (topics(), Vec::new());
        let (now_ms, batch, restarts, copies) = (1_000_000, None, 0, 0);
        Self { dice, topics, log, settlement, now_ms, sent, alive, batch, restarts, copies }
    }

    pub fn send_half(&mut self) {
        let key = format!("K{}", self.sent.len());
        let outcome = if self.dice.bool() { Outcome::Commit } else { Outcome::Rollback };
        let group = if self.dice.bool() { "g" } else { "h" };
        let queue = self.dice.u32(0..4);
        let properties = format!(
            "UNIQ_KEY\u{1}{key}\u{2}PGROUP\u{1}{group}\u{2}TRAN_MSG\u{1}true\u{2}REAL_TOPIC\u{1}t\u{2}REAL_QID\u{1}{queue}\u{2}"
        );
        let record = Record {
            queue_id: 0,
            flag: 5,
            queue_offset: 0,
            physical_offset: 0,
            sys_flag: 0,
            born_timestamp: self.now_ms,
            born_host: HOST.into(),
            store_timestamp: self.now_ms,
            store_host: HOST.into(),
            reconsume_times: 0,
            prepared_transaction_offset: 0,
            body_crc: 0,
            body: key.as_bytes(),
            topic: HALF_TOPIC,
            properties: &properties,
        };
        let (half, physical) = self.log.append(record);
        self.sent.push(Sent { key, outcome, half, physical, group, is_decided: false });
    }

    /// A producer says what it has decided, of any of its transactions, whatever it said before.
    fn say(&mut self) {
        if self.sent.is_empty() {
            return;
        }
        let from = self.sent.len().saturating_sub(30);
        let number = self.dice.usize(from..self.sent.len());
        let (half, physical) = (self.sent[number].half, self.sent[number].physical);
        self.end(number, half, physical, false);
    }

    pub fn end(&mut self, number: usize, half: u64, physical: u64, is_from_check: bool) {
        let sent = &mut self.sent[number];
        sent.is_decided = true;
        let (half, physical) = (half as i64, physical as i64);
        let (group, outcome) = (sent.group.into(), sent.outcome);
        let end = End { group, half, physical, outcome, is_from_check };
        let (answer, _) = tokio::sync::oneshot::channel();
        self.put(EndOrder { end, answer: Some(answer) });
    }

    pub fn put(&mut self, order: EndOrder) {
        let bytes = self.log.at(order.end.physical as u64);
        let half = source(&bytes).unwrap();
        order.end.check(&half.record, self.now_ms, LIMITS.timeout_ms).unwrap();
        let forms = Forms { topics: &self.topics, delay_levels: 2 };
        self.settlement.end(order, &half, &forms);
    }

    pub fn take_in(&mut self) {
        let end = self.log.queue(HALF_TOPIC, 0).len() as u64;
        let log = &self.log;
        let replaced = self.settlement.ledger.take_in(end, self.now_ms, |offset| log.half(offset));
        self.settlement.note_done(replaced);
        let forms = Forms { topics: &self.topics, delay_levels: 2 };
        for (offset, physical, checks) in self.settlement.ledger.lagging(5) {
            let bytes = self.log.at(physical);
            let half = source(&bytes).unwrap();
            self.settlement.carry(offset, &half, checks, &forms).unwrap();
            self.copies += 1;
        }
    }

    /// Time passes, and producers are asked; an answer may be lost, or come after others.
    fn ask(&mut self) {
        for due in self.settlement.ledger.take_due(self.now_ms, 10) {
            let bytes = self.log.at(due.physical);
            let half = source(&bytes).unwrap();
            if due.is_given_up {
                let slot = self.topics.get(TRANS_CHECK_MAX_TIME_TOPIC).unwrap();
                let slot = slot.queue(0).unwrap().clone();
                let forms = Forms { topics: &self.topics, delay_levels: 2 };
                self.settlement.give_up(due.offset, &half, due.checks, slot, &forms);
            } else if self.alive.contains(&*due.group) {
                self.settlement.ledger.asked(due.offset, self.now_ms);
                let key = names::get(half.record.properties, names::UNIQ_KEY).unwrap();
                let number = self.sent.iter().position(|sent| sent.key == key).unwrap();
                if self.dice.u8(0..4) > 0 {
                    self.end(number, due.offset, due.physical, true);
                }
            } else {
                self.settlement.ledger.nobody_there(due.offset);
            }
        }
    }

    pub fn hand_over(&mut self) {
        let forms = Forms { topics: &self.topics, delay_levels: 2 };
        if let Some(batch) = self.settlement.take_batch(&forms, self.now_ms, HOST.into()) {
            self.batch = Some(batch);
        }
    }

    /// The appender writes up to so many messages of its batch.
    fn write(&mut self, count: usize) -> Option<Box<SendBatch>> {
        let mut batch = self.batch.take()?;
        let SendBatch { sends, messages, properties, .. } = &mut *batch;
        for send in sends.iter_mut().take(count) {
            let message = &messages[send.messages.start];
            let (place, _) = self.log.append(Record {
                queue_id: send.slot.queue_id as i32,
                flag: message.flag,
                queue_offset: 0,
                physical_offset: 0,
                sys_flag: send.sys_flag,
                born_timestamp: send.born_timestamp,
                born_host: send.born_host,
                store_timestamp: self.now_ms,
                store_host: HOST.into(),
                reconsume_times: send.reconsume_times,
                prepared_transaction_offset: send.prepared_transaction_offset,
                body_crc: message.body_crc,
                body: &message.body,
                topic: &send.slot.topic,
                properties: &properties[message.properties.clone()],
            });
            send.result = SendResult::Stored(place);
        }
        Some(batch)
    }

    pub fn store(&mut self) {
        let Some(batch) = self.write(usize::MAX) else { return };
        let settled = self.settlement.stored(&batch, self.now_ms);
        assert_eq!(settled.refused, None);
        settled.again.into_iter().for_each(|order| self.put(order));
    }

    /// A log that takes nothing, for one batch.
    fn refuse(&mut self) {
        let Some(mut batch) = self.batch.take() else { return };
        batch.refuse(&"full".into());
        let settled = self.settlement.stored(&batch, self.now_ms);
        assert_eq!(settled.refused.as_deref(), Some("full"));
        settled.again.into_iter().for_each(|order| self.put(order));
    }

    /// The broker dies somewhere in its batch, and is started again.
    pub fn restart(&mut self) {
        let count = self.dice.usize(0..4);
        self.write(count);
        self.settlement = recover(&self.log, LIMITS, self.now_ms);
        self.restarts += 1;
    }

    pub fn commit_progress(&mut self) {
        let ledger = &mut self.settlement.ledger;
        let progress = (ledger.progress(), ledger.op_progress());
        assert!(ledger.iter().all(|(offset, _)| offset >= progress.0));
        self.log.committed = progress;
    }

    fn toggle(&mut self) {
        let group = if self.dice.bool() { "g" } else { "h" };
        if self.alive.remove(group) {
            return;
        }
        self.alive.insert(group);
        self.settlement.ledger.group_appeared(group, self.now_ms);
    }

    pub fn step(&mut self) {
        match self.dice.u8(0..100) {
            0..25 => self.send_half(),
            25..45 => self.say(),
            45..55 => self.take_in(),
            55..65 => {
                self.now_ms += self.dice.i64(0..200);
                self.ask();
            }
            65..80 => self.hand_over(),
            80..93 => self.store(),
            93..95 => self.refuse(),
            95..97 => self.commit_progress(),
            97..98 => self.toggle(),
            _ => self.restart(),
        }
    }

    /// Until nothing is open any more.
    pub fn finish(&mut self) {
        for group in ["g", "h"] {
            self.alive.insert(group);
            self.settlement.ledger.group_appeared(group, self.now_ms);
        }
        for _ in 0..10_000 {
            self.take_in();
            self.now_ms += LIMITS.interval_ms;
            self.ask();
            self.hand_over();
            self.store();
            self.commit_progress();
            if self.settlement.ledger.is_empty() && self.batch.is_none() {
                self.hand_over();
                self.store();
                self.take_in();
                if self.settlement.ledger.is_empty() {
                    return;
                }
            }
        }
        panic!("transactions stay open");
    }

    /// Whether consumers see what was decided, once.
    pub fn check(&self) -> Result<(), String> {
        let (seen, given_up) = (self.log.keys("t"), self.log.keys(TRANS_CHECK_MAX_TIME_TOPIC));
        let once: BTreeSet<&String> = seen.iter().chain(&given_up).collect();
        if once.len() < seen.len() + given_up.len() {
            return Err("some are seen twice".into());
        }
        for sent in self.sent.iter().filter(|sent| !given_up.contains(&sent.key)) {
            if seen.contains(&sent.key) != (sent.outcome == Outcome::Commit) {
                return Err(format!("{} is not as it was decided", sent.key));
            }
            assert!(sent.is_decided, "{} was never decided", sent.key);
        }
        Ok(())
    }
}
