//! Sending, against brokers in memory: queues in turn, what is tried again, what the wire shows.

mod common;

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;

use bytes::BytesMut;
use common::{Network, name_server, refusal, route, stored, success};
use gantry_client::{CallError, Message, RequestError, SendError, SendStatus, TransactionEnd};
use gantry_codec::batch::BatchMessages;
use gantry_codec::{SendHeader, properties, request_code, response_code};

const SEND: i32 = request_code::SEND_MESSAGE_V2;

/// Brokers a and b with two queues of topic T each; both store everything.
fn cluster() -> Arc<Network> {
    let network = Network::new();
    let topic = route(&[("a", &[(0, "a:1")], 2), ("b", &[(0, "b:1")], 2)]);
    network.serve("ns:1", name_server(vec![("T", topic)]));
    for address in ["a:1", "b:1"] {
        let next = AtomicI64::new(0);
        network.serve(address, move |request| {
            Some(stored(request, next.fetch_add(1, Ordering::Relaxed)))
        });
    }
    network
}

fn refusing(network: &Network, address: &str, code: i32) {
    network.serve(address, move |request| Some(refusal(code, request)));
}

#[tokio::test(start_paused = true)]
async fn queues_are_taken_in_turn() {
    let network = cluster();
    let producer = network.client().producer("G");
    let mut queues = Vec::new();
    for _ in 0..5 {
        let receipt = producer.send(&Message::new("T", "x")).await.expect("stored");
        assert_eq!(receipt.status, SendStatus::Stored);
        queues.push((receipt.queue.broker_name, receipt.queue.queue_id));
    }
    assert_eq!(queues[0], queues[4]);
    queues.truncate(4);
    queues.sort();
    let expected = [("a", 0), ("a", 1), ("b", 0), ("b", 1)];
    assert_eq!(queues, expected.map(|(name, id)| (name.to_owned(), id)));
}

#[tokio::test(start_paused = true)]
async fn the_request_is_what_brokers_expect() {
    let network = cluster();
    let producer = network.client().producer("G");
    let mut message = Message::new("T", "body").with_tag("a").with_keys("k");
    message.flag = 9;
    let receipt = producer.send(&message).await.expect("stored");
    let (_, request) = &network.requests(SEND)[0];
    let header = SendHeader::decode(request).expect("a send header");
    assert_eq!((header.producer_group, header.topic, header.flag), ("G", "T", 9));
    assert_eq!((header.default_topic, header.default_topic_queue_nums), ("TBW102", 4));
    assert_eq!(header.born_timestamp, 1_700_000_000_000);
    let pairs: Vec<_> = properties::iter(header.properties).collect();
    assert_eq!(pairs, [("UNIQ_KEY", receipt.unique_key.as_str()), ("TAGS", "a"), ("KEYS", "k")]);
    assert_eq!(receipt.unique_key.len(), 32);
    assert_eq!(request.body, "body");
}

#[tokio::test(start_paused = true)]
async fn a_busy_broker_makes_way_for_another_one() {
    for code in [response_code::SYSTEM_BUSY, response_code::SERVICE_NOT_AVAILABLE] {
        let network = cluster();
        refusing(&network, "a:1", code);
        let producer = network.client().producer("G");
        for _ in 0..4 {
            let receipt = producer.send(&Message::new("T", "x")).await.expect("b takes it");
            assert_eq!(receipt.queue.broker_name, "b");
        }
        let sent = network.requests(SEND);
        assert!(sent.iter().any(|(address, _)| address == "a:1"), "a was tried");
    }
}

#[tokio::test(start_paused = true)]
async fn every_try_has_the_same_unique_key() {
    let network = cluster();
    for address in ["a:1", "b:1"] {
        refusing(&network, address, response_code::SYSTEM_ERROR);
    }
    let producer = network.client().producer("G");
    let error = producer.send(&Message::new("T", "x")).await.expect_err("all refuse");
    let SendError::Call(CallError::Refused { code, remark, .. }) = error else {
        panic!("not refused: {error}")
    };
    assert_eq!((code, remark.as_str()), (response_code::SYSTEM_ERROR, "not today"));
    let sent = network.requests(SEND);
    assert_eq!(sent.len(), 3, "three tries");
    assert_ne!(sent[0].0, sent[1].0, "another broker each time");
    let properties = |at: usize| SendHeader::decode(&sent[at].1).expect("a header").properties;
    assert_eq!(properties(0), properties(1));
    assert_eq!(properties(0), properties(2));
}

