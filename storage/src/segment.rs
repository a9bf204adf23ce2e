//! A file as shared memory: the one file of the project with `unsafe`.
//!
//! A [`Segment`] is a whole file, mapped, or memory that stands for a file in tests and simulation.
//! Its bytes are parted by the *readable* mark: before it they never change and everybody may read
//! them; from it on they belong to the one [`SegmentWriter`]. Publishing moves the mark forward by one
//! atomic store (release; readers load with acquire), and nothing moves it back. A slice keeps the
//! memory alive, whatever becomes of the file.
//!
//! A file whose bytes change in place for as long as it lives, with readers looking on, is no such thing:
//! its segment becomes [`Words`], 32-bit numbers that are read and written atomically, and nothing else
//! from then on.
//!
//! What this cannot enforce, the rest of the crate keeps:
//! * A file is changed by nobody but the writer of its segment. The store's lock keeps other brokers
//!   out; within the process a file is mapped a second time only by the successor of an owner that is
//!   gone, which begins to write no earlier than its predecessor's mark.
//! * A file is not shortened while it is mapped: touching a page beyond the end raises SIGBUS.
//! * What goes to a file by [`SegmentWriter::write`] goes through the file and not through the mapping,
//!   to bytes behind the readable mark; the kernel keeps both views of a file the same.
//! * Blocks are reserved before they are written, so that a full disk is an error of the reservation
//!   and not a SIGBUS. A disk that fails under a page that has to be read still ends the process, as
//!   with every mapped file.

#![allow(unsafe_code, reason = "shared memory between one writer and many readers")]

use std::{
    fmt,
    fs::File,
    io,
    ops::Deref,
    os::unix::fs::FileExt,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering},
    },
};

use bytes::Bytes;
use memmap2::{Advice, MmapOptions, MmapRaw};

/// See the module's text.
pub struct Segment {
    start: u64,
    len: u64,
    memory: Arc<Memory>,
    on_sync: OnSync,
    readable: AtomicU64,
    has_writer: AtomicBool,
    /// The file, to be written by system calls, if that is how it is written and nobody is at it.
    file: Mutex<Option<File>>,
}

/// How bytes get to the disk.
enum OnSync {
    /// By the kernel.
    File,
    /// By the simulated disk, which is given the place of the bytes and the bytes.
    Simulated(Box<SyncHook>),
}

type SyncHook = dyn Fn(u64, &[u8]) -> io::Result<()> + Send + Sync;

impl Segment {
    /// Maps `file`, which has `len` bytes and begins at offset `start` of its log or queue. Its first
    /// `readable` bytes hold something.
    pub fn map(file: &File, start: u64, len: u64, readable: u64) -> io::Result<Arc<Self>> {
        let have = file.metadata()?.len();
        if have != len {
            let text = format!("file has {have} bytes, not {len}");
            return Err(io::Error::new(io::ErrorKind::InvalidData, text));
        }
        let map = MmapOptions::new().len(len as usize).map_raw(file).map_err(|error| {
            // What the system says then, "cannot allocate memory", leads nobody to the cause.
            match error.raw_os_error() {
                Some(code) if code == rustix::io::Errno::NOMEM.raw_os_error() => io::Error::other(
                    "the system maps no more files for this process; raise vm.max_map_count",
                ),
                _ => error,
            }
        })?;
        Ok(Self::new(start, Arc::new(Memory(map)), OnSync::File, readable))
    }

    /// As [`map`](Self::map), for a segment that [`SegmentWriter::write`] writes by system calls: the file
    /// stays open until the segment is full.
    pub fn map_to_write(file: File, start: u64, len: u64, readable: u64) -> io::Result<Arc<Self>> {
        let segment = Self::map(&file, start, len, readable)?;
        segment.give_file(Some(file));
        Ok(segment)
    }

    fn give_file(&self, file: Option<File>) {
        *self.file.lock().unwrap_or_else(PoisonError::into_inner) = file;
    }

    /// A segment in memory; `on_sync` is given what is synced and where it lies.
    pub(crate) fn simulated(
        start: u64,
        memory: Arc<Memory>,
        readable: u64,
        on_sync: impl Fn(u64, &[u8]) -> io::Result<()> + Send + Sync + 'static,
    ) -> Arc<Self> {
        Self::new(start, memory, OnSync::Simulated(Box::new(on_sync)), readable)
    }

