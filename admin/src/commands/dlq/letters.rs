//! Reading the dead letters of a group, queue by queue, up to where they ended when that began: what
//! comes later is for the next time, or replaying letters that fail again would never end.

use gantry_client::{MessageExt, MessageQueue, PullConsumer, PullRequest, PullStatus};

use super::topic_of;
use crate::{cluster::Cluster, error::AdminError};

/// The group as which tools read; every broker has it.
const READER: &str = "TOOLS_CONSUMER";
/// Permission bit: may be read.
const PERM_READ: i32 = 4;

/// The letters of one queue that have not been read yet.
pub struct Letters<'a> {
    cluster: &'a Cluster,
    reader: PullConsumer,
    /// The queue.
    pub queue: MessageQueue,
    /// The first that is still stored.
    pub begin: i64,
    /// One past the last.
    pub end: i64,
    next: i64,
}

impl Letters<'_> {
    /// Goes on at this offset, if that is further.
    pub fn skip_to(&mut self, offset: i64) {
        self.next = self.next.max(offset);
    }

    /// How many there are at most.
    pub fn len(&self) -> i64 {
        (self.end - self.next).max(0)
    }

    /// The next ones; nothing at the end.
    ///
    /// # Errors
    /// The broker does not answer, or refuses.
    pub async fn next(&mut self) -> Result<Vec<MessageExt>, AdminError> {
        while self.next < self.end {
            let request = PullRequest::new(self.queue.clone(), self.next);
            let pulled = self.reader.pull(&request).await?;
            let stands_still = pulled.next_begin_offset <= self.next;
            self.next = pulled.next_begin_offset;
            let mut found = pulled.messages;
            found.retain(|letter| letter.queue_offset < self.end);
            if !found.is_empty() {
                return Ok(found);
            }
            if stands_still || pulled.status == PullStatus::NoNewMessage {
                break;
            }
        }
        self.next = self.end;
        Ok(Vec::new())
    }

    /// The first offset that is still stored, and one past the last.
    async fn look(mut self) -> Result<Self, AdminError> {
        let client = &self.cluster.client;
        self.begin = client.min_offset(&self.queue).await?;
        self.next = self.begin;
        self.end = client.max_offset(&self.queue).await?;
        Ok(self)
    }
}

/// The dead letters of a group, queue by queue; nothing if it has none.
///
/// # Errors
/// A server does not answer; the topic may not be read, which brokers before 4.9 make it like.
pub async fn letters<'a>(
    cluster: &'a Cluster,
    group: &str,
) -> Result<Vec<Letters<'a>>, AdminError> {
    let topic = topic_of(group);
    let Some(route) = cluster.admin.route(&topic).await? else { return Ok(Vec::new()) };
    if let Some(broker) = route.queue_datas.iter().find(|data| data.perm & PERM_READ == 0) {
        return Err(AdminError::NotFound(format!(
            "topic {topic} may not be read on broker {}: give it permission 6 with updateTopicPerm",
            broker.broker_name
        )));
    }
    let reader = cluster.client.pull_consumer(READER);
    let mut all = Vec::new();
    for queue in reader.queues(&topic).await? {
        let letters = Letters { cluster, reader: reader.clone(), queue, begin: 0, next: 0, end: 0 };
        all.push(letters.look().await?);
    }
    Ok(all)
}
