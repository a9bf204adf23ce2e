//! Sends an order that consumers see only if it was paid for: the broker asks for what it is not told.
//!
//! `cargo run -p gantry-client --example transactions [NAME_SERVER]`

use gantry_client::{ClientConfig, Message, MessageExt, TransactionEnd, TransactionProducer};

/// Stands for a look into the application's database.
async fn look_up(order: MessageExt) -> TransactionEnd {
    println!("the broker asks for {}", String::from_utf8_lossy(&order.body));
    TransactionEnd::Commit
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let namesrv = std::env::args().nth(1).unwrap_or_else(|| "127.0.0.1:9876".into());
    let config = ClientConfig::with_namesrv(&namesrv);
    let producer = TransactionProducer::start(config, "payers", look_up);

    let pay = async |_| TransactionEnd::Commit;
    let (receipt, end) = producer.send(Message::new("orders", "order 1"), pay).await?;
    println!("order 1: {end:?}, half message {}", receipt.unique_key);

    let is_slow = async |_| TransactionEnd::Unknown;
    let (_, end) = producer.send(Message::new("orders", "order 2"), is_slow).await?;
    println!("order 2: {end:?}, the broker asks in some seconds");
    tokio::time::sleep(std::time::Duration::from_secs(8)).await;
    producer.stop().await?;
    Ok(())
}
