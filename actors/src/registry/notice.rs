//! The notice that a group's smallest broker id has changed (905, wire.md 4.3), on its way to brokers.
//!
//! Brokers serve this request on their own port and not on the connection on which they registered,
//! so each notice opens a connection, writes one one-way frame and closes. Nobody answers; a broker
//! that misses it learns the same with its next registration or member-group query.

use std::{io, sync::Arc, time::Duration};

use bytes::BytesMut;
use gantry_client::Connector;
use gantry_codec::{Command, request_code, requests::route::MinBrokerIdChangeHeader};
use tokio::{io::AsyncWriteExt, time};

use super::registration::MinIdChanged;

/// Limit of connecting and writing.
const TIMEOUT: Duration = Duration::from_secs(3);

/// The notice as a request.
pub fn command(change: &MinIdChanged) -> Command {
    let text = |text: &Arc<str>| text.to_string();
    Command::oneway(request_code::NOTIFY_MIN_BROKER_ID_CHANGE).with_header(
        &MinBrokerIdChangeHeader {
            min_broker_id: Some(change.min_id),
            broker_name: Some(text(&change.broker_name)),
            min_broker_addr: Some(text(&change.min_addr)),
            offline_broker_addr: change.offline_addr.as_ref().map(text),
            ha_broker_addr: change.ha_server_addr.as_ref().map(text),
        },
    )
}

/// Sends a one-way request to the broker at `addr`.
pub async fn send(
    connector: Arc<dyn Connector>,
    addr: Arc<str>,
    command: Command,
) -> io::Result<()> {
    let sending = async {
        let mut frame = BytesMut::new();
        command.encode(&mut frame);
        let mut stream = connector.connect(&addr).await?;
        stream.write_all(&frame).await?;
        stream.shutdown().await
    };
    time::timeout(TIMEOUT, sending).await.map_err(io::Error::from)?
}
