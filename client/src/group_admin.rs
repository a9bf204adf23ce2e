//! Administration of consumer groups: members, progress, offsets, configuration, and what a gantry
//! broker says of them beyond the protocol.
//!
//! Like the rest of [`Admin`], each call names the broker that it goes to: progress and members of a
//! group are kept by every broker for itself.

use std::collections::BTreeMap;

use gantry_codec::body::{
    ConsumeStats, ConsumerConnection, ConsumerStatusTable, Diagnosis, GroupLag, MessageQueueMap,
    ResetOffsetBody, SubscriptionGroupConfig, TopicConfig, TransactionList, to_json,
};
use gantry_codec::requests::admin::GetTopicConfigHeader;
use gantry_codec::requests::group::{
    ConsumeStatsHeader, ConsumerGroupHeader, ConsumerStatusHeader, DeleteSubscriptionGroupHeader,
};
use gantry_codec::requests::offset::{CloneGroupOffsetHeader, ResetOffsetHeader};
use gantry_codec::requests::transaction::{ListTransactionsHeader, ResumeCheckHalfMessageHeader};
use gantry_codec::{Command, request_code, response_code};

use crate::admin::Admin;
use crate::error::CallError;
use crate::remoting::json_body;

/// The offsets that the clients of a group have in memory, by client id.
pub type ClientOffsets = BTreeMap<String, MessageQueueMap<i64>>;

impl Admin {
    /// A group's progress by the broker's offsets, in all its topics or in one.
    ///
    /// # Errors
    /// The broker could not be reached, did not answer, or refused.
    pub async fn consume_stats(
        &self,
        broker: &str,
        group: &str,
        topic: Option<&str>,
    ) -> Result<ConsumeStats, CallError> {
        let code = request_code::GET_CONSUME_STATS;
        let request = Command::request(code).with_header(&stats_header(group, topic));
        json_body(broker, code, &self.remoting.call(broker, request).await?)
    }

    /// A group's exact lag; None from a broker that does not know this request.
    ///
    /// # Errors
    /// The broker could not be reached, did not answer, or refused for another reason.
    pub async fn group_lag(
        &self,
        broker: &str,
        group: &str,
        topic: Option<&str>,
    ) -> Result<Option<GroupLag>, CallError> {
        let code = request_code::GROUP_LAG;
        let request = Command::request(code).with_header(&stats_header(group, topic));
        self.of_ours(broker, request).await
    }

    /// Which transactions are open, of one group or topic or of all; None from a broker that does not
    /// know this request.
    ///
    /// # Errors
    /// The broker could not be reached, did not answer, or refused for another reason.
    pub async fn transactions(
        &self,
        broker: &str,
        which: &ListTransactionsHeader,
    ) -> Result<Option<TransactionList>, CallError> {
        let request = Command::request(request_code::LIST_TRANSACTIONS).with_header(which);
        self.of_ours(broker, request).await
    }

    /// Has producers asked for the half message with this offset message id, which may have been given
    /// up.
    ///
    /// # Errors
    /// The broker could not be reached, did not answer, or refused: there is no such half message, or its
    /// transaction is ended.
    pub async fn resume_transaction(&self, broker: &str, id: &str) -> Result<(), CallError> {
        let header =
            ResumeCheckHalfMessageHeader { msg_id: id.to_owned(), topic: Some(String::new()) };
        let code = request_code::RESUME_CHECK_HALF_MESSAGE;
        self.remoting.call(broker, Command::request(code).with_header(&header)).await?;
        Ok(())
    }

    /// What is wrong with the consumption, of all groups or of one; None from a broker that does not
    /// know this request.
    ///
    /// # Errors
    /// The broker could not be reached, did not answer, or refused for another reason.
    pub async fn diagnose(
        &self,
        broker: &str,
        group: Option<&str>,
    ) -> Result<Option<Diagnosis>, CallError> {
        let request = Command::request(request_code::DIAGNOSE);
        let request = match group {
            Some(group) => request.with_ext("group", group),
            None => request,
        };
        self.of_ours(broker, request).await
    }

    async fn of_ours<T: serde::de::DeserializeOwned>(
        &self,
        broker: &str,
        request: Command,
    ) -> Result<Option<T>, CallError> {
        let code = request.code;
        match self.remoting.call(broker, request).await {
            Err(error) if error.code() == Some(response_code::REQUEST_CODE_NOT_SUPPORTED) => {
                Ok(None)
            }
            answered => json_body(broker, code, &answered?).map(Some),
        }
    }

    /// Who consumes in a group, and what; None while nobody does.
    ///
    /// # Errors
    /// The broker could not be reached, did not answer, or refused for another reason.
    pub async fn consumer_connections(
        &self,
        broker: &str,
        group: &str,
    ) -> Result<Option<ConsumerConnection>, CallError> {
        let code = request_code::GET_CONSUMER_CONNECTION_LIST;
        let header = ConsumerGroupHeader { consumer_group: group.to_owned() };
        let request = Command::request(code).with_header(&header);
        match self.remoting.call(broker, request).await {
            Err(error) if error.code() == Some(response_code::CONSUMER_NOT_ONLINE) => Ok(None),
            answered => json_body(broker, code, &answered?).map(Some),
        }
    }

