//! Children by kind: counts that outlive them, and what is found in their mailboxes.

mod common;

use std::time::Duration;

use common::*;
use gantry_supervisor::{KindState, Policy, Tree};

const LIMIT: Duration = Duration::from_secs(1);

fn puppets(tree: &Tree) -> KindState {
    tree.kinds().get("puppet").copied().unwrap_or_default()
}

#[test]
fn what_went_wrong_is_counted_by_kind_and_outlives_the_children() {
    run(async {
        let (tree, journal) = (root(), Journal::default());
        let spawn = |name, policy| tree.spawn(puppet(name, policy, &journal).budget(at_once(3)));
        let a = spawn("a", Policy::RestartFromDisk);
        let b = spawn("b", Policy::Stop);
        let c = spawn("c", Policy::FailStop);
        a.do_send(Crash("bad"));
        b.do_send(Crash("bad"));
        c.do_send(Crash("bad"));
        settle().await;
        let all = puppets(&tree);
        assert_eq!((all.children, all.down), (2, 1), "b is gone, c has been given up");
        assert_eq!((all.counters.restarts, all.counters.panics, all.counters.lost), (1, 3, 3));
        assert_eq!(all.counters, tree.counters());
        assert_eq!(all.mail, None, "nobody was asked");
        tree.stop().await;
        let left = puppets(&tree);
        assert_eq!((left.children, left.down), (1, 1), "c stays for whoever looks for it");
        assert_eq!(left.counters, all.counters);
    });
}

#[test]
fn a_mailbox_is_as_full_as_what_stands_before_the_question() {
    run(async {
        let (tree, journal) = (root(), Journal::default());
        let a = tree.spawn(puppet("a", Policy::RestartFromDisk, &journal));
        tree.spawn(puppet("b", Policy::RestartFromDisk, &journal));
        settle().await;
        let idle = tree.probe(LIMIT, 10).await["puppet"].mail.expect("they were asked");
        assert_eq!((idle.worst.messages, idle.worst.waited, idle.frozen), (0, Duration::ZERO, 0));
        a.send(Freeze(Some(Duration::from_millis(300)))).await.expect("an answer");
        for _ in 0..7 {
            a.do_send(Say("something"));
        }
        let busy = tree.probe(LIMIT, 10).await["puppet"].mail.expect("they were asked");
        assert_eq!((busy.worst.messages, busy.frozen), (7, 0));
        assert!(busy.worst.waited >= Duration::from_millis(250), "{busy:?}");
    });
}

#[test]
fn one_that_does_not_answer_is_frozen() {
    run(async {
        let (tree, journal) = (root(), Journal::default());
        let a = tree.spawn(puppet("a", Policy::RestartFromDisk, &journal));
        a.send(Freeze(None)).await.expect("an answer");
        let mail = tree.probe(LIMIT, 10).await["puppet"].mail.expect("it was asked");
        assert_eq!(mail.frozen, 1);
    });
}

#[test]
fn a_kind_with_many_children_is_counted_and_not_asked() {
    run(async {
        let (tree, journal) = (root(), Journal::default());
        for _ in 0..11 {
            tree.spawn(puppet("a", Policy::RestartFromDisk, &journal));
        }
        settle().await;
        let kind = tree.probe(LIMIT, 10).await["puppet"];
        assert_eq!((kind.children, kind.mail), (11, None));
    });
}
