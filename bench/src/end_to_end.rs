//! One message at a time, from its producer to a consumer that waits for it.
//!
//! Two connections on one thread: one sends, the other holds a pull open at the queue's end. The next
//! message goes out when the answer and the message itself are both there. Bodies carry a number that
//! no other run has, so that what arrives is known to be what was sent. Latencies run from the
//! intended time, as everywhere; a message that has not come some seconds after it left is counted as
//! unanswered. A pull that is refused ends the run.

use std::sync::Arc;
use std::time::Instant;

use gantry_client::burst::{BurstError, BurstStream, FrameScan, FrameTemplate, OPAQUE_MIN};
use gantry_client::{Connector, TcpConnector, WallClock};
use gantry_codec::record::decode_head;

use crate::load::{GRACE, PHASE_CHECK, Pace};
use crate::message::{BORN, FIRST_KEY, number_of};
use crate::pull::{is_pulled, stamp_pull};
use crate::run::{Phase, Run};
use crate::schedule::Schedule;
use crate::send::is_stored;
use crate::stats::Tally;
use crate::ticker::Ticker;

/// The place of a message's number in its body.
const NUMBER: usize = FIRST_KEY + 1;

/// Opaques are used again after so many requests.
const OPAQUES: u64 = 1 << 20;

/// Connects twice and runs the loop; `templates` are of the send and of the pull.
pub async fn end_to_end(
    address: String,
    templates: [FrameTemplate; 2],
    pace: Pace,
    run: Arc<Run>,
) -> Tally {
    let connect = || async { TcpConnector.connect(&address).await.map(BurstStream::new) };
    let made = async { EndToEnd::new([connect().await?, connect().await?], templates, &pace, run) };
    match made.await {
        Ok(state) => state.run().await,
        Err(error) => Tally { lost: vec![format!("{address}: {error}")], ..Tally::default() },
    }
}

struct EndToEnd {
    producer: Producer,
    consumer: Consumer,
    ticker: Ticker,
    under_way: Option<UnderWay>,
    schedule: Option<Schedule>,
    quota: Option<u64>,
    run: Arc<Run>,
    tally: Tally,
}

/// The message that is on its way.
#[derive(Debug, Clone, Copy)]
struct UnderWay {
    opaque: i32,
    number: u64,
    intended: Instant,
    issued: Instant,
    answered: bool,
    arrived: bool,
}

impl EndToEnd {
    fn new(
        [producer, consumer]: [BurstStream; 2],
        [send, pull]: [FrameTemplate; 2],
        pace: &Pace,
        run: Arc<Run>,
    ) -> std::io::Result<EndToEnd> {
        // Microseconds tell the numbers of one run from those of all others.
        let first_number = WallClock::System.now_ms().unsigned_abs() * 1_000;
        Ok(EndToEnd {
            producer: Producer { stream: producer, template: send, first_number, sent: 0 },
            consumer: Consumer {
                stream: consumer,
                template: pull,
                offset: 0,
                place: Place::BeforeEnd,
                pulls: 0,
            },
            ticker: Ticker::new()?,
            under_way: None,
            schedule: pace.schedule,
            quota: pace.quota,
            run,
            tally: Tally::default(),
        })
    }

    async fn run(mut self) -> Tally {
        if let Err(error) = self.send_and_receive().await {
            self.tally.lost.push(error.to_string());
        }
        self.tally
    }

    async fn send_and_receive(&mut self) -> Result<(), BurstError> {
        let mut check = tokio::time::interval(PHASE_CHECK);
        self.consumer.ask();
        loop {
            let now = Instant::now();
            self.give_up_late(now);
            let due = self.next_due(now);
            if due.is_none() && self.under_way.is_none() && self.is_over() {
                return Ok(());
            }
            if let Some(intended) = due.filter(|due| *due <= now) {
                self.issue(intended, now);
            }
            let due = due.filter(|due| *due > now);
            tokio::select! {
                biased;
                turn = self.consumer.stream.turn() => { turn?; self.take_messages()?; }
                turn = self.producer.stream.turn() => { turn?; self.take_answers()?; }
                waited = wait_until(&mut self.ticker, due) => waited?,
                _ = check.tick() => {}
            }
        }
    }

    fn is_over(&self) -> bool {
        self.run.phase() == Phase::Stop
            || self.quota == Some(0)
            || self.consumer.place == Place::Refused
    }

    /// When the next message is to leave; None while one is under way or none is to follow.
    fn next_due(&self, now: Instant) -> Option<Instant> {
        if self.under_way.is_some() || self.is_over() || self.consumer.place != Place::AtEnd {
            return None;
        }
        let intended = |schedule: Schedule| self.run.start + schedule.intended(self.producer.sent);
        Some(self.schedule.map_or(now, intended))
    }

