//! Follows a topic: the broker holds each pull until there is something for it, and keeps the
//! group's progress, so that the next run goes on where this one ended.
//!
//! `cargo run -p gantry-client --example long_polling [NAME_SERVER [TOPIC]]`, until Ctrl-C

use std::time::Duration;

use futures_util::future::try_join_all;
use gantry_client::{Client, ClientConfig, MessageQueue, PullRequest, QueueError};

const GROUP: &str = "my-followers";

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut args = std::env::args().skip(1);
    let namesrv = args.next().unwrap_or_else(|| "127.0.0.1:9876".into());
    let topic = args.next().unwrap_or_else(|| "orders".into());

    let client = Client::new(ClientConfig::with_namesrv(&namesrv));
    let queues = client.pull_consumer(GROUP).queues(&topic).await?;
    println!("following {} queues of {topic}", queues.len());
    try_join_all(queues.into_iter().map(|queue| follow(&client, queue))).await?;
    Ok(())
}

async fn follow(client: &Client, queue: MessageQueue) -> Result<(), QueueError> {
    let consumer = client.pull_consumer(GROUP);
    let mut offset = client.consumer_offset(GROUP, &queue).await?.unwrap_or(0);
    loop {
        let mut pull = PullRequest::new(queue.clone(), offset).held(Duration::from_secs(15));
        pull.commit = Some(offset);
        let pulled = consumer.pull(&pull).await?;
        for message in &pulled.messages {
            let text = String::from_utf8_lossy(&message.body);
            println!("queue {} at {}: {text}", message.queue_id, message.queue_offset);
        }
        offset = pulled.next_begin_offset;
    }
}
