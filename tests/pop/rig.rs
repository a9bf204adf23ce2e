//! A broker in the test's own actix system, its disk in memory, and a client that speaks of pops.

use std::{sync::Arc, time::Duration};

use gantry::{
    broker::{Broker, Seams},
    net::TcpNetwork,
};
use gantry_client::{ClientConfig, Connection};
use gantry_codec::{
    Command, Header, Record,
    body::{BatchAck, BatchAckBody, RequestModeBody, to_json},
    pop::ExtraInfo,
    properties as names, record, request_code as rq,
    requests::{
        admin::CreateTopicHeader,
        pull::{
            AckMessageHeader, ChangeInvisibleTimeHeader, ChangeInvisibleTimeResponse,
            NotificationHeader, PopMessageHeader, PopMessageResponse,
        },
        send::SendHeader,
    },
};
use gantry_conf::{BrokerConfig, Role, Sources, Surroundings};
use gantry_storage::{Clock, MemDisk, SystemClock};
use gantry_supervisor::{Placement, Tree};
use slog::{Discard, Logger, o};

pub const TOPIC: &str = "t";
pub const GROUP: &str = "g";
/// Nothing here takes as long.
pub const PATIENCE: Duration = Duration::from_secs(10);
/// Long enough for a message not to come back within a test.
pub const LONG: i64 = 60_000;

/// A broker with a client.
pub struct Rig {
    pub broker: Broker,
    pub client: Client,
    pub disk: Arc<MemDisk>,
}

/// Runs a test in an actix system.
pub fn run(test: impl Future<Output = ()>) {
    gantry_supervisor::quiet_panics();
    actix::System::new().block_on(test);
}

impl Rig {
    /// A broker with the topic [`TOPIC`] of so many queues.
    pub async fn new(queues: i32) -> Self {
        Self::with(&[], queues).await
    }

    /// The same with these settings.
    pub async fn with(settings: &[&str], queues: i32) -> Self {
        let rig = Self::over_with(Arc::new(MemDisk::new()), settings).await;
        rig.client.create_topic(TOPIC, queues).await;
        rig
    }

    pub async fn over(disk: Arc<MemDisk>) -> Self {
        Self::over_with(disk, &[]).await
    }

    async fn over_with(disk: Arc<MemDisk>, settings: &[&str]) -> Self {
        let seams = Seams {
            disk: disk.clone(),
            clock: Arc::new(SystemClock),
            network: Arc::new(TcpNetwork),
            client: ClientConfig::default(),
            placement: Placement::threads(),
            seed: 1,
            cores: 2,
            memory_bytes: 1 << 30,
        };
        let log = Logger::root(Discard, o!());
        let root = Tree::root("gantry", seams.placement.clone(), log.clone(), 1);
        let broker = Broker::start(&config(settings), seams, &root, log).await.unwrap();
        let client = Client::connect(&broker).await;
        Self { broker, client, disk }
    }

    /// Stops in order and starts again.
    pub async fn restart(self) -> Self {
        let Self { broker, client, disk } = self;
        broker.stop().await;
        drop((broker, client));
        Self::over(disk).await
    }

    /// Loses everything that is not on the disk, and starts again.
    pub async fn crash(self) -> Self {
        let left = Arc::new(self.disk.crash());
        self.broker.stop().await;
        Self::over(left).await
    }

    /// The group's offset in a queue.
    pub fn offset(&self, topic: &str, queue_id: i32) -> Option<i64> {
        self.broker.shared.control.offsets().get(GROUP, topic, queue_id)
    }

    /// Waits until the group's offset in a queue is this.
    pub async fn wait_for_offset(&self, topic: &str, queue_id: i32, offset: i64) {
        wait(|| self.offset(topic, queue_id) == Some(offset)).await;
    }
}

/// Waits until it holds.
pub async fn wait(holds: impl Fn() -> bool) {
    let waited = tokio::time::timeout(PATIENCE, async {
        while !holds() {
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    });
    waited.await.expect("it comes to hold");
}

fn config(settings: &[&str]) -> BrokerConfig {
    let own = [
        "listenPort=0",
        "metricsExporterType=DISABLE",
        "bindAddress=127.0.0.1",
        "brokerIP1=127.0.0.1",
        "brokerName=b",
        "maxHashSlotNum=1000",
        "maxIndexNum=1000",
        "mappedFileSizeCommitLog=1048576",
        "mappedFileSizeConsumeQueue=20000",
        "enablePropertyFilter=true",
    ];
    let set = own.iter().chain(settings).map(|setting| (*setting).to_owned()).collect();
    let sources = Sources { set, ..Sources::default() };
    let surroundings = Surroundings::bare("/store");
    BrokerConfig::load(Role::Broker, &sources, &surroundings).unwrap().config
}

/// A client that speaks of pops.
pub struct Client(pub Connection);

/// A popped message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Popped {
    /// The topic, as the message has it.
    pub topic: String,
    pub body: String,
    pub offset: i64,
    pub reconsume_times: i32,
    pub properties: String,
    /// Its `POP_CK`, as the Java client makes it.
    pub extra_info: String,
}

