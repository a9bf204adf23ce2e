//! Request and reply, with the requester's part done by hand, as an official client does it.

use std::sync::{Arc, Mutex};

use gantry_client::{Client, ClientConfig, Connection, Inbound, Message, MessageQueue};
use gantry_codec::{
    Command, Header, SendHeader, properties as names, request_code as rq,
    requests::send::{PushReplyHeader, SendResponse},
    response_code as rs,
};
use tokio::sync::mpsc;

use crate::{
    harness::{
        daemon::{Daemon, Home},
        traffic::{PATIENCE, create_topic, eventually},
    },
    read_all, texts,
};

const REPLY_TOPIC: &str = "DefaultCluster_REPLY_TOPIC";

/// Takes what is pushed, or refuses it.
struct Replies {
    taken: mpsc::UnboundedSender<Command>,
    refuses: Mutex<bool>,
}

impl Inbound for Replies {
    fn request(&self, _: &Connection, request: Command) -> Option<Command> {
        let code = if *self.refuses.lock().unwrap() { rs::SYSTEM_ERROR } else { rs::SUCCESS };
        let answer = Command::response(code, &request);
        self.taken.send(request).unwrap();
        Some(answer)
    }
}

/// A client that can be replied to.
struct Requester {
    client: Client,
    id: String,
    replies: Arc<Replies>,
    taken: mpsc::UnboundedReceiver<Command>,
}

impl Requester {
    /// One that the broker knows by its heartbeat.
    async fn new(daemon: &Daemon) -> Self {
        let (taken, receiver) = mpsc::unbounded_channel();
        let replies = Arc::new(Replies { taken, refuses: Mutex::new(false) });
        let config = ClientConfig {
            inbound: replies.clone(),
            ..ClientConfig::with_namesrv(&daemon.namesrv)
        };
        let (id, client) = (config.client_id.clone(), Client::new(config));
        client.producer("requesters");
        eventually("the route", async || client.routes().get_or_borrow("TBW102").await.is_ok())
            .await;
        client.heartbeat().await.unwrap();
        Self { client, id, replies, taken: receiver }
    }

    async fn taken(&mut self) -> Command {
        tokio::time::timeout(PATIENCE, self.taken.recv()).await.expect("a reply").unwrap()
    }
}

/// Sends a reply to the client called `to`.
async fn reply(client: &Client, broker: &str, to: Option<&str>, body: &str) -> Command {
    let mut properties = String::new();
    names::append(&mut properties, names::CORRELATION_ID, "c-1");
    names::append(&mut properties, names::MSG_TYPE, "reply");
    if let Some(to) = to {
        names::append(&mut properties, names::REPLY_TO_CLIENT, to);
    }
    let header = SendHeader {
        producer_group: "repliers",
        topic: REPLY_TOPIC,
        default_topic: "TBW102",
        default_topic_queue_nums: 4,
        properties: &properties,
        ..SendHeader::default()
    };
    let mut request = Command::request(rq::SEND_REPLY_MESSAGE_V2).with_body(body.to_owned());
    header.encode_v2(&mut request.ext);
    client.remoting().ask(broker, request, PATIENCE).await.unwrap()
}

fn reply_queue() -> MessageQueue {
    MessageQueue { topic: REPLY_TOPIC.into(), broker_name: "broker-a".into(), queue_id: 0 }
}

#[tokio::test]
async fn a_reply_is_pushed_and_stored() {
    let home = Home::new();
    let daemon = Daemon::start(&home, &[]);
    let replier = daemon.client();
    let mut requester = Requester::new(&daemon).await;
    let answer = reply(&replier, &daemon.broker, Some(&requester.id), "42").await;
    assert_eq!((answer.code, answer.remark.as_deref()), (rs::SUCCESS, None), "{answer:?}");
    let stored = SendResponse::decode(&answer.ext).unwrap();
    assert_eq!((stored.queue_id, stored.queue_offset, stored.msg_id.len()), (0, 0, 32));
    let pushed = requester.taken().await;
    assert_eq!((pushed.code, &pushed.body[..]), (rq::PUSH_REPLY_MESSAGE_TO_CLIENT, &b"42"[..]));
    let header = PushReplyHeader::decode(&pushed.ext).unwrap();
    let properties = header.properties.unwrap();
    assert_eq!(names::get(&properties, names::CORRELATION_ID), Some("c-1"));
    assert!(names::get(&properties, names::PUSH_REPLY_TIME).is_some());
    let messages = read_all(&replier, &reply_queue()).await;
    assert_eq!(texts(&messages), ["42"]);
    assert_eq!(names::get(&messages[0].properties, names::PUSH_REPLY_TIME), None);
}

