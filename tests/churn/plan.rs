//! What happens to whom: drawn from a seed, kept within what can be judged.
//!
//! Events come in bursts with a calm after each, in which the group has to settle. At least one member is
//! there and awake at any time. Places that have an official client keep to it.

use std::time::Duration;

use fastrand::Rng;

/// What happens to the member at a place.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Event {
    Start,
    Stop,
    Kill,
    /// For so long.
    Freeze(Duration),
}

/// How a place is now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Place {
    Empty,
    /// Starting or leaving; nothing is done to it.
    Busy,
    There,
    Frozen,
}

/// See the module's text.
pub struct Plan {
    rng: Rng,
    /// Freezes last so long at most.
    pub freeze_max_ms: u64,
}

impl Plan {
    pub fn new(seed: u64, freeze_max_ms: u64) -> Self {
        Self { rng: Rng::with_seed(seed), freeze_max_ms }
    }

    /// Events until the next calm.
    pub fn burst(&mut self) -> usize {
        self.rng.usize(1..=4)
    }

    /// Until the next event of a burst.
    pub fn pause(&mut self) -> Duration {
        Duration::from_millis(self.rng.u64(50..600))
    }

    /// The next event and the place that it is for; none if nothing can happen.
    pub fn next(&mut self, places: &[Place]) -> Option<(usize, Event)> {
        let awake = places.iter().filter(|place| **place == Place::There).count();
        let mut choices = Vec::new();
        for (number, place) in places.iter().enumerate() {
            match place {
                // Empty places fill up sooner than others empty: groups are mostly large.
                Place::Empty => choices.extend([(number, Event::Start); 3]),
                Place::There if awake > 1 => {
                    choices.push((number, Event::Stop));
                    choices.push((number, Event::Freeze(Duration::ZERO)));
                    choices.push((number, Event::Kill));
                }
                _ => {}
            }
        }
        let (number, event) = self.rng.choice(choices)?;
        let event = match event {
            Event::Freeze(_) => {
                Event::Freeze(Duration::from_millis(self.rng.u64(100..self.freeze_max_ms)))
            }
            event => event,
        };
        Some((number, event))
    }
}

#[test]
fn a_seed_plans_the_same_and_the_last_one_awake_stays() {
    let (mut one, mut two) = (Plan::new(7, 500), Plan::new(7, 500));
    let mut places = [Place::There; 6];
    for _ in 0..1000 {
        let event = one.next(&places);
        assert_eq!(event, two.next(&places));
        let Some((number, event)) = event else { continue };
        places[number] = match event {
            Event::Start => Place::There,
            Event::Stop | Event::Kill => Place::Empty,
            Event::Freeze(_) => Place::Frozen,
        };
        assert!(places.contains(&Place::There));
        if places.iter().all(|place| *place != Place::Empty) {
            places = [Place::There; 6];
        }
    }
    assert_eq!(one.next(&[Place::Busy, Place::There]), None);
}
