//! What is held against a group's promises: pure functions over what its members said.
//!
//! | promise | how it is seen |
//! |---|---|
//! | nothing is lost | each offset of each queue was consumed |
//! | repeats only where a member died or was frozen before it had acknowledged | whoever consumed it before was killed or frozen; counted, and bounded for each such event and queue |
//! | in order | the offsets of a queue rise one by one, whoever consumes; they go back only to what a dead or frozen member had not acknowledged |
//!
//! Without order, a member that joins may ask for a queue's progress before the one that has it is told of
//! the newcomer; what is in flight there comes twice. These are counted apart and bounded as well.

use std::collections::{BTreeMap, HashMap};

/// A message that a member has consumed.
#[derive(Clone, Copy, Debug)]
pub struct Delivery {
    pub member: usize,
    pub queue: i32,
    pub offset: i64,
    /// Ms since 1970, by the member's own word.
    pub at: i64,
}

/// What was done to a member.
#[derive(Clone, Debug, Default)]
pub struct Fate {
    /// It is the official client, which tells how far it is before it waits for the message that it has at
    /// work when it loses an ordered queue: that one comes twice.
    pub official: bool,
    /// When it was killed.
    pub killed: Option<i64>,
    /// When it was frozen, and when no more.
    pub frozen: Vec<(i64, i64)>,
}

impl Fate {
    /// Whether it was killed or frozen after `since`, or thawed after it.
    fn explains(&self, since: i64, until: i64) -> bool {
        self.killed.is_some_and(|at| at <= until + SLACK_MS)
            || self.frozen.iter().any(|(from, to)| *from <= until && *to + SLACK_MS >= since)
    }
}

/// Messages in flight are acknowledged with the next pull or commit: what a thaw can have an effect on.
const SLACK_MS: i64 = 6_000;

/// What a group came to.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Report {
    pub delivered: usize,
    /// Repeats of members that died or were frozen, and most of them for one event and queue.
    pub repeated: usize,
    pub repeated_most: usize,
    /// Repeats at hand-overs between members that were well, and most of them for one queue at once.
    pub handed_over_twice: usize,
    pub handed_over_most: usize,
    /// The latter one by one.
    pub hand_overs: Vec<Repeats>,
    /// Those of the dead and frozen where they were most.
    pub worst: Option<Repeats>,
}

/// Messages of a queue that one member had and another one, or itself, had again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Repeats {
    pub queue: i32,
    pub from: usize,
    pub to: usize,
    /// The first of them.
    pub offset: i64,
    /// When that came again.
    pub at: i64,
    pub count: usize,
}

/// Judges a group. `ends` are the queues' ends.
///
/// # Errors
/// What is wrong, a line each.
pub fn judge(
    deliveries: &[Delivery],
    ends: &[i64],
    fates: &HashMap<usize, Fate>,
    orderly: bool,
) -> Result<Report, Vec<String>> {
    let mut report = Report { delivered: deliveries.len(), ..Report::default() };
    let mut wrong = Vec::new();
    for (queue, end) in (0..).zip(ends) {
        let mut of_queue: Vec<_> =
            deliveries.iter().filter(|d| d.queue == queue).copied().collect();
        of_queue.sort_by_key(|d| (d.at, d.offset));
        lost(queue, *end, &of_queue, &mut wrong);
        repeats(&of_queue, fates, &mut report);
        if orderly {
            order(&of_queue, fates, &mut wrong);
        }
    }
    if wrong.is_empty() { Ok(report) } else { Err(wrong) }
}

fn lost(queue: i32, end: i64, of_queue: &[Delivery], wrong: &mut Vec<String>) {
    let mut seen = vec![false; usize::try_from(end).unwrap()];
    for delivery in of_queue {
        match usize::try_from(delivery.offset).ok().and_then(|at| seen.get_mut(at)) {
            Some(seen) => *seen = true,
            None => wrong.push(format!("never sent: {delivery:?}, the queue ends at {end}")),
        }
    }
    let missing: Vec<_> = (0..end).zip(&seen).filter(|(_, seen)| !**seen).collect();
    if let (Some((first, _)), Some((last, _))) = (missing.first(), missing.last()) {
        wrong.push(format!("{} of queue {queue} lost: {first} to {last}", missing.len()));
    }
}

/// By the member that had them and the one that had them again.
type Counted = HashMap<(usize, usize), Repeats>;

