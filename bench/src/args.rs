//! The command line of `gantry bench`.
//!
//! One struct per group of options; the subcommands share groups and differ in defaults.

use std::net::SocketAddr;
use std::num::{NonZeroU32, NonZeroU64, NonZeroUsize};
use std::path::PathBuf;
use std::time::Duration;

use clap::{Args as ClapArgs, Subcommand, ValueEnum};
use gantry_codec::SerializeType;

/// Load generator for any broker of the remoting protocol.
#[derive(Debug, Clone, ClapArgs)]
pub struct Args {
    /// What to measure.
    #[command(subcommand)]
    pub mode: Mode,
}

/// What to measure.
#[derive(Debug, Clone, Subcommand)]
pub enum Mode {
    /// Send messages, as fast as answers come or at a fixed rate.
    Send(SendArgs),
    /// Pull messages that are stored already, over and over.
    Pull(PullArgs),
    /// Send one message at a time and wait for it.
    Latency(LatencyArgs),
    /// Send half messages and commit them.
    Transactions(TransactionArgs),
    /// Hold pulls that wait for messages: what they cost, and whom a message wakes.
    Hold(HoldArgs),
    /// Send timed messages and measure how late they are delivered.
    Timers(TimersArgs),
    /// Serve sends with the least work possible, as a yardstick for brokers.
    Floor(FloorArgs),
}

/// `gantry bench send`.
#[derive(Debug, Clone, ClapArgs)]
pub struct SendArgs {
    /// Where to.
    #[command(flatten)]
    pub target: TargetArgs,
    /// How much.
    #[command(flatten)]
    pub load: LoadArgs,
    /// What.
    #[command(flatten)]
    pub shape: ShapeArgs,
    /// Messages per request; more than one sends batches.
    #[arg(long, value_name = "N", default_value = "1")]
    pub batch: NonZeroU32,
    /// Connections.
    #[arg(long, value_name = "N", default_value = "4")]
    pub connections: NonZeroU32,
    /// Requests outstanding on each connection.
    #[arg(long, value_name = "N", default_value = "64")]
    pub window: NonZeroUsize,
}

/// `gantry bench pull`.
#[derive(Debug, Clone, ClapArgs)]
pub struct PullArgs {
    /// Where from.
    #[command(flatten)]
    pub target: TargetArgs,
    /// How much.
    #[command(flatten)]
    pub load: LoadArgs,
    /// Messages asked for per request.
    #[arg(long, value_name = "N", default_value = "32")]
    pub per_request: NonZeroU32,
    /// Send this many messages first, in batches, so that there is something to pull.
    #[arg(long, value_name = "MESSAGES")]
    pub fill: Option<NonZeroU64>,
    /// Bytes of the bodies that --fill sends.
    #[arg(long, value_name = "BYTES", default_value = "128")]
    pub size: usize,
    /// Connections.
    #[arg(long, value_name = "N", default_value = "4")]
    pub connections: NonZeroU32,
    /// Requests outstanding on each connection.
    #[arg(long, value_name = "N", default_value = "8")]
    pub window: NonZeroUsize,
}

/// `gantry bench latency`.
#[derive(Debug, Clone, ClapArgs)]
pub struct LatencyArgs {
    /// Where to.
    #[command(flatten)]
    pub target: TargetArgs,
    /// How much.
    #[command(flatten)]
    pub load: LoadArgs,
    /// What.
    #[command(flatten)]
    pub shape: ShapeArgs,
    /// Also measure until a long-polling consumer has the message.
    #[arg(long)]
    pub end_to_end: bool,
}

/// `gantry bench transactions`.
#[derive(Debug, Clone, ClapArgs)]
pub struct TransactionArgs {
    /// Where to.
    #[command(flatten)]
    pub target: TargetArgs,
    /// How much.
    #[command(flatten)]
    pub load: LoadArgs,
    /// What.
    #[command(flatten)]
    pub shape: ShapeArgs,
    /// Of a hundred transactions, so many are rolled back.
    #[arg(long, value_name = "PERCENT", default_value = "0", value_parser = clap::value_parser!(u8).range(0..=100))]
    pub rollback: u8,
    /// Connections.
    #[arg(long, value_name = "N", default_value = "4")]
    pub connections: NonZeroU32,
    /// Transactions under way on each connection.
    #[arg(long, value_name = "N", default_value = "64")]
    pub window: NonZeroUsize,
}

