//! Values that can change while others read them.

use std::{
    fmt,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use arc_swap::{ArcSwap, Guard};
use gantry_codec::body::DataVersion;
use gantry_conf::{BrokerConfig, Effective, RetentionConfig, TopicConfig};
use gantry_storage::{PhysicalOffset, PullLimits};

use crate::log::flusher::FlushPace;

/// A value as it is now. Clones show the same.
pub struct Live<T>(Arc<ArcSwap<T>>);

impl<T> Live<T> {
    /// A value that nobody has changed yet.
    pub fn new(value: T) -> Self {
        Self(Arc::new(ArcSwap::from_pointee(value)))
    }

    /// The value now.
    pub fn load(&self) -> Guard<Arc<T>> {
        self.0.load()
    }

    /// Replaces it. For its owner alone.
    pub(crate) fn publish(&self, value: T) {
        self.0.store(Arc::new(value));
    }
}

impl<T: Copy> Live<T> {
    /// The value now, copied.
    pub fn get(&self) -> T {
        **self.load()
    }
}

impl<T> Clone for Live<T> {
    fn clone(&self) -> Self {
        Self(self.0.clone())
    }
}

impl<T: fmt::Debug> fmt::Debug for Live<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.load().fmt(f)
    }
}

/// What sessions decide by.
#[derive(Clone, Debug)]
pub struct SessionLimits {
    /// `brokerPermission`: 4 read, 2 write.
    pub permission: i32,
    /// Largest body, in bytes.
    pub message_bytes_max: usize,
    /// Whether pulls are held until there is something for them.
    pub long_polling: bool,
    /// How long a pull is held if not, in ms.
    pub short_polling_ms: i64,
    /// What one pull gets at most.
    pub pull: PullLimits,
    /// Whether consumers are led past damaged messages instead of being told of them.
    pub skip_damaged: bool,
}

impl SessionLimits {
    /// As configured, on a machine with so much memory.
    pub fn new(config: &BrokerConfig, memory_bytes: u64, started_at: PhysicalOffset) -> Self {
        Self {
            permission: config.identity.broker_permission,
            message_bytes_max: config.store.max_message_size,
            long_polling: config.pull.long_polling_enable,
            short_polling_ms: config.pull.short_polling_time.as_millis() as i64,
            pull: pull_limits(config, memory_bytes, started_at),
            skip_damaged: config.pull.skip_damaged_messages,
        }
    }
}

/// What one pull gets at most; what came before `started_at` has to be read from the disk.
pub fn pull_limits(
    config: &BrokerConfig,
    memory_bytes: u64,
    started_at: PhysicalOffset,
) -> PullLimits {
    let pull = &config.pull;
    let limit = |count: usize, bytes: usize| (count as u32, bytes as u64);
    PullLimits {
        messages_max: 32,
        hot: limit(
            pull.max_transfer_count_on_message_in_memory,
            pull.max_transfer_bytes_on_message_in_memory,
        ),
        cold: limit(
            pull.max_transfer_count_on_message_in_disk,
            pull.max_transfer_bytes_on_message_in_disk,
        ),
        hot_bytes: memory_bytes / 100 * pull.access_message_in_memory_max_ratio,
        started_at,
    }
}

fn pace(config: &BrokerConfig) -> FlushPace {
    FlushPace {
        interval: config.flush.flush_interval_commit_log,
        least_pages: config.flush.flush_commit_log_least_pages,
        thorough_interval: config.flush.flush_commit_log_thorough_interval,
    }
}

/// Told of the configuration after each change.
type Follower = Box<dyn Fn(&BrokerConfig) + Send>;

/// The configuration in effect, part by part.
pub struct InEffect {
    whole: ArcSwap<(BrokerConfig, DataVersion)>,
    memory_bytes: u64,
    followers: Mutex<Vec<Follower>>,
    /// What sessions decide by.
    pub session: Live<SessionLimits>,
    /// `brokerPermission`, for the registration.
    pub permission: Live<i32>,
    /// What goes from the store, and when.
    pub retention: Live<RetentionConfig>,
    /// How topics come to be.
    pub topics: Live<TopicConfig>,
    /// `autoCreateSubscriptionGroup`.
    pub creates_groups: Live<bool>,
    /// `notifyConsumerIdsChangedEnable`.
    pub notifies_members: Live<bool>,
    /// `enablePropertyFilter`.
    pub sql92: Live<bool>,
    /// When an asynchronous log is flushed.
    pub flush_pace: Live<FlushPace>,
    /// How long a send waits for its sync.
    pub flush_timeout: Live<Duration>,
}

impl InEffect {
    /// What a broker starts with at `now_ms`, on a machine with so much memory.
    pub fn new(config: BrokerConfig, memory_bytes: u64, now_ms: i64) -> Self {
        let started_at = PhysicalOffset(0);
        Self {
            memory_bytes,
            followers: Mutex::default(),
            session: Live::new(SessionLimits::new(&config, memory_bytes, started_at)),
            permission: Live::new(config.identity.broker_permission),
            retention: Live::new(config.retention.clone()),
            topics: Live::new(config.topics.clone()),
            creates_groups: Live::new(config.groups.auto_create_subscription_group),
            notifies_members: Live::new(config.groups.notify_consumer_ids_changed_enable),
            sql92: Live::new(config.pull.enable_property_filter),
            flush_pace: Live::new(pace(&config)),
            flush_timeout: Live::new(config.flush.sync_flush_timeout),
            whole: ArcSwap::from_pointee((
                config,
                DataVersion { timestamp: now_ms, ..DataVersion::default() },
            )),
        }
    }

    /// Messages before this place of the log were stored before the start, and are not in memory.
    pub fn set_started_at(&self, started_at: PhysicalOffset) {
        let mut limits = SessionLimits::clone(&self.session.load());
        limits.pull.started_at = started_at;
        self.session.publish(limits);
    }

    /// Every key with its value, and the version of the whole.
    pub fn shown(&self) -> (Effective, DataVersion) {
        let whole = self.whole.load();
        (whole.0.effective.clone(), whole.1.clone())
    }

    /// All of it.
    pub(super) fn config(&self) -> BrokerConfig {
        self.whole.load().0.clone()
    }

    /// Calls `follower` after each change, on the thread that makes it.
    pub(super) fn follow(&self, follower: Follower) {
        self.followers.lock().unwrap_or_else(PoisonError::into_inner).push(follower);
    }

    /// Puts a configuration into effect.
    pub(super) fn publish(&self, config: BrokerConfig, now_ms: i64) {
        let started_at = self.session.load().pull.started_at;
        self.session.publish(SessionLimits::new(&config, self.memory_bytes, started_at));
        self.permission.publish(config.identity.broker_permission);
        self.retention.publish(config.retention.clone());
        self.topics.publish(config.topics.clone());
        self.creates_groups.publish(config.groups.auto_create_subscription_group);
        self.notifies_members.publish(config.groups.notify_consumer_ids_changed_enable);
        self.sql92.publish(config.pull.enable_property_filter);
        self.flush_pace.publish(pace(&config));
        self.flush_timeout.publish(config.flush.sync_flush_timeout);
        for follower in &*self.followers.lock().unwrap_or_else(PoisonError::into_inner) {
            follower(&config);
        }
        let mut version = self.whole.load().1.clone();
        version.counter += 1;
        version.timestamp = now_ms;
        self.whole.store(Arc::new((config, version)));
    }
}
