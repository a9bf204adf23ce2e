//! Orderly start and stop: order, limits, force, and what happens to the mail.

mod common;

use std::time::Duration;

use actix::{ActorContext, AsyncContext, MailboxError, fut};
use common::*;
use gantry_supervisor::{
    ChildSpec, ContextExt, Ctx, Exit, Logic, Policy, Receive, Reply, State, halt,
};
use tokio::time::Instant;

#[test]
fn children_start_in_declared_order_and_stop_in_reverse() {
    run(async {
        let (tree, journal) = (root(), Journal::default());
        let policy = Policy::RestartFromDisk;
        tree.start(puppet("a", policy, &journal)).await.expect("starts");
        let below = tree.subtree("below");
        below.start(puppet("b", policy, &journal)).await.expect("starts");
        tree.start(puppet("c", policy, &journal)).await.expect("starts");
        below.start(puppet("d", policy, &journal)).await.expect("starts");
        let names: Vec<_> = tree.snapshot().into_iter().map(|child| child.name).collect();
        assert_eq!(names, ["root/a", "root/below/b", "root/below/d", "root/c"]);

        tree.stop().await;
        let expected = [
            ["a#0 started"].as_slice(),
            &["b#0 started", "c#0 started", "d#0 started"],
            &["c#0 stopping", "c#0 dropped"],
            &["d#0 stopping", "d#0 dropped"],
            &["b#0 stopping", "b#0 dropped"],
            &["a#0 stopping", "a#0 dropped"],
        ];
        assert_eq!(journal.take(), expected.concat());
        assert_eq!(tree.snapshot(), []);
        tree.stopped().await;
    });
}

#[test]
fn an_orderly_stop_handles_what_was_sent_before_it() {
    run(async {
        let (tree, journal) = (root(), Journal::default());
        let a = tree.start(puppet("a", Policy::RestartFromDisk, &journal)).await.expect("starts");
        let before = a.send(Say("before"));
        tree.stop().await;
        assert_eq!(before.await, Ok(0));
        assert_eq!(a.send(Say("after")).await, Err(MailboxError::Closed));
        assert_eq!(journal.take(), ["a#0 started", "a#0 before", "a#0 stopping", "a#0 dropped"]);
    });
}

#[test]
fn an_actor_may_stop_itself_and_be_told_to() {
    run(async {
        let (tree, journal) = (root(), Journal::default());
        let a = tree.spawn(puppet("a", Policy::RestartFromDisk, &journal));
        let b = tree.spawn(puppet("b", Policy::RestartFromDisk, &journal));
        a.do_send(Do(|_, ctx| ctx.stop()));
        let behind = a.send(Say("behind"));
        halt(&b);
        assert_eq!(behind.await, Err(MailboxError::Closed));
        settle().await;
        assert_eq!(tree.snapshot(), [], "an orderly end is no failure and no restart");
        assert!(!a.connected() && !b.connected());
    });
}

#[test]
fn a_child_that_outstays_its_limit_is_ended_by_force() {
    run(async {
        let (tree, journal) = (root(), Journal::default());
        let limit = Duration::from_secs(3);
        tree.start(puppet("a", Policy::RestartFromDisk, &journal)).await.expect("starts");
        let frozen = tree.spawn(puppet("b", Policy::RestartFromDisk, &journal).stop_limit(limit));
        frozen.send(Freeze(None)).await.expect("an answer");
        let behind = frozen.send(Say("behind"));

        let start = Instant::now();
        tree.stop().await;
        assert_eq!(start.elapsed().as_secs(), 3);
        assert_eq!(behind.await, Err(MailboxError::Closed));
        let lines = journal.take();
        assert!(!lines.contains(&"b#0 stopping".to_owned()), "no orderly stop: {lines:?}");
        assert!(lines.ends_with(&[
            "b#0 dropped".into(),
            "a#0 stopping".into(),
            "a#0 dropped".into()
        ]));
    });
}

#[test]
fn a_slow_child_is_waited_for_within_its_limit() {
    run(async {
        let (tree, journal) = (root(), Journal::default());
        let a = tree.spawn(puppet("a", Policy::RestartFromDisk, &journal));
        a.do_send(Freeze(Some(Duration::from_secs(2))));
        settle().await;
        tree.stop().await;
        assert_eq!(
            journal.take(),
            ["a#0 started", "a#0 freezes", "a#0 thaws", "a#0 stopping", "a#0 dropped"]
        );
    });
}

