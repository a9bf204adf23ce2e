//! The rules of [`super::judge`], one scenario each, on a clock that the test moves.

use std::sync::Arc;

use gantry_codec::body::Finding;

use super::{
    conflicts::Conflict,
    judge::{Changes, Judge, Limits, Place, Seen},
};

const LIMITS: Limits = Limits { stuck_ms: 60_000, commit_ms: 100_000 };

/// A judge, and what it is shown.
struct Court {
    judge: Judge,
    now_ms: i64,
    seen: Seen,
}

impl Court {
    /// A queue with 100 messages, of which 40 are consumed.
    fn new() -> Self {
        let place = Place { group: "g".into(), topic: "t".into(), queue_id: 3 };
        let seen = Seen {
            place,
            end: 100,
            position: 40,
            committed: Some(40),
            pulled: None,
            delivered: 0,
            owner: None,
            commits: true,
            pops: false,
        };
        Self { judge: Judge::new(LIMITS, "broker-a".into()), now_ms: 1_000_000, seen }
    }

    fn scan(&mut self) -> Changes {
        let (now_ms, seen) = (self.now_ms, [self.seen.clone()]);
        self.judge.scan(now_ms, &seen, &[], |_, _| {})
    }

    /// After so many seconds.
    fn after(&mut self, seconds: i64) -> Changes {
        self.now_ms += seconds * 1000;
        self.scan()
    }

    fn pull(&mut self, offset: i64) {
        self.seen.pulled = Some((self.now_ms, offset));
    }

    fn commit(&mut self, offset: i64) {
        (self.seen.committed, self.seen.position) = (Some(offset), offset);
    }
}

fn kinds(findings: &[Finding]) -> Vec<&str> {
    findings.iter().map(|finding| finding.kind.as_str()).collect()
}

#[test]
fn a_queue_that_nobody_has_is_told_of_once_and_once_that_it_is_over() {
    let mut court = Court::new();
    assert_eq!(court.scan(), Changes::default());
    assert_eq!(court.after(60), Changes::default(), "not longer than the limit");
    let begun = court.after(1).begun;
    assert_eq!(kinds(&begun), ["unownedQueue"]);
    assert_eq!((&*begun[0].group, &*begun[0].topic, begun[0].queue_id), ("g", "t", Some(3)));
    assert_eq!((begun[0].since, &*begun[0].broker_name), (1_000_000, "broker-a"));
    assert!(begun[0].text.contains("60 messages wait"), "{}", begun[0].text);
    court.seen.end = 200;
    assert_eq!(court.after(60), Changes::default(), "it is known");
    let known = court.judge.diagnosis(Some("g"));
    assert!(known.findings[0].text.contains("160 messages wait"), "the words are of today");
    assert_eq!(known.counts["unownedQueue"].now, 1);
    court.pull(40);
    let changes = court.scan();
    assert_eq!((kinds(&changes.ended), changes.begun), (vec!["unownedQueue"], vec![]));
    let known = court.judge.diagnosis(None);
    assert_eq!((known.counts["unownedQueue"].now, known.counts["unownedQueue"].begun), (0, 1));
}

#[test]
fn an_owner_that_does_not_pull_is_named() {
    let mut court = Court::new();
    court.seen.owner = Some("client-1".into());
    court.pull(40);
    assert_eq!(court.scan(), Changes::default());
    let begun = court.after(61).begun;
    assert_eq!(kinds(&begun), ["stuckQueue"]);
    assert_eq!(begun[0].clients[0].client_id, "client-1");
    assert!(begun[0].text.contains("last pulled 61 s ago"), "{}", begun[0].text);
    court.seen.owner = None;
    let changes = court.after(1);
    assert_eq!(
        (kinds(&changes.begun), kinds(&changes.ended)),
        (vec!["unownedQueue"], vec!["stuckQueue"])
    );
}

#[test]
fn a_queue_at_its_end_may_rest_and_time_counts_from_the_next_message() {
    let mut court = Court::new();
    court.commit(100);
    court.pull(100);
    court.scan();
    assert_eq!(court.after(1000), Changes::default());
    court.seen.end = 101;
    assert_eq!(court.after(10), Changes::default());
    assert_eq!(court.after(60), Changes::default());
    assert_eq!(kinds(&court.after(1).begun), ["unownedQueue"]);
    court.commit(101);
    assert_eq!(kinds(&court.after(1).ended), ["unownedQueue"]);
}

