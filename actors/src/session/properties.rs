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
    /// A property that says when the message ends ([`crate::expiry`]).
    pub ends: bool,
}

impl Scan {
    /// Looks once over `properties`.
    pub fn of(properties: &str) -> Self {
        let mut scan = Self::default();
        let mut at = 0;
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
                names::DELAY => scan.delay_level = value.parse().unwrap_or(0),
                names::TRAN_MSG => scan.half = value.eq_ignore_ascii_case("true"),
                names::TIMER_DELAY_SEC | names::TIMER_DELAY_MS | names::TIMER_DELIVER_MS => {
                    scan.timed = true;
                }
                names::CLUSTER => scan.cluster = true,
                names::MSG_REGION => scan.region = true,
                names::POP_CK => scan.pop_ck = true,
                names::GANTRY_TTL_MS | names::GANTRY_EXPIRES_MS => scan.ends = true,
                _ => {}
            }
        }
        scan
    }
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
    fn odd_strings_are_no_reason_to_fail() {
        for text in
            ["", "\u{2}", "\u{1}", "DELAY\u{1}x\u{2}", "UNIQ_KEY\u{1}\u{2}", "a\u{1}b\u{1}c\u{2}"]
        {
            assert_eq!(Scan::of(text), Scan::default(), "{text:?}");
        }
    }
}