    fn issue(&mut self, intended: Instant, now: Instant) {
        let (opaque, number) = self.producer.send();
        if let (Phase::Measure, Some(quota)) = (self.run.phase(), &mut self.quota) {
            *quota -= 1;
        }
        let issued = now;
        self.under_way =
            Some(UnderWay { opaque, number, intended, issued, answered: false, arrived: false });
    }

    fn take_answers(&mut self) -> Result<(), BurstError> {
        let now = Instant::now();
        let measuring = self.run.phase() == Phase::Measure;
        while let Some(frame) = self.producer.stream.next_frame()? {
            let Ok(answer) = FrameScan::scan(frame) else { continue };
            let Some(sent) = self.under_way.as_mut().filter(|sent| sent.opaque == answer.opaque)
            else {
                continue;
            };
            sent.answered = true;
            if measuring {
                self.tally.latency.record(now.saturating_duration_since(sent.intended));
            }
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
        let measuring = self.run.phase() == Phase::Measure;
        while let Some(frame) = self.consumer.stream.next_frame()? {
            let Ok(answer) = FrameScan::scan(frame) else { continue };
            let sent = self.under_way.as_mut().filter(|sent| has(answer.body, sent.number));
            if let Some(sent) = sent {
                sent.arrived = true;
                if measuring {
                    self.tally.end_to_end.record(now.saturating_duration_since(sent.intended));
                }
            }
            let step = Step::after(&answer);
            if step == Step::Stop {
                self.tally.refuse(answer.code, || answer.header_text());
            }
            self.consumer.follow(step);
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

    /// Counts a message that has not come as unanswered, and lets the next one go.
    fn give_up_late(&mut self, now: Instant) {
        let late = |sent: UnderWay| now.saturating_duration_since(sent.issued) > GRACE;
        if self.under_way.is_some_and(late) {
            self.under_way = None;
            self.tally.unanswered += 1;
        }
    }
}

struct Producer {
    stream: BurstStream,
    template: FrameTemplate,
    first_number: u64,
    sent: u64,
}

impl Producer {
    /// Stamps the next message; returns its opaque and number.
    fn send(&mut self) -> (i32, u64) {
        let opaque = opaque_of(self.sent);
        let number = self.first_number + self.sent;
        let mut stamp = self.template.stamp(opaque, self.stream.outbound());
        stamp.decimal(BORN, WallClock::System.now_ms().unsigned_abs());
        stamp.hex(FIRST_KEY, number).decimal(NUMBER, number);
        self.sent += 1;
        (opaque, number)
    }
}

struct Consumer {
    stream: BurstStream,
    template: FrameTemplate,
    offset: i64,
    place: Place,
    pulls: u64,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Place {
    /// Where the queue ends is not known yet.
    BeforeEnd,
    /// Only new messages come.
    AtEnd,
    /// The broker refuses pulls.
    Refused,
}

/// What an answer to a pull means for the next one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Step {
    GoOn { next: i64, end: i64 },
    Stop,
}

impl Step {
    fn after(answer: &FrameScan<'_>) -> Step {
        match (answer.ext_i64("nextBeginOffset"), answer.ext_i64("maxOffset")) {
            (Some(next), Some(end)) if is_pulled(answer.code) => Step::GoOn { next, end },
            _ => Step::Stop,
        }
    }
}

impl Consumer {
    /// Goes where the answer says, and asks again. The first answer tells where the queue ends; what
    /// is stored already is passed over.
    fn follow(&mut self, step: Step) {
        match step {
            Step::Stop => {
                self.place = Place::Refused;
                return;
            }
            Step::GoOn { end, .. } if self.place == Place::BeforeEnd => {
                self.offset = end;
                self.place = Place::AtEnd;
            }
            Step::GoOn { next, .. } => self.offset = next,
        }
        self.ask();
    }

    /// Asks for messages; the broker holds the request while there are none.
    fn ask(&mut self) {
        let opaque = opaque_of(self.pulls);
        stamp_pull(&self.template, opaque, self.offset, self.stream.outbound());
        self.pulls += 1;
    }
}

fn opaque_of(number: u64) -> i32 {
    OPAQUE_MIN + i32::try_from(number % OPAQUES).expect("below a million or so")
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

#[cfg(test)]
mod tests {
    use std::net::SocketAddr;
    use std::time::Duration;

    use futures_util::{SinkExt, StreamExt};
    use gantry_codec::{Command, CommandCodec, PullHeader, Record, response_code};
    use tokio::io::DuplexStream;
    use tokio_util::codec::Framed;

    use super::*;
    use crate::args::Header;
    use crate::message::{Shape, numbered_body};
    use crate::pull::pull_template;
    use crate::target::Queue;

    type Peer = Framed<DuplexStream, CommandCodec>;

    fn start(quota: u64) -> (Arc<Run>, EndToEnd, Peer, Peer) {
        let (near_producer, far_producer) = tokio::io::duplex(64 * 1024);
        let (near_consumer, far_consumer) = tokio::io::duplex(64 * 1024);
        let body = numbered_body(40).expect("large enough");
        let shape = Shape { topic: "T", queue_id: 0, body: &body, batch: 1, header: Header::Json };
        let queue = Queue { topic: "T".into(), queue_id: 0 };
        let templates = [
            shape.numbered_template().expect("marks stand once"),
            pull_template(&queue, 32, Duration::from_secs(15), Header::Json).expect("as above"),
        ];
        let run = Arc::new(Run::new(Instant::now()));
        run.enter(Phase::Measure);
        let streams = [near_producer, near_consumer].map(|near| BurstStream::new(Box::new(near)));
        let pace = Pace { window: 1, schedule: None, quota: Some(quota) };
        let state = EndToEnd::new(streams, templates, &pace, Arc::clone(&run)).expect("a timer");
        let codec = CommandCodec;
        (run, state, Framed::new(far_producer, codec), Framed::new(far_consumer, codec))
    }

    async fn receive(peer: &mut Peer) -> Command {
        peer.next().await.expect("not closed").expect("a frame")
    }

    /// The next pull, and the offset that it asks for.
    async fn next_pull(peer: &mut Peer) -> (Command, i64) {
        let request = receive(peer).await;
        let offset = PullHeader::decode(&request).expect("a pull").queue_offset;
        (request, offset)
    }

    fn pulled(code: i32, request: &Command, next: i64, end: i64) -> Command {
        Command::response(code, request)
            .with_ext("nextBeginOffset", next)
            .with_ext("maxOffset", end)
    }

    fn record(body: &[u8]) -> Vec<u8> {
        let host: SocketAddr = "127.0.0.1:1".parse().expect("an address");
        let record = Record {
            queue_id: 0,
            flag: 0,
            queue_offset: 0,
            physical_offset: 0,
            sys_flag: 0,
            born_timestamp: 0,
            born_host: host,
            store_timestamp: 0,
            store_host: host,
            reconsume_times: 0,
            prepared_transaction_offset: 0,
            body_crc: 0,
            body,
            topic: "T",
            properties: "",
        };
        let mut bytes = vec![0; record.encoded_len()];
        record.write_to(&mut bytes);
        bytes
    }

    #[tokio::test]
    async fn a_message_counts_when_it_is_answered_and_has_arrived() {
        let (run, state, mut producer, mut consumer) = start(2);
        let served = async {
            let (first, offset) = next_pull(&mut consumer).await;
            assert_eq!(offset, 0);
            // Old messages are passed over: the run begins at the queue's end.
            let old = pulled(response_code::SUCCESS, &first, 1, 7).with_body(record(b"old"));
            consumer.send(old).await.expect("sent");
            for place in 7..9 {
                let (pull, offset) = next_pull(&mut consumer).await;
                assert_eq!(offset, place);
                let sent = receive(&mut producer).await;
                let messages = [record(b"another's"), record(&sent.body)].concat();
                let found = pulled(response_code::SUCCESS, &pull, place + 1, place + 1);
                consumer.send(found.with_body(messages)).await.expect("sent");
                producer.send(Command::response(0, &sent)).await.expect("sent");
            }
        };
        let (tally, ()) = tokio::join!(state.run(), served);
        assert!(tally.is_clean(), "{}", tally.trouble());
        assert_eq!(run.messages(), 2);
        assert_eq!(tally.latency.summary().expect("answers").count, 2);
        assert_eq!(tally.end_to_end.summary().expect("arrivals").count, 2);
    }

    #[tokio::test]
    async fn a_refused_pull_ends_the_run() {
        let (run, state, _producer, mut consumer) = start(2);
        let served = async {
            let (pull, _) = next_pull(&mut consumer).await;
            consumer.send(Command::response(16, &pull)).await.expect("sent");
        };
        let (tally, ()) = tokio::join!(state.run(), served);
        assert_eq!(tally.refused[&16].count, 1);
        assert_eq!(run.messages(), 0);
    }
}
