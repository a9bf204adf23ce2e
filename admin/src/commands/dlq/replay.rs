//! `dlq replay`: sends dead letters again to the topic that they came from.
//!
//! A letter keeps its body, its properties and its unique key, and loses what the tries have left in
//! it, so that it has all of its tries again. How far a replay has got is committed, after every letter,
//! as the offset of a group of its own (`DLQ_REPLAY_GROUP`) in the dead-letter queue, so that another run
//! goes on from there. A replay with a filter counts for itself (the filter is part of its group's name),
//! after what one without has done: letters that it passes over are still there for others. A letter that
//! is sent and dies before that is committed is sent again by the next run, never lost.

use gantry_client::{Message, MessageExt, MessageQueue, Producer};
use gantry_codec::{body::SubscriptionGroupConfig, properties};
use serde::Serialize;

use super::{
    filter::{FilterArgs, origin},
    letters::{Letters, letters},
    rate::{Pace, Rate},
};
use crate::{cluster::Cluster, error::AdminError, report::Report};

/// What the tries, the broker and the delivery have left in a message.
const BOOKKEEPING: [&str; 21] = [
    properties::RETRY_TOPIC,
    properties::ORIGIN_MESSAGE_ID,
    properties::RECONSUME_TIME,
    properties::MAX_RECONSUME_TIMES,
    properties::DLQ_ORIGIN_TOPIC,
    properties::DLQ_ORIGIN_MESSAGE_ID,
    properties::DELAY,
    properties::REAL_TOPIC,
    properties::REAL_QID,
    properties::WAIT,
    properties::CLUSTER,
    properties::MSG_REGION,
    properties::TRACE_ON,
    properties::POP_CK,
    properties::GANTRY_EXPIRES_MS,
    properties::GANTRY_EXPIRED_MS,
    properties::FIRST_POP_TIME,
    // A transaction is over once its message was delivered.
    properties::TRAN_MSG,
    properties::TIMER_OUT_MS,
    properties::TIMER_DELIVER_MS,
    "CONSUME_START_TIME",
];

/// The group of the producer that sends them.
const PRODUCER: &str = "CID_GANTRY_DLQ_REPLAY";

/// What the command takes.
#[derive(Clone, Debug, clap::Args)]
pub struct ReplayArgs {
    /// The group
    #[arg(short = 'g', long = "groupName", value_name = "GROUP")]
    group: String,
    /// Letters per second at most: 50/s
    #[arg(long, value_name = "NUMBER/s", value_parser = Rate::parse)]
    rate: Option<Rate>,
    /// To this topic instead of the one that each came from
    #[arg(long, value_name = "TOPIC")]
    to: Option<String>,
    /// Say what would be sent, and send nothing
    #[arg(long)]
    dry_run: bool,
    /// From the first letter on, whatever earlier runs have sent
    #[arg(long)]
    from_start: bool,
    #[command(flatten)]
    filter: FilterArgs,
}

/// What a replay came to.
#[derive(Debug, Default, Serialize)]
#[serde(rename_all = "camelCase")]
struct Replayed {
    /// Letters sent, or that would be.
    sent: u64,
    /// Letters that the filter did not mean.
    passed_over: u64,
    /// Letters that earlier runs had dealt with.
    done_before: i64,
    dry_run: bool,
}

/// A run under way.
struct Replay<'a> {
    cluster: &'a Cluster,
    args: &'a ReplayArgs,
    progress: Progress,
    producer: Producer,
    pace: Pace,
    done: Replayed,
}

/// The groups in whose offsets it is kept how far replays have got.
struct Progress {
    /// Of this filter.
    own: String,
    /// Of all letters.
    all: String,
}

impl Progress {
    fn of(args: &ReplayArgs) -> Self {
        let all = format!("DLQ_REPLAY_{}", args.group);
        let own = match args.filter.fingerprint() {
            Some(filter) => format!("{all}_{filter}"),
            None => all.clone(),
        };
        Self { own, all }
    }

    /// The first letter of the queue that no run has dealt with.
    async fn next(&self, cluster: &Cluster, queue: &MessageQueue) -> Result<i64, AdminError> {
        let mut next = 0;
        for group in [&self.own, &self.all] {
            let known = cluster.client.consumer_offset(group, queue).await?;
            next = next.max(known.unwrap_or(0));
        }
        Ok(next)
    }

    /// Brokers take offsets of groups that they know, and need not make one by themselves.
    async fn make_group(&self, cluster: &Cluster, group: &str) -> Result<(), AdminError> {
        for master in cluster.masters_with(&super::topic_of(group)).await? {
            if cluster.admin.group_config(&master.address, &self.own).await?.is_none() {
                let config = SubscriptionGroupConfig {
                    group_name: self.own.clone(),
                    ..SubscriptionGroupConfig::default()
                };
                cluster.admin.put_group(&master.address, &config).await?;
            }
        }
        Ok(())
    }
}

