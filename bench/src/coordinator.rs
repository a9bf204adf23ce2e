//! Runs the connections' loops on their threads and takes the measurements around them.
//!
//! The calling thread generates no load: it moves the phases, reads the broker's and this program's
//! own process at both ends of the measuring phase, samples the memory in between, and draws the
//! progress bar. Each load thread has a single-threaded runtime; connections are dealt out to the
//! threads in turn. Rates and CPU are over the measuring phase alone.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::time::{Duration, Instant};

use tokio::task::LocalSet;

use crate::args::LoadArgs;
use crate::error::BenchError;
use crate::process::{Memory, Process};
use crate::progress::Progress;
use crate::run::{Phase, Run};
use crate::stats::Tally;

/// How often memory is sampled and the progress bar is drawn.
const SAMPLE_INTERVAL: Duration = Duration::from_millis(200);

/// A connection's loop, made on the thread that runs it.
pub type Task = Box<dyn FnOnce() -> TaskFuture + Send>;

/// A connection's loop under way; it ends soon after the run has stopped.
pub type TaskFuture = Pin<Box<dyn Future<Output = Tally>>>;

/// What was measured.
#[derive(Debug)]
pub struct Measurement {
    /// Counts of all connections.
    pub tally: Tally,
    /// Messages answered while measuring.
    pub messages: u64,
    /// How long was measured.
    pub elapsed: Duration,
    /// CPU time of this program meanwhile.
    pub own_cpu: Duration,
    /// The broker's process, if it was named.
    pub broker: Option<BrokerUse>,
}

/// What the broker's process used while measuring.
#[derive(Debug, Clone)]
pub struct BrokerUse {
    /// User and system time.
    pub cpu: Duration,
    /// Memory at the end.
    pub memory: Memory,
    /// The most anonymous memory seen in a sample.
    pub anonymous_bytes_peak: u64,
}

/// Runs `tasks` to the end that `load` asks for.
///
/// # Errors
/// A broker's process that cannot be read, or a load thread that could not be started.
pub fn measure(
    tasks: Vec<Task>,
    load: &LoadArgs,
    run: &Arc<Run>,
) -> Result<Measurement, BenchError> {
    let broker = load.pid.map(Process::new);
    let progress = Progress::new(load);
    let mut tally = Tally::default();
    let mut warm = Waited::Elapsed;

    let mut begin = Reading::take(broker.as_ref(), run)?;
    if load.warmup.is_zero() {
        run.enter(Phase::Measure);
    }
    let finished = spawn(tasks, load.threads.get())?;
    if !load.warmup.is_zero() {
        // A connection that is lost in the warm-up has finished, and is reported with the rest.
        warm = wait(&finished, load.warmup, &mut tally, || progress.warming(run.messages()));
        begin = Reading::take(broker.as_ref(), run)?;
        run.enter(Phase::Measure);
    }
    let mut peak = begin.broker.map_or(0, |(_, memory)| memory.anonymous_bytes);
    if warm == Waited::Elapsed {
        let limit = if load.messages.is_some() { Duration::MAX } else { load.seconds };
        wait(&finished, limit, &mut tally, || {
            progress.measuring(run.messages() - begin.messages, begin.at.elapsed());
            let memory = broker.as_ref().and_then(|broker| broker.memory().ok());
            peak = peak.max(memory.map_or(0, |memory| memory.anonymous_bytes));
        });
    }
    let end = Reading::take(broker.as_ref(), run)?;
    run.enter(Phase::Stop);
    tally = finished.iter().fold(tally, |mut sum, part| {
        sum.add(part);
        sum
    });
    progress.finish();

    let broker = begin.broker.zip(end.broker).map(|((cpu_before, _), (cpu_after, memory))| {
        let anonymous_bytes_peak = peak.max(memory.anonymous_bytes);
        BrokerUse { cpu: cpu_after.saturating_sub(cpu_before), memory, anonymous_bytes_peak }
    });
    Ok(Measurement {
        tally,
        messages: end.messages - begin.messages,
        elapsed: end.at - begin.at,
        own_cpu: end.own_cpu.saturating_sub(begin.own_cpu),
        broker,
    })
}

/// The counters at one end of the measuring phase.
struct Reading {
    at: Instant,
    messages: u64,
    own_cpu: Duration,
    broker: Option<(Duration, Memory)>,
}

