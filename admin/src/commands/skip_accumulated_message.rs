//! `skipAccumulatedMessage`: a group goes on at the end of a topic, and never sees what is there now.

use gantry_codec::requests::offset::ResetOffsetHeader;

use super::reset_offset_by_time::reset;
use crate::{cluster::Cluster, error::AdminError, report::Report};

/// What the command takes.
#[derive(Clone, Debug, clap::Args)]
pub struct SkipAccumulatedMessageArgs {
    /// The group
    #[arg(short = 'g', long = "group", value_name = "GROUP")]
    group: String,
    /// The topic
    #[arg(short = 't', long = "topic", value_name = "TOPIC")]
    topic: String,
    /// As `mqadmin` has it; without it nothing would move
    #[arg(short = 'f', long = "force", num_args = 0..=1, default_missing_value = "true",
        default_value_t = true, action = clap::ArgAction::Set, value_name = "BOOL")]
    force: bool,
}

/// Tells every broker that has the topic.
///
/// # Errors
/// A broker refuses or does not answer.
pub async fn run(
    cluster: &Cluster,
    args: &SkipAccumulatedMessageArgs,
) -> Result<Report, AdminError> {
    let header = ResetOffsetHeader {
        topic: args.topic.clone(),
        group: args.group.clone(),
        timestamp: -1,
        is_force: args.force,
        queue_id: None,
        offset: None,
    };
    reset(cluster, &header, None).await
}
