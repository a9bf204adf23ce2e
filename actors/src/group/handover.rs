//! The moment between two members of one group: who takes a queue over waits for what the other has
//! consumed.
//!
//! A member that joins asks for the offset of its queues at once. Those who have had them learn of it some
//! milliseconds later, and only then stop and commit; clients commit every 5 s otherwise. Without more, the
//! newcomer gets up to 5 s of messages once more that were consumed in good health. So the answer to
//! its question (QUERY_CONSUMER_OFFSET) is held back until the member that pulled the queue last has committed, or has
//! left, or [`ROUND`] is over: a member that is frozen costs the others one second.
//!
//! Questions of one rebalancing come one after the other, so those that wait for the same member share one
//! [`ROUND`]: whoever waits for the eighth queue of a frozen member does not wait eight times. A member that has
//! let a round pass without any commit is not waited for again until it commits something.
//!
//! A part of the published group slot, written by sessions. Behind a lock that is taken for questions and
//! for commits by UPDATE_CONSUMER_OFFSET, which are few; never across a wait.
//! Failure policy: there is nothing to lose; at the worst an answer comes early.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use tokio::{sync::oneshot, time::Instant};

use crate::net::ConnectionId;

/// How long answers wait for one member at most. Clients wait 3 to 5 s for an answer.
pub const ROUND: Duration = Duration::from_secs(1);

/// See the module's text.
#[derive(Debug, Default)]
pub struct Handovers(Mutex<Waiting>);

#[derive(Debug, Default)]
struct Waiting {
    /// By the connection of the member that is waited for.
    rounds: HashMap<ConnectionId, Round>,
    heirs: Vec<Heir>,
}

#[derive(Clone, Copy, Debug)]
struct Round {
    until: Instant,
    /// The member has committed since the round began.
    heard: bool,
}

/// Who waits for a queue.
#[derive(Debug)]
struct Heir {
    topic: Arc<str>,
    queue_id: i32,
    /// The connection of the member that had it.
    owner: ConnectionId,
    tell: oneshot::Sender<()>,
}

/// A question that is held back.
#[derive(Debug)]
pub struct Wait {
    until: Instant,
    released: oneshot::Receiver<()>,
}

impl Wait {
    /// Done when the question can be answered.
    pub async fn over(self) {
        // Told, dropped or late: the answer is what is committed then.
        let _ = tokio::time::timeout_at(self.until, self.released).await;
    }
}

impl Handovers {
    /// A question about a queue that `owner` has not committed since it last pulled; nothing to wait for
    /// if that one is silent.
    pub fn wait(
        &self,
        topic: &Arc<str>,
        queue_id: i32,
        owner: ConnectionId,
        now: Instant,
    ) -> Option<Wait> {
        let mut waiting = self.lock();
        let until = match waiting.rounds.get(&owner) {
            Some(round) if now < round.until => round.until,
            Some(round) if !round.heard => return None,
            _ => {
                let until = now + ROUND;
                waiting.rounds.insert(owner, Round { until, heard: false });
                until
            }
        };
        waiting.heirs.retain(|heir| !heir.tell.is_closed());
        let (tell, released) = oneshot::channel();
        waiting.heirs.push(Heir { topic: topic.clone(), queue_id, owner, tell });
        Some(Wait { until, released })
    }

    /// Whether anybody waits for what `owner` has consumed of this queue.
    pub fn is_awaited(&self, topic: &str, queue_id: i32, owner: ConnectionId) -> bool {
        self.lock().heirs.iter().any(|heir| heir.is_for(topic, queue_id, owner))
    }

    /// `owner` has committed.
    pub fn committed(&self, topic: &str, queue_id: i32, owner: ConnectionId) {
        let mut waiting = self.lock();
        if let Some(round) = waiting.rounds.get_mut(&owner) {
            round.heard = true;
            waiting.release(|heir| heir.is_for(topic, queue_id, owner));
        }
    }

