//! Offsets: a group's progress in a queue, the queue's ends, and a place by time.
//!
//! All of these ask the master of the queue's broker. Progress is the offset of the next message to
//! consume, and may be set backwards.

use gantry_codec::body::MessageQueue;
use gantry_codec::requests::offset::{
    EarliestMsgStoretimeResponse, GetMaxOffsetHeader, OffsetResponse, QueryConsumerOffsetHeader,
    QueueHeader, SearchOffsetHeader, UpdateConsumerOffsetHeader,
};
use gantry_codec::{Command, Header, request_code, response_code};

use crate::client::{Client, QueueError};
use crate::error::CallError;
use crate::remoting::malformed;

impl Client {
    /// A group's progress in a queue; None when the broker knows none. (For a young queue brokers
    /// answer 0 instead, although nothing is stored.)
    ///
    /// # Errors
    /// The broker could not be found or reached, did not answer, or refused.
    pub async fn consumer_offset(
        &self,
        group: &str,
        queue: &MessageQueue,
    ) -> Result<Option<i64>, QueueError> {
        let header = QueryConsumerOffsetHeader {
            consumer_group: group.to_owned(),
            topic: queue.topic.clone(),
            queue_id: queue.queue_id,
            set_zero_if_not_found: None,
        };
        let request = Command::request(request_code::QUERY_CONSUMER_OFFSET).with_header(&header);
        match self.offset_answer(queue, request).await {
            Err(QueueError::Call(error))
                if error.code() == Some(response_code::QUERY_NOT_FOUND) =>
            {
                Ok(None)
            }
            answered => answered.map(Some),
        }
    }

    /// Stores a group's progress and waits until the broker has it.
    ///
    /// # Errors
    /// The broker could not be found or reached, did not answer, or refused.
    pub async fn commit_offset(
        &self,
        group: &str,
        queue: &MessageQueue,
        offset: i64,
    ) -> Result<(), QueueError> {
        let header = UpdateConsumerOffsetHeader {
            consumer_group: group.to_owned(),
            topic: queue.topic.clone(),
            queue_id: queue.queue_id,
            commit_offset: offset,
        };
        let request = Command::request(request_code::UPDATE_CONSUMER_OFFSET).with_header(&header);
        self.call_master(queue, request).await.map(|_| ())
    }

    /// The offset of the first message that is still stored.
    ///
    /// # Errors
    /// The broker could not be found or reached, did not answer, or refused.
    pub async fn min_offset(&self, queue: &MessageQueue) -> Result<i64, QueueError> {
        let request =
            Command::request(request_code::GET_MIN_OFFSET).with_header(&queue_header(queue));
        self.offset_answer(queue, request).await
    }

    /// The queue's end: the offset that its next message will have.
    ///
    /// # Errors
    /// The broker could not be found or reached, did not answer, or refused.
    pub async fn max_offset(&self, queue: &MessageQueue) -> Result<i64, QueueError> {
        let header = GetMaxOffsetHeader {
            topic: queue.topic.clone(),
            queue_id: queue.queue_id,
            committed: None,
        };
        let request = Command::request(request_code::GET_MAX_OFFSET).with_header(&header);
        self.offset_answer(queue, request).await
    }

    /// The offset of the first message stored at `timestamp_ms` or later; the queue's end if there is
    /// none.
    ///
    /// # Errors
    /// The broker could not be found or reached, did not answer, or refused.
    pub async fn search_offset(
        &self,
        queue: &MessageQueue,
        timestamp_ms: i64,
    ) -> Result<i64, QueueError> {
        let header = SearchOffsetHeader {
            topic: queue.topic.clone(),
            queue_id: queue.queue_id,
            timestamp: timestamp_ms,
            boundary_type: None,
        };
        let request =
            Command::request(request_code::SEARCH_OFFSET_BY_TIMESTAMP).with_header(&header);
        self.offset_answer(queue, request).await
    }

    /// When the first message that is still there was stored; None for an empty queue.
    ///
    /// # Errors
    /// The broker could not be found or reached, did not answer, or refused.
    pub async fn earliest_store_time(
        &self,
        queue: &MessageQueue,
    ) -> Result<Option<i64>, QueueError> {
        let code = request_code::GET_EARLIEST_MSG_STORETIME;
        let request = Command::request(code).with_header(&queue_header(queue));
        let answer = self.call_master(queue, request).await?;
        let header = EarliestMsgStoretimeResponse::decode(&answer.ext)
            .map_err(|error| malformed(&queue.broker_name, code, error))?;
        Ok((header.timestamp >= 0).then_some(header.timestamp))
    }

    async fn offset_answer(
        &self,
        queue: &MessageQueue,
        request: Command,
    ) -> Result<i64, QueueError> {
        let code = request.code;
        let answer = self.call_master(queue, request).await?;
        let header = OffsetResponse::decode(&answer.ext)
            .map_err(|error| -> CallError { malformed(&queue.broker_name, code, error) })?;
        Ok(header.offset)
    }
}

fn queue_header(queue: &MessageQueue) -> QueueHeader {
    QueueHeader { topic: queue.topic.clone(), queue_id: queue.queue_id }
}
