//! The registry: the owner of broker names, addresses, clusters and topic queue data.
//!
//! Owns the [`RouteTable`] and the set of [`Entry`] actors, one per registered address. Connections
//! order changes from it and read what it publishes; entries report brokers that fell silent.
//!
//! ```text
//!                    Register, Unregister, ConnectionClosed, …
//!   connection ───────────────────────────────────────────────→ Registry ──→ RouteView
//!       │  ↑ (reads, no message)                                 │    ↑    └→ EntryView
//!       │  └── RouteView, EntryView          BrokerRegistered,   │    │
//!       │                                    CheckSilence        ↓    │ BrokerSilent
//!       └────────────────── BrokerSeen ──────────────────────→ Entry ─┘
//! ```
//!
//! Invariants: a change is published before it is answered; every member of the table has an entry; a
//! report of silence that is older than the broker's last registration changes nothing.
//! Failure policy: restart from the published table, which is the state before the message that
//! failed; entries live on beside it.

use std::sync::Arc;

use actix::AsyncContext;
use gantry_client::Connector;
use gantry_storage::Disk;
use gantry_supervisor::{
    ChildSpec, ContextExt, Ctx, Logic, Policy, Receive, Ref, Reply, Tree, halt,
};
use slog::{Logger, debug, info, o, warn};

use super::{
    entry::{BrokerRegistered, BrokerSilent, CheckSilence, DEFAULT_TIMEOUT, Entry, EntryKey},
    notice,
    orders::{
        AddTopic, ConnectionClosed, DeleteTopic, Register, SetWritePerm, Unregister, UpdateSettings,
    },
    registration::{Master, MinIdChanged, Outdated},
    settings::UpdateError,
    table::RouteTable,
    views::Views,
};
use crate::net::ConnectionId;

/// See the module's text.
pub struct Registry {
    table: RouteTable,
    views: Arc<Views>,
    /// Where the entries are children.
    entries: Tree,
    /// How brokers are reached that have to be told something.
    connector: Arc<dyn Connector>,
    /// Where the configuration file is.
    disk: Arc<dyn Disk>,
    log: Logger,
}

impl Registry {
    /// A registry that goes on from what is published.
    pub fn new(
        views: Arc<Views>,
        entries: Tree,
        connector: Arc<dyn Connector>,
        disk: Arc<dyn Disk>,
        log: Logger,
    ) -> Self {
        let table = RouteTable::clone(&views.routes.load());
        Self { table, views, entries, connector, disk, log }
    }

    fn publish(&self) {
        self.views.routes.publish(&self.table);
    }

    fn register(&mut self, order: Register, ctx: &mut Ctx<Self>) -> Option<Master> {
        let Register { registration: new, connection } = order;
        let key = EntryKey { broker_name: new.broker_name.clone(), addr: new.addr.clone() };
        let settings = self.views.settings.load();
        let outcome = self.table.register(&new, settings.delete_topic_with_broker_registration);
        self.publish();
        let accepted = match outcome {
            Ok(accepted) => accepted,
            Err(Outdated { holder, holder_state_version }) => {
                warn!(self.log, "registration ignored, its id is held by a newer broker";
                    "broker" => &*key.broker_name, "addr" => &*key.addr, "id" => new.broker_id,
                    "holder" => &*holder, "state_version" => new.version.state_version,
                    "holder_state_version" => holder_state_version);
                self.retire(&key);
                return None;
            }
        };
        debug!(self.log, "broker registered"; "broker" => &*key.broker_name, "addr" => &*key.addr,
            "id" => new.broker_id, "topics_changed" => accepted.topics_changed);
        if let Some(addr) = accepted.replaced {
            self.retire(&EntryKey { addr, broker_name: key.broker_name.clone() });
        }
        self.entry(key, ctx).do_send(BrokerRegistered {
            registration: accepted.registration,
            timeout: new.heartbeat_timeout.unwrap_or(DEFAULT_TIMEOUT),
            connection,
        });
        self.tell(accepted.min_id_changed, ctx);
        accepted.master
    }

    /// Takes the broker at `key` out, its entry too.
    fn unregister(&mut self, key: &EntryKey, why: &'static str, ctx: &mut Ctx<Self>) {
        self.retire(key);
        let Some(outcome) = self.table.unregister(&key.broker_name, &key.addr) else { return };
        self.publish();
        info!(self.log, "broker unregistered"; "broker" => &*key.broker_name,
            "addr" => &*key.addr, "why" => why, "group_gone" => outcome.group_gone);
        self.tell(outcome.min_id_changed, ctx);
    }

    /// The entry of `key`, made now if there is none that works.
    fn entry(&mut self, key: EntryKey, ctx: &mut Ctx<Self>) -> Ref<Entry> {
        if let Some(entry) = self.views.entries.get(&key)
            && entry.connected()
        {
            return entry;
        }
        info!(self.log, "new broker"; "broker" => &*key.broker_name, "addr" => &*key.addr);
        let log = self.log.new(o!("broker" => key.broker_name.to_string(),
            "addr" => key.addr.to_string()));
        let (routes, registry) = (self.views.routes.clone(), ctx.address().recipient());
        let (name, made_for) = (format!("{}@{}", key.broker_name, key.addr), key.clone());
        let spec = ChildSpec::new(name, Policy::RestartEmpty, move |_| {
            let table = routes.load();
            let member = table
                .member(&made_for.broker_name, &made_for.addr)
                .ok_or("the broker is not registered any more")?;
            let timeout = member.heartbeat_timeout.unwrap_or(DEFAULT_TIMEOUT);
            let (key, registry) = (made_for.clone(), registry.clone());
            Ok(Entry::new(key, member.registration, timeout, registry, log.clone()))
        });
        let entry = self.entries.spawn(spec);
        self.views.entries.insert(key, entry.clone());
        entry
    }

