//! Restarts in place: what survives a dead incarnation, what does not, and who is told.

mod common;

use std::cell::Cell;
use std::time::Duration;

use actix::MailboxError;
use common::*;
use gantry_supervisor::{
    Budget, ChildSpec, ContextExt, Counters, Ctx, Exit, Health, Logic, Policy, Receive, Reply,
    Shell, State, StreamLogic,
};
use tokio::time::Instant;

#[test]
fn messages_behind_a_panic_are_handled_by_the_next_incarnation() {
    run(async {
        let (tree, journal) = (root(), Journal::default());
        let spec = puppet("a", Policy::RestartFromDisk, &journal).budget(at_once(1));
        let a = tree.start(spec).await.expect("starts");

        let before = a.send(Say("before"));
        let crash = a.send(Crash("bad message"));
        let behind = [a.send(Say("behind")), a.send(Say("further behind"))];

        assert_eq!(before.await, Ok(0));
        assert_eq!(crash.await, Err(MailboxError::Closed));
        for answer in behind {
            assert_eq!(answer.await, Ok(1));
        }
        let expected = [
            "a#0 started",
            "a#0 before",
            "a#0 dropped",
            "a#1 started",
            "a#1 behind",
            "a#1 further behind",
        ];
        assert_eq!(journal.take(), expected);
    });
}

#[test]
fn a_panic_is_shown_with_its_text_and_place() {
    run(async {
        let (tree, journal) = (root(), Journal::default());
        let a = tree.spawn(puppet("a", Policy::RestartEmpty, &journal).budget(at_once(5)));
        a.do_send(Crash("bad message"));
        assert_eq!(a.send(Say("x")).await, Ok(1));

        let state = only(&tree);
        assert_eq!((&*state.name, state.kind, state.state), ("root/a", "puppet", State::Running));
        assert_eq!((state.incarnation, state.restarts, state.panics, state.lost), (1, 1, 1, 1));
        let Some(Exit::Panicked { message, site: Some(site) }) = state.last_exit else {
            panic!("{:?}", state.last_exit);
        };
        assert_eq!(message, "bad message");
        assert!(site.contains("common/mod.rs:"), "{site}");
        assert_eq!(tree.counters(), Counters { restarts: 1, panics: 1, lost: 1 });
    });
}

#[test]
fn a_failure_lets_the_handler_answer_and_hands_the_rest_on() {
    run(async {
        let (tree, journal) = (root(), Journal::default());
        let a = tree.spawn(puppet("a", Policy::RestartFromDisk, &journal).budget(at_once(1)));
        let failing = a.send(Fail("disk is full"));
        let behind = a.send(Say("behind"));
        assert_eq!(failing.await, Ok(0), "the reply of the failing handler is delivered");
        assert_eq!(behind.await, Ok(1));

        let state = only(&tree);
        assert_eq!(state.last_exit, Some(Exit::Failed("disk is full".to_owned())));
        assert_eq!((state.restarts, state.panics, state.lost), (1, 0, 0));
        assert!(
            !journal.take().contains(&"a#0 stopping".to_owned()),
            "a failure is no orderly stop"
        );
    });
}

#[test]
fn the_mailbox_waits_while_backing_off_and_waits_grow() {
    run(async {
        let (tree, journal) = (root(), Journal::default());
        let budget = Budget {
            restarts: 4,
            window: Duration::from_secs(60),
            backoff_first: Duration::from_millis(100),
            backoff_max: Duration::from_millis(400),
        };
        let a = tree.spawn(puppet("a", Policy::RestartFromDisk, &journal).budget(budget));
        let mut waits = Vec::new();
        for round in 1..=4 {
            let fell = Instant::now();
            assert_eq!(a.send(Crash("again")).await, Err(MailboxError::Closed));
            assert_eq!(fell.elapsed(), Duration::ZERO, "the caller is told at once");
            assert_eq!(only(&tree).state, State::BackingOff);
            assert_eq!(a.send(Say("after")).await, Ok(round));
            waits.push(fell.elapsed());
        }
        for (wait, full_ms) in waits.iter().zip([100, 200, 400, 400]) {
            let full = Duration::from_millis(full_ms);
            assert!(*wait >= full / 2 && *wait <= full + Duration::from_millis(1), "{waits:?}");
        }
    });
}

