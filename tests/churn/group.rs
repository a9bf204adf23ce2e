//! One group under churn: its places, what is known of each member, and whether the group has settled.

use std::{
    collections::HashMap,
    sync::mpsc::{self, Receiver, Sender},
    time::Duration,
};

use gantry_client::WallClock;
use rustix::process::Signal;
use tokio::time::Instant;

use crate::{
    QUEUES,
    plan::{Event, Place, Plan},
    process::{Line, Process, Role, Said},
    verdict::{Delivery, Fate},
};

/// Every queue has exactly one owner so long after the last change.
pub const SETTLES_WITHIN: Duration = Duration::from_secs(3);
/// How long after the churn the last message may come.
pub const PATIENCE: Duration = Duration::from_secs(30);
const PLACES: usize = 6;

struct Member {
    number: usize,
    process: Process,
    ready: bool,
    leaving: bool,
    owns: Vec<i32>,
    thaws: Option<(i64, Instant)>,
}

/// See the module's text.
pub struct Group {
    pub name: &'static str,
    pub orderly: bool,
    namesrv: String,
    java: Vec<String>,
    plan: Plan,
    places: [Option<Member>; PLACES],
    started: usize,
    lines: (Sender<Line>, Receiver<Line>),
    pub deliveries: Vec<Delivery>,
    pub fates: HashMap<usize, Fate>,
    pub events: HashMap<&'static str, usize>,
    /// When members changed last.
    changed: Instant,
    settled: bool,
    pub settling: Settling,
    next_event: Instant,
    left_in_burst: usize,
    quiet: bool,
}

#[derive(Debug, Default)]
pub struct Settling {
    pub times: usize,
    pub longest: Duration,
    /// It did not.
    pub failures: Vec<String>,
}

impl Group {
    pub fn new(
        name: &'static str,
        orderly: bool,
        namesrv: &str,
        java: &[String],
        plan: Plan,
    ) -> Self {
        let now = Instant::now();
        let mut group = Self {
            name,
            orderly,
            namesrv: namesrv.to_owned(),
            java: java.to_vec(),
            plan,
            places: Default::default(),
            started: 0,
            lines: mpsc::channel(),
            deliveries: Vec::new(),
            fates: HashMap::new(),
            events: HashMap::new(),
            changed: now,
            settled: false,
            settling: Settling::default(),
            next_event: now + SETTLES_WITHIN,
            left_in_burst: 0,
            quiet: false,
        };
        for place in 0..PLACES / 2 {
            group.start(place);
        }
        group
    }

    /// No more events from now on; whoever is frozen is thawed in time.
    pub fn be_quiet(&mut self) {
        self.quiet = true;
    }

    /// Hears its members, does what is due, and looks whether it has settled.
    pub fn tick(&mut self, now: Instant) {
        self.hear(now);
        self.thaw(now);
        self.watch(now);
        if !self.quiet && now >= self.next_event {
            self.act(now);
        }
    }

    fn act(&mut self, now: Instant) {
        if self.left_in_burst == 0 {
            // A calm: it goes on when the group has settled, or has not in time.
            if !self.settled && now < self.changed + SETTLES_WITHIN {
                return;
            }
            self.left_in_burst = self.plan.burst();
        }
        let places: Vec<Place> = self.places.iter().map(Self::place).collect();
        if let Some((place, event)) = self.plan.next(&places) {
            self.happen(place, event, now);
        }
        self.left_in_burst -= 1;
        let calm =
            if self.left_in_burst == 0 { Duration::from_millis(300) } else { Duration::ZERO };
        self.next_event = now + self.plan.pause() + calm;
    }

    fn place(member: &Option<Member>) -> Place {
        match member {
            None => Place::Empty,
            Some(member) if member.thaws.is_some() => Place::Frozen,
            Some(member) if !member.ready || member.leaving => Place::Busy,
            Some(_) => Place::There,
        }
    }

    fn happen(&mut self, place: usize, event: Event, now: Instant) {
        let name = match event {
            Event::Start => "started",
            Event::Stop => "stopped",
            Event::Kill => "killed",
            Event::Freeze(_) => "frozen",
        };
        *self.events.entry(name).or_insert(0) += 1;
        if event == Event::Start {
            return self.start(place);
        }
        let Some(member) = &mut self.places[place] else { return };
        let at = WallClock::System.now_ms();
        match event {
            Event::Start => {}
            Event::Stop => {
                member.leaving = true;
                member.process.signal(Signal::TERM);
            }
            Event::Kill => {
                member.leaving = true;
                self.fates.entry(member.number).or_default().killed = Some(at);
                member.process.signal(Signal::KILL);
            }
            Event::Freeze(time) => {
                member.process.signal(Signal::STOP);
                member.thaws = Some((at, now + time));
            }
        }
        self.change(now);
    }

