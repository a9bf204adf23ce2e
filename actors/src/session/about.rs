//! What the broker says about itself: its configuration (26 GET_BROKER_CONFIG) and how it is doing
//! (28 GET_BROKER_RUNTIME_INFO, wire.md 2.8).
//!
//! The configuration is the one in effect, each key as the Java broker names it. Runtime information has
//! the keys that tools read; those that count what there is none of here (thread pools and their queues)
//! are 0, so that nothing is shown as missing.

use std::{
    fmt::Write,
    sync::{Arc, atomic::Ordering},
};

use gantry_codec::{
    Command,
    body::{self, KvTable},
    request_code as rq, response_code as rs,
};
use gantry_conf::{Effective, properties::escaped};
use gantry_storage::{Clock, Disk};

use super::Shared;
use crate::{
    log::dispatcher::DispatchSignal,
    net::Outcome,
    settings::InEffect,
    topic::names::WHEEL_TIMER_TOPIC,
    traffic::{PUT_TIMES, Traffic},
};

/// Pools of the Java broker, whose lengths and waiting times tools show.
const POOLS: [&str; 6] = ["send", "pull", "query", "endTransaction", "ack", "litePull"];
/// The version whose number is in every frame; tools take it apart.
const VERSION: &str = "V5_3_3";
/// What this is really.
const OWN_VERSION: &str = concat!("gantry ", env!("CARGO_PKG_VERSION"));
/// What this broker is, in keys that mean nothing here and that tools look for.
const ROLE: [(&str, &str); 6] = [
    ("brokerRole", "ASYNC_MASTER"),
    ("filterServerNums", "0"),
    ("rocketmqHome", ""),
    ("slaveReadEnable", "false"),
    ("storeType", "default"),
    ("useTLS", "false"),
];

/// What is known of the broker as a whole.
pub struct About {
    /// Its configuration in effect.
    pub in_effect: Arc<InEffect>,
    /// When it started, ms.
    pub started_ms: i64,
    /// Messages that come and go.
    pub traffic: Arc<Traffic>,
    /// How far the queues are behind the log.
    pub dispatched: Arc<DispatchSignal>,
    /// Where the log is.
    pub disk: Arc<dyn Disk>,
    /// Wall clock.
    pub clock: Arc<dyn Clock>,
}

/// Answers one of the codes of this file.
pub(super) fn answer(shared: &Arc<Shared>, cmd: Command) -> Outcome {
    if cmd.code == rq::GET_BROKER_CONFIG {
        return Outcome::Reply(config(&shared.about, &cmd));
    }
    // The state of the disk is asked for, and the first message of the log looked at.
    let all = shared.clone();
    shared.cold.answer(cmd, 0, move |cmd| {
        let body = body::to_json(&KvTable { table: runtime(&all).into_iter().collect() });
        Command::response(rs::SUCCESS, cmd).with_body(body)
    })
}

fn config(about: &About, cmd: &Command) -> Command {
    let (effective, version) = about.in_effect.shown();
    let version = String::from_utf8_lossy(&body::to_json(&version)).into_owned();
    Command::response(rs::SUCCESS, cmd)
        .with_ext("version", version.as_str())
        .with_body(properties(&effective))
}

/// The text of a properties file.
fn properties(effective: &Effective) -> String {
    let set = effective.0.iter().map(|setting| (setting.key.as_str(), setting.value()));
    let role = ROLE.iter().map(|(key, value)| (*key, (*value).to_owned()));
    set.chain(role).fold(String::new(), |mut text, (key, value)| {
        // Writing to a string cannot fail.
        let _ = writeln!(text, "{key}={}", escaped(&value));
        text
    })
}

fn runtime(shared: &Shared) -> Vec<(String, String)> {
    let (about, log) = (&shared.about, &shared.log);
    let now = about.clock.now_ms();
    let mut table = Table(Vec::new());
    table.put("bootTimestamp", about.started_ms);
    table.put("runtime", uptime(now - about.started_ms));
    table.put("brokerVersion", gantry_codec::BROKER_VERSION);
    table.put("brokerVersionDesc", VERSION);
    table.put("gantryVersion", OWN_VERSION);
    table.put("brokerActive", shared.log_state.refusal().is_none());
    table.put("startAcceptSendRequestTimeStamp", about.started_ms);
    traffic(&about.traffic, now, &mut table);
    let topics = shared.topics.all();
    let windows = topics.values().filter_map(|view| view.window.as_ref());
    table.put("duplicateSends", windows.map(|window| window.duplicates()).sum::<u64>());
    let (min, max) = (log.min_offset(), log.max_offset());
    table.put("commitLogMinOffset", min.0);
    table.put("commitLogMaxOffset", max.0);
    table.put("earliestMessageTimeStamp", log.store_timestamp(min).unwrap_or(-1));
    table.put("dispatchBehindBytes", max.0.saturating_sub(about.dispatched.position().0));
    let unflushed = max.0.saturating_sub(log.flushed_offset().0);
    table.put("remainHowManyDataToFlush", readable(unflushed));
    let began = shared.limits.load().pull.started_at.0;
    sizes(&about.traffic, max.0.saturating_sub(began), &mut table);
    disk(shared, &mut table);
    pools(&mut table);
    timers(shared, now, &mut table);
    table.0
}

