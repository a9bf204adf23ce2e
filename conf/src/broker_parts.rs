//! What a broker's actors are given: one small struct for each concern.
//!
//! A field has the name of its key in snake case, and the shipped `broker.toml` says what the key
//! means. Here stands what each value may be.

use std::{path::PathBuf, time::Duration};

use serde::{Deserialize, Deserializer, de::Error as _};

use crate::values::{
    AppenderPlacement, FlushDiskType, addresses, delays, dirs, dirs_or_none, host, hours, int,
    millis, name,
};

/// Bytes of one entry of a queue's index (store.md 2.2).
const INDEX_ENTRY_BYTES: u64 = 20;
/// The Java broker keeps sizes of files in 32 bits; a store must stay readable by it.
const FILE_BYTES_MAX: i64 = i32::MAX as i64;
/// Slots of the timer wheel that are not kept free: seven days of seconds, but for a minute.
const TIMER_SLOTS_MAX: i64 = 7 * 86_400 - 60;
/// Ten years.
const TIMER_SECONDS_MAX: i64 = 10 * 366 * 86_400;
/// More bytes than any disk has, and few enough to reckon with.
const BYTES_MAX: i64 = 1 << 60;

/// Who the broker is.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct IdentityConfig {
    /// The cluster.
    #[serde(deserialize_with = "name")]
    pub broker_cluster_name: String,
    /// The broker.
    #[serde(deserialize_with = "name")]
    pub broker_name: String,
    /// 0, which is the master.
    #[serde(deserialize_with = "master_id")]
    pub broker_id: u64,
    /// Host name or address, without port, that clients are told.
    #[serde(rename = "brokerIP1", deserialize_with = "host")]
    pub broker_ip1: String,
    /// The same for replicas.
    #[serde(rename = "brokerIP2", deserialize_with = "host")]
    pub broker_ip2: String,
    /// `MSG_REGION` of answers to sends.
    pub region_id: String,
    /// `TRACE_ON` of answers to sends.
    pub trace_on: bool,
    /// 4 read, 2 write.
    #[serde(deserialize_with = "int::<0, 7, _, _>")]
    pub broker_permission: i32,
}

/// Registration with name servers.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct RegistrationConfig {
    /// `HOST:PORT` each, as given.
    #[serde(deserialize_with = "addresses")]
    pub namesrv_addr: Vec<String>,
    /// Time between registrations, from 10 to 60 s.
    #[serde(deserialize_with = "registration_period")]
    pub register_name_server_period: Duration,
    /// Time for one name server to answer.
    #[serde(rename = "registerBrokerTimeoutMills", deserialize_with = "millis::<1, 3_600_000, _>")]
    pub register_broker_timeout: Duration,
    /// Register even if nothing changed.
    pub force_register: bool,
    /// Compress the body.
    pub compressed_register: bool,
}

/// The files.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct StoreConfig {
    /// Directory of the store.
    pub store_path_root_dir: PathBuf,
    /// Directories of the log, as given.
    #[serde(deserialize_with = "dirs")]
    pub store_path_commit_log: Vec<PathBuf>,
    /// Directories of the log that get no new files.
    #[serde(deserialize_with = "dirs_or_none")]
    pub read_only_commit_log_store_paths: Vec<PathBuf>,
    /// Bytes of one file of the log.
    #[serde(deserialize_with = "int::<4096, FILE_BYTES_MAX, _, _>")]
    pub mapped_file_size_commit_log: u64,
    /// Bytes of one file of a queue's index; a multiple of 20.
    #[serde(deserialize_with = "index_file_bytes")]
    pub mapped_file_size_consume_queue: u64,
    /// New entries of queues get units of the extension.
    pub enable_consume_queue_ext: bool,
    /// Bytes of one file of a queue's extension.
    #[serde(deserialize_with = "int::<24, FILE_BYTES_MAX, _, _>")]
    pub mapped_file_size_consume_queue_ext: u64,
    /// Bytes of the largest body.
    #[serde(deserialize_with = "int::<1, FILE_BYTES_MAX, _, _>")]
    pub max_message_size: usize,
    /// Check checksums at start.
    #[serde(rename = "checkCRCOnRecover")]
    pub check_crc_on_recover: bool,
    /// The thread of the appender.
    pub appender_placement: AppenderPlacement,
}

