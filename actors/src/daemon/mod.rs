//! The process around the actors: command line, configuration, log, signals, exit codes.
//!
//! | file | what it holds |
//! |---|---|
//! | `cli` | the command line |
//! | `run` | a daemon's life: configuration, start, ready lines, orderly end |
//! | `failure` | why a daemon ended otherwise, and its exit code |
//! | `services` | broker and name server with real files, clocks and sockets |
//! | `signals` | SIGTERM and SIGINT |
//! | `store_command` | `gantry store`: looking into a store off line |
//! | `logging`, `log_levels`, `log_lines` | the program's log |
//!
//! Standard output belongs to the ready lines (and to `-p`, `--help`), the log to standard error; a
//! failure is one line on standard error. Nothing in here is on a message's way, and no actor knows
//! of anything in here.

mod cli;
mod failure;
mod log_levels;
mod log_lines;
mod logging;
mod run;
mod services;
mod signals;
mod store_command;

use std::{
    ffi::OsString,
    io::{self, Write},
    process::ExitCode,
};

use cli::{Command, Instead};
use failure::Failure;

/// Does what a command line says, program name first.
pub fn main(words: impl IntoIterator<Item = OsString>) -> ExitCode {
    let command = match cli::parse(words) {
        Ok(command) => command,
        Err(Instead::Text(text)) => return print(&text),
        Err(Instead::BadUsage(why)) => return fail(&Failure::Usage(why)),
    };
    match command {
        Command::Standalone(args) => finish(run::standalone(&args)),
        Command::Namesrv(args) => finish(run::namesrv(&args)),
        Command::Broker(args) => finish(run::broker(&args)),
        Command::Admin(args) => gantry_admin::run(&args),
        Command::Bench(args) => gantry_bench::run(args),
        Command::Store(args) => store_command::run(args),
    }
}

fn finish(end: Result<(), Failure>) -> ExitCode {
    match end {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => fail(&failure),
    }
}

fn fail(failure: &Failure) -> ExitCode {
    complain(&failure.to_string());
    failure.exit_code()
}

/// One line on standard error.
fn complain(why: &str) {
    // Nobody is left to be told that standard error is gone.
    let _ = writeln!(io::stderr(), "gantry: {}", why.replace(['\n', '\r'], " "));
}

/// Text on standard output; a reader that has gone away has read enough.
fn print(text: &str) -> ExitCode {
    let _ = io::stdout().write_all(text.as_bytes());
    ExitCode::SUCCESS
}