/// Java's figures, and how late messages were since the start.
fn timers(shared: &Shared, now: i64, table: &mut Table) {
    let figures = &shared.timers;
    let slot = shared.topics.get(WHEEL_TIMER_TOPIC).and_then(|view| view.queue(0).cloned());
    let end = slot.and_then(|slot| slot.range().ok()).map_or(0, |(_, max)| max);
    let read_time = figures.read_time_ms.load(Ordering::Relaxed);
    // In seconds, and no second behind in the slot of now.
    let behind = if read_time > 0 { (now - read_time) / 1_000 } else { 0 };
    table.put("timerReadBehind", behind.max(0));
    let taken_in = figures.queue_offset.load(Ordering::Relaxed);
    table.put("timerOffsetBehind", end.saturating_sub(taken_in));
    table.put("timerCongestNum", figures.waiting.load(Ordering::Relaxed));
    for (name, rate) in ["timerEnqueueTps", "timerDequeueTps"].iter().zip(&figures.rates) {
        table.put(*name, rate.load(Ordering::Relaxed) as f64 / 1_000.0);
    }
    let lateness = figures.lateness();
    table.put("timerDeliveredTotal", lateness.count);
    table.put("timerLatenessP50Ms", lateness.p50_ms);
    table.put("timerLatenessP99Ms", lateness.p99_ms);
    table.put("timerLatenessMaxMs", lateness.max_ms);
}

fn traffic(traffic: &Traffic, now: i64, table: &mut Table) {
    let (all, rates, (yesterday, today)) = (traffic.now(), traffic.rates(now), traffic.mornings());
    let three = |rates: [f64; 3]| rates.map(|rate| format!("{rate:.3}")).join(" ");
    table.put("putTps", three(rates.stored));
    // The same under both spellings; older tools read the first.
    for name in ["getTransferedTps", "getTransferredTps", "getFoundTps", "getTotalTps"] {
        table.put(name, three(rates.delivered));
    }
    table.put("getMissTps", three([0.0; 3]));
    table.put("msgPutTotalYesterdayMorning", yesterday.stored);
    table.put("msgPutTotalTodayMorning", today.stored);
    table.put("msgPutTotalTodayNow", all.stored);
    table.put("msgGetTotalYesterdayMorning", yesterday.delivered);
    table.put("msgGetTotalTodayMorning", today.delivered);
    table.put("msgGetTotalTodayNow", all.delivered);
    table.put("putMessageTimesTotal", all.stored);
}

/// What has been written since the start, and how long that took.
fn sizes(traffic: &Traffic, bytes: u64, table: &mut Table) {
    let times = traffic.now().stored;
    table.put("putMessageSizeTotal", bytes);
    table.put("putMessageAverageSize", bytes as f64 / times.max(1) as f64);
    let (put_max, read_max) = traffic.longest_ms();
    table.put("putMessageEntireTimeMax", put_max);
    table.put("getMessageEntireTimeMax", read_max);
    let sorted = PUT_TIMES.iter().zip(traffic.put_times());
    let sorted: Vec<String> = sorted.map(|((_, name), n)| format!("[{name}]:{n}")).collect();
    table.put("putMessageDistributeTime", sorted.join(" "));
}

/// A number of bytes as tools show it.
fn readable(bytes: u64) -> String {
    const UNITS: [&str; 5] = ["KiB", "MiB", "GiB", "TiB", "PiB"];
    if bytes < 1024 {
        return format!("{bytes} B");
    }
    let mut size = bytes as f64 / 1024.0;
    let mut unit = UNITS.iter();
    let mut name = unit.next();
    while size >= 1024.0 {
        let Some(next) = unit.next() else { break };
        (size, name) = (size / 1024.0, Some(next));
    }
    format!("{size:.1} {}", name.copied().unwrap_or_default())
}

