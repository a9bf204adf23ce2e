//! From the configuration to what the parts take: nothing here starts anything.

use std::net::SocketAddr;

use gantry_codec::body::MessageRequestMode;
use gantry_conf::{AppenderPlacement, RequestMode, RetentionConfig};
use gantry_storage::{
    DelayLevels, LogConfig, PhysicalOffset, PullLimits, StoreConfig, retention::RetentionPolicy,
};
use gantry_supervisor::{Exit, Place};
use slog::{Logger, o};

use super::{BrokerStartError, Start};
use crate::{
    pop::{parts::PopSettings, waiters::WaiterLimits},
    session::SessionConfig,
    topic::CatalogConfig,
};

impl Start<'_> {
    pub(super) fn store_config(&self, levels: &DelayLevels) -> StoreConfig {
        let store = &self.config.store;
        let root = store.store_path_root_dir.clone();
        let (log_bytes, queue_bytes) =
            (store.mapped_file_size_commit_log, store.mapped_file_size_consume_queue);
        let mut config = StoreConfig::new(root, log_bytes, queue_bytes);
        config.log = LogConfig {
            full_percent: self.config.retention.disk_space_clean_forcibly_ratio,
            ..LogConfig::over(
                &store.store_path_commit_log,
                &store.read_only_commit_log_store_paths,
                log_bytes,
            )
        };
        config.queues.ext.is_on = store.enable_consume_queue_ext;
        config.queues.ext.segment_bytes = store.mapped_file_size_consume_queue_ext;
        config.delay_levels = levels.clone();
        config.check_crc = store.check_crc_on_recover;
        config
    }

    pub(super) fn delay_levels(&self) -> DelayLevels {
        DelayLevels::new(&self.config.topics.message_delays)
    }

    pub(super) fn pull_limits(&self) -> PullLimits {
        let pull = &self.config.pull;
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
            hot_bytes: self.seams.memory_bytes / 100 * pull.access_message_in_memory_max_ratio,
            started_at: PhysicalOffset(0),
        }
    }

    pub(super) fn pop_settings(&self) -> PopSettings {
        let pop = &self.config.pop;
        PopSettings {
            retry_first_percent: pop.pop_from_retry_probability,
            retry_v2: pop.enable_retry_topic_v2,
            mode: match pop.default_message_request_mode {
                RequestMode::Pull => MessageRequestMode::Pull,
                RequestMode::Pop => MessageRequestMode::Pop,
            },
            share_queue_num: pop.default_pop_share_queue_num,
        }
    }

    pub(super) fn waiter_limits(&self) -> WaiterLimits {
        let pop = &self.config.pop;
        WaiterLimits { per_queue: pop.pop_polling_size, all: pop.max_pop_polling_size }
    }

    pub(super) fn session_config(
        &self,
        advertised: SocketAddr,
        levels: &DelayLevels,
        started_at: PhysicalOffset,
    ) -> SessionConfig {
        let identity = &self.config.identity;
        let mut suffix = String::new();
        for (name, value) in [
            (gantry_codec::properties::CLUSTER, identity.broker_cluster_name.as_str()),
            (gantry_codec::properties::MSG_REGION, identity.region_id.as_str()),
            (gantry_codec::properties::TRACE_ON, if identity.trace_on { "true" } else { "false" }),
        ] {
            gantry_codec::properties::append(&mut suffix, name, value);
        }
        SessionConfig {
            store_host: advertised,
            broker_name: identity.broker_name.as_str().into(),
            region: identity.region_id.clone(),
            trace_on: identity.trace_on,
            property_suffix: suffix,
            message_bytes_max: self.config.store.max_message_size,
            permission: identity.broker_permission,
            long_polling: self.config.pull.long_polling_enable,
            short_polling_ms: self.config.pull.short_polling_time.as_millis() as i64,
            delay_levels: levels.count(),
            limits: PullLimits { started_at, ..self.pull_limits() },
            stores_replies: self.config.topics.store_reply_message_enable,
            skip_damaged: self.config.pull.skip_damaged_messages,
            reject_transactions: self.config.transactions.reject_transaction_message,
            timers: self.timer_rules(),
        }
    }

    /// With few cores the appender shares the connections' thread: a hop within a thread wakes nobody.
    pub(super) fn appender_place(&self) -> Place {
        let alone = match self.config.store.appender_placement {
            AppenderPlacement::Own => true,
            AppenderPlacement::Shared => false,
            AppenderPlacement::Auto => self.seams.cores > 2,
        };
        if alone { Place::named("log") } else { Place::numbered("io", 0) }
    }

    pub(super) fn catalog_config(&self) -> CatalogConfig {
        let (identity, topics) = (&self.config.identity, &self.config.topics);
        CatalogConfig {
            cluster: identity.broker_cluster_name.clone(),
            broker: identity.broker_name.clone(),
            auto_create: topics.auto_create_topic_enable,
            default_queues: topics.default_topic_queue_nums as i32,
            delay_levels: topics.message_delays.len() as i32,
            trace_topic: topics.trace_topic_enable.then(|| topics.msg_trace_topic_name.clone()),
            timer_topic: self.config.timers.timer_wheel_enable,
        }
    }

    pub(super) fn child_log(&self, actor: &'static str) -> Logger {
        self.log.new(o!("actor" => actor))
    }

    pub(super) fn started<T>(
        &self,
        actor: &'static str,
        started: Result<T, Exit>,
    ) -> Result<T, BrokerStartError> {
        started.map_err(|reason| BrokerStartError::Actor { actor, reason })
    }
}

pub(super) fn retention_policy(config: &RetentionConfig) -> RetentionPolicy {
    RetentionPolicy {
        reserved_ms: i64::from(config.file_reserved_time) * 3_600_000,
        delete_hours: config.delete_when.clone(),
        max_used_percent: config.disk_max_used_space_ratio,
        forcible_percent: config.disk_space_clean_forcibly_ratio,
        warning_percent: config.disk_space_warning_level_ratio,
        cleans_forcibly: config.clean_file_forcibly_enable,
        batch_max: config.delete_file_batch_max,
        log_bytes: config.retention_bytes,
    }
}
