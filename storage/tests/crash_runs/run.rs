//! One run: some lives of a store, each with work, a fault and an end that the seed decides.

use std::fmt::Write as _;

use gantry_codec::Record;
use gantry_storage::{AppendError, DiskFault, DiskOp, FaultPlan, MemDisk, StoreConfig};

use super::{
    dice::Dice,
    oracle::{Oracle, json_file, table},
    rig::{Failure, KEYED, QUEUES, Rig, topic},
};

/// Where the body of a record starts, of addresses that are IPv4.
const BODY_AT: u64 = 88;

/// How a life ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum End {
    Stopped,
    Killed,
    LostPower,
}

/// What a run left behind, beside having found nothing wrong.
#[derive(Default)]
pub struct Trace {
    /// What was done, a line each.
    pub steps: String,
    /// The faults that came about.
    pub faults: Vec<Met>,
}

/// The operation, what happened to it, and during what.
pub type Met = (DiskOp, DiskFault, During);

/// What a fault falls into.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum During {
    Recovery,
    /// The removal of old files.
    Removal,
    /// The deletion of a topic.
    Deletion,
    /// Any other step.
    Work,
}

impl Trace {
    fn step(&mut self, what: &str, result: &Result<(), Failure>) {
        let outcome = result.as_ref().err().map_or("", String::as_str);
        let _ = writeln!(self.steps, "  {what} {outcome}");
    }

    fn note(&mut self, what: &str) {
        let _ = writeln!(self.steps, "{what}");
    }

    /// Notes the faults of a plan that come after the first `known`; how many the plan has met.
    fn met(&mut self, disk: &MemDisk, known: usize, during: During) -> usize {
        let met = disk.faults_met();
        let new = met.iter().skip(known).map(|(op, fault)| (*op, *fault, during));
        self.faults.extend(new);
        met.len()
    }

    /// A number that tells runs apart.
    pub fn digest(&self) -> u32 {
        crc32fast::hash(self.steps.as_bytes())
    }
}

/// The power is off.
struct Off;

struct Run<'a> {
    dice: Dice,
    disk: MemDisk,
    config: StoreConfig,
    oracle: Oracle,
    /// Whether something failed in this life.
    is_marred: bool,
    trace: &'a mut Trace,
}

/// Runs the seed; panics at what is wrong.
pub fn run(seed: u64, trace: &mut Trace) {
    let mut dice = Dice::new(seed);
    let log_file = dice.pick(&[2048, 5000, 8192, 12_000]);
    let queue_file = dice.pick(&[100, 400, 1000, 6000]);
    let config = StoreConfig::new("/store".into(), log_file, queue_file);
    trace.note(&format!("seed {seed}, log files of {log_file}, queue files of {queue_file}"));
    let lives = 2 + dice.below(4);
    let (disk, oracle) = (MemDisk::new(), Oracle::default());
    // Of a queue's files the last ones are lost first, as file systems with a journal have it.
    let one_file_per_queue = queue_file == 6000;
    disk.keep_order_of_names(!one_file_per_queue || dice.one_in(2));
    let mut run = Run { dice, disk, config, oracle, is_marred: false, trace };
    let mut least = 0;
    for _ in 0..lives {
        let rig = run.open(least);
        least = run.life(rig);
    }
    run.disk.set_plan(FaultPlan::default());
    run.open(least);
}

