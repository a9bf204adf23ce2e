//! `gantry bench timers`: how fast timed messages are taken, and how late they are delivered.
//!
//! All messages are sent first, as fast as answers come, each with a time of its own: the times lie evenly
//! over a stretch that begins a while after the first send. Consumers hold pulls at all queues meanwhile.
//! A message's lateness runs from its time to the moment at which the broker stored it for its
//! consumers, by the broker's clock, and to its arrival here; the clocks of both machines must agree.
//! One that was sent when its time was over already is counted apart.

use std::fmt;
use std::process::ExitCode;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use gantry_client::burst::{BurstStream, FrameScan, FrameTemplate, OPAQUE_MIN};
use gantry_client::{Connector, TcpConnector, WallClock};
use gantry_codec::record::{RecordHead, decode_head};
use serde::Serialize;
use tokio::time::sleep;

use crate::args::TimersArgs;
use crate::error::BenchError;
use crate::load::{Load, Pace, Workload};
use crate::message::{BORN, FIRST_KEY, NUMBER_DIGITS, Shape, number_of, numbered_body};
use crate::process::Process;
use crate::pull::{pull_template, stamp_pull};
use crate::run::{Phase, Run};
use crate::send::is_stored;
use crate::show;
use crate::stats::{Latencies, LatencySummary, Tally};
use crate::target::{self, Queue, Target};

/// Places of a template with one message.
const DELIVER: usize = FIRST_KEY + 1;
const NUMBER: usize = FIRST_KEY + 2;
/// How long a pull is held.
const HOLD: Duration = Duration::from_secs(10);
/// How often it is looked whether all have arrived.
const LOOK: Duration = Duration::from_millis(20);

/// When each message is due.
#[derive(Debug, Clone, Copy)]
struct Times {
    first_ms: u64,
    spread_ms: u64,
    messages: u64,
}

impl Times {
    fn of(&self, number: u64) -> u64 {
        self.first_ms
            + (u128::from(number) * u128::from(self.spread_ms) / u128::from(self.messages)) as u64
    }
}

/// Sends timed messages: every so many, beginning with its own number.
struct Sender {
    templates: Arc<[FrameTemplate]>,
    times: Times,
    next: u64,
    step: u64,
    now_ms: u64,
    too_late: Arc<AtomicU64>,
}

impl Workload for Sender {
    fn begin_burst(&mut self) {
        self.now_ms = now_ms();
    }

    fn issue(&mut self, _slot: usize, opaque: i32, out: &mut Vec<u8>) {
        let (number, due_ms) = (self.next, self.times.of(self.next));
        self.next += self.step;
        if due_ms <= self.now_ms {
            self.too_late.fetch_add(1, Ordering::Relaxed);
        }
        let template = &self.templates[number as usize % self.templates.len()];
        let mut stamp = template.stamp(opaque, out);
        stamp.decimal(BORN, self.now_ms).hex(FIRST_KEY, number);
        stamp.decimal(DELIVER, due_ms).decimal(NUMBER, number);
    }

    fn answered(&mut self, _slot: usize, answer: &FrameScan<'_>) -> Option<u64> {
        is_stored(answer.code).then_some(1)
    }
}

fn now_ms() -> u64 {
    WallClock::System.now_ms().unsigned_abs()
}

/// What has come.
struct Arrivals {
    times: Times,
    seen: Vec<bool>,
    arrived: u64,
    repeated: u64,
    early: u64,
    stored: Latencies,
    here: Latencies,
}

impl Arrivals {
    fn take(&mut self, head: &RecordHead, record: &[u8], now_ms: u64) {
        let Some(number) = number_of(head.body(record)) else { return };
        let Some(seen) = self.seen.get_mut(number as usize) else { return };
        if std::mem::replace(seen, true) {
            self.repeated += 1;
            return;
        }
        self.arrived += 1;
        let (due_ms, stored_ms) = (self.times.of(number), head.store_timestamp.unsigned_abs());
        if stored_ms < due_ms {
            self.early += 1;
        }
        let late = |at_ms: u64| Duration::from_millis(at_ms.saturating_sub(due_ms));
        self.stored.record(late(stored_ms));
        self.here.record(late(now_ms));
    }
}

