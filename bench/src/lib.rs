//! `gantry bench`: puts load on any broker of the protocol and says what it cost.
//!
//! The rule that shapes this crate: the generator must cost far less than the broker, or it measures
//! itself. Requests are stamped from templates and answers scanned, not decoded (`gantry_client`'s
//! `burst`); each connection moves whole bursts; nothing is shared between connections but two
//! counters per turn; a second thread takes the measurements.
//!
//! | where | what |
//! |---|---|
//! | `args` | the command line |
//! | `target` | brokers, topics and queues: found, and created where missing |
//! | `send`, `pull`, `latency` | the modes: what is asked, and what an answer is worth |
//! | `transactions` | half messages and their ends |
//! | `hold` | pulls that wait, and what wakes them |
//! | `timers` | timed messages, and how late they come |
//! | `end_to_end` | the loop of a producer and a waiting consumer |
//! | `message` | what messages look like |
//! | `load` | one connection under load: window, intended times, answers |
//! | `schedule`, `ticker` | the open loop: when each request is meant to leave |
//! | `connections`, `coordinator`, `run` | threads, phases, shares of the load |
//! | `process`, `stats`, `report`, `progress` | figures, and how they are shown |
//! | `floor` | a server that does the least for a send, as a yardstick |
//!
//! Failures under load (refusals, lost connections) are results and stand in the report; an error
//! ends a run only before it has begun, or when it cannot be measured.

mod args;
mod connections;
mod coordinator;
mod end_to_end;
mod error;
mod floor;
mod hold;
mod latency;
mod load;
mod message;
mod process;
mod progress;
mod pull;
mod report;
mod run;
mod schedule;
mod send;
mod stats;
mod target;
mod ticker;
mod timers;
mod transactions;

use std::{fmt::Display, process::ExitCode};

use serde::Serialize;

pub use crate::args::{
    Args, FloorArgs, Header, HoldArgs, LatencyArgs, LoadArgs, Mode, PullArgs, SendArgs, ShapeArgs,
    TargetArgs, TimersArgs, TransactionArgs,
};
use crate::error::BenchError;

/// Runs one benchmark and prints its report. Success means that there is a result: messages went
/// through and no connection was lost. Refusals are part of a result.
pub fn run(args: Args) -> ExitCode {
    let outcome = match &args.mode {
        Mode::Send(args) => {
            send::run(args).map(|report| show(&report, args.load.json, report.is_sound()))
        }
        Mode::Pull(args) => {
            pull::run(args).map(|report| show(&report, args.load.json, report.is_sound()))
        }
        Mode::Latency(args) => {
            latency::run(args).map(|report| show(&report, args.load.json, report.is_sound()))
        }
        Mode::Transactions(args) => {
            transactions::run(args).map(|report| show(&report, args.load.json, report.is_sound()))
        }
        Mode::Hold(args) => hold::run(args),
        Mode::Timers(args) => timers::run(args),
        Mode::Floor(args) => floor::run(args).map(|()| ExitCode::SUCCESS),
    };
    outcome.unwrap_or_else(|error: BenchError| {
        eprintln!("gantry bench: {error}");
        ExitCode::FAILURE
    })
}

/// Prints a report as it is asked for; the exit code says whether it is sound.
fn show<T: Serialize + Display>(report: &T, as_json: bool, is_sound: bool) -> ExitCode {
    if as_json {
        println!("{}", serde_json::to_string(report).unwrap_or_default());
    } else {
        println!("{report}");
    }
    if is_sound { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}
