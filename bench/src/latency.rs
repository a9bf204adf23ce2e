//! `gantry bench latency`: one message at a time, to its answer or to its consumer.
//!
//! Without `--end-to-end` this is the send loop with one connection and one request outstanding; with
//! it, the loop of [`crate::end_to_end`].

use std::num::NonZeroU32;
use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::args::LatencyArgs;
use crate::connections::Division;
use crate::coordinator::{Task, measure};
use crate::end_to_end::end_to_end;
use crate::error::BenchError;
use crate::message::{NUMBER_DIGITS, Shape, numbered_body};
use crate::pull::pull_template;
use crate::report::{Report, Setting};
use crate::run::Run;
use crate::send::Plan;
use crate::target::{self, Target};

const ONE: NonZeroU32 = NonZeroU32::MIN;

/// How long the broker holds a pull, as official consumers ask.
const HOLD: Duration = Duration::from_secs(15);

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
    Ok(Box::new(move || Box::pin(end_to_end(address, [send, pull], pace, run))))
}
