//! The load generator as a program of its own, for machines without a broker.

use std::process::ExitCode;

use clap::Parser;

/// Load generator for any broker of the remoting protocol.
#[derive(Debug, Parser)]
#[command(name = "gantry-bench", version)]
struct Line {
    #[command(flatten)]
    args: gantry_bench::Args,
}

fn main() -> ExitCode {
    gantry_bench::run(Line::parse().args)
}
