//! Beyond the budget: who decides, and what becomes of the child, its siblings and its mail.

mod common;

use std::sync::{Arc, Mutex};
use std::time::Duration;

use actix::MailboxError;
use common::*;
use gantry_supervisor::{ChildSpec, Escalation, Exit, Policy, State, Tree, Verdict};

/// Has `tree` decide `verdict` on everything; what it was asked is kept.
fn decide(tree: &Tree, verdict: Verdict) -> Arc<Mutex<Vec<Escalation>>> {
    let asked = Arc::new(Mutex::new(Vec::new()));
    let kept = Arc::clone(&asked);
    tree.on_escalate(move |escalation| {
        kept.lock().expect("no panic").push(escalation.clone());
        verdict
    });
    asked
}

#[test]
fn a_spent_budget_escalates_and_the_child_left_down_answers_with_errors() {
    run(async {
        let (tree, journal) = (root(), Journal::default());
        let asked = decide(&tree, Verdict::Leave);
        let a = tree.spawn(puppet("a", Policy::RestartFromDisk, &journal).budget(at_once(2)));
        let b = tree.spawn(puppet("b", Policy::RestartFromDisk, &journal));
        for _ in 0..3 {
            a.do_send(Crash("again"));
        }
        assert_eq!(a.send(Say("behind")).await, Err(MailboxError::Closed));
        assert_eq!(b.send(Say("unharmed")).await, Ok(0));

        let asked = asked.lock().expect("no panic");
        let [escalation] = &**asked else { panic!("{asked:?}") };
        assert_eq!((&*escalation.child, escalation.restarts), ("root/a", 2));
        let state = &tree.snapshot()[0];
        assert_eq!((state.state, state.restarts, state.panics), (State::Ended, 2, 3));
        assert_eq!(
            state.last_exit.as_ref(),
            Some(&escalation.exit),
            "why it is down stays visible"
        );
    });
}

#[test]
fn fail_stop_escalates_at_once() {
    run(async {
        let (tree, journal) = (root(), Journal::default());
        let asked = decide(&tree, Verdict::Leave);
        let a = tree.spawn(puppet("a", Policy::FailStop, &journal));
        let (failing, behind) = (a.send(Fail("sync failed")), a.send(Say("behind")));
        assert_eq!(failing.await, Ok(0));
        assert_eq!(behind.await, Err(MailboxError::Closed));
        let asked = asked.lock().expect("no panic");
        assert_eq!(asked[0].exit, Exit::Failed("sync failed".to_owned()));
        assert_eq!(asked[0].policy, Policy::FailStop);
        assert_eq!(journal.take(), ["a#0 started", "a#0 dropped"]);
    });
}

#[test]
fn without_a_verdict_the_parent_is_asked() {
    run(async {
        let (tree, journal) = (root(), Journal::default());
        let asked = decide(&tree, Verdict::Leave);
        let below = tree.subtree("below");
        let at_odds = decide(&below, Verdict::Escalate);
        let a = below.subtree("deep").spawn(puppet("a", Policy::FailStop, &journal));
        a.do_send(Crash("bad"));
        settle().await;
        assert_eq!(at_odds.lock().expect("no panic").len(), 1);
        assert_eq!(asked.lock().expect("no panic")[0].child, "root/below/deep/a");
    });
}

#[test]
fn with_nobody_to_ask_the_child_stays_down() {
    run(async {
        let (tree, journal) = (root(), Journal::default());
        let a = tree.spawn(puppet("a", Policy::FailStop, &journal));
        a.do_send(Crash("bad"));
        assert_eq!(a.send(Say("behind")).await, Err(MailboxError::Closed));
        assert_eq!(only(&tree).state, State::Ended);
    });
}

#[test]
fn a_verdict_that_panics_is_no_verdict() {
    run(async {
        let (tree, journal) = (root(), Journal::default());
        let asked = decide(&tree, Verdict::Leave);
        let below = tree.subtree("below");
        below.on_escalate(|_| panic!("undecided"));
        below.spawn(puppet("a", Policy::FailStop, &journal)).do_send(Crash("bad"));
        settle().await;
        assert_eq!(asked.lock().expect("no panic").len(), 1);
    });
}

#[test]
fn restart_all_goes_down_in_reverse_and_up_in_order_and_keeps_the_mail() {
    run(async {
        let (tree, journal) = (root(), Journal::default());
        let group = tree.subtree("group");
        decide(&group, Verdict::RestartAll(at_once(1)));
        let a = group.start(puppet("a", Policy::RestartFromDisk, &journal)).await.expect("starts");
        let b = group.start(puppet("b", Policy::FailStop, &journal)).await.expect("starts");
        let below = group.subtree("below");
        let c = below.start(puppet("c", Policy::RestartFromDisk, &journal)).await.expect("starts");
        let other = tree.spawn(puppet("other", Policy::RestartFromDisk, &journal));
        settle().await;
        journal.take();

        let lost = b.send(Crash("bad"));
        let behind = b.send(Say("behind"));
        assert_eq!(lost.await, Err(MailboxError::Closed));
        assert_eq!(behind.await, Ok(1), "the mailbox outlived the restart of all");
        assert_eq!((a.send(Say("x")).await, c.send(Say("x")).await), (Ok(1), Ok(1)));
        assert_eq!(other.send(Say("unharmed")).await, Ok(0));
        let expected = [
            "b#0 dropped",
            "c#0 stopping",
            "c#0 dropped",
            "a#0 stopping",
            "a#0 dropped",
            "a#1 started",
            "b#1 started",
            "b#1 behind",
            "c#1 started",
        ];
        assert_eq!(journal.take()[..expected.len()], expected);
    });
}

