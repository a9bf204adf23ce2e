//! A piece of a file as shared memory: the one file of the project with `unsafe`.
//!
//! A [`Segment`] is a whole file mapped (or, for tests and simulation, a piece of heap). One
//! [`SegmentWriter`] may write behind the *readable* mark; everybody may read before it. Moving the
//! mark forward is what publishes bytes, so readers and the writer never touch the same byte.
//!
//! Contract of the mapping: the file is not shortened by anybody while it is mapped (the store's lock
//! keeps other brokers out). Its blocks are reserved before they are written, so a full disk is an
//! error of the reservation and not a SIGBUS; a disk that fails under a mapped page still ends the
//! process by SIGBUS, as with every mapped file.

#![allow(unsafe_code, reason = "shared memory between one writer and many readers")]

use std::{
    fs::File,
    io,
    ops::Deref,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
};

use bytes::Bytes;
use memmap2::{MmapOptions, MmapRaw};

/// See the module's text.
pub struct Segment {
    start: u64,
    len: u64,
    memory: Memory,
    readable: AtomicU64,
    writer_taken: AtomicBool,
}

enum Memory {
    Mapped { map: MmapRaw, file: File },
    Heap(HeapMemory),
}

/// Memory of a simulated file. The boxed bytes are reached through a raw pointer only.
struct HeapMemory {
    pointer: *mut [u8],
    on_sync: Box<dyn Fn(&[u8]) -> io::Result<()> + Send + Sync>,
}

// SAFETY: the pointer is owned by this value alone and freed once, in `drop`; what may be read or
// written through it at the same time is ruled by the segment's readable mark.
unsafe impl Send for HeapMemory {}
// SAFETY: as above.
unsafe impl Sync for HeapMemory {}

impl Drop for HeapMemory {
    fn drop(&mut self) {
        // SAFETY: `pointer` came from `Box::into_raw` and nobody else frees it.
        drop(unsafe { Box::from_raw(self.pointer) });
    }
}

impl Segment {
    /// Maps the first `len` bytes of `file`, which must be at least as long; its first byte is at
    /// offset `start` of the log or queue. Nothing is readable yet.
    pub fn map(file: File, start: u64, len: u64) -> io::Result<Arc<Self>> {
        let have = file.metadata()?.len();
        if have < len {
            let text = format!("file has {have} bytes, {len} wanted");
            return Err(io::Error::new(io::ErrorKind::UnexpectedEof, text));
        }
        let map = MmapOptions::new().len(len as usize).map_raw(&file)?;
        Ok(Self::new(start, len, Memory::Mapped { map, file }))
    }

    /// A segment of heap with this content; `on_sync` is given the content when it is synced.
    pub fn heap(
        start: u64,
        content: Vec<u8>,
        on_sync: impl Fn(&[u8]) -> io::Result<()> + Send + Sync + 'static,
    ) -> Arc<Self> {
        let len = content.len() as u64;
        let pointer = Box::into_raw(content.into_boxed_slice());
        Self::new(start, len, Memory::Heap(HeapMemory { pointer, on_sync: Box::new(on_sync) }))
    }

    fn new(start: u64, len: u64, memory: Memory) -> Arc<Self> {
        Arc::new(Self {
            start,
            len,
            memory,
            readable: AtomicU64::new(0),
            writer_taken: AtomicBool::new(false),
        })
    }

    /// Offset of its first byte in the log or queue.
    pub fn start(&self) -> u64 {
        self.start
    }

    /// Its length in bytes.
    pub fn len(&self) -> u64 {
        self.len
    }

