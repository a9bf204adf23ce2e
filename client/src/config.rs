//! What a client can be told.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use gantry_codec::SerializeType;

use crate::clock::WallClock;
use crate::connection::{Inbound, NotSupported};
use crate::transport::{Connector, TcpConnector};

/// Settings of a [`crate::Client`], each with the default of the official clients where they have one.
#[derive(Clone)]
pub struct ClientConfig {
    /// Name servers as `host:port`; one is asked at a time, the next one when it fails.
    pub namesrv: Vec<String>,
    /// The name under which brokers know this client; it must differ between the clients of a group.
    /// Default: `gantry@PID@N`, N counting the configurations of this process.
    pub client_id: String,
    /// How connections are made. Default: TCP.
    pub connector: Arc<dyn Connector>,
    /// Who handles requests of the servers. Default: each is answered "not supported", which makes
    /// sense for every client that does not take part in a consumer group's rebalancing.
    pub inbound: Arc<dyn Inbound>,
    /// Time limit of a connection attempt. Default: 3 s.
    pub connect_timeout: Duration,
    /// Time limit of a request; for a pull it is added to the time that the broker may hold it.
    /// Default: 3 s.
    pub request_timeout: Duration,
    /// How often each known broker gets a heartbeat. Brokers forget a client after 120 s of silence.
    /// Default: 30 s.
    pub heartbeat_interval: Duration,
    /// How often the routes in use are asked for again. Default: 30 s.
    pub route_interval: Duration,
    /// Unsent bytes per connection beyond which senders have to wait. Default: 16 MiB.
    pub outbox_bytes_max: usize,
    /// Serialization of request headers. Default: JSON.
    pub serialize_type: SerializeType,
    /// Queues of a topic that the broker is to create on the first send. Default: 4.
    pub default_topic_queues: i32,
    /// Where timestamps of messages come from. Default: the machine's clock.
    pub clock: WallClock,
    /// Seed of everything random: the first queue of a producer, the prefix of unique keys.
    /// Default: drawn anew for each configuration.
    pub seed: u64,
}

impl Default for ClientConfig {
    fn default() -> Self {
        ClientConfig {
            namesrv: Vec::new(),
            client_id: fresh_client_id(),
            connector: Arc::new(TcpConnector),
            inbound: Arc::new(NotSupported),
            connect_timeout: Duration::from_secs(3),
            request_timeout: Duration::from_secs(3),
            heartbeat_interval: Duration::from_secs(30),
            route_interval: Duration::from_secs(30),
            outbox_bytes_max: 16 * 1024 * 1024,
            serialize_type: SerializeType::Json,
            default_topic_queues: 4,
            clock: WallClock::System,
            seed: fastrand::u64(..),
        }
    }
}

impl ClientConfig {
    /// The defaults with these name servers, given as `host:port` separated by semicolons.
    pub fn with_namesrv(addresses: &str) -> ClientConfig {
        let addresses = addresses.split(';').map(str::trim).filter(|address| !address.is_empty());
        ClientConfig { namesrv: addresses.map(str::to_owned).collect(), ..Self::default() }
    }
}

impl fmt::Debug for ClientConfig {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ClientConfig")
            .field("namesrv", &self.namesrv)
            .field("client_id", &self.client_id)
            .finish_non_exhaustive()
    }
}

fn fresh_client_id() -> String {
    static COUNT: AtomicU32 = AtomicU32::new(0);
    let number = COUNT.fetch_add(1, Ordering::Relaxed);
    format!("gantry@{}@{number}", std::process::id())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn name_servers_are_split() {
        let config = ClientConfig::with_namesrv("a:9876; b:9876;");
        assert_eq!(config.namesrv, ["a:9876", "b:9876"]);
    }

    #[test]
    fn client_ids_differ() {
        assert_ne!(ClientConfig::default().client_id, ClientConfig::default().client_id);
    }
}
