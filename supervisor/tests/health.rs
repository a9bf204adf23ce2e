//! Asking actors how they are, and finding those that do not answer.

mod common;

use std::time::Duration;

use common::*;
use gantry_supervisor::{Health, Policy, Tree};
use tokio::time::Instant;

const LIMIT: Duration = Duration::from_secs(1);

async fn check(tree: &Tree) -> Vec<Health> {
    tree.check(LIMIT).await.into_iter().map(|child| child.health).collect()
}

#[test]
fn actors_say_how_they_are_and_nobody_waits_longer_than_needed() {
    run(async {
        let (tree, journal) = (root(), Journal::default());
        tree.spawn(puppet("a", Policy::RestartFromDisk, &journal));
        let b = tree.subtree("below").spawn(puppet("b", Policy::RestartFromDisk, &journal));
        let tired = Health::Degraded("the disk is nearly full".to_owned());
        b.send(Feel(tired.clone())).await.expect("an answer");
        let start = Instant::now();
        assert_eq!(check(&tree).await, [Health::Up, tired.clone()]);
        assert_eq!(start.elapsed(), Duration::ZERO);
        assert_eq!(tree.snapshot()[1].health, tired, "kept for whoever looks");
    });
}

#[test]
fn an_actor_that_does_not_answer_in_time_is_frozen_until_it_does() {
    run(async {
        let (tree, journal) = (root(), Journal::default());
        let a = tree.spawn(puppet("a", Policy::RestartFromDisk, &journal));
        a.send(Freeze(Some(Duration::from_millis(3500)))).await.expect("an answer");
        let behind = a.send(Say("behind"));
        for _ in 0..3 {
            let start = Instant::now();
            assert_eq!(check(&tree).await, [Health::Frozen]);
            assert!(start.elapsed() <= LIMIT);
            assert_eq!(only(&tree).health, Health::Frozen);
        }
        tokio::time::sleep(LIMIT * 4).await;
        assert_eq!(only(&tree).health, Health::Up, "the late answer counts");
        assert_eq!(check(&tree).await, [Health::Up]);
        assert_eq!(behind.await, Ok(0));
    });
}

#[test]
fn one_frozen_actor_does_not_hide_the_others() {
    run(async {
        let (tree, journal) = (root(), Journal::default());
        let spawn = |name| tree.spawn(puppet(name, Policy::RestartFromDisk, &journal));
        let (_, frozen, _) = (spawn("a"), spawn("b"), spawn("c"));
        frozen.send(Freeze(None)).await.expect("an answer");
        assert_eq!(check(&tree).await, [Health::Up, Health::Frozen, Health::Up]);
    });
}

#[test]
fn actors_between_incarnations_are_starting_and_dead_ones_down() {
    run(async {
        let (tree, journal) = (root(), Journal::default());
        let a = tree.spawn(puppet("a", Policy::RestartFromDisk, &journal));
        let b = tree.spawn(puppet("b", Policy::FailStop, &journal));
        a.do_send(Crash("bad"));
        b.do_send(Crash("bad"));
        settle().await;
        assert_eq!(check(&tree).await, [Health::Starting, Health::Down]);
        a.send(Say("back")).await.expect("an answer");
        assert_eq!(check(&tree).await, [Health::Up, Health::Down]);
    });
}

#[test]
fn a_panic_while_answering_is_a_panic_and_not_a_freeze() {
    use gantry_supervisor::{ChildSpec, Logic};
    struct Moody(u32);
    impl Logic for Moody {
        const NAME: &'static str = "moody";
        fn health(&self) -> Health {
            assert_ne!(self.0, 0, "do not ask");
            Health::Up
        }
    }
    run(async {
        let tree = root();
        let spec = ChildSpec::new("moody", Policy::RestartEmpty, |n| Ok(Moody(n)));
        tree.start(spec.budget(at_once(1))).await.expect("starts");
        check(&tree).await;
        assert_eq!(check(&tree).await, [Health::Up]);
        assert_eq!(only(&tree).incarnation, 1);
    });
}

#[test]
fn a_watch_keeps_the_snapshot_fresh_and_ends_with_the_tree() {
    run(async {
        let (tree, journal) = (root(), Journal::default());
        let a = tree.spawn(puppet("a", Policy::RestartFromDisk, &journal));
        tree.watch(Duration::from_secs(10), LIMIT);
        a.send(Freeze(Some(Duration::from_secs(25)))).await.expect("an answer");
        let at = |secs: u64| tokio::time::sleep(Duration::from_secs(secs));
        assert_eq!(only(&tree).health, Health::Up);
        at(12).await;
        assert_eq!(only(&tree).health, Health::Frozen);
        at(20).await;
        assert_eq!(only(&tree).health, Health::Up);
        tree.stop().await;
        at(100).await;
    });
}