/// What goes from the store, and when the disk is too full to write.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct RetentionConfig {
    /// Hours that messages are kept.
    #[serde(deserialize_with = "int::<0, 876_000, _, _>")]
    pub file_reserved_time: u32,
    /// Hours of the day in which old files go.
    #[serde(deserialize_with = "hours")]
    pub delete_when: Vec<u8>,
    /// Bytes of the log's files.
    #[serde(deserialize_with = "some_bytes")]
    pub retention_bytes: Option<u64>,
    /// Keep what a group has not consumed.
    pub never_delete_unconsumed: bool,
    /// Percent of the disk above which old files go at any hour.
    #[serde(deserialize_with = "percent::<10, 95, _>")]
    pub disk_max_used_space_ratio: u8,
    /// Percent above which files go that are not old.
    #[serde(deserialize_with = "percent::<30, 85, _>")]
    pub disk_space_clean_forcibly_ratio: u8,
    /// Percent above which messages are refused.
    #[serde(deserialize_with = "percent::<35, 90, _>")]
    pub disk_space_warning_level_ratio: u8,
    /// Whether files go that are not old.
    pub clean_file_forcibly_enable: bool,
    /// Time between looks at the disk.
    #[serde(deserialize_with = "millis::<1, 3_600_000, _>")]
    pub clean_resource_interval: Duration,
    /// Time between two files of one look.
    #[serde(deserialize_with = "millis::<0, 3_600_000, _>")]
    pub delete_commit_log_files_interval: Duration,
    /// Files of the log that go at one look.
    #[serde(deserialize_with = "int::<1, 1_000_000, _, _>")]
    pub delete_file_batch_max: usize,
}

/// When the log is flushed.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct FlushConfig {
    /// When a send is answered.
    pub flush_disk_type: FlushDiskType,
    /// How long a send waits for its sync.
    #[serde(deserialize_with = "millis::<1, 3_600_000, _>")]
    pub sync_flush_timeout: Duration,
    /// Time between syncs with `ASYNC_FLUSH`.
    #[serde(deserialize_with = "millis::<1, 3_600_000, _>")]
    pub flush_interval_commit_log: Duration,
    /// Unsynced pages of 4 KiB that are worth a sync.
    #[serde(deserialize_with = "int::<0, 1_000_000, _, _>")]
    pub flush_commit_log_least_pages: u64,
    /// Time between checkpoints.
    #[serde(deserialize_with = "millis::<1, 3_600_000, _>")]
    pub flush_interval_consume_queue: Duration,
    /// Time after which even fewer are synced.
    #[serde(deserialize_with = "millis::<0, 3_600_000, _>")]
    pub flush_commit_log_thorough_interval: Duration,
}

/// The index of keys.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct IndexConfig {
    /// Make it.
    pub message_index_enable: bool,
    /// Serve only once it is complete.
    pub message_index_safe: bool,
    /// Hash slots of a file.
    #[serde(deserialize_with = "int::<1, FILE_BYTES_MAX, _, _>")]
    pub max_hash_slot_num: u32,
    /// Entries of a file, the first of which is never used.
    #[serde(deserialize_with = "int::<2, FILE_BYTES_MAX, _, _>")]
    pub max_index_num: u32,
    /// Messages in an answer to a query.
    #[serde(deserialize_with = "int::<1, 65_536, _, _>")]
    pub max_msgs_num_batch: usize,
    /// Messages that a query by unique key is taken to ask for.
    #[serde(deserialize_with = "int::<1, 65_536, _, _>")]
    pub default_query_max_num: usize,
}

