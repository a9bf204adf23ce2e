//! The key index of a broker: which actors it has, and how they start.
//!
//! Without `messageIndexEnable` there are none, and no files are touched; queries find nothing.

use std::{sync::Arc, time::Duration};

use gantry_conf::IndexConfig;
use gantry_storage::{Clock, Disk, Index, IndexError, IndexLayout, Store};
use gantry_supervisor::{ChildSpec, Place, Policy, Tree};
use slog::Logger;

use super::{
    dispatcher::DispatchSignal,
    indexer::{IndexSignal, Indexer, IndexerLink, IndexerParts},
    key_lookup::{KeyLookup, KeyQueries},
};

/// How long a stop may take: a file of the index is synced as a whole.
const STOP_LIMIT: Duration = Duration::from_secs(60);
/// Time between looks at an index that is waited for.
const CATCH_UP_STEP: Duration = Duration::from_millis(1);

/// What the index's actors are made from.
pub struct KeyIndexParts<'a> {
    /// Where they are to be.
    pub tree: &'a Tree,
    /// The store.
    pub store: &'a Arc<Store>,
    /// Its disk.
    pub disk: &'a Arc<dyn Disk>,
    /// Names the index's files.
    pub clock: &'a Arc<dyn Clock>,
    /// How far the dispatcher is.
    pub dispatched: &'a Arc<DispatchSignal>,
    /// The indexer's log.
    pub log: Logger,
}

/// The key index of a broker, if it has one.
pub struct KeyIndex {
    parts: Option<(Index, IndexerLink)>,
    /// How queries are answered.
    pub queries: KeyQueries,
}

impl KeyIndex {
    /// Starts the actors. The indexer begins with [`begin`](Self::begin).
    ///
    /// # Errors
    /// If a file of the index is not as large as configured. Nothing else about the index keeps a broker
    /// from starting.
    pub fn start(config: &IndexConfig, parts: KeyIndexParts<'_>) -> Result<Self, IndexError> {
        let mut queries = KeyQueries {
            lookup: None,
            messages_max: config.max_msgs_num_batch,
            unique_messages_max: config.default_query_max_num,
        };
        if !config.message_index_enable {
            return Ok(Self { parts: None, queries });
        }
        let KeyIndexParts { tree, store, disk, clock, dispatched, log } = parts;
        let layout =
            IndexLayout { hash_slots: config.max_hash_slot_num, entries: config.max_index_num };
        let dir = store.config().index_dir();
        let index = Index::new(gantry_storage::IndexConfig { dir, layout });
        // Any other error is told by the indexer, which tries again.
        if let Err(e @ IndexError::Length { .. }) = index.check(&**disk) {
            return Err(e);
        }
        let signal = Arc::new(IndexSignal::default());
        let parts = IndexerParts {
            store: store.clone(),
            index: index.clone(),
            disk: disk.clone(),
            clock: clock.clone(),
            dispatched: dispatched.clone(),
            signal: signal.clone(),
            log_to: log,
        };
        let spec = ChildSpec::new("indexer", Policy::RestartFromDisk, move |incarnation| {
            Ok(Indexer::new(parts.clone(), incarnation))
        });
        let indexer = tree.spawn(spec.place(Place::named("index")).stop_limit(STOP_LIMIT));
        let (looked_up, read) = (index.clone(), store.log().clone());
        let spec = ChildSpec::new("key look-up", Policy::RestartEmpty, move |_| {
            Ok(KeyLookup::new(looked_up.clone(), read.clone()))
        });
        queries.lookup = Some(tree.spawn(spec.place(Place::named("cold"))));
        Ok(Self { parts: Some((index, IndexerLink { indexer, signal })), queries })
    }

    /// How the indexer is woken.
    pub fn link(&self) -> Option<IndexerLink> {
        self.parts.as_ref().map(|(_, link)| link.clone())
    }

    /// The index, for who trims it.
    pub fn index(&self) -> Option<Index> {
        self.parts.as_ref().map(|(index, _)| index.clone())
    }

    /// Has the indexer begin. With `messageIndexSafe`, waits until it has everything that the log has
    /// now, or cannot go on.
    pub async fn begin(&self, config: &IndexConfig, store: &Store) {
        let Some((index, link)) = &self.parts else { return };
        link.begin();
        let end = store.log().max_offset();
        while config.message_index_safe && index.position() < end && !link.signal.is_failing() {
            tokio::time::sleep(CATCH_UP_STEP).await;
        }
    }
}
