//! `gantry bench hold`: what pulls cost that wait for messages, and whom a message wakes.
//!
//! Holds so many pulls at the ends of the queues, in turn, and measures the broker's CPU time while
//! nothing comes. Then single messages go to some of the queues, one after the other: each has to wake
//! the pulls of its queue and no others. Latencies run from the send until a woken pull's answer is
//! there; answers that nothing was sent for are counted apart.

use std::collections::HashMap;
use std::fmt;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use gantry_client::burst::{BurstStream, FrameScan, OPAQUE_MIN};
use gantry_client::{Connector, TcpConnector, WallClock};
use gantry_codec::response_code;
use serde::Serialize;
use tokio::sync::mpsc;
use tokio::time::{sleep, timeout};

use crate::args::HoldArgs;
use crate::error::BenchError;
use crate::message::{BORN, FIRST_KEY, Shape, plain_body};
use crate::process::Process;
use crate::pull::{pull_template, stamp_pull};
use crate::show;
use crate::stats::{Latencies, LatencySummary};
use crate::target::{self, Target};

/// What a message's pulls get to come back in.
const PATIENCE: Duration = Duration::from_secs(10);
/// After the last expected answer of a message, strays are waited for so long.
const STRAYS: Duration = Duration::from_millis(100);

/// The result.
#[derive(Debug, Serialize)]
pub struct HoldReport {
    held: usize,
    queues: usize,
    connections: u32,
    /// Over which the idle broker was measured.
    idle_seconds: f64,
    /// The broker's CPU time in ms per second, with nothing held and with the pulls held.
    cpu_before_ms_per_second: Option<f64>,
    cpu_held_ms_per_second: Option<f64>,
    /// What the held pulls take of the broker's anonymous memory, each.
    bytes_per_held: Option<f64>,
    messages: usize,
    /// Pulls that waited at the messages' queues, and how many of them came back.
    concerned: usize,
    woken: usize,
    /// Pulls of other queues that came back.
    strays: usize,
    latency: Option<LatencySummary>,
}

/// Runs `gantry bench hold` and prints its report.
///
/// # Errors
/// What keeps the run from being started or measured.
pub fn run(args: &HoldArgs) -> Result<ExitCode, BenchError> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let report = runtime.map_err(BenchError::Thread)?.block_on(measure(args))?;
    Ok(show(&report, args.json, report.is_sound()))
}

async fn measure(args: &HoldArgs) -> Result<HoldReport, BenchError> {
    let targets = target::find(&args.target).await?;
    let target = targets.into_iter().next().filter(|target| !target.queues.is_empty());
    let target =
        target.ok_or_else(|| BenchError::NoBroker { topic: args.target.topic_prefix.clone() })?;
    let ends = ends_of(&target, args).await?;
    let process = args.pid.map(Process::new);
    let before = idle(process.as_ref(), args.idle).await?;
    let memory_before = memory(process.as_ref())?;
    let mut field = Field::begin(&target, &ends, args).await?;
    // What the broker does about new pulls is not what it does about held ones.
    let early = field.answers_within(Duration::from_secs(2)).await;
    let memory_held = memory(process.as_ref())?;
    let held_cpu = idle(process.as_ref(), args.idle).await?;
    let mut report = HoldReport {
        held: args.pulls.get(),
        queues: target.queues.len(),
        connections: args.connections.get(),
        idle_seconds: args.idle.as_secs_f64(),
        cpu_before_ms_per_second: before,
        cpu_held_ms_per_second: held_cpu,
        bytes_per_held: memory_before
            .zip(memory_held)
            .map(|(before, held)| (held as f64 - before as f64) / args.pulls.get() as f64),
        messages: 0,
        concerned: 0,
        woken: 0,
        strays: early.len() + field.answers_within(Duration::ZERO).await.len(),
        latency: None,
    };
    let mut latencies = Latencies::default();
    for queue in 0..target.queues.len().min(args.wake.get()) {
        field.wake(queue, &mut report, &mut latencies).await?;
    }
    report.latency = latencies.summary();
    Ok(report)
}