    /// Whether it has no bytes.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    fn base(&self) -> *mut u8 {
        match &self.memory {
            Memory::Mapped { map, .. } => map.as_mut_ptr(),
            Memory::Heap(heap) => heap.pointer.cast(),
        }
    }

    /// Up to where bytes may be read.
    pub fn readable(&self) -> u64 {
        self.readable.load(Ordering::Acquire)
    }

    /// Lets everybody read the bytes before `end`. Marks only move forward while a writer lives;
    /// whoever opens a file that was written before calls this with what recovery found.
    pub fn publish(&self, end: u64) {
        assert!(end <= self.len, "published beyond the segment's end");
        self.readable.fetch_max(end, Ordering::Release);
    }

    /// Puts the mark where recovery found the end, back or forward. Only before anybody else has the
    /// segment: a slice handed out before would lie behind the mark.
    pub(crate) fn set_readable(&self, end: u64) {
        assert!(end <= self.len, "mark beyond the segment's end");
        self.readable.store(end, Ordering::Release);
    }

    /// The bytes `at..at + len`, if all of them are readable.
    pub fn read(&self, at: u64, len: u64) -> Option<&[u8]> {
        let end = at.checked_add(len).filter(|end| *end <= self.readable())?;
        debug_assert!(end <= self.len);
        // SAFETY: the range lies within the memory (readable ≤ len) and before the readable mark,
        // where nobody writes any more; the memory lives as long as `self`.
        Some(unsafe { std::slice::from_raw_parts(self.base().add(at as usize), len as usize) })
    }

    /// As [`read`](Self::read), keeping the segment alive for as long as the slice.
    pub fn slice(self: &Arc<Self>, at: u64, len: u64) -> Option<SegmentSlice> {
        self.read(at, len)?;
        Some(SegmentSlice { segment: self.clone(), at, len })
    }

    /// The right to write; `None` if somebody has it.
    pub fn writer(self: &Arc<Self>) -> Option<SegmentWriter> {
        let taken = self.writer_taken.swap(true, Ordering::AcqRel);
        (!taken).then(|| SegmentWriter { segment: self.clone() })
    }

    /// Brings everything written so far to the disk.
    pub fn sync(&self) -> io::Result<()> {
        match &self.memory {
            Memory::Mapped { file, .. } => rustix::fs::fdatasync(file).map_err(io::Error::from),
            Memory::Heap(heap) => (heap.on_sync)(self.read(0, self.readable()).unwrap_or_default()),
        }
    }

    /// Reserves blocks of a sparse file, so that writing there cannot fail for want of room.
    pub fn reserve(&self, at: u64, len: u64) -> io::Result<()> {
        match &self.memory {
            Memory::Mapped { file, .. } => {
                rustix::fs::fallocate(file, rustix::fs::FallocateFlags::empty(), at, len)
                    .map_err(io::Error::from)
            }
            Memory::Heap(_) => Ok(()),
        }
    }

    /// Maps the pages of a range before they are written; a kernel that cannot is no error.
    pub fn prefault(&self, at: u64, len: u64) {
        if let Memory::Mapped { map, .. } = &self.memory {
            let end = (at + len).min(self.len);
            let at = at.min(end);
            // SAFETY: the range lies within the mapping; populating changes no byte.
            let _ = unsafe {
                rustix::mm::madvise(
                    map.as_mut_ptr().add(at as usize).cast(),
                    (end - at) as usize,
                    rustix::mm::Advice::LinuxPopulateWrite,
                )
            };
        }
    }
}

/// The right to write into a segment, behind its readable mark.
pub struct SegmentWriter {
    segment: Arc<Segment>,
}

impl SegmentWriter {
    /// The segment.
    pub fn segment(&self) -> &Arc<Segment> {
        &self.segment
    }

    /// Makes everything from `at` on zero, so that nothing stale can be taken for a record.
    pub fn clear_from(&mut self, at: u64) -> io::Result<()> {
        let segment = self.segment.clone();
        let len = segment.len - at.min(segment.len);
        if len == 0 {
            return Ok(());
        }
        match &segment.memory {
            Memory::Mapped { file, .. } => {
                use rustix::fs::{FallocateFlags, fallocate};
                let punch = FallocateFlags::PUNCH_HOLE | FallocateFlags::KEEP_SIZE;
                fallocate(file, punch, at, len)?;
                fallocate(file, FallocateFlags::empty(), at, len)?;
            }
            Memory::Heap(_) => {
                if let Some(bytes) = self.bytes(at, len) {
                    bytes.fill(0);
                }
            }
        }
        Ok(())
    }

    /// The bytes `at..at + len`, to be written; `None` if they do not lie between the readable mark
    /// and the segment's end.
    pub fn bytes(&mut self, at: u64, len: u64) -> Option<&mut [u8]> {
        let segment = &self.segment;
        let end = at.checked_add(len)?;
        if at < segment.readable() || end > segment.len {
            return None;
        }
        // SAFETY: the range lies within the memory and behind the readable mark, so no reader has
        // it; there is one writer (`writer_taken`) and the slice borrows it mutably.
        Some(unsafe {
            std::slice::from_raw_parts_mut(segment.base().add(at as usize), len as usize)
        })
    }
}

impl Drop for SegmentWriter {
    fn drop(&mut self) {
        self.segment.writer_taken.store(false, Ordering::Release);
    }
}

/// Readable bytes of a segment, which they keep alive.
#[derive(Clone)]
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
        let fits = self.segment.read(self.at, self.len + len).is_some();
        if fits {
            self.len += len;
        }
        fits
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
