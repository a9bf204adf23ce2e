//! What is wrong with the consumption, judged from what is seen of each queue now and then.
//!
//! A plain value without runtime or clock: [`Judge::scan`] is told the time and the state of every queue
//! that a group consumes, and says which findings begin and which end. Each is told once.
//!
//! | finding | begins when, for longer than the limit, |
//! |---|---|
//! | `unownedQueue` | there are messages, nobody pulls them, and no member has the queue |
//! | `stuckQueue` | there are messages and somebody has the queue (pulled it last, or holds its lock), and does not pull |
//! | `missingCommits` | messages are delivered to who pulls, and the committed offset stays behind them as it is |
//! | `conflictingSubscriptions` | (at once) two clients do not subscribe the same |
//!
//! Of who pops, pops count as pulls, those that wait and find nothing too. What they do not acknowledge comes
//! again by itself, so nobody has to be told.
//!
//! Memory: one entry per queue that was seen in the last scan, [`FINDINGS_MAX`] findings.

use std::{
    collections::{BTreeMap, HashMap},
    sync::Arc,
};

use gantry_codec::body::{Diagnosis, Finding, FindingClient, FindingCount};

use super::{conflicts::Conflict, meter::Meter};

/// Findings that are kept; more are not told before others end.
const FINDINGS_MAX: usize = 10_000;

/// The kinds of findings, by the names that they have everywhere.
pub const KINDS: [&str; 4] = [CONFLICT, UNOWNED, STUCK, NO_COMMITS];
const CONFLICT: &str = "conflictingSubscriptions";
const UNOWNED: &str = "unownedQueue";
const STUCK: &str = "stuckQueue";
const NO_COMMITS: &str = "missingCommits";

/// How long something may be so until it is wrong, in ms.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Messages that nobody pulls (`stuckQueueSeconds`).
    pub stuck_ms: i64,
    /// Messages that are delivered and not committed (`missingCommitSeconds`).
    pub commit_ms: i64,
}

/// A queue of a topic, for a group.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Place {
    /// The group.
    pub group: Arc<str>,
    /// The topic.
    pub topic: Arc<str>,
    /// The queue.
    pub queue_id: i32,
}

/// What is seen of a queue.
#[derive(Clone, Debug)]
pub struct Seen {
    /// Which.
    pub place: Place,
    /// One past its last message.
    pub end: i64,
    /// The next message to consume: as committed, else as pulled, else the first.
    pub position: i64,
    /// The committed offset.
    pub committed: Option<i64>,
    /// When and from where it was pulled last.
    pub pulled: Option<(i64, i64)>,
    /// Messages delivered so far.
    pub delivered: u64,
    /// The member that has it.
    pub owner: Option<Arc<str>>,
    /// Whether the group commits at all: broadcasting ones keep their offsets themselves.
    pub commits: bool,
    /// Whether it pops.
    pub pops: bool,
}

/// Findings that begin and end.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Changes {
    /// New ones.
    pub begun: Vec<Finding>,
    /// Those that are over.
    pub ended: Vec<Finding>,
}

/// What has to be remembered of a queue from one scan to the next.
#[derive(Default)]
struct Memory {
    scan: u64,
    /// Since when there have been messages without a break.
    behind_since: Option<i64>,
    /// The offset that delivered messages are measured against.
    base: i64,
    committed: Option<i64>,
    /// Since when delivered messages have not been committed.
    uncommitted_since: Option<i64>,
    meter: Meter,
}

