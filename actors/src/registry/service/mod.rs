//! What the name server's port serves: every request of wire.md 4, decoded and handed on.
//!
//! One [`NamesrvService`] per connection. Questions are answered from the published views without a
//! message; orders go to the actor that owns what they change, and are answered when it has done it.
//! A connection on which a broker registered is remembered, so that its end can be reported.
//!
//! | file | codes |
//! |---|---|
//! | `brokers` | 103, 104, 322, 904, 901, 106, 205, 327 |
//! | `topics` | 105, 206, 224, 304, 311 to 313, 216, 217 |
//! | `config` | 100, 101, 102, 219, 318, 319 |

mod brokers;
mod config;
mod topics;

use std::{collections::BTreeMap, sync::Arc};

use actix::dev::Request;
use gantry_codec::{Command, request_code as code, response_code};
use gantry_supervisor::{Receive, Ref, Shell};
use tokio::time::Instant;

use super::{
    kv::{Kv, KvView},
    orders::ConnectionClosed,
    refusal::Refusal,
    registry::Registry,
    route_query::UnitTopics,
    views::Views,
};
use crate::{
    error_to_wire,
    net::{ConnectionHandle, NoEvent, Outbox, Outcome, Service},
};

/// What all connections of a name server share.
pub struct Served {
    pub(super) views: Arc<Views>,
    kv_view: Arc<KvView>,
    pub(super) registry: Ref<Registry>,
    kv: Ref<Kv>,
    /// Shown by GET_NAMESRV_CONFIG beside the settings.
    shown: BTreeMap<String, String>,
    started: Instant,
}

impl Served {
    /// The views and owners of a name server that starts now.
    pub fn new(
        views: Arc<Views>,
        kv_view: Arc<KvView>,
        registry: Ref<Registry>,
        kv: Ref<Kv>,
        shown: BTreeMap<String, String>,
    ) -> Self {
        Self { views, kv_view, registry, kv, shown, started: Instant::now() }
    }
}

/// See the module's text.
pub struct NamesrvService {
    served: Arc<Served>,
    /// Whether a broker has registered on this connection.
    has_registered: bool,
}

/// How a request went, if it is known.
type Answer = Result<Outcome, Refusal>;

impl NamesrvService {
    /// The service of a new connection.
    pub fn new(served: Arc<Served>) -> Self {
        Self { served, has_registered: false }
    }

    fn answer(&mut self, cmd: &Command, conn: &ConnectionHandle) -> Answer {
        let served = &self.served;
        match cmd.code {
            code::GET_ROUTEINFO_BY_TOPIC => served.route(cmd),
            code::REGISTER_BROKER => {
                self.has_registered = true;
                served.register(cmd, conn)
            }
            code::UNREGISTER_BROKER => served.unregister(cmd),
            code::QUERY_DATA_VERSION => served.query_data_version(cmd),
            code::BROKER_HEARTBEAT => served.heartbeat(cmd),
            code::GET_BROKER_MEMBER_GROUP => served.member_group(cmd),
            code::GET_BROKER_CLUSTER_INFO => Ok(with_body(cmd, served.routes().cluster_info())),
            code::WIPE_WRITE_PERM_OF_BROKER => served.set_write_perm(cmd, false),
            code::ADD_WRITE_PERM_OF_BROKER => served.set_write_perm(cmd, true),
            code::GET_ALL_TOPIC_LIST_FROM_NAMESERVER => served.all_topics(cmd),
            code::GET_TOPICS_BY_CLUSTER => served.topics_by_cluster(cmd),
            code::GET_SYSTEM_TOPIC_LIST_FROM_NS => {
                Ok(with_body(cmd, served.routes().system_topics()))
            }
            code::GET_UNIT_TOPIC_LIST => served.unit_topics(cmd, UnitTopics::Unit),
            code::GET_HAS_UNIT_SUB_TOPIC_LIST => served.unit_topics(cmd, UnitTopics::HasUnitSub),
            code::GET_HAS_UNIT_SUB_UNUNIT_TOPIC_LIST => {
                served.unit_topics(cmd, UnitTopics::HasUnitSubNotUnit)
            }
            code::DELETE_TOPIC_IN_NAMESRV => served.delete_topic(cmd),
            code::REGISTER_TOPIC_IN_NAMESRV => served.add_topic(cmd),
            code::PUT_KV_CONFIG => served.put_kv(cmd),
            code::GET_KV_CONFIG => served.get_kv(cmd),
            code::DELETE_KV_CONFIG => served.delete_kv(cmd),
            code::GET_KVLIST_BY_NAMESPACE => served.list_kv(cmd),
            code::UPDATE_NAMESRV_CONFIG => served.update_settings(cmd),
            code::GET_NAMESRV_CONFIG => Ok(served.show_settings(cmd)),
            _ => Ok(Outcome::Reply(error_to_wire::unsupported(cmd))),
        }
    }
}

impl Service for NamesrvService {
    type Event = NoEvent;

    fn request(&mut self, cmd: Command, conn: &ConnectionHandle, _: &mut Outbox) -> Outcome {
        self.answer(&cmd, conn).unwrap_or_else(|refusal| {
            Outcome::Reply(error_to_wire::refused_by_namesrv(&cmd, &refusal))
        })
    }

    fn event(&mut self, event: NoEvent, _: &ConnectionHandle, _: &mut Outbox) {
        match event {}
    }

    fn closed(&mut self, conn: &ConnectionHandle) {
        if self.has_registered {
            self.served.registry.do_send(ConnectionClosed(conn.id()));
        }
    }
}

fn success(cmd: &Command) -> Command {
    Command::response(response_code::SUCCESS, cmd)
}

fn with_body(cmd: &Command, body: bytes::Bytes) -> Outcome {
    Outcome::Reply(success(cmd).with_body(body))
}

/// Answers when the owner of the state has carried out an order: `done` makes the answer of an empty
/// success and the order's result.
fn when_done<L, M>(
    cmd: &Command,
    order: Request<Shell<L>, M>,
    done: impl FnOnce(Command, M::Result) -> Result<Command, Refusal> + 'static,
) -> Outcome
where
    L: Receive<M>,
    M: actix::Message<Result: Send> + Send + 'static,
{
    // Only what an answer takes from its request: the rest would keep the whole frame alive.
    let head = Command {
        opaque: cmd.opaque,
        serialize_type: cmd.serialize_type,
        ..Command::request(cmd.code)
    };
    Outcome::Later(Box::pin(async move {
        let result = order.await.map_err(Refusal::from);
        result
            .and_then(|result| done(success(&head), result))
            .unwrap_or_else(|refusal| error_to_wire::refused_by_namesrv(&head, &refusal))
    }))
}
