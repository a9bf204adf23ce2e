//! From the log into the index, by the one owner of both files and position.
//!
//! The writer goes through the log by itself, in rounds as large as its owner likes, up to where its
//! owner says. Each key of a record becomes an entry; a full file is followed by the next. Blocks are
//! reserved ahead of the entries, so that a full disk is an error and not a signal; a record whose
//! entries are there in part is gone on with where it was left.
//!
//! [`IndexWriter::flush`] brings entries to the disk, and then says up to where that is. It is for the
//! owner to write that down, once the log is on the disk as far.

use std::{path::Path, sync::Arc, sync::atomic::Ordering};

use gantry_codec::record::{RecordHead, sys_flag};
use thiserror::Error;

use super::{
    Index, IndexError, IndexEvidence, IndexPoint, IndexReport,
    file::IndexFile,
    io_error,
    keys::RecordKeys,
    layout::{FIRST_ENTRY, TopicHash, file_name, parse_file_name},
    open::{self, Opened},
};
use crate::{
    clock::Clock,
    commit_log::CommitLog,
    disk::Disk,
    dispatch::{BadRecord, LogReader},
    offset::PhysicalOffset,
};

/// Bytes of entries whose blocks are reserved at a time.
const RESERVE_BYTES: u64 = 1 << 20;

