//! The groups that pop: where each group's actor is, started when it is first needed.
//!
//! A shared handle, not an actor: sessions ask it for a group's actor and talk to that. Groups of which
//! messages were out when the broker stopped have theirs started with the broker, since their time
//! may be over before any client comes.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use gantry_codec::body::{MessageRequestMode, RequestModeBody};
use gantry_storage::JsonFileError;
use gantry_supervisor::{ChildSpec, Exit, Place, Policy, Ref, Tree};
use slog::{Logger, o};
use thiserror::Error;

use super::{
    group::PopGroup,
    modes::{RequestModes, RequestModesParts},
    orders::Forget,
    parts::PopParts,
    routes::QueueRoutes,
    states::{PopFiles, PopStateFile, PopStates},
};
use crate::{group::Control, topic::names::RETRY_PREFIX};

/// Why pops cannot be served.
#[derive(Debug, Error)]
pub enum PopStartError {
    /// A file cannot be read.
    #[error(transparent)]
    File(#[from] JsonFileError),
    /// An actor could not be started.
    #[error("{0} cannot be started: {1}")]
    Actor(&'static str, Exit),
}

/// What is given to [`Pops::start`] besides what its actors work with.
pub struct PopSurroundings<'a> {
    /// Where the actors are supervised.
    pub tree: &'a Tree,
    /// The files of what is out.
    pub files: PopFiles,
    /// The file of modes.
    pub modes: RequestModesParts,
    /// Where actors run that write files.
    pub file_place: Place,
    /// Where the groups' actors run.
    pub place: Place,
    /// The queues of all brokers.
    pub routes: QueueRoutes,
    /// The broker's logger.
    pub log: &'a Logger,
}

/// See the module's text. Clones are the same.
#[derive(Clone)]
pub struct Pops(Arc<Inner>);

struct Inner {
    groups: Mutex<HashMap<Arc<str>, Ref<PopGroup>>>,
    parts: PopParts,
    modes: RequestModes,
    routes: QueueRoutes,
    control: Control,
    tree: Tree,
    place: Place,
}

impl Pops {
    /// Starts what writes the files, then the groups of which something is out.
    pub async fn start(
        parts: PopParts,
        control: Control,
        around: PopSurroundings<'_>,
    ) -> Result<Self, PopStartError> {
        let tree = around.tree.subtree("pop");
        let modes = RequestModes::start(around.modes, &tree, around.file_place.clone()).await;
        let modes = modes.map_err(|exit| PopStartError::Actor("request modes", exit))?;
        let (states, files) = (parts.states.clone(), around.files);
        let log = around.log.new(o!("actor" => "pop state"));
        let spec = ChildSpec::new("pop state", Policy::RestartEmpty, move |_| {
            Ok(PopStateFile::new(states.clone(), files.clone(), log.clone()))
        });
        let started = tree.start(spec.place(around.file_place)).await;
        started.map_err(|exit| PopStartError::Actor("pop state", exit))?;
        // After the file's actor, so that it stops after the groups and has everything.
        let groups = Mutex::default();
        let (tree, place, routes) = (tree.pool("pops"), around.place, around.routes);
        let pops = Self(Arc::new(Inner { groups, parts, modes, routes, control, tree, place }));
        for group in pops.0.parts.states.groups() {
            pops.group(&group);
        }
        Ok(pops)
    }

    fn groups(&self) -> MutexGuard<'_, HashMap<Arc<str>, Ref<PopGroup>>> {
        // Entries are only ever added whole.
        self.0.groups.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// How groups consume.
    pub fn modes(&self) -> &RequestModes {
        &self.0.modes
    }

    /// How a group consumes a topic: as somebody has set it, else as configured. Retry topics are pulled
    /// unless somebody pops them.
    pub fn mode(&self, topic: &str, group: &str) -> RequestModeBody {
        let settings = &self.0.parts.settings;
        self.0.modes.get(topic, group).unwrap_or_else(|| RequestModeBody {
            consumer_group: group.to_owned(),
            topic: topic.to_owned(),
            mode: match topic.starts_with(RETRY_PREFIX) {
                true => MessageRequestMode::Pull,
                false => settings.mode,
            },
            pop_share_queue_num: match settings.mode {
                MessageRequestMode::Pull => 0,
                MessageRequestMode::Pop => settings.share_queue_num,
            },
        })
    }

    /// The queues of all brokers.
    pub fn routes(&self) -> &QueueRoutes {
        &self.0.routes
    }

    /// The group's actor, started now if it does not run.
    pub fn group(&self, group: &str) -> Ref<PopGroup> {
        let mut groups = self.groups();
        if let Some(actor) = groups.get(group) {
            return actor.clone();
        }
        let name: Arc<str> = group.into();
        let actor = self.spawn(name.clone());
        groups.insert(name, actor.clone());
        actor
    }

    fn spawn(&self, name: Arc<str>) -> Ref<PopGroup> {
        let (parts, control) = (self.0.parts.clone(), self.0.control.clone());
        let log = parts.log_to.new(o!("actor" => "pops", "group" => name.to_string()));
        let spec = ChildSpec::new(format!("pops/{name}"), Policy::RestartFromDisk, move |_| {
            let (offsets, directory) = (control.offsets_port(), control.directory().clone());
            Ok(PopGroup::new(name.clone(), parts.clone(), offsets, directory, log.clone()))
        });
        self.0.tree.spawn(spec.place(self.0.place.clone()))
    }

    /// A group is deleted.
    pub fn forget_group(&self, group: &str) {
        if let Some(actor) = self.groups().get(group) {
            actor.do_send(Forget(None));
        }
        self.0.modes.forget_group(group);
    }

    /// A topic is deleted.
    pub fn forget_topic(&self, topic: &str) {
        let topic: Arc<str> = topic.into();
        for actor in self.groups().values() {
            actor.do_send(Forget(Some(topic.clone())));
        }
        self.0.modes.forget_topic(&topic);
    }
}

/// Reads what was out when the broker stopped.
pub fn load_states(files: &PopFiles) -> Result<Arc<PopStates>, JsonFileError> {
    PopStates::load(files).map(Arc::new)
}
