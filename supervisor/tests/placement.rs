//! Children on threads of their own. Real threads and a real clock; what is waited for is an answer,
//! never time.

mod common;

use std::sync::mpsc;
use std::thread::{self, ThreadId};
use std::time::Duration;

use actix::{MailboxError, Message, System};
use common::*;
use gantry_supervisor::{
    ChildSpec, Ctx, Exit, Health, Logic, Place, Placement, Policy, Receive, Ref, Reply, State, Tree,
};
use slog::{Discard, Logger, o};

struct Threaded;

impl Logic for Threaded {
    const NAME: &'static str = "threaded";
}

#[derive(Message)]
#[rtype(result = "ThreadId")]
struct Where;

impl Receive<Where> for Threaded {
    fn receive(&mut self, _: Where, _: &mut Ctx<Self>) -> Reply<ThreadId> {
        thread::current().id().into()
    }
}

#[derive(Message)]
#[rtype(result = "()")]
struct Block(mpsc::Receiver<()>);

impl Receive<Block> for Threaded {
    fn receive(&mut self, Block(until): Block, _: &mut Ctx<Self>) -> Reply<()> {
        until.recv().expect("a release");
        Reply::Now(())
    }
}

#[derive(Message)]
#[rtype(result = "()")]
struct Never;

impl Receive<Never> for Threaded {
    fn receive(&mut self, _: Never, _: &mut Ctx<Self>) -> Reply<()> {
        Reply::Later(Box::pin(std::future::pending()))
    }
}

fn threaded(place: Place) -> ChildSpec<Threaded> {
    ChildSpec::new("child", Policy::RestartEmpty, |_| Ok(Threaded)).place(place)
}

fn tree(placement: &Placement) -> Tree {
    Tree::root("root", placement.clone(), Logger::root(Discard, o!()), 1)
}

async fn thread_of(child: &Ref<Threaded>) -> ThreadId {
    child.send(Where).await.expect("an answer")
}

#[test]
fn a_name_is_a_thread() {
    System::new().block_on(async {
        let placement = Placement::threads();
        let tree = tree(&placement);
        let here = tree.spawn(threaded(Place::Here));
        let io_0 = tree.spawn(threaded(Place::numbered("io", 0)));
        let also_io_0 = tree.spawn(threaded(Place::named("io-0")));
        let log = tree.start(threaded(Place::named("log"))).await.expect("starts");
        assert_eq!(thread_of(&here).await, thread::current().id());
        assert_eq!(thread_of(&io_0).await, thread_of(&also_io_0).await);
        assert_ne!(thread_of(&io_0).await, thread_of(&log).await);
        assert_ne!(thread_of(&io_0).await, thread::current().id());
        tree.stop().await;
        assert_eq!(tree.snapshot(), []);
        placement.shut_down();
    });
}

#[test]
fn under_a_single_placement_every_name_is_this_thread() {
    run(async {
        let tree = tree(&Placement::single());
        for place in [Place::Here, Place::named("log"), Place::numbered("io", 7)] {
            let child = tree.spawn(threaded(place));
            assert_eq!(thread_of(&child).await, thread::current().id());
        }
    });
}

#[test]
fn a_child_restarts_on_its_thread() {
    gantry_supervisor::quiet_panics();
    System::new().block_on(async {
        let (placement, journal) = (Placement::threads(), Journal::default());
        let tree = tree(&placement);
        let spec = puppet("a", Policy::RestartFromDisk, &journal).budget(at_once(1));
        let a = tree.spawn(spec.place(Place::named("log")));
        let (lost, behind) = (a.send(Crash("bad")), a.send(Say("behind")));
        assert_eq!((lost.await, behind.await), (Err(MailboxError::Closed), Ok(1)));
        tree.stop().await;
        placement.shut_down();
    });
}

#[test]
fn a_blocked_thread_is_found_and_stops_nobody_else() {
    System::new().block_on(async {
        let placement = Placement::threads();
        let tree = tree(&placement);
        let blocked = tree.start(threaded(Place::named("a"))).await.expect("starts");
        tree.start(threaded(Place::named("b"))).await.expect("starts");
        let (release, until) = mpsc::channel();
        let answer = blocked.send(Block(until));
        let health = |children: Vec<gantry_supervisor::ChildState>| -> Vec<_> {
            children.into_iter().map(|child| child.health).collect()
        };
        let found = health(tree.check(Duration::from_millis(20)).await);
        assert_eq!(found[0], Health::Frozen);
        release.send(()).expect("still there");
        answer.await.expect("an answer");
        thread_of(&blocked).await;
        let found = health(tree.check(Duration::from_secs(60)).await);
        assert_eq!(found, [Health::Up, Health::Up]);
        tree.stop().await;
        placement.shut_down();
    });
}

#[test]
fn children_of_a_thread_that_ends_end_with_errors_not_silence() {
    System::new().block_on(async {
        let placement = Placement::threads();
        let tree = tree(&placement);
        let place = Place::named("brief");
        let child = tree.start(threaded(place.clone())).await.expect("starts");
        let open = child.send(Never);
        let thread = placement.arbiter(&place).expect("a thread");
        thread.stop();
        assert_eq!(open.await, Err(MailboxError::Closed));
        assert_eq!(tree.start(threaded(place)).await.err(), Some(Exit::Killed));
        tree.stop().await;
        assert!(tree.snapshot().iter().all(|child| child.state == State::Ended));
        placement.shut_down();
    });
}
