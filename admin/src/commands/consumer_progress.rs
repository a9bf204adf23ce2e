//! `consumerProgress`: how far a group has come, or all groups.
//!
//! Of a gantry broker it shows the exact lag: messages and time behind by queue, and of those messages
//! how many the group's filter lets through; where messages have expired before the group got them, how
//! many since the broker started. Of another broker it shows what the protocol has, with a
//! dash for the rest.

use gantry_codec::body::{GroupLag, QueueLag};

use crate::{
    cluster::{Cluster, Where},
    error::AdminError,
    report::{Report, or_dash},
    time::show_span,
};

/// What the command takes.
#[derive(Clone, Debug, clap::Args)]
pub struct ConsumerProgressArgs {
    /// The group
    #[arg(short = 'g', long = "groupName", value_name = "GROUP")]
    group: String,
    /// One topic only
    #[arg(short = 't', long = "topicName", value_name = "TOPIC")]
    topic: Option<String>,
    /// Show the client that pulls each queue
    #[arg(short = 's', long = "showClientIP", num_args = 0..=1, default_missing_value = "true",
        default_value_t = false, action = clap::ArgAction::Set, value_name = "BOOL")]
    show_clients: bool,
    /// Which brokers
    #[command(flatten)]
    which: Where,
}

/// Asks every broker.
///
/// # Errors
/// A broker refuses or does not answer; nobody knows the group.
pub async fn run(cluster: &Cluster, args: &ConsumerProgressArgs) -> Result<Report, AdminError> {
    let mut lag = GroupLag::default();
    for master in cluster.masters(&args.which).await? {
        let of_one = progress(cluster, &master.address, args).await?;
        lag.consume_tps += of_one.consume_tps;
        lag.queues.extend(of_one.queues);
    }
    if lag.queues.is_empty() {
        return Err(AdminError::NotFound(match &args.topic {
            Some(topic) => format!("group {} has no offsets in topic {topic}", args.group),
            None => format!("group {} has no offsets on any broker", args.group),
        }));
    }
    lag.queues.sort_by(|a, b| {
        (&a.topic, &a.broker_name, a.queue_id).cmp(&(&b.topic, &b.broker_name, b.queue_id))
    });
    Ok(show(&lag, args.show_clients))
}

/// The exact lag, or what a broker of another kind knows.
async fn progress(
    cluster: &Cluster,
    broker: &str,
    args: &ConsumerProgressArgs,
) -> Result<GroupLag, AdminError> {
    let (admin, topic) = (&cluster.admin, args.topic.as_deref());
    if let Some(lag) = admin.group_lag(broker, &args.group, topic).await? {
        return Ok(lag);
    }
    let stats = admin.consume_stats(broker, &args.group, topic).await?;
    let now_ms = cluster.now_ms();
    let queues = stats.offset_table.0.into_iter().map(|(queue, at)| QueueLag {
        behind: (at.broker_offset - at.consumer_offset).max(0),
        // The message consumed last is older than the first one behind: an upper bound.
        behind_ms: match at.last_timestamp {
            seen if seen > 0 && at.broker_offset > at.consumer_offset => now_ms - seen,
            _ => 0,
        },
        broker_name: queue.broker_name,
        broker_offset: at.broker_offset,
        consumer_offset: Some(at.consumer_offset),
        queue_id: queue.queue_id,
        topic: queue.topic,
        ..QueueLag::default()
    });
    Ok(GroupLag { consume_tps: stats.consume_tps, queues: queues.collect() })
}

fn show(lag: &GroupLag, with_clients: bool) -> Report {
    let mut columns =
        vec!["topic", "broker", "queue", "end", "consumed", "behind", "matching", "age"];
    // Most topics keep their messages alive.
    let with_expired = lag.queues.iter().any(|queue| queue.expired > 0);
    if with_expired {
        columns.push("expired");
    }
    if with_clients {
        columns.push("client");
    }
    let row = |queue| row(queue, with_expired, with_clients);
    let rows = lag.queues.iter().map(row).collect();
    let (behind, age) = lag
        .queues
        .iter()
        .fold((0, 0), |(behind, age), queue| (behind + queue.behind, age.max(queue.behind_ms)));
    let total = format!(
        "\nbehind: {behind} messages, {}; delivered: {:.2} messages/s",
        show_span(age),
        lag.consume_tps
    );
    Report::new(lag).table(&columns, rows).line(total)
}

fn row(queue: &QueueLag, with_expired: bool, with_client: bool) -> Vec<String> {
    let matching = queue.matching.map(|matching| match queue.unseen {
        0 => matching.to_string(),
        // The rest was not looked at; any of it may match.
        unseen => format!("{matching} to {}", matching + unseen),
    });
    let mut row = vec![
        queue.topic.clone(),
        queue.broker_name.clone(),
        queue.queue_id.to_string(),
        queue.broker_offset.to_string(),
        or_dash(queue.consumer_offset),
        queue.behind.to_string(),
        or_dash(matching),
        show_span(queue.behind_ms),
    ];
    if with_expired {
        row.push(queue.expired.to_string());
    }
    if with_client {
        row.push(or_dash(queue.client_id.as_deref()));
    }
    row
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_not_looked_at_makes_a_range() {
        let queue = QueueLag {
            topic: "t".into(),
            broker_name: "b".into(),
            broker_offset: 50,
            behind: 50,
            behind_ms: 61_000,
            matching: Some(7),
            unseen: 20,
            ..QueueLag::default()
        };
        let expected = ["t", "b", "0", "50", "-", "50", "7 to 27", "1m1s", "-"];
        assert_eq!(row(&queue, false, true), expected);
        assert_eq!(row(&QueueLag { unseen: 0, ..queue }, false, false)[6], "7");
    }

    #[test]
    fn expired_messages_are_shown_where_there_are_any() {
        let queue = QueueLag { topic: "t".into(), expired: 3, ..QueueLag::default() };
        assert_eq!(row(&queue, true, true)[8..], ["3", "-"]);
        let lag = |expired| GroupLag {
            queues: vec![QueueLag { expired, ..queue.clone() }],
            ..GroupLag::default()
        };
        let shown = |expired| show(&lag(expired), false).text();
        assert!(shown(3).contains("EXPIRED") && !shown(0).contains("EXPIRED"));
    }
}