#[test]
fn same_seed_same_waits() {
    let elapsed = || {
        run(async {
            let (tree, journal) = (root(), Journal::default());
            let a = tree.spawn(puppet("a", Policy::RestartEmpty, &journal));
            let start = Instant::now();
            for _ in 0..3 {
                a.do_send(Crash("again"));
            }
            a.send(Say("after")).await.expect("an answer");
            start.elapsed()
        })
    };
    assert_eq!(elapsed(), elapsed());
}

#[test]
fn a_factory_that_fails_counts_against_the_budget() {
    run(async {
        let (tree, journal) = (root(), Journal::default());
        let made = journal.clone();
        let spec = ChildSpec::new("a", Policy::RestartFromDisk, move |incarnation| {
            if incarnation < 2 {
                return Err("no such file".to_owned());
            }
            Ok(Puppet::new("a", incarnation, &made))
        });
        let a = tree.spawn(spec.budget(at_once(2)));
        assert_eq!(a.send(Say("patience")).await, Ok(2));
        let state = only(&tree);
        assert_eq!(state.last_exit, Some(Exit::NotMade("no such file".to_owned())));
        assert_eq!(state.restarts, 2);
    });
}

#[test]
fn a_factory_that_never_works_is_an_error_of_start() {
    run(async {
        let tree = root();
        let spec = ChildSpec::<Puppet>::new("a", Policy::RestartFromDisk, |_| {
            Err("no such file".to_owned())
        });
        let exit = tree.start(spec.budget(at_once(3))).await.expect_err("cannot be made");
        assert_eq!(exit, Exit::NotMade("no such file".to_owned()));
        settle().await;
        assert_eq!((only(&tree).state, only(&tree).restarts), (State::Ended, 3));
    });
}

#[test]
fn a_factory_may_panic() {
    run(async {
        let (tree, journal) = (root(), Journal::default());
        let made = journal.clone();
        let spec = ChildSpec::new("a", Policy::RestartFromDisk, move |incarnation| {
            assert_ne!(incarnation, 0, "not yet");
            Ok(Puppet::new("a", incarnation, &made))
        });
        let a = tree.spawn(spec.budget(at_once(1)));
        assert_eq!(a.send(Say("hello")).await, Ok(1));
        assert_eq!(only(&tree).panics, 1);
    });
}

#[test]
fn open_answers_die_with_their_incarnation_at_once() {
    run(async {
        let (tree, journal) = (root(), Journal::default());
        let a = tree.spawn(puppet("a", Policy::RestartFromDisk, &journal));
        let kept = a.send(AnswerLater(Duration::from_millis(1)));
        assert_eq!(kept.await, Ok(0));

        let start = Instant::now();
        let lost = a.send(AnswerLater(Duration::from_secs(9)));
        settle().await;
        a.do_send(Crash("with an open answer"));
        assert_eq!(lost.await, Err(MailboxError::Closed));
        assert!(start.elapsed() < Duration::from_millis(2), "not after the back-off");
        assert_eq!(only(&tree).lost, 2);
    });
}

#[test]
fn many_open_answers_come_in_the_order_of_their_futures() {
    run(async {
        let (tree, journal) = (root(), Journal::default());
        let a = tree.spawn(puppet("a", Policy::RestartFromDisk, &journal));
        let start = Instant::now();
        let ask = |ms| (u128::from(ms), a.send(AnswerLater(Duration::from_millis(ms))));
        let asked: Vec<_> = (1..=100).rev().map(ask).collect();
        for (ms, answer) in asked.into_iter().rev() {
            assert_eq!(answer.await, Ok(0));
            assert_eq!(start.elapsed().as_millis(), ms);
        }
    });
}

