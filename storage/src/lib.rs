//! Files and offsets: the commit log, the queues' indexes, and how a store is opened and recovered.
//!
//! Byte formats are the Java broker's, so that either opens what the other wrote (store.md). All of it
//! is synchronous and is called from whatever thread owns the handle:
//!
//! | handle | owner | what it does |
//! |---|---|---|
//! | [`Store`] | the daemon | opens, recovers, closes |
//! | [`LogTail`] | one appender | appends records, writes and publishes them by the burst |
//! | [`LogFlusher`] | one flusher | syncs |
//! | [`CommitLog`] | everybody | reads what is published |
//! | [`ConsumeQueue`] | one queue actor | writes the index of a queue |
//! | [`QueueFlusher`] | whoever may wait for a disk | syncs it |
//! | [`ConsumeQueueView`] | everybody | reads it |
//! | [`DispatchReader`] | one dispatcher | goes through the log for the queues |
//! | [`IndexWriter`] | one indexer | goes through the log for the key index |
//! | [`Index`], [`find_by_key`] | whoever may wait for a disk | look messages up by key |
//! | [`pull`], [`offset_by_time`] | connections | read for consumers |
//! | [`retention`] | one cleaner | decides what goes, and when the disk is too full |
//! | [`JsonFile`] | the owner of some metadata | keeps it, crash-safe |
//! | [`timer::TimerStore`] | one actor | keeps what waits for a time |
//! | [`inspect`] | whoever has no broker running | checks, prints and mends a store |
//!
//! Everything reaches the disk through [`Disk`]; over a [`MemDisk`] the whole store runs without files
//! and with every fault that a disk can have. `unsafe` is in `segment.rs` alone.
//!
//! A message's way: appended, written and published ([`LogTail`]); read by the dispatcher and
//! indexed ([`DispatchReader`], [`ConsumeQueue`]); read by consumers ([`pull`]) as a slice of the same
//! mapping. What a crash may take is the business of [`LogFlusher`], [`Store::checkpoint`] and recovery
//! ([`Store::open`]).
//!
//! This crate must not know of actors, sockets or requests.

#![cfg_attr(
    not(test),
    deny(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing, clippy::panic)
)]

mod checkpoint;
mod clock;
mod commit_log;
mod consume_queue;
mod disk;
mod dispatch;
pub mod index;
pub mod inspect;
mod json_file;
mod offset;
mod reader;
pub mod retention;
mod segment;
mod store;
pub mod timer;

pub use checkpoint::DispatchMark;
pub use clock::{Clock, ManualClock, SystemClock};
pub use commit_log::{
    AppendError, Appended, CommitLog, FlushError, LogConfig, LogFile, LogFlusher, LogPreparer,
    LogTail, RemoveError, WrongSegment, allocate_segment,
};
pub use consume_queue::{
    ConsumeQueue, ConsumeQueueConfig, ConsumeQueueView, ExtConfig, IndexEntry, QueueError,
    QueueFlusher, trim_unopened,
};
pub use disk::{
    Disk, DiskFault, DiskOp, FaultPlan, MemDisk, RealDisk, Space, StoreLock, mappings_max,
};
pub use dispatch::{BadRecord, DelayLevels, DispatchEntry, DispatchReader, LIGHT_QUEUE_PREFIX};
pub use index::{
    AdvanceError, Index, IndexConfig, IndexError, IndexEvidence, IndexPoint, IndexReport,
    IndexWriter, KeyQuery, QueryKey, find_by_key, layout::IndexLayout,
};
pub use json_file::{JsonFile, JsonFileError};
pub use offset::{PhysicalOffset, QueueId, QueueOffset};
pub use reader::{
    Boundary, Damage, EntryFilter, Filters, PullLimits, PullOutcome, PullStatus, RecordFilter,
    is_cold, offset_by_time, pull, pull_by, pull_records,
};
pub use segment::{Segment, SegmentSlice, SegmentWriter, Words};
pub use store::{CloseError, OpenError, QueueName, Report, Store, StoreConfig};
