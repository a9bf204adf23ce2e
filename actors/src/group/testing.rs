//! What the tests of this side share: clients whose connections note what they are sent.

use std::{
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use actix::{Actor, Addr, Context, Handler};
use gantry_codec::{Command, Language, body::SubscriptionData};
use tokio::{sync::oneshot, task::LocalSet};

use super::client::Client;
use crate::net::{ConnectionHandle, ConnectionId, service::Push};

/// Runs a test of actors on one thread, with a clock that stands until everything waits for it.
pub fn run(test: impl Future<Output = ()>) {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .start_paused(true)
        .build()
        .unwrap();
    LocalSet::new().block_on(&runtime, test);
}

/// Lets everything happen that is due within `time`.
pub async fn pass(time: Duration) {
    tokio::time::sleep(time).await;
}

/// Lets everything happen that is due now.
pub async fn settle() {
    pass(Duration::from_millis(1)).await;
}

/// The far end of a connection.
#[derive(Default)]
pub struct Peer {
    seen: Arc<Seen>,
}

/// What the far end was sent.
#[derive(Default)]
pub struct Seen {
    pushed: Mutex<Vec<Command>>,
    closed: Mutex<Option<&'static str>>,
    /// What it answers when asked.
    answer: Mutex<Option<Command>>,
    /// Whether it takes questions and leaves them open.
    hangs: AtomicBool,
    open: Mutex<Vec<oneshot::Sender<Command>>>,
}

impl Seen {
    /// The one-way requests so far; they are taken out.
    pub fn pushed(&self) -> Vec<Command> {
        std::mem::take(&mut self.pushed.lock().unwrap())
    }

    /// Why it was closed, if it was.
    pub fn closed(&self) -> Option<&'static str> {
        *self.closed.lock().unwrap()
    }

    /// From now on it answers nothing, and keeps the connection.
    pub fn will_hang(&self) {
        self.hangs.store(true, Ordering::Relaxed);
    }

    /// From now on it gives this answer.
    pub fn will_answer(&self, answer: Command) {
        *self.answer.lock().unwrap() = Some(answer);
    }
}

impl Actor for Peer {
    type Context = Context<Self>;
}

impl Handler<Push> for Peer {
    type Result = ();

    fn handle(&mut self, push: Push, _: &mut Context<Self>) {
        match push {
            Push::Oneway(command) => self.seen.pushed.lock().unwrap().push(*command),
            Push::Ask(command, sender, _) => {
                self.seen.pushed.lock().unwrap().push(*command);
                if self.seen.hangs.load(Ordering::Relaxed) {
                    self.seen.open.lock().unwrap().push(sender);
                } else if let Some(answer) = self.seen.answer.lock().unwrap().clone() {
                    let _ = sender.send(answer);
                }
            }
            Push::Close(reason) => *self.seen.closed.lock().unwrap() = Some(reason),
            Push::Panic => panic!("nobody asks for that here"),
        }
    }
}

/// A connection of which nobody sees what it is sent; needs no runtime.
pub fn connection(id: u64) -> ConnectionHandle {
    let (sender, _) = actix::dev::channel::channel::<Peer>(0);
    handle(id, Addr::new(sender))
}

/// A connection that notes what it is sent.
pub fn watched_connection(id: u64) -> (ConnectionHandle, Arc<Seen>) {
    let peer = Peer::default();
    let seen = peer.seen.clone();
    (handle(id, peer.start()), seen)
}

fn handle(id: u64, peer: Addr<Peer>) -> ConnectionHandle {
    let remote = ([10, 0, 0, 1], 40_000 + id as u16).into();
    let local = ([10, 0, 0, 2], 10_911).into();
    ConnectionHandle::new(ConnectionId(id), remote, local, peer.recipient())
}

/// A client called `name` on connection `id`.
pub fn client(id: u64, name: &str) -> Client {
    client_on(connection(id), name)
}

/// A client called `name` on that connection.
pub fn client_on(connection: ConnectionHandle, name: &str) -> Client {
    Client { connection, id: name.into(), language: Language::Java, version: 407 }
}

/// A subscription as a client sends it.
pub fn subscription(topic: &str, expression: &str, version: i64) -> SubscriptionData {
    let mut data = SubscriptionData::build(topic, expression).unwrap();
    data.sub_version = version;
    data
}
