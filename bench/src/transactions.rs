//! `gantry bench transactions`: half messages, and their ends as soon as they are acknowledged.
//!
//! Each slot of a connection is a producer of its own: it sends a half message, then asks for the commit,
//! or with `--rollback` for some the rollback, of what it was told it has. What is counted is answers to
//! ends: whole transactions. Ends are sent as requests that get an answer, although official clients send
//! them one-way: only so is it known when a transaction is through.

use std::num::NonZeroU32;
use std::sync::Arc;

use gantry_client::WallClock;
use gantry_client::burst::{FrameScan, FrameTemplate};
use gantry_codec::requests::transaction::{COMMIT, EndTransactionHeader, ROLLBACK};
use gantry_codec::{Command, OffsetMessageId, request_code, response_code};

use crate::args::{Header, TransactionArgs};
use crate::connections::{Division, task};
use crate::coordinator::{Task, measure};
use crate::error::BenchError;
use crate::load::Workload;
use crate::message::{BORN, FIRST_KEY, PRODUCER_GROUP, Shape, plain_body};
use crate::report::{Report, Setting};
use crate::run::Run;
use crate::send::is_stored;
use crate::target::{self, Target};

/// Marks of the two offsets in the template of an end, as wide as an offset can be.
const HALF_MARK: i64 = 1_111_222_233_334_444_555;
const PLACE_MARK: i64 = 2_111_222_233_334_444_555;
/// Their places.
const HALF: usize = 0;
const PLACE: usize = 1;

/// A half message that is stored.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Stored {
    half: u64,
    place: u64,
}

/// Makes transactions in the queues in turn.
struct Teller {
    halves: Arc<[FrameTemplate]>,
    commit: Arc<FrameTemplate>,
    rollback: Arc<FrameTemplate>,
    next: usize,
    /// Of a hundred transactions so many are rolled back.
    rollback_percent: u64,
    ended: u64,
    born_ms: u64,
    next_key: u64,
    /// By slot: what is to be ended, and whether its end is under way.
    slots: Vec<(Option<Stored>, bool)>,
}

impl Workload for Teller {
    fn begin_burst(&mut self) {
        self.born_ms = WallClock::System.now_ms().unsigned_abs();
    }

    fn issue(&mut self, slot: usize, opaque: i32, out: &mut Vec<u8>) {
        let (stored, is_ending) = &mut self.slots[slot];
        *is_ending = stored.is_some();
        let Some(Stored { half, place }) = stored.take() else {
            return self.issue_half(opaque, out);
        };
        self.ended += 1;
        // Spread evenly, not a hundred after a hundred.
        let is_rollback = self.ended * 37 % 100 < self.rollback_percent;
        let template = if is_rollback { &self.rollback } else { &self.commit };
        template.stamp(opaque, out).decimal(HALF, half).decimal(PLACE, place);
    }

    fn answered(&mut self, slot: usize, answer: &FrameScan<'_>) -> Option<u64> {
        let (stored, is_ending) = &mut self.slots[slot];
        if *is_ending {
            return (answer.code == response_code::SUCCESS).then_some(1);
        }
        *stored = Some(stored_at(answer)?);
        Some(0)
    }
}

impl Teller {
    fn issue_half(&mut self, opaque: i32, out: &mut Vec<u8>) {
        let template = &self.halves[self.next];
        self.next = (self.next + 1) % self.halves.len();
        let mut stamp = template.stamp(opaque, out);
        stamp.decimal(BORN, self.born_ms).hex(FIRST_KEY, self.next_key);
        self.next_key += 1;
    }
}

/// Where a half message is, by the answer to its send; none if that refuses it.
fn stored_at(answer: &FrameScan<'_>) -> Option<Stored> {
    if !is_stored(answer.code) {
        return None;
    }
    let half = answer.ext_i64("queueOffset").and_then(|half| u64::try_from(half).ok())?;
    let id = str::from_utf8(answer.ext_raw("msgId")?).ok()?;
    Some(Stored { half, place: OffsetMessageId::parse(id).ok()?.offset })
}

/// The request for an end.
fn end_template(outcome: i32, header: Header) -> Result<FrameTemplate, BenchError> {
    let fields = EndTransactionHeader {
        producer_group: PRODUCER_GROUP.to_owned(),
        tran_state_table_offset: HALF_MARK,
        commit_log_offset: PLACE_MARK,
        commit_or_rollback: outcome,
        from_transaction_check: false,
        msg_id: Some(String::new()),
        transaction_id: None,
        topic: None,
    };
    let mut request = Command::request(request_code::END_TRANSACTION).with_header(&fields);
    request.serialize_type = header.into();
    let marks = [HALF_MARK.to_string(), PLACE_MARK.to_string()];
    Ok(FrameTemplate::new(request, &[&marks[HALF], &marks[PLACE]])?)
}

