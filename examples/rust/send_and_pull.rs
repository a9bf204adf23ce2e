//! Sends a message and reads it back from the place where it was stored.
//!
//! `cargo run -p gantry-client --example send_and_pull [NAME_SERVER]`

use gantry_client::{Client, ClientConfig, Message, PullRequest};

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let namesrv = std::env::args().nth(1).unwrap_or_else(|| "127.0.0.1:9876".into());
    let client = Client::new(ClientConfig::with_namesrv(&namesrv));

    let message = Message::new("orders", "hello").with_tag("paid").with_keys("order-1");
    let receipt = client.producer("my-producers").send(&message).await?;
    println!("stored in queue {} at {}", receipt.queue.queue_id, receipt.queue_offset);

    let pull = PullRequest::new(receipt.queue, receipt.queue_offset);
    for message in client.pull_consumer("my-readers").pull(&pull).await?.messages {
        println!("{}: {}", message.tag().unwrap_or("-"), String::from_utf8_lossy(&message.body));
    }
    Ok(())
}
