//! Consuming as a member of a group: queues are shared out, messages are pushed to a handler.
//!
//! ```text
//! broker ── ids changed (40), reset (220) ──→ notices ──→ membership task ──→ one worker per queue
//!                                                              │ heartbeat, ids (38),     │ pull, commit,
//!                                                              └ locks (41, 42) ─→ broker ┴ send back ─→ broker
//! ```
//!
//! | where | what |
//! |---|---|
//! | `config` | settings, the handler |
//! | `allocation` | which queues are ours |
//! | `membership` | the task that keeps the share and the locks |
//! | `worker`, `buffer`, `lease` | one queue |
//! | `local_offsets` | how far a member of a broadcasting group is |
//! | `notices` | what brokers ask of a consumer |
//!
//! Messages come at least once. One that a handler had while its queue went to another member comes
//! there again, in a group without order; in order the lock of the queue changes hands when the handler has
//! ended, so nothing is seen twice or out of order but what a member left unfinished when it died.
//! In a broadcasting group every member has all queues, no locks and no retries, and its own progress.

mod allocation;
mod buffer;
mod config;
mod lease;
mod local_offsets;
mod membership;
mod notices;
mod worker;

use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};

use gantry_codec::body::MessageQueue;
use thiserror::Error;
use tokio::sync::{Semaphore, oneshot};
use tokio::task::JoinHandle;

pub use self::config::{Handler, Handling, PushConfig, Verdict};
use self::local_offsets::LocalOffsets;
use self::membership::Membership;
use self::notices::Notices;
use self::worker::Common;
use crate::client::Client;
use crate::config::ClientConfig;
use crate::route::RouteError;

/// Why a consumer was not started.
#[derive(Debug, Error)]
pub enum PushStartError {
    /// A topic has no route.
    #[error(transparent)]
    Route(#[from] RouteError),
    /// The file of a broadcasting member cannot be read.
    #[error("the offsets in {path} cannot be read: {error}")]
    Offsets {
        /// The file.
        path: String,
        /// What the system or the parser said.
        error: std::io::Error,
    },
}

fn open_offsets(path: &Path) -> Result<LocalOffsets, PushStartError> {
    let path_text = || path.display().to_string();
    LocalOffsets::open(path).map_err(|error| PushStartError::Offsets { path: path_text(), error })
}

/// A running member of a group. Dropping it ends it as a crash would: nothing is told to the brokers.
#[derive(Debug)]
pub struct PushConsumer {
    client: Client,
    /// The queues that it has now.
    owned: Arc<Mutex<Vec<MessageQueue>>>,
    stop: Option<oneshot::Sender<()>>,
    task: JoinHandle<()>,
}

impl PushConsumer {
    /// Joins the group with a client of its own. Queues come as soon as the brokers have told who the
    /// members are.
    ///
    /// # Errors
    /// A topic has no route; the file of a broadcasting member cannot be read.
    pub async fn start(
        mut client: ClientConfig,
        config: PushConfig,
        handler: impl Handler,
    ) -> Result<PushConsumer, PushStartError> {
        let local = config.broadcast.as_deref().map(open_offsets).transpose()?;
        let notices = Arc::new(Notices::new(&config, Arc::clone(&client.inbound)));
        client.inbound = Arc::clone(&notices) as _;
        let client = Client::new(client);
        for (topic, _) in &config.subscriptions {
            client.routes().get(topic).await?;
        }
        let common = Common {
            puller: client.pull_consumer(&config.group),
            permits: Arc::new(Semaphore::new(config.handlers_max.max(1))),
            client: client.clone(),
            config: Arc::new(config),
            handler: Arc::new(handler),
            troubled: Arc::default(),
            local: local.map(Arc::new),
        };
        let owned = Arc::default();
        let (stop, stopped) = oneshot::channel();
        let membership = Membership::new(common, notices, Arc::clone(&owned));
        let task = tokio::spawn(membership.run(stopped));
        Ok(PushConsumer { client, owned, stop: Some(stop), task })
    }

    /// The client that it works with.
    pub fn client(&self) -> &Client {
        &self.client
    }

    /// The queues that it consumes now, those of the retry topic among them.
    pub fn queues(&self) -> Vec<MessageQueue> {
        self.owned.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Leaves in order: handlers that run are waited for, progress is committed, locks are given up, and
    /// the brokers are told, so that the others take over at once.
    pub async fn stop(mut self) {
        if let Some(stop) = self.stop.take() {
            // Who is gone already needs not be told.
            let _ = stop.send(());
        }
        let _ = (&mut self.task).await;
        self.client.close();
    }
}

impl Drop for PushConsumer {
    fn drop(&mut self) {
        self.task.abort();
    }
}