#[tokio::test(start_paused = true)]
async fn what_no_broker_would_take_is_not_tried_again() {
    let network = cluster();
    for address in ["a:1", "b:1"] {
        refusing(&network, address, response_code::MESSAGE_ILLEGAL);
    }
    let producer = network.client().producer("G");
    producer.send(&Message::new("T", "x")).await.expect_err("refused");
    assert_eq!(network.requests(SEND).len(), 1);
}

#[tokio::test(start_paused = true)]
async fn an_unreachable_or_silent_broker_makes_way_too() {
    let network = cluster();
    network.remove("a:1");
    let producer = network.client().producer("G");
    for _ in 0..4 {
        producer.send(&Message::new("T", "x")).await.expect("b takes it");
    }

    let network = cluster();
    network.serve("a:1", |_| None);
    let producer = network.client().producer("G");
    let start = tokio::time::Instant::now();
    for _ in 0..4 {
        producer.send(&Message::new("T", "x")).await.expect("b takes it");
    }
    assert!(network.asked(SEND).contains(&"a:1".to_owned()), "a was tried");
    assert!(start.elapsed() >= Duration::from_secs(3), "and waited for");
}

#[tokio::test(start_paused = true)]
async fn stored_but_less_safely_is_stored() {
    let network = cluster();
    for address in ["a:1", "b:1"] {
        network.serve(address, |request| {
            let mut answer = stored(request, 5);
            answer.code = response_code::FLUSH_DISK_TIMEOUT;
            Some(answer)
        });
    }
    let receipt = network.client().producer("G").send(&Message::new("T", "x")).await;
    let receipt = receipt.expect("stored");
    assert_eq!((receipt.status, receipt.queue_offset), (SendStatus::FlushDiskTimeout, 5));
}

#[tokio::test(start_paused = true)]
async fn an_answer_that_makes_no_sense_is_named() {
    let network = cluster();
    for address in ["a:1", "b:1"] {
        network.serve(address, |request| Some(success(request).with_ext("queueId", "many")));
    }
    let error = network.client().producer("G").send(&Message::new("T", "x")).await;
    let error = error.expect_err("malformed");
    assert!(matches!(error, SendError::Call(CallError::Malformed { .. })), "{error}");
    assert!(error.to_string().contains("queueId"), "{error}");
}

#[tokio::test(start_paused = true)]
async fn pipelined_sends_leave_in_order_and_are_answered() {
    let network = cluster();
    let client = network.client();
    let producer = client.producer("G");
    let queue = client.routes().get("T").await.expect("a route").publish[0].clone();
    let mut in_flight = Vec::new();
    for number in 0..50 {
        let message = Message::new("T", number.to_string());
        in_flight.push(producer.send_async_to(&queue, &message).await.expect("queued"));
    }
    for (number, send) in in_flight.into_iter().enumerate() {
        assert_eq!(send.await.expect("stored").queue_offset, number as i64);
    }
    let bodies = network.requests(SEND).into_iter().map(|(_, request)| request.body);
    assert!(bodies.eq((0..50).map(|number| number.to_string())));
}

#[tokio::test(start_paused = true)]
async fn a_pipelined_send_ends_in_its_time() {
    let network = cluster();
    network.serve("a:1", |_| None);
    let client = network.client();
    let queue = client.routes().get("T").await.expect("a route").publish[0].clone();
    assert_eq!(queue.broker_name, "a");
    let producer = client.producer("G");
    let send = producer.send_async_to(&queue, &Message::new("T", "x")).await.expect("queued");
    let error = send.await.expect_err("no answer");
    let SendError::Call(CallError::Request(RequestError::Timeout { code, .. })) = error else {
        panic!("not a timeout: {error}")
    };
    assert_eq!(code, SEND);
}

