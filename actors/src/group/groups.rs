//! The root of all consumer groups: which there are, how they are configured, and who acts for them.
//!
//! Owns `subscriptionGroup.json` and publishes the [`GroupDirectory`]. Sessions send it [`OpenGroup`] when
//! a request needs a group that is not configured or whose actor does not run yet; administrators'
//! orders come as [`PutGroups`], [`DeleteGroup`] and [`AllGroups`]. For each group that is used it
//! starts a `Rebalancer` and a `Group`, in a tree of their own.
//!
//! A change is in force and published at once; the file is written once per burst of changes, and an
//! administrator gets an answer after that. It writes on its own thread, so it has to be placed where
//! waiting for a disk is allowed; the groups themselves run elsewhere.
//! Failure policy: restart from disk; the groups' own actors and slots go on meanwhile. A save that
//! fails is told to whoever waits for it, makes the actor degraded and is tried again.

use std::{collections::HashMap, sync::Arc, time::Duration};

use actix::Message;
use bytes::Bytes;
use gantry_codec::body::{self, SubscriptionGroupConfig};
use gantry_storage::Clock;
use gantry_supervisor::{
    ChildSpec, ContextExt, Ctx, Health, Logic, Place, Policy, Receive, Ref, Reply, Tree,
};
use slog::{Logger, error, info, o};
use thiserror::Error;
use tokio::sync::oneshot;

use super::{
    config_file::ConfigFile,
    configs::{GroupConfigs, InvalidGroup, PutError},
    group::{Expire, Group},
    rebalancer::Rebalancer,
    view::{Acting, GroupDirectory, GroupSlot, GroupView},
};
use crate::settings::Live;

/// How often silent members are looked for.
const SCAN_PERIOD: Duration = Duration::from_secs(10);

/// What a broker decides for all its groups.
#[derive(Clone, Debug)]
pub struct GroupsConfig {
    /// Groups that are not configured are made when they are used (`autoCreateSubscriptionGroup`).
    pub auto_create: Live<bool>,
    /// Members are told of changes (`notifyConsumerIdsChangedEnable`).
    pub notify: Live<bool>,
    /// A client that was silent for longer than this is taken to be gone (`channelExpiredTimeout`).
    pub client_expiry: Duration,
    /// How long a queue lock lasts after its last renewal once its owner's connection is gone
    /// (`disconnectedLockMillis`).
    pub disconnected_lock: Duration,
    /// Where the groups' actors run.
    pub place: Place,
}

/// Make a group ready for use: configured, with its actor running.
#[derive(Message)]
#[rtype(result = "Result<Arc<GroupView>, OpenError>")]
pub struct OpenGroup(pub Box<str>);

