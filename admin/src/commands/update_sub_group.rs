//! `updateSubGroup`: makes a group, or changes it. What is not said stays as it is, or has the default
//! of a new group; `mqadmin` would set it back to that.

use gantry_codec::body::SubscriptionGroupConfig;

use crate::{
    cluster::{Cluster, Where},
    error::AdminError,
    report::Report,
};

/// What the command takes.
#[derive(Clone, Debug, clap::Args)]
pub struct UpdateSubGroupArgs {
    /// The group
    #[arg(short = 'g', long = "groupName", value_name = "GROUP")]
    group: String,
    /// Whether it may consume
    #[arg(short = 's', long = "consumeEnable", value_name = "BOOL")]
    consume: Option<bool>,
    /// Whether it may start at the first message
    #[arg(short = 'm', long = "consumeFromMinEnable", value_name = "BOOL")]
    from_min: Option<bool>,
    /// Whether it may broadcast
    #[arg(short = 'd', long = "consumeBroadcastEnable", value_name = "BOOL")]
    broadcast: Option<bool>,
    /// Queues of its retry topic
    #[arg(short = 'q', long = "retryQueueNums", value_name = "NUMBER")]
    retry_queues: Option<i32>,
    /// Tries of a message before it is a dead letter
    #[arg(short = 'r', long = "retryMaxTimes", value_name = "NUMBER")]
    retries: Option<i32>,
    /// The broker to read from, by id
    #[arg(short = 'i', long = "brokerId", value_name = "ID")]
    broker_id: Option<i64>,
    /// The broker to read from when the group lags, by id
    #[arg(short = 'w', long = "whichBrokerWhenConsumeSlowly", value_name = "ID")]
    slow_broker: Option<i64>,
    /// Whether members are told of each other
    #[arg(short = 'a', long = "notifyConsumerIdsChanged", value_name = "BOOL")]
    notify: Option<bool>,
    /// Which brokers
    #[command(flatten)]
    which: Where,
}

/// Tells every broker.
///
/// # Errors
/// A broker refuses or does not answer; the brokers before it have done it.
pub async fn run(cluster: &Cluster, args: &UpdateSubGroupArgs) -> Result<Report, AdminError> {
    let mut last = SubscriptionGroupConfig::default();
    let mut brokers = Vec::new();
    for master in cluster.masters(&args.which).await? {
        let known = cluster.admin.group_config(&master.address, &args.group).await?;
        last = changed(known.unwrap_or_default(), args);
        cluster.admin.put_group(&master.address, &last).await?;
        brokers.push(master.name);
    }
    let line = format!("group {} is configured on {}", args.group, brokers.join(", "));
    Ok(Report::new(&last).line(line))
}

fn changed(
    mut config: SubscriptionGroupConfig,
    args: &UpdateSubGroupArgs,
) -> SubscriptionGroupConfig {
    fn put<T: Copy>(field: &mut T, value: Option<T>) {
        *field = value.unwrap_or(*field);
    }
    config.group_name.clone_from(&args.group);
    put(&mut config.consume_enable, args.consume);
    put(&mut config.consume_from_min_enable, args.from_min);
    put(&mut config.consume_broadcast_enable, args.broadcast);
    put(&mut config.retry_queue_nums, args.retry_queues);
    put(&mut config.retry_max_times, args.retries);
    put(&mut config.broker_id, args.broker_id);
    put(&mut config.which_broker_when_consume_slowly, args.slow_broker);
    put(&mut config.notify_consumer_ids_changed_enable, args.notify);
    config
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    #[derive(Parser)]
    struct Line {
        #[command(flatten)]
        args: UpdateSubGroupArgs,
    }

    #[test]
    fn what_is_not_said_stays() {
        let line = "x -g g -s false -r 3";
        let args = Line::try_parse_from(line.split(' ')).unwrap().args;
        let known = SubscriptionGroupConfig { retry_queue_nums: 5, ..Default::default() };
        let config = changed(known.clone(), &args);
        let expected = SubscriptionGroupConfig {
            group_name: "g".into(),
            consume_enable: false,
            retry_max_times: 3,
            ..known
        };
        assert_eq!(config, expected);
    }
}
