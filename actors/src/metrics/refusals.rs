//! Requests that were answered with an error, counted by request code and response code.
//!
//! Both codes are chosen by the peer or by the broker, so the table is bounded: what does not fit counts
//! under the code [`OTHER`]. An entry costs a lock, which only refused requests pay.

use std::{
    collections::BTreeMap,
    sync::{Mutex, PoisonError},
};

use gantry_codec::response_code as rs;

/// Pairs that are told apart.
const PAIRS_MAX: usize = 512;
/// In place of both codes of a pair that does not fit.
pub const OTHER: i32 = -1;

/// See the module's text.
#[derive(Debug, Default)]
pub struct Refusals(Mutex<BTreeMap<(i32, i32), u64>>);

impl Refusals {
    /// A request of this code was answered with that code; an answer without error is not counted.
    pub fn answered(&self, request: i32, response: i32) {
        if response != rs::SUCCESS {
            self.refused(request, response);
        }
    }

    fn refused(&self, request: i32, response: i32) {
        let mut pairs = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let fits = pairs.len() < PAIRS_MAX || pairs.contains_key(&(request, response));
        let pair = if fits { (request, response) } else { (OTHER, OTHER) };
        *pairs.entry(pair).or_default() += 1;
    }

    /// Request code, response code and how often, in order.
    pub fn all(&self) -> Vec<(i32, i32, u64)> {
        let pairs = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        pairs.iter().map(|((request, response), count)| (*request, *response, *count)).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn errors_count_and_successes_do_not() {
        let refusals = Refusals::default();
        refusals.answered(10, rs::SUCCESS);
        refusals.answered(10, 1);
        refusals.answered(310, 16);
        refusals.answered(10, 1);
        assert_eq!(refusals.all(), [(10, 1, 2), (310, 16, 1)]);
    }

    #[test]
    fn a_peer_that_makes_up_codes_fills_a_bounded_table() {
        let refusals = Refusals::default();
        refusals.answered(10, 1);
        for code in 1_000..10_000 {
            refusals.answered(code, 3);
        }
        refusals.answered(10, 1);
        let all = refusals.all();
        assert_eq!(all.len(), PAIRS_MAX + 1);
        let count = |request, response| {
            all.iter().find(|(a, b, _)| (*a, *b) == (request, response)).map(|(.., count)| *count)
        };
        assert_eq!(count(10, 1), Some(2));
        assert_eq!(count(OTHER, OTHER), Some(9_000 - (PAIRS_MAX as u64 - 1)));
    }
}
