//! Which log lines are wanted: a level for all, and levels for single components (`logLevel`).
//!
//! A component is an actor by its name (`o!("actor" => …)`), or a module by any segment of its path:
//! `gantry::log::appender` is meant by `appender`, by `log` and by `gantry`. The actor's name goes
//! first, then the innermost module.

use std::{collections::HashMap, fmt, sync::Arc};

use arc_swap::ArcSwap;
use gantry_conf::{LogLevel, LogLevels};
use slog::{Drain, KV, Key, Level, OwnedKVList, Record, Serializer};

/// Passes on what is wanted.
pub struct ByComponent<D> {
    drain: D,
    levels: LevelSwitch,
}

/// What is wanted; may be changed while others log.
#[derive(Clone)]
pub struct LevelSwitch(Arc<ArcSwap<Levels>>);

impl LevelSwitch {
    /// A switch at these levels.
    pub fn new(levels: &LogLevels) -> Self {
        Self(Arc::new(ArcSwap::from_pointee(Levels::new(levels))))
    }

    /// From now on, lines of these levels.
    pub fn set(&self, levels: &LogLevels) {
        self.0.store(Arc::new(Levels::new(levels)));
    }
}

struct Levels {
    default: Level,
    components: HashMap<String, Level>,
    /// The most that any component wants.
    most: Level,
}

impl<D> ByComponent<D> {
    /// A filter before `drain`.
    pub fn new(drain: D, levels: LevelSwitch) -> Self {
        Self { drain, levels }
    }
}

impl Levels {
    fn new(levels: &LogLevels) -> Self {
        let default = level(levels.default);
        let components: HashMap<String, Level> =
            levels.components.iter().map(|(name, at)| (name.clone(), level(*at))).collect();
        let most = components.values().copied().fold(default, Level::max);
        Self { default, components, most }
    }

    fn wanted(&self, record: &Record<'_>, values: &OwnedKVList) -> bool {
        if !record.level().is_at_least(self.most) || self.components.is_empty() {
            return record.level().is_at_least(self.most);
        }
        let actor = Actor::of(record, values);
        let names = actor.0.as_deref().into_iter().chain(record.module().rsplit("::"));
        let level = names.filter_map(|name| self.components.get(name)).next();
        record.level().is_at_least(*level.unwrap_or(&self.default))
    }
}

fn level(level: LogLevel) -> Level {
    match level {
        LogLevel::Error => Level::Error,
        LogLevel::Warn => Level::Warning,
        LogLevel::Info => Level::Info,
        LogLevel::Debug => Level::Debug,
        LogLevel::Trace => Level::Trace,
    }
}

impl<D: Drain<Ok = (), Err = slog::Never>> Drain for ByComponent<D> {
    type Ok = ();
    type Err = slog::Never;

    fn log(&self, record: &Record<'_>, values: &OwnedKVList) -> Result<(), slog::Never> {
        if self.levels.0.load().wanted(record, values) {
            self.drain.log(record, values)
        } else {
            Ok(())
        }
    }

    fn is_enabled(&self, level: Level) -> bool {
        level.is_at_least(self.levels.0.load().most)
    }
}

/// The innermost name among a logger's values.
struct Actor(Option<String>);

impl Actor {
    fn of(record: &Record<'_>, values: &OwnedKVList) -> Self {
        let mut actor = Self(None);
        // Only the lookup below could fail, and it does not.
        let _ = values.serialize(record, &mut actor);
        actor
    }
}

impl Serializer for Actor {
    fn emit_arguments(&mut self, key: Key, value: &fmt::Arguments<'_>) -> slog::Result {
        if key == "actor" && self.0.is_none() {
            self.0 = Some(value.to_string());
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::sync::{Arc, Mutex};

    use gantry_conf::{BrokerConfig, Role, Sources, Surroundings};
    use slog::{Logger, debug, info, o, trace, warn};

    use super::*;

    /// Keeps the messages.
    #[derive(Clone, Default)]
    struct Kept(Arc<Mutex<Vec<String>>>);

    impl Drain for Kept {
        type Ok = ();
        type Err = slog::Never;

        fn log(&self, record: &Record<'_>, _: &OwnedKVList) -> Result<(), slog::Never> {
            self.0.lock().unwrap().push(record.msg().to_string());
            Ok(())
        }
    }

    fn levels(levels: &str) -> LogLevels {
        let set = vec![format!("logLevel={levels}")];
        let sources = Sources { set, ..Sources::default() };
        let bare = Surroundings::bare("/home");
        BrokerConfig::load(Role::Broker, &sources, &bare).unwrap().config.log.levels
    }

    fn logger_of(switch: LevelSwitch) -> (Logger, Kept) {
        let kept = Kept::default();
        (Logger::root(ByComponent::new(kept.clone(), switch), o!()), kept)
    }

    fn logger(text: &str) -> (Logger, Kept) {
        logger_of(LevelSwitch::new(&levels(text)))
    }

    fn kept(kept: &Kept) -> Vec<String> {
        kept.0.lock().unwrap().clone()
    }

    #[test]
    fn one_level_for_all() {
        let (log, lines) = logger("info");
        info!(log, "yes");
        debug!(log, "no");
        assert_eq!(kept(&lines), ["yes"]);
        assert!(log.is_enabled(Level::Info) && !log.is_enabled(Level::Debug));
    }

    #[test]
    fn levels_change_while_loggers_are_in_use() {
        let switch = LevelSwitch::new(&levels("warn"));
        let (log, lines) = logger_of(switch.clone());
        info!(log, "not yet");
        switch.set(&levels("debug"));
        debug!(log, "now");
        assert_eq!(kept(&lines), ["now"]);
    }

    #[test]
    fn the_innermost_actor_counts() {
        let (log, lines) = logger("warn,appender=debug,queue=error");
        let appender = log.new(o!("actor" => "appender"));
        debug!(appender, "appender debug");
        trace!(appender, "appender trace");
        debug!(appender.new(o!("batch" => 1)), "below appender");
        warn!(appender.new(o!("actor" => "queue")), "queue warn");
        warn!(log, "warn");
        info!(log.new(o!("actor" => "topic")), "topic info");
        assert_eq!(kept(&lines), ["appender debug", "below appender", "warn"]);
    }

    #[test]
    fn the_innermost_module_counts() {
        let (log, lines) = logger("warn,daemon=debug");
        debug!(log, "daemon");
        assert_eq!(kept(&lines), ["daemon"]);
        let (log, lines) = logger("warn,daemon=debug,log_levels=info");
        debug!(log, "debug");
        info!(log, "info");
        assert_eq!(kept(&lines), ["info"]);
    }
}
