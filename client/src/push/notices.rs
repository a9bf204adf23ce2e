//! What brokers ask of a consumer: that members have changed (40), that offsets were reset (220), how far
//! it is (221), how it is doing (307), to take one message at once (309).
//!
//! Called on the connection's task: what takes time is left to the membership task, or to one of its own.
//! Requests about other groups go to the handler that the client was configured with.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};

use gantry_codec::body::{ConsumerStatusBody, MessageQueue, MessageQueueMap};
use gantry_codec::{Command, fastjson, request_code, response_code};
use serde::Deserialize;
use tokio::sync::Notify;
use tokio::time::Instant;

use super::config::{Handler, PushConfig, Verdict};
use super::worker::Held;
use crate::connection::{Connection, Inbound};
use crate::message::MessageExt;

/// See the module's text.
pub(super) struct Notices {
    group: String,
    orderly: bool,
    others: Arc<dyn Inbound>,
    /// There is something for the membership task.
    pub(super) wake: Notify,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    /// Offsets that an administrator has set.
    resets: BTreeMap<MessageQueue, i64>,
    /// What is consumed now.
    held: Vec<Weak<Held>>,
    handler: Option<Weak<dyn Handler>>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct ResetBody {
    offset_table: MessageQueueMap<i64>,
}

impl Notices {
    pub(super) fn new(config: &PushConfig, others: Arc<dyn Inbound>) -> Notices {
        Notices {
            group: config.group.clone(),
            orderly: config.orderly,
            others,
            wake: Notify::new(),
            state: Mutex::default(),
        }
    }

    /// What is consumed from now on, and by whom.
    pub(super) fn publish(&self, held: Vec<Weak<Held>>, handler: &Arc<dyn Handler>) {
        let mut state = self.state();
        state.held = held;
        state.handler = Some(Arc::downgrade(handler));
    }

    /// The resets that came since the last call.
    pub(super) fn take_resets(&self) -> BTreeMap<MessageQueue, i64> {
        std::mem::take(&mut self.state().resets)
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn held(&self) -> Vec<Arc<Held>> {
        self.state().held.iter().filter_map(Weak::upgrade).collect()
    }

    fn is_ours(&self, request: &Command) -> bool {
        let named = request.ext.get("consumerGroup").or_else(|| request.ext.get("group"));
        named == Some(self.group.as_str())
    }

    fn reset(&self, request: &Command) {
        // A table that cannot be read moves nothing; the broker keeps the offsets that it has set.
        if let Ok(body) = fastjson::from_slice::<ResetBody>(&request.body) {
            self.state().resets.extend(body.offset_table.0);
            self.wake.notify_one();
        }
    }

    fn status(&self, request: &Command) -> Command {
        let topic = request.ext.get("topic");
        let held = self.held();
        let held = held.iter().filter(|held| topic.is_none_or(|topic| held.queue.topic == topic));
        let table = held.filter_map(|held| Some((held.queue.clone(), held.progress()?)));
        let body = ConsumerStatusBody { message_queue_table: table.collect() };
        with_queues(request, &body)
    }

    /// As the official clients shape it, as far as tools read it.
    fn running_info(&self, request: &Command) -> Command {
        let held = self.held();
        let queues = held.iter().map(|held| {
            let (messages, bytes) = held.load();
            let info = serde_json::json!({
                "cachedMsgCount": messages,
                "cachedMsgSizeInMiB": bytes >> 20,
                "commitOffset": held.progress().unwrap_or(-1),
                "droped": false,
                "locked": self.orderly && held.lease.holds(Instant::now()),
            });
            (held.queue.clone(), info)
        });
        let table: MessageQueueMap<serde_json::Value> = queues.collect();
        let body = RunningInfo {
            mq_table: table,
            properties: [
                ("PROP_CONSUME_TYPE", "CONSUME_PASSIVELY".to_owned()),
                ("PROP_CONSUMEORDERLY", self.orderly.to_string()),
            ]
            .into(),
        };
        with_queues(request, &body)
    }

    /// Has the handler take a message beside all others, and answers when it has.
    fn consume_directly(&self, connection: &Connection, request: Command) -> Option<Command> {
        let handler = self.state().handler.as_ref().and_then(Weak::upgrade);
        let message = MessageExt::decode(&request.body);
        let (Some(handler), Ok(message)) = (handler, message) else {
            let code = response_code::SYSTEM_ERROR;
            let remark = "the message cannot be read, or nobody consumes any more";
            return Some(Command::response(code, &request).with_remark(remark));
        };
        let (connection, orderly) = (connection.clone(), self.orderly);
        tokio::spawn(async move {
            let began = Instant::now();
            let verdict = handler.handle(vec![message]).await;
            let result = match verdict {
                Verdict::Done => "CR_SUCCESS",
                Verdict::Again => "CR_LATER",
            };
            let body = serde_json::json!({
                "autoCommit": true,
                "consumeResult": result,
                "order": orderly,
                "spentTimeMills": i64::try_from(began.elapsed().as_millis()).unwrap_or(i64::MAX),
            });
            let answer = Command::response(response_code::SUCCESS, &request);
            // A connection that has ended meanwhile takes no answer.
            let _ = connection.reply(&answer.with_body(body.to_string()));
        });
        None
    }
}

#[derive(serde::Serialize)]
#[serde(rename_all = "camelCase")]
struct RunningInfo {
    mq_table: MessageQueueMap<serde_json::Value>,
    properties: BTreeMap<&'static str, String>,
}

fn with_queues(request: &Command, body: &impl serde::Serialize) -> Command {
    match fastjson::to_vec_object_keys(body) {
        Ok(body) => Command::response(response_code::SUCCESS, request).with_body(body),
        Err(error) => Command::response(response_code::SYSTEM_ERROR, request)
            .with_remark(format!("the answer cannot be written: {error}")),
    }
}

impl Inbound for Notices {
    fn request(&self, connection: &Connection, request: Command) -> Option<Command> {
        if !self.is_ours(&request) {
            return self.others.request(connection, request);
        }
        match request.code {
            request_code::NOTIFY_CONSUMER_IDS_CHANGED => {
                self.wake.notify_one();
                None
            }
            request_code::RESET_CONSUMER_CLIENT_OFFSET => {
                self.reset(&request);
                None
            }
            request_code::GET_CONSUMER_STATUS_FROM_CLIENT => Some(self.status(&request)),
            request_code::GET_CONSUMER_RUNNING_INFO => Some(self.running_info(&request)),
            request_code::CONSUME_MESSAGE_DIRECTLY => self.consume_directly(connection, request),
            _ => self.others.request(connection, request),
        }
    }
}

impl fmt::Debug for Notices {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Notices").field("group", &self.group).finish_non_exhaustive()
    }
}
