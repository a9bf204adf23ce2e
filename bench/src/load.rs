//! One connection under load: exactly `window` requests outstanding, or as many as the schedule says.
//!
//! The loop knows slots, times and answers; what a request looks like and what an answer is worth is
//! the [`Workload`]'s affair. Each turn stamps every request that may go out, writes them all at once,
//! reads whatever answers are there and looks at the clock once for each of the two. A closed loop's
//! latency runs from the stamping; an open loop's from the intended time, so a request that had to
//! wait for a free slot, or for this very program, counts its wait.
//!
//! A slot's opaque changes with every use, so a late or doubled answer cannot be taken for another's.
//! A connection that ends early ends this loop and is reported; it is not opened again.

use std::sync::Arc;
use std::time::{Duration, Instant};

use gantry_client::burst::{BurstError, BurstStream, FrameScan, OPAQUE_MAX, OPAQUE_MIN};

use crate::run::{Phase, Run};
use crate::schedule::Schedule;
use crate::stats::Tally;
use crate::ticker::Ticker;

/// How long answers are awaited after the last request.
pub const GRACE: Duration = Duration::from_secs(5);

/// How often a silent connection looks whether the run has ended.
pub const PHASE_CHECK: Duration = Duration::from_millis(50);

/// What requests look like and what their answers mean.
pub trait Workload {
    /// Called before each burst of requests.
    fn begin_burst(&mut self) {}

    /// Appends the request of `slot` to `out`.
    fn issue(&mut self, slot: usize, opaque: i32, out: &mut Vec<u8>);

    /// Judges the answer to the request of `slot`: the number of messages it stands for. None when
    /// it is a refusal.
    fn answered(&mut self, slot: usize, answer: &FrameScan<'_>) -> Option<u64>;
}

/// How much one connection is to send, and when.
#[derive(Debug, Clone)]
pub struct Pace {
    /// Requests outstanding at a time.
    pub window: usize,
    /// The connection's part of an open loop; None sends as fast as answers come.
    pub schedule: Option<Schedule>,
    /// Requests to send while measuring; None sends until the run stops.
    pub quota: Option<u64>,
}

/// One connection's loop.
pub struct Load<W> {
    stream: BurstStream,
    slots: Slots,
    issuer: Issuer,
    ticker: Ticker,
    workload: W,
    run: Arc<Run>,
    tally: Tally,
}

impl<W: Workload> Load<W> {
    /// A loop over a connected stream; it must be made inside the runtime that runs it.
    pub fn new(
        stream: BurstStream,
        workload: W,
        pace: &Pace,
        run: Arc<Run>,
    ) -> std::io::Result<Load<W>> {
        Ok(Load {
            stream,
            slots: Slots::new(pace.window),
            issuer: Issuer {
                start: run.start,
                schedule: pace.schedule,
                issued: 0,
                quota: pace.quota,
            },
            ticker: Ticker::new()?,
            workload,
            run,
            tally: Tally::default(),
        })
    }

    /// Runs until the run stops or the quota is used up, and for the grace of the last answers.
    pub async fn run(mut self) -> Tally {
        if let Err(error) = self.send_and_receive().await {
            self.tally.lost.push(error.to_string());
        }
        self.tally.unanswered = self.slots.in_use() as u64;
        self.tally
    }

    async fn send_and_receive(&mut self) -> Result<(), BurstError> {
        let mut check = tokio::time::interval(PHASE_CHECK);
        let mut finished: Option<Instant> = None;
        loop {
            let now = Instant::now();
            let next_due = self.issue(now);
            if next_due == Due::Never {
                let since = *finished.get_or_insert(now);
                if self.slots.in_use() == 0 || now.duration_since(since) > GRACE {
                    return Ok(());
                }
            }
            tokio::select! {
                biased;
                turn = self.stream.turn() => {
                    turn?;
                    self.collect(Instant::now())?;
                }
                waited = wait_for(&mut self.ticker, next_due) => waited?,
                _ = check.tick() => {}
            }
        }
    }

    /// Stamps every request that may leave now; says when the next one may.
    fn issue(&mut self, now: Instant) -> Due {
        let phase = self.run.phase();
        self.workload.begin_burst();
        loop {
            let intended = match self.issuer.next(now, phase) {
                Due::Now(intended) => intended,
                later => return later,
            };
            let Some((slot, opaque)) = self.slots.take(intended) else { return Due::WithAnswer };
            self.issuer.advance(phase);
            self.workload.issue(slot, opaque, self.stream.outbound());
        }
    }

