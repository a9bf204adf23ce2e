//! Which queues a member of a group gets: the averaging rule that all clients share.
//!
//! Every member computes its own share alone, from the sorted ids of all members and the sorted queues of a
//! topic, so all of them have to compute alike. The first members get one queue more if they do not share
//! out evenly, and neighbouring queues stay together.

use gantry_codec::body::MessageQueue;

/// The queues of member `me`; none if it is not among the members (yet).
pub(super) fn share(
    mut queues: Vec<MessageQueue>,
    mut members: Vec<String>,
    me: &str,
) -> Vec<MessageQueue> {
    queues.sort();
    queues.dedup();
    members.sort();
    members.dedup();
    let Ok(place) = members.binary_search_by(|member| member.as_str().cmp(me)) else {
        return Vec::new();
    };
    let (each, more) = (queues.len() / members.len(), queues.len() % members.len());
    let first = place * each + place.min(more);
    let count = each + usize::from(place < more);
    queues.into_iter().skip(first).take(count).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn queues(count: i32) -> Vec<MessageQueue> {
        let queue =
            |queue_id| MessageQueue { topic: "t".into(), broker_name: "b".into(), queue_id };
        (0..count).rev().map(queue).collect()
    }

    fn ids(members: &[&str]) -> Vec<String> {
        members.iter().map(|member| (*member).to_owned()).collect()
    }

    fn numbers(members: &[&str], count: i32, me: &str) -> Vec<i32> {
        share(queues(count), ids(members), me).iter().map(|queue| queue.queue_id).collect()
    }

    #[test]
    fn neighbours_stay_together_and_the_first_get_more() {
        let members = ["c", "a", "b"];
        assert_eq!(numbers(&members, 8, "a"), [0, 1, 2]);
        assert_eq!(numbers(&members, 8, "b"), [3, 4, 5]);
        assert_eq!(numbers(&members, 8, "c"), [6, 7]);
    }

    #[test]
    fn more_members_than_queues_leave_some_without() {
        assert_eq!(numbers(&["a", "b", "c"], 2, "b"), [1]);
        assert_eq!(numbers(&["a", "b", "c"], 2, "c"), [0; 0]);
    }

    #[test]
    fn who_is_no_member_gets_nothing() {
        assert_eq!(numbers(&["a"], 4, "b"), [0; 0]);
        assert_eq!(numbers(&[], 4, "b"), [0; 0]);
        assert_eq!(numbers(&["b", "b"], 4, "b"), [0, 1, 2, 3], "an id counts once");
    }

    #[test]
    fn every_queue_has_exactly_one_owner() {
        for count in 0..20 {
            for members in 1..10 {
                let members: Vec<String> = (0..members).map(|n| format!("m{n}")).collect();
                let each = members.iter().map(|me| share(queues(count), members.clone(), me));
                let mut all: Vec<_> = each.flatten().collect();
                all.sort();
                let mut whole = queues(count);
                whole.sort();
                assert_eq!(all, whole);
            }
        }
    }
}