/// The result.
#[derive(Debug, Serialize)]
pub struct TimersReport {
    messages: u64,
    queues: usize,
    connections: u32,
    window: usize,
    size: usize,
    /// Over which the messages' times lie.
    spread_seconds: f64,
    schedule_seconds: f64,
    scheduled_per_second: f64,
    /// From a send to its answer.
    latency: Option<LatencySummary>,
    /// Sent when their time was over.
    sent_too_late: u64,
    refused: String,
    arrived: u64,
    lost: u64,
    repeated: u64,
    early: u64,
    /// Until the broker had stored them for consumers, in whole ms.
    lateness: Option<LatencySummary>,
    /// Until they were here.
    lateness_here: Option<LatencySummary>,
    cpu_us_per_scheduled: Option<f64>,
    cpu_us_per_delivered: Option<f64>,
    anonymous_bytes: Option<u64>,
}

/// Runs `gantry bench timers` and prints its report.
///
/// # Errors
/// What keeps the run from being started or measured.
pub fn run(args: &TimersArgs) -> Result<ExitCode, BenchError> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let report = runtime.map_err(BenchError::Thread)?.block_on(measure(args))?;
    Ok(show(&report, args.json, report.is_sound()))
}

async fn measure(args: &TimersArgs) -> Result<TimersReport, BenchError> {
    let targets = target::find(&args.target).await?;
    let target = targets.into_iter().next().filter(|target| !target.queues.is_empty());
    let target =
        target.ok_or_else(|| BenchError::NoBroker { topic: args.target.topic_prefix.clone() })?;
    let times = Times {
        first_ms: now_ms() + args.after.as_millis() as u64,
        spread_ms: args.spread.as_millis() as u64,
        messages: args.messages.get(),
    };
    let arrivals = Arc::new(Mutex::new(Arrivals {
        times,
        seen: vec![false; args.messages.get() as usize],
        arrived: 0,
        repeated: 0,
        early: 0,
        stored: Latencies::default(),
        here: Latencies::default(),
    }));
    for queue in &target.queues {
        listen(&target, queue, args, &arrivals).await?;
    }
    let process = args.pid.map(Process::new);
    let (began, cpu_before) = (Instant::now(), cpu(process.as_ref())?);
    let too_late = Arc::new(AtomicU64::new(0));
    let tally = schedule(&target, args, times, &too_late).await?;
    let (schedule_time, cpu_scheduled) = (began.elapsed(), cpu(process.as_ref())?);
    let end_ms = times.first_ms + times.spread_ms + args.patience.as_millis() as u64;
    let accepted = args.messages.get() - tally.refused.values().map(|r| r.count).sum::<u64>();
    while now_ms() < end_ms && lock(&arrivals).arrived < accepted {
        sleep(LOOK).await;
    }
    let (cpu_delivered, memory) =
        (cpu(process.as_ref())?, process.map(|p| p.memory()).transpose()?);
    let arrivals = lock(&arrivals);
    let per = |from: Option<Duration>, to: Option<Duration>, messages: u64| {
        Some((to? - from?).as_secs_f64() * 1e6 / messages.max(1) as f64)
    };
    Ok(TimersReport {
        messages: args.messages.get(),
        queues: target.queues.len(),
        connections: args.connections.get(),
        window: args.window.get(),
        size: args.shape.size,
        spread_seconds: args.spread.as_secs_f64(),
        schedule_seconds: schedule_time.as_secs_f64(),
        scheduled_per_second: accepted as f64 / schedule_time.as_secs_f64(),
        latency: tally.latency.summary(),
        sent_too_late: too_late.load(Ordering::Relaxed),
        refused: tally.trouble(),
        arrived: arrivals.arrived,
        lost: accepted.saturating_sub(arrivals.arrived),
        repeated: arrivals.repeated,
        early: arrivals.early,
        lateness: arrivals.stored.summary(),
        lateness_here: arrivals.here.summary(),
        cpu_us_per_scheduled: per(cpu_before, cpu_scheduled, accepted),
        cpu_us_per_delivered: per(cpu_scheduled, cpu_delivered, arrivals.arrived),
        anonymous_bytes: memory.map(|memory| memory.anonymous_bytes),
    })
}

fn lock(arrivals: &Mutex<Arrivals>) -> std::sync::MutexGuard<'_, Arrivals> {
    arrivals.lock().unwrap_or_else(PoisonError::into_inner)
}

fn cpu(process: Option<&Process>) -> Result<Option<Duration>, BenchError> {
    Ok(process.map(Process::cpu_time).transpose()?)
}