impl Popped {
    pub fn pop(&self) -> ExtraInfo<'_> {
        ExtraInfo::parse(&self.extra_info).unwrap()
    }

    /// The topic that it was popped from.
    fn real_topic(&self) -> String {
        self.pop().mark.real_topic(&self.topic, GROUP)
    }
}

/// The answer to a pop.
#[derive(Debug)]
pub struct Answer {
    pub code: i32,
    pub header: PopMessageResponse,
    pub messages: Vec<Popped>,
}

impl Answer {
    pub fn bodies(&self) -> Vec<&str> {
        self.messages.iter().map(|message| message.body.as_str()).collect()
    }
}

/// What a pop of any queue asks for that does not wait.
pub fn pop_of(messages: i32, invisible_time: i64) -> PopMessageHeader {
    PopMessageHeader {
        consumer_group: GROUP.into(),
        topic: TOPIC.into(),
        queue_id: -1,
        max_msg_nums: messages,
        invisible_time,
        poll_time: 0,
        born_time: SystemClock.now_ms(),
        init_mode: 0,
        ..PopMessageHeader::default()
    }
}

/// The same that waits for so long.
pub fn waiting(pop: PopMessageHeader, poll_time: i64) -> PopMessageHeader {
    PopMessageHeader { poll_time, born_time: SystemClock.now_ms(), ..pop }
}

pub fn in_order(pop: PopMessageHeader, attempt: &str) -> PopMessageHeader {
    PopMessageHeader { order: Some(true), attempt_id: Some(attempt.into()), ..pop }
}

impl Client {
    pub async fn connect(broker: &Broker) -> Self {
        let config = ClientConfig::default();
        Self(Connection::open(&broker.addr.to_string(), &config).await.unwrap())
    }

    pub async fn ask(&self, request: Command) -> Command {
        self.0.request(request, PATIENCE).await.unwrap()
    }

    pub async fn create_topic(&self, topic: &str, queues: i32) {
        let header = CreateTopicHeader {
            topic: topic.into(),
            default_topic: "TBW102".into(),
            read_queue_nums: queues,
            write_queue_nums: queues,
            perm: 6,
            ..CreateTopicHeader::default()
        };
        let cmd = Command::request(rq::UPDATE_AND_CREATE_TOPIC).with_header(&header);
        assert_eq!(self.ask(cmd).await.code, 0);
    }

    pub async fn send(&self, queue_id: i32, body: &str) {
        self.send_tagged(queue_id, body, "").await;
    }

    pub async fn send_tagged(&self, queue_id: i32, body: &str, tag: &str) {
        let mut properties = String::new();
        if !tag.is_empty() {
            names::append(&mut properties, names::TAGS, tag);
        }
        let header = SendHeader {
            producer_group: "p",
            topic: TOPIC,
            default_topic: "TBW102",
            default_topic_queue_nums: 4,
            queue_id,
            born_timestamp: 1,
            properties: &properties,
            ..SendHeader::default()
        };
        let mut cmd = Command::request(rq::SEND_MESSAGE_V2);
        header.encode_v2(&mut cmd.ext);
        let answer = self.ask(cmd.with_body(body.as_bytes().to_vec())).await;
        assert_eq!((answer.code, answer.remark), (0, None));
    }

    /// Pops; if the pop waits, until it is answered.
    pub async fn pop(&self, header: PopMessageHeader) -> Answer {
        let cmd = Command::request(rq::POP_MESSAGE).with_header(&header);
        answer_of(self.ask(cmd).await, &header.topic)
    }

    /// Pops until so many messages have come: the queues learn of them a little later.
    pub async fn pop_all(&self, count: usize, invisible_time: i64) -> Vec<Popped> {
        let mut messages = Vec::new();
        while messages.len() < count {
            let answer = self.pop(waiting(pop_of(32, invisible_time), 5000)).await;
            assert_eq!(answer.code, 0, "{} of {count}", messages.len());
            messages.extend(answer.messages);
        }
        assert_eq!(messages.len(), count);
        messages
    }

    pub async fn ack(&self, message: &Popped) -> i32 {
        let header = AckMessageHeader {
            consumer_group: GROUP.into(),
            topic: message.real_topic(),
            queue_id: message.pop().queue_id,
            extra_info: message.extra_info.clone(),
            offset: message.offset,
        };
        self.ask(Command::request(rq::ACK_MESSAGE).with_header(&header)).await.code
    }