/// Why a group cannot be used.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
pub enum OpenError {
    /// It is not configured and may not configure itself.
    #[error("subscription group [{0}] does not exist")]
    Unknown(Box<str>),
    /// It cannot exist.
    #[error(transparent)]
    Invalid(#[from] InvalidGroup),
}

/// Configure groups, as an administrator orders; all or none.
#[derive(Message)]
#[rtype(result = "Result<(), PutGroupsError>")]
pub struct PutGroups(pub Vec<SubscriptionGroupConfig>);

/// Why groups were not configured.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
pub enum PutGroupsError {
    /// The order was refused.
    #[error(transparent)]
    Refused(#[from] PutError),
    /// The change is in force but would not outlive a restart.
    #[error(transparent)]
    NotSaved(#[from] NotSaved),
}

/// Take a group out. The answer: whether it was there.
#[derive(Message)]
#[rtype(result = "Result<bool, NotSaved>")]
pub struct DeleteGroup(pub Box<str>);

/// The groups' file could not be written.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
#[error("the change is in force but could not be saved: {0}")]
pub struct NotSaved(pub String);

/// All configurations, in the form of the file.
#[derive(Clone, Copy, Message)]
#[rtype(result = "Bytes")]
pub struct AllGroups;

/// See the module's text.
pub struct Groups {
    configs: GroupConfigs,
    directory: GroupDirectory,
    table: imbl::HashMap<Arc<str>, Arc<GroupView>>,
    /// Slots of groups that were deleted while they had members, in case they come back.
    orphans: HashMap<Arc<str>, Arc<GroupSlot>>,
    file: GroupsFile,
    tree: Tree,
    config: GroupsConfig,
    clock: Arc<dyn Clock>,
    log: Logger,
}

impl Groups {
    /// Reads `file`; groups that `directory` shows keep their actors, which live in `tree`.
    pub fn open(
        file: ConfigFile,
        directory: GroupDirectory,
        tree: Tree,
        config: GroupsConfig,
        clock: Arc<dyn Clock>,
        log: Logger,
    ) -> Result<Self, String> {
        let content = file.load()?.unwrap_or_default();
        let configs = GroupConfigs::new(content);
        let known = directory.all();
        let table = configs.all().iter().map(|(name, config)| {
            let slot = known.get(name.as_str()).map(|view| view.slot().clone()).unwrap_or_default();
            let name: Arc<str> = name.as_str().into();
            (name.clone(), Arc::new(GroupView::new(name, Arc::new(config.clone()), slot)))
        });
        let table: imbl::HashMap<_, _> = table.collect();
        directory.store(table.clone());
        info!(log, "consumer groups loaded"; "groups" => table.len());
        let file = GroupsFile::new(file, log.clone());
        let orphans = HashMap::new();
        Ok(Self { configs, directory, table, orphans, file, tree, config, clock, log })
    }

    fn open_group(&mut self, name: &str) -> Result<Arc<GroupView>, OpenError> {
        if self.configs.get(name).is_none() {
            if !self.config.auto_create.get() {
                return Err(OpenError::Unknown(name.into()));
            }
            self.configs.create(name, self.clock.now_ms())?;
            info!(self.log, "group created by its consumer"; "group" => name);
            self.changed([name]);
        }
        let view = self.table.get(name).cloned().ok_or_else(|| OpenError::Unknown(name.into()))?;
        self.start(&view);
        Ok(view)
    }

    /// Starts the group's actor unless it runs.
    fn start(&self, view: &GroupView) {
        view.slot().acting.get_or_init(|| {
            let (name, slot) = (view.name.clone(), view.slot().clone());
            let log = self.log.new(o!("group" => name.to_string()));
            let tree = self.tree.subtree(&name);
            let (expiry, lease) = (self.config.client_expiry, self.config.disconnected_lock);
            let rebalancer = self.spawn_rebalancer(&tree, name);
            let spec = ChildSpec::new("group", Policy::RestartEmpty, move |_| {
                Ok(Group::new(slot.clone(), expiry, lease, rebalancer.clone(), log.clone()))
            });
            let group = tree.spawn(spec.place(self.config.place.clone()));
            Acting { group, tree }
        });
    }

    fn spawn_rebalancer(&self, tree: &Tree, group: Arc<str>) -> Ref<Rebalancer> {
        let (directory, enabled) = (self.directory.clone(), self.config.notify.clone());
        let spec = ChildSpec::new("rebalancer", Policy::RestartEmpty, move |_| {
            Ok(Rebalancer::new(group.clone(), directory.clone(), enabled.clone()))
        });
        tree.spawn(spec.place(self.config.place.clone()))
    }

    /// Brings the table in line with the configuration of these groups, and publishes it.
    fn changed<'a>(&mut self, names: impl IntoIterator<Item = &'a str>) {
        for name in names {
            let config = self.configs.get(name).cloned().map(Arc::new);
            let slot = self.table.get(name).map(|view| view.slot().clone());
            match (config, slot) {
                (Some(config), slot) => {
                    let slot = slot.or_else(|| self.orphans.remove(name)).unwrap_or_default();
                    let name: Arc<str> = name.into();
                    let view = Arc::new(GroupView::new(name.clone(), config, slot));
                    self.table.insert(name, view);
                }
                (None, Some(slot)) => {
                    self.table.remove(name);
                    self.orphans.insert(name.into(), slot);
                }
                (None, None) => {}
            }
        }
        self.directory.store(self.table.clone());
        self.file.unsaved = true;
    }

    fn scan(&mut self, ctx: &mut Ctx<Self>) {
        let slots = self.table.values().map(|view| view.slot()).chain(self.orphans.values());
        for acting in slots.filter_map(|slot| slot.acting.get()) {
            acting.group.do_send(Expire);
        }
        self.orphans.retain(|_, slot| {
            let online = slot.membership.load().is_online();
            if !online && let Some(Acting { tree, .. }) = slot.acting.get().cloned() {
                ctx.spawn_then(async move { tree.stop().await }, |_, (), _| {});
            }
            online
        });
        self.file.save(&self.configs);
    }
}

/// The file and who waits for it.
struct GroupsFile {
    file: ConfigFile,
    unsaved: bool,
    failing: Option<NotSaved>,
    waiting: Vec<oneshot::Sender<Result<(), NotSaved>>>,
    log: Logger,
}

impl GroupsFile {
    fn new(file: ConfigFile, log: Logger) -> Self {
        Self { file, unsaved: false, failing: None, waiting: Vec::new(), log }
    }

