//! The transactions' actor is struck down while producers end their transactions.

use std::collections::BTreeMap;

use futures_util::future::join_all;
use gantry::transaction::transactions;
use gantry_client::{
    Client, ClientConfig, Message, MessageExt, PullRequest, TransactionEnd, TransactionProducer,
};

use crate::{
    rig::{Rig, TOPIC, with_broker_of},
    traffic::eventually,
};

const SOON: [&str; 2] = ["transactionTimeOut=200", "transactionCheckInterval=200"];
const TRANSACTIONS: u64 = 400;
const PRODUCERS: u64 = 4;

/// Every third transaction is rolled back; of the others, some say so only when they are asked.
fn outcome(number: u64) -> TransactionEnd {
    if number.is_multiple_of(3) { TransactionEnd::Rollback } else { TransactionEnd::Commit }
}

fn number_of(half: &MessageExt) -> u64 {
    str::from_utf8(&half.body).unwrap().parse().unwrap()
}

async fn produce(producer: &TransactionProducer, first: u64, mut each: impl AsyncFnMut(u64)) {
    for number in (first..TRANSACTIONS).step_by(PRODUCERS as usize) {
        each(number).await;
        let local = async |_| match number % 5 {
            0 => TransactionEnd::Unknown,
            _ => outcome(number),
        };
        producer.send(Message::new(TOPIC, number.to_string()), local).await.unwrap();
    }
}

async fn seen(client: &Client) -> BTreeMap<u64, usize> {
    let (consumer, mut seen) = (client.pull_consumer("readers"), BTreeMap::new());
    for queue in client.routes().refresh(TOPIC).await.unwrap().publish.clone() {
        let (end, mut next) = (client.max_offset(&queue).await.unwrap(), 0);
        while next < end {
            let pulled = consumer.pull(&PullRequest::new(queue.clone(), next)).await.unwrap();
            next = pulled.next_begin_offset;
            for message in &pulled.messages {
                *seen.entry(number_of(message)).or_default() += 1;
            }
        }
    }
    seen
}

async fn run(rig: &Rig) {
    let config =
        || ClientConfig { namesrv: rig.client.config().namesrv.clone(), ..ClientConfig::default() };
    let checker = |half: MessageExt| async move { outcome(number_of(&half)) };
    let producers: Vec<_> =
        (0..PRODUCERS).map(|_| TransactionProducer::start(config(), "tellers", checker)).collect();
    let strike = async |number| {
        if number == TRANSACTIONS / 2 {
            rig.broker.shared.transactions.do_send(transactions::Panic);
        }
    };
    let all = producers.iter().zip(0..).map(|(producer, first)| produce(producer, first, strike));
    join_all(all).await;
    let expected: BTreeMap<u64, usize> = (0..TRANSACTIONS)
        .filter(|number| outcome(*number) == TransactionEnd::Commit)
        .map(|number| (number, 1))
        .collect();
    eventually("all that was committed", async || seen(&rig.client).await.len() == expected.len())
        .await;
    assert_eq!(seen(&rig.client).await, expected);
}

#[test]
fn transactions_are_known_again_and_none_is_ended_twice() {
    with_broker_of(&SOON, async |rig| {
        run(rig).await;
        rig.assert_restarted("transactions");
    });
}
