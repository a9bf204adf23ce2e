//! What was appended and what was promised, and whether a store keeps it.
//!
//! The log is a list of records, byte by byte as they were appended. A store may have lost records at
//! the list's end, down to those that were acknowledged: published ones if a process died, flushed
//! ones if the power went. It may not have others, or in another order, or altered. A queue is exactly
//! its part of the list.
//!
//! Of a batch, all records are there or none.
//!
//! Records of removed files stay in the list. A log must not begin before a removal that was
//! acknowledged, nor behind one that was tried, and a queue begins where the log does, or behind that
//! as far as a removal was ever tried. Of a topic that was deleted, records count that were appended since;
//! it is looked at again when the deletion is complete and a checkpoint was written.

use std::collections::BTreeMap;

use gantry_codec::Record;
use gantry_storage::{
    ConsumeQueueView, Disk, DispatchReader, JsonFile, MemDisk, PhysicalOffset, QueueOffset,
};

use super::rig::{QUEUES, Rig, Table, topic};

/// A record that was appended.
#[derive(Clone)]
pub struct Written {
    pub queue: u32,
    pub offset: PhysicalOffset,
    /// All its bytes.
    pub bytes: Vec<u8>,
    /// Whether it is found by its key.
    pub is_keyed: bool,
    /// Whether a bit of its body was flipped on the disk.
    pub is_damaged: bool,
    /// Whether the next one belongs to the same batch.
    pub continues: bool,
}

/// See the module's text.
#[derive(Default)]
pub struct Oracle {
    pub written: Vec<Written>,
    /// So many of them can be read: they outlive the process.
    pub published: usize,
    /// So many of them were flushed: they outlive a loss of power.
    pub flushed: usize,
    /// Up to where the last checkpoint that was acknowledged has the queues.
    pub checkpoint: PhysicalOffset,
    /// Where the log begins at the earliest, and at the latest: unlinking may have been in vain.
    pub removed: (PhysicalOffset, PhysicalOffset),
    /// Up to where queues and index may have been trimmed, in whichever life: log files that a crash
    /// brought back do not bring back what led to them.
    pub trimmed_to: PhysicalOffset,
    /// Whether the queues have been trimmed to where the log begins.
    pub is_trimmed: bool,
    /// Topics that the table of topics does not have any more, and whether all of them is gone.
    pub deleted: BTreeMap<&'static str, bool>,
    /// Per queue, the place in `written` from which on its records count.
    begins: [usize; QUEUES as usize],
    /// Where queues began when they were looked at last.
    mins: [u64; QUEUES as usize],
    pub saves: [Saves; 2],
    /// The record in which a bit was flipped while the store was closed.
    pub flipped: Option<usize>,
    /// Messages so far.
    pub number: u64,
}

/// What was saved in one metadata file.
#[derive(Default)]
pub struct Saves {
    /// The newest value of which the save was acknowledged; 0 before the first.
    pub acknowledged: u64,
    /// The newest value that was tried.
    pub tried: u64,
}

impl Oracle {
    /// How many records a queue has.
    pub fn len_of(&self, queue: u32) -> u64 {
        self.records_of(queue, self.written.len()).len() as u64
    }

    /// What a queue has of the first `count` records.
    fn records_of(&self, queue: u32, count: usize) -> Vec<&Written> {
        let begin = self.begins[queue as usize].min(count);
        self.written[begin..count].iter().filter(|record| record.queue == queue).collect()
    }

    /// The first record of the batch that a record belongs to.
    pub fn batch_of(&self, record: usize) -> usize {
        let before = self.written[..record].iter().rev();
        record - before.take_while(|written| written.continues).count()
    }

    /// Files before `log_min` have left the log, and the disk too if they are `unlinked`.
    pub fn files_left(&mut self, log_min: PhysicalOffset, unlinked: bool) {
        self.is_trimmed &= log_min == self.removed.1;
        self.removed.1 = log_min;
        self.trimmed_to = self.trimmed_to.max(log_min);
        if unlinked {
            self.removed.0 = log_min;
        }
    }

    /// The table of topics does not have the topic any more.
    pub fn topic_leaves(&mut self, of: &'static str) {
        self.deleted.insert(of, false);
        for queue in (0..QUEUES).filter(|queue| topic(*queue) == of) {
            self.begins[queue as usize] = self.written.len();
            self.mins[queue as usize] = 0;
        }
    }

    /// Looks at a store that was opened again and caught up, and goes on with what it has. `least` is
    /// how many records had to be there.
    pub fn reopened(&mut self, rig: &mut Rig, least: usize) {
        let report = rig.store.report().clone();
        assert_eq!(report.broken.as_ref().filter(|_| report.clean), None, "{report}");
        assert!(
            report.dispatch_from >= self.checkpoint,
            "recovery began at {}, the checkpoint is {}",
            report.dispatch_from,
            self.checkpoint
        );
        let (earliest, latest) = self.removed;
        assert!(report.log_min >= earliest, "log files are back; {earliest} {report}");
        assert!(report.log_min <= latest, "log files are gone; {latest} {report}");
        let found = self.count_in(rig);
        assert!(found >= least, "{found} records of {least} that had to be there; {report}");
        assert!(found <= self.written.len(), "{found} records of {} written", self.written.len());
        let ends_within = found.checked_sub(1).is_some_and(|last| self.written[last].continues);
        assert!(!ends_within, "the log ends within a batch, with record {found}; {report}");
        if let Some(flipped) = self.flipped.take() {
            let is_checked = self.written[flipped].offset >= report.dispatch_from;
            assert!(!is_checked || found <= flipped, "damage at the end of the log was taken in");
            self.written[flipped].is_damaged = true;
        }
        self.written.truncate(found);
        self.begins = self.begins.map(|begin| begin.min(found));
        (self.mins, self.is_trimmed) = ([0; QUEUES as usize], true);
        // Recovery has flushed what it found.
        (self.published, self.flushed) = (found, found);
        self.check(rig);
    }

