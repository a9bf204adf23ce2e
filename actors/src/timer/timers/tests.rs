//! The timers against a plain list, with restarts of every kind, recalls and far times.

mod torn;

use std::{path::Path, sync::Arc};

use gantry_codec::{Record, body_crc};
use gantry_storage::{
    AppendError, ConsumeQueue, LogTail, MemDisk, QueueId, Store, StoreConfig, allocate_segment,
    timer::{FlushJob, TimerConfig, WheelLayout},
};
use proptest::prelude::*;
use slog::o;

use super::*;

/// When the world begins, ms; not on a whole second.
const BEGIN: i64 = 1_700_000_000_350;
/// So many slots ahead a timer rolls.
const WINDOW: RollWindow = RollWindow { slots: 20 };

#[derive(Clone, Debug)]
struct Sent {
    due_ms: i64,
    /// Whether it was taken back before it was due.
    is_recalled: bool,
    delivered: usize,
}

/// A log with the timer topic in it, which outlives all timers, and the timers of now.
struct World {
    store: Store,
    log_disk: MemDisk,
    tail: LogTail,
    queue: ConsumeQueue,
    timers: Timers,
    disk: MemDisk,
    now_ms: i64,
    /// When it was looked last whether something is due.
    looked_ms: i64,
    sent: Vec<Sent>,
}

fn config() -> TimerConfig {
    TimerConfig {
        layout: WheelLayout { precision_ms: 1000, slots: 4096 },
        ..TimerConfig::new(Path::new("/timers"), 52 * 20 + 16, 1000)
    }
}

fn open(disk: &MemDisk, log: &CommitLog, now_ms: i64) -> Timers {
    let (store, catch_up, _) =
        TimerStore::open(Arc::new(disk.clone()), config(), log.max_offset()).unwrap();
    let log_to = Logger::root(slog::Discard, o!());
    Timers::new(store, catch_up, log.clone(), WINDOW, now_ms, log_to)
}

fn text(pairs: &[(&str, &str)]) -> String {
    let mut text = String::new();
    pairs.iter().for_each(|(name, value)| names::append(&mut text, name, value));
    text
}

impl World {
    fn new() -> Self {
        let (log_disk, disk) = (MemDisk::new(), MemDisk::new());
        let config = StoreConfig::new("/log".into(), 1 << 20, 20 * 10_000);
        let store = Store::open(config, Arc::new(log_disk.clone())).unwrap();
        let tail = store.log().tail().unwrap();
        let queue = store.open_queue(WHEEL_TIMER_TOPIC, QueueId(0)).unwrap();
        let timers = open(&disk, store.log(), BEGIN);
        let (now_ms, looked_ms, sent) = (BEGIN, BEGIN, Vec::new());
        Self { store, log_disk, tail, queue, timers, disk, now_ms, looked_ms, sent }
    }

    /// Stores a message in the timer topic.
    fn put(&mut self, properties: &str) {
        let host = ([127, 0, 0, 1], 1).into();
        let mut record = Record {
            queue_id: 0,
            flag: 0,
            queue_offset: self.queue.max_offset().0 as i64,
            physical_offset: 0,
            sys_flag: 0,
            born_timestamp: 0,
            born_host: host,
            store_timestamp: self.now_ms,
            store_host: host,
            reconsume_times: 0,
            prepared_transaction_offset: 0,
            body_crc: body_crc(b""),
            body: b"",
            topic: WHEEL_TIMER_TOPIC,
            properties,
        };
        let appended = match self.tail.append(&mut record) {
            Err(AppendError::SegmentFull { .. }) => {
                let next = self.tail.next_segment_start();
                let segment = allocate_segment(&self.log_disk, self.store.log().config(), next);
                self.tail.install(segment.unwrap()).unwrap();
                self.tail.append(&mut record)
            }
            appended => appended,
        };
        let appended = appended.unwrap();
        self.tail.publish(self.now_ms).unwrap();
        let entry = IndexEntry { offset: appended.offset, size: appended.len, tags_code: 0 };
        self.queue.append(self.queue.max_offset(), &[entry]).unwrap();
    }

    fn send(&mut self, due_ms: i64) {
        let number = self.sent.len().to_string();
        let out_ms = super::super::timing::slot_of_due(due_ms, 1000).to_string();
        let (due, key) = (due_ms.to_string(), format!("K{number}"));
        let properties = [
            ("TIMER_DELIVER_MS", due.as_str()),
            ("TIMER_OUT_MS", &out_ms),
            ("REAL_TOPIC", "t"),
            ("UNIQ_KEY", &key),
        ];
        self.put(&text(&properties));
        self.sent.push(Sent { due_ms, is_recalled: false, delivered: 0 });
    }

