//! The actor that changes the configuration: checks a request, keeps it in the file, puts it into effect.

use std::{collections::BTreeMap, path::Path, sync::Arc};

use actix::{Addr, Message};
use gantry_conf::{BrokerConfig, ChangeError, Changed, Difference, edited_broker_file};
use gantry_storage::{Clock, Disk};
use gantry_supervisor::{Ctx, Logic, Receive, Reply, Shell};
use slog::{Logger, info, warn};
use thiserror::Error;

use super::InEffect;
use crate::topic::{ReadTopicSettings, Topics};

/// Keys that the topics' root has to do something about.
const OF_TOPICS: [&str; 3] = ["autoCreateTopicEnable", "brokerPermission", "defaultTopicQueueNums"];

/// Change these keys. All are taken, or none.
#[derive(Debug, Message)]
#[rtype(result = "Result<(), SettingsError>")]
pub struct ChangeSettings(pub BTreeMap<String, String>);

/// Call this with the configuration after each change from now on.
#[derive(Message)]
#[rtype(result = "()")]
pub struct FollowSettings(pub Box<dyn Fn(&BrokerConfig) + Send>);

/// Why nothing was changed.
#[derive(Debug, Error)]
pub enum SettingsError {
    /// The request was refused.
    #[error(transparent)]
    Refused(#[from] ChangeError),
    /// The file could not be read or written.
    #[error("{path}: {reason}")]
    File {
        /// The file.
        path: String,
        /// Why.
        reason: String,
    },
}

/// What changes are made with.
#[derive(Clone)]
pub struct SettingsParts {
    /// What it publishes.
    pub in_effect: Arc<InEffect>,
    /// Files.
    pub disk: Arc<dyn Disk>,
    /// Wall clock.
    pub clock: Arc<dyn Clock>,
    /// The actor's logger.
    pub log: Logger,
}

/// See the module's text.
pub struct Settings {
    parts: SettingsParts,
    /// The root of the topics, which has to do something about some settings.
    topics: Addr<Shell<Topics>>,
}

impl Settings {
    /// The owner of what `parts` publishes.
    pub fn new(parts: SettingsParts, topics: Addr<Shell<Topics>>) -> Self {
        Self { parts, topics }
    }
}

impl SettingsParts {
    /// Makes the change; what it consists of.
    fn change(&self, asked: &BTreeMap<String, String>) -> Result<Vec<Difference>, SettingsError> {
        let Self { in_effect, disk, clock, log } = self;
        let Changed { config, keys } = in_effect.config().changed(asked)?;
        if keys.is_empty() {
            return Ok(keys);
        }
        match &config.file {
            Some(path) => keep(&**disk, path, &keys)?,
            None => info!(log, "there is no configuration file: the change ends with the process"),
        }
        in_effect.publish(config, clock.now_ms());
        for Difference { key, before, now, origin } in &keys {
            info!(log, "setting changed"; "setting" => key, "from" => before, "to" => now);
            if origin == "--set" || origin.starts_with("environment variable") {
                warn!(log, "the file is not what counts at the next start"; "setting" => key,
                    "counts" => origin);
            }
        }
        Ok(keys)
    }
}

/// Puts the new values into the text of the file.
fn keep(disk: &dyn Disk, path: &Path, keys: &[Difference]) -> Result<(), SettingsError> {
    let failed = |reason: String| SettingsError::File { path: path.display().to_string(), reason };
    let bytes = disk.read(path).map_err(|e| failed(e.to_string()))?;
    let bytes = bytes.ok_or_else(|| failed("is not there any more".into()))?;
    let values = keys.iter().map(|key| (key.key.clone(), key.now.clone())).collect();
    let edited = edited_broker_file(path, &bytes, &values).map_err(ChangeError::Load)?;
    disk.write_atomic(path, &edited).map_err(|e| failed(format!("cannot be written: {e}")))
}

impl Logic for Settings {
    const NAME: &'static str = "settings";
}

impl Receive<ChangeSettings> for Settings {
    fn receive(
        &mut self,
        ChangeSettings(asked): ChangeSettings,
        _: &mut Ctx<Self>,
    ) -> Reply<Result<(), SettingsError>> {
        let keys = match self.parts.change(&asked) {
            Ok(keys) => keys,
            Err(e) => return Reply::Now(Err(e)),
        };
        if !keys.iter().any(|key| OF_TOPICS.contains(&key.key.as_str())) {
            return Reply::Now(Ok(()));
        }
        let told = self.topics.send(ReadTopicSettings);
        Reply::Later(Box::pin(async move {
            // A root that dies with it reads the settings at its next start.
            let _ = told.await;
            Ok(())
        }))
    }
}

impl Receive<FollowSettings> for Settings {
    fn receive(
        &mut self,
        FollowSettings(follower): FollowSettings,
        _: &mut Ctx<Self>,
    ) -> Reply<()> {
        self.parts.in_effect.follow(follower);
        Reply::Now(())
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;

    use gantry_conf::{Role, Sources, Surroundings};
    use gantry_storage::{ManualClock, MemDisk};
    use slog::{Discard, o};

    use super::*;

    const FILE: &str = "/etc/broker.conf";

    fn parts(file: Option<&str>) -> SettingsParts {
        let disk = MemDisk::new();
        let surroundings = Surroundings::bare("/home");
        let loaded = BrokerConfig::load(Role::Broker, &Sources::default(), &surroundings);
        let mut config = loaded.unwrap().config;
        if let Some(text) = file {
            disk.write_atomic(Path::new(FILE), text.as_bytes()).unwrap();
            config.file = Some(FILE.into());
        }
        SettingsParts {
            in_effect: Arc::new(InEffect::new(config, 1 << 30, 5)),
            disk: Arc::new(disk),
            clock: Arc::new(ManualClock::new(7)),
            log: Logger::root(Discard, o!()),
        }
    }

    fn change(parts: &SettingsParts, pairs: &[(&str, &str)]) -> Result<(), String> {
        let asked = pairs.iter().map(|(k, v)| ((*k).into(), (*v).into())).collect();
        parts.change(&asked).map(drop).map_err(|e| e.to_string())
    }

    fn text(parts: &SettingsParts) -> String {
        let bytes = parts.disk.read(Path::new(FILE)).unwrap().unwrap();
        String::from_utf8(bytes).unwrap()
    }

    #[test]
    fn a_change_is_in_the_file_and_in_effect() {
        let parts = parts(Some("# ours\nfileReservedTime = 72\n"));
        let kept = parts.in_effect.retention.clone();
        change(&parts, &[("fileReservedTime", "24"), ("brokerPermission", "4")]).unwrap();
        assert_eq!(kept.load().file_reserved_time, 24);
        assert_eq!(parts.in_effect.permission.get(), 4);
        assert_eq!(parts.in_effect.session.load().permission, 4);
        assert_eq!(text(&parts), "# ours\nfileReservedTime=24\nbrokerPermission=4\n");
        let (shown, version) = parts.in_effect.shown();
        assert_eq!((version.counter, version.timestamp), (1, 7));
        assert!(shown.0.iter().any(|set| set.key == "fileReservedTime" && set.value() == "24"));
    }

    #[test]
    fn what_is_refused_changes_neither() {
        let parts = parts(Some("fileReservedTime=72\n"));
        let refused = change(&parts, &[("fileReservedTime", "24"), ("listenPort", "1")]);
        assert!(refused.unwrap_err().ends_with(": listenPort"));
        assert_eq!(parts.in_effect.retention.load().file_reserved_time, 72);
        assert_eq!(text(&parts), "fileReservedTime=72\n");
    }

    #[test]
    fn a_file_that_cannot_be_kept_refuses_the_change() {
        let parts = parts(Some(""));
        parts.disk.remove(Path::new(FILE)).unwrap();
        let refused = change(&parts, &[("fileReservedTime", "24")]).unwrap_err();
        assert_eq!(refused, "/etc/broker.conf: is not there any more");
        assert_eq!(parts.in_effect.retention.load().file_reserved_time, 72);
    }

    #[test]
    fn followers_are_told_and_where_the_log_began_is_kept() {
        let parts = parts(None);
        parts.in_effect.set_started_at(gantry_storage::PhysicalOffset(9));
        let told = Arc::new(Mutex::new(Vec::new()));
        let heard = told.clone();
        parts.in_effect.follow(Box::new(move |config| {
            heard.lock().unwrap().push(config.store.max_message_size);
        }));
        change(&parts, &[("maxMessageSize", "100")]).unwrap();
        change(&parts, &[("maxMessageSize", "100")]).unwrap();
        assert_eq!(*told.lock().unwrap(), [100], "the same again is no change");
        let limits = parts.in_effect.session.load();
        assert_eq!((limits.message_bytes_max, limits.pull.started_at.0), (100, 9));
    }
}
