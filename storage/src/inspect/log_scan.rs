//! Going through a whole log, past whatever is damaged in it.
//!
//! Records follow each other by their sizes. Where no record is, the next one is looked for byte by byte:
//! a magic, lengths that fit each other, and a place named in the record that is its own. So what lies
//! between two sound records is known to the byte, and what lies behind the last one is the log's tail.
//! Memory is bounded by the largest record.

use std::{io, ops::ControlFlow};

use gantry_codec::record::{self, BLANK_MAGIC, RecordHead};
use memchr::memchr2_iter;

use super::{
    log_files::RowFile,
    window::{FileWindow, WINDOW_BYTES},
};
use crate::disk::Disk;

/// A record that claims more is none: both brokers limit messages to some MiB.
const RECORD_BYTES_MAX: usize = 128 << 20;

/// A record.
#[derive(Debug)]
pub struct LogRecord<'a> {
    /// Its file.
    pub file: &'a RowFile,
    /// Its place in the file.
    pub at: u64,
    /// Its place in the log.
    pub offset: u64,
    /// Its numbers.
    pub head: RecordHead,
    /// All its bytes.
    pub bytes: &'a [u8],
    /// Whether its body is what its CRC says.
    pub is_crc_right: bool,
}

/// What is found in a log, in order.
#[derive(Debug)]
pub enum LogItem<'a> {
    /// A record; its body may be damaged.
    Record(LogRecord<'a>),
    /// The rest of the file is unused.
    Blank {
        /// The file.
        file: &'a RowFile,
        /// Where the filler begins.
        at: u64,
        /// How long it says that it is.
        size: u64,
    },
    /// No record, though records follow.
    Damage {
        /// The file.
        file: &'a RowFile,
        /// Where it begins.
        at: u64,
        /// One past its last byte in that file.
        to: u64,
        /// What is wrong with what begins there.
        why: String,
    },
    /// The rest of the file cannot be read.
    Unreadable {
        /// The file.
        file: &'a RowFile,
        /// From where on.
        at: u64,
        /// What the system said.
        error: io::Error,
    },
}

/// Where a log ends.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct LogEnd {
    /// One past the last record or filler.
    pub offset: u64,
    /// The first byte behind that is not zero.
    pub tail: Option<Tail>,
}

/// Bytes behind the last record of a log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Tail {
    /// The file.
    pub file: RowFile,
    /// The first byte in it that is not zero.
    pub at: u64,
    /// What is wrong with what begins there.
    pub why: String,
}

/// Bytes of a file that hold no record.
struct Gap<'a> {
    file: &'a RowFile,
    at: u64,
    to: u64,
    why: String,
}

