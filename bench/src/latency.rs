//! `gantry bench latency`: one message at a time, to its answer or to its consumer.
//!
//! Without `--end-to-end` this is the send loop with one connection and one request outstanding. With
//! it there are two connections on one thread: one sends, the other holds a pull open at the queue's
//! end; the next message goes out when the answer and the message itself are both there. Bodies carry
//! a number, so that what arrives is known to be what was sent.

use std::num::NonZeroU32;
use std::sync::Arc;
use std::time::{Duration, Instant};

use gantry_client::burst::{BurstError, BurstStream, FrameScan, FrameTemplate, OPAQUE_MIN};
use gantry_client::{Connector, TcpConnector, WallClock};
use gantry_codec::record::decode_head;
use gantry_codec::response_code;

use crate::args::LatencyArgs;
use crate::connections::Division;
use crate::coordinator::{Task, measure};
use crate::error::BenchError;
use crate::load::{GRACE, PHASE_CHECK, Pace};
use crate::message::{BORN, FIRST_KEY, NUMBER_DIGITS, Shape, number_of, numbered_body};
use crate::pull::{pull_template, stamp_pull};
use crate::report::{Report, Setting};
use crate::run::{Phase, Run};
use crate::schedule::Schedule;
use crate::send::{Plan, is_stored};
use crate::stats::Tally;
use crate::target::{self, Target};
use crate::ticker::Ticker;

const ONE: NonZeroU32 = NonZeroU32::MIN;

/// How long the broker holds a pull, as official consumers ask.
const HOLD: Duration = Duration::from_secs(15);

/// The place of a message's number in its body.
const NUMBER: usize = FIRST_KEY + 1;

/// Runs `gantry bench latency`.
///
/// # Errors
/// What keeps the run from being started or measured.
pub fn run(args: &LatencyArgs) -> Result<Report, BenchError> {
    let targets = target::find_blocking(&args.target)?;
    let setting = Setting {
        size: Some(args.shape.size),
        ..Setting::new("latency", &args.target, &args.load, &targets)
    };
    let run = Arc::new(Run::new(Instant::now()));
    let tasks = if args.end_to_end {
        vec![end_to_end_task(args, &targets, &run)?]
    } else {
        let plan = Plan {
            targets: &targets,
            size: args.shape.size,
            batch: ONE,
            header: args.target.header,
            connections: ONE,
            window: 1,
        };
        plan.tasks(&args.load, &run)?
    };
    Ok(Report::new(setting, measure(tasks, &args.load, &run)?))
}

fn end_to_end_task(
    args: &LatencyArgs,
    targets: &[Target],
    run: &Arc<Run>,
) -> Result<Task, BenchError> {
    let (size, header) = (args.shape.size, args.target.header);
    let body = numbered_body(size).ok_or(BenchError::Size { size, min: NUMBER_DIGITS })?;
    let (target, queue) = targets
        .iter()
        .find_map(|target| Some((target, target.queues.first()?)))
        .ok_or_else(|| BenchError::NoBroker { topic: args.target.topic_prefix.clone() })?;
    let shape =
        Shape { topic: &queue.topic, queue_id: queue.queue_id, body: &body, batch: 1, header };
    let send = shape.numbered_template()?;
    let pull = pull_template(queue, 32, HOLD, header)?;
    let division = Division { connections: ONE, window: 1, messages_per_request: ONE };
    let pace = division.pace(&args.load, 0);
    let (address, run) = (target.address.clone(), Arc::clone(run));
    Ok(Box::new(move || Box::pin(end_to_end(address, send, pull, pace, run))))
}

async fn end_to_end(
    address: String,
    send: FrameTemplate,
    pull: FrameTemplate,
    pace: Pace,
    run: Arc<Run>,
) -> Tally {
    let connect = || async {
        Ok::<_, std::io::Error>(BurstStream::new(TcpConnector.connect(&address).await?))
    };
    let made = async {
        Ok::<_, std::io::Error>(EndToEnd {
            producer: connect().await?,
            consumer: connect().await?,
            ticker: Ticker::new()?,
            send,
            pull,
            offset: 0,
            at_end: false,
            pulls: 0,
            sent: 0,
            under_way: None,
            schedule: pace.schedule,
            quota: pace.quota,
            run,
            tally: Tally::default(),
        })
    };
    match made.await {
        Ok(mut state) => {
            if let Err(error) = state.run().await {
                state.tally.lost.push(error.to_string());
            }
            state.tally
        }
        Err(error) => Tally { lost: vec![format!("{address}: {error}")], ..Tally::default() },
    }
}

struct EndToEnd {
    producer: BurstStream,
    consumer: BurstStream,
    ticker: Ticker,
    send: FrameTemplate,
    pull: FrameTemplate,
    /// Where the consumer reads.
    offset: i64,
    /// Whether the consumer has reached the queue's end, where the run begins.
    at_end: bool,
    pulls: i32,
    sent: u64,
    under_way: Option<UnderWay>,
    schedule: Option<Schedule>,
    quota: Option<u64>,
    run: Arc<Run>,
    tally: Tally,
}

