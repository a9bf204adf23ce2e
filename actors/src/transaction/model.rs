//! A model of all there is to transactions but the actors: a log that may end anywhere in a batch,
//! producers that lose their words or say them twice, restarts; seeded. What consumers see must be what
//! the producers decided, once.

mod world;

use gantry_codec::{Record, properties as names, record::sys_flag};

use self::world::{LIMITS, World};
use super::{
    forms::Forms,
    orders::{End, EndOrder, EndRefusal, Outcome},
    recovery::Past,
    settlement::source,
};
use crate::topic::names::{OP_HALF_TOPIC, TRANS_CHECK_MAX_TIME_TOPIC};

#[test]
fn consumers_see_what_producers_decided_once() {
    let (mut restarts, mut copies, mut given_up) = (0, 0, 0);
    for seed in 0..16 {
        let mut world = World::new(seed);
        (0..600).for_each(|_| world.step());
        world.finish();
        assert_eq!(world.check(), Ok(()), "seed {seed}");
        restarts += world.restarts;
        copies += world.copies;
        given_up += world.log.keys(TRANS_CHECK_MAX_TIME_TOPIC).len();
        // A start from what was committed last finds nothing open.
        world.commit_progress();
        world.restart();
        assert!(world.settlement.ledger.is_empty(), "seed {seed}");
        assert_eq!(world.settlement.ledger.progress(), world.log.halves().1);
    }
    assert!(restarts > 50 && copies > 50 && given_up > 3, "{restarts} {copies} {given_up}");
}

/// The model sees what it is there for: without the look for messages that have no note, a start after
/// a crash has producers decide twice.
#[test]
fn without_a_look_back_some_are_seen_twice() {
    let fails = |seed| {
        let mut world = World::new(seed);
        world.log.looks_back = 0;
        (0..600).for_each(|_| world.step());
        world.finish();
        world.check().is_err()
    };
    assert!((0..16).any(fails));
}

#[test]
fn a_committed_message_has_javas_form() {
    let mut world = World::new(1);
    world.send_half();
    world.sent[0].outcome = Outcome::Commit;
    world.end(0, 0, 1, false);
    world.hand_over();
    world.store();
    world.hand_over();
    world.store();
    let message = world.log.at(2);
    let message = Record::decode(&message).unwrap();
    assert_eq!((message.topic, message.flag, message.body), ("t", 5, &b"K0"[..]));
    assert_eq!(message.sys_flag & sys_flag::TRANSACTION, sys_flag::COMMIT);
    assert_eq!(message.prepared_transaction_offset, 1);
    let pairs: Vec<_> = names::iter(message.properties).collect();
    let names_of: Vec<_> = pairs.iter().map(|(name, _)| *name).collect();
    assert_eq!(names_of, ["UNIQ_KEY", "PGROUP", "TRAN_MSG"]);
    let note = world.log.at(3);
    let note = Record::decode(&note).unwrap();
    assert_eq!((note.topic, note.body), (OP_HALF_TOPIC, &b"0"[..]));
    assert_eq!(note.properties, "WAIT\u{1}true\u{2}TAGS\u{1}d\u{2}");
}

#[test]
fn a_late_word_for_one_that_was_given_up_is_told_so() {
    let mut world = World::new(2);
    world.send_half();
    world.take_in();
    for _ in 0..=LIMITS.checks_max {
        world.now_ms += LIMITS.interval_ms;
        for due in world.settlement.ledger.take_due(world.now_ms, 1) {
            if due.is_given_up {
                let bytes = world.log.at(due.physical);
                let slot = world.topics.get(TRANS_CHECK_MAX_TIME_TOPIC).unwrap();
                let slot = slot.queue(0).unwrap().clone();
                let forms = Forms { topics: &world.topics, delay_levels: 2 };
                let half = source(&bytes).unwrap();
                world.settlement.give_up(due.offset, &half, due.checks, slot, &forms);
            } else {
                world.settlement.ledger.asked(due.offset, world.now_ms);
            }
        }
    }
    world.hand_over();
    world.store();
    let (sender, mut answer) = tokio::sync::oneshot::channel();
    let end = End {
        group: world.sent[0].group.into(),
        half: 0,
        physical: 1,
        outcome: Outcome::Commit,
        is_from_check: true,
    };
    world.put(EndOrder { end, answer: Some(sender) });
    assert_eq!(answer.try_recv(), Ok(Err(EndRefusal::GivenUp)));
    let kept = world.log.at(2);
    let kept = Record::decode(&kept).unwrap();
    assert_eq!(names::get(kept.properties, names::TRANSACTION_CHECK_TIMES), Some("4"));
    assert_eq!(names::get(kept.properties, names::REAL_TOPIC), Some("t"));
}