/// The connections' loops.
fn tasks(
    args: &TransactionArgs,
    targets: &[Target],
    run: &Arc<Run>,
) -> Result<Vec<Task>, BenchError> {
    let header = args.target.header;
    let commit = Arc::new(end_template(COMMIT, header)?);
    let rollback = Arc::new(end_template(ROLLBACK, header)?);
    let division = Division {
        connections: args.connections,
        window: args.window.get(),
        messages_per_request: NonZeroU32::MIN,
    };
    let mut halves = Vec::new();
    for target in targets {
        halves.push(half_templates(target, args.shape.size, header)?);
    }
    let tasks = (0..args.connections.get()).map(|index| {
        let number = index as usize % targets.len();
        let teller = Teller {
            halves: Arc::clone(&halves[number]),
            commit: Arc::clone(&commit),
            rollback: Arc::clone(&rollback),
            next: index as usize % halves[number].len(),
            rollback_percent: u64::from(args.rollback),
            ended: 0,
            born_ms: 0,
            next_key: u64::from(index) << 40,
            slots: vec![(None, false); args.window.get()],
        };
        // Each transaction takes two requests.
        let mut pace = division.pace(&args.load, index);
        pace.quota = pace.quota.map(|quota| quota * 2);
        task(targets[number].address.clone(), teller, pace, Arc::clone(run))
    });
    Ok(tasks.collect())
}

fn half_templates(
    target: &Target,
    size: usize,
    header: Header,
) -> Result<Arc<[FrameTemplate]>, BenchError> {
    let body = plain_body(size);
    let templates = target.queues.iter().map(|queue| {
        let shape =
            Shape { topic: &queue.topic, queue_id: queue.queue_id, body: &body, batch: 1, header };
        Ok(shape.half_template()?)
    });
    templates.collect()
}

/// Runs `gantry bench transactions`.
///
/// # Errors
/// What keeps the run from being started or measured.
pub fn run(args: &TransactionArgs) -> Result<Report, BenchError> {
    let targets = target::find_blocking(&args.target)?;
    let setting = Setting {
        connections: args.connections.get(),
        window: args.window.get(),
        size: Some(args.shape.size),
        ..Setting::new("transactions", &args.target, &args.load, &targets)
    };
    let run = Arc::new(Run::new(std::time::Instant::now()));
    let tasks = tasks(args, &targets, &run)?;
    Ok(Report::new(setting, measure(tasks, &args.load, &run)?))
}

#[cfg(test)]
mod tests {
    use bytes::{Bytes, BytesMut};
    use gantry_client::burst::OPAQUE_MIN;
    use gantry_codec::{Header as _, SendHeader, properties};

    use super::*;

    fn teller() -> Teller {
        let queue = target::Queue { topic: "t".into(), queue_id: 3 };
        let target = Target { address: "a:1".into(), queues: vec![queue] };
        Teller {
            halves: half_templates(&target, 16, Header::Json).unwrap(),
            commit: Arc::new(end_template(COMMIT, Header::Json).unwrap()),
            rollback: Arc::new(end_template(ROLLBACK, Header::Json).unwrap()),
            next: 0,
            rollback_percent: 30,
            ended: 0,
            born_ms: 1,
            next_key: 0,
            slots: vec![(None, false); 2],
        }
    }

    fn issued(teller: &mut Teller, slot: usize) -> Command {
        let mut out = Vec::new();
        teller.issue(slot, OPAQUE_MIN, &mut out);
        Command::decode(Bytes::from(out)).unwrap()
    }

    fn answer(teller: &mut Teller, slot: usize, code: i32, half: u64, place: u64) -> Option<u64> {
        let id = OffsetMessageId { host: "10.0.0.1:10911".parse().unwrap(), offset: place };
        let reply = Command::response(code, &Command::request(310))
            .with_ext("msgId", id.to_string().as_str())
            .with_ext("queueOffset", half as i64);
        let mut frame = BytesMut::new();
        reply.encode(&mut frame);
        teller.answered(slot, &FrameScan::scan(&frame).unwrap())
    }

    #[test]
    fn an_end_follows_its_half_message_and_counts() {
        let mut teller = teller();
        let half = issued(&mut teller, 1);
        assert_eq!(half.code, request_code::SEND_MESSAGE_V2);
        let header = SendHeader::decode(&half).unwrap();
        let get = |name| properties::get(header.properties, name);
        let group = Some(header.producer_group);
        assert_eq!((get(properties::TRAN_MSG), get(properties::PGROUP)), (Some("true"), group));
        assert_eq!(answer(&mut teller, 1, 0, 41, 1 << 40), Some(0));
        let end = issued(&mut teller, 1);
        assert_eq!(end.code, request_code::END_TRANSACTION);
        let header = EndTransactionHeader::decode(&end.ext).unwrap();
        assert_eq!((header.tran_state_table_offset, header.commit_log_offset), (41, 1 << 40));
        assert_eq!(answer(&mut teller, 1, 0, 0, 0), Some(1));
        assert_eq!(issued(&mut teller, 1).code, request_code::SEND_MESSAGE_V2);
        assert_eq!(answer(&mut teller, 1, 2, 0, 0), None, "a refusal");
        assert_eq!(issued(&mut teller, 1).code, request_code::SEND_MESSAGE_V2, "has no end");
    }

    #[test]
    fn as_many_are_rolled_back_as_were_asked_for() {
        let mut teller = teller();
        let mut rolled_back = 0;
        for number in 0..100 {
            issued(&mut teller, 0);
            answer(&mut teller, 0, 0, number, number);
            let end = EndTransactionHeader::decode(&issued(&mut teller, 0).ext).unwrap();
            rolled_back += usize::from(end.commit_or_rollback == ROLLBACK);
            answer(&mut teller, 0, 0, 0, 0);
        }
        assert_eq!(rolled_back, 30);
    }
}