/// The message that is on its way.
#[derive(Debug, Clone, Copy)]
struct UnderWay {
    number: u64,
    intended: Instant,
    answered: bool,
    arrived: bool,
}

impl EndToEnd {
    async fn run(&mut self) -> Result<(), BurstError> {
        let mut check = tokio::time::interval(PHASE_CHECK);
        self.ask();
        loop {
            self.give_up_late(Instant::now());
            let due = self.next_due();
            if due.is_none() && self.under_way.is_none() && self.is_over() {
                return Ok(());
            }
            let now = Instant::now();
            if due.is_some_and(|due| due <= now) {
                self.issue(due.unwrap_or(now));
                continue;
            }
            tokio::select! {
                biased;
                turn = self.consumer.turn() => { turn?; self.take_messages()?; }
                turn = self.producer.turn() => { turn?; self.take_answers()?; }
                waited = wait_until(&mut self.ticker, due) => waited?,
                _ = check.tick() => {}
            }
        }
    }

    fn is_over(&self) -> bool {
        self.run.phase() == Phase::Stop || self.quota == Some(0)
    }

    /// When the next message is to leave; None while one is under way or none is to follow.
    fn next_due(&self) -> Option<Instant> {
        if self.under_way.is_some() || !self.at_end || self.is_over() {
            return None;
        }
        Some(match self.schedule {
            Some(schedule) => self.run.start + schedule.intended(self.sent),
            None => Instant::now(),
        })
    }

    fn issue(&mut self, intended: Instant) {
        let number = self.sent;
        let mut stamp = self.send.stamp(OPAQUE_MIN, self.producer.outbound());
        stamp.decimal(BORN, WallClock::System.now_ms().unsigned_abs());
        stamp.hex(FIRST_KEY, number).decimal(NUMBER, number);
        self.sent += 1;
        if let (Phase::Measure, Some(quota)) = (self.run.phase(), &mut self.quota) {
            *quota -= 1;
        }
        self.under_way = Some(UnderWay { number, intended, answered: false, arrived: false });
    }

    /// Asks for messages; held by the broker while there are none.
    fn ask(&mut self) {
        self.pulls = self.pulls.wrapping_add(1) & 0xFFFF;
        stamp_pull(&self.pull, OPAQUE_MIN + self.pulls, self.offset, self.consumer.outbound());
    }

    fn take_answers(&mut self) -> Result<(), BurstError> {
        let now = Instant::now();
        let measuring = self.run.phase() == Phase::Measure;
        while let Some(frame) = self.producer.next_frame()? {
            let Ok(answer) = FrameScan::scan(frame) else { continue };
            let Some(under_way) = &mut self.under_way else { continue };
            if measuring {
                self.tally.latency.record(now.saturating_duration_since(under_way.intended));
            }
            under_way.answered = true;
            if !is_stored(answer.code) {
                self.tally.refuse(answer.code, || answer.header_text());
                self.under_way = None;
            }
        }
        self.finish_if_done();
        Ok(())
    }

    fn take_messages(&mut self) -> Result<(), BurstError> {
        let now = Instant::now();
        let mut answers = 0;
        while let Some(frame) = self.consumer.next_frame()? {
            let Ok(answer) = FrameScan::scan(frame) else { continue };
            answers += 1;
            if answer.code == response_code::SUCCESS && self.at_end {
                let arrived = self.under_way.as_mut().filter(|sent| has(answer.body, sent.number));
                if let Some(under_way) = arrived {
                    under_way.arrived = true;
                    if self.run.phase() == Phase::Measure {
                        let latency = now.saturating_duration_since(under_way.intended);
                        self.tally.end_to_end.record(latency);
                    }
                }
            }
            let next = answer.ext_i64("nextBeginOffset");
            let end = answer.ext_i64("maxOffset");
            // The first answer tells where the queue ends; what is stored already is passed over.
            let target = if self.at_end { next } else { end };
            self.offset = target.unwrap_or(self.offset);
            self.at_end |= target.is_some();
        }
        for _ in 0..answers {
            self.ask();
        }
        self.finish_if_done();
        Ok(())
    }

    fn finish_if_done(&mut self) {
        if self.under_way.is_some_and(|sent| sent.answered && sent.arrived) {
            self.under_way = None;
            self.run.add_messages(1);
        }
    }

    /// Counts a message that did not come as lost, and lets the next one go.
    fn give_up_late(&mut self, now: Instant) {
        let late = |sent: &UnderWay| now.saturating_duration_since(sent.intended) > GRACE;
        if self.under_way.as_ref().is_some_and(late) {
            self.under_way = None;
            self.tally.unanswered += 1;
        }
    }
}

/// Whether message `number` is among the records.
fn has(mut records: &[u8], number: u64) -> bool {
    while let Ok(head) = decode_head(records) {
        if number_of(head.body(records)) == Some(number) {
            return true;
        }
        records = records.get(head.total_size as usize..).unwrap_or_default();
    }
    false
}

async fn wait_until(ticker: &mut Ticker, due: Option<Instant>) -> std::io::Result<()> {
    match due {
        Some(due) => ticker.sleep_until(due).await,
        None => std::future::pending().await,
    }
}
