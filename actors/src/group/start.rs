//! Starts the actors of this side, in their order.

use std::{path::Path, sync::Arc, time::Duration};

use gantry_storage::{Clock, Disk};
use gantry_supervisor::{ChildSpec, Exit, Place, Policy, Ref, Tree};
use slog::{Logger, o};

use super::{
    config_file::ConfigFile,
    control::{Control, ControlConfig, ControlParts},
    diagnosis::{DiagnosisSettings, Watch, WatchParts},
    facts::{QueueFacts, RetryTopics},
    filter_table::FilterDirectory,
    filters::Filters,
    groups::{Groups, GroupsConfig},
    offset_file::OffsetFiles,
    offset_table::OffsetView,
    offsets::Offsets,
    producer_table::ProducerDirectory,
    producers::Producers,
    view::GroupDirectory,
};

/// What this side has to know of the broker's configuration.
#[derive(Clone, Debug)]
pub struct GroupSettings {
    /// What requests are answered by.
    pub control: ControlConfig,
    /// What holds for all groups.
    pub groups: GroupsConfig,
    /// `flushConsumerOffsetInterval`.
    pub offsets_interval: Duration,
    /// Where the actors run that write files; the place of the others is that of the groups.
    pub file_place: Place,
    /// What the watch over the consumption goes by.
    pub diagnosis: DiagnosisSettings,
}

/// What this side is given from outside.
pub struct Surroundings<'a> {
    /// Where the actors are supervised.
    pub tree: &'a Tree,
    /// The broker's directory of configuration files.
    pub config_dir: &'a Path,
    /// Files.
    pub disk: Arc<dyn Disk>,
    /// Wall clock.
    pub clock: Arc<dyn Clock>,
    /// What topics and queues are like.
    pub facts: Arc<dyn QueueFacts>,
    /// Makes retry topics.
    pub retry_topics: Arc<dyn RetryTopics>,
    /// The broker's logger.
    pub log: &'a Logger,
}

/// Starts producers, offsets, groups and filters; returns when they run. The error says which did not and why.
pub async fn start(
    settings: GroupSettings,
    around: Surroundings<'_>,
) -> Result<Control, (&'static str, Exit)> {
    let tree = around.tree.subtree("group");
    let (producer_directory, producers) = start_producers(&settings, &around, &tree).await?;
    let (offset_view, offsets) = start_offsets(&settings, &around, &tree).await?;
    let (directory, groups) = start_groups(&settings, &around, &tree).await?;
    let (filter_directory, filters) = start_filters(&settings, &around, &tree, &directory).await?;
    let parts = WatchParts {
        broker: settings.control.broker_name.clone(),
        limits: settings.diagnosis.limits,
        directory: directory.clone(),
        offsets: offset_view.clone(),
        filters: filter_directory.clone(),
        facts: around.facts.clone(),
        clock: around.clock.clone(),
        log: around.log.new(o!("actor" => "watch")),
    };
    let watch = start_watch(&settings, &tree, parts).await?;
    Ok(Control::new(ControlParts {
        watch,
        config: settings.control,
        directory,
        groups,
        producer_directory,
        producers,
        offset_view,
        offsets,
        filter_directory,
        filters,
        facts: around.facts,
        retry_topics: around.retry_topics,
        log: around.log.new(o!("actor" => "control")),
    }))
}

async fn start_producers(
    settings: &GroupSettings,
    around: &Surroundings<'_>,
    tree: &Tree,
) -> Result<(ProducerDirectory, Ref<Producers>), (&'static str, Exit)> {
    let directory = ProducerDirectory::default();
    let (clock, log) = (around.clock.clone(), around.log.new(o!("actor" => "producers")));
    let (expiry, published) = (settings.groups.client_expiry, directory.clone());
    let spec = ChildSpec::new("producers", Policy::RestartEmpty, move |_| {
        Ok(Producers::new(published.clone(), expiry, clock.clone(), log.clone()))
    });
    let started = tree.start(spec.place(settings.groups.place.clone())).await;
    Ok((directory, started.map_err(|exit| ("producers", exit))?))
}

async fn start_offsets(
    settings: &GroupSettings,
    around: &Surroundings<'_>,
    tree: &Tree,
) -> Result<(OffsetView, Ref<Offsets>), (&'static str, Exit)> {
    let view = OffsetView::default();
    let file = |name: &str| ConfigFile::new(around.config_dir.join(name), around.disk.clone());
    let light = settings.control.serves_light_queues.then(|| file("lmqConsumerOffset.json"));
    let file = OffsetFiles { plain: file("consumerOffset.json"), light };
    let (clock, log) = (around.clock.clone(), around.log.new(o!("actor" => "offsets")));
    let (interval, published) = (settings.offsets_interval, view.clone());
    let spec = ChildSpec::new("offsets", Policy::RestartFromDisk, move |_| {
        let (file, published) = (file.clone(), published.clone());
        Offsets::open(file, published, interval, clock.clone(), log.clone())
    });
    let started = tree.start(spec.place(settings.file_place.clone())).await;
    Ok((view, started.map_err(|exit| ("offsets", exit))?))
}

async fn start_watch(
    settings: &GroupSettings,
    tree: &Tree,
    parts: WatchParts,
) -> Result<Ref<Watch>, (&'static str, Exit)> {
    let spec =
        ChildSpec::new("watch", Policy::RestartEmpty, move |_| Ok(Watch::new(parts.clone())));
    let started = tree.start(spec.place(settings.diagnosis.place.clone())).await;
    started.map_err(|exit| ("watch", exit))
}

async fn start_groups(
    settings: &GroupSettings,
    around: &Surroundings<'_>,
    tree: &Tree,
) -> Result<(GroupDirectory, Ref<Groups>), (&'static str, Exit)> {
    let directory = GroupDirectory::default();
    let path = around.config_dir.join("subscriptionGroup.json");
    let file = ConfigFile::new(path, around.disk.clone());
    let (clock, log) = (around.clock.clone(), around.log.new(o!("actor" => "groups")));
    let (config, published) = (settings.groups.clone(), directory.clone());
    let members = tree.pool("members");
    let spec = ChildSpec::new("groups", Policy::RestartFromDisk, move |_| {
        let (file, published, members) = (file.clone(), published.clone(), members.clone());
        Groups::open(file, published, members, config.clone(), clock.clone(), log.clone())
    });
    let started = tree.start(spec.place(settings.file_place.clone())).await;
    Ok((directory, started.map_err(|exit| ("groups", exit))?))
}

async fn start_filters(
    settings: &GroupSettings,
    around: &Surroundings<'_>,
    tree: &Tree,
    groups: &GroupDirectory,
) -> Result<(FilterDirectory, Ref<Filters>), (&'static str, Exit)> {
    let directory = FilterDirectory::default();
    let path = around.config_dir.join("consumerFilter.json");
    let file = ConfigFile::new(path, around.disk.clone());
    let (clock, log) = (around.clock.clone(), around.log.new(o!("actor" => "filters")));
    let (published, groups) = (directory.clone(), groups.clone());
    let spec = ChildSpec::new("filters", Policy::RestartFromDisk, move |_| {
        let (file, published) = (file.clone(), published.clone());
        Filters::open(file, published, groups.clone(), clock.clone(), log.clone())
    });
    let started = tree.start(spec.place(settings.file_place.clone())).await;
    Ok((directory, started.map_err(|exit| ("filters", exit))?))
}