    /// `owner` has left.
    pub fn left(&self, owner: ConnectionId) {
        let mut waiting = self.lock();
        if waiting.rounds.remove(&owner).is_some() {
            waiting.release(|heir| heir.owner == owner);
        }
    }

    fn lock(&self) -> MutexGuard<'_, Waiting> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Waiting {
    fn release(&mut self, which: impl Fn(&Heir) -> bool) {
        for heir in self.heirs.extract_if(.., |heir| which(heir)) {
            // Who no longer waits does not mind.
            let _ = heir.tell.send(());
        }
    }
}

impl Heir {
    fn is_for(&self, topic: &str, queue_id: i32, owner: ConnectionId) -> bool {
        self.owner == owner && self.queue_id == queue_id && *self.topic == *topic
    }
}

#[cfg(test)]
mod tests {
    use gantry_codec::{Command, request_code as rq};

    use super::*;
    use crate::group::{
        bench::{Bench, Peer},
        testing::{pass, run},
    };

    const OWNER: ConnectionId = ConnectionId(1);
    const OTHER: ConnectionId = ConnectionId(2);

    fn is_over(wait: &mut Wait) -> bool {
        wait.released.try_recv().is_ok()
    }

    #[test]
    fn only_what_is_waited_for_ends_a_wait() {
        let (handovers, topic, now) = (Handovers::default(), "t".into(), Instant::now());
        let mut wait = handovers.wait(&topic, 3, OWNER, now).unwrap();
        assert!(handovers.is_awaited("t", 3, OWNER));
        for (topic, queue_id, owner) in [("u", 3, OWNER), ("t", 4, OWNER), ("t", 3, OTHER)] {
            assert!(!handovers.is_awaited(topic, queue_id, owner));
            handovers.committed(topic, queue_id, owner);
        }
        handovers.left(OTHER);
        assert!(!is_over(&mut wait));
        handovers.committed("t", 3, OWNER);
        assert!(is_over(&mut wait));
        assert!(!handovers.is_awaited("t", 3, OWNER));
        let mut wait = handovers.wait(&topic, 3, OWNER, now).unwrap();
        handovers.left(OWNER);
        assert!(is_over(&mut wait));
    }

    #[test]
    fn the_questions_of_one_rebalancing_share_a_round() {
        let (handovers, topic, start) = (Handovers::default(), "t".into(), Instant::now());
        let wait = |queue_id, owner, now| {
            let wait = handovers.wait(&topic, queue_id, owner, now);
            wait.map(|wait| wait.until - start)
        };
        assert_eq!(wait(0, OWNER, start), Some(ROUND));
        assert_eq!(wait(1, OWNER, start + ROUND / 2), Some(ROUND), "not a second more");
        assert_eq!(wait(2, OWNER, start + ROUND), None);
        assert_eq!(wait(2, OWNER, start + ROUND * 9), None, "it is silent");
        assert_eq!(wait(3, OTHER, start + ROUND), Some(ROUND * 2), "another one may not be");
        assert_eq!(handovers.lock().heirs.len(), 1, "who has given up is forgotten");
        handovers.committed("t", 7, OWNER);
        assert_eq!(wait(2, OWNER, start + ROUND * 9), Some(ROUND * 10), "it has been heard of");
        handovers.left(OWNER);
        handovers.left(OTHER);
        assert!(handovers.lock().rounds.is_empty());
    }

    #[test]
    fn a_wait_ends_by_itself() {
        run(async {
            let handovers = Handovers::default();
            let begun = Instant::now();
            handovers.wait(&"t".into(), 0, OWNER, begun).unwrap().over().await;
            assert_eq!(begun.elapsed(), ROUND);
        });
    }

    /// A bench where a member has pulled from a queue of `t`, and another has joined.
    async fn pulled() -> (Bench, Peer, Peer) {
        let bench = Bench::new().await;
        bench.topics.topic("t", 4);
        let (mut owner, mut heir) = (bench.connect(1), bench.connect(2));
        owner.beat("one", "g", &["t"]).await;
        heir.beat("two", "g", &["t"]).await;
        for offset in [5, 7] {
            owner.ask(update(offset)).await;
            pull(&bench, 10, &owner);
        }
        (bench, owner, heir)
    }

