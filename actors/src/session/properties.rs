//! One look over a message's property string: what the broker has to know before it stores it.
//!
//! The string comes from the client and is kept as it is (order, unknown names, duplicates); the
//! broker only appends what is missing (wire.md 2.3 and 3.3).

use std::ops::Range;

use gantry_codec::properties as names;

/// What the broker reads from a property string on its way into the log.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Scan {
    /// `UNIQ_KEY`, as a range of the string.
    pub unique_key: Option<Range<usize>>,
    /// `WAIT` is `false`: the send does not wait for the flush.
    pub no_wait: bool,
    /// `DELAY`, a level above 0.
    pub delay_level: u32,
    /// `TRAN_MSG` is `true`.
    pub half: bool,
    /// One of the `TIMER_…` properties that ask for a delivery time.
    pub timed: bool,
    /// `CLUSTER` is there already.
    pub cluster: bool,
    /// `MSG_REGION` is there already.
    pub region: bool,
    /// `POP_CK`: to be taken out before storing.
    pub pop_ck: bool,
    /// `_SYS_MSG_PRIORITY_` of a message of which nothing else says where it goes: the queue, or the last
    /// one if there are fewer.
    pub priority: Option<u32>,
    /// `_SYS_MSG_PRIORITY_` of any other message: to be taken out before storing.
    pub void_priority: bool,
    /// `INNER_NUM`: it says that it is an inner batch.
    pub inner_batch: bool,
    /// A property that says when the message ends ([`crate::expiry`]).
    pub ends: bool,
}

impl Scan {
    /// Looks once over `properties`.
    pub fn of(properties: &str) -> Self {
        let mut scan = Self::default();
        let (mut at, mut has_key, mut has_delay) = (0, false, false);
        for pair in properties.split(names::PAIR_END) {
            let start = at;
            at += pair.len() + 1;
            let Some((name, value)) = pair.split_once(names::NAME_END) else { continue };
            match name {
                names::UNIQ_KEY if !value.is_empty() => {
                    let from = start + name.len() + 1;
                    scan.unique_key = Some(from..from + value.len());
                }
                names::WAIT => scan.no_wait = value.eq_ignore_ascii_case("false"),
                names::DELAY => {
                    scan.delay_level = value.parse().unwrap_or(0);
                    has_delay = true;
                }
                names::TRAN_MSG => scan.half = value.eq_ignore_ascii_case("true"),
                names::TIMER_DELAY_SEC | names::TIMER_DELAY_MS | names::TIMER_DELIVER_MS => {
                    scan.timed = true;
                }
                names::CLUSTER => scan.cluster = true,
                names::MSG_REGION => scan.region = true,
                names::POP_CK => scan.pop_ck = true,
                names::PRIORITY => scan.priority = value.parse::<i32>().ok().and_then(not_negative),
                names::SHARDING_KEY => has_key = true,
                names::INNER_NUM => scan.inner_batch = true,
                names::GANTRY_TTL_MS | names::GANTRY_EXPIRES_MS => scan.ends = true,
                _ => {}
            }
        }
        if scan.half || scan.timed || has_delay || has_key {
            scan.void_priority = scan.priority.take().is_some();
        }
        scan
    }

    /// Looks at the string of a message within a batch: it does not say where the batch goes.
    pub fn of_batched(properties: &str) -> Self {
        Self { void_priority: false, ..Self::of(properties) }
    }

    /// Whether this property is not to be stored.
    pub fn drops(&self, name: &str) -> bool {
        (self.pop_ck && name == names::POP_CK) || (self.void_priority && name == names::PRIORITY)
    }

    /// Whether there is such a property.
    pub fn drops_any(&self) -> bool {
        self.pop_ck || self.void_priority
    }
}

fn not_negative(priority: i32) -> Option<u32> {
    u32::try_from(priority).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn finds_what_matters_wherever_it_stands() {
        let text = "KEYS\u{1}a\u{2}UNIQ_KEY\u{1}0A0B\u{2}WAIT\u{1}false\u{2}DELAY\u{1}3";
        let scan = Scan::of(text);
        assert_eq!(&text[scan.unique_key.clone().unwrap()], "0A0B");
        assert!(scan.no_wait && !scan.half && !scan.timed && !scan.cluster);
        assert_eq!(scan.delay_level, 3);
    }

    #[test]
    fn a_priority_counts_if_nothing_else_says_where_the_message_goes() {
        let with = |more: &str| Scan::of(&format!("_SYS_MSG_PRIORITY_\u{1}7\u{2}{more}"));
        assert_eq!((with("").priority, with("").drops_any()), (Some(7), false));
        for more in [
            "DELAY\u{1}0\u{2}",
            "TIMER_DELAY_MS\u{1}5\u{2}",
            "TRAN_MSG\u{1}true\u{2}",
            "__SHARDINGKEY\u{1}k\u{2}",
        ] {
            let scan = with(more);
            assert_eq!((scan.priority, scan.drops("_SYS_MSG_PRIORITY_")), (None, true), "{more}");
            assert!(!scan.drops("POP_CK"));
        }
        for odd in ["-1", "x", ""] {
            assert_eq!(Scan::of(&format!("_SYS_MSG_PRIORITY_\u{1}{odd}\u{2}")).priority, None);
        }
        let batched = Scan::of_batched("_SYS_MSG_PRIORITY_\u{1}7\u{2}__SHARDINGKEY\u{1}k\u{2}");
        assert!(!batched.drops_any(), "kept as it came");
    }

    #[test]
    fn odd_strings_are_no_reason_to_fail() {
        for text in
            ["", "\u{2}", "\u{1}", "DELAY\u{1}x\u{2}", "UNIQ_KEY\u{1}\u{2}", "a\u{1}b\u{1}c\u{2}"]
        {
            assert_eq!(Scan::of(text), Scan::default(), "{text:?}");
        }
    }
}
