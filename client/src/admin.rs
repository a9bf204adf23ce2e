//! Administration: topics, the cluster, groups, messages by id, queue locks.
//!
//! These calls name the server that they go to, since administration is about servers; only what the
//! name servers answer is asked of whichever of them is there.

use std::sync::Arc;

use gantry_codec::body::{
    ClusterInfo, ConsumerListBody, LockBatchRequest, LockBatchResponse, MessageQueue,
    TopicRouteData, TopicStatsTable, to_json,
};
use gantry_codec::message_id::OffsetMessageId;
use gantry_codec::requests::admin::CreateTopicHeader;
use gantry_codec::requests::group::ConsumerGroupHeader;
use gantry_codec::requests::pull::ViewMessageHeader;
use gantry_codec::requests::route::{DeleteTopicInNamesrvHeader, RouteHeader, TopicHeader};
use gantry_codec::{Command, request_code, response_code};

use crate::error::CallError;
use crate::message::MessageExt;
use crate::remoting::{Remoting, json_body, malformed};
use crate::route::TEMPLATE_TOPIC;

/// Read and write.
const PERM_READ_WRITE: i32 = 6;

/// A topic to create, or to change.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TopicSpec {
    /// The name.
    pub topic: String,
    /// Queues that consumers read.
    pub read_queues: i32,
    /// Queues that producers write.
    pub write_queues: i32,
    /// Bits: 4 read, 2 write, 1 may be a template.
    pub perm: i32,
    /// Whether the queues are to keep their order when brokers come and go.
    pub order: bool,
    /// Attributes of 5.x, `+key=value,-key`.
    pub attributes: Option<String>,
}

impl TopicSpec {
    /// A topic that may be read and written, with so many queues.
    pub fn new(topic: &str, queues: i32) -> TopicSpec {
        TopicSpec {
            topic: topic.to_owned(),
            read_queues: queues,
            write_queues: queues,
            perm: PERM_READ_WRITE,
            order: false,
            attributes: None,
        }
    }
}

/// Calls for administration; see the module's text.
#[derive(Debug, Clone)]
pub struct Admin {
    pub(crate) remoting: Arc<Remoting>,
}

impl Admin {
    pub(crate) fn new(remoting: Arc<Remoting>) -> Admin {
        Admin { remoting }
    }

    /// Creates the topic on a broker, or changes it to this.
    ///
    /// # Errors
    /// The broker could not be reached, did not answer, or refused.
    pub async fn create_topic(&self, broker: &str, spec: &TopicSpec) -> Result<(), CallError> {
        let header = CreateTopicHeader {
            topic: spec.topic.clone(),
            default_topic: TEMPLATE_TOPIC.to_owned(),
            read_queue_nums: spec.read_queues,
            write_queue_nums: spec.write_queues,
            perm: spec.perm,
            topic_filter_type: Some("SINGLE_TAG".to_owned()),
            topic_sys_flag: Some(0),
            order: spec.order,
            attributes: spec.attributes.clone(),
            force: None,
        };
        let code = request_code::UPDATE_AND_CREATE_TOPIC;
        self.tell(broker, Command::request(code).with_header(&header)).await
    }

    /// The ends of a topic's queues on a broker; None when it has no such topic.
    ///
    /// # Errors
    /// The broker could not be reached, did not answer, or refused for another reason.
    pub async fn topic_stats(
        &self,
        broker: &str,
        topic: &str,
    ) -> Result<Option<TopicStatsTable>, CallError> {
        let code = request_code::GET_TOPIC_STATS_INFO;
        let header = TopicHeader { topic: topic.to_owned() };
        let request = Command::request(code).with_header(&header);
        match self.remoting.call(broker, request).await {
            Err(error) if error.code() == Some(response_code::TOPIC_NOT_EXIST) => Ok(None),
            answered => json_body(broker, code, &answered?).map(Some),
        }
    }

    /// Deletes the topic and its messages on a broker. The name servers have to be told as well, with
    /// [`Admin::forget_topic`].
    ///
    /// # Errors
    /// The broker could not be reached, did not answer, or refused.
    pub async fn delete_topic(&self, broker: &str, topic: &str) -> Result<(), CallError> {
        let request = Command::request(request_code::DELETE_TOPIC_IN_BROKER)
            .with_header(&TopicHeader { topic: topic.to_owned() });
        self.tell(broker, request).await
    }

