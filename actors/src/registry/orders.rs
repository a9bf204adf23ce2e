//! What the registry can be told to do; the answer comes when it is done and published.

use std::{collections::BTreeMap, sync::Arc};

use actix::Message;

use super::{
    entry::EntryKey,
    registration::{Master, Registration},
    settings::UpdateError,
    table::QueueData,
};
use crate::net::{ConnectionHandle, ConnectionId};

/// Take a broker in. The answer names its master if it is a slave.
#[derive(Message)]
#[rtype(result = "Option<Master>")]
pub struct Register {
    /// What it says about itself.
    pub registration: Box<Registration>,
    /// Its connection.
    pub connection: ConnectionHandle,
}

/// Take a broker out.
#[derive(Debug, Message)]
#[rtype(result = "()")]
pub struct Unregister(pub EntryKey);

/// A connection on which brokers may have registered has ended.
#[derive(Debug, Message)]
#[rtype(result = "()")]
pub struct ConnectionClosed(pub ConnectionId);

/// Give or take the write permission of all topics of a group; answers how many they are.
#[derive(Debug, Message)]
#[rtype(result = "usize")]
pub struct SetWritePerm {
    /// The group.
    pub broker_name: Box<str>,
    /// Give or take.
    pub writable: bool,
}

/// Take a topic out of the routes, of one cluster or of all.
#[derive(Debug, Message)]
#[rtype(result = "()")]
pub struct DeleteTopic {
    /// The topic.
    pub topic: Box<str>,
    /// None: all clusters.
    pub cluster: Option<Box<str>>,
}

/// Add what some groups offer of a topic; an unknown group is the error.
#[derive(Debug, Message)]
#[rtype(result = "Result<(), Arc<str>>")]
pub struct AddTopic {
    /// The topic.
    pub topic: Arc<str>,
    /// What each group offers.
    pub queues: Vec<(Arc<str>, QueueData)>,
}

/// Change settings; all of the keys, or none.
#[derive(Debug, Message)]
#[rtype(result = "Result<(), UpdateError>")]
pub struct UpdateSettings(pub BTreeMap<String, String>);
