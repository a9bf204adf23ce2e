//! `dlq list`: which dead letters a group has, the oldest of each queue first.

use gantry_client::MessageExt;
use gantry_codec::properties;
use serde::Serialize;

use super::{
    filter::{FilterArgs, origin},
    letters::letters,
};
use crate::{
    cluster::Cluster,
    error::AdminError,
    report::{Report, or_dash},
    time::show_time,
};

/// What the command takes.
#[derive(Clone, Debug, clap::Args)]
pub struct ListArgs {
    /// The group
    #[arg(short = 'g', long = "groupName", value_name = "GROUP")]
    group: String,
    /// Letters at most
    #[arg(long, value_name = "NUMBER", default_value_t = 1000)]
    limit: usize,
    #[command(flatten)]
    filter: FilterArgs,
}

/// A dead letter as it is listed.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Listed {
    id: String,
    unique_key: Option<String>,
    topic: Option<String>,
    broker: String,
    queue: i32,
    offset: i64,
    retries: i32,
    stored_at: i64,
    born_at: i64,
    keys: Option<String>,
    tags: Option<String>,
    /// The id of the message that died.
    origin_id: Option<String>,
    bytes: usize,
}

impl Listed {
    fn of(letter: &MessageExt, broker: &str) -> Self {
        let origin_id = letter
            .property(properties::DLQ_ORIGIN_MESSAGE_ID)
            .or_else(|| letter.property(properties::ORIGIN_MESSAGE_ID));
        Self {
            id: letter.offset_message_id().to_string(),
            unique_key: letter.unique_key().map(str::to_owned),
            topic: origin(letter).map(str::to_owned),
            broker: broker.to_owned(),
            queue: letter.queue_id,
            offset: letter.queue_offset,
            retries: letter.reconsume_times,
            stored_at: letter.store_timestamp,
            born_at: letter.born_timestamp,
            keys: letter.keys().map(str::to_owned),
            tags: letter.tag().map(str::to_owned),
            origin_id: origin_id.map(str::to_owned),
            bytes: letter.body.len(),
        }
    }

    fn row(&self) -> Vec<String> {
        vec![
            self.id.clone(),
            or_dash(self.topic.as_deref()),
            format!("{}/{}", self.broker, self.queue),
            self.offset.to_string(),
            self.retries.to_string(),
            show_time(self.stored_at),
            or_dash(self.keys.as_deref()),
            self.bytes.to_string(),
        ]
    }
}

/// Reads all letters, and shows those that are meant.
///
/// # Errors
/// A server does not answer, or refuses.
pub async fn run(cluster: &Cluster, args: &ListArgs) -> Result<Report, AdminError> {
    let filter = args.filter.filter(cluster.now_ms())?;
    let (mut listed, mut more) = (Vec::new(), false);
    'queues: for mut queue in letters(cluster, &args.group).await? {
        loop {
            let found = queue.next().await?;
            if found.is_empty() {
                break;
            }
            for letter in found.iter().filter(|letter| filter.matches(letter)) {
                if listed.len() == args.limit {
                    more = true;
                    break 'queues;
                }
                listed.push(Listed::of(letter, &queue.queue.broker_name));
            }
        }
    }
    let report = Report::new(&listed);
    if listed.is_empty() {
        return Ok(report.line(format!("group {} has no such dead letters", args.group)));
    }
    let columns = ["id", "topic", "queue", "offset", "retries", "dead since", "keys", "bytes"];
    let report = report.table(&columns, listed.iter().map(Listed::row).collect());
    Ok(if more { report.line("there are more: --limit") } else { report })
}