/// Why a round ended early.
#[derive(Debug, Error)]
pub enum AdvanceError {
    /// A record cannot be read; the writer goes on behind it.
    #[error(transparent)]
    Record(#[from] BadRecord),
    /// The index cannot be written; the next round begins with the same record.
    #[error(transparent)]
    Index(#[from] IndexError),
}

/// See the module's text.
pub struct IndexWriter {
    index: Index,
    reader: LogReader,
    pen: Pen,
    /// What is on the disk.
    durable: IndexPoint,
}

impl IndexWriter {
    /// Opens the index, which may take a while, or takes over from a writer that died in this process.
    /// Reads `log`; names new files by `clock`.
    ///
    /// # Errors
    /// If there is a writer, if the system refuses, or if a file is not as large as configured.
    pub fn open(
        index: &Index,
        disk: Arc<dyn Disk>,
        clock: Arc<dyn Clock>,
        log: &CommitLog,
        evidence: &IndexEvidence,
    ) -> Result<(Self, IndexReport), IndexError> {
        let right = WriteRight::take(index)?;
        let (opened, durable) = if index.is_open() {
            (resume(index), evidence.point.unwrap_or_default())
        } else {
            let opened = open::open(&*disk, index.config(), log, evidence)?;
            let durable = first_point(&opened, evidence);
            (opened, durable)
        };
        let Opened { files, from, done, report, .. } = opened;
        let file = files.last().filter(|last| !last.is_full()).cloned();
        index.0.files.store(Arc::new(files));
        index.0.position.store(from.0, Ordering::Release);
        index.0.is_open.store(true, Ordering::Release);
        let reader = LogReader::new(log.clone(), from);
        let done = (from, done);
        // A point that does not count any more must never name a later file.
        let after = evidence.point.map_or(0, |point| point.file);
        let pen = Pen {
            index: index.clone(),
            disk,
            clock,
            file,
            reserved: 0,
            after,
            done,
            topic: None,
            _right: right,
        };
        Ok((Self { index: index.clone(), reader, pen, durable }, report))
    }

    /// Everything in the log before this is indexed.
    pub fn position(&self) -> PhysicalOffset {
        self.reader.position()
    }

    /// Indexes up to `max` records that start before `end`; how many it went through.
    ///
    /// # Errors
    /// At a record that cannot be read, having gone past it, and if the index cannot be written.
    pub fn advance(&mut self, end: PhysicalOffset, max: usize) -> Result<usize, AdvanceError> {
        let (pen, mut failed) = (&mut self.pen, None);
        let read = self.reader.read(max, end, |head, bytes, offset| {
            if failed.is_none() {
                let (topic, properties) = (head.topic(bytes)?, head.properties(bytes)?);
                failed = pen.write(head, topic, properties, offset).err().map(|e| (offset, e));
            }
            Ok(())
        });
        let failed = failed.map(|(offset, error)| {
            self.reader = LogReader::new(self.reader.log().clone(), offset);
            error
        });
        self.index.0.position.store(self.reader.position().0, Ordering::Release);
        match failed {
            Some(error) => Err(error.into()),
            None => Ok(read?),
        }
    }

    /// Whether there is something for [`flush`](Self::flush) to do.
    pub fn is_dirty(&self) -> bool {
        !self.durable.suspect && self.durable.position != self.position()
    }

    /// What is on the disk.
    pub fn durable(&self) -> IndexPoint {
        self.durable
    }

    /// Brings all entries to the disk, and the slots of files that are full; up to where that is.
    /// Blocks.
    ///
    /// # Errors
    /// If the system cannot. From then on [`durable`](Self::durable) is suspect and no sync is tried
    /// again: after a failed one the kernel may count pages as clean that never reached the disk.
    pub fn flush(&mut self) -> Result<IndexPoint, IndexError> {
        self.sync(|file, is_last, from| if is_last { file.sync_entries(from) } else { file.sync() })
    }

    /// As [`flush`](Self::flush), with the slots of the last file: for an orderly stop.
    ///
    /// # Errors
    /// As [`flush`](Self::flush).
    pub fn flush_all(&mut self) -> Result<IndexPoint, IndexError> {
        self.sync(|file, _, _| file.sync())
    }

    fn sync(
        &mut self,
        sync: impl Fn(&IndexFile, bool, u32) -> std::io::Result<()>,
    ) -> Result<IndexPoint, IndexError> {
        if self.durable.suspect {
            return Err(IndexError::Suspect);
        }
        let (files, position) = (self.index.files(), self.position());
        let Some(last) = files.last() else {
            self.durable = IndexPoint { next_entry: FIRST_ENTRY, position, ..self.durable };
            return Ok(self.durable);
        };
        let first = self.durable.file;
        for file in files.iter().filter(|file| file.number() >= first) {
            let from = if file.number() == first { self.durable.next_entry } else { FIRST_ENTRY };
            sync(file, file.number() == last.number(), from).map_err(|e| {
                self.durable.suspect = true;
                io_error(file.path(), e)
            })?;
        }
        let (next_entry, end_timestamp) = (last.next_entry(), last.header().end_timestamp);
        let file = last.number();
        self.durable = IndexPoint { file, next_entry, position, end_timestamp, suspect: false };
        Ok(self.durable)
    }
}

/// From where entries have to be synced. If something was dropped, that is everything in the last file,
/// whose links may be new; what is before it was synced by whoever filled it.
fn first_point(opened: &Opened, evidence: &IndexEvidence) -> IndexPoint {
    match (evidence.point, opened.files.last()) {
        (Some(point), _) if !opened.changed && !point.suspect => point,
        (_, last) => IndexPoint {
            file: last.map_or(0, |last| last.number()),
            next_entry: FIRST_ENTRY,
            // Not a place that anything is compared with, but one that is certainly another.
            position: PhysicalOffset(u64::MAX),
            ..IndexPoint::default()
        },
    }
}

/// Of an index that is open: its writer died, its files did not.
fn resume(index: &Index) -> Opened {
    let (files, from) = (index.files().to_vec(), index.position());
    let report = IndexReport { files: files.len(), removed: 0, rebuilt: false, from };
    Opened { files, from, done: 0, changed: false, report }
}

/// Writes entries into files.
struct Pen {
    index: Index,
    disk: Arc<dyn Disk>,
    clock: Arc<dyn Clock>,
    /// The last file, if it has room.
    file: Option<Arc<IndexFile>>,
    /// Up to where that has its blocks.
    reserved: u64,
    /// New files are named by later numbers than this.
    after: u64,
    /// Of the record there, so many entries are written.
    done: (PhysicalOffset, usize),
    /// The topic of the last record.
    topic: Option<(String, TopicHash)>,
    _right: WriteRight,
}

impl Pen {
    /// Writes the entries of a record. Rollbacks have none, and what is before the end of the index has
    /// them already.
    fn write(
        &mut self,
        head: &RecordHead,
        topic: &str,
        properties: &str,
        offset: PhysicalOffset,
    ) -> Result<(), IndexError> {
        let is_rollback = head.sys_flag & sys_flag::TRANSACTION == sys_flag::ROLLBACK;
        let is_known = self.file.as_ref().is_some_and(|f| offset < f.header().end_offset);
        if is_rollback || is_known {
            return Ok(());
        }
        let written = if self.done.0 == offset { self.done.1 } else { 0 };
        let hashes = RecordKeys::of(properties).hashes(self.topic_hash(topic));
        for (number, hash) in hashes.enumerate().skip(written) {
            self.done = (offset, number);
            self.file_with_room()?.put(hash, offset, head.store_timestamp);
        }
        Ok(())
    }

    fn topic_hash(&mut self, topic: &str) -> TopicHash {
        match &self.topic {
            Some((last, hash)) if last == topic => *hash,
            _ => {
                let hash = TopicHash::new(topic);
                self.topic = Some((topic.to_owned(), hash));
                hash
            }
        }
    }

    fn file_with_room(&mut self) -> Result<&IndexFile, IndexError> {
        let file = match self.file.take().filter(|file| !file.is_full()) {
            Some(file) => file,
            None => self.next_file()?,
        };
        let file = self.file.insert(file);
        if file.next_entry_end() > self.reserved {
            let end = file.next_entry_end().saturating_add(RESERVE_BYTES).min(file.len());
            let reserved = self.disk.reserve(file.path(), self.reserved, end - self.reserved);
            reserved.map_err(|e| io_error(file.path(), e))?;
            self.reserved = end;
        }
        Ok(file)
    }

    /// The file behind the last one: named by the time, but never before it, nor by a name that may be
    /// written down for a file that is gone.
    fn next_file(&mut self) -> Result<Arc<IndexFile>, IndexError> {
        let (files, config) = (self.index.files(), self.index.config());
        let before = files.last();
        let now = parse_file_name(&file_name(self.clock.local_ms())).unwrap_or(0);
        let number = now.max(before.map_or(1, |before| before.number() + 1)).max(self.after + 1);
        if let Some(before) = before {
            before.write_header();
        }
        let before = before.map(|before| &**before);
        // If this fails, something may be left under that name: the next try takes another.
        self.after = number;
        let file = IndexFile::create(&*self.disk, &config.dir, number, config.layout, before);
        let file = Arc::new(file.map_err(|e| io_error(Path::new(&config.dir), e))?);
        self.reserved = 0;
        self.index.add(file.clone());
        Ok(file)
    }
}

/// The right to write, given back when it is dropped.
struct WriteRight(Index);

impl WriteRight {
    fn take(index: &Index) -> Result<Self, IndexError> {
        let had_writer = index.0.has_writer.swap(true, Ordering::AcqRel);
        if had_writer { Err(IndexError::InUse) } else { Ok(Self(index.clone())) }
    }
}

impl Drop for WriteRight {
    fn drop(&mut self) {
        self.0.0.has_writer.store(false, Ordering::Release);
    }
}
