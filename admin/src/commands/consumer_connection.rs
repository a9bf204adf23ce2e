//! `consumerConnection`: who consumes in a group, and what it subscribes.

use gantry_codec::body::ConsumerConnection;

use crate::{
    cluster::{Cluster, Where},
    error::AdminError,
    report::Report,
};

/// What the command takes.
#[derive(Clone, Debug, clap::Args)]
pub struct ConsumerConnectionArgs {
    /// The group
    #[arg(short = 'g', long = "consumerGroup", value_name = "GROUP")]
    group: String,
    /// Which brokers
    #[command(flatten)]
    which: Where,
}

/// Asks the brokers until one has members: they connect to all.
///
/// # Errors
/// A broker refuses or does not answer; nobody is online.
pub async fn run(cluster: &Cluster, args: &ConsumerConnectionArgs) -> Result<Report, AdminError> {
    for master in cluster.masters(&args.which).await? {
        let found = cluster.admin.consumer_connections(&master.address, &args.group).await?;
        if let Some(connections) = found {
            return Ok(show(&connections));
        }
    }
    Err(AdminError::NotFound(format!("no consumer of group {} is online", args.group)))
}

fn show(found: &ConsumerConnection) -> Report {
    let clients = found.connection_set.iter().map(|client| {
        let language = client.language.name().to_owned();
        let version = client.version.to_string();
        vec![client.client_id.clone(), client.client_addr.clone(), language, version]
    });
    let subscriptions = found.subscription_table.values().map(|data| {
        let kind = if data.is_sql92() { "SQL92" } else { "TAG" };
        vec![data.topic.clone(), kind.to_owned(), data.sub_string.clone()]
    });
    let (clients, subscriptions) = (clients.collect(), subscriptions.collect());
    Report::new(found)
        .table(&["client", "address", "language", "version"], clients)
        .line("")
        .table(&["topic", "type", "expression"], subscriptions)
        .line(format!(
            "\n{}, {}, new queues from {}",
            found.consume_type.name(),
            found.message_model.name(),
            found.consume_from_where.name()
        ))
}
