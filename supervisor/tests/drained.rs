//! The on-drained hook: once per wake-up, after everything that woke the actor.

mod common;

use std::time::Duration;

use actix::{ActorContext, AsyncContext, Message};
use common::*;
use futures_util::stream;
use gantry_supervisor::{
    ChildSpec, ContextExt, Ctx, Logic, Policy, Receive, Ref, Reply, Shell, StreamLogic, Tree,
};

/// Counts messages and items until they are committed.
struct Batcher {
    journal: Journal,
    open: u32,
}

impl Logic for Batcher {
    const NAME: &'static str = "batcher";

    fn drained(&mut self, ctx: &mut Ctx<Self>) {
        self.journal.note(format!("commit {}", self.open));
        if self.open == 3 {
            ctx.address().do_send(Add(1));
        }
        self.open = 0;
    }
}

#[derive(Message)]
#[rtype(result = "()")]
struct Add(u32);

impl Receive<Add> for Batcher {
    fn receive(&mut self, Add(n): Add, _: &mut Ctx<Self>) -> Reply<()> {
        assert_ne!(n, 99, "bad message");
        self.open += n;
        Reply::Now(())
    }
}

/// Runs any code on the batcher.
#[derive(Message)]
#[rtype(result = "()")]
struct With(fn(&mut Batcher, &mut Ctx<Batcher>));

impl Receive<With> for Batcher {
    fn receive(&mut self, With(what): With, ctx: &mut Ctx<Self>) -> Reply<()> {
        what(self, ctx);
        Reply::Now(())
    }
}

impl StreamLogic<u32> for Batcher {
    fn item(&mut self, item: u32, _: &mut Ctx<Self>) {
        self.open += item;
    }

    fn finished(&mut self, _: &mut Ctx<Self>) {}
}

/// A running batcher whose start has been committed.
async fn batcher(tree: &Tree, journal: &Journal) -> Ref<Batcher> {
    let noted = journal.clone();
    let spec = ChildSpec::new("batcher", Policy::RestartFromDisk, move |_| {
        Ok(Batcher { journal: noted.clone(), open: 0 })
    });
    let batcher = tree.start(spec.budget(at_once(9))).await.expect("starts");
    settle().await;
    assert_eq!(journal.take(), ["commit 0"], "a start is a wake-up too");
    batcher
}

#[test]
fn one_commit_per_burst() {
    run(async {
        let (tree, journal) = (root(), Journal::default());
        let batcher = batcher(&tree, &journal).await;
        for burst in [1, 100, 10_000] {
            for _ in 0..burst {
                batcher.do_send(Add(1));
            }
            settle().await;
            assert_eq!(journal.take(), [format!("commit {burst}")]);
        }
        settle().await;
        assert_eq!(journal.take(), Vec::<String>::new(), "no commit without a message");
    });
}

#[test]
fn replies_do_not_wait_for_the_commit_but_the_commit_precedes_sleep() {
    run(async {
        let (tree, journal) = (root(), Journal::default());
        let batcher = batcher(&tree, &journal).await;
        batcher.send(Add(1)).await.expect("an answer");
        assert_eq!(journal.take(), ["commit 1"]);
    });
}

#[test]
fn a_message_sent_by_the_hook_is_a_burst_of_its_own() {
    run(async {
        let (tree, journal) = (root(), Journal::default());
        batcher(&tree, &journal).await.do_send(Add(3));
        settle().await;
        assert_eq!(journal.take(), ["commit 3", "commit 1"]);
    });
}

#[test]
fn futures_timers_and_streams_come_before_the_hook() {
    run(async {
        let (tree, journal) = (root(), Journal::default());
        let batcher = batcher(&tree, &journal).await;
        batcher.do_send(With(|this, ctx| {
            this.open += 1;
            ctx.spawn_then(async {}, |this, (), _| this.open += 10);
            Shell::<Batcher>::attach_stream(ctx, stream::iter([100, 100]));
            ctx.after(Duration::from_secs(1), |this, _| this.open += 5);
        }));
        settle().await;
        assert_eq!(journal.take(), ["commit 211"]);
        tokio::time::sleep(Duration::from_secs(2)).await;
        assert_eq!(journal.take(), ["commit 5"]);
    });
}

#[test]
fn a_long_stream_commits_before_it_has_ended() {
    run(async {
        let (tree, journal) = (root(), Journal::default());
        let batcher = batcher(&tree, &journal).await;
        batcher.do_send(With(|_, ctx| {
            Shell::<Batcher>::attach_stream(ctx, stream::iter([10; 40]));
        }));
        settle().await;
        // The hook is due from the order to attach on; the items of the second wake-up make it due
        // again, and actix has polled the stream once more before its turn comes.
        assert_eq!(journal.take(), ["commit 160", "commit 240"]);
    });
}

#[test]
fn a_stop_commits_what_is_open_and_a_failure_does_not() {
    run(async {
        let (tree, journal) = (root(), Journal::default());
        let batcher = batcher(&tree, &journal).await;
        batcher.do_send(Add(2));
        batcher.do_send(Add(99));
        batcher.do_send(Add(4));
        settle().await;
        assert_eq!(journal.take(), ["commit 4"], "what the dead incarnation held is gone");

        batcher.do_send(With(|this, ctx| {
            this.open += 7;
            ctx.fail("after all");
        }));
        settle().await;
        assert_eq!(journal.take(), ["commit 0"], "the start of the next incarnation");

        batcher.do_send(With(|this, ctx| {
            this.open += 8;
            ctx.stop();
        }));
        settle().await;
        assert_eq!(journal.take(), ["commit 8"]);
    });
}
