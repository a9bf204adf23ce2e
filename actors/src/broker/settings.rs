//! From the configuration to what the parts take: nothing here starts anything.

use std::net::SocketAddr;

use gantry_codec::body::MessageRequestMode;
use gantry_conf::{AppenderPlacement, RequestMode};
use gantry_storage::{DelayLevels, LogConfig, StoreConfig};
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
            cluster: identity.broker_cluster_name.as_str().into(),
            broker_name: identity.broker_name.as_str().into(),
            region: identity.region_id.clone(),
            trace_on: identity.trace_on,
            property_suffix: suffix,
            delay_levels: levels.count(),
            stores_replies: self.config.topics.store_reply_message_enable,
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
            live: self.live.topics.clone(),
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
