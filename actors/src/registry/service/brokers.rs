//! Requests of brokers about themselves, and about groups of brokers.

use std::sync::Arc;

use gantry_codec::{
    Command, Header,
    requests::route::{
        AddWritePermResponse, BrokerHeader, BrokerHeartbeatHeader, BrokerMemberGroupHeader,
        QueryDataVersionResponse, RegisterBrokerHeader, RegisterBrokerResponse,
        WipeWritePermResponse, WritePermHeader,
    },
};

use super::{Answer, Outcome, Served, success, when_done, with_body};
use crate::{
    net::ConnectionHandle,
    registry::{
        announcement::{self, read_data_version},
        entry::{BrokerSeen, EntryKey},
        kv_table::ORDER_TOPIC_CONFIG,
        orders::{Register, SetWritePerm, Unregister},
        registration::Master,
        route_json,
    },
};

impl Served {
    /// Code 103. The answer holds the order configuration as it is when the broker is in the table.
    pub(super) fn register(self: &Arc<Self>, cmd: &Command, conn: &ConnectionHandle) -> Answer {
        let header = RegisterBrokerHeader::decode(&cmd.ext)?;
        let registration = announcement::registration(header, cmd, conn.id())?;
        let order = Register { registration: Box::new(registration), connection: conn.clone() };
        let served = self.clone();
        Ok(when_done(cmd, self.registry.send(order), move |answer, master| {
            Ok(served.registered(answer, master))
        }))
    }

    fn registered(&self, answer: Command, master: Option<Master>) -> Command {
        let answer = match master {
            Some(master) => answer.with_header(&RegisterBrokerResponse {
                ha_server_addr: Some(master.ha_server_addr.to_string()),
                master_addr: Some(master.addr.to_string()),
            }),
            None => answer,
        };
        let table = self.kv_view.load();
        match table.namespace(ORDER_TOPIC_CONFIG) {
            Some(topics) if self.settings().return_order_topic_config_to_broker => {
                answer.with_body(route_json::key_values(topics))
            }
            _ => answer,
        }
    }

    /// Code 104.
    pub(super) fn unregister(&self, cmd: &Command) -> Answer {
        let header = BrokerHeader::decode(&cmd.ext)?;
        let order = Unregister(key(&header.broker_name, &header.broker_addr));
        Ok(when_done(cmd, self.registry.send(order), |answer, ()| Ok(answer)))
    }

    /// Code 322: a sign of life, and whether the broker has to register again.
    pub(super) fn query_data_version(&self, cmd: &Command) -> Answer {
        let header = BrokerHeader::decode(&cmd.ext)?;
        let asked = read_data_version(&cmd.body)?;
        self.seen(&header.broker_name, &header.broker_addr);
        let table = self.routes();
        let known = table.member(&header.broker_name, &header.broker_addr);
        let changed = known.is_none_or(|member| member.version != asked);
        let answer = success(cmd).with_header(&QueryDataVersionResponse { changed });
        Ok(Outcome::Reply(match known {
            Some(member) => answer.with_body(route_json::body(&member.version)),
            None => answer,
        }))
    }

    /// Code 904.
    pub(super) fn heartbeat(&self, cmd: &Command) -> Answer {
        let header = BrokerHeartbeatHeader::decode(&cmd.ext)?;
        self.seen(&header.broker_name, &header.broker_addr);
        Ok(Outcome::Reply(success(cmd)))
    }

    fn seen(&self, broker_name: &str, addr: &str) {
        if let Some(entry) = self.views.entries.get(&key(broker_name, addr)) {
            entry.do_send(BrokerSeen);
        }
    }

    /// Code 901.
    pub(super) fn member_group(&self, cmd: &Command) -> Answer {
        let header = BrokerMemberGroupHeader::decode(&cmd.ext)?;
        let group = self.routes().member_group(&header.cluster_name, &header.broker_name);
        Ok(with_body(cmd, group))
    }

    /// Codes 205 and 327.
    pub(super) fn set_write_perm(&self, cmd: &Command, writable: bool) -> Answer {
        let header = WritePermHeader::decode(&cmd.ext)?;
        let order = SetWritePerm { broker_name: header.broker_name.into(), writable };
        Ok(when_done(cmd, self.registry.send(order), move |answer, topics| {
            let count = i32::try_from(topics).unwrap_or(i32::MAX);
            Ok(match writable {
                true => answer.with_header(&AddWritePermResponse { add_topic_count: count }),
                false => answer.with_header(&WipeWritePermResponse { wipe_topic_count: count }),
            })
        }))
    }
}

fn key(broker_name: &str, addr: &str) -> EntryKey {
    EntryKey { broker_name: broker_name.into(), addr: addr.into() }
}
