//! Half messages that were given up, as the brokers keep them.

use gantry_client::{MessageExt, PullRequest, PullStatus};
use gantry_codec::properties;

use crate::{
    cluster::{Cluster, Master},
    error::AdminError,
};

/// The topic where brokers keep them.
const TOPIC: &str = "TRANS_CHECK_MAX_TIME_TOPIC";
/// The group as which tools read; every broker has it.
const READER: &str = "TOOLS_CONSUMER";

/// One of them, and where it is.
pub struct GivenUp {
    /// The broker.
    pub master: Master,
    /// The half message.
    pub half: MessageExt,
}

impl GivenUp {
    /// The id by which it is resumed.
    pub fn id(&self) -> String {
        self.half.offset_message_id().to_string()
    }

    /// The group of its producer.
    pub fn group(&self) -> &str {
        self.half.property(properties::PGROUP).unwrap_or_default()
    }

    /// The topic that it is meant for.
    pub fn topic(&self) -> &str {
        self.half.property(properties::REAL_TOPIC).unwrap_or_default()
    }

    /// How often its producers were asked.
    pub fn checks(&self) -> u32 {
        let times = self.half.property(properties::TRANSACTION_CHECK_TIMES);
        times.and_then(|times| times.parse().ok()).unwrap_or(0)
    }
}

/// All of these brokers, the oldest of each first; `limit` at most.
///
/// # Errors
/// A server does not answer, or refuses.
pub async fn given_up(
    cluster: &Cluster,
    masters: &[Master],
    limit: usize,
    mut wanted: impl FnMut(&GivenUp) -> bool,
) -> Result<Vec<GivenUp>, AdminError> {
    let mut all = Vec::new();
    if cluster.admin.route(TOPIC).await?.is_none() {
        return Ok(all);
    }
    let reader = cluster.client.pull_consumer(READER);
    for queue in reader.queues(TOPIC).await? {
        let Some(master) = masters.iter().find(|master| master.name == queue.broker_name) else {
            continue;
        };
        let mut next = cluster.client.min_offset(&queue).await?;
        let end = cluster.client.max_offset(&queue).await?;
        while next < end && all.len() < limit {
            let pulled = reader.pull(&PullRequest::new(queue.clone(), next)).await?;
            let stands_still = pulled.next_begin_offset <= next;
            next = pulled.next_begin_offset;
            let found = pulled.messages.into_iter();
            let found = found.map(|half| GivenUp { master: master.clone(), half });
            all.extend(found.filter(&mut wanted));
            if stands_still || pulled.status == PullStatus::NoNewMessage {
                break;
            }
        }
    }
    all.truncate(limit);
    Ok(all)
}