impl Run<'_> {
    /// Opens the store, perhaps with faults while it recovers, until it is open.
    fn open(&mut self, mut least: usize) -> Rig {
        for attempt in 0.. {
            let plan = if attempt < 4 && self.dice.one_in(3) {
                let fault = self.draw_fault();
                FaultPlan::new(self.dice.number()).at(self.dice.below(60), fault)
            } else {
                FaultPlan::default()
            };
            self.disk.set_plan(plan);
            let deleted = self.oracle.deleted.keys().copied().collect();
            let opened = Rig::open(&self.disk, &self.config, deleted);
            self.trace.met(&self.disk, 0, During::Recovery);
            let is_faulty = !self.disk.faults_met().is_empty();
            match opened {
                Ok(mut rig) => {
                    self.disk.set_plan(FaultPlan::default());
                    self.trace.note(&format!("open: {}", rig.store.report()));
                    self.oracle.reopened(&mut rig, least);
                    self.oracle.check_saves(&self.disk);
                    let indexed = rig.index_keys();
                    assert!(indexed.is_ok(), "the index does not catch up: {indexed:?}");
                    self.oracle.check_index(&rig);
                    return rig;
                }
                Err(why) => {
                    assert!(is_faulty, "the store cannot be opened: {why}");
                    self.trace.note(&format!("open failed: {why}"));
                    if self.die() == End::LostPower {
                        least = least.min(self.oracle.flushed);
                    }
                }
            }
        }
        unreachable!("the last attempts have no faults")
    }

    /// Ends as after a crash, if the power was lost, or else as after the death of the process.
    fn die(&mut self) -> End {
        let (disk, end) = if self.disk.is_off() {
            (self.disk.crash(), End::LostPower)
        } else {
            (self.disk.kill(), End::Killed)
        };
        disk.set_free_bytes(None);
        self.disk = disk;
        end
    }

    /// Work, and an end; how many records have to be there after it.
    fn life(&mut self, rig: Rig) -> usize {
        let plan = self.draw_plan();
        self.disk.set_plan(plan);
        self.is_marred = false;
        let mut rig = Some(rig);
        for _ in 0..self.dice.below(40) {
            if self.step(&mut rig).is_err() {
                break;
            }
        }
        let Some(mut rig) = rig else { unreachable!("every step gives it back") };
        let mut end = self.dice.pick(&[End::Stopped, End::Killed, End::LostPower]);
        if self.disk.is_off() {
            end = End::LostPower;
        } else {
            // The fault is over and there is room again: all goes on, but what a failed sync closed.
            self.disk.set_plan(FaultPlan::default());
            self.disk.set_free_bytes(None);
            self.oracle.check_saves(&self.disk);
            let dispatched = rig.dispatch();
            assert!(dispatched.is_ok(), "queues do not catch up: {dispatched:?}");
            self.oracle.check(&rig);
            let indexed = rig.index_keys();
            assert!(indexed.is_ok(), "the index does not catch up: {indexed:?}");
            self.oracle.check_index(&rig);
        }
        if end == End::Stopped {
            rig.publish(&mut self.oracle);
            let stopped = rig
                .dispatch()
                .and_then(|()| rig.checkpoint(&mut self.oracle))
                .and_then(|()| rig.index_keys())
                .and_then(|()| rig.flush_index(true))
                .and_then(|()| rig.store.close().map_err(|e| e.to_string()));
            self.trace.step("stop", &stopped);
            assert!(self.is_marred || stopped.is_ok(), "it does not stop: {stopped:?}");
        }
        let least = match end {
            End::LostPower => self.oracle.flushed,
            End::Stopped | End::Killed => self.oracle.published,
        };
        self.trace.note(&format!("{end:?}, {least} records of {}", self.oracle.written.len()));
        self.disk = match end {
            End::LostPower if self.disk.is_off() => self.disk.crash(),
            End::LostPower => self.disk.crash_seeded(self.dice.number()),
            End::Stopped | End::Killed => self.disk.kill(),
        };
        self.disk.set_free_bytes(None);
        if self.dice.one_in(4) { self.flip_bit(least) } else { least }
    }

    /// Flips a bit in the body of a message that was flushed; how many records have to be there then.
    /// Before the checkpoint it is that record's matter alone; behind it, a start takes it for the end of
    /// the log.
    fn flip_bit(&mut self, least: usize) -> usize {
        let index = self.dice.below(self.oracle.flushed as u64 + 1) as usize;
        let Some(written) = self.oracle.written.get_mut(index) else { return least };
        let body = Record::decode(&written.bytes).expect("a record").body.len() as u64;
        if index >= self.oracle.flushed || body == 0 || written.is_damaged {
            return least;
        }
        let start = written.offset.0 - written.offset.0 % self.config.log.segment_bytes;
        let path = self.config.log.dirs[0].join(format!("{start:020}"));
        let at = BODY_AT + self.dice.below(body);
        let flipped = [written.bytes[at as usize] ^ 1 << self.dice.below(8)];
        let is_there = self.disk.overwrite(&path, written.offset.0 - start + at, &flipped).is_ok();
        if !is_there {
            assert!(written.offset < self.oracle.removed.1, "a file of the log is gone");
            return least;
        }
        self.trace.note(&format!("bit flipped in record {index} at {}", written.offset));
        self.oracle.flipped = Some(index);
        if written.offset < self.oracle.checkpoint {
            return least;
        }
        let kept = self.oracle.batch_of(index);
        self.oracle.flushed = self.oracle.flushed.min(kept);
        least.min(kept)
    }

    fn draw_fault(&mut self) -> DiskFault {
        use DiskFault::*;
        self.dice.pick(&[PowerLoss, PowerLoss, Io, Full])
    }

    fn draw_plan(&mut self) -> FaultPlan {
        let dice = &mut self.dice;
        let plan = FaultPlan::new(dice.number());
        let op = dice.pick(&[
            DiskOp::Create,
            DiskOp::Reserve,
            DiskOp::Read,
            DiskOp::Write,
            DiskOp::Sync,
            DiskOp::Sync,
            DiskOp::Rename,
            DiskOp::SyncDir,
            DiskOp::Remove,
            DiskOp::Step,
        ]);
        match dice.below(5) {
            0 => plan,
            1 => plan.at(dice.below(150), DiskFault::PowerLoss),
            2 => plan.at_op(op, dice.below(6), DiskFault::PowerLoss),
            3 => plan.at_op(op, dice.below(6), DiskFault::Io),
            _ => plan.at_op(op, dice.below(6), DiskFault::Full),
        }
    }

    /// One step of work; an error if the power is lost.
    fn step(&mut self, rig: &mut Option<Rig>) -> Result<(), Off> {
        let Some(mut at) = rig.take() else { return Ok(()) };
        let drawn = self.dice.below(45);
        let during = match drawn {
            40..43 => During::Removal,
            43..45 => During::Deletion,
            _ => During::Work,
        };
        if during != During::Work && self.dice.one_in(3) {
            let (number, fault) = (self.dice.below(12), self.draw_fault());
            self.disk.set_plan(FaultPlan::new(self.dice.number()).at(number, fault));
        }
        let known = self.disk.faults_met().len();
        let (what, result) = match drawn {
            0..20 => ("append", self.append(&mut at)),
            20..24 => {
                at.publish(&mut self.oracle);
                ("publish", Ok(()))
            }
            24..26 => ("dispatch", at.dispatch()),
            26..28 => ("index", at.index_keys()),
            28..31 => ("flush", self.flush(&mut at)),
            31..32 if self.dice.one_in(2) => ("flush queues", at.flush_queues()),
            31..32 => ("flush index", at.flush_index(false)),
            32..34 => ("checkpoint", at.checkpoint(&mut self.oracle)),
            34..38 => ("save", self.save()),
            38..39 => {
                at = at.new_tail(&mut self.oracle);
                ("new tail", Ok(()))
            }
            39..40 => {
                let free = self.dice.pick(&[None, Some(0), Some(3000)]);
                self.disk.set_free_bytes(free);
                ("room", Ok(()))
            }
            40..43 => ("remove", at.remove_old(&mut self.oracle, 1 + self.dice.below(3))),
            _ => ("delete", at.delete(&mut self.oracle, topic(self.dice.below(4) as u32))),
        };
        self.trace.step(what, &result);
        *rig = Some(at);
        // What failed has been looked at; whether the power is gone counts now.
        let _ = self.disk.step();
        self.is_marred |= self.trace.met(&self.disk, known, during) > 0;
        if self.disk.is_off() { Err(Off) } else { Ok(()) }
    }

    /// A burst of messages and batches; sometimes acknowledged at once.
    fn append(&mut self, rig: &mut Rig) -> Result<(), Failure> {
        for _ in 0..1 + self.dice.below(5) {
            let queue = self.dice.below(QUEUES.into()) as u32;
            let count = if self.dice.one_in(4) { 2 + self.dice.below(3) } else { 1 };
            let messages: Vec<_> = (0..count).map(|_| self.draw_message()).collect();
            let had = self.oracle.written.len();
            let appended = rig.append(&mut self.oracle, queue, &messages);
            if rig.store.log().is_poisoned() {
                assert!(appended.is_err(), "a log that failed takes messages");
                assert!(matches!(rig.tail.check_room(1), Err(AppendError::Poisoned)));
            }
            assert!(appended.is_ok() || self.oracle.written.len() == had);
            if count == 1 || !is_too_large(&appended) {
                appended?;
            }
            self.disk.step().map_err(|e| e.to_string())?;
        }
        if self.dice.one_in(3) {
            rig.publish(&mut self.oracle);
            self.disk.step().map_err(|e| e.to_string())?;
            self.flush(rig)?;
        }
        Ok(())
    }

    fn draw_message(&mut self) -> (Vec<u8>, &'static str) {
        // Often of equal size, so that what was cut would fit behind what is written in its place.
        let odd = if self.dice.one_in(4) { self.dice.below(40) } else { 0 };
        let len = self.dice.pick(&[0, 60, 60, 400, 900]) + odd;
        self.oracle.number += 1;
        let body = vec![self.oracle.number as u8 | 1; len as usize];
        (body, self.dice.pick(&["", KEYED, KEYED, "TAGS\u{1}a\u{2}", LONG_PROPERTIES]))
    }

    /// A flush; one that fails closes the log, and is not tried again.
    fn flush(&mut self, rig: &mut Rig) -> Result<(), Failure> {
        let was_poisoned = rig.store.log().is_poisoned();
        let before = self.disk.operations();
        let flushed = rig.flush(&mut self.oracle);
        let log = rig.store.log();
        assert_eq!(flushed.is_err(), log.is_poisoned());
        assert!(!was_poisoned || self.disk.operations() == before, "a failed sync is tried again");
        flushed
    }

    fn save(&mut self) -> Result<(), Failure> {
        let number = self.dice.below(2) as usize;
        let saves = &mut self.oracle.saves[number];
        saves.tried += 1;
        json_file(number).save(&self.disk, &table(saves.tried)).map_err(|e| e.to_string())?;
        saves.acknowledged = saves.tried;
        Ok(())
    }
}

/// Whether a batch fits into no file.
fn is_too_large(appended: &Result<(), Failure>) -> bool {
    appended.as_ref().is_err_and(|why| why.contains("over the limit"))
}

/// Longer than a page, so that a loss of power can take its middle.
const LONG_PROPERTIES: &str = include_str!("properties.txt");
