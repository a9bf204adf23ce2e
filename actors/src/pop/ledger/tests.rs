//! The table of the ledger's text as data, and a model: whatever happens, every message is
//! acknowledged or tried again, and none is stuck.

use std::collections::BTreeSet;

use proptest::prelude::*;

use super::*;

/// The state of offset 0 as the table names it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Fresh,
    Out,
    Reviving,
    RevivingAcked,
    Returned,
    Done,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Event {
    Pop,
    Ack,
    OldAck,
    Hide,
    Due,
    Stored,
    NotStored,
    GiveBack,
}

use Event::{Ack, Due, GiveBack, Hide, NotStored, OldAck, Pop, Stored};
use State::{Done, Fresh, Out, Returned, Reviving, RevivingAcked};

const EVENTS: [Event; 8] = [Pop, Ack, OldAck, Hide, Due, Stored, NotStored, GiveBack];

/// What changes; every other pair changes nothing.
const TRANSITIONS: [(State, Event, State); 11] = [
    (Fresh, Pop, Out),
    (Out, Ack, Done),
    (Out, Hide, Out),
    (Out, Due, Reviving),
    (Out, GiveBack, Returned),
    (Reviving, Ack, RevivingAcked),
    (Reviving, Stored, Done),
    (Reviving, NotStored, Out),
    (RevivingAcked, Stored, Done),
    (RevivingAcked, NotStored, Done),
    (Returned, Pop, Out),
];

const POP_TIME: i64 = 100;

/// A ledger of a queue with one message in that state.
fn ledger_in(state: State) -> Ledger {
    let mut ledger = Ledger::new(0);
    let path: &[Event] = match state {
        Fresh => &[],
        Out => &[Pop],
        Reviving => &[Pop, Due],
        RevivingAcked => &[Pop, Due, Ack],
        Returned => &[Pop, GiveBack],
        Done => &[Pop, Ack],
    };
    path.iter().for_each(|event| happen(&mut ledger, *event));
    ledger
}

fn happen(ledger: &mut Ledger, event: Event) {
    match event {
        Pop => {
            let span = ledger.span();
            if span.from == 0 {
                ledger.popped(span, 1, &[0], POP_TIME, POP_TIME + 50);
            }
        }
        Ack => {
            ledger.ack(0, POP_TIME);
        }
        OldAck => {
            ledger.ack(0, POP_TIME - 1);
        }
        Hide => {
            ledger.hide(0, POP_TIME, POP_TIME, POP_TIME + 70);
        }
        Due => drop(ledger.take_due(POP_TIME + 70, 1)),
        Stored => ledger.revived(0),
        NotStored => ledger.not_revived(0, POP_TIME + 60),
        GiveBack => ledger.give_back(0, POP_TIME),
    }
}

fn state_of(ledger: &Ledger) -> State {
    match ledger.open.get(&0) {
        Some(self::Open::Out { .. }) => Out,
        Some(self::Open::Reviving { acked: false, .. }) => Reviving,
        Some(self::Open::Reviving { acked: true, .. }) => RevivingAcked,
        Some(self::Open::Returned) => Returned,
        None if ledger.next == 0 => Fresh,
        None => Done,
    }
}

#[test]
fn every_row_of_the_table_holds() {
    for state in [Fresh, Out, Reviving, RevivingAcked, Returned, Done] {
        for event in EVENTS {
            let mut ledger = ledger_in(state);
            assert_eq!(state_of(&ledger), state);
            happen(&mut ledger, event);
            let row = TRANSITIONS.iter().find(|(from, on, _)| (*from, *on) == (state, event));
            let expected = row.map_or(state, |(_, _, to)| *to);
            assert_eq!(state_of(&ledger), expected, "{state:?} on {event:?}");
            let is_done = expected == Done;
            assert_eq!(ledger.committed(), u64::from(is_done), "{state:?} on {event:?}");
        }
    }
}

#[test]
fn hiding_anew_makes_the_old_pop_void() {
    let mut ledger = ledger_in(Out);
    assert!(ledger.hide(0, POP_TIME, 200, 300));
    assert!(!ledger.ack(0, POP_TIME), "the property that the client had is void");
    assert_eq!((ledger.first_due(), ledger.take_due(299, 9)), (Some(300), vec![]));
    assert!(ledger.ack(0, 200));
    assert_eq!(ledger.first_due(), None);
}

