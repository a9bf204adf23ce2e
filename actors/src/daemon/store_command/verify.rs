//! `gantry store verify`: tells what is found as it is found, and mends it if asked to.

use std::{
    io::{self, IsTerminal, Write},
    path::Path,
    time::Duration,
};

use gantry_storage::{
    RealDisk,
    inspect::{Finding, Inspection, Summary, Watch, verify as look},
};
use indicatif::{ProgressBar, ProgressStyle};
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
    let summary = tell(&inspection, args.json)?;
    Ok(if summary.tally.faults == 0 { Outcome::Sound } else { Outcome::Faults })
}

fn tell(inspection: &Inspection, is_json: bool) -> Result<Summary, StoreFailure> {
    let began = Instant::now();
    let mut teller = Teller::new(&inspection.root, io::stdout().lock(), is_json);
    let looked = look(&RealDisk, inspection, &mut teller);
    let summary = looked
        .map_err(|error| StoreFailure::Unreadable { path: inspection.root.clone(), error })?;
    teller.summary(&summary, began.elapsed())?;
    Ok(summary)
}