#[test]
fn a_consumer_that_pulls_and_never_commits_is_told_of() {
    let mut court = Court::new();
    court.seen.owner = Some("client-1".into());
    for second in 0..10 {
        court.pull(50 + second);
        assert_eq!(court.after(10), Changes::default());
    }
    court.pull(100);
    let begun = court.after(10).begun;
    assert_eq!(kinds(&begun), ["missingCommits"]);
    assert!(begun[0].text.contains("before offset 100") && begun[0].text.contains("stays at 40"));
    court.commit(60);
    assert_eq!(kinds(&court.after(1).ended), ["missingCommits"], "it moves");
}

#[test]
fn a_consumer_without_commits_that_starts_at_the_end_has_nothing_to_commit() {
    let mut court = Court::new();
    court.seen.committed = None;
    court.seen.position = 100;
    court.scan();
    for _ in 0..30 {
        court.pull(100);
        assert_eq!(court.after(10), Changes::default());
    }
    court.seen.end = 120;
    for _ in 0..10 {
        court.pull(120);
        court.seen.position = 120;
        assert_eq!(court.after(10), Changes::default());
    }
    court.pull(120);
    assert_eq!(kinds(&court.after(1).begun), ["missingCommits"]);
}

#[test]
fn who_commits_in_time_has_no_trouble() {
    let mut court = Court::new();
    for step in 1..50 {
        court.pull(40 + step);
        court.commit(40 + step - 1);
        assert_eq!(court.after(20), Changes::default());
    }
}

#[test]
fn groups_that_keep_their_offsets_are_not_judged() {
    let mut court = Court::new();
    court.seen.commits = false;
    court.scan();
    assert_eq!(court.after(1000), Changes::default());
}

#[test]
fn what_is_no_longer_seen_is_over_and_forgotten() {
    let mut court = Court::new();
    court.scan();
    assert_eq!(court.after(61).begun.len(), 1);
    let changes = court.judge.scan(court.now_ms, &[], &[], |_, _| {});
    assert_eq!(kinds(&changes.ended), ["unownedQueue"]);
    assert_eq!(court.after(1), Changes::default(), "the limit begins anew");
}

#[test]
fn conflicts_are_told_at_once_with_both_clients_and_expressions() {
    let mut court = Court::new();
    let client = |id: &str, expression: Option<&str>| gantry_codec::body::FindingClient {
        client_id: id.into(),
        expression: expression.map(Into::into),
    };
    let conflict = Conflict {
        topic: "t".into(),
        one: client("a", Some("A")),
        other: client("b", None),
        clients: 3,
        kinds: 2,
    };
    let conflicts: [(Arc<str>, Conflict); 1] = [("g".into(), conflict)];
    let changes = court.judge.scan(court.now_ms, &[], &conflicts, |_, _| {});
    assert_eq!(kinds(&changes.begun), ["conflictingSubscriptions"]);
    let expected =
        "a subscribes \"A\", b does not subscribe it; 2 different subscriptions among 3 clients";
    assert_eq!(changes.begun[0].text, expected);
    assert_eq!(changes.begun[0].queue_id, None);
    let later = court.judge.scan(court.now_ms + 9, &[], &conflicts, |_, _| {});
    assert_eq!(later, Changes::default());
    assert_eq!(court.judge.diagnosis(None).findings[0].since, court.now_ms);
    assert_eq!(court.judge.diagnosis(Some("h")).findings, []);
    assert_eq!(court.judge.scan(court.now_ms, &[], &[], |_, _| {}).ended.len(), 1);
}

#[test]
fn the_rate_of_each_queue_is_told() {
    let mut court = Court::new();
    court.scan();
    court.seen.delivered = 500;
    let (now_ms, seen) = (court.now_ms + 10_000, [court.seen.clone()]);
    let mut rates = Vec::new();
    court.judge.scan(now_ms, &seen, &[], |at, rate| rates.push((at, rate)));
    assert_eq!(rates, [(0, 50.0)]);
}

#[test]
fn a_queue_that_nobody_pops_is_told_of_and_messages_that_are_out_are_not() {
    let mut court = Court::new();
    (court.seen.pops, court.seen.owner) = (true, Some("client-1".into()));
    court.pull(40);
    court.scan();
    let begun = court.after(61).begun;
    assert_eq!(kinds(&begun), ["stuckQueue"]);
    assert_eq!(begun[0].text, "60 messages wait, last popped 61 s ago by client-1");
    // Given out, and not acknowledged for long.
    (court.seen.position, court.seen.committed) = (100, Some(40));
    court.pull(100);
    assert_eq!(kinds(&court.scan().ended), ["stuckQueue"]);
    for _ in 0..4 {
        court.pull(100);
        assert_eq!(court.after(60), Changes::default(), "they come again by themselves");
    }
}