    /// Done when what has changed so far is on disk.
    fn saved(&mut self) -> impl Future<Output = Result<(), NotSaved>> + 'static {
        let (sender, receiver) = oneshot::channel();
        self.waiting.push(sender);
        async move {
            let gone = || NotSaved("the actor in charge was restarted".to_owned());
            receiver.await.unwrap_or_else(|_| Err(gone()))
        }
    }

    fn save(&mut self, configs: &GroupConfigs) {
        if self.unsaved {
            let before = self.failing.take();
            match self.file.save(configs.file()) {
                Ok(()) => self.unsaved = false,
                Err(reason) => self.failing = Some(NotSaved(reason)),
            }
            match (&before, &self.failing) {
                (Some(_), None) => info!(self.log, "consumer groups can be saved again"),
                (None, Some(e)) => error!(self.log, "consumer groups not saved"; "reason" => &e.0),
                _ => {}
            }
        }
        let outcome = self.failing.clone().map_or(Ok(()), Err);
        for waiter in self.waiting.drain(..) {
            // Whoever no longer waits needs no answer.
            let _ = waiter.send(outcome.clone());
        }
    }
}

impl Logic for Groups {
    const NAME: &'static str = "groups";

    fn started(&mut self, ctx: &mut Ctx<Self>) {
        ctx.every(SCAN_PERIOD, Self::scan);
    }

    fn drained(&mut self, _: &mut Ctx<Self>) {
        self.file.save(&self.configs);
    }

    fn health(&self) -> Health {
        match &self.file.failing {
            Some(NotSaved(why)) => Health::Degraded(format!("groups cannot be saved: {why}")),
            None => Health::Up,
        }
    }
}

impl Receive<OpenGroup> for Groups {
    fn receive(
        &mut self,
        OpenGroup(name): OpenGroup,
        _: &mut Ctx<Self>,
    ) -> Reply<Result<Arc<GroupView>, OpenError>> {
        self.open_group(&name).into()
    }
}

impl Receive<PutGroups> for Groups {
    fn receive(
        &mut self,
        PutGroups(orders): PutGroups,
        _: &mut Ctx<Self>,
    ) -> Reply<Result<(), PutGroupsError>> {
        let names: Vec<String> = orders.iter().map(|config| config.group_name.clone()).collect();
        let mut configs = self.configs.clone();
        for config in orders {
            if let Err(e) = configs.put(config, self.clock.now_ms()) {
                return Reply::Now(Err(e.into()));
            }
        }
        self.configs = configs;
        self.changed(names.iter().map(String::as_str));
        info!(self.log, "groups configured"; "groups" => names.join(", "));
        let saved = self.file.saved();
        Reply::Later(Box::pin(async move { Ok(saved.await?) }))
    }
}

impl Receive<DeleteGroup> for Groups {
    fn receive(
        &mut self,
        DeleteGroup(name): DeleteGroup,
        _: &mut Ctx<Self>,
    ) -> Reply<Result<bool, NotSaved>> {
        if !self.configs.delete(&name, self.clock.now_ms()) {
            return Reply::Now(Ok(false));
        }
        self.changed([&*name]);
        info!(self.log, "group deleted"; "group" => &*name);
        let saved = self.file.saved();
        Reply::Later(Box::pin(async move { saved.await.map(|()| true) }))
    }
}

impl Receive<AllGroups> for Groups {
    fn receive(&mut self, _: AllGroups, _: &mut Ctx<Self>) -> Reply<Bytes> {
        Bytes::from(body::to_json(self.configs.file())).into()
    }
}
