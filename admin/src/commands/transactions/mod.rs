//! `transactions`: half messages that nobody has decided on.
//!
//! A broker asks the producers of their group for them. Those that nobody could decide on, however often
//! they were asked, it gives up: it keeps them in the topic `TRANS_CHECK_MAX_TIME_TOPIC`, where nobody
//! reads them. These commands list both kinds, and have producers asked once more.
//!
//! | file | command |
//! |---|---|
//! | `list` | `transactions list`: which there are |
//! | `resume` | `transactions resume`: has producers asked |
//! | `given_up` | reading those that were given up |

mod given_up;
mod list;
mod resume;

use clap::Subcommand;

use crate::{cluster::Cluster, error::AdminError, report::Report};

/// What the command takes.
#[derive(Clone, Debug, clap::Args)]
pub struct TransactionsArgs {
    #[command(subcommand)]
    command: TransactionsCommand,
}

#[derive(Clone, Debug, Subcommand)]
enum TransactionsCommand {
    /// Which transactions are open, or were given up
    List(list::ListArgs),
    /// Have producers asked for transactions that are open or were given up
    Resume(resume::ResumeArgs),
}

/// Does what the command says.
///
/// # Errors
/// Whatever the command met.
pub async fn run(cluster: &Cluster, args: &TransactionsArgs) -> Result<Report, AdminError> {
    match &args.command {
        TransactionsCommand::List(args) => list::run(cluster, args).await,
        TransactionsCommand::Resume(args) => resume::run(cluster, args).await,
    }
}