#[test]
fn a_later_answer_may_panic() {
    struct Late;
    impl Logic for Late {
        const NAME: &'static str = "late";
    }
    #[derive(actix::Message)]
    #[rtype(result = "()")]
    struct Ask;
    impl Receive<Ask> for Late {
        fn receive(&mut self, _: Ask, _: &mut Ctx<Self>) -> Reply<()> {
            Reply::Later(Box::pin(async { panic!("in an answer") }))
        }
    }
    run(async {
        let tree = root();
        let late = tree
            .spawn(ChildSpec::new("late", Policy::RestartEmpty, |_| Ok(Late)).budget(at_once(1)));
        assert_eq!(late.send(Ask).await, Err(MailboxError::Closed));
        assert_eq!(only(&tree).incarnation, 1);
    });
}

#[test]
fn futures_and_timers_end_with_their_incarnation() {
    run(async {
        let (tree, journal) = (root(), Journal::default());
        let a = tree.spawn(puppet("a", Policy::RestartFromDisk, &journal).budget(at_once(5)));
        a.do_send(Do(|_, ctx| {
            ctx.after(Duration::from_secs(1), |_, _| panic!("a timer of a dead incarnation"));
            ctx.every(Duration::from_secs(1), |_, _| panic!("a timer of a dead incarnation"));
            ctx.spawn_then(tokio::time::sleep(Duration::from_secs(1)), |_, (), _| {
                panic!("a future of a dead incarnation")
            });
        }));
        a.do_send(Crash("first"));
        tokio::time::sleep(Duration::from_secs(10)).await;
        assert_eq!((only(&tree).incarnation, only(&tree).panics), (1, 1));
    });
}

#[test]
fn panics_in_futures_and_timers_are_caught() {
    run(async {
        let (tree, journal) = (root(), Journal::default());
        let a = tree.spawn(puppet("a", Policy::RestartFromDisk, &journal).budget(at_once(5)));
        let panicking: [fn(&mut Puppet, &mut Ctx<Puppet>); 4] = [
            |_, ctx| {
                ctx.after(Duration::from_secs(1), |_, _| panic!("timer"));
            },
            |_, ctx| {
                ctx.spawn_then(async { panic!("future") }, |_, (), _| ());
            },
            |_, ctx| ctx.wait_then(async {}, |_, (), _| panic!("then")),
            |_, ctx| ctx.wait_then(async { panic!("waited for") }, |_, (), _| ()),
        ];
        for (n, panicking) in (1..).zip(panicking) {
            a.do_send(Do(panicking));
            tokio::time::sleep(Duration::from_secs(2)).await;
            assert_eq!(a.send(Say("still here")).await, Ok(n));
        }
        assert_eq!(only(&tree).lost, 0, "no message was in hand");
    });
}

#[test]
fn a_stream_belongs_to_its_incarnation_and_its_items_are_guarded() {
    struct Reader {
        journal: Journal,
        incarnation: u32,
    }
    impl Logic for Reader {
        const NAME: &'static str = "reader";
        fn started(&mut self, ctx: &mut Ctx<Self>) {
            let first = self.incarnation * 10;
            Shell::<Self>::attach_stream(ctx, futures_util::stream::iter(first..first + 3));
        }
    }
    impl StreamLogic<u32> for Reader {
        fn item(&mut self, item: u32, _: &mut Ctx<Self>) {
            assert_ne!(item, 1, "bad item");
            self.journal.note(item.to_string());
        }
    }
    run(async {
        let (tree, journal) = (root(), Journal::default());
        let noted = journal.clone();
        let reader = ChildSpec::new("reader", Policy::RestartEmpty, move |incarnation| {
            Ok(Reader { journal: noted.clone(), incarnation })
        });
        tree.spawn(reader.budget(at_once(1)));
        settle().await;
        assert_eq!(journal.take(), ["0", "10", "11", "12"]);
        assert_eq!(tree.snapshot(), [], "the default for an ended stream is to stop");
        assert_eq!(tree.counters().panics, 1);
    });
}