/// `gantry bench hold`.
#[derive(Debug, Clone, ClapArgs)]
pub struct HoldArgs {
    /// Where.
    #[command(flatten)]
    pub target: TargetArgs,
    /// Pulls to hold, at the queues in turn.
    #[arg(long, value_name = "N", default_value = "10000")]
    pub pulls: NonZeroUsize,
    /// Connections to hold them on.
    #[arg(long, value_name = "N", default_value = "100")]
    pub connections: NonZeroU32,
    /// Seconds that a pull asks to be held.
    #[arg(long, value_name = "SECONDS", default_value = "120", value_parser = seconds)]
    pub hold: Duration,
    /// Seconds over which the idle broker is measured, with nothing held and with all.
    #[arg(long, value_name = "SECONDS", default_value = "10", value_parser = seconds)]
    pub idle: Duration,
    /// Messages to send then, each to another queue.
    #[arg(long, value_name = "N", default_value = "20")]
    pub wake: NonZeroUsize,
    /// Process of the broker, for its CPU time and memory.
    #[arg(long, value_name = "PID")]
    pub pid: Option<u32>,
    /// Print the result as one JSON object.
    #[arg(long)]
    pub json: bool,
}

/// `gantry bench timers`.
#[derive(Debug, Clone, ClapArgs)]
pub struct TimersArgs {
    /// Where to.
    #[command(flatten)]
    pub target: TargetArgs,
    /// Messages in all.
    #[arg(long, value_name = "N", default_value = "100000")]
    pub messages: NonZeroU64,
    /// Seconds over which their times lie.
    #[arg(long, value_name = "SECONDS", default_value = "10", value_parser = seconds)]
    pub spread: Duration,
    /// Seconds from the first send to the first message's time.
    #[arg(long, value_name = "SECONDS", default_value = "10", value_parser = seconds)]
    pub after: Duration,
    /// Seconds to wait for messages after the last one's time.
    #[arg(long, value_name = "SECONDS", default_value = "60", value_parser = seconds)]
    pub patience: Duration,
    /// What.
    #[command(flatten)]
    pub shape: ShapeArgs,
    /// Connections that send; one more for each queue receives.
    #[arg(long, value_name = "N", default_value = "4")]
    pub connections: NonZeroU32,
    /// Requests outstanding on each.
    #[arg(long, value_name = "N", default_value = "64")]
    pub window: NonZeroUsize,
    /// Process of the broker, for its CPU time and memory.
    #[arg(long, value_name = "PID")]
    pub pid: Option<u32>,
    /// Print the result as one JSON object.
    #[arg(long)]
    pub json: bool,
}

/// `gantry bench floor`.
#[derive(Debug, Clone, ClapArgs)]
pub struct FloorArgs {
    /// Address to listen on; port 0 takes a free one, which the ready line tells.
    #[arg(long, value_name = "HOST:PORT", default_value = "127.0.0.1:0")]
    pub listen: SocketAddr,
    /// File that records are copied into; it is created, and removed at the end.
    #[arg(long, value_name = "FILE", default_value = "gantry-floor.log")]
    pub file: PathBuf,
    /// Bytes of that file; writing starts again at its beginning when it is full.
    #[arg(long, value_name = "BYTES", default_value = "268435456")]
    pub file_bytes: NonZeroU64,
}

/// Which brokers, topics and queues.
#[derive(Debug, Clone, ClapArgs)]
pub struct TargetArgs {
    /// Name servers, separated by semicolons; load goes to every master that has the topics.
    #[arg(long, value_name = "ADDR[;ADDR]…", required_unless_present = "broker")]
    pub namesrv: Option<String>,
    /// One broker, asked directly.
    #[arg(long, value_name = "HOST:PORT", conflicts_with = "namesrv")]
    pub broker: Option<String>,
    /// Topic; may be given several times.
    #[arg(long, value_name = "NAME")]
    pub topic: Vec<String>,
    /// Number of topics, named PREFIX-0, PREFIX-1, … .
    #[arg(long, value_name = "N", conflicts_with = "topic")]
    pub topics: Option<NonZeroU32>,
    /// Prefix of the names that --topics makes.
    #[arg(long, value_name = "PREFIX", default_value = "gantry-bench")]
    pub topic_prefix: String,
    /// Queues per topic on each broker: created with so many, and so many are used.
    #[arg(long, value_name = "N", default_value = "8")]
    pub queues: NonZeroU32,
    /// Serialization of request headers.
    #[arg(long, value_enum, default_value_t = Header::Json)]
    pub header: Header,
}

