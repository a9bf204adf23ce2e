//! `dlq`: the dead letters of a group: messages that it could not consume however often it tried.
//!
//! A broker keeps them in the topic `%DLQ%GROUP`, where nobody reads them. These commands list them,
//! send them again to where they came from, and have them forgotten.
//!
//! | file | command |
//! |---|---|
//! | `list` | `dlq list`: which there are |
//! | `replay` | `dlq replay`: sends them again |
//! | `purge` | `dlq purge`: none of them is delivered any more |
//! | `filter`, `letters`, `rate` | which letters are meant; reading them; how fast they are sent |

pub mod filter;
mod letters;
mod list;
mod purge;
mod rate;
mod replay;

use clap::Subcommand;

use crate::{cluster::Cluster, error::AdminError, report::Report};

/// What the command takes.
#[derive(Clone, Debug, clap::Args)]
pub struct DlqArgs {
    #[command(subcommand)]
    command: DlqCommand,
}

#[derive(Clone, Debug, Subcommand)]
enum DlqCommand {
    /// Which dead letters a group has
    List(list::ListArgs),
    /// Send dead letters again to the topic that they came from
    Replay(replay::ReplayArgs),
    /// Have dead letters forgotten: they are listed and delivered no more
    Purge(purge::PurgeArgs),
}

/// Does what the command says.
///
/// # Errors
/// Whatever the command met.
pub async fn run(cluster: &Cluster, args: &DlqArgs) -> Result<Report, AdminError> {
    match &args.command {
        DlqCommand::List(args) => list::run(cluster, args).await,
        DlqCommand::Replay(args) => replay::run(cluster, args).await,
        DlqCommand::Purge(args) => purge::run(cluster, args).await,
    }
}

/// The topic of a group's dead letters.
fn topic_of(group: &str) -> String {
    format!("%DLQ%{group}")
}
