//! `gantry bench pull`: reads stored messages over and over.
//!
//! Each slot of each connection walks through the queues on its own: from a queue's beginning to its
//! end, then on to the next queue. What is counted is messages, by the lengths of their records; a
//! body whose records do not add up counts as a refusal.

use std::num::{NonZeroU32, NonZeroU64};
use std::sync::Arc;
use std::time::{Duration, Instant};

use gantry_client::burst::{FrameScan, FrameTemplate};
use gantry_codec::requests::pull::pull_flag;
use gantry_codec::{Command, PullHeader, record, request_code, response_code};

use crate::args::{Header, LoadArgs, PullArgs};
use crate::connections::{Division, task};
use crate::coordinator::{Task, measure};
use crate::error::BenchError;
use crate::load::Workload;
use crate::report::{Report, Setting};
use crate::run::Run;
use crate::send::Plan;
use crate::target::{self, Queue, Target};

const CONSUMER_GROUP: &str = "gantry_bench_consumer";

/// The place of the offset in a pull template.
const OFFSET: usize = 0;
const OFFSET_MARK: i64 = 1_234_567_890_123_456_789;

const FILL_BATCH: NonZeroU32 = NonZeroU32::new(32).expect("not zero");
const FILL_WINDOW: usize = 16;

/// A template for pulls from one queue; [`stamp_pull`] fills it in.
///
/// # Errors
/// A topic that contains the mark.
pub fn pull_template(
    queue: &Queue,
    messages_max: i32,
    hold: Duration,
    header: Header,
) -> Result<FrameTemplate, BenchError> {
    let suspend = if hold.is_zero() { 0 } else { pull_flag::SUSPEND };
    let fields = PullHeader {
        consumer_group: CONSUMER_GROUP,
        topic: &queue.topic,
        queue_id: queue.queue_id,
        queue_offset: OFFSET_MARK,
        max_msg_nums: messages_max,
        sys_flag: pull_flag::SUBSCRIPTION | suspend,
        commit_offset: 0,
        suspend_timeout_millis: i64::try_from(hold.as_millis()).unwrap_or(i64::MAX),
        subscription: Some("*"),
        sub_version: 0,
        expression_type: Some("TAG"),
        ..PullHeader::default()
    };
    let mut request = Command::request(request_code::PULL_MESSAGE);
    fields.encode(&mut request.ext);
    request.serialize_type = header.into();
    Ok(FrameTemplate::new(request, &[&OFFSET_MARK.to_string()])?)
}

/// Appends a pull from `offset` on.
pub fn stamp_pull(template: &FrameTemplate, opaque: i32, offset: i64, out: &mut Vec<u8>) {
    template.stamp(opaque, out).decimal(OFFSET, offset.unsigned_abs());
}

/// Whether an answer's code is one of a pull that went well, with messages or without.
pub fn is_pulled(code: i32) -> bool {
    matches!(
        code,
        response_code::SUCCESS
            | response_code::PULL_NOT_FOUND
            | response_code::PULL_RETRY_IMMEDIATELY
            | response_code::PULL_OFFSET_MOVED
    )
}

/// Pulls from queues in turn.
struct Puller {
    templates: Arc<[FrameTemplate]>,
    cursors: Vec<Cursor>,
}

/// Where a slot is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Cursor {
    queue: usize,
    offset: i64,
}

impl Workload for Puller {
    fn issue(&mut self, slot: usize, opaque: i32, out: &mut Vec<u8>) {
        let cursor = self.cursors[slot];
        stamp_pull(&self.templates[cursor.queue], opaque, cursor.offset, out);
    }

    fn answered(&mut self, slot: usize, answer: &FrameScan<'_>) -> Option<u64> {
        let queues = self.templates.len();
        self.cursors[slot].follow(answer, queues);
        if is_pulled(answer.code) { count_records(answer.body) } else { None }
    }
}

impl Cursor {
    /// Goes on where the answer says; at a queue's end, and after a refusal, in the next queue.
    fn follow(&mut self, answer: &FrameScan<'_>, queues: usize) {
        let next = answer.ext_i64("nextBeginOffset");
        let end = answer.ext_i64("maxOffset");
        *self = match (answer.code, next, end) {
            (response_code::PULL_NOT_FOUND, ..) => self.next_queue(queues),
            (_, Some(next), Some(end)) if next < end => Cursor { offset: next, ..*self },
            _ => self.next_queue(queues),
        };
    }

    /// Brokers correct an offset before the queue's beginning.
    fn next_queue(self, queues: usize) -> Cursor {
        Cursor { queue: (self.queue + 1) % queues, offset: 0 }
    }
}

/// The number of records in a pull's body; None when their lengths do not add up to it.
fn count_records(mut body: &[u8]) -> Option<u64> {
    let mut count = 0;
    while !body.is_empty() {
        let (len, magic) = record::record_len(body)?;
        let known = matches!(magic, record::RECORD_MAGIC_V1 | record::RECORD_MAGIC_V2);
        body = body.get(len..).filter(|_| known && len > 0)?;
        count += 1;
    }
    Some(count)
}

