//! The command line of `gantry store`.

use std::path::PathBuf;

use clap::{Args, Subcommand, ValueEnum, value_parser};

/// Look into a store directory, of gantry or of the Java broker, while no broker runs.
#[derive(Debug, Args)]
pub struct StoreArgs {
    /// What to do.
    #[command(subcommand)]
    pub(super) command: StoreCommand,
}

/// What to do.
#[derive(Debug, Subcommand)]
pub(super) enum StoreCommand {
    /// Check every file of a store; exit code 1 if there are faults.
    Verify(VerifyArgs),
    /// Print what is in a store.
    #[command(subcommand)]
    Dump(DumpCommand),
}

/// Which store.
#[derive(Debug, Args)]
pub(super) struct Place {
    /// The store's directory (storePathRootDir).
    #[arg(value_name = "DIR")]
    pub(super) dir: PathBuf,
    /// Directories of the log, if it lies elsewhere than in DIR/commitlog; those that are only read too.
    #[arg(long, value_name = "DIR[,DIR]…", value_delimiter = ',')]
    pub(super) commitlog: Vec<PathBuf>,
    /// Hash slots of an index file (maxHashSlotNum), if not a quarter of its entries.
    #[arg(long, value_name = "N", value_parser = value_parser!(u32).range(1..))]
    pub(super) index_slots: Option<u32>,
}

/// How closely queues are looked at behind their ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(super) enum CheckQueues {
    /// As far as a start looks.
    Ends,
    /// Up to the last byte of every file.
    All,
}

/// `gantry store verify`.
#[derive(Debug, Args)]
pub(super) struct VerifyArgs {
    #[command(flatten)]
    pub(super) place: Place,
    /// One JSON object per line.
    #[arg(long)]
    pub(super) json: bool,
    /// Say what can be mended, ask, and mend it.
    #[arg(long)]
    pub(super) repair: bool,
    /// Do not ask.
    #[arg(long, requires = "repair")]
    pub(super) yes: bool,
    /// How far queues are looked at behind their ends.
    #[arg(long, value_name = "HOW", value_enum, default_value = "ends")]
    pub(super) check_queues: CheckQueues,
    /// Findings of one kind in one file that are told one by one; 0 tells all.
    #[arg(long, value_name = "N", default_value_t = 20)]
    pub(super) max_findings: u64,
}

/// What a body is printed as.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(super) enum BodyForm {
    /// Its beginning as text.
    Text,
    /// All of it, in hexadecimal.
    Hex,
    /// Its length only.
    None,
}

/// `gantry store dump`.
#[derive(Debug, Subcommand)]
pub(super) enum DumpCommand {
    /// Records of the log.
    Log(LogArgs),
    /// Queues, or the entries of some.
    Queue(QueueArgs),
    /// The key index, or what it has for a key.
    Index(IndexArgs),
    /// The checkpoint.
    Checkpoint(PlainArgs),
    /// The metadata as standard JSON.
    Config(PlainArgs),
}

/// Which of many to print.
#[derive(Debug, Args)]
pub(super) struct Selection {
    /// Those of this topic.
    #[arg(long, short, value_name = "TOPIC")]
    pub(super) topic: Option<String>,
    /// Those of this queue.
    #[arg(long, short, value_name = "N")]
    pub(super) queue: Option<u32>,
    /// From this offset on: in the log, or in the queue for `dump queue`.
    #[arg(long, value_name = "OFFSET", default_value_t = 0)]
    pub(super) from: u64,
    /// Before this offset.
    #[arg(long, value_name = "OFFSET")]
    pub(super) to: Option<u64>,
    /// So many at most.
    #[arg(long, short = 'n', value_name = "N")]
    pub(super) limit: Option<u64>,
    /// One JSON object per line.
    #[arg(long)]
    pub(super) json: bool,
}

/// `gantry store dump log`.
#[derive(Debug, Args)]
pub(super) struct LogArgs {
    #[command(flatten)]
    pub(super) place: Place,
    #[command(flatten)]
    pub(super) selection: Selection,
    /// Those with this key or unique key.
    #[arg(long, short, value_name = "KEY")]
    pub(super) key: Option<String>,
    /// How bodies are printed.
    #[arg(long, value_name = "FORM", value_enum, default_value = "text")]
    pub(super) body: BodyForm,
}

/// `gantry store dump queue`.
#[derive(Debug, Args)]
pub(super) struct QueueArgs {
    #[command(flatten)]
    pub(super) place: Place,
    #[command(flatten)]
    pub(super) selection: Selection,
}

/// `gantry store dump index`.
#[derive(Debug, Args)]
pub(super) struct IndexArgs {
    #[command(flatten)]
    pub(super) place: Place,
    #[command(flatten)]
    pub(super) selection: Selection,
    /// Look this key up; needs the topic.
    #[arg(long, short, value_name = "KEY", requires = "topic")]
    pub(super) key: Option<String>,
}

/// `gantry store dump checkpoint|config`.
#[derive(Debug, Args)]
pub(super) struct PlainArgs {
    #[command(flatten)]
    pub(super) place: Place,
    /// One JSON object per line.
    #[arg(long)]
    pub(super) json: bool,
}