#[test]
fn a_pool_stops_its_children_together() {
    run(async {
        let (tree, journal) = (root(), Journal::default());
        let pool = tree.pool("pool");
        let start = Instant::now();
        for _ in 0..1000 {
            let slow = pool.spawn(puppet("slow", Policy::Stop, &journal));
            slow.do_send(Freeze(Some(Duration::from_secs(2))));
        }
        settle().await;
        tree.stop().await;
        assert_eq!(start.elapsed().as_secs(), 2);
        assert_eq!(pool.snapshot(), []);
    });
}

#[test]
fn a_child_that_backs_off_stops_without_waiting() {
    run(async {
        let (tree, journal) = (root(), Journal::default());
        let a = tree.spawn(puppet("a", Policy::RestartFromDisk, &journal));
        a.do_send(Crash("down"));
        let behind = a.send(Say("behind"));
        settle().await;
        assert_eq!(only(&tree).state, State::BackingOff);
        let start = Instant::now();
        tree.stop().await;
        assert!(start.elapsed() < Duration::from_millis(2));
        assert_eq!(behind.await, Err(MailboxError::Closed));
        assert_eq!(journal.take(), ["a#0 started", "a#0 dropped"]);
    });
}

#[test]
fn a_panic_during_the_stop_is_not_followed_by_a_restart() {
    run(async {
        let (tree, journal) = (root(), Journal::default());
        let a = tree.start(puppet("a", Policy::RestartFromDisk, &journal)).await.expect("starts");
        a.do_send(Crash("on the way out"));
        tree.stop().await;
        assert_eq!(journal.take(), ["a#0 started", "a#0 dropped"]);
        assert_eq!(tree.counters().panics, 1);
    });
}

#[test]
fn a_stopping_tree_makes_no_children() {
    run(async {
        let (tree, journal) = (root(), Journal::default());
        let below = tree.subtree("below");
        tree.stop().await;
        for stopped in [&tree, &below, &below.subtree("late")] {
            let late = stopped.start(puppet("late", Policy::RestartFromDisk, &journal)).await;
            assert_eq!(late.err(), Some(Exit::Stopped));
            let late = stopped.spawn(puppet("late", Policy::RestartFromDisk, &journal));
            assert_eq!(late.send(Say("hello")).await, Err(MailboxError::Closed));
        }
        assert_eq!(journal.take(), Vec::<String>::new());
    });
}

/// Flushes when it stops: synchronously what is due, then a slow write.
struct Flushing {
    journal: Journal,
}

impl Logic for Flushing {
    const NAME: &'static str = "flushing";

    fn drained(&mut self, _: &mut Ctx<Self>) {
        self.journal.note("committed");
    }

    fn stopping(&mut self, ctx: &mut Ctx<Self>) {
        self.journal.note("stopping");
        ctx.wait_then(tokio::time::sleep(Duration::from_secs(1)), |this, (), _| {
            this.journal.note("flushed");
        });
    }
}

#[derive(actix::Message)]
#[rtype(result = "()")]
struct Write;

impl Receive<Write> for Flushing {
    fn receive(&mut self, _: Write, _: &mut Ctx<Self>) -> Reply<()> {
        self.journal.note("written");
        Reply::Now(())
    }
}

#[test]
fn what_is_due_is_committed_and_a_last_future_awaited_before_the_end() {
    run(async {
        let (tree, journal) = (root(), Journal::default());
        let noted = journal.clone();
        let spec = ChildSpec::once("a", move |_| Ok(Flushing { journal: noted }));
        let a = tree.start(spec).await.expect("starts");
        settle().await;
        journal.take();
        a.do_send(Write);
        tree.stop().await;
        assert_eq!(journal.take(), ["written", "committed", "stopping", "flushed"]);
    });
}

#[test]
fn a_last_future_that_never_comes_is_cut_off() {
    struct Stuck;
    impl Logic for Stuck {
        const NAME: &'static str = "stuck";
        fn stopping(&mut self, ctx: &mut Ctx<Self>) {
            ctx.wait(fut::wrap_future(std::future::pending()));
        }
    }
    run(async {
        let tree = root();
        let spec = ChildSpec::once("a", |_| Ok(Stuck)).stop_limit(Duration::from_secs(1));
        tree.start(spec).await.expect("starts");
        let start = Instant::now();
        tree.stop().await;
        assert_eq!(start.elapsed().as_secs(), 1);
    });
}

#[test]
fn a_child_outlives_its_last_address() {
    run(async {
        let (tree, journal) = (root(), Journal::default());
        drop(tree.spawn(puppet("a", Policy::RestartFromDisk, &journal)));
        settle().await;
        assert_eq!(only(&tree).state, State::Running);
    });
}
