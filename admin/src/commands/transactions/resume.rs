//! `transactions resume`: has producers asked for transactions once more, by id or all of a group that
//! were given up.

use gantry_codec::OffsetMessageId;
use serde::Serialize;

use super::given_up::given_up;
use crate::{
    cluster::{Cluster, Master, Where},
    error::AdminError,
    report::Report,
};

/// What the command takes.
#[derive(Clone, Debug, clap::Args)]
pub struct ResumeArgs {
    #[command(flatten)]
    which: Where,
    /// Transactions, by the ids that `list` shows
    #[arg(value_name = "ID", required_unless_present = "group", conflicts_with = "group")]
    ids: Vec<String>,
    /// All of this group of producers that were given up
    #[arg(short = 'g', long = "groupName", value_name = "GROUP")]
    group: Option<String>,
}

/// What was done.
#[derive(Debug, Serialize)]
struct Resumed {
    resumed: usize,
}

/// Asks the brokers that have the half messages.
///
/// # Errors
/// A server does not answer, or refuses: what was done before it stays done.
pub async fn run(cluster: &Cluster, args: &ResumeArgs) -> Result<Report, AdminError> {
    let masters = cluster.masters(&args.which).await?;
    let mut resumed = 0;
    for (address, id) in places(cluster, &masters, args).await? {
        cluster.admin.resume_transaction(&address, &id).await?;
        resumed += 1;
    }
    let report = Report::new(&Resumed { resumed });
    Ok(report.line(format!("producers are asked for {resumed} transactions")))
}

/// Which broker to ask for what.
async fn places(
    cluster: &Cluster,
    masters: &[Master],
    args: &ResumeArgs,
) -> Result<Vec<(String, String)>, AdminError> {
    if let Some(group) = &args.group {
        let all = given_up(cluster, masters, usize::MAX, |half| half.group() == group).await?;
        return Ok(all.iter().map(|half| (half.master.address.clone(), half.id())).collect());
    }
    args.ids.iter().map(|id| Ok((broker_of(masters, id)?, id.clone()))).collect()
}

/// The broker that an id names; the only one, if the address in it is not one that tools know it by.
fn broker_of(masters: &[Master], id: &str) -> Result<String, AdminError> {
    let place = OffsetMessageId::parse(id)
        .map_err(|e| AdminError::Usage(format!("{id:?} is no id of a transaction: {e}")))?;
    let host = place.host.to_string();
    let named = masters.iter().find(|master| master.address == host);
    let only = || masters.first().filter(|_| masters.len() == 1);
    let found = named.or_else(only).map(|master| master.address.clone());
    found.ok_or_else(|| AdminError::NotFound(format!("no broker at {host}, which {id} names")))
}

#[cfg(test)]
mod tests {
    use super::*;

    const ID: &str = "0A00000100002A9F0000000000000001";

    fn master(address: &str) -> Master {
        Master { name: address.into(), address: address.into() }
    }

    #[test]
    fn an_id_leads_to_its_broker() {
        let masters = [master("10.0.0.2:10911"), master("10.0.0.1:10911")];
        assert_eq!(broker_of(&masters, ID).unwrap(), "10.0.0.1:10911");
        assert_eq!(broker_of(&masters[..1], ID).unwrap(), "10.0.0.2:10911", "it is the only one");
        let other = [master("a:1"), master("b:1")];
        assert!(broker_of(&other, ID).unwrap_err().to_string().contains("10.0.0.1:10911"));
        assert!(matches!(broker_of(&masters, "x"), Err(AdminError::Usage(_))));
    }
}
