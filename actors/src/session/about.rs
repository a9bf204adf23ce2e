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
    body::{self, DataVersion, KvTable},
    request_code as rq, response_code as rs,
};
use gantry_conf::Effective;
use gantry_storage::{Clock, Disk};

use super::Shared;
use crate::{
    log::dispatcher::DispatchSignal, net::Outcome, topic::names::WHEEL_TIMER_TOPIC,
    traffic::Traffic,
};

/// Pools of the Java broker, whose lengths and waiting times tools show.
const POOLS: [&str; 6] = ["send", "pull", "query", "endTransaction", "ack", "litePull"];
/// The version that tools show; it goes with the number in every frame.
const VERSION: &str = concat!("gantry ", env!("CARGO_PKG_VERSION"));

/// What is known of the broker as a whole.
pub struct About {
    /// Its configuration in effect.
    pub effective: Effective,
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
    let version = DataVersion { timestamp: about.started_ms, ..DataVersion::default() };
    let version = String::from_utf8_lossy(&body::to_json(&version)).into_owned();
    Command::response(rs::SUCCESS, cmd)
        .with_ext("version", version.as_str())
        .with_body(properties(&about.effective))
}

/// The text of a properties file.
fn properties(effective: &Effective) -> String {
    effective.0.iter().fold(String::new(), |mut text, setting| {
        let value = setting.value().replace('\\', "\\\\").replace('\n', "\\n");
        // Writing to a string cannot fail.
        let _ = writeln!(text, "{}={value}", setting.key);
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
    table.put("remainHowManyDataToFlush", max.0.saturating_sub(log.flushed_offset().0));
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
    fn every_pool_has_its_figures() {
        let mut table = Table(Vec::new());
        pools(&mut table);
        for name in ["sendThreadPoolQueueSize", "pullThreadPoolQueueHeadWaitTimeMills"] {
            assert!(table.0.iter().any(|(key, value)| key == name && value == "0"), "{name}");
        }
    }
}