type Key = (&'static str, Place);

/// See the module's text.
pub struct Judge {
    limits: Limits,
    broker: Arc<str>,
    scan: u64,
    queues: HashMap<Place, Memory>,
    findings: BTreeMap<Key, Finding>,
    counts: BTreeMap<String, FindingCount>,
}

impl Judge {
    /// A judge who has seen nothing yet.
    pub fn new(limits: Limits, broker: Arc<str>) -> Self {
        let counts = KINDS.map(|kind| (kind.to_owned(), FindingCount::default())).into();
        Self { limits, broker, scan: 0, queues: HashMap::new(), findings: BTreeMap::new(), counts }
    }

    /// Takes in what is seen at `now_ms`: every queue, and every conflict with its group. `rate` is told
    /// the messages per second of each queue.
    pub fn scan(
        &mut self,
        now_ms: i64,
        queues: &[Seen],
        conflicts: &[(Arc<str>, Conflict)],
        mut rate: impl FnMut(usize, f64),
    ) -> Changes {
        self.scan += 1;
        let mut now = BTreeMap::new();
        for (at, seen) in queues.iter().enumerate() {
            let memory = self.queues.entry(seen.place.clone()).or_default();
            memory.take(seen, now_ms, self.scan);
            rate(at, memory.meter.rate());
            if let Some((kind, finding)) = judge(seen, memory, &self.limits, now_ms) {
                now.insert((kind, seen.place.clone()), finding);
            }
        }
        self.queues.retain(|_, memory| memory.scan == self.scan);
        for (group, conflict) in conflicts {
            let topic = conflict.topic.as_str().into();
            let place = Place { group: group.clone(), topic, queue_id: -1 };
            now.insert((CONFLICT, place), conflicting(conflict, now_ms));
        }
        self.settle(now)
    }

    /// Compares what is wrong now with what was.
    fn settle(&mut self, now: BTreeMap<Key, Finding>) -> Changes {
        let mut changes = Changes::default();
        self.findings.retain(|key, known| {
            let goes_on = now.contains_key(key);
            if !goes_on {
                changes.ended.push(known.clone());
            }
            goes_on
        });
        let mut room = FINDINGS_MAX.saturating_sub(self.findings.len());
        for (key, mut finding) in now {
            let (kind, place) = &key;
            finding.kind = (*kind).to_owned();
            finding.broker_name = self.broker.to_string();
            finding.group = place.group.to_string();
            finding.topic = place.topic.to_string();
            finding.queue_id = Some(place.queue_id).filter(|queue_id| *queue_id >= 0);
            match self.findings.get_mut(&key) {
                // The words are of today, and it has been so since it began.
                Some(known) => *known = Finding { since: known.since, ..finding },
                None if room > 0 => {
                    room -= 1;
                    changes.begun.push(finding.clone());
                    self.counts.entry((*kind).to_owned()).or_default().begun += 1;
                    self.findings.insert(key, finding);
                }
                None => {}
            }
        }
        for (kind, count) in &mut self.counts {
            count.now = self.findings.keys().filter(|(other, _)| other == kind).count() as u64;
        }
        changes
    }

    /// What is wrong, of all groups or of one.
    pub fn diagnosis(&self, group: Option<&str>) -> Diagnosis {
        let wanted = |finding: &&Finding| group.is_none_or(|group| finding.group == group);
        let mut findings: Vec<_> = self.findings.values().filter(wanted).cloned().collect();
        findings.sort_by_key(|finding| finding.since);
        Diagnosis { counts: self.counts.clone(), findings }
    }
}

impl Memory {
    fn take(&mut self, seen: &Seen, now_ms: i64, scan: u64) {
        let is_new = self.scan == 0;
        self.scan = scan;
        self.behind_since = match seen.end > seen.position {
            true => self.behind_since.or(Some(now_ms)),
            false => None,
        };
        if is_new || self.committed != seen.committed {
            self.committed = seen.committed;
            self.base = seen.committed.unwrap_or(seen.pulled.map_or(0, |(_, offset)| offset));
            self.uncommitted_since = None;
        }
        if is_new && seen.committed.is_none() && seen.pulled.is_none() {
            // Its first pull may begin anywhere.
            self.base = i64::MAX;
        }
        match seen.pulled {
            Some((_, offset)) if self.base == i64::MAX => self.base = offset,
            Some((at_ms, offset)) if offset > self.base => {
                self.uncommitted_since = self.uncommitted_since.or(Some(at_ms.min(now_ms)));
            }
            _ => self.uncommitted_since = None,
        }
        self.meter.take(now_ms, seen.delivered);
    }
}

fn judge(
    seen: &Seen,
    memory: &Memory,
    limits: &Limits,
    now_ms: i64,
) -> Option<(&'static str, Finding)> {
    if !seen.commits {
        return None;
    }
    let pulled_at = seen.pulled.map(|(at_ms, _)| at_ms);
    let quiet_since = memory.behind_since.map(|since| since.max(pulled_at.unwrap_or(since)));
    if let Some(since) = quiet_since.filter(|since| now_ms - since > limits.stuck_ms) {
        return Some(not_pulled(seen, since, now_ms));
    }
    if seen.pops {
        return None;
    }
    let since = memory.uncommitted_since.filter(|since| now_ms - since > limits.commit_ms)?;
    let is_pulled = pulled_at.is_some_and(|at_ms| now_ms - at_ms <= limits.stuck_ms);
    is_pulled.then(|| (NO_COMMITS, not_committed(seen, since)))
}

fn not_pulled(seen: &Seen, since: i64, now_ms: i64) -> (&'static str, Finding) {
    let behind = seen.end - seen.position;
    let verb = if seen.pops { "popped" } else { "pulled" };
    let last = match seen.pulled {
        Some((at_ms, _)) => format!("last {verb} {} s ago", (now_ms - at_ms) / 1000),
        None => format!("never {verb} since the broker started"),
    };
    let (kind, text) = match &seen.owner {
        Some(owner) if seen.pops => (STUCK, format!("{behind} messages wait, {last} by {owner}")),
        None if seen.pops => (UNOWNED, format!("{behind} messages wait, {last}")),
        Some(owner) => (STUCK, format!("{behind} messages wait, {last}; {owner} has the queue")),
        None => (UNOWNED, format!("{behind} messages wait, {last}; no member has the queue")),
    };
    (kind, Finding { text, since, clients: clients(seen), ..Finding::default() })
}

fn not_committed(seen: &Seen, since: i64) -> Finding {
    let to = seen.pulled.map_or(0, |(_, offset)| offset);
    let text = match seen.committed {
        Some(committed) => format!(
            "messages before offset {to} are delivered, and the committed offset stays at {committed}"
        ),
        None => format!("messages before offset {to} are delivered, and none was ever committed"),
    };
    Finding { text, since, clients: clients(seen), ..Finding::default() }
}

fn clients(seen: &Seen) -> Vec<FindingClient> {
    let named = |id: &Arc<str>| FindingClient { client_id: id.to_string(), expression: None };
    seen.owner.iter().map(named).collect()
}

fn conflicting(conflict: &Conflict, now_ms: i64) -> Finding {
    let says = |client: &FindingClient| match &client.expression {
        Some(expression) => format!("{} subscribes {expression:?}", client.client_id),
        None => format!("{} does not subscribe it", client.client_id),
    };
    let Conflict { one, other, clients, kinds, .. } = conflict;
    let mut text = format!("{}, {}", says(one), says(other));
    if *clients > 2 {
        text = format!("{text}; {kinds} different subscriptions among {clients} clients");
    }
    let clients = vec![one.clone(), other.clone()];
    Finding { text, since: now_ms, clients, ..Finding::default() }
}
