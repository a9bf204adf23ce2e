//! `dlq purge`: has the dead letters of a group forgotten.
//!
//! It sets the attribute `retention.from` of the topic to a time, and has the broker apply it at once:
//! the queues begin at the first letter that was stored then or later, for good, so what is older is
//! neither listed nor delivered. The bytes leave the disk with the files of the log, which all topics
//! share. Without `--before` every letter goes that is there when the command runs.

use std::time::Duration;

use gantry_client::TopicSpec;
use gantry_codec::body::TopicConfig;
use serde::Serialize;

use super::{
    letters::{Letters, letters},
    topic_of,
};
use crate::{
    cluster::{Cluster, Master},
    error::AdminError,
    report::Report,
    time::parse_time,
};

/// Messages of the topic that were stored earlier are gone; a time in ms.
const FROM: &str = "retention.from";
/// How often a queue is looked at for whether it begins where it is to, and the time between.
const TRIES: u32 = 100;
const BETWEEN_TRIES: Duration = Duration::from_millis(20);

/// What the command takes.
#[derive(Clone, Debug, clap::Args)]
pub struct PurgeArgs {
    /// The group
    #[arg(short = 'g', long = "groupName", value_name = "GROUP")]
    group: String,
    /// Letters that became dead before this time: -7d, yyyy-MM-dd#HH:mm:ss:SSS, milliseconds
    #[arg(long, value_name = "TIME", allow_hyphen_values = true)]
    before: Option<String>,
    /// Do it: there is no way back
    #[arg(long)]
    yes: bool,
}

/// What a purge came to.
#[derive(Debug, Default, Serialize)]
struct Purged {
    /// Letters that are gone.
    purged: i64,
    /// Letters that are left.
    left: i64,
}

/// Tells every broker that has letters of the group.
///
/// # Errors
/// It is not confirmed; the time is none; a broker does not answer, or refuses.
pub async fn run(cluster: &Cluster, args: &PurgeArgs) -> Result<Report, AdminError> {
    let before = match &args.before {
        None => None,
        Some(text) => {
            let wrong = |why| AdminError::Usage(format!("--before {why}"));
            Some(parse_time(text, cluster.now_ms()).map_err(wrong)?)
        }
    };
    if !args.yes {
        return Err(AdminError::Usage(
            "what is purged cannot be had back: confirm with --yes".into(),
        ));
    }
    let topic = topic_of(&args.group);
    let mut queues = letters(cluster, &args.group).await?;
    let mut done = Purged::default();
    for master in cluster.masters_with(&topic).await? {
        let of_one = queues.iter_mut().filter(|letters| letters.queue.broker_name == master.name);
        let of_one: Vec<_> = of_one.collect();
        purge(cluster, &master, &topic, before, of_one, &mut done).await?;
    }
    let line = format!("purged: {}; left: {}", done.purged, done.left);
    Ok(Report::new(&done).line(line))
}

/// Purges the letters of one broker.
async fn purge(
    cluster: &Cluster,
    master: &Master,
    topic: &str,
    before: Option<i64>,
    mut queues: Vec<&mut Letters<'_>>,
    done: &mut Purged,
) -> Result<(), AdminError> {
    let (admin, broker) = (&cluster.admin, &*master.address);
    let Some(config) = admin.topic_config(broker, topic).await? else { return Ok(()) };
    let from = match before {
        Some(before) => before,
        None => behind_the_last(&mut queues).await?,
    };
    let known = config.attributes.get(FROM).and_then(|value| value.parse().ok());
    if from > 0 && known.is_none_or(|known: i64| known < from) {
        admin.create_topic(broker, &beginning_at(config, from)).await?;
    }
    admin.clean_queues(broker).await?;
    for letters in queues {
        let begin = cluster.client.search_offset(&letters.queue, from).await?;
        let begin = begin.clamp(letters.begin, letters.end);
        done.purged += begin - letters.begin;
        done.left += letters.end - begin;
        until_gone(cluster, letters, begin).await?;
    }
    Ok(())
}

/// The topic as it is, but for where it begins.
fn beginning_at(config: TopicConfig, from: i64) -> TopicSpec {
    TopicSpec {
        topic: config.topic_name,
        read_queues: config.read_queue_nums,
        write_queues: config.write_queue_nums,
        perm: config.perm,
        order: config.order,
        attributes: Some(format!("+{FROM}={from}")),
    }
}

/// Behind the last letter of all queues, by the broker's own clock; 0 without any.
async fn behind_the_last(queues: &mut [&mut Letters<'_>]) -> Result<i64, AdminError> {
    let mut from = 0;
    for letters in queues {
        letters.skip_to(letters.end - 1);
        let last = letters.next().await?;
        from = last.iter().map(|letter| letter.store_timestamp + 1).fold(from, i64::max);
    }
    Ok(from)
}

/// Waits until a queue begins where it is to begin.
async fn until_gone(
    cluster: &Cluster,
    letters: &Letters<'_>,
    begin: i64,
) -> Result<(), AdminError> {
    for _ in 0..TRIES {
        if cluster.client.min_offset(&letters.queue).await? >= begin {
            return Ok(());
        }
        tokio::time::sleep(BETWEEN_TRIES).await;
    }
    let Letters { queue, .. } = letters;
    Err(AdminError::NotFound(format!(
        "broker {} knows what is to go from queue {}, and has not let it go yet",
        queue.broker_name, queue.queue_id
    )))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_where_the_topic_begins_is_changed() {
        let config = TopicConfig {
            topic_name: "%DLQ%g".into(),
            read_queue_nums: 1,
            write_queue_nums: 2,
            perm: 6,
            order: true,
            ..TopicConfig::default()
        };
        let expected = TopicSpec {
            topic: "%DLQ%g".into(),
            read_queues: 1,
            write_queues: 2,
            perm: 6,
            order: true,
            attributes: Some("+retention.from=5".into()),
        };
        assert_eq!(beginning_at(config, 5), expected);
    }
}
