//! Pulling, offsets and membership, against brokers in memory.

mod common;

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use common::{Network, name_server, refusal, route, success};
use gantry_client::{CallError, Filter, MessageQueue, PullRequest, PullStatus, QueueError};
use gantry_codec::body::{ConsumerData, HeartbeatData};
use gantry_codec::record::body_crc;
use gantry_codec::{Command, PullHeader, Record, fastjson, request_code, response_code};

const PULL: i32 = request_code::PULL_MESSAGE;

/// Broker a with a slave and one queue of topic T, and broker b with one; `handler` answers for all.
fn cluster(
    handler: impl Fn(&Command) -> Option<Command> + Send + Sync + Clone + 'static,
) -> Arc<Network> {
    let network = Network::new();
    let topic = route(&[("a", &[(0, "a:1"), (1, "a:2")], 1), ("b", &[(0, "b:1")], 1)]);
    network.serve("ns:1", name_server(vec![("T", topic)]));
    for address in ["a:1", "a:2", "b:1"] {
        network.serve(address, handler.clone());
    }
    network
}

fn queue() -> MessageQueue {
    MessageQueue { topic: "T".into(), broker_name: "a".into(), queue_id: 0 }
}

fn pulled(code: i32, request: &Command, broker_id: i64) -> Command {
    Command::response(code, request)
        .with_ext("suggestWhichBrokerId", broker_id)
        .with_ext("nextBeginOffset", 12_i64)
        .with_ext("minOffset", 3_i64)
        .with_ext("maxOffset", 99_i64)
}

fn record(queue_offset: i64, body: &[u8]) -> Vec<u8> {
    let host: SocketAddr = "10.0.0.1:10911".parse().expect("an address");
    let record = Record {
        queue_id: 0,
        flag: 5,
        queue_offset,
        physical_offset: 0x1234,
        sys_flag: 0,
        born_timestamp: 1,
        born_host: host,
        store_timestamp: 2,
        store_host: host,
        reconsume_times: 1,
        prepared_transaction_offset: 0,
        body_crc: body_crc(body),
        body,
        topic: "T",
        properties: "TAGS\u{1}a\u{2}UNIQ_KEY\u{1}K\u{2}",
    };
    let mut bytes = vec![0; record.encoded_len()];
    record.write_to(&mut bytes);
    bytes
}

#[tokio::test(start_paused = true)]
async fn messages_are_slices_of_the_answer() {
    let network = cluster(|request| {
        let body = [record(10, b"ten"), record(11, b"eleven")].concat();
        Some(pulled(response_code::SUCCESS, request, 0).with_body(body))
    });
    let consumer = network.client().pull_consumer("G");
    let result = consumer.pull(&PullRequest::new(queue(), 10)).await.expect("an answer");
    assert_eq!(result.status, PullStatus::Found);
    assert_eq!((result.next_begin_offset, result.min_offset, result.max_offset), (12, 3, 99));
    let [ten, eleven] = result.messages.as_slice() else { panic!("two were sent") };
    assert_eq!((ten.queue_offset, ten.flag, ten.reconsume_times), (10, 5, 1));
    assert_eq!((ten.tag(), ten.unique_key(), ten.keys()), (Some("a"), Some("K"), None));
    assert_eq!(ten.offset_message_id().to_string(), "0A00000100002A9F0000000000001234");
    assert_eq!(eleven.body, "eleven");
}

#[tokio::test(start_paused = true)]
async fn the_request_says_what_is_wanted() {
    let network = cluster(|request| Some(pulled(response_code::PULL_NOT_FOUND, request, 0)));
    let consumer = network.client().pull_consumer("G");
    let plain = PullRequest::new(queue(), 7);
    let rich = PullRequest {
        filter: Filter::Sql92("a > 1".into()),
        commit: Some(6),
        messages_max: 5,
        ..plain.clone().held(Duration::from_secs(20))
    };
    for request in [&plain, &rich] {
        let result = consumer.pull(request).await.expect("an answer");
        assert_eq!(result.status, PullStatus::NoNewMessage);
    }
    let sent = network.requests(PULL);
    let header = PullHeader::decode(&sent[0].1).expect("a header");
    assert_eq!((header.consumer_group, header.queue_offset, header.max_msg_nums), ("G", 7, 32));
    assert_eq!((header.sys_flag, header.subscription), (4, Some("*")));
    let header = PullHeader::decode(&sent[1].1).expect("a header");
    assert_eq!((header.sys_flag, header.commit_offset), (7, 6));
    assert_eq!((header.suspend_timeout_millis, header.max_msg_nums), (20_000, 5));
    assert_eq!((header.subscription, header.expression_type), (Some("a > 1"), Some("SQL92")));
}

#[tokio::test(start_paused = true)]
async fn each_code_has_its_status_and_others_are_errors() {
    let statuses = [
        (response_code::PULL_NOT_FOUND, PullStatus::NoNewMessage),
        (response_code::PULL_RETRY_IMMEDIATELY, PullStatus::NoMatchedMessage),
        (response_code::PULL_OFFSET_MOVED, PullStatus::OffsetMoved),
    ];
    for (code, status) in statuses {
        let network = cluster(move |request| Some(pulled(code, request, 0)));
        let pull = network.client().pull_consumer("G").pull(&PullRequest::new(queue(), 0)).await;
        let result = pull.expect("an answer");
        assert_eq!((result.status, result.next_begin_offset), (status, 12));
    }
    let network = cluster(|request| Some(refusal(response_code::SUBSCRIPTION_NOT_EXIST, request)));
    let pull = network.client().pull_consumer("G").pull(&PullRequest::new(queue(), 0)).await;
    let QueueError::Call(error) = pull.expect_err("refused") else { panic!("a route is there") };
    assert_eq!(error.code(), Some(response_code::SUBSCRIPTION_NOT_EXIST));
}

