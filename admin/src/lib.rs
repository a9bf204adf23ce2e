//! `gantry admin`: what operators ask of a cluster and have it do, from the command line.
//!
//! Commands and flags are those of `mqadmin` where that has them, with some of our own; they work with
//! every broker of the protocol, and say so where one lacks what they need.
//!
//! | where | what |
//! |---|---|
//! | `args` | the command line: the commands, one line each, and the flags that all have |
//! | `commands` | one file per command: its flags, what it asks, what it answers |
//! | `cluster` | which brokers there are, and a client of them |
//! | `report` | an answer, as tables for people or as JSON for programs |
//! | `time` | times and spans as operators write them |
//! | `unpack` | bodies that their producers have compressed |
//! | `error` | why a command failed |
//!
//! A command is an `Args` struct and a function from it and a `cluster::Cluster` to a
//! `report::Report`; to add one, write its file and its line in `args`. Results go to standard
//! output, a failure is one line on standard error that names what was wrong.
//!
//! Exit codes: 0 done, 1 failed or (of `diagnose`) something was found, 2 bad usage.

mod args;
mod cluster;
mod commands;
mod error;
mod report;
mod time;
mod unpack;

use std::{
    io::{self, Write},
    process::ExitCode,
};

pub use args::Args;

use cluster::Cluster;
use error::AdminError;
use report::Report;

/// Runs one command and prints its answer.
#[must_use]
pub fn run(args: &Args) -> ExitCode {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let answer = match runtime {
        Ok(runtime) => runtime.block_on(answer(args)),
        Err(e) => Err(AdminError::Runtime(e)),
    };
    match answer {
        Ok(report) => print(&report, args.json),
        Err(error) => {
            eprintln!("gantry admin: {}", error.to_string().replace(['\n', '\r'], " "));
            error.exit_code()
        }
    }
}

async fn answer(args: &Args) -> Result<Report, AdminError> {
    let cluster = Cluster::at(&args.namesrv())?;
    commands::run(&cluster, &args.command).await
}

fn print(report: &Report, as_json: bool) -> ExitCode {
    let text = if as_json { report.json_text() } else { report.text() };
    match io::stdout().write_all(text.as_bytes()) {
        // A reader that has gone away has read enough.
        Err(e) if e.kind() != io::ErrorKind::BrokenPipe => {
            eprintln!("gantry admin: cannot write the result: {e}");
            ExitCode::FAILURE
        }
        _ => ExitCode::from(u8::from(report.found_trouble)),
    }
}
