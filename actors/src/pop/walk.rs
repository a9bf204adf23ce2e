//! One pop on its way through the queues: what it asks for, where it still has to look, what it has got.
//!
//! A pop of a topic also reads the group's retry topics, first in some pops (`popFromRetryProbability`) and
//! last in the others, so that neither starves the other; the queues of a topic come in turn from a random
//! one. An orderly pop reads the topic alone. Of a topic whose queues are for priorities, a pop takes
//! the queues from the highest number down and the retry topics last, but for as many in a hundred as the
//! group leaves to chance (`priority.factor`), lest the least urgent never come. Each queue is read once at most, as an answer can name
//! it only once ([`gantry_codec::pop`]).

use std::sync::Arc;

use bytes::Bytes;
use gantry_codec::pop::{OffsetInfo, TopicMark};

use super::{back::Back, queues::QueueKey, waiters::Waiting};
use crate::{net::ConnectionId, session::MessageFilter};

/// What a pop asks for.
#[derive(Clone)]
pub struct PopRequest {
    /// The topic.
    pub topic: Arc<str>,
    /// The queue; negative: any.
    pub queue_id: i32,
    /// As many messages at most.
    pub messages_max: u32,
    /// How long they are hidden, ms.
    pub invisible_time: i64,
    /// A group without offset begins at the end of the queue, not at its beginning.
    pub begins_at_end: bool,
    /// Whether queues give nothing while messages are out.
    pub in_order: bool,
    /// In so many of a hundred pops, priorities count if the topic has them.
    pub priority_percent: u32,
    /// The try of an orderly client.
    pub attempt: Option<String>,
    /// `None`: every message.
    pub filter: Option<MessageFilter>,
    /// Until when it waits, ms; not at all if that is over.
    pub deadline: i64,
    /// Look only, take nothing.
    pub is_peek: bool,
    /// Where it came from.
    pub connection: ConnectionId,
}

/// What a pop gets.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Popped {
    /// When it was, ms.
    pub pop_time: i64,
    /// How many messages are behind those taken, in the queues that were looked at.
    pub rest: u64,
    /// Which messages these are.
    pub info: OffsetInfo,
    /// The messages.
    pub pieces: Vec<Bytes>,
    /// How many they are.
    pub count: u32,
}

/// The answer to a pop.
#[derive(Debug, PartialEq, Eq)]
pub enum PopAnswer {
    /// Here are messages.
    Found(Popped),
    /// There is none, or none came in time.
    Nothing(Popped),
    /// There is none, and too many wait already.
    Full(Popped),
}

/// A queue that is to be looked at.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Stop {
    /// Which of the topics.
    pub mark: TopicMark,
    /// The queue.
    pub key: QueueKey,
}

/// What a pop leaves to chance.
#[derive(Clone, Copy, Debug)]
pub struct Chances {
    /// The topic's queues are for priorities.
    pub has_priorities: bool,
    /// So many pops in a hundred look at the retry topics first.
    pub retry_first_percent: u32,
}

/// In which order queues are looked at.
#[derive(Clone, Copy)]
enum Way {
    /// From the highest number down, retry topics last.
    ByPriority,
    /// In turn.
    InTurn { from: u32, retry_first: bool },
}

/// See the module's text.
pub struct Walk {
    /// What is asked for.
    pub request: PopRequest,
    /// What it has got.
    pub popped: Popped,
    /// Where that is from, to be given back if it does not arrive.
    pub taken: Vec<(QueueKey, Vec<u64>)>,
    /// Where it still has to look, the last one first.
    pub stops: Vec<Stop>,
    /// Whether it has waited before.
    pub has_waited: bool,
    /// Who waits for the answer.
    pub back: Back,
}

impl Walk {
    /// A pop that has still to look everywhere.
    pub fn new(request: PopRequest, back: Back) -> Self {
        let (popped, taken, stops) = (Popped::default(), Vec::new(), Vec::new());
        Self { request, popped, taken, stops, has_waited: false, back }
    }

    /// Begins at `now`: topics with as many queues as they have now, what is left to chance, and the die.
    pub fn begin(
        &mut self,
        now: i64,
        topics: &[(TopicMark, Arc<str>, u32)],
        chances: Chances,
        dice: &mut fastrand::Rng,
    ) {
        self.popped = Popped { pop_time: now, ..Popped::default() };
        self.taken.clear();
        let PopRequest { queue_id, in_order, priority_percent, .. } = self.request;
        let by_priority =
            chances.has_priorities && !in_order && dice.u32(0..100) < priority_percent;
        let way = match by_priority {
            true => Way::ByPriority,
            false => {
                let retry_first = dice.u32(0..100) < chances.retry_first_percent;
                Way::InTurn { from: dice.u32(..), retry_first }
            }
        };
        self.stops = stops(topics, queue_id, in_order, way);
        self.stops.reverse();
    }