    /// Takes a message back; `old`: as Java brokers did it before 5.4.
    fn recall(&mut self, number: usize, old: bool) {
        let Some(sent) = self.sent.get_mut(number) else { return };
        if sent.due_ms <= self.now_ms {
            return;
        }
        sent.is_recalled = true;
        let out_ms = super::super::timing::slot_of_due(sent.due_ms, 1000).to_string();
        let due = sent.due_ms.to_string();
        let key = if old { format!("t+K{number}") } else { format!("K{number}") };
        let properties = [
            ("TIMER_DELIVER_MS", due.as_str()),
            ("TIMER_OUT_MS", &out_ms),
            ("REAL_TOPIC", "t"),
            ("TIMER_DEL_UNIQKEY", &key),
            ("UNIQ_KEY", &key),
        ];
        self.put(&text(&properties));
    }

    /// Takes in and reads ahead until there is nothing more to do.
    fn settle(&mut self) {
        let view = self.queue.view();
        loop {
            let more = self.timers.take_in(&view, 7, self.now_ms, |_| {}).unwrap();
            if !(more | self.timers.read_ahead(5, self.now_ms)) {
                break;
            }
        }
    }

    /// Delivers what is due. Nothing may be early; nor late, unless nobody looked, or it was stored
    /// late.
    fn deliver(&mut self) {
        self.settle();
        while let Some(item) = self.timers.pop_due(self.now_ms) {
            let slice = self.store.log().record_at(PhysicalOffset(item.offset)).unwrap();
            assert_eq!(slice.len(), item.size as usize, "else it passes for another message");
            let record = Record::decode(&slice).unwrap();
            let properties = record.properties.to_owned();
            if item.rolls {
                let rest: Vec<(&str, &str)> = names::iter(&properties)
                    .filter(|(name, _)| *name != "TIMER_ROLL_TIMES")
                    .chain([("TIMER_ROLL_TIMES", "1")])
                    .collect();
                let rolled = text(&rest);
                self.timers.done(&item);
                self.put(&rolled);
                self.settle();
                continue;
            }
            let timing = timing_of_record(&properties, record.store_timestamp, 1000).unwrap();
            let key = names::get(&properties, "UNIQ_KEY").unwrap();
            let is_taken_back = self.timers.is_taken_back(timing, "t", key);
            self.timers.done(&item);
            if is_taken_back {
                continue;
            }
            assert_eq!(names::get(&properties, "TIMER_DEL_UNIQKEY"), None);
            let sent = &mut self.sent[key[1..].parse::<usize>().unwrap()];
            assert_eq!(item.due_ms, sent.due_ms, "to the millisecond");
            assert!(sent.due_ms <= self.now_ms, "{sent:?} is early at {}", self.now_ms);
            sent.delivered += 1;
        }
        self.timers.advance(self.now_ms);
        self.looked_ms = self.now_ms;
    }

    fn pass(&mut self, ms: i64) {
        self.now_ms += ms;
        self.deliver();
        self.check();
    }

    /// Whatever is due has been delivered, but for what was taken back.
    fn check(&self) {
        for (number, sent) in self.sent.iter().enumerate() {
            let is_due = sent.due_ms <= self.now_ms;
            let want = is_due && !sent.is_recalled;
            assert_eq!(sent.delivered > 0, want, "message {number} at {}: {sent:?}", self.now_ms);
        }
    }

    fn flush(&mut self) {
        self.store.log().flusher().sync().unwrap();
        if let Some(job) = self.timers.flush(self.now_ms).unwrap() {
            let done = job.run();
            self.timers.flushed(&done);
        }
    }

    fn stop_in_order(&mut self) {
        self.settle();
        let view = self.queue.view();
        let job = self.timers.leave(Some(&view), &[], self.now_ms).unwrap();
        job.map(FlushJob::run).transpose().unwrap();
    }

    fn reopen(&mut self, disk: MemDisk) {
        self.disk = disk;
        self.timers = open(&self.disk, self.store.log(), self.now_ms);
    }
}

#[derive(Clone, Debug)]
enum Act {
    Send(i64),
    Recall(prop::sample::Index, bool),
    Pass(i64),
    Flush,
    Stop,
    Kill,
    Crash(u64),
}

