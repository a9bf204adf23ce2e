//! The log's actors: who writes it, flushes it, gives it files, and turns it into queues.
//!
//! | file | actor | thread |
//! |---|---|---|
//! | [`appender`] | the only writer of the tail | `log`, or shared with the connections |
//! | [`flusher`] | brings it to the disk, answers who waits for that | `flush` |
//! | [`allocator`] | makes the next file ahead of its need | `files` |
//! | [`preparer`] | writes zeros ahead of the end, for `SYNC_FLUSH` | `files` |
//! | [`cleaner`] | removes old files, refuses messages while the disk is full | `cleaner` |
//! | [`checkpointer`] | brings queues to the disk, writes down how far | `checkpoint` |
//! | [`dispatcher`] | tells each queue its new entries | `dispatch`, with the queues |
//! | [`indexer`] | makes the key index behind it | `index` |
//! | [`key_lookup`] | answers queries by key | `cold` |
//!
//! [`batch`] is what travels between connections and the appender; [`state`] says whether the log
//! takes messages; [`key_index`] starts what the key index needs; `light` gives a message its offsets in the
//! queues that it is in besides its own; `own` are messages that the broker stores itself.

pub mod allocator;
pub mod appender;
pub mod batch;
pub mod checkpointer;
pub mod cleaner;
pub mod dispatcher;
pub mod flusher;
pub mod indexer;
pub mod key_index;
pub mod key_lookup;
mod light;
mod own;
pub mod preparer;
pub mod state;
