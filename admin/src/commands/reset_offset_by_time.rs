//! `resetOffsetByTime`: a group goes on at a time, or one of its queues at an offset.

use gantry_codec::{body::MessageQueueMap, requests::offset::ResetOffsetHeader};
use serde_json::json;

use crate::{cluster::Cluster, error::AdminError, report::Report, time::parse_time};

/// In place of a time: the end of each queue.
const TO_THE_END: i64 = -1;

/// What the command takes.
#[derive(Clone, Debug, clap::Args)]
pub struct ResetOffsetByTimeArgs {
    /// The group
    #[arg(short = 'g', long = "group", value_name = "GROUP")]
    group: String,
    /// The topic
    #[arg(short = 't', long = "topic", value_name = "TOPIC")]
    topic: String,
    /// now, milliseconds since 1970, yyyy-MM-dd#HH:mm:ss:SSS, or so long ago: -2h
    #[arg(short = 's', long = "timestamp", value_name = "TIME", allow_hyphen_values = true)]
    time: String,
    /// Forward too, not only back
    #[arg(short = 'f', long = "force", num_args = 0..=1, default_missing_value = "true",
        default_value_t = true, action = clap::ArgAction::Set, value_name = "BOOL")]
    force: bool,
    /// The broker at this address only
    #[arg(short = 'b', long = "broker", value_name = "HOST:PORT")]
    broker: Option<String>,
    /// One queue only
    #[arg(short = 'q', long = "queue", value_name = "NUMBER", requires = "broker")]
    queue: Option<i32>,
    /// To this offset, whatever the time
    #[arg(short = 'o', long = "offset", value_name = "OFFSET", requires = "queue")]
    offset: Option<i64>,
}

/// Tells every broker that has the topic.
///
/// # Errors
/// The time is none; a broker refuses or does not answer.
pub async fn run(cluster: &Cluster, args: &ResetOffsetByTimeArgs) -> Result<Report, AdminError> {
    let timestamp = match args.time.as_str() {
        "now" => TO_THE_END,
        text => parse_time(text, cluster.now_ms())
            .map_err(|why| AdminError::Usage(format!("-s {why}")))?,
    };
    let header = ResetOffsetHeader {
        topic: args.topic.clone(),
        group: args.group.clone(),
        timestamp,
        is_force: args.force,
        queue_id: args.queue,
        offset: args.offset,
    };
    reset(cluster, &header, args.broker.as_deref()).await
}

/// Resets, and shows where the group goes on; for commands that differ in the header alone.
///
/// # Errors
/// No broker has the topic; one refuses or does not answer.
pub async fn reset(
    cluster: &Cluster,
    header: &ResetOffsetHeader,
    broker: Option<&str>,
) -> Result<Report, AdminError> {
    let masters = cluster.masters_with(&header.topic).await?;
    let addresses: Vec<String> = match broker {
        Some(address) => vec![address.to_owned()],
        None => masters.into_iter().map(|master| master.address).collect(),
    };
    let mut table = MessageQueueMap::default();
    for address in addresses {
        table.0.extend(cluster.admin.reset_offset(&address, header).await?.0);
    }
    Ok(show(&table))
}

fn show(table: &MessageQueueMap<i64>) -> Report {
    let value: Vec<_> = table
        .0
        .iter()
        .map(|(queue, offset)| {
            json!({"broker": queue.broker_name, "queue": queue.queue_id, "offset": offset})
        })
        .collect();
    let rows = table.0.iter().map(|(queue, offset)| {
        vec![queue.broker_name.clone(), queue.queue_id.to_string(), offset.to_string()]
    });
    Report::new(&value).table(&["broker", "queue", "goes on at"], rows.collect())
}
