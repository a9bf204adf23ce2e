use super::*;

const LIMITS: CheckLimits =
    CheckLimits { timeout_ms: 10, interval_ms: 100, checks_max: 2, age_max_ms: 10_000, lag_max: 5 };

fn half(number: u64) -> Half {
    let unique_key = format!("K{number}").into();
    Half {
        physical: number * 10,
        key: HalfKey { unique_key, born_ms: 0 },
        group: "g".into(),
        topic: Some("t".into()),
        stored_ms: 0,
        checks: 0,
        is_copy: false,
        is_resumed: false,
        immunity_ms: None,
    }
}

/// A ledger that has taken in so many.
fn ledger(count: u64) -> Ledger {
    let mut ledger = Ledger::new(LIMITS, 0, 0);
    assert_eq!(ledger.take_in(count, 0, |offset| Some(half(offset))), [] as [u64; 0]);
    ledger
}

fn end(ledger: &mut Ledger, offset: u64) {
    let key = half(offset).key;
    assert_eq!(ledger.standing(offset, &key), Standing::Open(offset));
    ledger.begin(offset, &key);
    assert_eq!(ledger.standing(offset, &key), Standing::UnderWay(offset));
    ledger.ended(offset);
    assert_eq!(ledger.standing(offset, &key), Standing::Ended);
}

#[test]
fn the_progress_stands_before_the_first_that_is_open() {
    let mut ledger = ledger(4);
    end(&mut ledger, 1);
    end(&mut ledger, 2);
    ledger.op_stored(0, &[1]);
    ledger.op_stored(1, &[2]);
    assert_eq!((ledger.progress(), ledger.op_progress()), (0, 0));
    end(&mut ledger, 0);
    ledger.op_stored(2, &[0]);
    assert_eq!((ledger.progress(), ledger.op_progress()), (3, 3));
}

#[test]
fn what_is_done_before_it_is_taken_in_is_not_read() {
    let mut ledger = ledger(0);
    end(&mut ledger, 1);
    ledger.begin(2, &half(2).key);
    let mut read = Vec::new();
    ledger.take_in(4, 0, |offset| {
        read.push(offset);
        Some(half(offset))
    });
    assert_eq!(read, [0, 2, 3]);
    assert_eq!(ledger.standing(2, &half(2).key), Standing::UnderWay(2));
    assert_eq!(ledger.first_due_ms(), Some(10), "nobody is asked for what is under way");
    ledger.failed(2, 50);
    assert_eq!(ledger.due_ms(2), Some(150));
}

#[test]
fn each_is_asked_for_so_often_and_then_given_up() {
    let mut ledger = ledger(2);
    assert_eq!(ledger.take_due(9, 9), []);
    end(&mut ledger, 0);
    for (now, checks) in [(10, 0), (110, 1)] {
        let due = ledger.take_due(now, 9);
        assert_eq!((due.len(), due[0].offset, due[0].checks), (1, 1, checks));
        assert!(!due[0].is_given_up);
        ledger.asked(1, now);
    }
    assert!(ledger.take_due(210, 9)[0].is_given_up);
    ledger.gave_up(1);
    assert_eq!(ledger.standing(1, &half(1).key), Standing::GivenUp);
    assert_eq!(ledger.progress(), 2);
}

#[test]
fn who_has_nobody_waits_without_being_due_until_its_life_ends() {
    let mut ledger = ledger(2);
    for due in ledger.take_due(10, 9) {
        ledger.nobody_there(due.offset);
    }
    assert!(ledger.is_waiting(0) && ledger.is_waiting(1));
    assert_eq!(ledger.first_due_ms(), Some(10_000));
    ledger.group_appeared("h", 20);
    assert_eq!(ledger.first_due_ms(), Some(10_000));
    ledger.group_appeared("g", 20);
    assert_eq!(ledger.take_due(20, 9).iter().filter(|due| !due.is_given_up).count(), 2);
    ledger.nobody_there(0);
    assert!(ledger.take_due(10_000, 9)[0].is_given_up);
}

#[test]
fn one_that_was_stored_once_more_is_found_by_its_old_place() {
    let mut ledger = ledger(8);
    (1..8).for_each(|offset| end(&mut ledger, offset));
    assert_eq!(ledger.lagging(9), [(0, 0, 0)]);
    ledger.begin(0, &half(0).key);
    ledger.moved(0, 8);
    assert_eq!(ledger.standing(0, &half(0).key), Standing::Open(8), "before it is taken in");
    let copy = || Half { is_copy: true, checks: 1, physical: 80, ..half(0) };
    ledger.take_in(9, 0, |_| Some(copy()));
    assert_eq!(ledger.standing(0, &half(0).key), Standing::Open(8));
    assert_eq!(ledger.lagging(9), []);
    ledger.begin(8, &half(0).key);
    ledger.ended(8);
    assert_eq!(ledger.standing(0, &half(0).key), Standing::Ended);
    assert_eq!(ledger.progress(), 9);
}

#[test]
fn a_copy_takes_the_place_of_what_it_is_a_copy_of() {
    let mut ledger = ledger(1);
    let copy = Half { is_copy: true, checks: 1, ..half(0) };
    assert_eq!(ledger.take_in(2, 0, |_| Some(copy.clone())), [0]);
    assert_eq!((ledger.len(), ledger.progress()), (1, 1));
    let same_key = Half { is_copy: false, ..half(0) };
    let replaced = ledger.take_in(3, 0, |_| Some(same_key.clone()));
    assert_eq!(replaced, [] as [u64; 0], "another transaction");
    assert_eq!(ledger.len(), 2);
}

#[test]
fn who_wants_to_be_left_alone_is_also_as_a_copy() {
    let mut ledger = Ledger::new(LIMITS, 0, 0);
    let immune = Half { immunity_ms: Some(500), ..half(0) };
    let early = Half { is_copy: true, checks: 1, stored_ms: 50, ..immune.clone() };
    let late = Half { stored_ms: 600, ..early.clone() };
    let halves = [immune, Half { key: half(1).key, ..early }, Half { key: half(2).key, ..late }];
    ledger.take_in(3, 0, |offset| halves.get(offset as usize).cloned());
    let due: Vec<_> = (0..3).map(|offset| ledger.due_ms(offset)).collect();
    assert_eq!(due, [Some(500), Some(500), Some(700)]);
}

#[test]
fn an_operator_begins_the_count_anew() {
    let mut ledger = ledger(1);
    for now in [10, 110] {
        ledger.take_due(now, 9);
        ledger.asked(0, now);
    }
    assert!(ledger.resume(0, 120) && !ledger.resume(1, 120));
    assert!(!ledger.take_due(120, 9)[0].is_given_up);
}