    /// Takes in every answer that is there.
    fn collect(&mut self, now: Instant) -> Result<(), BurstError> {
        let measuring = self.run.phase() == Phase::Measure;
        let mut messages = 0;
        while let Some(frame) = self.stream.next_frame()? {
            let Ok(answer) = FrameScan::scan(frame) else { continue };
            // Whatever matches no slot is a request of the server or an answer after its time.
            let Some((slot, intended)) = self.slots.free(answer.opaque) else { continue };
            let outcome = self.workload.answered(slot, &answer);
            messages += outcome.unwrap_or(0);
            if measuring {
                self.tally.latency.record(now.saturating_duration_since(intended));
                if outcome.is_none() {
                    self.tally.refuse(answer.code, || answer.header_text());
                }
            }
        }
        self.run.add_messages(messages);
        Ok(())
    }
}

async fn wait_for(ticker: &mut Ticker, due: Due) -> std::io::Result<()> {
    match due {
        Due::At(deadline) => ticker.sleep_until(deadline).await,
        _ => std::future::pending().await,
    }
}

/// When the next request may leave.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Due {
    /// At once; it was meant to leave at this time.
    Now(Instant),
    /// Not before this time.
    At(Instant),
    /// When an answer has freed a slot.
    WithAnswer,
    /// There will be no more.
    Never,
}

/// Counts requests out.
#[derive(Debug)]
struct Issuer {
    start: Instant,
    schedule: Option<Schedule>,
    issued: u64,
    quota: Option<u64>,
}

impl Issuer {
    fn next(&self, now: Instant, phase: Phase) -> Due {
        if phase == Phase::Stop || self.quota == Some(0) {
            return Due::Never;
        }
        let Some(schedule) = self.schedule else { return Due::Now(now) };
        let intended = self.start + schedule.intended(self.issued);
        if intended <= now { Due::Now(intended) } else { Due::At(intended) }
    }

    fn advance(&mut self, phase: Phase) {
        self.issued += 1;
        if let (Phase::Measure, Some(quota)) = (phase, &mut self.quota) {
            *quota -= 1;
        }
    }
}

/// The requests outstanding.
#[derive(Debug)]
struct Slots {
    slots: Vec<Slot>,
    free: Vec<usize>,
}

#[derive(Debug, Clone)]
struct Slot {
    /// The opaque of the request under way; None in a free slot.
    opaque: Option<i32>,
    intended: Instant,
    uses: usize,
}

impl Slots {
    fn new(window: usize) -> Slots {
        let slot = Slot { opaque: None, intended: Instant::now(), uses: 0 };
        Slots { slots: vec![slot; window], free: (0..window).rev().collect() }
    }

    fn in_use(&self) -> usize {
        self.slots.len() - self.free.len()
    }

    fn take(&mut self, intended: Instant) -> Option<(usize, i32)> {
        let index = self.free.pop()?;
        let opaque = opaque_of(index, self.slots[index].uses, self.slots.len());
        let slot = &mut self.slots[index];
        slot.uses += 1;
        slot.opaque = Some(opaque);
        slot.intended = intended;
        Some((index, opaque))
    }

    fn free(&mut self, opaque: i32) -> Option<(usize, Instant)> {
        let number = usize::try_from(opaque.checked_sub(OPAQUE_MIN)?).ok()?;
        let index = number % self.slots.len();
        let slot = &mut self.slots[index];
        if slot.opaque != Some(opaque) {
            return None;
        }
        slot.opaque = None;
        self.free.push(index);
        Some((index, slot.intended))
    }
}

/// The opaque of a slot's use number `uses`; its remainder by the window is the slot. The numbers
/// start again when the range of ten digits is used up.
fn opaque_of(slot: usize, uses: usize, window: usize) -> i32 {
    let rounds = (OPAQUE_MAX - OPAQUE_MIN) as usize / window;
    let number = (uses % rounds) * window + slot;
    OPAQUE_MIN + i32::try_from(number).expect("below the range's width by the line above")
}

#[cfg(test)]
mod tests {
    use std::num::NonZeroU64;

    use futures_util::{SinkExt, StreamExt};
    use gantry_codec::{Command, CommandCodec, response_code};
    use tokio::io::DuplexStream;
    use tokio_util::codec::Framed;

    use super::*;

    #[test]
    fn slots_are_used_up_and_come_back() {
        let mut slots = Slots::new(3);
        let now = Instant::now();
        let taken: Vec<_> = (0..3).map(|_| slots.take(now).expect("a free slot")).collect();
        assert_eq!(slots.take(now), None);
        let (slot, opaque) = taken[1];
        assert_eq!(slots.free(opaque), Some((slot, now)));
        assert_eq!(slots.free(opaque), None, "an answer counts once");
        let (again, fresh) = slots.take(now).expect("the freed slot");
        assert_eq!(again, slot);
        assert_ne!(fresh, opaque, "each use has its own opaque");
        assert_eq!(slots.in_use(), 3);
    }

    #[test]
    fn foreign_opaques_free_nothing() {
        let mut slots = Slots::new(2);
        slots.take(Instant::now()).expect("a free slot");
        for opaque in [i32::MIN, -1, 0, 5, OPAQUE_MIN + 1, OPAQUE_MAX] {
            assert_eq!(slots.free(opaque), None, "{opaque}");
        }
    }

    #[test]
    fn opaques_stay_in_their_range_for_ever() {
        for window in [1, 3, 64, 4_096] {
            let rounds = (OPAQUE_MAX - OPAQUE_MIN) as usize / window;
            for uses in [0, rounds - 1, rounds, usize::MAX] {
                let opaque = opaque_of(window - 1, uses, window);
                assert!(opaque >= OPAQUE_MIN);
                assert_eq!((opaque - OPAQUE_MIN) as usize % window, window - 1);
            }
        }
    }

