//! What producers, consumers and admin calls of one program share.
//!
//! A [`Client`] holds the connections, the routes and the list of groups that go into heartbeats, and
//! runs one task that sends the heartbeats and asks for the routes again. Clones share all of it; when
//! the last clone and the last producer or consumer made from it are gone, the task and the
//! connections end. Brokers see one client: one client id, one connection for each of them.

use std::net::{IpAddr, Ipv4Addr};
use std::sync::{Arc, Mutex, PoisonError, Weak};

use gantry_codec::body::MessageQueue;
use gantry_codec::message_id::UniqueKeys;
use gantry_codec::requests::group::UnregisterClientHeader;
use gantry_codec::{Command, request_code};
use thiserror::Error;
use tokio::task::AbortHandle;

use crate::admin::Admin;
use crate::config::ClientConfig;
use crate::connection::Connection;
use crate::consumer::PullConsumer;
use crate::error::{CallError, ConnectError};
use crate::heartbeat::{self, Groups};
use crate::producer::Producer;
use crate::remoting::Remoting;
use crate::route::{RouteCache, RouteError};

/// A call to the broker of a queue failed.
#[derive(Debug, Clone, Error)]
pub enum QueueError {
    /// The broker could not be found.
    #[error(transparent)]
    Route(#[from] RouteError),
    /// The call to it failed.
    #[error(transparent)]
    Call(#[from] CallError),
}

/// One client of a cluster; see the module's text.
#[derive(Debug, Clone)]
pub struct Client {
    inner: Arc<Inner>,
}

#[derive(Debug)]
pub(crate) struct Inner {
    pub(crate) remoting: Arc<Remoting>,
    pub(crate) routes: RouteCache,
    pub(crate) groups: Groups,
    unique_keys: UniqueKeys,
    random: Mutex<fastrand::Rng>,
    upkeep: AbortHandle,
}

impl Client {
    /// Makes a client; it connects to nothing before it is asked to.
    ///
    /// # Panics
    /// Outside of a tokio runtime.
    pub fn new(config: ClientConfig) -> Client {
        let mut random = fastrand::Rng::with_seed(config.seed);
        let localhost = IpAddr::V4(Ipv4Addr::LOCALHOST);
        let unique_keys = UniqueKeys::new(localhost, random.u32(..), random.u32(..));
        let remoting = Arc::new(Remoting::new(config));
        let inner = Arc::new_cyclic(|inner: &Weak<Inner>| Inner {
            routes: RouteCache::new(Arc::clone(&remoting)),
            upkeep: tokio::spawn(heartbeat::upkeep(
                Weak::clone(inner),
                remoting.config().heartbeat_interval,
                remoting.config().route_interval,
            ))
            .abort_handle(),
            remoting,
            groups: Groups::default(),
            unique_keys,
            random: Mutex::new(random),
        });
        Client { inner }
    }

    /// The settings.
    pub fn config(&self) -> &ClientConfig {
        self.inner.remoting.config()
    }

    /// A producer of this group. Its group goes into heartbeats from now on.
    pub fn producer(&self, group: &str) -> Producer {
        Producer::new(self.clone(), group)
    }

    /// A pull consumer of this group.
    pub fn pull_consumer(&self, group: &str) -> PullConsumer {
        PullConsumer::new(self.clone(), group)
    }

    /// Calls for the administration of brokers and name servers.
    pub fn admin(&self) -> Admin {
        Admin::new(Arc::clone(&self.inner.remoting))
    }

    /// The routes in use.
    pub fn routes(&self) -> &RouteCache {
        &self.inner.routes
    }

    /// Calls by address, for requests that have no method of their own here.
    pub fn remoting(&self) -> &Arc<Remoting> {
        &self.inner.remoting
    }

    /// The live connection to `address`, opened if need be.
    ///
    /// # Errors
    /// The network's refusal or its silence.
    pub async fn connection(&self, address: &str) -> Result<Connection, ConnectError> {
        self.inner.remoting.connection(address).await
    }

    /// Sends a heartbeat for all groups to every broker in the cached routes, one after another.
    ///
    /// # Errors
    /// The first broker's failure; the others were asked all the same.
    pub async fn heartbeat(&self) -> Result<(), CallError> {
        self.inner.heartbeat().await
    }

    /// Closes all connections. Requests under way fail; later ones open connections anew.
    pub fn close(&self) {
        self.inner.remoting.close();
    }

    /// Tells every broker in the cached routes that this client is no member of these groups.
    pub(crate) async fn unregister(
        &self,
        producer_group: Option<&str>,
        consumer_group: Option<&str>,
    ) -> Result<(), CallError> {
        let header = UnregisterClientHeader {
            client_id: self.config().client_id.clone(),
            producer_group: producer_group.map(str::to_owned),
            consumer_group: consumer_group.map(str::to_owned),
        };
        let request = Command::request(request_code::UNREGISTER_CLIENT).with_header(&header);
        self.inner.tell_brokers(&request, false).await
    }

    pub(crate) fn inner(&self) -> &Inner {
        &self.inner
    }

    /// Calls the master of a queue's broker.
    pub(crate) async fn call_master(
        &self,
        queue: &MessageQueue,
        request: Command,
    ) -> Result<Command, QueueError> {
        let address = self.master_of(queue).await?;
        Ok(self.inner.remoting.call(&address, request).await?)
    }

    /// The address of the master of a queue's broker.
    pub(crate) async fn master_of(&self, queue: &MessageQueue) -> Result<String, RouteError> {
        let route = self.inner.routes.get_or_borrow(&queue.topic).await?;
        let address = route.master(&queue.broker_name).map(str::to_owned);
        address.ok_or_else(|| RouteError::no_broker(queue))
    }

    /// A fresh unique key for a message born now, and that time.
    pub(crate) fn birth(&self) -> (String, i64) {
        let now_ms = self.config().clock.now_ms();
        (self.inner.unique_keys.next(now_ms).as_str().to_owned(), now_ms)
    }

    /// A number below `end` (which is not 0).
    pub(crate) fn random_below(&self, end: usize) -> usize {
        self.inner.random.lock().unwrap_or_else(PoisonError::into_inner).usize(..end)
    }
}

impl Drop for Inner {
    fn drop(&mut self) {
        self.upkeep.abort();
        self.remoting.close();
    }
}