#[test]
fn children_that_fell_together_are_restarted_once() {
    run(async {
        let (tree, journal) = (root(), Journal::default());
        let asked = decide(&tree, Verdict::RestartAll(at_once(5)));
        let a = tree.start(puppet("a", Policy::FailStop, &journal)).await.expect("starts");
        let b = tree.start(puppet("b", Policy::FailStop, &journal)).await.expect("starts");
        a.do_send(Crash("disk"));
        b.do_send(Crash("disk"));
        assert_eq!((a.send(Say("x")).await, b.send(Say("x")).await), (Ok(1), Ok(1)));
        settle().await;
        assert_eq!(asked.lock().expect("no panic").len(), 2);
        assert_eq!(a.send(Say("x")).await, Ok(1));
    });
}

#[test]
fn a_group_beyond_its_own_budget_goes_to_its_parent() {
    run(async {
        let (tree, journal) = (root(), Journal::default());
        let group = tree.subtree("group");
        decide(&group, Verdict::RestartAll(at_once(2)));
        let asked = decide(&tree, Verdict::StopAll);
        let a = group.start(puppet("a", Policy::FailStop, &journal)).await.expect("starts");
        group.start(puppet("b", Policy::RestartFromDisk, &journal)).await.expect("starts");
        for round in 1..=2 {
            a.do_send(Crash("again"));
            assert_eq!(a.send(Say("x")).await, Ok(round));
        }
        a.do_send(Crash("again"));
        tree.stopped().await;
        assert_eq!(a.send(Say("x")).await, Err(MailboxError::Closed));
        assert_eq!(asked.lock().expect("no panic").len(), 1);
        assert!(journal.take().contains(&"b#2 stopping".to_owned()));
    });
}

#[test]
fn a_restart_of_all_forces_the_frozen() {
    run(async {
        let (tree, journal) = (root(), Journal::default());
        decide(&tree, Verdict::RestartAll(at_once(1)));
        let frozen =
            tree.start(puppet("a", Policy::RestartFromDisk, &journal)).await.expect("starts");
        let b = tree.start(puppet("b", Policy::FailStop, &journal)).await.expect("starts");
        frozen.send(Freeze(None)).await.expect("an answer");
        let behind = frozen.send(Say("behind"));
        b.do_send(Crash("bad"));
        assert_eq!(behind.await, Ok(1), "served by the next incarnation");
        assert_eq!(b.send(Say("x")).await, Ok(1));
        tokio::time::sleep(Duration::from_secs(60)).await;
        assert_eq!(
            frozen.send(Say("x")).await,
            Ok(1),
            "the order to rest does not outlive its time"
        );
    });
}

#[test]
fn a_stop_prevails_over_a_restart_of_all() {
    run(async {
        let (tree, journal) = (root(), Journal::default());
        decide(&tree, Verdict::RestartAll(at_once(5)));
        let a = tree.start(puppet("a", Policy::FailStop, &journal)).await.expect("starts");
        let frozen =
            tree.start(puppet("b", Policy::RestartFromDisk, &journal)).await.expect("starts");
        frozen.send(Freeze(None)).await.expect("an answer");
        a.do_send(Crash("bad"));
        settle().await;
        tree.stop().await;
        tokio::time::sleep(Duration::from_secs(60)).await;
        assert!(!a.connected() && !frozen.connected());
        assert!(!journal.take().iter().any(|line| line.contains("#1")), "nothing was made again");
    });
}

#[test]
fn a_group_whose_child_cannot_be_made_again_gives_up() {
    run(async {
        let (tree, journal) = (root(), Journal::default());
        let group = tree.subtree("group");
        decide(&group, Verdict::RestartAll(at_once(2)));
        let asked = decide(&tree, Verdict::Leave);
        let made = journal.clone();
        let spec = ChildSpec::new("a", Policy::FailStop, move |incarnation| match incarnation {
            0 => Ok(Puppet::new("a", 0, &made)),
            _ => Err("no such file".to_owned()),
        });
        let a = group.start(spec).await.expect("starts");
        let b = group.start(puppet("b", Policy::RestartFromDisk, &journal)).await.expect("starts");
        a.do_send(Crash("bad"));
        assert_eq!(a.send(Say("x")).await, Err(MailboxError::Closed));
        settle().await;
        assert_eq!(
            asked.lock().expect("no panic")[0].exit,
            Exit::NotMade("no such file".to_owned())
        );
        assert_eq!(b.send(Say("x")).await, Ok(2), "its sibling was made again each time");
    });
}
