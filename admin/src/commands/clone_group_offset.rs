//! `cloneGroupOffset`: one group goes on where another is.

use gantry_codec::requests::offset::CloneGroupOffsetHeader;
use serde_json::json;

use crate::{
    cluster::{Cluster, Where},
    error::AdminError,
    report::Report,
};

/// What the command takes.
#[derive(Clone, Debug, clap::Args)]
pub struct CloneGroupOffsetArgs {
    /// The group whose offsets are taken
    #[arg(short = 's', long = "srcGroup", value_name = "GROUP")]
    from: String,
    /// The group that gets them
    #[arg(short = 'd', long = "destGroup", value_name = "GROUP")]
    to: String,
    /// One topic only
    #[arg(short = 't', long = "topic", value_name = "TOPIC")]
    topic: Option<String>,
    /// Topics too that the first group does not subscribe any more
    #[arg(short = 'o', long, num_args = 0..=1, default_missing_value = "true",
        default_value_t = true, action = clap::ArgAction::Set, value_name = "BOOL")]
    offline: bool,
    /// Which brokers
    #[command(flatten)]
    which: Where,
}

/// Tells every broker.
///
/// # Errors
/// A broker refuses or does not answer; the brokers before it have done it.
pub async fn run(cluster: &Cluster, args: &CloneGroupOffsetArgs) -> Result<Report, AdminError> {
    let header = CloneGroupOffsetHeader {
        src_group: args.from.clone(),
        dest_group: args.to.clone(),
        topic: args.topic.clone(),
        offline: args.offline,
    };
    let mut brokers = Vec::new();
    for master in cluster.masters(&args.which).await? {
        cluster.admin.clone_offsets(&master.address, &header).await?;
        brokers.push(master.name);
    }
    let line =
        format!("group {} goes on where {} is, on {}", args.to, args.from, brokers.join(", "));
    Ok(Report::new(&json!({ "brokers": brokers })).line(line))
}
