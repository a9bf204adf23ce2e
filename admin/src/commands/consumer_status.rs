//! `consumerStatus`: the offsets that the clients of a group have in memory, which the broker asks them
//! for; beside what is committed this shows a client that has got stuck.

use gantry_client::ClientOffsets;

use crate::{
    cluster::{Cluster, Where},
    error::AdminError,
    report::Report,
};

/// What the command takes.
#[derive(Clone, Debug, clap::Args)]
pub struct ConsumerStatusArgs {
    /// The group
    #[arg(short = 'g', long = "group", value_name = "GROUP")]
    group: String,
    /// The topic
    #[arg(short = 't', long = "topic", value_name = "TOPIC")]
    topic: String,
    /// One client only
    #[arg(short = 'i', long = "originClientId", value_name = "CLIENT")]
    client: Option<String>,
    /// Which brokers
    #[command(flatten)]
    which: Where,
}

/// Asks every broker.
///
/// # Errors
/// A broker refuses or does not answer: nobody is online.
pub async fn run(cluster: &Cluster, args: &ConsumerStatusArgs) -> Result<Report, AdminError> {
    let mut status = ClientOffsets::new();
    let client = args.client.as_deref();
    for master in cluster.masters(&args.which).await? {
        let (group, topic) = (&args.group, &args.topic);
        let of_one = cluster.admin.consumer_status(&master.address, group, topic, client).await?;
        // A client tells every broker the offsets of all its queues.
        for (client, offsets) in of_one {
            status.entry(client).or_default().0.extend(offsets.0);
        }
    }
    let rows = status.iter().flat_map(|(client, offsets)| {
        offsets.0.iter().map(|(queue, offset)| {
            let place = [queue.topic.clone(), queue.broker_name.clone()];
            let numbers = [queue.queue_id.to_string(), offset.to_string()];
            [vec![client.clone()], place.to_vec(), numbers.to_vec()].concat()
        })
    });
    let rows = rows.collect();
    Ok(Report::new(&status).table(&["client", "topic", "broker", "queue", "offset"], rows))
}
