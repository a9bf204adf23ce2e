//! The command line of `gantry admin`: the commands, and the flags that all of them have.

use std::env;

use clap::Subcommand;

use crate::commands::{
    clone_group_offset, consumer_connection, consumer_progress, consumer_status, delete_sub_group,
    diagnose, dlq, query_msg_trace_by_id, reset_offset_by_time, skip_accumulated_message,
    transactions, update_sub_group,
};

/// Where a name server is if nobody says.
const DEFAULT_NAMESRV: &str = "127.0.0.1:9876";

/// Ask a cluster, or have it do something.
#[derive(Clone, Debug, clap::Args)]
pub struct Args {
    /// Name servers [default: $NAMESRV_ADDR, or 127.0.0.1:9876]
    #[arg(short = 'n', long = "namesrvAddr", value_name = "ADDR[;ADDR]…", global = true)]
    namesrv: Option<String>,
    /// Print one JSON value instead of tables
    #[arg(long, global = true)]
    pub json: bool,
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

impl Args {
    /// The name servers to ask.
    pub fn namesrv(&self) -> String {
        let given = self.namesrv.clone().or_else(|| env::var("NAMESRV_ADDR").ok());
        given.unwrap_or_else(|| DEFAULT_NAMESRV.to_owned())
    }
}

/// What to do; each has a file of its own in `commands`.
#[derive(Clone, Debug, Subcommand)]
#[command(rename_all = "camelCase")]
pub enum Command {
    /// How far groups have come: exact lag by queue, with the share that matches the filter
    ConsumerProgress(consumer_progress::ConsumerProgressArgs),
    /// Who consumes in a group, and what each subscribes
    ConsumerConnection(consumer_connection::ConsumerConnectionArgs),
    /// The offsets that the clients of a group have in memory
    ConsumerStatus(consumer_status::ConsumerStatusArgs),
    /// Give one group the offsets of another
    CloneGroupOffset(clone_group_offset::CloneGroupOffsetArgs),
    /// Send a group to a time or an offset
    ResetOffsetByTime(reset_offset_by_time::ResetOffsetByTimeArgs),
    /// Send a group to the end of a topic
    SkipAccumulatedMessage(skip_accumulated_message::SkipAccumulatedMessageArgs),
    /// Make a group, or change it
    UpdateSubGroup(update_sub_group::UpdateSubGroupArgs),
    /// Take a group out
    DeleteSubGroup(delete_sub_group::DeleteSubGroupArgs),
    /// Who sent a message and who consumed it, as clients with tracing have told
    QueryMsgTraceById(query_msg_trace_by_id::QueryMsgTraceByIdArgs),
    /// Dead letters: list, replay, purge
    Dlq(dlq::DlqArgs),
    /// Transactions that are open or were given up: list, resume
    Transactions(transactions::TransactionsArgs),
    /// What is wrong with the consumption, of all groups or of one
    Diagnose(diagnose::DiagnoseArgs),
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

    #[test]
    fn the_definition_is_sound() {
        use clap::CommandFactory;
        Line::command().debug_assert();
    }

    #[test]
    fn flags_may_stand_before_and_after_the_command() {
        for line in ["admin -n a:1 --json diagnose", "admin diagnose -n a:1 --json"] {
            let args = Line::try_parse_from(line.split(' ')).unwrap().args;
            assert!(args.json && args.namesrv() == "a:1", "{line}");
        }
    }

    #[test]
    fn commands_are_called_as_mqadmin_calls_them() {
        for line in [
            "admin consumerProgress -g g -s",
            "admin consumerConnection -g g",
            "admin consumerStatus -g g -t t -i client",
            "admin cloneGroupOffset -s a -d b -t t -o true",
            "admin resetOffsetByTime -g g -t t -s now -f true",
            "admin skipAccumulatedMessage -g g -t t -f true",
            "admin deleteSubGroup -g g -c cluster -r true",
            "admin updateSubGroup -g g -b a:1 -s true -m false -d true -q 1 -r 16 -a true",
            "admin queryMsgTraceById -i id -t topic -b 1676730526212 -e 1676730526213 -c 10",
            "admin dlq list -g g --topic t --key k --since -1h --contains x",
            "admin dlq replay -g g --rate 50/s --to t --dry-run",
            "admin dlq purge -g g --before now --yes",
            "admin transactions list -g g -t t --given-up",
            "admin transactions resume 0A00000100002A9F0000000000000001",
            "admin transactions resume -g g",
        ] {
            let parsed = Line::try_parse_from(line.split(' '));
            assert!(parsed.is_ok(), "{line}: {}", parsed.unwrap_err());
        }
    }
}