    fn new(start: u64, memory: Arc<Memory>, on_sync: OnSync, readable: u64) -> Arc<Self> {
        let len = memory.len();
        assert!(readable <= len, "readable beyond the segment's end");
        let (readable, has_writer) = (AtomicU64::new(readable), AtomicBool::new(false));
        Arc::new(Self { start, len, memory, on_sync, readable, has_writer, file: Mutex::default() })
    }

    /// Offset of its first byte in the log or queue.
    pub fn start(&self) -> u64 {
        self.start
    }

    /// Its length in bytes.
    pub fn len(&self) -> u64 {
        self.len
    }

    /// Whether it has no bytes, which no segment has.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Offset behind its last byte.
    pub fn end(&self) -> u64 {
        self.start + self.len
    }

    /// Up to where bytes may be read, counted from its start.
    pub fn readable(&self) -> u64 {
        self.readable.load(Ordering::Acquire)
    }

    /// The bytes `at..at + len`, if all of them are readable.
    pub fn read(&self, at: u64, len: u64) -> Option<&[u8]> {
        at.checked_add(len).filter(|end| *end <= self.readable())?;
        // SAFETY: the range lies before the readable mark, which is never beyond the memory's end;
        // nobody writes there any more; the memory lives as long as `self`.
        Some(unsafe { std::slice::from_raw_parts(self.memory.at(at), len as usize) })
    }

    /// The readable bytes from `at` on; `None` if `at` lies behind them.
    pub fn read_from(&self, at: u64) -> Option<&[u8]> {
        self.read(at, self.readable().checked_sub(at)?)
    }

    /// As [`read`](Self::read), keeping the segment alive for as long as the slice.
    pub fn slice(self: &Arc<Self>, at: u64, len: u64) -> Option<SegmentSlice> {
        self.read(at, len)?;
        Some(SegmentSlice { segment: self.clone(), at, len })
    }

    /// The right to write; `None` while somebody has it.
    pub fn writer(self: &Arc<Self>) -> Option<SegmentWriter> {
        let had_writer = self.has_writer.swap(true, Ordering::AcqRel);
        (!had_writer).then(|| {
            let file = self.file.lock().unwrap_or_else(PoisonError::into_inner).take();
            SegmentWriter { segment: self.clone(), file }
        })
    }

    /// The segment as words, which it is for good: `None` if it has readable bytes, which may not
    /// change, or somebody who writes bytes.
    pub fn into_words(self: Arc<Self>) -> Option<Words> {
        let is_free = self.readable() == 0 && !self.has_writer.swap(true, Ordering::AcqRel);
        is_free.then_some(Words(self))
    }

    /// Brings the readable bytes `from..to` to the disk.
    pub fn sync(&self, from: u64, to: u64) -> io::Result<()> {
        let Some(bytes) = to.checked_sub(from).and_then(|len| self.read(from, len)) else {
            return Err(io::Error::new(io::ErrorKind::InvalidInput, "sync of what is unreadable"));
        };
        match &self.on_sync {
            _ if bytes.is_empty() => Ok(()),
            OnSync::File => self.memory.0.flush_range(from as usize, bytes.len()),
            OnSync::Simulated(hook) => hook(from, bytes),
        }
    }

    /// Has the kernel make the pages of a range present, so that writing them does not fault. For the
    /// stretch just ahead of a writer: pages made present get dirty and are written out. A kernel that
    /// cannot do it is no error.
    pub fn prefault(&self, at: u64, len: u64) {
        let at = at.min(self.len);
        let len = len.min(self.len - at);
        if matches!(self.on_sync, OnSync::File) && len > 0 {
            let _ = self.memory.0.advise_range(Advice::PopulateWrite, at as usize, len as usize);
        }
    }
}

impl fmt::Debug for Segment {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Segment")
            .field("start", &self.start)
            .field("len", &self.len)
            .field("readable", &self.readable())
            .finish_non_exhaustive()
    }
}

/// The right to write into a segment, from its readable mark on.
#[derive(Debug)]
pub struct SegmentWriter {
    segment: Arc<Segment>,
    file: Option<File>,
}

