//! A whole group side for tests: its actors on one thread, over a real directory, with facts about
//! topics that the test sets.

use std::{
    collections::HashMap,
    path::PathBuf,
    sync::{Arc, Mutex},
    time::Duration,
};

use futures_util::future::LocalBoxFuture;
use gantry_codec::{
    Command,
    body::{TopicConfig, to_json},
    request_code as rq,
};
use gantry_storage::{Disk, ManualClock, RealDisk};
use gantry_supervisor::{Place, Placement, Tree};
use serde_json::{Value, json};
use slog::{Discard, Logger, o};
use tempfile::TempDir;

use super::{
    control::{Control, ControlConfig, ControlSession},
    diagnosis::{DiagnosisSettings, Limits},
    facts::{Counted, QueueFacts, RetryTopic, RetryTopics, Wanted},
    groups::GroupsConfig,
    start::{GroupSettings, Surroundings, start},
    testing::{Seen, watched_connection},
};
use crate::net::{ConnectionHandle, Outcome};

/// See the module's text.
pub struct Bench {
    pub control: Control,
    pub topics: Arc<FakeTopics>,
    pub tree: Tree,
    pub clock: Arc<ManualClock>,
    dir: TempDir,
    settings: GroupSettings,
}

/// Topics and queues as a test wants them.
#[derive(Default)]
pub struct FakeTopics {
    pub configs: Mutex<HashMap<String, TopicConfig>>,
    pub queues: Mutex<HashMap<(String, i32), Queue>>,
    /// Retry topics asked for.
    pub ensured: Mutex<Vec<RetryTopic>>,
    /// How long making the next retry topics takes; taken from the front.
    pub delays: Mutex<Vec<Duration>>,
}

/// First offset, end, and whether the first message is in memory.
type Queue = (i64, i64, bool);

impl FakeTopics {
    /// There is a topic with so many queues.
    pub fn topic(&self, name: &str, queues: i32) {
        let config = TopicConfig {
            topic_name: name.into(),
            read_queue_nums: queues,
            write_queue_nums: queues,
            ..TopicConfig::default()
        };
        self.configs.lock().unwrap().insert(name.into(), config);
    }

    /// A queue holds these offsets.
    pub fn queue(&self, topic: &str, queue_id: i32, min: i64, max: i64, in_memory: bool) {
        self.queues.lock().unwrap().insert((topic.into(), queue_id), (min, max, in_memory));
    }

    fn get(&self, topic: &str, queue_id: i32) -> Queue {
        let queues = self.queues.lock().unwrap();
        queues.get(&(topic.to_owned(), queue_id)).copied().unwrap_or((0, 0, true))
    }
}

/// The message at an offset was stored at ten times its offset.
impl QueueFacts for FakeTopics {
    fn topic(&self, topic: &str) -> Option<TopicConfig> {
        self.configs.lock().unwrap().get(topic).cloned()
    }

    fn range(&self, topic: &str, queue_id: i32) -> (i64, i64) {
        let (min, max, _) = self.get(topic, queue_id);
        (min, max)
    }

    fn is_in_memory(&self, topic: &str, queue_id: i32, _: i64) -> bool {
        self.get(topic, queue_id).2
    }

    fn store_time(&self, _: &str, _: i32, offset: i64) -> Option<i64> {
        Some(offset * 10)
    }

    /// The tags code of a message is its offset, and so are its properties.
    fn count(
        &self,
        topic: &str,
        queue_id: i32,
        from: i64,
        count_max: i64,
        wanted: Wanted<'_>,
    ) -> Option<Counted> {
        let (min, max, _) = self.get(topic, queue_id);
        let seen: Vec<_> = (from.max(min)..max).take(count_max as usize).collect();
        let is_wanted = |offset: i64| match wanted {
            Wanted::ByTags(wanted) => wanted(offset),
            Wanted::ByProperties(wanted) => wanted(&format!("offset\u{1}{offset}\u{2}")),
        };
        let wanted = seen.iter().filter(|offset| is_wanted(**offset)).count();
        Some(Counted { wanted: wanted as i64, seen: seen.len() as i64 })
    }

    fn search(&self, topic: &str, queue_id: i32, time_ms: i64) -> i64 {
        let (min, max, _) = self.get(topic, queue_id);
        (time_ms / 10).clamp(min, max)
    }
}

impl RetryTopics for FakeTopics {
    fn ensure(&self, topic: RetryTopic) -> LocalBoxFuture<'static, Result<(), String>> {
        self.ensured.lock().unwrap().push(topic);
        let mut delays = self.delays.lock().unwrap();
        let delay = if delays.is_empty() { Duration::ZERO } else { delays.remove(0) };
        Box::pin(async move {
            tokio::time::sleep(delay).await;
            Ok(())
        })
    }
}

