//! The command line of `gantry`, and how it says that it was not understood.
//!
//! Flags that the Java start scripts have keep their long names (`--configFile`, `--namesrvAddr`,
//! `--printConfigItem`). What is wrong is one line on standard error, like every other failure.

use std::{ffi::OsString, path::PathBuf};

use clap::{Args, Parser, Subcommand, error::ErrorKind};
use gantry_conf::Sources;

use super::store_command::StoreArgs;

/// Message broker that takes the place of the Apache RocketMQ name server and broker.
#[derive(Debug, Parser)]
#[command(name = "gantry", version, subcommand_required = true, disable_help_subcommand = true)]
pub struct Cli {
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

/// What to do.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Run a name server and a broker in one process.
    Standalone(DaemonArgs),
    /// Run a name server.
    Namesrv(DaemonArgs),
    /// Run a broker.
    Broker(BrokerArgs),
    /// Ask a cluster, or have it do something: groups, offsets, dead letters, diagnosis.
    Admin(gantry_admin::Args),
    /// Put load on any broker of this protocol and say what it cost.
    Bench(gantry_bench::Args),
    /// Look into a store directory, of gantry or of the Java broker, while no broker runs.
    Store(StoreArgs),
}

/// What every daemon takes.
#[derive(Debug, Args)]
pub struct DaemonArgs {
    /// Directory for everything that is kept [default: $GANTRY_HOME, or ./gantry-data].
    #[arg(long, value_name = "DIR")]
    pub home: Option<PathBuf>,
    /// Configuration: TOML (*.toml) or Java properties (*.conf, *.properties).
    #[arg(short = 'c', long = "configFile", value_name = "FILE")]
    pub file: Option<PathBuf>,
    /// One configuration key, stronger than file and environment; may be given several times.
    #[arg(long, value_name = "KEY=VALUE")]
    pub set: Vec<String>,
    /// Print the configuration that would be in effect and where it comes from, and exit.
    #[arg(short = 'p', long = "printConfigItem")]
    pub print: bool,
}

/// What a broker takes.
#[derive(Debug, Args)]
pub struct BrokerArgs {
    /// What every daemon takes.
    #[command(flatten)]
    pub daemon: DaemonArgs,
    /// Name servers to register with.
    #[arg(short = 'n', long = "namesrvAddr", value_name = "ADDR[;ADDR]…")]
    pub namesrv_addr: Option<String>,
}

impl DaemonArgs {
    /// Where the configuration comes from.
    pub fn sources(&self) -> Sources {
        Sources { file: self.file.clone(), set: self.set.clone(), namesrv_addr: None }
    }
}

impl BrokerArgs {
    /// Where the configuration comes from.
    pub fn sources(&self) -> Sources {
        Sources { namesrv_addr: self.namesrv_addr.clone(), ..self.daemon.sources() }
    }
}

/// What to print instead of doing something.
#[derive(Debug, PartialEq, Eq)]
pub enum Instead {
    /// What was asked for: help or the version.
    Text(String),
    /// Why the command line was not understood, in one line.
    BadUsage(String),
}

/// Reads a command line, program name first.
pub fn parse(words: impl IntoIterator<Item = OsString>) -> Result<Command, Instead> {
    Cli::try_parse_from(words).map(|cli| cli.command).map_err(|error| match error.kind() {
        ErrorKind::DisplayHelp | ErrorKind::DisplayVersion => Instead::Text(error.to_string()),
        ErrorKind::DisplayHelpOnMissingArgumentOrSubcommand | ErrorKind::MissingSubcommand => {
            Instead::BadUsage("a command is missing".into())
        }
        _ => Instead::BadUsage(first_paragraph(&error.to_string())),
    })
}

/// clap's reason without its advice, which has lines of its own.
fn first_paragraph(text: &str) -> String {
    let lines = text.lines().take_while(|line| !line.trim().is_empty());
    let joined = lines.map(str::trim).collect::<Vec<_>>().join(" ");
    joined.strip_prefix("error: ").unwrap_or(&joined).to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(line: &str) -> Result<Command, Instead> {
        parse(line.split_whitespace().map(OsString::from))
    }

    fn complaint(line: &str) -> String {
        match read(line) {
            Err(Instead::BadUsage(why)) => why,
            other => panic!("{line}: {other:?}"),
        }
    }

    #[test]
    fn the_definition_is_sound() {
        use clap::CommandFactory;
        Cli::command().debug_assert();
    }

    #[test]
    fn a_broker_has_all_flags() {
        let line = "gantry broker --home /h -c b.conf -n a:1;b:2 --set x=1 --set y=2 -p";
        let Ok(Command::Broker(args)) = read(line) else { panic!("a valid line") };
        assert_eq!(args.daemon.home, Some("/h".into()));
        assert!(args.daemon.print);
        let sources = args.sources();
        assert_eq!(sources.file, Some("b.conf".into()));
        assert_eq!(sources.set, ["x=1", "y=2"]);
        assert_eq!(sources.namesrv_addr.as_deref(), Some("a:1;b:2"));
    }

    #[test]
    fn long_names_are_those_of_the_java_scripts() {
        let line = "gantry broker --configFile b.conf --namesrvAddr a:1 --printConfigItem";
        let Ok(Command::Broker(args)) = read(line) else { panic!("a valid line") };
        assert!(args.daemon.print && args.daemon.file.is_some() && args.namesrv_addr.is_some());
    }

    #[test]
    fn complaints_are_one_line() {
        assert_eq!(complaint("gantry"), "a command is missing");
        assert_eq!(complaint("gantry brocker"), "unrecognized subcommand 'brocker'");
        assert_eq!(complaint("gantry broker --bad"), "unexpected argument '--bad' found");
        assert_eq!(complaint("gantry namesrv -n a:1"), "unexpected argument '-n' found");
        let why = complaint("gantry broker --set");
        assert!(why.starts_with("a value is required for '--set <KEY=VALUE>'"), "{why}");
    }

    #[test]
    fn help_and_version_are_no_failures() {
        for line in ["gantry --help", "gantry standalone -h", "gantry --version"] {
            assert!(matches!(read(line), Err(Instead::Text(_))), "{line}");
        }
    }
}