fn acts() -> impl Strategy<Value = Vec<Act>> {
    let act = prop_oneof![
        8 => (-500..9_000_i64).prop_map(Act::Send),
        // On whole seconds, and beyond the window.
        2 => (1..90_i64).prop_map(|s| Act::Send(s * 1000 - 350)),
        2 => any::<(prop::sample::Index, bool)>().prop_map(|(i, old)| Act::Recall(i, old)),
        6 => (1..3_000_i64).prop_map(Act::Pass),
        1 => (20_000..60_000_i64).prop_map(Act::Pass),
        2 => Just(Act::Flush),
        1 => Just(Act::Stop),
        1 => Just(Act::Kill),
        1 => any::<u64>().prop_map(Act::Crash),
    ];
    prop::collection::vec(act, 1..120)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, ..ProptestConfig::default() })]

    #[test]
    fn every_timer_is_delivered_on_time(acts in acts()) {
        let mut world = World::new();
        let mut crashed = false;
        for act in acts {
            match act {
                Act::Send(ms) => {
                    let due_ms = world.now_ms + ms;
                    world.send(due_ms);
                }
                Act::Recall(index, old) if !world.sent.is_empty() => {
                    let number = index.index(world.sent.len());
                    world.settle();
                    world.recall(number, old);
                    world.settle();
                }
                Act::Recall(..) => {}
                Act::Pass(ms) => world.pass(ms),
                Act::Flush => world.flush(),
                Act::Stop => {
                    world.deliver();
                    world.stop_in_order();
                    let disk = world.disk.crash();
                    world.reopen(disk);
                }
                Act::Kill => {
                    let disk = world.disk.kill();
                    world.reopen(disk);
                    crashed = true;
                }
                Act::Crash(seed) => {
                    let disk = world.disk.crash_seeded(seed);
                    world.reopen(disk);
                    crashed = true;
                }
            }
            world.deliver();
        }
        world.pass(100_000);
        let twice = world.sent.iter().filter(|sent| sent.delivered > 1).count();
        prop_assert!(crashed || twice == 0, "{twice} delivered twice without a crash");
    }
}

#[test]
fn a_timer_is_delivered_once_over_an_orderly_restart_within_its_slot() {
    let mut world = World::new();
    for ms in [100, 200, 300, 400] {
        world.send(BEGIN + ms);
    }
    world.pass(200);
    world.stop_in_order();
    let disk = world.disk.crash();
    world.reopen(disk);
    world.pass(100);
    world.pass(100);
    assert!(world.sent.iter().all(|sent| sent.delivered == 1), "{:?}", world.sent);
}

#[test]
fn a_year_is_waited_for_in_rounds() {
    let mut world = World::new();
    let year_ms = 365 * 86_400_000 / 1000;
    world.send(BEGIN + year_ms);
    world.send(BEGIN + year_ms + 1);
    world.recall(1, false);
    while world.now_ms < BEGIN + year_ms - 5000 {
        world.now_ms += 5000;
        world.deliver();
    }
    world.pass(4_999);
    world.pass(1);
    assert_eq!(world.sent[0].delivered, 1);
}

#[test]
fn what_fell_due_while_nobody_was_there_is_delivered_at_once() {
    let mut world = World::new();
    world.send(BEGIN + 1000);
    world.deliver();
    world.flush();
    let disk = world.disk.crash();
    // Java's limit is seven days.
    world.now_ms += 30 * 86_400_000;
    world.reopen(disk);
    world.deliver();
    assert_eq!(world.sent[0].delivered, 1);
}

#[test]
fn messages_without_a_slot_are_passed_over() {
    let mut world = World::new();
    world.put(&text(&[("REAL_TOPIC", "t")]));
    world.put(&text(&[("TIMER_OUT_MS", "soon")]));
    world.send(BEGIN + 10);
    world.pass(10);
    assert_eq!((world.sent[0].delivered, world.timers.queue_offset()), (1, 3));
}

#[test]
fn what_is_delivered_and_not_on_the_disk_is_not_written_down_as_delivered() {
    let mut world = World::new();
    world.send(BEGIN + 1000);
    world.deliver();
    world.pass(3000);
    // The delivery itself is behind the log's flushed end.
    world.put(&text(&[("REAL_TOPIC", "t")]));
    world.pass(1000);
    let job = world.timers.flush(world.now_ms).unwrap().unwrap();
    let done = job.run();
    world.timers.flushed(&done);
    let read_time_ms = world.timers.store().checkpoint().read_time_ms;
    assert!(read_time_ms <= BEGIN + 1000, "{read_time_ms}");
    world.flush();
    let read_time_ms = world.timers.store().checkpoint().read_time_ms;
    assert!(read_time_ms > BEGIN + 1000, "{read_time_ms}");
}