/// CPU time in ms per second over `period`.
async fn idle(process: Option<&Process>, period: Duration) -> Result<Option<f64>, BenchError> {
    let Some(process) = process else { return Ok(None) };
    let (start, cpu) = (Instant::now(), process.cpu_time()?);
    sleep(period).await;
    let used = process.cpu_time()? - cpu;
    Ok(Some(used.as_secs_f64() * 1000.0 / start.elapsed().as_secs_f64()))
}

fn memory(process: Option<&Process>) -> Result<Option<u64>, BenchError> {
    Ok(process.map(Process::memory).transpose()?.map(|memory| memory.anonymous_bytes))
}

/// Where each queue ends, asked of the broker by pulls that are not held.
async fn ends_of(target: &Target, args: &HoldArgs) -> Result<Vec<i64>, BenchError> {
    let mut stream = connect(&target.address).await?;
    for (queue, opaque) in target.queues.iter().zip(OPAQUE_MIN..) {
        let template = pull_template(queue, 1, Duration::ZERO, args.target.header)?;
        stamp_pull(&template, opaque, 0, stream.outbound());
    }
    let mut ends = vec![0; target.queues.len()];
    let mut missing = ends.len();
    while missing > 0 {
        stream.turn().await.map_err(|e| lost(&target.address, &e))?;
        while let Some(frame) = stream.next_frame().map_err(|e| lost(&target.address, &e))? {
            let Ok(answer) = FrameScan::scan(frame) else { continue };
            let place = usize::try_from(answer.opaque - OPAQUE_MIN).unwrap_or(usize::MAX);
            if let Some(end) = ends.get_mut(place) {
                *end = answer.ext_i64("maxOffset").unwrap_or(0);
                missing -= 1;
            }
        }
    }
    Ok(ends)
}

async fn connect(address: &str) -> Result<BurstStream, BenchError> {
    let stream = TcpConnector.connect(address).await;
    stream.map(BurstStream::new).map_err(|e| lost(address, &e))
}

fn lost(address: &str, error: &dyn fmt::Display) -> BenchError {
    BenchError::Lost { address: address.to_owned(), reason: error.to_string() }
}

/// An answer: which pull or message it is for, when it came, its code.
type Answer = (i32, Instant, i32);

/// All held pulls, and a connection to send by.
struct Field<'a> {
    target: &'a Target,
    args: &'a HoldArgs,
    producer: BurstStream,
    answers: mpsc::UnboundedReceiver<Answer>,
    /// Which queue each pull waits at, by its opaque.
    waiting: HashMap<i32, usize>,
    sent: u64,
}

