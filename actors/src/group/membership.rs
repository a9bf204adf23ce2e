//! Who consumes in a group and what: the immutable snapshot that a `Group` actor publishes.
//!
//! Connections read it in every pull without a message; the admin answers are made from it too. It holds
//! nothing that changes with every heartbeat, so it is published anew only when something has changed.

use std::sync::Arc;

use gantry_codec::body::{ConsumeFromWhere, ConsumeType, MessageModel, SubscriptionData};

use super::client::Client;
use crate::net::ConnectionId;

/// See the module's text. Without members it is the state of a group that is offline.
#[derive(Clone, Debug, Default)]
pub struct Membership {
    /// In the order in which they joined.
    pub members: Vec<Client>,
    /// Pull, push or pop, as the last heartbeat said.
    pub consume_type: ConsumeType,
    /// Shared or everything to everybody, as the last heartbeat said.
    pub message_model: MessageModel,
    /// Where a queue without offset starts, as the last heartbeat said.
    pub consume_from_where: ConsumeFromWhere,
    /// By topic.
    pub subscriptions: imbl::HashMap<Arc<str>, Arc<SubscriptionData>>,
    /// The fingerprint of the last heartbeat; 0 is one of the first version of the protocol.
    pub fingerprint: Option<i32>,
}

impl Membership {
    /// Whether anybody consumes.
    pub fn is_online(&self) -> bool {
        !self.members.is_empty()
    }

    /// Whether every member gets every message.
    pub fn is_broadcasting(&self) -> bool {
        self.message_model == MessageModel::Broadcasting
    }

    /// What the group wants of a topic.
    pub fn subscription(&self, topic: &str) -> Option<&Arc<SubscriptionData>> {
        self.subscriptions.get(topic)
    }

    /// The ids of the clients, each once however many connections it has.
    pub fn client_ids(&self) -> Vec<Arc<str>> {
        let mut ids: Vec<_> = self.members.iter().map(|member| member.id.clone()).collect();
        ids.sort_unstable();
        ids.dedup();
        ids
    }

    /// The member of that client id; the last to join if there are several.
    pub fn client(&self, client_id: &str) -> Option<&Client> {
        self.members.iter().rev().find(|member| *member.id == *client_id)
    }

    /// The id of the client on that connection.
    pub fn id_on(&self, connection: ConnectionId) -> Option<&Arc<str>> {
        let mut members = self.members.iter();
        members.find(|member| member.connection.id() == connection).map(|member| &member.id)
    }

    /// The member on that connection.
    pub(super) fn on(&mut self, connection: ConnectionId) -> Option<&mut Client> {
        self.members.iter_mut().find(|member| member.connection.id() == connection)
    }
}