    /// How many messages it may still get.
    pub fn room(&self) -> u32 {
        self.request.messages_max.saturating_sub(self.popped.count)
    }

    /// When its messages are due.
    pub fn due(&self) -> i64 {
        self.popped.pop_time.saturating_add(self.request.invisible_time)
    }
}

impl Waiting for Walk {
    fn deadline(&self) -> i64 {
        self.request.deadline
    }

    fn is_gone(&self) -> bool {
        self.back.is_closed()
    }
}

/// The queues in the order in which they are looked at: as the dice have it, or by priority.
fn stops(
    topics: &[(TopicMark, Arc<str>, u32)],
    queue_id: i32,
    in_order: bool,
    way: Way,
) -> Vec<Stop> {
    let mut own = Vec::new();
    let mut retries = Vec::new();
    for (mark, topic, queues) in topics {
        let stop = |queue: u32| Stop { mark: *mark, key: (topic.clone(), queue) };
        let all = (0..*queues).map(|place| match way {
            Way::ByPriority => queues - 1 - place,
            Way::InTurn { from, .. } => (from % queues + place) % queues,
        });
        match (mark, u32::try_from(queue_id)) {
            (TopicMark::Normal, Ok(queue)) => own.push(stop(queue)),
            (TopicMark::Normal, Err(_)) => own.extend(all.map(stop)),
            _ if in_order => {}
            _ => retries.extend(all.map(stop)),
        }
    }
    if matches!(way, Way::InTurn { retry_first: true, .. }) {
        retries.extend(own);
        return retries;
    }
    own.extend(retries);
    own
}

#[cfg(test)]
mod tests {
    use super::*;

    fn topics() -> [(TopicMark, Arc<str>, u32); 2] {
        [(TopicMark::Normal, "t".into(), 3), (TopicMark::Retry, "r".into(), 1)]
    }

    fn places(
        queue_id: i32,
        in_order: bool,
        retry_first: bool,
        dice: &mut fastrand::Rng,
    ) -> Vec<(String, u32)> {
        let way = Way::InTurn { from: dice.u32(..), retry_first };
        let stops = stops(&topics(), queue_id, in_order, way);
        stops.into_iter().map(|stop| (stop.key.0.to_string(), stop.key.1)).collect()
    }

    #[test]
    fn all_queues_are_looked_at_in_turn_from_any_and_retries_before_or_after() {
        let mut dice = fastrand::Rng::with_seed(7);
        let mut starts = [0; 3];
        for round in 0..1000 {
            let retry_first = round % 2 == 0;
            let places = places(-1, false, retry_first, &mut dice);
            let retry = places.iter().position(|(topic, _)| topic == "r").unwrap();
            assert_eq!(retry, if retry_first { 0 } else { 3 });
            let own: Vec<_> = places.iter().filter(|(topic, _)| topic == "t").collect();
            starts[own[0].1 as usize] += 1;
            assert!(own.windows(2).all(|two| two[1].1 == (two[0].1 + 1) % 3));
            assert_eq!(own.len(), 3);
        }
        assert!(starts.iter().all(|count| *count > 250), "{starts:?}");
    }

    #[test]
    fn queues_of_priorities_come_from_the_highest_down_and_retries_last() {
        let places = |queue_id| {
            let stops = stops(&topics(), queue_id, false, Way::ByPriority);
            stops.into_iter().map(|stop| (stop.key.0.to_string(), stop.key.1)).collect::<Vec<_>>()
        };
        let own = |queue| ("t".to_owned(), queue);
        let retry = ("r".to_owned(), 0);
        assert_eq!(places(-1), [own(2), own(1), own(0), retry.clone()]);
        assert_eq!(places(1), [own(1), retry]);
    }

    #[test]
    fn a_pop_of_one_queue_looks_at_that_and_the_retries() {
        let mut dice = fastrand::Rng::with_seed(1);
        let mut places_of = |in_order| places(2, in_order, false, &mut dice);
        assert_eq!(places_of(false), [("t".into(), 2), ("r".into(), 0)]);
        assert_eq!(places_of(true), [("t".into(), 2)]);
    }
}
