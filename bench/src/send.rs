//! `gantry bench send`: sends from templates, one for each queue, taken in turn.

use std::num::NonZeroU32;
use std::sync::Arc;

use gantry_client::WallClock;
use gantry_client::burst::{FrameScan, FrameTemplate};
use gantry_codec::response_code;

use crate::args::{Header, LoadArgs, SendArgs};
use crate::connections::{Division, task};
use crate::coordinator::{Task, measure};
use crate::error::BenchError;
use crate::load::Workload;
use crate::message::{BORN, FIRST_KEY, Shape, plain_body};
use crate::report::{Report, Setting};
use crate::run::Run;
use crate::target::{self, Target};

/// Sends to queues in turn.
struct Sender {
    templates: Arc<[FrameTemplate]>,
    next: usize,
    batch: u32,
    /// Born timestamp of the messages of a burst.
    born_ms: u64,
    /// The digits of the next unique key; each connection counts in a range of its own.
    next_key: u64,
}

impl Workload for Sender {
    fn begin_burst(&mut self) {
        self.born_ms = WallClock::System.now_ms().unsigned_abs();
    }

    fn issue(&mut self, _slot: usize, opaque: i32, out: &mut Vec<u8>) {
        let template = &self.templates[self.next];
        self.next = (self.next + 1) % self.templates.len();
        let mut stamp = template.stamp(opaque, out);
        stamp.decimal(BORN, self.born_ms);
        for number in 0..self.batch as usize {
            stamp.hex(FIRST_KEY + number, self.next_key);
            self.next_key += 1;
        }
    }

    fn answered(&mut self, _slot: usize, answer: &FrameScan<'_>) -> Option<u64> {
        is_stored(answer.code).then_some(self.batch.into())
    }
}

/// Whether an answer's code means that the message is stored.
pub fn is_stored(code: i32) -> bool {
    matches!(
        code,
        response_code::SUCCESS
            | response_code::FLUSH_DISK_TIMEOUT
            | response_code::FLUSH_SLAVE_TIMEOUT
            | response_code::SLAVE_NOT_AVAILABLE
    )
}

/// What to send, and over how many connections.
pub struct Plan<'a> {
    /// Where to.
    pub targets: &'a [Target],
    /// Bytes of each body.
    pub size: usize,
    /// Messages per request.
    pub batch: NonZeroU32,
    /// Header serialization.
    pub header: Header,
    /// Connections.
    pub connections: NonZeroU32,
    /// Requests outstanding on each.
    pub window: usize,
}

impl Plan<'_> {
    /// The connections' loops.
    ///
    /// # Errors
    /// A topic that cannot be put into a template.
    pub fn tasks(&self, load: &LoadArgs, run: &Arc<Run>) -> Result<Vec<Task>, BenchError> {
        let division = Division {
            connections: self.connections,
            window: self.window,
            messages_per_request: self.batch,
        };
        let mut templates = Vec::new();
        for target in self.targets {
            templates.push(self.templates(target)?);
        }
        let tasks = (0..self.connections.get()).map(|index| {
            let number = index as usize % self.targets.len();
            let templates = Arc::clone(&templates[number]);
            let sender = Sender {
                next: index as usize % templates.len(),
                templates,
                batch: self.batch.get(),
                born_ms: 0,
                next_key: u64::from(index) << 40,
            };
            let address = self.targets[number].address.clone();
            task(address, sender, division.pace(load, index), Arc::clone(run))
        });
        Ok(tasks.collect())
    }

    fn templates(&self, target: &Target) -> Result<Arc<[FrameTemplate]>, BenchError> {
        let body = plain_body(self.size);
        let queues = target.queues.iter();
        let templates = queues.map(|queue| {
            let shape = Shape {
                topic: &queue.topic,
                queue_id: queue.queue_id,
                body: &body,
                batch: self.batch.get(),
                header: self.header,
            };
            Ok(shape.template()?)
        });
        templates.collect()
    }
}

/// Runs `gantry bench send`.
///
/// # Errors
/// What keeps the run from being started or measured.
pub fn run(args: &SendArgs) -> Result<Report, BenchError> {
    let targets = target::find_blocking(&args.target)?;
    let plan = Plan {
        targets: &targets,
        size: args.shape.size,
        batch: args.batch,
        header: args.target.header,
        connections: args.connections,
        window: args.window.get(),
    };
    let setting = Setting {
        connections: args.connections.get(),
        window: args.window.get(),
        size: Some(args.shape.size),
        batch: Some(args.batch.get()),
        ..Setting::new("send", &args.target, &args.load, &targets)
    };
    let run = Arc::new(Run::new(std::time::Instant::now()));
    let tasks = plan.tasks(&args.load, &run)?;
    Ok(Report::new(setting, measure(tasks, &args.load, &run)?))
}