    /// Acknowledges messages of one queue and one pop at once.
    pub async fn batch_ack(&self, messages: &[Popped]) -> i32 {
        let pop = messages[0].pop();
        let bits = messages.iter().map(|message| (message.offset - pop.start_offset) as u64);
        let ack = BatchAck {
            bits: bits.collect(),
            consumer_group: GROUP.into(),
            invisible_time: pop.invisible_time,
            pop_time: pop.pop_time,
            queue_id: pop.queue_id,
            mark: pop.mark.text().into(),
            revive_qid: pop.revive_qid,
            start_offset: pop.start_offset,
            topic: TOPIC.into(),
        };
        let body = BatchAckBody { acks: vec![ack], broker_name: "b".into() };
        self.ask(Command::request(rq::BATCH_ACK_MESSAGE).with_body(to_json(&body))).await.code
    }

    /// Hides a message anew; as it is known from then on.
    pub async fn hide(&self, message: &Popped, invisible_time: i64) -> Popped {
        let pop = message.pop();
        let header = ChangeInvisibleTimeHeader {
            consumer_group: GROUP.into(),
            topic: message.real_topic(),
            queue_id: pop.queue_id,
            extra_info: message.extra_info.clone(),
            offset: message.offset,
            invisible_time,
        };
        let cmd = Command::request(rq::CHANGE_MESSAGE_INVISIBLETIME).with_header(&header);
        let answer = self.ask(cmd).await;
        assert_eq!(answer.code, 0);
        let hidden = ChangeInvisibleTimeResponse::decode(&answer.ext).unwrap();
        let pop = ExtraInfo {
            start_offset: message.offset,
            pop_time: hidden.pop_time,
            invisible_time: hidden.invisible_time,
            revive_qid: hidden.revive_qid,
            ..pop
        };
        Popped { extra_info: pop.to_string(), ..message.clone() }
    }

    pub async fn notification(&self, poll_time: i64) -> bool {
        let header = NotificationHeader {
            consumer_group: GROUP.into(),
            topic: TOPIC.into(),
            queue_id: -1,
            poll_time,
            born_time: SystemClock.now_ms(),
            order: None,
            attempt_id: None,
        };
        let answer = self.ask(Command::request(rq::NOTIFICATION).with_header(&header)).await;
        assert_eq!(answer.code, 0);
        answer.ext.get("hasMsg") == Some("true")
    }

    pub async fn waiting_pops(&self) -> String {
        let cmd = Command::request(rq::POLLING_INFO)
            .with_ext("consumerGroup", GROUP)
            .with_ext("topic", TOPIC)
            .with_ext("queueId", -1);
        let answer = self.ask(cmd).await;
        assert_eq!(answer.code, 0);
        answer.ext.get("pollingNum").unwrap().to_owned()
    }

    pub async fn set_mode(&self, mode: &RequestModeBody) -> Command {
        let cmd = Command::request(rq::SET_MESSAGE_REQUEST_MODE);
        self.ask(cmd.with_body(to_json(mode))).await
    }
}

/// An answer to a pop with the messages as the Java client makes them: by the lists of the header.
pub fn answer_of(answer: Command, topic: &str) -> Answer {
    let header = PopMessageResponse::decode(&answer.ext).unwrap_or_default();
    let mut messages = Vec::new();
    let mut rest = &answer.body[..];
    while let Some((len, _)) = record::record_len(rest) {
        messages.push(popped(&Record::decode(rest).unwrap(), &header, topic));
        rest = &rest[len..];
    }
    Answer { code: answer.code, header, messages }
}

fn popped(record: &Record<'_>, header: &PopMessageResponse, topic: &str) -> Popped {
    assert_eq!(record.topic, topic);
    let known = names::get(record.properties, names::POP_CK).map(str::to_owned);
    let extra_info = known.unwrap_or_else(|| {
        let offsets = entry(header.msg_offset_info.as_deref(), record.queue_id);
        assert!(offsets.split(',').any(|offset| offset == record.queue_offset.to_string()));
        let pop = ExtraInfo {
            start_offset: entry(header.start_offset_info.as_deref(), record.queue_id)
                .parse()
                .unwrap(),
            pop_time: header.pop_time,
            invisible_time: header.invisible_time,
            revive_qid: header.revive_qid,
            broker_name: "b",
            queue_id: record.queue_id,
            offset: Some(record.queue_offset),
            ..ExtraInfo::default()
        };
        pop.to_string()
    });
    Popped {
        topic: record.topic.into(),
        body: String::from_utf8(record.body.to_vec()).unwrap(),
        offset: record.queue_offset,
        reconsume_times: record.reconsume_times,
        properties: record.properties.into(),
        extra_info,
    }
}

/// What a list says of a queue of the topic itself; there must be one entry for it.
fn entry(list: Option<&str>, queue_id: i32) -> &str {
    let prefix = format!("0 {queue_id} ");
    let mut found = list.unwrap().split(';').filter_map(|entry| entry.strip_prefix(&prefix));
    let entry = found.next().expect("an entry");
    assert_eq!(found.next(), None, "a second entry makes clients throw");
    entry
}