impl SegmentWriter {
    /// The segment.
    pub fn segment(&self) -> &Arc<Segment> {
        &self.segment
    }

    /// The bytes `at..at + len`, to be written; `None` if they do not lie between the readable mark
    /// and the segment's end.
    pub fn bytes(&mut self, at: u64, len: u64) -> Option<&mut [u8]> {
        let segment = &self.segment;
        let end = at.checked_add(len)?;
        if at < segment.readable() || end > segment.len {
            return None;
        }
        // SAFETY: the range lies within the memory and not before the readable mark, so no reader has
        // it and, as the mark is moved by this writer alone, none gets it while the slice lives; there
        // is one writer (`has_writer`), which the slice borrows mutably.
        Some(unsafe { std::slice::from_raw_parts_mut(segment.memory.at(at), len as usize) })
    }

    /// Writes `bytes` to `at`, by a system call if the segment is of a file that was mapped for that:
    /// touching a page of a mapping for the first time, or again after a sync, costs the kernel far more
    /// than taking a stretch of bytes, and has the writer wait for whatever the page is in use for. A
    /// full or failing disk is an error here, and no signal.
    ///
    /// # Errors
    /// If the system refuses, and then nobody knows how much was written; or if the place does not lie
    /// between the readable mark and the segment's end.
    pub fn write(&mut self, at: u64, bytes: &[u8]) -> io::Result<()> {
        if let Some(file) = &self.file {
            let end = at.checked_add(bytes.len() as u64);
            if at < self.segment.readable() || end.is_none_or(|end| end > self.segment.len) {
                return Err(io::ErrorKind::InvalidInput.into());
            }
            return file.write_all_at(bytes, at);
        }
        let out = self.bytes(at, bytes.len() as u64).ok_or(io::ErrorKind::InvalidInput)?;
        out.copy_from_slice(bytes);
        Ok(())
    }

    /// Lets everybody read the bytes before `end`.
    ///
    /// # Panics
    /// If `end` lies before the mark or beyond the segment's end: what is read must not change, and
    /// what is not there cannot be read.
    pub fn publish(&mut self, end: u64) {
        assert!(end >= self.segment.readable(), "the readable mark goes back");
        assert!(end <= self.segment.len, "the readable mark goes beyond the segment's end");
        self.segment.readable.store(end, Ordering::Release);
    }
}

impl Drop for SegmentWriter {
    fn drop(&mut self) {
        // A full segment is not written any more, and its file need not stay open.
        if self.segment.readable() < self.segment.len {
            self.segment.give_file(self.file.take());
        }
        self.segment.has_writer.store(false, Ordering::Release);
    }
}

/// Bytes of a word.
const WORD_BYTES: u64 = 4;

/// A whole file as 32-bit big-endian numbers, each of which is read and written as one, by anybody at any
/// time. A store releases what its thread stored before, a load acquires it: who sees a number sees what
/// was written before it. Clones are the same file.
#[derive(Clone, Debug)]
pub struct Words(Arc<Segment>);

impl Words {
    /// Bytes of the file.
    pub fn len(&self) -> u64 {
        self.0.len
    }

    /// Whether it has no bytes, which no file has.
    pub fn is_empty(&self) -> bool {
        self.0.len == 0
    }

    /// The word at byte `at`; `None` if there is none, or `at` is no multiple of 4.
    pub fn load(&self, at: u64) -> Option<u32> {
        Some(u32::from_be(self.word(at)?.load(Ordering::Acquire)))
    }

    /// Replaces the word at byte `at`. The file has to have its block there (see the module's text).
    ///
    /// # Panics
    /// If there is no such word.
    pub fn store(&self, at: u64, word: u32) {
        let place = self.word(at);
        assert!(place.is_some(), "no word at {at} in a file of {} bytes", self.0.len);
        if let Some(place) = place {
            place.store(word.to_be(), Ordering::Release);
        }
    }

