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
use run::{Trace, run};

const SEEDS: u64 = 400;

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
        (0..number("GANTRY_CRASH_SEEDS").unwrap_or(SEEDS)).for_each(|seed| drop(run_seed(seed)));
    }
}

#[test]
fn the_same_seed_gives_the_same_run() {
    let digests = || (0..20).map(|seed| run_seed(seed).digest()).collect::<Vec<_>>();
    let first = digests();
    assert_eq!(first, digests());
    assert_eq!(first.iter().collect::<BTreeSet<_>>().len(), 20, "seeds differ");
}

/// The runs are worth something only if faults fall everywhere.
#[test]
fn faults_fall_on_every_kind_of_moment() {
    let met: BTreeSet<_> = (0..200)
        .flat_map(|seed| run_seed(seed).faults)
        .map(|(op, fault, in_recovery)| (op, format!("{fault:?}"), in_recovery))
        .collect();
    use DiskOp::*;
    for op in [Create, Reserve, Read, Write, Sync, Rename, SyncDir, Step] {
        assert!(met.contains(&(op, format!("{:?}", DiskFault::PowerLoss), false)), "{op:?}");
    }
    for op in [Map, Clear, List, Read, Write, Sync, Rename, SyncDir] {
        assert!(met.contains(&(op, format!("{:?}", DiskFault::PowerLoss), true)), "{op:?}");
    }
    for op in [Create, Sync, Write] {
        assert!(met.contains(&(op, format!("{:?}", DiskFault::Io), false)), "{op:?}");
    }
}