/// How long and how fast.
#[derive(Debug, Clone, ClapArgs)]
pub struct LoadArgs {
    /// Stop after so many messages (counted after the warm-up).
    #[arg(long, value_name = "N", conflicts_with = "seconds")]
    pub messages: Option<NonZeroU64>,
    /// Stop after so many seconds (counted after the warm-up).
    #[arg(long, value_name = "SECONDS", default_value = "10", value_parser = seconds)]
    pub seconds: Duration,
    /// Seconds of load before anything is counted.
    #[arg(long, value_name = "SECONDS", default_value = "2", value_parser = seconds)]
    pub warmup: Duration,
    /// Requests per second over all connections; latency then counts from the intended send time.
    #[arg(long, value_name = "PER_SECOND")]
    pub rate: Option<NonZeroU64>,
    /// Threads that generate load.
    #[arg(long, value_name = "N", default_value = "1")]
    pub threads: NonZeroUsize,
    /// Process of the broker, for its CPU time and memory.
    #[arg(long, value_name = "PID")]
    pub pid: Option<u32>,
    /// Print the result as one JSON object.
    #[arg(long)]
    pub json: bool,
}

/// What the messages look like.
#[derive(Debug, Clone, ClapArgs)]
pub struct ShapeArgs {
    /// Bytes of each message's body.
    #[arg(long, value_name = "BYTES", default_value = "128")]
    pub size: usize,
}

/// Serialization of request headers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Header {
    /// What official clients send unless told otherwise.
    Json,
    /// The compact form.
    Binary,
}

impl From<Header> for SerializeType {
    fn from(header: Header) -> Self {
        match header {
            Header::Json => SerializeType::Json,
            Header::Binary => SerializeType::RocketMq,
        }
    }
}

/// Seconds with an optional fraction.
fn seconds(text: &str) -> Result<Duration, String> {
    let seconds: f64 = text.parse().map_err(|_| format!("{text:?} is not a number"))?;
    Duration::try_from_secs_f64(seconds).map_err(|error| error.to_string())
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    #[derive(Debug, Parser)]
    struct Line {
        #[command(flatten)]
        args: Args,
    }

    fn parse(line: &str) -> Result<Mode, clap::Error> {
        let words = std::iter::once("bench").chain(line.split(' '));
        Line::try_parse_from(words).map(|line| line.args.mode)
    }

    #[test]
    fn defaults_of_send() {
        let Ok(Mode::Send(args)) = parse("send --broker 127.0.0.1:10911") else {
            panic!("a valid line")
        };
        assert_eq!((args.connections.get(), args.window.get(), args.batch.get()), (4, 64, 1));
        assert_eq!((args.shape.size, args.target.queues.get()), (128, 8));
        assert_eq!(args.load.seconds, Duration::from_secs(10));
        assert_eq!(args.target.header, Header::Json);
    }

    #[test]
    fn topics_may_repeat() {
        let Ok(Mode::Pull(args)) = parse("pull --namesrv a:1;b:2 --topic x --topic y") else {
            panic!("a valid line")
        };
        assert_eq!(args.target.topic, ["x", "y"]);
    }

    #[test]
    fn contradictions_and_nonsense_are_refused() {
        for line in [
            "send",
            "send --broker a:1 --namesrv b:2",
            "send --broker a:1 --topic x --topics 3",
            "send --broker a:1 --messages 5 --seconds 3",
            "send --broker a:1 --connections 0",
            "send --broker a:1 --rate 0",
            "send --broker a:1 --seconds -1",
            "send --broker a:1 --warmup soon",
            "pull --broker a:1 --header xml",
            "transactions --broker a:1 --rollback 101",
        ] {
            assert!(parse(line).is_err(), "{line}");
        }
    }
}