    /// Makes one name server forget the topic; each has to be told, since they do not know of each
    /// other.
    ///
    /// # Errors
    /// The name server could not be reached, did not answer, or refused.
    pub async fn forget_topic(&self, namesrv: &str, topic: &str) -> Result<(), CallError> {
        let header = DeleteTopicInNamesrvHeader { topic: topic.to_owned(), cluster_name: None };
        let code = request_code::DELETE_TOPIC_IN_NAMESRV;
        self.tell(namesrv, Command::request(code).with_header(&header)).await
    }

    /// The brokers and clusters that the name servers know.
    ///
    /// # Errors
    /// No name server could be reached, answered, or answered with what is asked for.
    pub async fn cluster_info(&self) -> Result<ClusterInfo, CallError> {
        let code = request_code::GET_BROKER_CLUSTER_INFO;
        let answer = self.remoting.call_namesrv(Command::request(code)).await?;
        json_body("the name server", code, &answer)
    }

    /// The topic's route as a name server gives it; None when it knows none.
    ///
    /// # Errors
    /// No name server could be reached, answered, or answered with what is asked for.
    pub async fn route(&self, topic: &str) -> Result<Option<TopicRouteData>, CallError> {
        let code = request_code::GET_ROUTEINFO_BY_TOPIC;
        let header = RouteHeader { topic: topic.to_owned(), accept_standard_json_only: true };
        let request = Command::request(code).with_header(&header);
        match self.remoting.call_namesrv(request).await {
            Err(error) if error.code() == Some(response_code::TOPIC_NOT_EXIST) => Ok(None),
            answered => json_body("the name server", code, &answered?).map(Some),
        }
    }

    /// The client ids of a group's members on a broker; empty when it has none there.
    ///
    /// # Errors
    /// The broker could not be reached, did not answer, or refused for another reason.
    pub async fn consumers(&self, broker: &str, group: &str) -> Result<Vec<String>, CallError> {
        let code = request_code::GET_CONSUMER_LIST_BY_GROUP;
        let header = ConsumerGroupHeader { consumer_group: group.to_owned() };
        let request = Command::request(code).with_header(&header);
        match self.remoting.call(broker, request).await {
            // Brokers answer so for a group without members, and have no other use of it here.
            Err(error) if error.code() == Some(response_code::SYSTEM_ERROR) => Ok(Vec::new()),
            answered => {
                let list: ConsumerListBody = json_body(broker, code, &answered?)?;
                Ok(list.consumer_id_list)
            }
        }
    }

    /// The message at a place in a broker's log.
    ///
    /// # Errors
    /// The broker could not be reached, did not answer, has no message there, or sent what is none.
    pub async fn message_at(&self, broker: &str, offset: i64) -> Result<MessageExt, CallError> {
        let code = request_code::VIEW_MESSAGE_BY_ID;
        let header = ViewMessageHeader { offset, topic: None };
        let request = Command::request(code).with_header(&header);
        let answer = self.remoting.call(broker, request).await?;
        MessageExt::decode(&answer.body).map_err(|error| malformed(broker, code, error))
    }

    /// The message with this id, asked of the broker whose address is in it.
    ///
    /// # Errors
    /// As [`Admin::message_at`].
    pub async fn message_by_id(&self, id: OffsetMessageId) -> Result<MessageExt, CallError> {
        let offset = i64::try_from(id.offset).unwrap_or(i64::MAX);
        self.message_at(&id.host.to_string(), offset).await
    }

    /// Locks queues for a client; returns those that it holds now. Locks end 60 s after their last
    /// renewal, which is the same call.
    ///
    /// # Errors
    /// The broker could not be reached, did not answer, or refused.
    pub async fn lock_queues(
        &self,
        broker: &str,
        lock: &LockBatchRequest,
    ) -> Result<Vec<MessageQueue>, CallError> {
        let code = request_code::LOCK_BATCH_MQ;
        let request = Command::request(code).with_body(to_json(lock));
        let answer = self.remoting.call(broker, request).await?;
        let held: LockBatchResponse = json_body(broker, code, &answer)?;
        Ok(held.lock_ok_mq_set)
    }

    /// Gives locks up.
    ///
    /// # Errors
    /// The broker could not be reached, did not answer, or refused.
    pub async fn unlock_queues(
        &self,
        broker: &str,
        lock: &LockBatchRequest,
    ) -> Result<(), CallError> {
        let code = request_code::UNLOCK_BATCH_MQ;
        self.tell(broker, Command::request(code).with_body(to_json(lock))).await
    }

    pub(crate) async fn tell(&self, server: &str, request: Command) -> Result<(), CallError> {
        self.remoting.call(server, request).await.map(|_| ())
    }
}