fn disk(shared: &Shared, table: &mut Table) {
    let Some(dir) = shared.log.config().all_dirs().next() else { return };
    let Ok(space) = shared.about.disk.space(dir) else { return };
    let ratio = f64::from(space.used_percent().unwrap_or(0)) / 100.0;
    table.put("commitLogDiskRatio", ratio);
    table.put("consumeQueueDiskRatio", ratio);
    let gib = |bytes: u64| bytes as f64 / f64::from(1 << 30);
    table.put(
        "commitLogDirCapacity",
        format!("Total : {:.1} GiB, Free : {:.1} GiB.", gib(space.total), gib(space.available)),
    );
}

fn pools(table: &mut Table) {
    for pool in POOLS {
        for what in ["ThreadPoolQueueSize", "ThreadPoolQueueHeadWaitTimeMills"] {
            table.put(format!("{pool}{what}"), 0);
        }
        table.put(format!("{pool}ThreadPoolQueueCapacity"), i32::MAX);
    }
    // There is no pool of buffers beside the page cache that could run out.
    table.put("remainTransientStoreBufferNumbs", i32::MAX);
    table.put("EndTransactionThreadPoolQueueCapacity", i32::MAX);
    table.put("dispatchMaxBuffer", 0);
    for name in ["EndTransactionQueueSize", "pageCacheLockTimeMills"] {
        table.put(name, 0);
    }
}

fn uptime(ms: i64) -> String {
    let seconds = ms / 1_000;
    let (days, hours) = (seconds / 86_400, seconds / 3_600 % 24);
    format!(
        "[ {days} days, {hours} hours, {} minutes, {} seconds ]",
        seconds / 60 % 60,
        seconds % 60
    )
}

struct Table(Vec<(String, String)>);

impl Table {
    fn put(&mut self, key: impl Into<String>, value: impl ToString) {
        self.0.push((key.into(), value.to_string()));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn uptime_in_words() {
        let text = uptime(((26 * 60 + 3) * 60 + 4) * 1_000 + 999);
        assert_eq!(text, "[ 1 days, 2 hours, 3 minutes, 4 seconds ]");
    }

    #[test]
    fn rates_and_totals_have_the_names_that_tools_read() {
        let counted = Traffic::default();
        counted.note(0);
        counted.stored(20);
        counted.delivered(5);
        let mut table = Table(Vec::new());
        traffic(&counted, 10_000, &mut table);
        let get = |key: &str| table.0.iter().find(|(name, _)| name == key).map(|(_, v)| v.as_str());
        assert_eq!(get("putTps"), Some("2.000 2.000 2.000"));
        assert_eq!(get("getTransferedTps"), get("getTransferredTps"));
        assert_eq!(get("getTransferredTps"), Some("0.500 0.500 0.500"));
        assert_eq!(get("msgPutTotalTodayNow"), Some("20"));
        assert_eq!(get("msgGetTotalTodayNow"), Some("5"));
    }

    #[test]
    fn sizes_are_since_the_start() {
        let counted = Traffic::default();
        counted.stored(4);
        counted.put_took(std::time::Duration::from_millis(3), 4);
        let mut table = Table(Vec::new());
        sizes(&counted, 1000, &mut table);
        let get = |key: &str| table.0.iter().find(|(name, _)| name == key).map(|(_, v)| v.as_str());
        assert_eq!(get("putMessageAverageSize"), Some("250"));
        assert_eq!(get("putMessageEntireTimeMax"), Some("3"));
        let sorted = get("putMessageDistributeTime").unwrap();
        assert!(sorted.starts_with("[<=0ms]:0 [0~10ms]:4 [10~50ms]:0 "), "{sorted}");
    }

    #[test]
    fn bytes_are_readable() {
        for (bytes, text) in [(0, "0 B"), (1023, "1023 B"), (1536, "1.5 KiB"), (3 << 30, "3.0 GiB")]
        {
            assert_eq!(readable(bytes), text);
        }
        assert_eq!(readable(u64::MAX), "16384.0 PiB");
    }

    #[test]
    fn every_pool_has_its_figures() {
        let mut table = Table(Vec::new());
        pools(&mut table);
        for name in ["sendThreadPoolQueueSize", "pullThreadPoolQueueHeadWaitTimeMills"] {
            assert!(table.0.iter().any(|(key, value)| key == name && value == "0"), "{name}");
        }
    }
}
