//! Figures and health of the broker, for Prometheus and for probes.
//!
//! Owns what is counted for figures alone ([`Metrics`]: latencies, refusals, pulls on hold) and the port
//! where all figures can be read. Everything else is read, when a page is asked for, from where it is kept
//! anyway: slots of queues, activities of groups, the log, the supervision tree. Nothing here is on a
//! message's way but [`latency::Latency::record`], once for each burst.
//!
//! | path | answer |
//! |---|---|
//! | `/metrics` | the figures, as Prometheus text or OpenMetrics, whichever is asked for; `?queues=1` with lag by queue |
//! | `/healthz` | 200 while the process lives and no actor has been given up; else 503 and which ones have |
//! | `/readyz` | 200 while the broker serves and its log takes messages; else 503 and why not |
//!
//! The port is open before the store is, so that a long recovery is told from a dead process.
//!
//! # Adding figures
//!
//! A part of the broker that has figures of its own calls [`Sources::register`] with a [`Source`], which may
//! be a closure: `sources.register(Arc::new(|page: &mut Page<'_>| page.gauge("gantry_x", "What x is.", 1.0)))`.
//! Sources are asked on the thread of the port, may read from the disk, and must not wait for actors. A
//! source that is asked for many rows bounds them itself ([`named::Named`]).
//!
//! # Names
//!
//! Figures that the Java broker (5.x) has too have its names and labels, `cluster`, `node_type` and
//! `node_id` among them; others begin with `gantry_`, or with `process_` if every Prometheus client has them.
//! `message_type` is missing from `rocketmq_messages_in_total`, as it would cost a look at each message.
//!
//! | name | labels | what |
//! |---|---|---|
//! | `rocketmq_messages_in_total`, `rocketmq_throughput_in_total` | `topic`, `is_system` | messages stored, bytes of their records |
//! | `rocketmq_messages_out_total`, `rocketmq_throughput_out_total` | `consumer_group`, `topic`, `is_retry`, `is_system` | messages delivered, bytes of their records |
//! | `rocketmq_send_to_dlq_messages_total` | `consumer_group`, `topic`, `is_system` | dead letters |
//! | `rocketmq_storage_size`, `rocketmq_storage_flush_behind_bytes`, `rocketmq_storage_dispatch_behind_bytes` | `storage_type`, `storage_medium` | bytes of the log: all, not on the disk, not in the queues |
//! | `rocketmq_storage_message_reserve_time` | the same | age of the oldest message, ms |
//! | `rocketmq_broker_permission`, `rocketmq_topic_number`, `rocketmq_consumer_group_number` | | 4 read and 2 write; how many there are |
//! | `gantry_send_stored_seconds` | | histogram, by send: from being accepted to being in the log |
//! | `gantry_send_flushed_seconds` | | histogram, by send that waits for the disk: from being in the log to being on the disk |
//! | `gantry_log_sync_seconds` | | histogram: one sync of the log |
//! | `gantry_message_delivered_seconds` | | histogram, by message: from being stored to leaving for a consumer; all messages of one answer count as its oldest |
//! | `gantry_refused_requests_total` | `request_code`, `response_code` | requests answered with an error |
//! | `gantry_held_pulls`, `gantry_held_pops` | | pulls, and pops and notifications, that wait for messages |
//! | `gantry_duplicate_messages_total` | `topic` | messages that were sent again and not stored again |
//! | `gantry_expired_messages_total` | `consumer_group`, `topic`, `is_retry`, `is_system` | messages that had expired when the group came to them |
//! | `rocketmq_consumer_lag_messages`, `rocketmq_consumer_lag_latency` | the same | messages that wait, whatever the filter; age of the first one, ms |
//! | `gantry_consumer_queue_lag_messages`, `gantry_consumer_queue_lag_latency` | the same and `queue_id` | by queue, if asked for |
//! | `rocketmq_producer_connections` | `language`, `version` (its number), `protocol_type` | producers |
//! | `rocketmq_consumer_connections` | the same, `consumer_group`, `consume_mode`, `is_system` | consumers |
//! | `gantry_consumption_findings`, `gantry_consumption_findings_total` | `kind` | what is wrong with the consumption: now, since the start |
//! | `rocketmq_half_messages`, `rocketmq_commit_messages_total`, `rocketmq_rollback_messages_total`, `gantry_transactions_given_up_total` | | transactions: open, and how they came out since their actor started |
//! | `gantry_timers_waiting`, `rocketmq_timer_enqueue_total`, `rocketmq_timer_dequeue_total`, `rocketmq_timer_dequeue_latency` | | timed messages: waiting, taken in, delivered; how far they are behind the clock, ms |
//! | `gantry_timer_lateness_seconds` | `share` | how late they were delivered |
//! | `gantry_connections` | | open connections |
//! | `gantry_actors`, `gantry_actors_given_up`, `gantry_actors_frozen` | `kind` | actors: all, failed for good, not answering |
//! | `gantry_actor_restarts_total`, `gantry_actor_panics_total`, `gantry_actor_lost_messages_total` | `kind` | what has gone wrong with them |
//! | `gantry_mailbox_messages`, `gantry_mailbox_wait_seconds` | `kind` | the fullest and the slowest mailbox, of kinds with few actors |
//! | `gantry_log_writable`, `gantry_log_refusing` | none; `cause` | whether the log takes messages, and why not |
//! | `gantry_disk_size_bytes`, `gantry_disk_available_bytes` | `dir` | the file systems under the log |
//! | `gantry_memory_budget_bytes`, `gantry_memory_budget_free_bytes` | | bytes that requests in work may have; that are left |
//! | `gantry_anonymous_memory_bytes` | | memory without mapped files |
//! | `process_*` | | memory, time of the processor, open files, start |
//!
//! No more than `metricsTopicsMax` topics, and pairs of group and topic, have figures under their names;
//! all others are summed as `_other`.