impl IndexConfig {
    /// Bytes of a file (store.md 2.5).
    pub fn file_bytes(&self) -> u64 {
        40 + 4 * u64::from(self.max_hash_slot_num) + 20 * u64::from(self.max_index_num)
    }
}

/// How topics come to be.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct TopicConfig {
    /// By the first message.
    pub auto_create_topic_enable: bool,
    /// With so many queues.
    #[serde(deserialize_with = "int::<1, 65_536, _, _>")]
    pub default_topic_queue_nums: u32,
    /// The topic of traces.
    pub trace_topic_enable: bool,
    /// Its name.
    #[serde(deserialize_with = "name")]
    pub msg_trace_topic_name: String,
    /// Replies of request-reply are stored.
    pub store_reply_message_enable: bool,
    /// Delays of the levels 1, 2, … .
    #[serde(rename = "messageDelayLevel", deserialize_with = "delays")]
    pub message_delays: Vec<Duration>,
    /// Time between writes of how far they have been delivered.
    #[serde(deserialize_with = "millis::<1, 3_600_000, _>")]
    pub flush_delay_offset_interval: Duration,
}

/// Consumer groups and clients.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct GroupConfig {
    /// A group comes to be by its first member.
    pub auto_create_subscription_group: bool,
    /// Time between writes of the offsets.
    #[serde(deserialize_with = "millis::<1, 3_600_000, _>")]
    pub flush_consumer_offset_interval: Duration,
    /// Tell members of each other.
    pub notify_consumer_ids_changed_enable: bool,
    /// Time without heartbeat after which a client is gone.
    #[serde(deserialize_with = "millis::<1, 86_400_000, _>")]
    pub channel_expired_timeout: Duration,
    /// Time that a queue lock lasts after its last renewal once its owner's connection is gone.
    #[serde(rename = "disconnectedLockMillis", deserialize_with = "millis::<0, 60_000, _>")]
    pub disconnected_lock: Duration,
    /// Time for which messages may wait without anybody pulling them.
    #[serde(deserialize_with = "int::<1, 604_800, _, _>")]
    pub stuck_queue_seconds: i64,
    /// Time for which delivered messages may stay uncommitted.
    #[serde(deserialize_with = "int::<1, 604_800, _, _>")]
    pub missing_commit_seconds: i64,
}

/// What a pull gets.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct PullConfig {
    /// Hold a pull that finds nothing.
    pub long_polling_enable: bool,
    /// How long, if not.
    #[serde(rename = "shortPollingTimeMills", deserialize_with = "millis::<0, 3_600_000, _>")]
    pub short_polling_time: Duration,
    /// Bytes in memory per answer.
    #[serde(deserialize_with = "int::<1, FILE_BYTES_MAX, _, _>")]
    pub max_transfer_bytes_on_message_in_memory: usize,
    /// Messages in memory per answer.
    #[serde(deserialize_with = "int::<1, FILE_BYTES_MAX, _, _>")]
    pub max_transfer_count_on_message_in_memory: usize,
    /// Bytes from disk per answer.
    #[serde(deserialize_with = "int::<1, FILE_BYTES_MAX, _, _>")]
    pub max_transfer_bytes_on_message_in_disk: usize,
    /// Messages from disk per answer.
    #[serde(deserialize_with = "int::<1, FILE_BYTES_MAX, _, _>")]
    pub max_transfer_count_on_message_in_disk: usize,
    /// Newest part of the log that counts as in memory, in percent of the host's memory.
    #[serde(deserialize_with = "int::<0, 100, _, _>")]
    pub access_message_in_memory_max_ratio: u64,
    /// SQL92 conditions.
    pub enable_property_filter: bool,
    /// Consumers are led past damaged messages.
    pub skip_damaged_messages: bool,
}

/// Light queues: those that a message is in besides its own.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct LightConfig {
    /// Messages get offsets in them, and they can be pulled.
    pub enable_lmq: bool,
    /// They get entries.
    pub enable_multi_dispatch: bool,
    /// There may not be any number of them.
    pub enable_lmq_quota: bool,
    /// But so many.
    #[serde(deserialize_with = "int::<1, 10_000_000, _, _>")]
    pub max_lmq_consume_queue_num: usize,
}