#[tokio::test(start_paused = true)]
async fn a_batch_travels_in_one_request() {
    let network = cluster();
    let producer = network.client().producer("G");
    let messages: Vec<_> =
        (0..3).map(|number| Message::new("T", number.to_string()).with_tag("t")).collect();
    let receipt = producer.send_batch(&messages).await.expect("stored");
    let (_, request) = &network.requests(request_code::SEND_BATCH_MESSAGE)[0];
    assert!(SendHeader::decode(request).expect("a header").batch);
    let sent: Vec<_> =
        BatchMessages::new(&request.body).collect::<Result<_, _>>().expect("a batch");
    assert_eq!(sent.len(), 3);
    assert_eq!(sent[2].body, "2");
    assert_eq!(properties::get(sent[2].properties, "TAGS"), Some("t"));
    let key = properties::get(sent[0].properties, "UNIQ_KEY");
    assert_eq!(key, Some(receipt.unique_key.as_str()));
    assert_ne!(key, properties::get(sent[1].properties, "UNIQ_KEY"));

    for bad in [vec![], vec![Message::new("T", "x"), Message::new("U", "x")]] {
        let error = producer.send_batch(&bad).await.expect_err("no batch");
        assert!(matches!(error, SendError::NotABatch));
    }
    let long = Message::new("T", "x").with_property("p", &"v".repeat(40_000));
    let error = producer.send_batch(&[long]).await.expect_err("too long");
    assert!(matches!(error, SendError::Properties { len } if len > 40_000));
}

#[tokio::test(start_paused = true)]
async fn a_oneway_send_asks_for_no_answer() {
    let network = cluster();
    let producer = network.client().producer("G");
    let key = producer.send_oneway(&Message::new("T", "x")).await.expect("sent");
    tokio::time::sleep(Duration::from_millis(1)).await;
    let (_, request) = &network.requests(SEND)[0];
    assert!(request.is_oneway());
    let header = SendHeader::decode(request).expect("a header");
    assert_eq!(properties::get(header.properties, "UNIQ_KEY"), Some(key.as_str()));
}

#[tokio::test(start_paused = true)]
async fn a_transaction_ends_where_its_half_is() {
    let network = cluster();
    let producer = network.client().producer("G");
    let half = producer.send_half(Message::new("T", "x")).await.expect("stored");
    producer.end_transaction(&half, TransactionEnd::Commit).await.expect("told");
    tokio::time::sleep(Duration::from_millis(1)).await;
    let (sent_to, sent) = &network.requests(SEND)[0];
    let header = SendHeader::decode(sent).expect("a header");
    assert_eq!(header.sys_flag, 4);
    assert_eq!(properties::get(header.properties, "PGROUP"), Some("G"));
    let (ended_at, end) = &network.requests(request_code::END_TRANSACTION)[0];
    assert_eq!(ended_at, sent_to);
    assert!(end.is_oneway());
    assert_eq!(end.ext.get("commitLogOffset"), Some("256"), "the offset in the message id");
    assert_eq!(end.ext.get("commitOrRollback"), Some("8"));
    assert_eq!(end.ext.get("transactionId"), Some(half.unique_key.as_str()));
}

#[tokio::test(start_paused = true)]
async fn a_topic_without_writable_queues_is_an_error() {
    let network = Network::new();
    let slaves_only = route(&[("a", &[(1, "a:2")], 2)]);
    network.serve("ns:1", name_server(vec![("T", slaves_only)]));
    let error = network.client().producer("G").send(&Message::new("T", "x")).await;
    assert!(matches!(error, Err(SendError::NoQueue { topic }) if topic == "T"));
}

/// What one client says to a cluster in a fixed sequence of calls, byte by byte.
async fn session() -> Vec<u8> {
    let network = cluster();
    let producer = network.client().producer("G");
    for number in 0..10 {
        let message = Message::new("T", number.to_string());
        producer.send(&message).await.expect("stored");
        tokio::time::sleep(Duration::from_millis(7)).await;
    }
    let mut bytes = BytesMut::new();
    for (address, request) in network.log() {
        bytes.extend_from_slice(address.as_bytes());
        request.encode(&mut bytes);
    }
    bytes.to_vec()
}

#[test]
fn the_same_seed_gives_the_same_bytes() {
    let run = || {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_time()
            .start_paused(true)
            .build()
            .expect("a runtime");
        runtime.block_on(session())
    };
    assert_eq!(run(), run());
}