/// Runs `gantry bench pull`.
///
/// # Errors
/// What keeps the run from being started or measured, empty queues among it.
pub fn run(args: &PullArgs) -> Result<Report, BenchError> {
    let targets = target::find_blocking(&args.target)?;
    if let Some(messages) = args.fill {
        fill(args, &targets, messages)?;
    }
    let setting = Setting {
        connections: args.connections.get(),
        window: args.window.get(),
        per_request: Some(args.per_request.get()),
        ..Setting::new("pull", &args.target, &args.load, &targets)
    };
    let run = Arc::new(Run::new(Instant::now()));
    let measured = measure(tasks(args, &targets, &run)?, &args.load, &run)?;
    if measured.messages == 0 && measured.tally.is_clean() {
        let queues = targets.iter().map(|target| target.queues.len()).sum();
        return Err(BenchError::NothingStored { queues });
    }
    Ok(Report::new(setting, measured))
}

fn tasks(args: &PullArgs, targets: &[Target], run: &Arc<Run>) -> Result<Vec<Task>, BenchError> {
    let messages_max = i32::try_from(args.per_request.get()).unwrap_or(i32::MAX);
    let division = Division {
        connections: args.connections,
        window: args.window.get(),
        messages_per_request: args.per_request,
    };
    let mut templates: Vec<Arc<[FrameTemplate]>> = Vec::new();
    for target in targets {
        let queues = target.queues.iter();
        let made = queues
            .map(|queue| pull_template(queue, messages_max, Duration::ZERO, args.target.header));
        templates.push(made.collect::<Result<_, _>>()?);
    }
    let tasks = (0..args.connections.get()).map(|index| {
        let number = index as usize % targets.len();
        let templates = Arc::clone(&templates[number]);
        let first = index as usize * args.window.get();
        let cursors = (first..first + args.window.get())
            .map(|start| Cursor { queue: start % templates.len(), offset: 0 })
            .collect();
        let pace = division.pace(&args.load, index);
        let address = targets[number].address.clone();
        task(address, Puller { templates, cursors }, pace, Arc::clone(run))
    });
    Ok(tasks.collect())
}

/// Sends messages for the pulls to find.
fn fill(args: &PullArgs, targets: &[Target], messages: NonZeroU64) -> Result<(), BenchError> {
    let plan = Plan {
        targets,
        size: args.size,
        batch: FILL_BATCH,
        header: args.target.header,
        connections: args.connections,
        window: FILL_WINDOW,
    };
    let load = LoadArgs {
        messages: Some(messages),
        warmup: Duration::ZERO,
        rate: None,
        pid: None,
        ..args.load.clone()
    };
    let run = Arc::new(Run::new(Instant::now()));
    let measured = measure(plan.tasks(&load, &run)?, &load, &run)?;
    if measured.tally.is_clean() {
        Ok(())
    } else {
        Err(BenchError::Fill { reason: measured.tally.trouble() })
    }
}

#[cfg(test)]
mod tests {
    use bytes::BytesMut;

    use super::*;

    fn frame(code: i32, next: i64, end: i64) -> BytesMut {
        let answer = Command::response(code, &Command::request(11))
            .with_ext("nextBeginOffset", next)
            .with_ext("maxOffset", end);
        let mut out = BytesMut::new();
        answer.encode(&mut out);
        out
    }

    #[test]
    fn a_cursor_walks_a_queue_and_goes_on_to_the_next() {
        let follow = |cursor: Cursor, code, next, end| {
            let mut cursor = cursor;
            let bytes = frame(code, next, end);
            cursor.follow(&FrameScan::scan(&bytes).expect("a frame"), 2);
            (cursor.queue, cursor.offset)
        };
        let start = Cursor { queue: 1, offset: 0 };
        assert_eq!(follow(start, response_code::SUCCESS, 32, 100), (1, 32));
        assert_eq!(follow(start, response_code::SUCCESS, 100, 100), (0, 0));
        assert_eq!(follow(start, response_code::PULL_OFFSET_MOVED, 7, 100), (1, 7));
        assert_eq!(follow(start, response_code::PULL_NOT_FOUND, 0, 0), (0, 0));
        assert_eq!(follow(start, response_code::SYSTEM_ERROR, 0, 0), (0, 0));
    }

    #[test]
    fn records_are_counted_by_their_lengths() {
        let record = |len: u32, magic: u32| {
            let mut bytes = vec![0; len as usize];
            bytes[..4].copy_from_slice(&len.to_be_bytes());
            bytes[4..8].copy_from_slice(&magic.to_be_bytes());
            bytes
        };
        let good = record(100, record::RECORD_MAGIC_V1);
        assert_eq!(count_records(&[good.clone(), good.clone()].concat()), Some(2));
        assert_eq!(count_records(&[]), Some(0));
        assert_eq!(count_records(&good[..99]), None);
        assert_eq!(count_records(&record(100, record::BLANK_MAGIC)), None);
        let mut endless = record::RECORD_MAGIC_V1.to_be_bytes().to_vec();
        endless.splice(0..0, [0; 4]);
        assert_eq!(count_records(&endless), None);
    }
}
