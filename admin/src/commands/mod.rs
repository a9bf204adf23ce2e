//! The commands, one file each: what a command takes, what it asks of whom, what it answers.

pub mod clone_group_offset;
pub mod consumer_connection;
pub mod consumer_progress;
pub mod consumer_status;
pub mod delete_sub_group;
pub mod diagnose;
pub mod dlq;
pub mod query_msg_trace_by_id;
pub mod reset_offset_by_time;
pub mod skip_accumulated_message;
pub mod transactions;
pub mod update_sub_group;

use crate::{args::Command, cluster::Cluster, error::AdminError, report::Report};

/// Does what the command says.
///
/// # Errors
/// Whatever the command met.
pub async fn run(cluster: &Cluster, command: &Command) -> Result<Report, AdminError> {
    match command {
        Command::ConsumerProgress(args) => consumer_progress::run(cluster, args).await,
        Command::ConsumerConnection(args) => consumer_connection::run(cluster, args).await,
        Command::ConsumerStatus(args) => consumer_status::run(cluster, args).await,
        Command::CloneGroupOffset(args) => clone_group_offset::run(cluster, args).await,
        Command::ResetOffsetByTime(args) => reset_offset_by_time::run(cluster, args).await,
        Command::SkipAccumulatedMessage(args) => skip_accumulated_message::run(cluster, args).await,
        Command::UpdateSubGroup(args) => update_sub_group::run(cluster, args).await,
        Command::DeleteSubGroup(args) => delete_sub_group::run(cluster, args).await,
        Command::QueryMsgTraceById(args) => query_msg_trace_by_id::run(cluster, args).await,
        Command::Dlq(args) => dlq::run(cluster, args).await,
        Command::Transactions(args) => transactions::run(cluster, args).await,
        Command::Diagnose(args) => diagnose::run(cluster, args).await,
    }
}