    /// Brings the bytes `from..to` to the disk, as they are at some time during the call.
    pub fn sync(&self, from: u64, to: u64) -> io::Result<()> {
        if from > to || to > self.0.len {
            return Err(io::Error::new(io::ErrorKind::InvalidInput, "sync beyond the file's end"));
        }
        match &self.0.on_sync {
            _ if from == to => Ok(()),
            OnSync::File => self.0.memory.0.flush_range(from as usize, (to - from) as usize),
            OnSync::Simulated(hook) => {
                // Word by word, as others may be writing; whole words around what is asked for.
                let from = from - from % WORD_BYTES;
                let words = (from..to).step_by(WORD_BYTES as usize).map_while(|at| self.load(at));
                let bytes: Vec<u8> = words.flat_map(u32::to_be_bytes).collect();
                hook(from, &bytes)
            }
        }
    }

    fn word(&self, at: u64) -> Option<&AtomicU32> {
        let is_there = at.is_multiple_of(WORD_BYTES)
            && at.checked_add(WORD_BYTES).is_some_and(|end| end <= self.0.len);
        if !is_there {
            return None;
        }
        // SAFETY: the word lies within the memory, which lives as long as `self`; it is aligned, as the
        // memory begins at a page and `at` is a multiple of 4; and the segment has given up all other
        // access to its bytes (`into_words`: nothing is readable and the right to write is taken for
        // good), so that every access of this process to it is atomic.
        Some(unsafe { AtomicU32::from_ptr(self.0.memory.at(at).cast()) })
    }
}

/// Readable bytes of a segment, which they keep alive.
#[derive(Clone, Debug)]
pub struct SegmentSlice {
    segment: Arc<Segment>,
    at: u64,
    len: u64,
}

impl SegmentSlice {
    /// As shared bytes, without a copy.
    pub fn into_bytes(self) -> Bytes {
        Bytes::from_owner(self)
    }

    /// Offset of its first byte in the log or queue.
    pub fn offset(&self) -> u64 {
        self.segment.start + self.at
    }

    /// Takes the `len` bytes behind it in, if they are in the same segment and readable.
    pub fn extend(&mut self, len: u64) -> bool {
        let longer =
            self.len.checked_add(len).filter(|len| self.segment.read(self.at, *len).is_some());
        self.len = longer.unwrap_or(self.len);
        longer.is_some()
    }
}

impl Deref for SegmentSlice {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        // What was readable once stays so.
        self.segment.read(self.at, self.len).unwrap_or_default()
    }
}

impl AsRef<[u8]> for SegmentSlice {
    fn as_ref(&self) -> &[u8] {
        self
    }
}

/// The bytes of a segment: a mapped file, or zeroed memory in its place.
pub(crate) struct Memory(MmapRaw);

impl Memory {
    /// Zeroed memory that stands for a file.
    pub(crate) fn zeroed(len: u64) -> io::Result<Arc<Self>> {
        Ok(Arc::new(Self(MmapOptions::new().len(len as usize).map_anon()?.into())))
    }

    /// Its length in bytes.
    pub(crate) fn len(&self) -> u64 {
        self.0.len() as u64
    }

    fn at(&self, at: u64) -> *mut u8 {
        // The callers have checked the place against the length, so the sum stays within the memory.
        self.0.as_mut_ptr().wrapping_add(at as usize)
    }

    /// Copies what lies at `at`, as the simulated disk does when it is read as a file. Not to be called
    /// for bytes that a writer is at work on; the simulation does so only between steps.
    pub(crate) fn copy_out(&self, at: u64, out: &mut [u8]) {
        assert!(self.holds(at, out.len()), "read beyond a file's end");
        // SAFETY: the range lies within the memory, no one writes there (the caller's promise), and
        // `out` is a separate, exclusively borrowed slice.
        unsafe { std::ptr::copy_nonoverlapping(self.at(at), out.as_mut_ptr(), out.len()) }
    }

    /// Writes to `at`, past all segments; as for [`copy_out`](Self::copy_out), only while no reader or
    /// writer is at work there.
    pub(crate) fn copy_in(&self, at: u64, bytes: &[u8]) {
        assert!(self.holds(at, bytes.len()), "write beyond a file's end");
        // SAFETY: the range lies within the memory, nobody reads or writes there (the caller's
        // promise), and `bytes` is a separate slice.
        unsafe { std::ptr::copy_nonoverlapping(bytes.as_ptr(), self.at(at), bytes.len()) }
    }

    fn holds(&self, at: u64, len: usize) -> bool {
        at.checked_add(len as u64).is_some_and(|end| end <= self.len())
    }
}

#[cfg(test)]
mod tests;