/// Sends what is meant, and says how much that was.
///
/// # Errors
/// A server does not answer, or refuses; a letter does not say where it came from.
pub async fn run(cluster: &Cluster, args: &ReplayArgs) -> Result<Report, AdminError> {
    let queues = letters(cluster, &args.group).await?;
    let progress = Progress::of(args);
    if !queues.is_empty() && !args.dry_run {
        progress.make_group(cluster, &args.group).await?;
    }
    let mut replay = Replay {
        cluster,
        args,
        progress,
        producer: cluster.client.producer(PRODUCER),
        pace: Pace::new(args.rate),
        done: Replayed { dry_run: args.dry_run, ..Replayed::default() },
    };
    for queue in queues {
        replay.queue(queue).await?;
    }
    Ok(show(&replay.done))
}

impl Replay<'_> {
    async fn queue(&mut self, mut letters: Letters<'_>) -> Result<(), AdminError> {
        if !self.args.from_start {
            let all = letters.len();
            letters.skip_to(self.progress.next(self.cluster, &letters.queue).await?);
            self.done.done_before += all - letters.len();
        }
        let filter = self.args.filter.filter(self.cluster.now_ms())?;
        loop {
            let found = letters.next().await?;
            let Some(last) = found.last().map(|letter| letter.queue_offset) else { return Ok(()) };
            for letter in &found {
                if filter.matches(letter) {
                    self.letter(letter, &letters.queue).await?;
                } else {
                    self.done.passed_over += 1;
                }
            }
            self.commit(&letters.queue, last + 1).await?;
        }
    }

    async fn letter(
        &mut self,
        letter: &MessageExt,
        queue: &MessageQueue,
    ) -> Result<(), AdminError> {
        let message = again(letter, self.args.to.as_deref())?;
        if !self.args.dry_run {
            self.pace.turn().await;
            self.producer.send(&message).await.map_err(|source| AdminError::Send {
                what: format!(
                    "letter {} is not sent to {}",
                    letter.offset_message_id(),
                    message.topic
                ),
                done: self.done.sent,
                source: Box::new(source),
            })?;
            self.commit(queue, letter.queue_offset + 1).await?;
        }
        self.done.sent += 1;
        Ok(())
    }

    async fn commit(&self, queue: &MessageQueue, next: i64) -> Result<(), AdminError> {
        if !self.args.dry_run {
            self.cluster.client.commit_offset(&self.progress.own, queue, next).await?;
        }
        Ok(())
    }
}

/// The letter as a new message.
fn again(letter: &MessageExt, to: Option<&str>) -> Result<Message, AdminError> {
    let topic = to.or_else(|| origin(letter)).ok_or_else(|| {
        AdminError::NotFound(format!(
            "letter {} does not say where it came from: --to TOPIC",
            letter.offset_message_id()
        ))
    })?;
    let mut message = Message::new(topic, letter.body.clone());
    message.flag = letter.flag;
    message.body_flags = letter.body_flags();
    for (name, value) in properties::iter(&letter.properties) {
        if !BOOKKEEPING.contains(&name) {
            message = message.with_property(name, value);
        }
    }
    Ok(message)
}

fn show(done: &Replayed) -> Report {
    let Replayed { sent, passed_over, done_before, dry_run } = done;
    let verb = if *dry_run { "would be sent" } else { "sent" };
    Report::new(done).line(format!(
        "{verb}: {sent}; passed over by the filter: {passed_over}; dealt with before: {done_before}"
    ))
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::{super::filter::tests::letter, *};

    #[derive(Parser)]
    struct Line {
        #[command(flatten)]
        args: ReplayArgs,
    }

    fn group(line: &str) -> String {
        Progress::of(&Line::try_parse_from(line.split(' ')).unwrap().args).own
    }

    #[test]
    fn a_letter_is_sent_as_it_was_before_the_tries() {
        let mut dead = letter(
            b"x",
            &[
                ("TAGS", "paid"),
                ("ORIGIN_MESSAGE_ID", "m"),
                ("DELAY", "0"),
                ("RECONSUME_TIME", "16"),
                ("UNIQ_KEY", "u"),
                ("colour", "red"),
                ("CLUSTER", "c"),
            ],
        );
        dead.flag = 7;
        dead.sys_flag = 0x301 | 0x10;
        let message = again(&dead, None).unwrap();
        let mut expected = Message::new("orders", "x")
            .with_tag("paid")
            .with_property("UNIQ_KEY", "u")
            .with_property("colour", "red");
        (expected.flag, expected.body_flags) = (7, 0x301);
        assert_eq!(message, expected);
        assert_eq!(again(&dead, Some("elsewhere")).unwrap().topic, "elsewhere");
    }

    #[test]
    fn a_letter_from_nowhere_is_named() {
        let mut lost = letter(b"x", &[]);
        lost.properties = "".into();
        let why = again(&lost, None).unwrap_err().to_string();
        assert!(why.contains(&lost.offset_message_id().to_string()), "{why}");
        assert_eq!(again(&lost, Some("t")).unwrap().topic, "t");
    }

    #[test]
    fn each_filter_counts_for_itself() {
        assert_eq!(group("x -g g --rate 5"), "DLQ_REPLAY_g");
        assert_ne!(group("x -g g --topic a"), group("x -g g --topic b"));
        assert!(group("x -g g --topic a").starts_with("DLQ_REPLAY_g_"));
    }
}