    fn pull(bench: &Bench, offset: i64, peer: &Peer) {
        let view = bench.control.group("g").unwrap();
        view.slot().activities.of(&"t".into(), 0).pulled(1, offset, peer.conn.id());
    }

    fn update(offset: i64) -> Command {
        query(rq::UPDATE_CONSUMER_OFFSET).with_ext("commitOffset", offset)
    }

    fn query(code: i32) -> Command {
        Command::request(code)
            .with_ext("consumerGroup", "g")
            .with_ext("topic", "t")
            .with_ext("queueId", 0)
    }

    /// The offset that `peer` is told, and how long it has to wait for it while `meanwhile` happens.
    async fn asks(peer: &mut Peer, meanwhile: impl Future<Output = ()>) -> (String, Duration) {
        let begun = Instant::now();
        let (answer, ()) = tokio::join!(peer.ask(query(rq::QUERY_CONSUMER_OFFSET)), meanwhile);
        (answer.ext.get("offset").unwrap().to_owned(), begun.elapsed())
    }

    const MOMENT: Duration = Duration::from_millis(30);
    /// A commit is on its way for so long.
    const SHORT: Duration = Duration::from_millis(40);

    #[test]
    fn who_takes_over_is_told_what_the_other_commits_when_it_hears_of_it() {
        run(async {
            let (_bench, mut owner, mut heir) = pulled().await;
            let (offset, waited) = asks(&mut heir, async {
                pass(MOMENT).await;
                let conn = owner.conn.clone();
                let mut oneway = update(10);
                oneway.flag = 2;
                owner.session.request(oneway, &conn);
                owner.session.burst_end();
            })
            .await;
            assert_eq!(offset, "10");
            assert!((MOMENT..SHORT).contains(&waited), "{waited:?}");
            let (_, waited) = asks(&mut heir, async {}).await;
            assert!(waited < MOMENT, "it is its own now: {waited:?}");
            let (_, waited) = asks(&mut owner, async {
                pass(MOMENT).await;
                heir.ask(update(10)).await;
            })
            .await;
            assert!(
                (MOMENT..SHORT).contains(&waited),
                "another comes before it pulled: {waited:?}"
            );
            owner.ask(update(10)).await;
            let (_, waited) = asks(&mut heir, async {}).await;
            assert!(waited < MOMENT, "committed: {waited:?}");
        });
    }

    #[test]
    fn the_end_of_a_member_ends_the_wait() {
        run(async {
            let (_bench, mut owner, mut heir) = pulled().await;
            let (offset, waited) = asks(&mut heir, async {
                pass(MOMENT).await;
                owner.session.offsets.commit("g", "t", 0, 9);
                owner.close();
            })
            .await;
            assert_eq!(offset, "9");
            assert!((MOMENT..SHORT).contains(&waited), "{waited:?}");
        });
    }

    #[test]
    fn a_frozen_member_costs_a_second() {
        run(async {
            let (_bench, _owner, mut heir) = pulled().await;
            let (offset, waited) = asks(&mut heir, async {}).await;
            assert_eq!(offset, "7");
            assert!((ROUND..ROUND + MOMENT).contains(&waited), "{waited:?}");
        });
    }

    #[test]
    fn only_members_that_others_can_hand_over_to_wait() {
        run(async {
            let (bench, mut owner, mut heir) = pulled().await;
            let mut stranger = bench.connect(3);
            for peer in [&mut stranger, &mut owner] {
                let (offset, waited) = asks(peer, async {}).await;
                assert_eq!(offset, "7");
                assert!(waited < MOMENT, "{waited:?}");
            }
            pull(&bench, 10, &stranger);
            let (_, waited) = asks(&mut heir, async {}).await;
            assert!(waited < MOMENT, "who pulled is no member: {waited:?}");
        });
    }
}
