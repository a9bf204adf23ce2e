//! Every operation of the client against a real name server and broker, whichever they are.
//!
//! Not run by default: start a cluster, then
//! `GANTRY_NAMESRV=127.0.0.1:9876 cargo test -p gantry-client --test live -- --ignored`.
//! Topics and groups carry a number of their own for each run, so the cluster may be in use.

use std::collections::BTreeSet;
use std::time::Duration;

use gantry_client::{
    Client, ClientConfig, Filter, Message, MessageQueue, PullRequest, PullStatus, SendStatus,
    TopicSpec, TransactionEnd, WallClock,
};
use gantry_codec::SerializeType;
use gantry_codec::body::{ConsumerData, LockBatchRequest};
use gantry_codec::message_id::OffsetMessageId;

/// How long something that the cluster does in its own time is waited for.
const PATIENCE: Duration = Duration::from_secs(20);

struct Cluster {
    client: Client,
    /// The first master.
    broker: String,
    /// A suffix that no earlier run had.
    run: i64,
}

async fn cluster(serialize_type: SerializeType) -> Cluster {
    let addresses = std::env::var("GANTRY_NAMESRV").expect("GANTRY_NAMESRV names the name servers");
    let config = ClientConfig { serialize_type, ..ClientConfig::with_namesrv(&addresses) };
    let client = Client::new(config);
    let info = client.admin().cluster_info().await.expect("cluster info");
    let mut brokers = info.broker_addr_table.values();
    let broker = brokers.find_map(|broker| broker.broker_addrs.get(&0)).expect("a master").clone();
    let run = WallClock::System.now_ms();
    Cluster { client, broker, run }
}

impl Cluster {
    /// A fresh topic, once its route is known.
    async fn topic(&self, name: &str, queues: i32) -> String {
        let topic = format!("live-{name}-{}", self.run);
        let admin = self.client.admin();
        admin.create_topic(&self.broker, &TopicSpec::new(&topic, queues)).await.expect("created");
        eventually("the topic's route", || async {
            self.client.routes().refresh(&topic).await.is_ok()
        })
        .await;
        topic
    }
}