    fn start(&mut self, place: usize) {
        let number = self.started;
        self.started += 1;
        // The first places are those of the official clients.
        let java = self.java.get(place).map(String::as_str);
        let role = Role { namesrv: &self.namesrv, group: self.name, orderly: self.orderly, java };
        self.fates.entry(number).or_default().official = java.is_some();
        let process = Process::start(&role, number, self.lines.0.clone());
        let (ready, leaving) = (false, false);
        self.places[place] =
            Some(Member { number, process, ready, leaving, owns: Vec::new(), thaws: None });
    }

    fn change(&mut self, now: Instant) {
        self.changed = now;
        self.settled = false;
    }

    fn hear(&mut self, now: Instant) {
        while let Ok((number, said)) = self.lines.1.try_recv() {
            if let Said::Did { queue, offset, at } = said {
                self.deliveries.push(Delivery { member: number, queue, offset, at });
                continue;
            }
            let of_it = |place: &&mut Option<Member>| {
                place.as_ref().is_some_and(|member| member.number == number)
            };
            let Some(place) = self.places.iter_mut().find(of_it) else { continue };
            match (said, place.as_mut()) {
                (Said::Ready, Some(member)) => {
                    member.ready = true;
                    self.change(now);
                }
                (Said::Own(queues), Some(member)) => member.owns = queues,
                (Said::Gone, Some(_)) => {
                    let Some(member) = place.take() else { continue };
                    let (killed, leaving) =
                        (self.fates.get(&number).and_then(|f| f.killed), member.leaving);
                    let ended_well = member.process.reap();
                    if killed.is_none() && !(leaving && ended_well) {
                        let what = format!("{} {number} ended by itself", self.name);
                        self.settling.failures.push(what);
                    }
                    self.change(now);
                }
                _ => {}
            }
        }
    }

    fn thaw(&mut self, now: Instant) {
        for member in self.places.iter_mut().flatten() {
            let Some((from, _)) = member.thaws.filter(|(_, until)| now >= *until) else { continue };
            member.process.signal(Signal::CONT);
            member.thaws = None;
            let fate = self.fates.entry(member.number).or_default();
            fate.frozen.push((from, WallClock::System.now_ms()));
            (self.changed, self.settled) = (now, false);
        }
    }

    /// Whether members that are starting, leaving or frozen leave it open who owns what.
    fn is_unsettling(&self) -> bool {
        let members = self.places.iter().flatten();
        members.into_iter().any(|m| !m.ready || m.leaving || m.thaws.is_some())
    }

    fn watch(&mut self, now: Instant) {
        if self.settled || self.is_unsettling() {
            return;
        }
        let mut owned: Vec<i32> =
            self.places.iter().flatten().flat_map(|member| member.owns.clone()).collect();
        owned.sort_unstable();
        let took = now - self.changed;
        if owned.iter().copied().eq(0..QUEUES) {
            self.settled = true;
            self.settling.times += 1;
            self.settling.longest = took.max(self.settling.longest);
            return;
        }
        if took >= SETTLES_WITHIN {
            // Told once; the next change starts anew.
            self.settled = true;
            let members = self.places.iter().flatten();
            let owns: Vec<_> = members.map(|m| (m.number, m.owns.clone())).collect();
            let what = format!("{} has not settled after {took:?}: {owns:?}", self.name);
            self.settling.failures.push(what);
        }
    }

    /// Whether each message up to the queues' ends was consumed, as far as a count can tell.
    pub fn has_all(&self, ends: &[i64]) -> bool {
        let mut seen: Vec<Vec<bool>> = ends.iter().map(|end| vec![false; *end as usize]).collect();
        for delivery in &self.deliveries {
            let queue = seen.get_mut(delivery.queue as usize);
            if let Some(seen) = queue.and_then(|q| q.get_mut(delivery.offset as usize)) {
                *seen = true;
            }
        }
        seen.iter().flatten().all(|seen| *seen)
    }
}
