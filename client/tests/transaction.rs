//! Transactions, against brokers in memory: what is sent when, and what questions are answered with.

mod common;

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use common::{Network, name_server, route, stored, success};
use gantry_client::{Message, MessageExt, TransactionEnd, TransactionProducer};
use gantry_codec::requests::transaction::{
    COMMIT, CheckTransactionStateHeader, EndTransactionHeader, ROLLBACK, UNKNOWN,
};
use gantry_codec::{Command, Header, Record, SendHeader, properties, request_code as rq};

const SEND: i32 = rq::SEND_MESSAGE_V2;
/// Has the broker ask; its property is the group that it asks for.
const PROVOKE: i32 = 9_999;

/// A broker that stores everything at place 41, and asks when it is provoked.
fn broker() -> Arc<Network> {
    let network = Network::new();
    network.serve("ns:1", name_server(vec![("T", route(&[("a", &[(0, "a:1")], 1)]))]));
    network.serve("a:1", |request| {
        Some(match request.code {
            SEND => stored(request, 41),
            PROVOKE => question(request.ext.get("group").expect("a group")),
            _ => success(request),
        })
    });
    network
}

/// Asks for a half message with body `done` of that group.
fn question(group: &str) -> Command {
    let header = CheckTransactionStateHeader {
        tran_state_table_offset: 41,
        commit_log_offset: 256,
        transaction_id: Some("K".into()),
        ..CheckTransactionStateHeader::default()
    };
    let mut text = String::new();
    properties::append(&mut text, properties::PGROUP, group);
    let record = Record {
        queue_id: 0,
        flag: 0,
        queue_offset: 41,
        physical_offset: 256,
        sys_flag: 0,
        born_timestamp: 0,
        born_host: "10.0.0.1:1".parse().unwrap(),
        store_timestamp: 0,
        store_host: "10.0.0.2:2".parse().unwrap(),
        reconsume_times: 0,
        prepared_transaction_offset: 0,
        body_crc: gantry_codec::body_crc(b"done"),
        body: b"done",
        topic: "T",
        properties: &text,
    };
    let mut body = vec![0; record.encoded_len()];
    record.write_to(&mut body);
    Command::oneway(rq::CHECK_TRANSACTION_STATE).with_header(&header).with_body(body)
}

fn producer(network: &Arc<Network>) -> (TransactionProducer, Arc<AtomicUsize>) {
    let asked = Arc::new(AtomicUsize::new(0));
    let counted = Arc::clone(&asked);
    let checker = move |half: MessageExt| {
        counted.fetch_add(1, Ordering::Relaxed);
        let is_done = half.body == "done";
        async move { if is_done { TransactionEnd::Commit } else { TransactionEnd::Unknown } }
    };
    (TransactionProducer::start(network.config(), "G", checker), asked)
}

fn ends(network: &Network) -> Vec<EndTransactionHeader> {
    let requests = network.requests(rq::END_TRANSACTION).into_iter();
    requests.map(|(_, request)| EndTransactionHeader::decode(&request.ext).unwrap()).collect()
}

async fn settle() {
    tokio::time::sleep(Duration::from_millis(1)).await;
}

#[tokio::test(start_paused = true)]
async fn the_local_outcome_follows_the_half_message() {
    let network = broker();
    let (producer, _) = producer(&network);
    for (end, code) in [
        (TransactionEnd::Commit, COMMIT),
        (TransactionEnd::Rollback, ROLLBACK),
        (TransactionEnd::Unknown, UNKNOWN),
    ] {
        let local = async |receipt: gantry_client::SendReceipt| {
            assert_eq!(receipt.queue_offset, 41);
            end
        };
        let (receipt, told) = producer.send(Message::new("T", "x"), local).await.unwrap();
        settle().await;
        let header = ends(&network).pop().unwrap();
        assert_eq!((told, header.commit_or_rollback), (end, code));
        assert_eq!((header.tran_state_table_offset, header.commit_log_offset), (41, 256));
        assert_eq!((&*header.producer_group, header.from_transaction_check), ("G", false));
        assert_eq!(header.transaction_id, Some(receipt.unique_key));
    }
    let (_, half) = &network.requests(SEND)[0];
    let header = SendHeader::decode(half).unwrap();
    let get = |name| properties::get(header.properties, name);
    assert_eq!((get(properties::TRAN_MSG), get(properties::PGROUP)), (Some("true"), Some("G")));
    assert_eq!(network.asked(rq::HEART_BEAT), ["a:1"], "known before its first half message");
}

#[tokio::test(start_paused = true)]
async fn a_half_message_that_is_not_stored_has_no_local_transaction() {
    let network = broker();
    let (producer, _) = producer(&network);
    network.serve("a:1", |request| Some(common::refusal(13, request)));
    let local = async |_| panic!("nothing is to be decided");
    assert!(producer.send(Message::new("T", "x"), local).await.is_err());
    settle().await;
    assert_eq!(ends(&network), []);
}

#[tokio::test(start_paused = true)]
async fn questions_are_answered_by_the_place_that_they_name() {
    let network = broker();
    let (producer, asked) = producer(&network);
    producer.introduce("T").await.unwrap();
    let connection = producer.client().connection("a:1").await.unwrap();
    for group in ["others", "G"] {
        connection.oneway(Command::request(PROVOKE).with_ext("group", group)).unwrap();
        settle().await;
    }
    assert_eq!(asked.load(Ordering::Relaxed), 1, "others' transactions are not looked up");
    let ends = ends(&network);
    assert_eq!(ends.len(), 1);
    assert_eq!((ends[0].tran_state_table_offset, ends[0].commit_log_offset), (41, 256));
    assert_eq!((ends[0].commit_or_rollback, ends[0].from_transaction_check), (COMMIT, true));
    assert_eq!((&*ends[0].producer_group, ends[0].transaction_id.as_deref()), ("G", Some("K")));
}