impl Reading {
    fn take(broker: Option<&Process>, run: &Run) -> Result<Reading, BenchError> {
        let broker = match broker {
            Some(process) => Some((process.cpu_time()?, process.memory()?)),
            None => None,
        };
        let own_cpu = Process::own().cpu_time()?;
        Ok(Reading { at: Instant::now(), messages: run.messages(), own_cpu, broker })
    }
}

#[derive(Debug, PartialEq, Eq)]
enum Waited {
    /// The time is over.
    Elapsed,
    /// All connections have finished.
    Finished,
}

/// Waits for `limit` or until all connections have finished, with a look around now and then.
fn wait(
    finished: &Receiver<Tally>,
    limit: Duration,
    tally: &mut Tally,
    mut look: impl FnMut(),
) -> Waited {
    let start = Instant::now();
    loop {
        let left = limit.saturating_sub(start.elapsed());
        if left.is_zero() {
            return Waited::Elapsed;
        }
        match finished.recv_timeout(left.min(SAMPLE_INTERVAL)) {
            Ok(part) => tally.add(part),
            Err(RecvTimeoutError::Disconnected) => return Waited::Finished,
            Err(RecvTimeoutError::Timeout) => {}
        }
        look();
    }
}

/// Deals the tasks out to `threads` threads. The receiver disconnects when all have finished.
fn spawn(tasks: Vec<Task>, threads: usize) -> Result<Receiver<Tally>, BenchError> {
    let (sender, finished) = channel();
    let mut hands: Vec<Vec<Task>> = Vec::new();
    hands.resize_with(threads.min(tasks.len()), Vec::new);
    for (number, task) in tasks.into_iter().enumerate() {
        hands[number % threads].push(task);
    }
    for (number, hand) in hands.into_iter().enumerate() {
        let sender = sender.clone();
        std::thread::Builder::new()
            .name(format!("load-{number}"))
            .spawn(move || run_tasks(hand, &sender))
            .map_err(BenchError::Thread)?;
    }
    Ok(finished)
}

fn run_tasks(tasks: Vec<Task>, sender: &Sender<Tally>) {
    let runtime = match tokio::runtime::Builder::new_current_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => {
            let lost = vec![format!("no runtime: {error}")];
            let _ = sender.send(Tally { lost, ..Tally::default() });
            return;
        }
    };
    let local = LocalSet::new();
    for task in tasks {
        let sender = sender.clone();
        local.spawn_local(async move {
            // The receiver outlives the threads: it reads until all senders are gone.
            let _ = sender.send(task().await);
        });
    }
    runtime.block_on(local);
}

#[cfg(test)]
mod tests {
    use std::num::NonZeroUsize;

    use super::*;

    fn load(seconds: f64) -> LoadArgs {
        LoadArgs {
            messages: None,
            seconds: Duration::from_secs_f64(seconds),
            warmup: Duration::from_millis(10),
            rate: None,
            threads: NonZeroUsize::new(2).expect("not zero"),
            pid: None,
            json: true,
        }
    }

    #[test]
    fn counts_only_the_measuring_phase() {
        let run = Arc::new(Run::new(Instant::now()));
        let task = |run: Arc<Run>| -> Task {
            Box::new(move || {
                Box::pin(async move {
                    run.add_messages(1_000);
                    while run.phase() == Phase::WarmUp {
                        tokio::time::sleep(Duration::from_millis(1)).await;
                    }
                    run.add_messages(7);
                    while run.phase() != Phase::Stop {
                        tokio::time::sleep(Duration::from_millis(1)).await;
                    }
                    Tally { unanswered: 1, ..Tally::default() }
                })
            })
        };
        let tasks = (0..3).map(|_| task(Arc::clone(&run))).collect();
        let measured = measure(tasks, &load(0.1), &run).expect("no process to read");
        assert_eq!(measured.messages, 21);
        assert_eq!(measured.tally.unanswered, 3);
        assert!(measured.elapsed >= Duration::from_millis(100));
        assert!(measured.broker.is_none());
    }

    #[test]
    fn ends_when_all_connections_have_ended() {
        let run = Arc::new(Run::new(Instant::now()));
        let lost = || Tally { lost: vec!["gone".into()], ..Tally::default() };
        let task: Task = Box::new(move || Box::pin(async move { lost() }));
        let measured = measure(vec![task], &load(60.0), &run).expect("no process to read");
        assert_eq!(measured.tally.lost, ["gone"]);
        assert!(measured.elapsed < Duration::from_secs(10));
    }
}