    fn retire(&self, key: &EntryKey) {
        if let Some(entry) = self.views.entries.remove(key) {
            halt(&entry);
        }
    }

    /// The brokers that registered on a connection.
    fn registered_on(&self, connection: ConnectionId) -> Vec<EntryKey> {
        let mut keys = Vec::new();
        for (name, group) in self.table.groups() {
            let on_it = group.members.values().filter(|member| member.connection == connection);
            keys.extend(
                on_it.map(|member| EntryKey {
                    broker_name: name.clone(),
                    addr: member.addr.clone(),
                }),
            );
        }
        keys
    }

    /// Tells the brokers of a group about its new minimum id, if that is wanted.
    fn tell(&self, change: Option<MinIdChanged>, ctx: &mut Ctx<Self>) {
        let wanted = self.views.settings.load().notify_min_broker_id_changed;
        let Some(change) = change.filter(|_| wanted) else { return };
        info!(self.log, "minimum broker id changed"; "broker" => &*change.broker_name,
            "min_id" => change.min_id, "min_addr" => &*change.min_addr);
        let command = notice::command(&change);
        for addr in change.targets {
            let sending = notice::send(self.connector.clone(), addr.clone(), command.clone());
            ctx.spawn_then(sending, move |registry, sent, _| {
                if let Err(e) = sent {
                    warn!(registry.log, "cannot tell broker"; "addr" => &*addr, "error" => %e);
                }
            });
        }
    }

    /// Lets every entry look at its clock, again and again.
    fn scan(&mut self, ctx: &mut Ctx<Self>) {
        for entry in self.views.entries.all().values() {
            entry.do_send(CheckSilence);
        }
        self.schedule_scan(ctx);
    }

    fn schedule_scan(&self, ctx: &mut Ctx<Self>) {
        let interval = self.views.settings.load().scan_interval();
        ctx.after(interval, Self::scan);
    }
}

impl Logic for Registry {
    const NAME: &'static str = "registry";

    fn started(&mut self, ctx: &mut Ctx<Self>) {
        self.schedule_scan(ctx);
    }
}

impl Receive<Register> for Registry {
    fn receive(&mut self, order: Register, ctx: &mut Ctx<Self>) -> Reply<Option<Master>> {
        self.register(order, ctx).into()
    }
}

impl Receive<Unregister> for Registry {
    fn receive(&mut self, Unregister(key): Unregister, ctx: &mut Ctx<Self>) -> Reply<()> {
        self.unregister(&key, "it said so", ctx);
        Reply::Now(())
    }
}

impl Receive<ConnectionClosed> for Registry {
    fn receive(&mut self, closed: ConnectionClosed, ctx: &mut Ctx<Self>) -> Reply<()> {
        for key in self.registered_on(closed.0) {
            self.unregister(&key, "its connection ended", ctx);
        }
        Reply::Now(())
    }
}

impl Receive<BrokerSilent> for Registry {
    fn receive(&mut self, report: BrokerSilent, ctx: &mut Ctx<Self>) -> Reply<()> {
        let BrokerSilent { key, registration } = report;
        let member = self.table.member(&key.broker_name, &key.addr);
        if member.is_some_and(|member| member.registration == registration) {
            self.unregister(&key, "it is silent", ctx);
        }
        Reply::Now(())
    }
}

impl Receive<SetWritePerm> for Registry {
    fn receive(&mut self, order: SetWritePerm, _: &mut Ctx<Self>) -> Reply<usize> {
        let topics = match order.writable {
            true => self.table.add_write_perm(&order.broker_name),
            false => self.table.wipe_write_perm(&order.broker_name),
        };
        self.publish();
        info!(self.log, "write permission set"; "broker" => &*order.broker_name,
            "writable" => order.writable, "topics" => topics);
        topics.into()
    }
}

impl Receive<DeleteTopic> for Registry {
    fn receive(&mut self, order: DeleteTopic, _: &mut Ctx<Self>) -> Reply<()> {
        if self.table.delete_topic(&order.topic, order.cluster.as_deref()) {
            self.publish();
            info!(self.log, "topic deleted"; "topic" => &*order.topic, "cluster" => order.cluster);
        }
        Reply::Now(())
    }
}

impl Receive<AddTopic> for Registry {
    fn receive(&mut self, order: AddTopic, _: &mut Ctx<Self>) -> Reply<Result<(), Arc<str>>> {
        let added = self.table.add_topic(&order.topic, &order.queues);
        self.publish();
        added.map(|_| ()).into()
    }
}

impl Receive<UpdateSettings> for Registry {
    fn receive(
        &mut self,
        UpdateSettings(changes): UpdateSettings,
        _: &mut Ctx<Self>,
    ) -> Reply<Result<(), UpdateError>> {
        let updated = self.views.settings.load().updated(&changes).and_then(|next| {
            next.keep(&*self.disk, &changes)?;
            Ok(next)
        });
        let outcome = match updated {
            Ok(next) => {
                info!(self.log, "settings changed"; "changes" => ?changes);
                self.views.settings.publish(next);
                Ok(())
            }
            Err(e) => Err(e),
        };
        outcome.into()
    }
}