#[test]
fn policy_stop_ends_alone_and_closes_the_mailbox() {
    run(async {
        let (tree, journal) = (root(), Journal::default());
        tree.on_escalate(|escalation| panic!("{escalation:?}"));
        let a = tree.spawn(puppet("a", Policy::Stop, &journal));
        let b = tree.spawn(puppet("b", Policy::Stop, &journal));
        let crash = a.send(Crash("bad"));
        let behind = a.send(Say("behind"));
        assert_eq!(crash.await, Err(MailboxError::Closed));
        assert_eq!(behind.await, Err(MailboxError::Closed));
        assert!(!a.connected());
        assert_eq!(b.send(Say("unharmed")).await, Ok(0));
        assert_eq!(only(&tree).name, "root/b", "what ended alone is forgotten");
        assert_eq!(tree.counters(), Counters { restarts: 0, panics: 1, lost: 1 });
    });
}

#[test]
fn a_lost_reply_is_an_error_and_counted() {
    struct Silent;
    impl Logic for Silent {
        const NAME: &'static str = "silent";
    }
    #[derive(actix::Message)]
    #[rtype(result = "()")]
    struct Ask;
    impl Receive<Ask> for Silent {
        fn receive(&mut self, _: Ask, _: &mut Ctx<Self>) -> Reply<()> {
            Reply::Lost
        }
    }
    run(async {
        let tree = root();
        let silent = tree.spawn(ChildSpec::new("silent", Policy::RestartEmpty, |_| Ok(Silent)));
        assert_eq!(silent.send(Ask).await, Err(MailboxError::Closed));
        assert_eq!((only(&tree).lost, only(&tree).incarnation), (1, 0));
    });
}

#[test]
fn a_flooded_actor_loses_one_message_to_a_panic_and_keeps_the_order() {
    const FLOOD: u32 = 100_000;
    thread_local!(static NEXT: Cell<u32> = const { Cell::new(0) });
    struct Counter;
    impl Logic for Counter {
        const NAME: &'static str = "counter";
    }
    #[derive(actix::Message)]
    #[rtype(result = "()")]
    struct Count(u32);
    impl Receive<Count> for Counter {
        fn receive(&mut self, Count(n): Count, _: &mut Ctx<Self>) -> Reply<()> {
            assert_eq!(NEXT.replace(n + 1), n, "out of order");
            assert_ne!(n % 50_000, 25_000, "bad message");
            Reply::Now(())
        }
    }
    run(async {
        let tree = root();
        let spec = ChildSpec::new("counter", Policy::RestartFromDisk, |_| Ok(Counter));
        let counter = tree.spawn(spec.budget(at_once(2)));
        for n in 0..FLOOD {
            counter.do_send(Count(n));
        }
        assert_eq!(counter.send(Count(FLOOD)).await, Ok(()));
        let state = only(&tree);
        assert_eq!((state.incarnation, state.lost, state.health), (2, 2, Health::Up));
    });
}

#[test]
fn a_panic_while_the_state_is_dropped_does_not_stop_the_restart() {
    struct Bomb(u32);
    impl Logic for Bomb {
        const NAME: &'static str = "bomb";
    }
    impl Drop for Bomb {
        fn drop(&mut self) {
            assert_ne!(self.0, 0, "the first one explodes");
        }
    }
    #[derive(actix::Message)]
    #[rtype(result = "u32")]
    struct Ask;
    impl Receive<Ask> for Bomb {
        fn receive(&mut self, _: Ask, ctx: &mut Ctx<Self>) -> Reply<u32> {
            if self.0 == 0 {
                ctx.fail("first");
            }
            self.0.into()
        }
    }
    run(async {
        let tree = root();
        let spec = ChildSpec::new("bomb", Policy::RestartEmpty, |n| Ok(Bomb(n)));
        let bomb = tree.spawn(spec.budget(at_once(1)));
        let (first, second) = (bomb.send(Ask), bomb.send(Ask));
        assert_eq!((first.await, second.await), (Ok(0), Ok(1)));
    });
}