impl<'a> Field<'a> {
    async fn begin(
        target: &'a Target,
        ends: &[i64],
        args: &'a HoldArgs,
    ) -> Result<Field<'a>, BenchError> {
        let templates = target.queues.iter();
        let templates = templates
            .map(|queue| pull_template(queue, 32, args.hold, args.target.header))
            .collect::<Result<Vec<_>, _>>()?;
        let (to, answers) = mpsc::unbounded_channel();
        let mut waiting = HashMap::new();
        for connection in 0..args.connections.get() as usize {
            let mut stream = connect(&target.address).await?;
            for pull in (connection..args.pulls.get()).step_by(args.connections.get() as usize) {
                let (queue, opaque) = (pull % templates.len(), OPAQUE_MIN + pull as i32);
                stamp_pull(&templates[queue], opaque, ends[queue], stream.outbound());
                waiting.insert(opaque, queue);
            }
            tokio::spawn(hand_on(stream, to.clone()));
        }
        let producer = connect(&target.address).await?;
        Ok(Field { target, args, producer, answers, waiting, sent: 0 })
    }

    /// The answers that are there, and those that come within `period`.
    async fn answers_within(&mut self, period: Duration) -> Vec<Answer> {
        let (end, mut all) = (Instant::now() + period, Vec::new());
        loop {
            let rest = end.saturating_duration_since(Instant::now());
            match timeout(rest, self.answers.recv()).await {
                Ok(Some(answer)) => {
                    self.waiting.remove(&answer.0);
                    all.push(answer);
                }
                Ok(None) | Err(_) => return all,
            }
        }
    }

    /// Sends a message to a queue and waits for its pulls.
    async fn wake(
        &mut self,
        queue: usize,
        report: &mut HoldReport,
        latencies: &mut Latencies,
    ) -> Result<(), BenchError> {
        let concerned = self.waiting.values().filter(|of| **of == queue).count();
        let start = self.send(queue).await?;
        let mut woken = 0;
        let mut period = PATIENCE;
        while let Ok(Some((opaque, at, code))) = timeout(period, self.answers.recv()).await {
            if self.waiting.remove(&opaque) == Some(queue) && code == response_code::SUCCESS {
                latencies.record(at.saturating_duration_since(start));
                woken += 1;
            } else {
                report.strays += 1;
            }
            if woken == concerned {
                period = STRAYS;
            }
        }
        report.messages += 1;
        report.concerned += concerned;
        report.woken += woken;
        Ok(())
    }

    /// Sends one message; when it left.
    async fn send(&mut self, queue: usize) -> Result<Instant, BenchError> {
        let (queue, body) = (&self.target.queues[queue], plain_body(128));
        let shape = Shape {
            topic: &queue.topic,
            queue_id: queue.queue_id,
            body: &body,
            batch: 1,
            header: self.args.target.header,
        };
        let template = shape.template()?;
        let mut stamp = template.stamp(OPAQUE_MIN, self.producer.outbound());
        stamp.decimal(BORN, WallClock::System.now_ms().unsigned_abs()).hex(FIRST_KEY, self.sent);
        self.sent += 1;
        let start = Instant::now();
        let address = &self.target.address;
        loop {
            self.producer.turn().await.map_err(|e| lost(address, &e))?;
            if self.producer.next_frame().map_err(|e| lost(address, &e))?.is_some() {
                return Ok(start);
            }
        }
    }
}

/// Hands the answers of one connection on until it is closed.
async fn hand_on(mut stream: BurstStream, to: mpsc::UnboundedSender<Answer>) {
    while stream.turn().await.is_ok() {
        let at = Instant::now();
        while let Ok(Some(frame)) = stream.next_frame() {
            let Ok(answer) = FrameScan::scan(frame) else { continue };
            if to.send((answer.opaque, at, answer.code)).is_err() {
                return;
            }
        }
    }
}

impl HoldReport {
    /// Whether each message woke those that it had to, and nobody else.
    fn is_sound(&self) -> bool {
        self.woken == self.concerned && self.strays == 0
    }
}

impl fmt::Display for HoldReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { held, queues, connections, .. } = self;
        writeln!(f, "hold: {held} pulls at {queues} queues over {connections} connections")?;
        if let (Some(before), Some(cpu)) =
            (self.cpu_before_ms_per_second, self.cpu_held_ms_per_second)
        {
            write!(f, "idle        {cpu:.2} ms CPU per second with them, {before:.2} without")?;
            writeln!(f, ", over {:.0} s each", self.idle_seconds)?;
        }
        if let Some(bytes) = self.bytes_per_held {
            writeln!(f, "memory      {bytes:.0} bytes per held pull")?;
        }
        let Self { messages, concerned, woken, strays, .. } = self;
        write!(f, "wake        {messages} messages woke {woken} of {concerned} pulls")?;
        write!(f, " at their queues, and {strays} others")?;
        if let Some(latency) = &self.latency {
            let LatencySummary { p50_us, p99_us, max_us, .. } = latency;
            write!(f, "\nlatency     p50 {p50_us:.0} µs, p99 {p99_us:.0} µs, max {max_us:.0} µs")?;
        }
        Ok(())
    }
}
