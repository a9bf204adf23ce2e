//! `deleteSubGroup`: takes a group out, with its offsets if that is asked for.

use serde_json::json;

use crate::{
    cluster::{Cluster, Where},
    error::AdminError,
    report::Report,
};

/// What the command takes.
#[derive(Clone, Debug, clap::Args)]
pub struct DeleteSubGroupArgs {
    /// The group
    #[arg(short = 'g', long = "groupName", value_name = "GROUP")]
    group: String,
    /// Its offsets too
    #[arg(short = 'r', long = "removeOffset", num_args = 0..=1, default_missing_value = "true",
        default_value_t = false, action = clap::ArgAction::Set, value_name = "BOOL")]
    remove_offset: bool,
    /// Which brokers
    #[command(flatten)]
    which: Where,
}

/// Tells every broker.
///
/// # Errors
/// Neither a cluster nor a broker is named, as `mqadmin` wants it; a broker refuses or does not answer.
pub async fn run(cluster: &Cluster, args: &DeleteSubGroupArgs) -> Result<Report, AdminError> {
    if args.which.cluster.is_none() && args.which.broker.is_none() {
        return Err(AdminError::Usage("-c or -b has to say where the group goes".into()));
    }
    let mut brokers = Vec::new();
    for master in cluster.masters(&args.which).await? {
        let (group, with_offsets) = (&args.group, args.remove_offset);
        cluster.admin.delete_group(&master.address, group, with_offsets).await?;
        brokers.push(master.name);
    }
    let line = format!("group {} is deleted on {}", args.group, brokers.join(", "));
    Ok(Report::new(&json!({ "brokers": brokers })).line(line))
}