type Visit<'v> = &'v mut dyn FnMut(LogItem<'_>) -> ControlFlow<()>;

struct Scan<'a, 'v> {
    disk: &'a dyn Disk,
    /// Gaps behind which no record has been found yet.
    pending: Vec<Gap<'a>>,
    end: u64,
    visit: Visit<'v>,
}

/// Gives `visit` all there is in the log from `from` on, until it says that it has enough. The end is
/// that of what was looked at.
pub fn scan_log(
    disk: &dyn Disk,
    files: &[RowFile],
    from: u64,
    visit: &mut dyn FnMut(LogItem<'_>) -> ControlFlow<()>,
) -> LogEnd {
    let begin = files.first().map_or(0, |file| file.start);
    let mut scan = Scan { disk, pending: Vec::new(), end: from.max(begin), visit };
    for file in files.iter().filter(|file| file.end() > from) {
        let at = from.saturating_sub(file.start);
        if scan.file(file, at).is_break() {
            return LogEnd { offset: scan.end, tail: None };
        }
    }
    LogEnd { offset: scan.end, tail: scan.tail() }
}

impl<'a> Scan<'a, '_> {
    fn file(&mut self, file: &'a RowFile, from: u64) -> ControlFlow<()> {
        let mut window = FileWindow::new(self.disk, file.path.clone(), file.len, WINDOW_BYTES);
        let mut at = from;
        while at < file.len {
            match self.step(&mut window, file, at) {
                Ok(ControlFlow::Continue(next)) => at = next,
                Ok(ControlFlow::Break(())) => return ControlFlow::Break(()),
                Err(error) => {
                    self.told_pending()?;
                    return (self.visit)(LogItem::Unreadable { file, at, error });
                }
            }
        }
        ControlFlow::Continue(())
    }

    /// What lies at `at`, and where to go on.
    fn step(
        &mut self,
        window: &mut FileWindow<'_>,
        file: &'a RowFile,
        at: u64,
    ) -> io::Result<ControlFlow<(), u64>> {
        let why = match look(window, file, at)? {
            Look::Record { head, is_crc_right } => {
                let size = head.total_size;
                let bytes = window.at(at, size as usize)?;
                let bytes = bytes.get(..size as usize).unwrap_or(bytes);
                let offset = file.start + at;
                let record = LogRecord { file, at, offset, head, bytes, is_crc_right };
                self.end = offset + u64::from(size);
                if self.told_pending().is_break()
                    || (self.visit)(LogItem::Record(record)).is_break()
                {
                    return Ok(ControlFlow::Break(()));
                }
                return Ok(ControlFlow::Continue(at + u64::from(size)));
            }
            Look::Blank { size } => {
                self.end = file.end();
                if self.told_pending().is_break()
                    || (self.visit)(LogItem::Blank { file, at, size }).is_break()
                {
                    return Ok(ControlFlow::Break(()));
                }
                return Ok(ControlFlow::Continue(file.len));
            }
            Look::Nothing(why) => why,
        };
        let to = next_record(window, file, at + 1)?.unwrap_or(file.len);
        self.pending.push(Gap { file, at, to, why });
        Ok(ControlFlow::Continue(to))
    }

    /// Records follow, so what was pending is damage.
    fn told_pending(&mut self) -> ControlFlow<()> {
        for Gap { file, at, to, why } in self.pending.drain(..) {
            (self.visit)(LogItem::Damage { file, at, to, why })?;
        }
        ControlFlow::Continue(())
    }

    /// No record follows: what was pending lies behind the log's end.
    fn tail(self) -> Option<Tail> {
        self.pending.into_iter().find_map(|gap| {
            let window =
                FileWindow::new(self.disk, gap.file.path.clone(), gap.file.len, WINDOW_BYTES);
            let at = first_non_zero(window, gap.at).ok()??;
            Some(Tail { file: gap.file.clone(), at, why: gap.why })
        })
    }
}

enum Look {
    Record { head: RecordHead, is_crc_right: bool },
    Blank { size: u64 },
    Nothing(String),
}

fn look(window: &mut FileWindow<'_>, file: &RowFile, at: u64) -> io::Result<Look> {
    let (size, magic) = match record::record_len(window.at(at, 8)?) {
        None => return Ok(Look::Nothing(format!("{} bytes are left", file.len - at))),
        Some((0, 0)) => return Ok(Look::Nothing("zeros".into())),
        Some(head) => head,
    };
    if magic == BLANK_MAGIC {
        return Ok(Look::Blank { size: size as u64 });
    }
    if size > RECORD_BYTES_MAX {
        return Ok(Look::Nothing(format!("a record of {size} bytes")));
    }
    let bytes = window.at(at, size)?;
    Ok(match record::decode_head(bytes) {
        Ok(head) => {
            let body = head.body(bytes);
            let is_crc_right = body.is_empty() || record::body_crc(body) == head.body_crc;
            Look::Record { head, is_crc_right }
        }
        Err(e) => Look::Nothing(e.to_string()),
    })
}

/// The next place in the file, from `from` on, where a record lies that says that it lies there, or a
/// filler that reaches to the file's end.
fn next_record(window: &mut FileWindow<'_>, file: &RowFile, from: u64) -> io::Result<Option<u64>> {
    const MAGIC_AT: usize = 4;
    let mut at = from;
    loop {
        let bytes = window.at(at, WINDOW_BYTES)?;
        if bytes.len() < 2 * MAGIC_AT {
            return Ok(None);
        }
        let is_magic = |i: &usize| {
            let magic =
                bytes.get(*i..).and_then(<[u8]>::first_chunk).map(|m| u32::from_be_bytes(*m));
            *i >= MAGIC_AT
                && magic.is_some_and(|magic| {
                    [BLANK_MAGIC, record::RECORD_MAGIC_V1, record::RECORD_MAGIC_V2].contains(&magic)
                })
        };
        let found = memchr2_iter(0xDA, 0xCB, bytes).find(is_magic);
        let Some(found) = found else {
            at += (bytes.len() - 2 * MAGIC_AT + 1) as u64;
            continue;
        };
        at += (found - MAGIC_AT) as u64;
        let is_sound = match look(window, file, at)? {
            Look::Record { head, .. } => head.physical_offset as u64 == file.start + at,
            Look::Blank { size } => size == file.len - at,
            Look::Nothing(_) => false,
        };
        if is_sound {
            return Ok(Some(at));
        }
        at += 1;
    }
}

fn first_non_zero(mut window: FileWindow<'_>, from: u64) -> io::Result<Option<u64>> {
    let mut at = from;
    loop {
        let bytes = window.at(at, WINDOW_BYTES)?;
        if bytes.is_empty() {
            return Ok(None);
        }
        // In pieces, so that zeros are passed at the speed of memory.
        for piece in bytes.chunks(4096) {
            if piece.iter().fold(0, |all, byte| all | byte) != 0 {
                let found = piece.iter().position(|byte| *byte != 0).unwrap_or(0);
                return Ok(Some(at + found as u64));
            }
            at += piece.len() as u64;
        }
    }
}

/// The head and the bytes of the record at `offset`, if one lies there and has `size` bytes.
pub(crate) fn record_at(
    disk: &dyn Disk,
    files: &[RowFile],
    offset: u64,
    size: u32,
) -> io::Result<Option<(RecordHead, Vec<u8>)>> {
    let index = files.partition_point(|file| file.end() <= offset);
    let Some(file) = files.get(index).filter(|file| file.start <= offset) else { return Ok(None) };
    if size as usize > RECORD_BYTES_MAX {
        return Ok(None);
    }
    let bytes = disk.read_at(&file.path, offset - file.start, size as usize)?;
    let head = record::decode_head(&bytes).ok().filter(|head| head.total_size == size);
    Ok(head.map(|head| (head, bytes)))
}

/// As [`record_at`], with the size that the record itself claims.
pub(crate) fn whole_record_at(
    disk: &dyn Disk,
    files: &[RowFile],
    offset: u64,
) -> io::Result<Option<(RecordHead, Vec<u8>)>> {
    let index = files.partition_point(|file| file.end() <= offset);
    let Some(file) = files.get(index).filter(|file| file.start <= offset) else { return Ok(None) };
    let head = disk.read_at(&file.path, offset - file.start, 8)?;
    match record::record_len(&head) {
        Some((size, _)) => record_at(disk, files, offset, size as u32),
        None => Ok(None),
    }
}