pub mod actors;
pub mod clients;
pub mod deliveries;
pub mod endpoint;
pub mod http;
pub mod kept_out;
pub mod lag;
pub mod latency;
pub mod named;
pub mod page;
pub mod process;
pub mod refusals;
pub mod scrape;
pub mod store;
pub mod timers;
pub mod traffic;

#[cfg(test)]
#[path = "../../../tests/metrics/exposition.rs"]
mod exposition;
#[cfg(test)]
mod tests;

use std::{
    fmt,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicUsize, Ordering::Relaxed},
    },
};

pub use self::page::{Labels, Page, Source};
use self::{
    latency::{LONG_US, Latency, SHORT_US},
    refusals::Refusals,
};

/// What is counted for figures alone; shared by all actors of a broker.
pub struct Metrics {
    /// From being accepted to being in the log, by send.
    pub stored: Latency,
    /// From being in the log to being on the disk, by send that waits for it.
    pub flushed: Latency,
    /// One sync of the log.
    pub synced: Latency,
    /// From being stored to leaving for a consumer, by message.
    pub delivered: Latency,
    /// Requests answered with an error.
    pub refusals: Refusals,
    /// Pulls that wait for messages.
    pub held_pulls: Held,
}

impl Default for Metrics {
    fn default() -> Self {
        Self {
            stored: Latency::new(SHORT_US),
            flushed: Latency::new(SHORT_US),
            synced: Latency::new(SHORT_US),
            delivered: Latency::new(LONG_US),
            refusals: Refusals::default(),
            held_pulls: Held::default(),
        }
    }
}

/// Those that write onto the page. Not a part of [`Metrics`], which sources reach by way of what they read:
/// none of them would ever be let go.
#[derive(Default)]
pub struct Sources(Mutex<Vec<Arc<dyn Source>>>);

impl Sources {
    /// Has `source` write onto every page from now on.
    pub fn register(&self, source: Arc<dyn Source>) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).push(source);
    }

    /// All that have been registered, in that order.
    pub fn all(&self) -> Vec<Arc<dyn Source>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

impl Source for Metrics {
    fn write(&self, page: &mut Page<'_>) -> fmt::Result {
        page.histogram(
            "gantry_send_stored_seconds",
            "From a send's being accepted to its being in the log.",
            &self.stored.snapshot(),
        )?;
        page.histogram(
            "gantry_send_flushed_seconds",
            "From a send's being in the log to its being on the disk, if it waits for that.",
            &self.flushed.snapshot(),
        )?;
        page.histogram(
            "gantry_log_sync_seconds",
            "How long a sync of the log takes.",
            &self.synced.snapshot(),
        )?;
        page.histogram(
            "gantry_message_delivered_seconds",
            "From a message's being stored to its leaving for a consumer, as old as the oldest of its answer.",
            &self.delivered.snapshot(),
        )?;
        let refusals = self.refusals.all();
        let rows = refusals.iter().map(|(request, response, count)| {
            let labels: Labels<'_> = vec![
                ("request_code", request.to_string().into()),
                ("response_code", response.to_string().into()),
            ];
            (labels, *count)
        });
        page.counters(
            "gantry_refused_requests_total",
            "Requests answered with an error, by their code and that of the answer.",
            rows,
        )?;
        page.gauge("gantry_held_pulls", "Pulls that wait for messages.", self.held_pulls.count())
    }
}

/// How many there are of something that comes and goes.
#[derive(Clone, Default)]
pub struct Held(Arc<AtomicUsize>);

impl Held {
    /// One more, until the token is dropped.
    pub fn one_more(&self) -> HeldToken {
        self.0.fetch_add(1, Relaxed);
        HeldToken(self.0.clone())
    }

    /// How many there are.
    pub fn count(&self) -> f64 {
        self.0.load(Relaxed) as f64
    }
}

/// One of those that [`Held`] counts.
pub struct HeldToken(Arc<AtomicUsize>);

impl Drop for HeldToken {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Relaxed);
    }
}