#[tokio::test]
async fn a_requester_that_is_not_there_is_told_and_the_reply_is_stored() {
    let home = Home::new();
    let daemon = Daemon::start(&home, &[]);
    let replier = daemon.client();
    let offline = reply(&replier, &daemon.broker, Some("nobody"), "a").await;
    assert_eq!(offline.code, rs::SYSTEM_ERROR);
    let remark = offline.remark.as_deref().unwrap();
    assert_eq!(remark, "push reply message fail, channel of <nobody> not found.");
    assert_eq!(SendResponse::decode(&offline.ext).unwrap().msg_id.len(), 32, "{offline:?}");
    let unnamed = reply(&replier, &daemon.broker, None, "b").await;
    let remark = unnamed.remark.as_deref().unwrap();
    assert_eq!(remark, "reply message properties[REPLY_TO_CLIENT] is null");

    let mut requester = Requester::new(&daemon).await;
    *requester.replies.refuses.lock().unwrap() = true;
    let refused = reply(&replier, &daemon.broker, Some(&requester.id), "c").await;
    assert_eq!(refused.code, rs::SYSTEM_ERROR);
    requester.taken().await;
    let gone = requester.id.clone();
    requester.client.close();
    drop(requester);
    eventually("the connection's end", async || {
        let answer = reply(&replier, &daemon.broker, Some(&gone), "d").await;
        answer.remark.is_some_and(|remark| remark.contains("not found"))
    })
    .await;
    assert_eq!(texts(&read_all(&replier, &reply_queue()).await)[..3], ["a", "b", "c"]);
}

#[tokio::test]
async fn replies_need_not_be_stored() {
    let home = Home::new();
    let daemon = Daemon::start(&home, &["storeReplyMessageEnable=false"]);
    let replier = daemon.client();
    let mut requester = Requester::new(&daemon).await;
    let answer = reply(&replier, &daemon.broker, Some(&requester.id), "42").await;
    let header = SendResponse::decode(&answer.ext).unwrap();
    assert_eq!((answer.code, &*header.msg_id, header.queue_offset), (rs::SUCCESS, "0", 0));
    requester.taken().await;
    assert_eq!(replier.max_offset(&reply_queue()).await.unwrap(), 0);
}

/// Nobody hangs: the replier's request ends with its connection, and the requester is replied to once it has
/// told the next life of the broker of itself. What was acknowledged is there.
#[tokio::test]
async fn a_kill_in_the_middle_leaves_nobody_hanging() {
    let home = Home::new();
    let settings = ["listenPort=0", "flushDiskType=SYNC_FLUSH"];
    let daemon = Daemon::start(&home, &settings);
    let replier = daemon.client();
    let mut requester = Requester::new(&daemon).await;
    create_topic(&replier, &daemon.broker, "questions", 1).await;
    let producer = requester.client.producer("requesters");
    producer.send(&Message::new("questions", "q")).await.unwrap();
    let first = reply(&replier, &daemon.broker, Some(&requester.id), "first").await;
    assert_eq!(first.code, rs::SUCCESS);
    requester.taken().await;

    let (broker, id) = (daemon.broker.clone(), requester.id.clone());
    let replies = async {
        loop {
            let mut request = Command::request(rq::SEND_REPLY_MESSAGE_V2);
            let mut text = String::new();
            names::append(&mut text, names::REPLY_TO_CLIENT, &id);
            let header = SendHeader {
                topic: REPLY_TOPIC,
                producer_group: "repliers",
                default_topic: "TBW102",
                default_topic_queue_nums: 4,
                properties: &text,
                ..SendHeader::default()
            };
            header.encode_v2(&mut request.ext);
            if replier.remoting().ask(&broker, request, PATIENCE).await.is_err() {
                return;
            }
        }
    };
    let kill = async {
        tokio::time::sleep(std::time::Duration::from_millis(100)).await;
        daemon.kill();
    };
    tokio::time::timeout(PATIENCE, async { tokio::join!(replies, kill) }).await.expect("no hang");

    let daemon = Daemon::start(&home, &settings);
    let replier = daemon.client();
    let mut requester = Requester::new(&daemon).await;
    let again = reply(&replier, &daemon.broker, Some(&requester.id), "second").await;
    assert_eq!(again.code, rs::SUCCESS);
    assert_eq!(requester.taken().await.body, "second");
    let stored = texts(&read_all(&replier, &reply_queue()).await);
    assert_eq!((&*stored[0], stored.last().map(String::as_str)), ("first", Some("second")));
}