#[tokio::test(start_paused = true)]
async fn a_body_that_holds_no_messages_is_an_error() {
    let whole = record(1, b"body");
    for cut in [whole[..whole.len() - 1].to_vec(), [whole.clone(), vec![0; 3]].concat()] {
        let network = cluster(move |request| {
            Some(pulled(response_code::SUCCESS, request, 0).with_body(cut.clone()))
        });
        let pull = network.client().pull_consumer("G").pull(&PullRequest::new(queue(), 0)).await;
        let error = pull.expect_err("malformed");
        assert!(matches!(error, QueueError::Call(CallError::Malformed { .. })), "{error}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_held_pull_has_its_holding_time_on_top() {
    let network = cluster(|_| None);
    let consumer = network.client().pull_consumer("G");
    let start = tokio::time::Instant::now();
    let request = PullRequest::new(queue(), 0).held(Duration::from_secs(20));
    consumer.pull(&request).await.expect_err("no answer");
    assert_eq!(start.elapsed(), Duration::from_secs(23));
}

#[tokio::test(start_paused = true)]
async fn a_broker_may_send_its_reader_to_a_slave() {
    let network = cluster(|request| Some(pulled(response_code::PULL_NOT_FOUND, request, 1)));
    let consumer = network.client().pull_consumer("G");
    for _ in 0..2 {
        consumer.pull(&PullRequest::new(queue(), 0)).await.expect("an answer");
    }
    assert_eq!(network.asked(PULL), ["a:1", "a:2"]);
}

#[tokio::test(start_paused = true)]
async fn offsets_are_asked_of_the_master() {
    let network = cluster(|request| {
        Some(match request.code {
            request_code::QUERY_CONSUMER_OFFSET if request.ext.get("queueId") == Some("1") => {
                refusal(response_code::QUERY_NOT_FOUND, request)
            }
            request_code::GET_EARLIEST_MSG_STORETIME => {
                success(request).with_ext("timestamp", -1_i64)
            }
            request_code::UPDATE_CONSUMER_OFFSET => success(request),
            _ => success(request).with_ext("offset", i64::from(request.code)),
        })
    });
    let client = network.client();
    let (known, unknown) = (queue(), MessageQueue { queue_id: 1, ..queue() });
    assert_eq!(client.consumer_offset("G", &known).await.expect("an answer"), Some(14));
    assert_eq!(client.consumer_offset("G", &unknown).await.expect("an answer"), None);
    client.commit_offset("G", &known, 77).await.expect("stored");
    assert_eq!(client.search_offset(&known, 5).await.expect("an answer"), 29);
    assert_eq!(client.max_offset(&known).await.expect("an answer"), 30);
    assert_eq!(client.min_offset(&known).await.expect("an answer"), 31);
    assert_eq!(client.earliest_store_time(&known).await.expect("an answer"), None);
    let (address, commit) = &network.requests(request_code::UPDATE_CONSUMER_OFFSET)[0];
    assert_eq!((address.as_str(), commit.ext.get("commitOffset")), ("a:1", Some("77")));
    let elsewhere = MessageQueue { broker_name: "z".into(), ..queue() };
    let error = client.max_offset(&elsewhere).await.expect_err("no such broker");
    assert!(matches!(error, QueueError::Route(_)), "{error}");
}

#[tokio::test(start_paused = true)]
async fn members_beat_to_every_broker_and_producers_to_masters_alone() {
    let network = cluster(|request| Some(success(request)));
    let client = network.client();
    client.routes().get("T").await.expect("a route");
    let beats = || network.requests(request_code::HEART_BEAT);
    tokio::time::sleep(Duration::from_secs(31)).await;
    assert!(beats().is_empty(), "there is nothing to tell");

    let producer = client.producer("P");
    tokio::time::sleep(Duration::from_secs(30)).await;
    let told: Vec<_> = beats().into_iter().map(|(address, _)| address).collect();
    assert_eq!(told, ["a:1", "b:1"]);

    let consumer = client.pull_consumer("G");
    let data = ConsumerData { group_name: "G".into(), ..ConsumerData::default() };
    consumer.register(data).await.expect("told at once");
    let told = beats().split_off(2);
    assert_eq!(told.len(), 3);
    let body: HeartbeatData = fastjson::from_slice(&told[2].1.body).expect("a heartbeat");
    assert_eq!(body.client_id, "client");
    assert_eq!(body.producer_data_set[0].group_name, "P");
    assert_eq!(body.consumer_data_set[0].group_name, "G");

    consumer.unregister().await.expect("told");
    producer.unregister().await.expect("told");
    let told = network.requests(request_code::UNREGISTER_CLIENT);
    assert_eq!(told.len(), 6);
    assert_eq!(told[0].1.ext.get("consumerGroup"), Some("G"));
    assert_eq!(told[3].1.ext.get("producerGroup"), Some("P"));
    let before = beats().len();
    tokio::time::sleep(Duration::from_secs(61)).await;
    assert_eq!(beats().len(), before, "nothing is left to tell");
}