async fn eventually<F: Future<Output = bool>>(what: &str, mut ask: impl FnMut() -> F) {
    let deadline = tokio::time::Instant::now() + PATIENCE;
    while !ask().await {
        assert!(tokio::time::Instant::now() < deadline, "waited in vain for {what}");
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
}

#[tokio::test]
#[ignore = "needs a cluster"]
async fn messages_come_back_as_they_were_sent() {
    for serialize_type in [SerializeType::Json, SerializeType::RocketMq] {
        let cluster = cluster(serialize_type).await;
        let topic = cluster.topic("roundtrip", 1).await;
        let producer = cluster.client.producer("live-producer");
        let message = Message::new(topic.as_str(), "a body, \"quoted\" and ünïcode")
            .with_tag("tag-a")
            .with_keys("key-1 key-2")
            .with_property("colour", "gr\u{fc}n \\ \"x\"");
        let receipt = producer.send(&message).await.expect("stored");
        assert_eq!((receipt.status, receipt.queue_offset), (SendStatus::Stored, 0));

        let consumer = cluster.client.pull_consumer("live-consumer");
        let mut pulled = Vec::new();
        eventually("the message", || async {
            let request = PullRequest::new(receipt.queue.clone(), 0);
            consumer.pull(&request).await.expect("an answer").status == PullStatus::Found
        })
        .await;
        let request = PullRequest::new(receipt.queue.clone(), 0);
        pulled.extend(consumer.pull(&request).await.expect("an answer").messages);
        let [stored] = pulled.as_slice() else { panic!("one message was sent: {pulled:?}") };
        assert_eq!(stored.body, message.body);
        assert_eq!(stored.tag(), Some("tag-a"));
        assert_eq!(stored.keys(), Some("key-1 key-2"));
        assert_eq!(stored.property("colour"), Some("gr\u{fc}n \\ \"x\""));
        assert_eq!(stored.unique_key(), Some(receipt.unique_key.as_str()));
        assert_eq!(stored.offset_message_id().to_string(), receipt.offset_message_id);

        let id = OffsetMessageId::parse(&receipt.offset_message_id).expect("an offset id");
        let viewed = cluster.client.admin().message_by_id(id).await.expect("found by id");
        assert_eq!(viewed.unique_key(), stored.unique_key());
    }
}

#[tokio::test]
#[ignore = "needs a cluster"]
async fn pipelined_sends_each_get_a_place() {
    let cluster = cluster(SerializeType::Json).await;
    let topic = cluster.topic("pipeline", 1).await;
    let producer = cluster.client.producer("live-producer");
    let queue = cluster.client.routes().get(&topic).await.expect("a route").publish[0].clone();
    let mut in_flight = Vec::new();
    for number in 0..200 {
        let message = Message::new(topic.as_str(), number.to_string());
        in_flight.push(producer.send_async_to(&queue, &message).await.expect("queued"));
    }
    // Not in order: a broker with several threads for sends may store them in another one.
    let mut places = BTreeSet::new();
    for send in in_flight {
        places.insert(send.await.expect("stored").queue_offset);
    }
    assert_eq!(places, (0..200).collect());
}

#[tokio::test]
#[ignore = "needs a cluster"]
async fn batches_are_stored_message_by_message() {
    let cluster = cluster(SerializeType::Json).await;
    let topic = cluster.topic("batch", 2).await;
    let producer = cluster.client.producer("live-producer");
    let messages: Vec<_> = (0..10).map(|n| Message::new(topic.as_str(), n.to_string())).collect();
    let receipt = producer.send_batch(&messages).await.expect("stored");
    assert_eq!(receipt.offset_message_id.split(',').count(), 10);
    let consumer = cluster.client.pull_consumer("live-consumer");
    let request = PullRequest::new(receipt.queue, 0);
    eventually("all messages", || async {
        consumer.pull(&request).await.expect("an answer").messages.len() == 10
    })
    .await;
    let pulled = consumer.pull(&request).await.expect("an answer").messages;
    let keys: BTreeSet<_> = pulled.iter().map(|message| message.unique_key()).collect();
    assert_eq!(keys.len(), 10, "each has a unique key");
    let bodies: Vec<_> = pulled.iter().map(|message| message.body.clone()).collect();
    assert_eq!(bodies, messages.iter().map(|message| message.body.clone()).collect::<Vec<_>>());
}

#[tokio::test]
#[ignore = "needs a cluster"]
async fn a_held_pull_is_answered_by_the_next_message() {
    let cluster = cluster(SerializeType::Json).await;
    let topic = cluster.topic("hold", 1).await;
    let producer = cluster.client.producer("live-producer");
    let consumer = cluster.client.pull_consumer("live-consumer");
    let queue = consumer.queues(&topic).await.expect("a route")[0].clone();
    let request = PullRequest::new(queue.clone(), 0).held(Duration::from_secs(15));
    let pull = tokio::spawn(async move { consumer.pull(&request).await });
    tokio::time::sleep(Duration::from_millis(300)).await;
    assert!(!pull.is_finished(), "nothing is there yet");
    producer.send_oneway(&Message::new(topic, "wake up")).await.expect("sent");
    let result = pull.await.expect("no panic").expect("an answer");
    assert_eq!(result.status, PullStatus::Found);
    assert_eq!(result.messages[0].body, "wake up");
    assert_eq!(result.next_begin_offset, 1);
}

#[tokio::test]
#[ignore = "needs a cluster"]
async fn filters_and_offsets() {
    let cluster = cluster(SerializeType::Json).await;
    let client = &cluster.client;
    let topic = cluster.topic("offsets", 1).await;
    let producer = client.producer("live-producer");
    let started = WallClock::System.now_ms();
    for tag in ["a", "b", "a"] {
        producer.send(&Message::new(topic.as_str(), tag).with_tag(tag)).await.expect("stored");
    }
    let consumer = client.pull_consumer("live-consumer");
    let queue = consumer.queues(&topic).await.expect("a route")[0].clone();
    eventually("the queue's end", || async { client.max_offset(&queue).await.ok() == Some(3) })
        .await;
    let only_b =
        PullRequest { filter: Filter::Tags("b".into()), ..PullRequest::new(queue.clone(), 0) };
    let pulled = consumer.pull(&only_b).await.expect("an answer");
    assert_eq!(pulled.messages.len(), 1);
    assert_eq!(pulled.messages[0].queue_offset, 1);
    let beyond = consumer.pull(&PullRequest::new(queue.clone(), 99)).await.expect("an answer");
    assert_eq!((beyond.status, beyond.next_begin_offset), (PullStatus::OffsetMoved, 3));
    let at_end = consumer.pull(&PullRequest::new(queue.clone(), 3)).await.expect("an answer");
    assert_eq!(at_end.status, PullStatus::NoNewMessage);

    assert_eq!(client.min_offset(&queue).await.expect("an answer"), 0);
    let at_start = client.search_offset(&queue, started - 1_000).await.expect("an answer");
    assert_eq!(at_start, 0);
    assert!(client.earliest_store_time(&queue).await.expect("an answer").is_some());
    let group = format!("live-group-{}", cluster.run);
    // Brokers of 5.x store progress only for a group that they have met.
    let met = client.pull_consumer(&group).pull(&PullRequest::new(queue.clone(), 0)).await;
    assert_eq!(met.expect("an answer").status, PullStatus::Found);
    client.commit_offset(&group, &queue, 2).await.expect("stored");
    assert_eq!(client.consumer_offset(&group, &queue).await.expect("an answer"), Some(2));
}

#[tokio::test]
#[ignore = "needs a cluster"]
async fn groups_locks_and_topics() {
    let cluster = cluster(SerializeType::Json).await;
    let (client, broker) = (&cluster.client, cluster.broker.as_str());
    let admin = client.admin();
    let topic = cluster.topic("admin", 3).await;
    let stats = admin.topic_stats(broker, &topic).await.expect("an answer").expect("the topic");
    assert_eq!(stats.offset_table.0.len(), 3);

    let group = format!("live-group-{}", cluster.run);
    assert!(admin.consumers(broker, &group).await.expect("an answer").is_empty());
    let consumer = client.pull_consumer(&group);
    let data = ConsumerData { group_name: group.clone(), ..ConsumerData::default() };
    consumer.register(data).await.expect("told");
    let members = admin.consumers(broker, &group).await.expect("an answer");
    assert_eq!(members, [client.config().client_id.clone()]);
    consumer.unregister().await.expect("told");
    assert!(admin.consumers(broker, &group).await.expect("an answer").is_empty());

    let queue: MessageQueue = consumer.queues(&topic).await.expect("a route")[0].clone();
    let lock = |client_id: &str| LockBatchRequest {
        client_id: client_id.into(),
        consumer_group: group.clone(),
        mq_set: vec![queue.clone()],
        ..LockBatchRequest::default()
    };
    let held = |client_id: &str| {
        let lock = lock(client_id);
        let admin = admin.clone();
        async move { admin.lock_queues(broker, &lock).await.expect("an answer").len() }
    };
    assert_eq!(held("first").await, 1);
    assert_eq!(held("second").await, 0, "the first one has it");
    admin.unlock_queues(broker, &lock("first")).await.expect("told");
    assert_eq!(held("second").await, 1);

    admin.delete_topic(broker, &topic).await.expect("deleted");
    for namesrv in &client.config().namesrv {
        admin.forget_topic(namesrv, &topic).await.expect("forgotten");
    }
    assert_eq!(admin.topic_stats(broker, &topic).await.expect("an answer"), None);
    assert_eq!(admin.route(&topic).await.expect("an answer"), None);
}

#[tokio::test]
#[ignore = "needs a cluster"]
async fn a_committed_half_message_is_delivered_and_another_is_not() {
    let cluster = cluster(SerializeType::Json).await;
    let topic = cluster.topic("transaction", 1).await;
    let producer = cluster.client.producer("live-transactions");
    let consumer = cluster.client.pull_consumer("live-consumer");
    let queue = consumer.queues(&topic).await.expect("a route")[0].clone();
    for (body, end) in [("no", TransactionEnd::Rollback), ("yes", TransactionEnd::Commit)] {
        let half = producer.send_half(Message::new(topic.as_str(), body)).await.expect("stored");
        producer.end_transaction(&half, end).await.expect("told");
    }
    let request = PullRequest::new(queue, 0);
    eventually("the committed message", || async {
        consumer.pull(&request).await.expect("an answer").status == PullStatus::Found
    })
    .await;
    let pulled = consumer.pull(&request).await.expect("an answer").messages;
    assert_eq!(pulled.len(), 1);
    assert_eq!(pulled[0].body, "yes");
}

#[tokio::test]
#[ignore = "needs a cluster that creates topics by itself"]
async fn an_unknown_topic_is_created_by_the_first_send() {
    let cluster = cluster(SerializeType::Json).await;
    let topic = format!("live-auto-{}", cluster.run);
    let producer = cluster.client.producer("live-producer");
    producer.send(&Message::new(topic.as_str(), "first")).await.expect("stored");
    eventually("the topic's own route", || async {
        cluster.client.routes().get(&topic).await.is_ok_and(|route| !route.borrowed)
    })
    .await;
}
