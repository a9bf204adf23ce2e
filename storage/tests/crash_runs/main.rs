//! Seeded runs of the whole store on a disk that fails: nothing acknowledged is lost.
//!
//! Each run is some lives of a store on one thread: work, a fault at a drawn moment, an end (stopped,
//! killed, power lost), recovery, perhaps with further faults; then an [`oracle`] that knows what was
//! acknowledged looks at everything. The same seed gives the same run.
//!
//! | environment | effect |
//! |---|---|
//! | `GANTRY_CRASH_SEEDS=N` | N seeds instead of the default |
//! | `GANTRY_CRASH_SEED=S` | that seed alone, with its trace |
//! | `GANTRY_CRASH_SECONDS=T` | as many seeds as fit into the time, from a new one on, which is printed |

#[path = "../common/mod.rs"]
mod common;
mod dice;
mod oracle;
mod rig;
mod run;

use std::{
    collections::BTreeSet,
    panic::{AssertUnwindSafe, catch_unwind, resume_unwind},
};

use gantry_storage::{Clock, DiskFault, DiskOp, SystemClock};
use run::{During, Met, Trace, run};

const SEEDS: u64 = 300;

fn number(name: &str) -> Option<u64> {
    std::env::var(name).ok().map(|value| value.parse().expect(name))
}

/// Runs one seed; what went wrong is told with what led to it.
fn run_seed(seed: u64) -> Trace {
    let mut trace = Trace::default();
    if let Err(panic) = catch_unwind(AssertUnwindSafe(|| run(seed, &mut trace))) {
        eprintln!("{}\nagain with GANTRY_CRASH_SEED={seed}", trace.steps);
        resume_unwind(panic);
    }
    trace
}

#[test]
fn nothing_acknowledged_is_lost() {
    if let Some(seed) = number("GANTRY_CRASH_SEED") {
        eprintln!("{}", run_seed(seed).steps);
    } else if let Some(seconds) = number("GANTRY_CRASH_SECONDS") {
        let start = SystemClock.now_ms();
        let first = start as u64 * 1_000_000;
        let is_time = |_: &u64| SystemClock.now_ms() - start < seconds as i64 * 1000;
        let runs = (first..).take_while(is_time).map(run_seed).count();
        eprintln!("{runs} runs from seed {first} on");
    } else {
        let seeds = number("GANTRY_CRASH_SEEDS").unwrap_or(SEEDS);
        let met: Vec<_> = (0..seeds).flat_map(|seed| run_seed(seed).faults).collect();
        if seeds >= SEEDS {
            check_moments(&met);
        }
    }
}

/// The runs are worth something only if the power goes, and errors come, at every kind of moment.
fn check_moments(met: &[Met]) {
    use DiskOp::*;
    use During::*;
    for op in [Create, Reserve, Read, Write, Sync, Rename, SyncDir, Step] {
        assert!(met.contains(&(op, DiskFault::PowerLoss, Work)), "{op:?}");
    }
    for op in [Map, Clear, List, Read, Write, Sync, Rename, SyncDir, Lock] {
        assert!(met.contains(&(op, DiskFault::PowerLoss, Recovery)), "{op:?} in recovery");
    }
    for op in [Create, Sync, Write, Rename, SyncDir] {
        assert!(met.contains(&(op, DiskFault::Io, Work)), "{op:?} with an error");
    }
    for during in [Removal, Deletion] {
        for op in [Remove, SyncDir, Step] {
            assert!(met.contains(&(op, DiskFault::PowerLoss, during)), "{op:?} in {during:?}");
        }
        for op in [Remove, SyncDir] {
            assert!(met.contains(&(op, DiskFault::Io, during)), "{op:?} with an error, {during:?}");
        }
    }
}

#[test]
fn the_same_seed_gives_the_same_run() {
    let digests = || (0..10).map(|seed| run_seed(seed).digest()).collect::<Vec<_>>();
    let first = digests();
    assert_eq!(first, digests());
    assert_eq!(first.iter().collect::<BTreeSet<_>>().len(), 10, "seeds differ");
}