fn repeats(of_queue: &[Delivery], fates: &HashMap<usize, Fate>, report: &mut Report) {
    let mut last: BTreeMap<i64, Delivery> = BTreeMap::new();
    let (mut explained, mut others) = (Counted::new(), Counted::new());
    for delivery in of_queue {
        let Some(before) = last.insert(delivery.offset, *delivery) else { continue };
        let fate = |member: usize| {
            fates.get(&member).is_some_and(|fate| fate.explains(before.at, delivery.at))
        };
        let counted = match fate(before.member) || fate(delivery.member) {
            true => &mut explained,
            false => &mut others,
        };
        let Delivery { member, queue, offset, at } = *delivery;
        let from = before.member;
        let first = Repeats { queue, from, to: member, offset, at, count: 0 };
        counted.entry((from, member)).or_insert(first).count += 1;
    }
    let sum = |counted: &Counted| counted.values().map(|repeats| repeats.count).sum::<usize>();
    let most = |counted: &Counted| counted.values().max_by_key(|repeats| repeats.count).copied();
    report.repeated += sum(&explained);
    report.handed_over_twice += sum(&others);
    report.hand_overs.extend(others.values());
    report.handed_over_most = report.hand_overs.iter().map(|r| r.count).max().unwrap_or(0);
    if let Some(most) = most(&explained).filter(|most| most.count > report.repeated_most) {
        report.repeated_most = most.count;
        report.worst = Some(most);
    }
}

fn order(of_queue: &[Delivery], fates: &HashMap<usize, Fate>, wrong: &mut Vec<String>) {
    for pair in of_queue.windows(2) {
        let &[before, now] = pair else { continue };
        let follows = now.offset == before.offset + 1;
        let fate =
            |member: usize| fates.get(&member).is_some_and(|fate| fate.explains(before.at, now.at));
        let goes_back = now.offset <= before.offset;
        // What a frozen member had at work ends when it is thawed: its word comes late.
        let unfinished = now.offset == before.offset
            && fates.get(&before.member).is_some_and(|fate| fate.official);
        let explained = fate(before.member) || fate(now.member) || unfinished;
        if !(follows || goes_back && explained) {
            wrong.push(format!("out of order: {now:?} after {before:?}"));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn delivered(member: usize, offset: i64, at: i64) -> Delivery {
        Delivery { member, queue: 0, offset, at }
    }

    fn fate(member: usize, fate: Fate) -> HashMap<usize, Fate> {
        HashMap::from([(member, fate)])
    }

    const KILLED_AT_5: Fate = Fate { official: false, killed: Some(5), frozen: Vec::new() };

    #[test]
    fn all_once_in_order_is_well() {
        let all = [delivered(1, 0, 1), delivered(1, 1, 1), delivered(2, 2, 2)];
        let report = judge(&all, &[3], &HashMap::new(), true).unwrap();
        assert_eq!(report, Report { delivered: 3, ..Report::default() });
    }

    #[test]
    fn a_lost_message_is_named() {
        let all = [delivered(1, 0, 1), delivered(1, 2, 1)];
        let wrong = judge(&all, &[4], &HashMap::new(), false).unwrap_err();
        assert_eq!(wrong, ["2 of queue 0 lost: 1 to 3"]);
    }

    #[test]
    fn repeats_are_told_apart_by_their_cause() {
        let all = [delivered(1, 0, 1), delivered(1, 1, 2), delivered(2, 1, 9)];
        let died = judge(&all, &[2], &fate(1, KILLED_AT_5), true).unwrap();
        assert_eq!((died.repeated, died.repeated_most, died.handed_over_twice), (1, 1, 0));
        let lived = judge(&all, &[2], &HashMap::new(), false).unwrap();
        assert_eq!((lived.repeated, lived.handed_over_twice, lived.handed_over_most), (0, 1, 1));
    }

    #[test]
    fn going_back_needs_a_reason_and_a_gap_has_none() {
        let back = [delivered(1, 0, 1), delivered(1, 1, 2), delivered(2, 0, 9), delivered(2, 1, 9)];
        assert!(judge(&back, &[2], &fate(1, KILLED_AT_5), true).is_ok());
        assert!(judge(&back, &[2], &HashMap::new(), true).is_err());
        let gap = [delivered(1, 0, 1), delivered(2, 2, 8), delivered(2, 1, 9)];
        assert!(judge(&gap, &[3], &fate(1, KILLED_AT_5), true).is_err());
    }

    #[test]
    fn an_official_client_may_leave_one_message_unfinished() {
        let all = [delivered(1, 0, 1), delivered(1, 1, 2), delivered(2, 1, 9)];
        let official = Fate { official: true, ..Fate::default() };
        assert!(judge(&all, &[2], &fate(1, official.clone()), true).is_ok());
        let two = [delivered(1, 0, 1), delivered(1, 1, 2), delivered(2, 0, 9), delivered(2, 1, 9)];
        assert!(judge(&two, &[2], &fate(1, official), true).is_err());
    }

    #[test]
    fn a_freeze_explains_what_it_covers() {
        let all = [delivered(1, 0, 1), delivered(2, 0, 100_000)];
        let frozen = |from, to| fate(1, Fate { frozen: vec![(from, to)], ..Fate::default() });
        assert!(judge(&all, &[1], &frozen(2, 50_000), true).is_ok());
        assert!(judge(&all, &[1], &frozen(100_001, 100_002), true).is_err());
    }
}