/// Transactions.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct TransactionConfig {
    /// From a half message to the first question.
    #[serde(deserialize_with = "millis::<0, 86_400_000, _>")]
    pub transaction_time_out: Duration,
    /// Questions.
    #[serde(deserialize_with = "int::<1, 1_000_000, _, _>")]
    pub transaction_check_max: u32,
    /// Time between looks.
    #[serde(deserialize_with = "millis::<1, 86_400_000, _>")]
    pub transaction_check_interval: Duration,
    /// Half messages are refused.
    pub reject_transaction_message: bool,
}

/// Timed messages.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct TimerConfig {
    /// Serve them.
    pub timer_wheel_enable: bool,
    /// Milliseconds of a slot.
    #[serde(deserialize_with = "timer_precision")]
    pub timer_precision_ms: u32,
    /// Slots that a timer lies ahead at most.
    #[serde(deserialize_with = "int::<2, TIMER_SLOTS_MAX, _, _>")]
    pub timer_roll_window_slot: u32,
    /// Seconds that a message may wait.
    #[serde(deserialize_with = "int::<1, TIMER_SECONDS_MAX, _, _>")]
    pub timer_max_delay_sec: u32,
    /// Time between flushes.
    #[serde(rename = "timerFlushIntervalMs", deserialize_with = "millis::<1, 3_600_000, _>")]
    pub timer_flush_interval: Duration,
    /// Bytes of one file of the timer log.
    #[serde(deserialize_with = "int::<4096, FILE_BYTES_MAX, _, _>")]
    pub mapped_file_size_timer_log: u64,
    /// Timers of one slot above which some are refused.
    #[serde(deserialize_with = "int::<1, FILE_BYTES_MAX, _, _>")]
    pub timer_congest_num_each_slot: u32,
    /// Name the topic in messages that take one back.
    pub append_topic_for_timer_delete_key: bool,
    /// Messages can be taken back.
    pub recall_message_enable: bool,
}

/// A slot is one of these, as in the Java broker: the next shorter one is taken.
fn timer_precision<'de, D: Deserializer<'de>>(from: D) -> Result<u32, D::Error> {
    let given = int::<1, FILE_BYTES_MAX, u32, D>(from)?;
    let precisions = [1000, 500, 200, 100];
    Ok(precisions.into_iter().find(|precision| *precision <= given).unwrap_or(100))
}

fn master_id<'de, D: Deserializer<'de>>(from: D) -> Result<u64, D::Error> {
    match u64::deserialize(from) {
        Ok(0) => Ok(0),
        _ => Err(D::Error::custom("must be 0, the id of a master")),
    }
}

/// Clamped as in the Java broker.
fn registration_period<'de, D: Deserializer<'de>>(from: D) -> Result<Duration, D::Error> {
    let given = millis::<0, { i64::MAX }, D>(from)?;
    Ok(given.clamp(Duration::from_secs(10), Duration::from_secs(60)))
}

/// Taken up to whole entries, as in the Java broker.
fn index_file_bytes<'de, D: Deserializer<'de>>(from: D) -> Result<u64, D::Error> {
    int::<20, FILE_BYTES_MAX, u64, D>(from).map(|bytes| bytes.next_multiple_of(INDEX_ENTRY_BYTES))
}

/// A percentage, taken as the nearest that the Java broker allows (store.md 3.6).
fn percent<'de, const MIN: u8, const MAX: u8, D: Deserializer<'de>>(
    from: D,
) -> Result<u8, D::Error> {
    int::<0, 100, u8, D>(from).map(|given| given.clamp(MIN, MAX))
}

/// 0 is none.
fn some_bytes<'de, D: Deserializer<'de>>(from: D) -> Result<Option<u64>, D::Error> {
    int::<0, BYTES_MAX, u64, D>(from).map(|bytes| (bytes > 0).then_some(bytes))
}