/// What most tests run with.
pub fn settings() -> GroupSettings {
    GroupSettings {
        control: ControlConfig {
            broker_name: "broker-a".into(),
            broker_addr: "10.0.0.2:10911".into(),
            server_side_reset: true,
            sql92: false,
            serves_light_queues: false,
        },
        groups: GroupsConfig {
            auto_create: true,
            notify: true,
            client_expiry: Duration::from_secs(120),
            disconnected_lock: super::locks::CLIENT_LEASE,
            place: Place::Here,
        },
        offsets_interval: Duration::from_secs(5),
        file_place: Place::Here,
        diagnosis: DiagnosisSettings {
            limits: Limits { stuck_ms: 120_000, commit_ms: 300_000 },
            place: Place::Here,
        },
    }
}

impl Bench {
    pub async fn new() -> Self {
        Self::with(settings()).await
    }

    pub async fn with(settings: GroupSettings) -> Self {
        Self::over(TempDir::new().unwrap(), settings).await
    }

    /// Over the files of an earlier one.
    pub async fn over(dir: TempDir, settings: GroupSettings) -> Self {
        let log = Logger::root(Discard, o!());
        let tree = Tree::root("broker", Placement::single(), log.clone(), 1);
        let topics = Arc::new(FakeTopics::default());
        let clock = Arc::new(ManualClock::new(1_700_000_000_000));
        let around = Surroundings {
            tree: &tree,
            config_dir: dir.path(),
            disk: Arc::new(RealDisk),
            clock: clock.clone(),
            facts: topics.clone(),
            retry_topics: topics.clone(),
            log: &log,
        };
        let control = start(settings.clone(), around).await.unwrap();
        Self { control, topics, tree, clock, dir, settings }
    }

    /// Stops in order and starts again on the same files.
    pub async fn restart(self) -> Self {
        self.tree.stop().await;
        Self::over(self.dir, self.settings).await
    }

    /// A file of this side.
    pub fn file(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    /// A file's content.
    pub fn json(&self, name: &str) -> Value {
        serde_json::from_slice(&RealDisk.read(&self.file(name)).unwrap().unwrap()).unwrap()
    }

    /// A new connection.
    pub fn connect(&self, id: u64) -> Peer {
        let (conn, seen) = watched_connection(id);
        Peer { session: self.control.session(), conn, seen }
    }
}

/// A client's connection with its part of the control plane.
pub struct Peer {
    pub session: ControlSession,
    pub conn: ConnectionHandle,
    pub seen: Arc<Seen>,
}

impl Peer {
    /// Puts a request and waits for the answer.
    pub async fn ask(&mut self, cmd: Command) -> Command {
        answer(self.session.request(cmd, &self.conn)).await
    }

    /// The body of the answer to a request that succeeds.
    pub async fn body(&mut self, cmd: Command) -> Value {
        let answer = self.ask(cmd).await;
        assert_eq!((answer.code, &answer.remark), (0, &None));
        gantry_codec::fastjson::from_slice(&answer.body).unwrap()
    }

    /// The connection ends.
    pub fn close(&mut self) {
        self.session.closed(&self.conn);
    }

    /// A heartbeat as a push consumer sends it, with `*` for each topic.
    pub async fn beat(&mut self, client: &str, group: &str, topics: &[&str]) -> Command {
        self.ask(heartbeat(client, group, topics)).await
    }
}

/// Waits for an outcome that is an answer.
pub async fn answer(outcome: Outcome) -> Command {
    match outcome {
        Outcome::Reply(answer) => answer,
        Outcome::Later(work) => work.await,
        _ => panic!("no answer"),
    }
}

/// A request with a JSON body.
pub fn with_body(code: i32, body: &Value) -> Command {
    Command::request(code).with_body(to_json(body))
}

/// A heartbeat as a push consumer sends it, with `*` for each topic.
pub fn heartbeat(client: &str, group: &str, topics: &[&str]) -> Command {
    let subscription = |topic: &&str| json!({"topic": topic, "subString": "*", "subVersion": 1});
    let consumer = json!({
        "groupName": group,
        "consumeType": "CONSUME_PASSIVELY",
        "messageModel": "CLUSTERING",
        "consumeFromWhere": "CONSUME_FROM_LAST_OFFSET",
        "subscriptionDataSet": topics.iter().map(subscription).collect::<Vec<_>>(),
    });
    let body = json!({"clientID": client, "consumerDataSet": [consumer], "producerDataSet": []});
    let mut cmd = with_body(rq::HEART_BEAT, &body);
    cmd.version = 407;
    cmd
}
