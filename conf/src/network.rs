//! The part of the configuration that every listening daemon has.

use std::{
    net::{IpAddr, Ipv4Addr, SocketAddr},
    time::Duration,
};

use serde::{Deserialize, Deserializer, de::Error as _};

use crate::values::{int, millis};

/// Smallest memory budget: the largest frame (wire.md 1.1).
const FRAME_BYTES_MAX: i64 = 16 * 1024 * 1024;

/// Sockets, and what they may hold.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct NetworkConfig {
    /// Address to listen on.
    #[serde(deserialize_with = "bind_address")]
    pub bind_address: IpAddr,
    /// Port to listen on; 0 takes a free one.
    #[serde(deserialize_with = "int::<0, 65_535, _, _>")]
    pub listen_port: u16,
    /// Threads that serve connections; 0 chooses by cores.
    #[serde(deserialize_with = "int::<0, 1024, _, _>")]
    pub io_threads: usize,
    /// Unsent bytes above which a connection reads nothing more.
    #[serde(deserialize_with = "int::<65_536, 4_294_967_296, _, _>")]
    pub connection_outbox_bytes: usize,
    /// How long a client may leave its answers untaken.
    #[serde(rename = "clientStallTimeoutMs", deserialize_with = "millis::<100, 86_400_000, _>")]
    pub client_stall_timeout: Duration,
    /// Bytes of requests in work over all connections.
    #[serde(deserialize_with = "int::<FRAME_BYTES_MAX, 1_099_511_627_776, _, _>")]
    pub memory_budget: usize,
    /// How long a connection may be silent; nothing for ever.
    #[serde(rename = "serverChannelMaxIdleTimeSeconds", deserialize_with = "idle_time")]
    pub idle_time_max: Option<Duration>,
}

impl NetworkConfig {
    /// Address and port to listen on.
    pub fn listen_addr(&self) -> SocketAddr {
        SocketAddr::new(self.bind_address, self.listen_port)
    }
}

fn bind_address<'de, D: Deserializer<'de>>(from: D) -> Result<IpAddr, D::Error> {
    match String::deserialize(from)?.trim() {
        "localhost" => Ok(Ipv4Addr::LOCALHOST.into()),
        text => text.parse().map_err(|_| D::Error::custom("must be an IP address")),
    }
}

fn idle_time<'de, D: Deserializer<'de>>(from: D) -> Result<Option<Duration>, D::Error> {
    let seconds = int::<0, 86_400, u64, D>(from)?;
    Ok((seconds > 0).then(|| Duration::from_secs(seconds)))
}