/// Sends all messages.
async fn schedule(
    target: &Target,
    args: &TimersArgs,
    times: Times,
    too_late: &Arc<AtomicU64>,
) -> Result<Tally, BenchError> {
    let (size, header) = (args.shape.size, args.target.header);
    let body = numbered_body(size).ok_or(BenchError::Size { size, min: NUMBER_DIGITS })?;
    let templates = target.queues.iter().map(|queue| {
        let (topic, queue_id) = (&queue.topic, queue.queue_id);
        Shape { topic, queue_id, body: &body, batch: 1, header }.timed_template()
    });
    let templates: Arc<[FrameTemplate]> = templates.collect::<Result<_, _>>()?;
    let run = Arc::new(Run::new(Instant::now()));
    run.enter(Phase::Measure);
    let (connections, mut loads) = (u64::from(args.connections.get()), Vec::new());
    for index in 0..connections {
        let sender = Sender {
            templates: templates.clone(),
            times,
            next: index,
            step: connections,
            now_ms: 0,
            too_late: too_late.clone(),
        };
        let quota = (args.messages.get() + connections - 1 - index) / connections;
        let pace = Pace { window: args.window.get(), schedule: None, quota: Some(quota) };
        let load = Load::new(connect(&target.address).await?, sender, &pace, run.clone());
        loads.push(tokio::spawn(load.map_err(BenchError::Thread)?.run()));
    }
    let mut all = Tally::default();
    for load in loads {
        let tally = load.await.map_err(|e| lost(&target.address, &e))?;
        all.add(tally);
    }
    Ok(all)
}

async fn connect(address: &str) -> Result<BurstStream, BenchError> {
    let stream = TcpConnector.connect(address).await;
    stream.map(BurstStream::new).map_err(|e| lost(address, &e))
}

fn lost(address: &str, error: &dyn fmt::Display) -> BenchError {
    BenchError::Lost { address: address.to_owned(), reason: error.to_string() }
}

/// Begins to pull a queue from its end on.
async fn listen(
    target: &Target,
    queue: &Queue,
    args: &TimersArgs,
    arrivals: &Arc<Mutex<Arrivals>>,
) -> Result<(), BenchError> {
    let mut stream = connect(&target.address).await?;
    let ask = pull_template(queue, 1, Duration::ZERO, args.target.header)?;
    stamp_pull(&ask, OPAQUE_MIN, 0, stream.outbound());
    let offset = loop {
        stream.turn().await.map_err(|e| lost(&target.address, &e))?;
        let frame = stream.next_frame().map_err(|e| lost(&target.address, &e))?;
        let answer = frame.and_then(|frame| FrameScan::scan(frame).ok());
        if let Some(answer) = answer {
            break answer.ext_i64("maxOffset").unwrap_or(0);
        }
    };
    let pull = pull_template(queue, 32, HOLD, args.target.header)?;
    tokio::spawn(follow(stream, pull, offset, arrivals.clone()));
    Ok(())
}

/// Pulls on and on, until the connection ends.
async fn follow(
    mut stream: BurstStream,
    pull: FrameTemplate,
    mut offset: i64,
    arrivals: Arc<Mutex<Arrivals>>,
) {
    let mut opaque = OPAQUE_MIN;
    stamp_pull(&pull, opaque, offset, stream.outbound());
    while stream.turn().await.is_ok() {
        let mut is_answered = false;
        while let Ok(Some(frame)) = stream.next_frame() {
            let Ok(answer) = FrameScan::scan(frame) else { continue };
            is_answered = true;
            take_all(answer.body, &mut lock(&arrivals));
            offset = answer.ext_i64("nextBeginOffset").unwrap_or(offset);
        }
        if is_answered {
            opaque = OPAQUE_MIN + (opaque - OPAQUE_MIN + 1) % 1_000_000;
            stamp_pull(&pull, opaque, offset, stream.outbound());
        }
    }
}

fn take_all(mut records: &[u8], arrivals: &mut Arrivals) {
    let now_ms = now_ms();
    while let Ok(head) = decode_head(records) {
        arrivals.take(&head, records, now_ms);
        records = records.get(head.total_size as usize..).unwrap_or_default();
    }
}

impl TimersReport {
    /// Whether each accepted message came once, and none before its time.
    fn is_sound(&self) -> bool {
        self.lost == 0 && self.repeated == 0 && self.early == 0 && self.refused.is_empty()
    }
}