    /// The records that the log has.
    fn count_in(&self, rig: &Rig) -> usize {
        let log = rig.store.log();
        let mut found = self.gone(log.min_offset());
        let mut reader = DispatchReader::new(log.clone(), PhysicalOffset(0));
        let read = reader.read(usize::MAX, |entry| {
            let written = self.written.get(found);
            assert_eq!(
                written.map(|written| written.offset),
                Some(entry.offset),
                "record {found} lies elsewhere, or was never written"
            );
            found += 1;
        });
        assert!(read.is_ok(), "{read:?}");
        found
    }

    /// How many records lie before `log_min`.
    fn gone(&self, log_min: PhysicalOffset) -> usize {
        self.written.partition_point(|written| written.offset < log_min)
    }

    /// Every published record is there as it was written, once in its queue, and in its place there.
    pub fn check(&mut self, rig: &Rig) {
        let log = rig.store.log();
        let published = &self.written[..self.published];
        let (gone, there) = published.split_at(self.gone(log.min_offset()));
        assert!(gone.iter().all(|written| log.record_at(written.offset).is_none()));
        for written in there {
            let record = log.record_at(written.offset);
            let found = record.as_deref();
            let want = (!written.is_damaged).then_some(&*written.bytes);
            assert!(found == want, "the record at {} has changed", written.offset);
            assert_eq!(log.damage_at(written.offset).is_some(), written.is_damaged);
        }
        for queue in (0..QUEUES).filter(|queue| !self.deleted.contains_key(topic(*queue))) {
            let view = rig.view(queue);
            let records = self.records_of(queue, self.published);
            let indexed = records.len().saturating_sub(rig.pending_in(queue));
            assert_eq!(view.max_offset().0, indexed as u64, "end of queue {queue}");
            let min = self.begin_of(queue, &view, &records[..indexed], log.min_offset());
            self.mins[queue as usize] = min as u64;
            let records = self.records_of(queue, self.published);
            for (at, written) in records.iter().enumerate().take(indexed).skip(min) {
                let entry = view.entry(QueueOffset(at as u64)).expect("an entry");
                let place = (entry.offset, entry.size as usize);
                assert_eq!(place, (written.offset, written.bytes.len()), "queue {queue} at {at}");
                let record = Record::decode(&written.bytes).expect("a record");
                assert_eq!(record.queue_offset as usize, at, "queue {queue}");
            }
        }
    }

    /// Where the queue begins, which is where it may.
    fn begin_of(
        &self,
        queue: u32,
        view: &ConsumeQueueView,
        records: &[&Written],
        log_min: PhysicalOffset,
    ) -> usize {
        let min = view.min_offset().0;
        let before = |limit| records.partition_point(|written| written.offset < limit) as u64;
        let (earliest, latest) = (before(log_min), before(self.trimmed_to));
        assert!(min >= self.mins[queue as usize], "queue {queue} begins earlier than it did");
        assert!(min >= earliest || !self.is_trimmed, "queue {queue} begins before the log");
        assert!(min <= latest, "queue {queue} begins at {min}, behind {latest}");
        assert!(min == 0 || view.entry(QueueOffset(min - 1)).is_none());
        min as usize
    }

    /// Of what is indexed, the index finds what has the key, and nothing else. Files that should have left
    /// the log and are back need not be in it.
    pub fn check_index(&self, rig: &Rig) {
        for of in [0, QUEUES - 1].map(topic) {
            let (found, indexed) = rig.find(of);
            let written = self.written[..self.published].iter();
            let written = written.filter(|w| w.is_keyed && topic(w.queue) == of);
            let want =
                written.filter(|w| (self.trimmed_to..indexed).contains(&w.offset) && !w.is_damaged);
            let missing: Vec<_> = want.filter(|w| !found.contains(&w.offset)).collect();
            assert!(missing.is_empty(), "{of}: not found by key: {:?}", missing[0].offset);
            let is_keyed = |offset| self.written.iter().any(|w| w.offset == offset && w.is_keyed);
            assert!(found.into_iter().all(is_keyed), "{of}: found and has no key");
        }
    }

    /// The metadata files are whole, and not older than what was acknowledged.
    pub fn check_saves(&mut self, disk: &MemDisk) {
        for (number, saves) in self.saves.iter_mut().enumerate() {
            let file = json_file(number);
            let raw = disk.read(file.path()).expect("the file can be read");
            let torn = raw.filter(|raw| serde_json::from_slice::<Table>(raw).is_err());
            assert!(torn.is_none(), "{} is torn: {torn:?}", file.path().display());
            let found: Option<Table> = file.load(disk).expect("the file or its backup is whole");
            let value = found.as_ref().map_or(0, |table| table["value"]);
            assert!(
                (saves.acknowledged..=saves.tried).contains(&value),
                "{} has {value}, acknowledged {}, tried {}",
                file.path().display(),
                saves.acknowledged,
                saves.tried
            );
            assert!(found.is_none_or(|found| found == table(value)));
        }
    }
}

/// One of the metadata files.
pub fn json_file(number: usize) -> JsonFile {
    JsonFile::new(["/store/config/topics.json", "/store/config/consumerOffset.json"][number].into())
}

/// What is saved: as long as a few sectors, or less than one.
pub fn table(value: u64) -> Table {
    let fill = (0..value * 37 % 70).map(|key| (format!("key{key}"), value));
    fill.chain([("value".to_owned(), value)]).collect()
}