    /// The offsets that the clients of a group have in memory; of all clients, or of one.
    ///
    /// # Errors
    /// The broker could not be reached, did not answer, or refused: nobody is online.
    pub async fn consumer_status(
        &self,
        broker: &str,
        group: &str,
        topic: &str,
        client_id: Option<&str>,
    ) -> Result<ClientOffsets, CallError> {
        let code = request_code::INVOKE_BROKER_TO_GET_CONSUMER_STATUS;
        let header = ConsumerStatusHeader {
            topic: topic.to_owned(),
            group: group.to_owned(),
            client_addr: client_id.map(str::to_owned),
        };
        // The broker asks the clients in turn, with a limit of its own that is longer than the usual one.
        let timeout = self.remoting.config().request_timeout * 3;
        let request = Command::request(code).with_header(&header);
        let answer = self.remoting.ask(broker, request, timeout).await?;
        let answer = crate::remoting::accept(broker, code, answer)?;
        let table: ConsumerStatusTable = json_body(broker, code, &answer)?;
        Ok(table.consumer_table)
    }

    /// Moves a group within a topic, as the header says; the offsets that it goes on from.
    ///
    /// # Errors
    /// The broker could not be reached, did not answer, or refused.
    pub async fn reset_offset(
        &self,
        broker: &str,
        header: &ResetOffsetHeader,
    ) -> Result<MessageQueueMap<i64>, CallError> {
        let code = request_code::INVOKE_BROKER_TO_RESET_OFFSET;
        let request = Command::request(code).with_header(header);
        let answer = self.remoting.call(broker, request).await?;
        let body: ResetOffsetBody = json_body(broker, code, &answer)?;
        Ok(body.offset_table)
    }

    /// Gives one group the offsets that another has.
    ///
    /// # Errors
    /// The broker could not be reached, did not answer, or refused.
    pub async fn clone_offsets(
        &self,
        broker: &str,
        header: &CloneGroupOffsetHeader,
    ) -> Result<(), CallError> {
        let code = request_code::CLONE_GROUP_OFFSET;
        self.tell(broker, Command::request(code).with_header(header)).await
    }

    /// A group's configuration; None if the broker has no such group.
    ///
    /// # Errors
    /// The broker could not be reached, did not answer, or refused for another reason.
    pub async fn group_config(
        &self,
        broker: &str,
        group: &str,
    ) -> Result<Option<SubscriptionGroupConfig>, CallError> {
        let code = request_code::GET_SUBSCRIPTIONGROUP_CONFIG;
        let request = Command::request(code).with_ext("group", group);
        match self.remoting.call(broker, request).await {
            Err(error) if error.code() == Some(response_code::SUBSCRIPTION_GROUP_NOT_EXIST) => {
                Ok(None)
            }
            answered => json_body(broker, code, &answered?).map(Some),
        }
    }

    /// Makes a group, or changes it to this.
    ///
    /// # Errors
    /// The broker could not be reached, did not answer, or refused.
    pub async fn put_group(
        &self,
        broker: &str,
        config: &SubscriptionGroupConfig,
    ) -> Result<(), CallError> {
        let code = request_code::UPDATE_AND_CREATE_SUBSCRIPTIONGROUP;
        self.tell(broker, Command::request(code).with_body(to_json(config))).await
    }

    /// Takes a group out, with its offsets or without.
    ///
    /// # Errors
    /// The broker could not be reached, did not answer, or refused.
    pub async fn delete_group(
        &self,
        broker: &str,
        group: &str,
        with_offsets: bool,
    ) -> Result<(), CallError> {
        let header = DeleteSubscriptionGroupHeader {
            group_name: group.to_owned(),
            clean_offset: Some(with_offsets),
            remove_offset: Some(with_offsets),
        };
        let code = request_code::DELETE_SUBSCRIPTIONGROUP;
        self.tell(broker, Command::request(code).with_header(&header)).await
    }

    /// A topic's configuration; None if the broker has no such topic.
    ///
    /// # Errors
    /// The broker could not be reached, did not answer, or refused for another reason.
    pub async fn topic_config(
        &self,
        broker: &str,
        topic: &str,
    ) -> Result<Option<TopicConfig>, CallError> {
        let code = request_code::GET_TOPIC_CONFIG;
        let header = GetTopicConfigHeader { topic: topic.to_owned(), lo: None };
        let request = Command::request(code).with_header(&header);
        match self.remoting.call(broker, request).await {
            Err(error) if error.code() == Some(response_code::TOPIC_NOT_EXIST) => Ok(None),
            answered => json_body(broker, code, &answered?).map(Some),
        }
    }

    /// Has the broker apply what topics say of their retention, now instead of in its next round.
    ///
    /// # Errors
    /// The broker could not be reached, did not answer, or refused.
    pub async fn clean_queues(&self, broker: &str) -> Result<(), CallError> {
        self.tell(broker, Command::request(request_code::CLEAN_EXPIRED_CONSUMEQUEUE)).await
    }
}

fn stats_header(group: &str, topic: Option<&str>) -> ConsumeStatsHeader {
    ConsumeStatsHeader {
        consumer_group: group.to_owned(),
        topic: topic.map(str::to_owned),
        topic_list: None,
    }
}