#[test]
fn the_offset_stays_at_the_first_open_one() {
    let mut ledger = Ledger::new(10);
    ledger.popped(ledger.span(), 14, &[10, 11, 13], 1, 50);
    assert!(ledger.ack(13, 1) && ledger.ack(11, 1));
    assert_eq!((ledger.committed(), ledger.next(), ledger.open()), (10, 14, 1));
    assert!(ledger.ack(10, 1) && !ledger.ack(10, 1));
    assert_eq!(ledger.committed(), 14, "what the filter refused is done too");
}

#[test]
fn what_was_returned_is_read_first_and_nothing_else_with_it() {
    let mut ledger = Ledger::new(0);
    ledger.popped(ledger.span(), 6, &[0, 1, 2, 3, 4, 5], 1, 50);
    for offset in [1, 2, 4] {
        ledger.give_back(offset, 1);
    }
    assert_eq!(ledger.span(), Span { from: 1, end: Some(3) });
    // Of the two only one is wanted any more; the other is done.
    ledger.popped(ledger.span(), 4, &[2], 9, 90);
    assert_eq!(ledger.span(), Span { from: 4, end: Some(5) });
    ledger.popped(ledger.span(), 5, &[4], 9, 90);
    assert_eq!(ledger.span(), Span { from: 6, end: None });
    assert!(!ledger.ack(1, 1) && !ledger.ack(2, 1) && ledger.ack(2, 9));
}

#[test]
fn messages_that_are_gone_hold_nothing_up() {
    let mut ledger = Ledger::new(0);
    ledger.popped(ledger.span(), 4, &[0, 1, 2, 3], 1, 50);
    ledger.skip_to(2);
    assert_eq!((ledger.committed(), ledger.open()), (2, 2));
    ledger.skip_to(9);
    assert_eq!((ledger.committed(), ledger.next(), ledger.first_due()), (9, 9, None));
}

#[test]
fn a_snapshot_and_an_offset_of_another_time_go_together() {
    let mut ledger = Ledger::new(0);
    ledger.popped(ledger.span(), 8, &[0, 1, 2, 3, 4, 5, 6, 7], 1, 50);
    for offset in [0, 1, 2, 5] {
        assert!(ledger.ack(offset, 1));
    }
    let snapshot = ledger.snapshot();
    assert_eq!((snapshot.committed, snapshot.next, snapshot.open.len()), (3, 8, 4));
    let same = Ledger::restore(&snapshot, 3);
    assert_eq!(same.snapshot(), snapshot);
    let newer = Ledger::restore(&snapshot, 5);
    assert_eq!((newer.committed(), newer.open()), (6, 2), "5 was done, says the snapshot");
    let older = Ledger::restore(&snapshot, 1);
    assert_eq!(older.span(), Span { from: 1, end: Some(3) }, "popped again");
    assert_eq!(older.committed(), 1);
    let mut far = snapshot;
    far.committed += LAG_MAX + 10;
    assert_eq!(Ledger::restore(&far, 3).span(), Span { from: 3, end: None });
}

/// What happens in the model.
#[derive(Clone, Debug)]
enum Step {
    Pop { count: u64, hidden: i64, refuses_odd: bool, arrives: bool },
    Ack { which: usize },
    AckAgain { which: usize },
    Hide { which: usize, hidden: i64 },
    Pass { time: i64, storable: bool },
    Save,
    Crash { keeps_snapshot: bool },
}

fn step() -> impl Strategy<Value = Step> {
    let pop = (1..6u64, 0..40i64, any::<bool>(), prop::bool::weighted(0.8));
    prop_oneof![
        4 => pop.prop_map(|(count, hidden, refuses_odd, arrives)| Step::Pop {
            count, hidden, refuses_odd, arrives
        }),
        4 => any::<usize>().prop_map(|which| Step::Ack { which }),
        1 => any::<usize>().prop_map(|which| Step::AckAgain { which }),
        1 => (any::<usize>(), 0..40i64).prop_map(|(which, hidden)| Step::Hide { which, hidden }),
        3 => (1..30i64, any::<bool>()).prop_map(|(time, storable)| Step::Pass { time, storable }),
        1 => Just(Step::Save),
        1 => any::<bool>().prop_map(|keeps_snapshot| Step::Crash { keeps_snapshot }),
    ]
}

