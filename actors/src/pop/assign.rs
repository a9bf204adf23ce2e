//! Which queues a client of a group is given (QUERY_ASSIGNMENT, wire.md 2.5): plain functions.
//!
//! Queues and clients are sorted, so that every client that asks gets its share of the same division.
//! Who pulls has queues for itself alone. Who pops shares: all clients all queues if the share number
//! is 0 or less (then as one queue of number -1 per broker's queue, which any of its queues serves), else the
//! queues of the next so many clients besides one's own.

use gantry_codec::body::{MessageQueue, MessageRequestMode, RequestModeBody};

/// How queues are divided.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Strategy {
    /// Each client gets neighbouring queues.
    Average,
    /// Queues are dealt out one by one.
    Circle,
}

impl Strategy {
    /// The strategy of that name on the wire.
    pub fn of(name: &str) -> Option<Self> {
        match name {
            "AVG" => Some(Self::Average),
            "AVG_BY_CIRCLE" => Some(Self::Circle),
            _ => None,
        }
    }

    /// The queues of the client at `place` of so many.
    fn share(self, place: usize, clients: usize, queues: &[MessageQueue]) -> Vec<MessageQueue> {
        let indices = match self {
            Self::Average => average(place, clients, queues.len()),
            Self::Circle => (place..queues.len()).step_by(clients.max(1)).collect(),
        };
        indices.into_iter().filter_map(|index| queues.get(index).cloned()).collect()
    }
}

/// The first `queues % clients` clients get one queue more than the others.
fn average(place: usize, clients: usize, queues: usize) -> Vec<usize> {
    let (each, over) = (queues / clients.max(1), queues % clients.max(1));
    let begin = place * each + place.min(over);
    (begin..begin + each + usize::from(place < over)).collect()
}

/// The queues of `client`, out of `queues`; both lists in any order. Nothing if it is none of
/// `clients`.
pub fn assign(
    client: &str,
    clients: &[impl AsRef<str>],
    mut queues: Vec<MessageQueue>,
    strategy: Strategy,
    mode: &RequestModeBody,
) -> Vec<MessageQueue> {
    queues.sort_unstable_by(|a, b| {
        let key =
            |queue: &MessageQueue| (queue.topic.clone(), queue.broker_name.clone(), queue.queue_id);
        key(a).cmp(&key(b))
    });
    let mut clients: Vec<&str> = clients.iter().map(AsRef::as_ref).collect();
    clients.sort_unstable();
    clients.dedup();
    if mode.mode == MessageRequestMode::Pop && mode.pop_share_queue_num <= 0 {
        return any_queue_of_each_broker(queues);
    }
    let Some(place) = clients.iter().position(|other| *other == client) else {
        return Vec::new();
    };
    if mode.mode == MessageRequestMode::Pull {
        return strategy.share(place, clients.len(), &queues);
    }
    if clients.len() > queues.len() {
        let own = place.checked_rem(queues.len()).and_then(|place| queues.get(place).cloned());
        return own.into_iter().collect();
    }
    let shared = (mode.pop_share_queue_num as usize).min(clients.len() - 1);
    let owners = (place..=place + shared).map(|owner| owner % clients.len());
    owners.flat_map(|owner| strategy.share(owner, clients.len(), &queues)).collect()
}

fn any_queue_of_each_broker(mut queues: Vec<MessageQueue>) -> Vec<MessageQueue> {
    queues.iter_mut().for_each(|queue| queue.queue_id = -1);
    queues.dedup();
    queues
}

#[cfg(test)]
mod tests {
    use super::*;

    fn queues(count: i32) -> Vec<MessageQueue> {
        let queue =
            |queue_id| MessageQueue { topic: "t".into(), broker_name: "b".into(), queue_id };
        (0..count).rev().map(queue).collect()
    }

    fn mode(mode: MessageRequestMode, share: i32) -> RequestModeBody {
        RequestModeBody { mode, pop_share_queue_num: share, ..RequestModeBody::default() }
    }

    fn ids(client: &str, count: i32, strategy: Strategy, mode: &RequestModeBody) -> Vec<i32> {
        let assigned = assign(client, &["c", "a", "b", "a"], queues(count), strategy, mode);
        assigned.into_iter().map(|queue| queue.queue_id).collect()
    }

    #[test]
    fn who_pulls_has_queues_alone() {
        let pull = mode(MessageRequestMode::Pull, 0);
        let of = |client, count| ids(client, count, Strategy::Average, &pull);
        assert_eq!(
            [of("a", 8), of("b", 8), of("c", 8)],
            [vec![0, 1, 2], vec![3, 4, 5], vec![6, 7]]
        );
        assert_eq!([of("a", 2), of("b", 2), of("c", 2)], [vec![0], vec![1], vec![]]);
        let of = |client, count| ids(client, count, Strategy::Circle, &pull);
        assert_eq!(
            [of("a", 8), of("b", 8), of("c", 8)],
            [vec![0, 3, 6], vec![1, 4, 7], vec![2, 5]]
        );
        assert!(of("stranger", 8).is_empty());
    }

    #[test]
    fn who_pops_shares_with_the_next_clients_or_with_all() {
        let of = |client, count, share| {
            ids(client, count, Strategy::Average, &mode(MessageRequestMode::Pop, share))
        };
        assert_eq!(of("a", 6, 1), [0, 1, 2, 3]);
        assert_eq!(of("c", 6, 1), [4, 5, 0, 1]);
        assert_eq!(of("b", 6, 9), [2, 3, 4, 5, 0, 1], "each queue once");
        assert_eq!([of("a", 2, 1), of("b", 2, 1), of("c", 2, 1)], [[0], [1], [0]]);
        assert!(of("a", 0, 1).is_empty());
        assert_eq!((of("a", 6, 0), of("stranger", 6, -1)), (vec![-1], vec![-1]));
    }

    #[test]
    fn strategies_go_by_name() {
        assert_eq!(Strategy::of("AVG"), Some(Strategy::Average));
        assert_eq!(Strategy::of("AVG_BY_CIRCLE"), Some(Strategy::Circle));
        assert_eq!(Strategy::of("avg"), None);
    }
}
