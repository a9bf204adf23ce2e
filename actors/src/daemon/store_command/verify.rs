//! `gantry store verify`: tells what is found as it is found, and mends it if asked to.

use std::{
    fmt::Display,
    io::{self, BufRead, IsTerminal, Write},
    path::Path,
    sync::Arc,
    time::Duration,
};

use gantry_storage::{
    Disk, RealDisk,
    inspect::{Finding, Inspection, RepairPlan, Summary, Watch, verify as look},
};
use indicatif::{ProgressBar, ProgressStyle};
use serde_json::json;
use tokio::time::Instant;

use super::{
    Outcome, StoreFailure,
    args::{CheckQueues, VerifyArgs},
    inspection, text,
};

/// Tells findings on standard output and progress on standard error.
struct Teller<'a, W> {
    root: &'a Path,
    out: W,
    is_json: bool,
    bar: ProgressBar,
    failed: Option<io::Error>,
}

impl<'a, W: Write> Teller<'a, W> {
    fn new(root: &'a Path, out: W, is_json: bool) -> Self {
        let is_shown = !is_json && io::stderr().is_terminal();
        let bar = if is_shown { ProgressBar::new(0) } else { ProgressBar::hidden() };
        let style = "{elapsed:>4} [{bar:40}] {percent:>3}% {bytes} of {total_bytes}, {eta} left";
        let style = ProgressStyle::with_template(style);
        bar.set_style(style.unwrap_or_else(|_| ProgressStyle::default_bar()));
        Self { root, out, is_json, bar, failed: None }
    }

    fn write(&mut self, text: &str) {
        if self.failed.is_none() {
            let (out, bar) = (&mut self.out, &self.bar);
            self.failed = bar.suspend(|| out.write_all(text.as_bytes())).err();
        }
    }

    fn summary(mut self, summary: &Summary, took: Duration) -> Result<(), StoreFailure> {
        self.bar.finish_and_clear();
        let text = if self.is_json {
            format!("{}\n", text::summary_json(summary, took))
        } else {
            text::summary(summary, took)
        };
        self.write(&text);
        let flushed = self.out.flush();
        self.failed.map_or(flushed, Err).map_err(StoreFailure::Output)
    }
}

impl<W: Write> Watch for Teller<'_, W> {
    fn found(&mut self, finding: Finding) {
        let text = if self.is_json {
            format!("{}\n", text::finding_json(&finding))
        } else {
            text::finding(self.root, &finding)
        };
        self.write(&text);
    }

    fn expects(&mut self, bytes: u64) {
        self.bar.set_length(bytes);
    }

    fn advanced(&mut self, bytes: u64) {
        self.bar.inc(bytes);
    }
}

/// Checks a store as the command line says.
pub(super) fn verify(args: &VerifyArgs) -> Result<Outcome, StoreFailure> {
    let (mut inspection, holder) = inspection(&args.place)?;
    inspection.sweeps = args.check_queues == CheckQueues::All;
    inspection.findings_max = if args.max_findings == 0 { u64::MAX } else { args.max_findings };
    if args.repair
        && let Some(pid) = holder
    {
        return Err(StoreFailure::InUse { root: inspection.root, pid });
    }
    let began = Instant::now();
    let mut teller = Teller::new(&inspection.root, io::stdout(), args.json);
    if args.repair {
        let plan = RepairPlan::make(&RealDisk, &inspection, &mut teller);
        let plan = plan.map_err(unreadable(&inspection))?;
        teller.summary(&plan.summary, began.elapsed())?;
        return repair(&plan, &inspection, args);
    }
    let summary = look(&RealDisk, &inspection, &mut teller).map_err(unreadable(&inspection))?;
    teller.summary(&summary, began.elapsed())?;
    Ok(outcome(&summary))
}

fn outcome(summary: &Summary) -> Outcome {
    if summary.tally.faults == 0 { Outcome::Sound } else { Outcome::Faults }
}

fn unreadable(inspection: &Inspection) -> impl FnOnce(io::Error) -> StoreFailure {
    let path = inspection.root.clone();
    |error| StoreFailure::Unreadable { path, error }
}

/// Says what will be done, asks, does it, and looks again.
fn repair(
    plan: &RepairPlan,
    inspection: &Inspection,
    args: &VerifyArgs,
) -> Result<Outcome, StoreFailure> {
    let mut out = io::stdout();
    let mut say = |state: &str, action: &dyn Display| {
        let said = if args.json {
            writeln!(out, "{}", json!({"repair": state, "action": action.to_string()}))
        } else {
            writeln!(out, "{state:<8} {action}")
        };
        said.map_err(StoreFailure::Output)
    };
    if plan.actions().is_empty() {
        say("repair", &"there is nothing that can be mended")?;
        return Ok(outcome(&plan.summary));
    }
    for action in plan.actions() {
        say("will", action)?;
    }
    if !args.yes && !confirmed()? {
        say("repair", &"nothing was changed")?;
        return Ok(outcome(&plan.summary));
    }
    let disk: Arc<dyn Disk> = Arc::new(RealDisk);
    let mut said = Ok(());
    let done = plan.execute(&disk, inspection, &mut |action| {
        if said.is_ok() {
            said = say("done", action);
        }
    });
    done.map_err(|e| StoreFailure::Repair(e.to_string()))?;
    said?;
    let began = Instant::now();
    let mut teller = Teller::new(&inspection.root, io::stdout(), args.json);
    let summary = look(&RealDisk, inspection, &mut teller).map_err(unreadable(inspection))?;
    teller.summary(&summary, began.elapsed())?;
    Ok(outcome(&summary))
}

/// Asks on standard error; only a yes is one.
fn confirmed() -> Result<bool, StoreFailure> {
    let _ = write!(io::stderr(), "Do this? [y/N] ");
    let mut answer = String::new();
    io::stdin().lock().read_line(&mut answer).map_err(|e| StoreFailure::Repair(e.to_string()))?;
    Ok(matches!(answer.trim().to_lowercase().as_str(), "y" | "yes"))
}
