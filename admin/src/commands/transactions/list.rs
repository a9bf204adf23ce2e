//! `transactions list`: the open ones from the brokers' memory, or those that were given up.

use gantry_codec::{
    body::{OpenTransaction, TransactionList},
    requests::transaction::ListTransactionsHeader,
};
use serde::Serialize;

use super::given_up::{GivenUp, given_up};
use crate::{
    cluster::{Cluster, Where},
    error::AdminError,
    report::{Report, or_dash},
    time::show_time,
};

/// What the command takes.
#[derive(Clone, Debug, clap::Args)]
pub struct ListArgs {
    #[command(flatten)]
    which: Where,
    /// Those of this group of producers only
    #[arg(short = 'g', long = "groupName", value_name = "GROUP")]
    group: Option<String>,
    /// Those meant for this topic only
    #[arg(short = 't', long = "topic", value_name = "TOPIC")]
    topic: Option<String>,
    /// Those that were given up, instead of those that are open
    #[arg(long)]
    given_up: bool,
    /// Transactions at most
    #[arg(long, value_name = "NUMBER", default_value_t = 1000)]
    limit: usize,
}

/// A transaction as it is listed.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Listed {
    id: String,
    unique_key: String,
    broker: String,
    group: String,
    topic: String,
    checks: u32,
    born_at: i64,
    stored_at: i64,
    #[serde(skip_serializing_if = "Option::is_none")]
    next_at: Option<i64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    waits_for_producer: Option<bool>,
}

impl Listed {
    fn open(broker: &str, open: OpenTransaction) -> Self {
        Self {
            id: open.id,
            unique_key: open.unique_key,
            broker: broker.to_owned(),
            group: open.group,
            topic: open.topic,
            checks: open.checks,
            born_at: open.born_at,
            stored_at: open.stored_at,
            next_at: open.next_at,
            waits_for_producer: Some(open.waits_for_producer),
        }
    }

    fn given_up(given_up: &GivenUp) -> Self {
        Self {
            id: given_up.id(),
            unique_key: given_up.half.unique_key().unwrap_or_default().to_owned(),
            broker: given_up.master.name.clone(),
            group: given_up.group().to_owned(),
            topic: given_up.topic().to_owned(),
            checks: given_up.checks(),
            born_at: given_up.half.born_timestamp,
            stored_at: given_up.half.store_timestamp,
            next_at: None,
            waits_for_producer: None,
        }
    }

    fn row(&self) -> Vec<String> {
        let state = match (self.waits_for_producer, self.next_at) {
            (Some(true), _) => "no producer".to_owned(),
            (_, next) => or_dash(next.map(show_time)),
        };
        vec![
            self.id.clone(),
            self.group.clone(),
            self.topic.clone(),
            self.broker.clone(),
            self.checks.to_string(),
            show_time(self.born_at),
            state,
        ]
    }
}

/// How many transactions there were, of all that were asked.
#[derive(Debug, Default)]
struct Totals {
    open: u64,
    committed: u64,
    rolled_back: u64,
    given_up: u64,
}

impl Totals {
    fn add(&mut self, list: &TransactionList) {
        self.open += list.open;
        self.committed += list.committed;
        self.rolled_back += list.rolled_back;
        self.given_up += list.given_up;
    }

    fn line(&self) -> String {
        let Self { open, committed, rolled_back, given_up } = self;
        format!(
            "{open} open; since the brokers began {committed} committed, {rolled_back} rolled back, {given_up} given up"
        )
    }
}

/// Asks the brokers.
///
/// # Errors
/// A server does not answer, or refuses; a broker that does not know its open transactions.
pub async fn run(cluster: &Cluster, args: &ListArgs) -> Result<Report, AdminError> {
    let (listed, totals) = if args.given_up {
        (list_given_up(cluster, args).await?, None)
    } else {
        let (listed, totals) = list_open(cluster, args).await?;
        (listed, Some(totals))
    };
    let report = Report::new(&listed);
    let report = if listed.is_empty() {
        report.line("no such transactions")
    } else {
        let columns = ["id", "group", "topic", "broker", "asked", "born", "asked next"];
        report.table(&columns, listed.iter().map(Listed::row).collect())
    };
    Ok(match totals {
        Some(totals) => report.line(totals.line()),
        None => report,
    })
}

async fn list_open(
    cluster: &Cluster,
    args: &ListArgs,
) -> Result<(Vec<Listed>, Totals), AdminError> {
    let (mut listed, mut totals) = (Vec::new(), Totals::default());
    for master in cluster.masters(&args.which).await? {
        let header = ListTransactionsHeader {
            group: args.group.clone(),
            topic: args.topic.clone(),
            limit: i32::try_from(args.limit - listed.len()).unwrap_or(i32::MAX),
        };
        let Some(list) = cluster.admin.transactions(&master.address, &header).await? else {
            return Err(AdminError::NotFound(format!(
                "broker {} does not know which transactions are open; --given-up lists the others",
                master.name
            )));
        };
        totals.add(&list);
        let entries = list.transactions.into_iter();
        listed.extend(entries.map(|entry| Listed::open(&master.name, entry)));
    }
    Ok((listed, totals))
}

async fn list_given_up(cluster: &Cluster, args: &ListArgs) -> Result<Vec<Listed>, AdminError> {
    let masters = cluster.masters(&args.which).await?;
    let wanted = |given_up: &GivenUp| {
        args.group.as_deref().is_none_or(|group| group == given_up.group())
            && args.topic.as_deref().is_none_or(|topic| topic == given_up.topic())
    };
    let found = given_up(cluster, &masters, args.limit, wanted).await?;
    Ok(found.iter().map(Listed::given_up).collect())
}