/// A queue, its group's clients, and what the disk has.
struct World {
    ledger: Ledger,
    now: i64,
    end: u64,
    /// What clients hold: offset and time of the pop.
    held: Vec<(u64, i64)>,
    acked_before: Vec<(u64, i64)>,
    /// Offsets that a client has done, that were stored for a retry, or that the filter refused.
    done: BTreeSet<u64>,
    saved: (Snapshot, u64),
}

impl World {
    fn new(end: u64) -> Self {
        let ledger = Ledger::new(0);
        let saved = (ledger.snapshot(), 0);
        let (held, acked_before, done) = (Vec::new(), Vec::new(), BTreeSet::new());
        Self { ledger, now: 1, end, held, acked_before, done, saved }
    }

    fn pop(&mut self, count: u64, hidden: i64, refuses_odd: bool, arrives: bool) {
        self.now += 1;
        let span = self.ledger.span();
        let read_to = (span.from + count).min(span.end.unwrap_or(self.end)).min(self.end);
        let wanted = |offset: &u64| !(refuses_odd && offset % 2 == 1);
        let offsets: Vec<u64> = (span.from..read_to).filter(wanted).collect();
        self.done.extend((span.from..read_to).filter(|offset| !wanted(offset)));
        self.ledger.popped(span, read_to.max(span.from), &offsets, self.now, self.now + hidden);
        for offset in offsets {
            if arrives {
                self.held.push((offset, self.now));
            } else {
                self.ledger.give_back(offset, self.now);
            }
        }
    }

    fn ack(&mut self, which: usize) {
        if self.held.is_empty() {
            return;
        }
        let (offset, pop_time) = self.held.swap_remove(which % self.held.len());
        self.ledger.ack(offset, pop_time);
        self.acked_before.push((offset, pop_time));
        self.done.insert(offset);
    }

    fn pass(&mut self, time: i64, storable: bool) {
        self.now += time;
        for (offset, _) in self.ledger.take_due(self.now, 3) {
            if storable {
                self.ledger.revived(offset);
                self.done.insert(offset);
            } else {
                self.ledger.not_revived(offset, self.now + 5);
            }
        }
    }

    fn take(&mut self, step: &Step) {
        match *step {
            Step::Pop { count, hidden, refuses_odd, arrives } => {
                self.pop(count, hidden, refuses_odd, arrives);
            }
            Step::Ack { which } => self.ack(which),
            Step::AckAgain { which } => {
                if let Some((offset, pop_time)) =
                    self.acked_before.get(which % self.acked_before.len().max(1))
                {
                    assert!(!self.ledger.ack(*offset, *pop_time), "an ack counts once");
                }
            }
            Step::Hide { which, hidden } => {
                self.now += 1;
                if let Some(at) = which.checked_rem(self.held.len()) {
                    let (offset, pop_time) = self.held[at];
                    self.ledger.hide(offset, pop_time, self.now, self.now + hidden);
                    self.held[at].1 = self.now;
                }
            }
            Step::Pass { time, storable } => self.pass(time, storable),
            Step::Save => self.saved = (self.ledger.snapshot(), self.ledger.committed()),
            Step::Crash { keeps_snapshot } => {
                let (snapshot, committed) = &self.saved;
                self.ledger = match keeps_snapshot {
                    true => Ledger::restore(snapshot, *committed),
                    false => Ledger::new(*committed),
                };
                self.acked_before.clear();
            }
        }
    }

    fn check(&self) {
        let committed = self.ledger.committed();
        for offset in 0..committed {
            assert!(self.done.contains(&offset), "{offset} is behind the offset {committed}");
        }
        assert!(committed <= self.ledger.next() && self.ledger.next() <= self.end);
    }

    /// From now on all goes well: how many rounds it takes until nothing is left.
    fn drain(&mut self) {
        for _ in 0..10_000 {
            if self.ledger.committed() == self.end {
                return;
            }
            self.pop(5, 1000, false, true);
            while !self.held.is_empty() {
                self.ack(0);
            }
            self.pass(2000, true);
        }
        panic!("stuck at {}", self.ledger.committed());
    }
}

proptest! {
    #[test]
    fn no_message_is_lost_and_none_is_stuck(
        end in 1..40u64,
        steps in prop::collection::vec(step(), 0..120),
    ) {
        let mut world = World::new(end);
        for step in &steps {
            world.take(step);
            world.check();
        }
        world.drain();
        prop_assert_eq!(world.done.len() as u64, end);
        prop_assert_eq!(world.ledger.open(), 0);
    }
}
