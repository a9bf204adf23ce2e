//! What was appended and what was promised, and whether a store keeps it.
//!
//! The log is a list of records, byte by byte as they were appended. A store may have lost records at
//! the list's end, down to those that were acknowledged: published ones if a process died, flushed
//! ones if the power went. It may not have others, or in another order, or altered. A queue is exactly
//! its part of the list.

use gantry_codec::Record;
use gantry_storage::{Disk, DispatchReader, JsonFile, MemDisk, PhysicalOffset, QueueOffset};

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
        self.written.iter().filter(|record| record.queue == queue).count() as u64
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
        let found = self.count_in(rig);
        assert!(found >= least, "{found} records of {least} that had to be there; {report}");
        assert!(found <= self.written.len(), "{found} records of {} written", self.written.len());
        if let Some(flipped) = self.flipped.take() {
            let is_checked = self.written[flipped].offset >= report.dispatch_from;
            assert!(!is_checked || found <= flipped, "damage at the end of the log was taken in");
            self.written[flipped].is_damaged = true;
        }
        self.written.truncate(found);
        // Recovery has flushed what it found.
        (self.published, self.flushed) = (found, found);
        self.check(rig);
    }

    /// The records that the log has.
    fn count_in(&self, rig: &Rig) -> usize {
        let mut found = 0;
        let log = rig.store.log();
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

    /// Every published record is there as it was written, once in its queue, and in its place there.
    pub fn check(&self, rig: &mut Rig) {
        let log = rig.store.log().clone();
        let published = &self.written[..self.published];
        for written in published {
            let record = log.record_at(written.offset);
            let found = record.as_deref();
            let want = (!written.is_damaged).then_some(&*written.bytes);
            assert!(found == want, "the record at {} has changed", written.offset);
            assert_eq!(log.damage_at(written.offset).is_some(), written.is_damaged);
        }
        for queue in 0..QUEUES {
            let view = rig.queue(queue).view();
            let records = published.iter().filter(|written| written.queue == queue);
            let behind = rig.pending_in(queue);
            let records: Vec<_> = records.collect();
            let indexed = records.len().saturating_sub(behind);
            assert_eq!(view.max_offset().0, indexed as u64, "end of queue {queue}");
            for (at, written) in records.iter().take(indexed).enumerate() {
                let entry = view.entry(QueueOffset(at as u64)).expect("an entry");
                let place = (entry.offset, entry.size as usize);
                assert_eq!(place, (written.offset, written.bytes.len()), "queue {queue} at {at}");
                let record = Record::decode(&written.bytes).expect("a record");
                assert_eq!(record.queue_offset as usize, at, "queue {queue}");
            }
        }
    }

    /// Of what is indexed, the index finds what has the key, and nothing else.
    pub fn check_index(&self, rig: &Rig) {
        for of in [0, QUEUES - 1].map(topic) {
            let (found, indexed) = rig.find(of);
            let written = self.written[..self.published].iter();
            let written = written.filter(|w| w.is_keyed && topic(w.queue) == of);
            let want = written.filter(|w| w.offset < indexed && !w.is_damaged);
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