    #[test]
    fn an_open_loop_keeps_its_intended_times() {
        let start = Instant::now();
        let ten = NonZeroU64::new(10).expect("not zero");
        let one = NonZeroU64::new(1).expect("not zero");
        let schedule = Some(Schedule::new(ten, 0, one));
        let mut issuer = Issuer { start, schedule, issued: 0, quota: None };
        let late = start + Duration::from_millis(250);
        for tenth in 0..3 {
            let intended = start + Duration::from_millis(100 * tenth);
            assert_eq!(issuer.next(late, Phase::Measure), Due::Now(intended));
            issuer.advance(Phase::Measure);
        }
        let next = start + Duration::from_millis(300);
        assert_eq!(issuer.next(late, Phase::Measure), Due::At(next));
        assert_eq!(issuer.next(late, Phase::Stop), Due::Never);
    }

    #[test]
    fn a_quota_counts_only_while_measuring() {
        let now = Instant::now();
        let mut issuer = Issuer { start: now, schedule: None, issued: 0, quota: Some(1) };
        issuer.advance(Phase::WarmUp);
        assert_eq!(issuer.next(now, Phase::WarmUp), Due::Now(now));
        issuer.advance(Phase::Measure);
        assert_eq!(issuer.next(now, Phase::Measure), Due::Never);
    }

    type Peer = Framed<DuplexStream, CommandCodec>;

    /// Requests without content; each answer stands for two messages.
    struct Plain;

    impl Workload for Plain {
        fn issue(&mut self, slot: usize, opaque: i32, out: &mut Vec<u8>) {
            let mut request = Command::request(1000).with_ext("slot", slot);
            request.opaque = opaque;
            let mut frame = bytes::BytesMut::new();
            request.encode(&mut frame);
            out.extend_from_slice(&frame);
        }

        fn answered(&mut self, _slot: usize, answer: &FrameScan<'_>) -> Option<u64> {
            (answer.code == response_code::SUCCESS).then_some(2)
        }
    }

    fn start(window: usize, quota: Option<u64>) -> (Arc<Run>, Load<Plain>, Peer) {
        let (near, far) = tokio::io::duplex(64 * 1024);
        let run = Arc::new(Run::new(Instant::now()));
        run.enter(Phase::Measure);
        let pace = Pace { window, schedule: None, quota };
        let stream = BurstStream::new(Box::new(near));
        let load = Load::new(stream, Plain, &pace, Arc::clone(&run)).expect("a timer");
        (run, load, Framed::new(far, CommandCodec))
    }

    async fn receive(peer: &mut Peer) -> Command {
        peer.next().await.expect("not closed").expect("a frame")
    }

    /// Whether nothing more comes although the loop had its turn.
    async fn is_silent(peer: &mut Peer) -> bool {
        tokio::time::timeout(Duration::from_millis(20), peer.next()).await.is_err()
    }

    async fn answer(peer: &mut Peer, code: i32, request: &Command) {
        peer.send(Command::response(code, request)).await.expect("sent");
    }

    #[tokio::test]
    async fn exactly_the_window_is_outstanding() {
        let (run, load, mut peer) = start(3, None);
        let served = async move {
            let mut outstanding = Vec::new();
            for _ in 0..3 {
                outstanding.push(receive(&mut peer).await);
            }
            assert!(is_silent(&mut peer).await, "the window is full");
            for (code, request) in [response_code::SUCCESS, 2].into_iter().zip(&outstanding) {
                answer(&mut peer, code, request).await;
                let next = receive(&mut peer).await;
                assert_eq!(next.ext.get("slot"), request.ext.get("slot"));
                assert_ne!(next.opaque, request.opaque);
                assert!(is_silent(&mut peer).await, "one answer lets one request go");
            }
            // An answer that comes twice, or to nobody, lets nothing go.
            answer(&mut peer, response_code::SUCCESS, &outstanding[0]).await;
            assert!(is_silent(&mut peer).await);
            // With the peer's end of the pipe the connection ends.
        };
        let (tally, ()) = tokio::join!(load.run(), served);
        assert_eq!(run.messages(), 2);
        assert_eq!(tally.refused[&2].count, 1);
        assert_eq!(tally.latency.summary().expect("two answers").count, 2);
        assert_eq!(tally.unanswered, 3);
        assert_eq!(tally.lost, ["closed by the peer"]);
    }

    #[tokio::test]
    async fn a_quota_ends_the_loop_when_all_is_answered() {
        let (run, load, mut peer) = start(2, Some(5));
        let served = async {
            for _ in 0..5 {
                let request = receive(&mut peer).await;
                answer(&mut peer, response_code::SUCCESS, &request).await;
            }
        };
        let (tally, ()) = tokio::join!(load.run(), served);
        assert!(tally.is_clean());
        assert_eq!(run.messages(), 10);
    }
}