fn write_lateness(
    f: &mut fmt::Formatter<'_>,
    what: &str,
    late: Option<&LatencySummary>,
) -> fmt::Result {
    let Some(LatencySummary { p50_us, p90_us, p99_us, p999_us, max_us, .. }) = late else {
        return Ok(());
    };
    let [p50, p90, p99, p999, max] = [p50_us, p90_us, p99_us, p999_us, max_us].map(|us| us / 1e3);
    write!(
        f,
        "\n{what:<12}p50 {p50:.0} ms, p90 {p90:.0} ms, p99 {p99:.0} ms, p99.9 {p999:.0} ms, "
    )?;
    write!(f, "max {max:.0} ms")
}

impl fmt::Display for TimersReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { messages, spread_seconds, queues, connections, window, size, .. } = self;
        let per_second = *messages as f64 / spread_seconds.max(0.001);
        writeln!(
            f,
            "timers: {messages} of {size} bytes for {queues} queues over {connections} connections × \
             {window}, due within {spread_seconds:.1} s ({per_second:.0}/s)"
        )?;
        let Self { scheduled_per_second, schedule_seconds, sent_too_late, .. } = self;
        write!(f, "schedule    {scheduled_per_second:.0}/s for {schedule_seconds:.1} s")?;
        if let Some(latency) = &self.latency {
            write!(f, ", p50 {:.0} µs, p99 {:.0} µs", latency.p50_us, latency.p99_us)?;
        }
        if *sent_too_late > 0 {
            write!(f, "; {sent_too_late} were sent after their time, give them more --after")?;
        }
        let Self { arrived, lost, repeated, early, .. } = self;
        write!(f, "\ndelivered   {arrived}; {lost} lost, {repeated} repeated, {early} early")?;
        write_lateness(f, "late", self.lateness.as_ref())?;
        write_lateness(f, "arrived", self.lateness_here.as_ref())?;
        if let (Some(scheduled), Some(delivered)) =
            (self.cpu_us_per_scheduled, self.cpu_us_per_delivered)
        {
            write!(
                f,
                "\nbroker CPU  {scheduled:.2} µs to take one, {delivered:.2} µs to deliver one"
            )?;
        }
        if let Some(bytes) = self.anonymous_bytes {
            write!(f, ", {:.0} MiB anonymous", bytes as f64 / f64::from(1 << 20))?;
        }
        if !self.refused.is_empty() {
            write!(f, "\ntrouble     {}", self.refused)?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::net::SocketAddr;

    use gantry_codec::{Record, record};

    use super::*;

    const TIMES: Times = Times { first_ms: 1_000, spread_ms: 500, messages: 10 };

    fn arrivals() -> Arrivals {
        Arrivals {
            times: TIMES,
            seen: vec![false; 10],
            arrived: 0,
            repeated: 0,
            early: 0,
            stored: Latencies::default(),
            here: Latencies::default(),
        }
    }

    fn stored(number: u64, store_timestamp: i64) -> Vec<u8> {
        let host: SocketAddr = "127.0.0.1:1".parse().expect("an address");
        let body = format!("{number:0NUMBER_DIGITS$}");
        let record = Record {
            queue_id: 0,
            flag: 0,
            queue_offset: 0,
            physical_offset: 0,
            sys_flag: 0,
            born_timestamp: 0,
            born_host: host,
            store_timestamp,
            store_host: host,
            reconsume_times: 0,
            prepared_transaction_offset: 0,
            body_crc: record::body_crc(body.as_bytes()),
            body: body.as_bytes(),
            topic: "T",
            properties: "",
        };
        let mut bytes = vec![0; record.encoded_len()];
        record.write_to(&mut bytes);
        bytes
    }

    #[test]
    fn times_lie_evenly_over_the_stretch() {
        assert_eq!([0, 1, 9].map(|number| TIMES.of(number)), [1_000, 1_050, 1_450]);
    }

    #[test]
    fn arrivals_are_counted_once_and_by_their_times() {
        let mut all = arrivals();
        let records =
            [stored(1, 1_060), stored(2, 1_099), stored(1, 2_000), stored(99, 1)].concat();
        take_all(&records, &mut all);
        assert_eq!((all.arrived, all.repeated, all.early), (2, 1, 1));
        let late = all.stored.summary().expect("two values");
        assert!((late.max_us - 10_000.0).abs() < 100.0, "{late:?}");
    }
}
