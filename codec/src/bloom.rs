//! Where a consumer's filter stands in the bit map of a message: the bits that the broker in Java
//! computes for `group#topic`.
//!
//! Gantry sets and reads no such bit maps; it evaluates filters on the messages themselves. But a file
//! of filters without these bits, or with others, is thrown away whole by a Java broker that takes over
//! its directory.
//!
//! The bits come out of 64 bits of MurmurHash3 (x64, 128 bits, seed 0), as two hashes that are added up;
//! number and range of the bits follow from Java's settings, here from their defaults: 20 percent of
//! errors with 32 consumers.

use serde::{Deserialize, Serialize};

use crate::body::null_as_default;

/// Bits of a message's map.
const MAP_BITS: i32 = 112;
/// Bits of one filter.
const FILTER_BITS: i32 = 3;

/// The bits of one filter.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct BloomBits {
    /// Bits of the map.
    #[serde(deserialize_with = "null_as_default")]
    pub bit_num: i32,
    /// Which of them are the filter's.
    #[serde(deserialize_with = "null_as_default")]
    pub bit_pos: Vec<i32>,
}

impl BloomBits {
    /// The bits of a group's filter of a topic.
    pub fn of(group: &str, topic: &str) -> Self {
        let hash = murmur3(format!("{group}#{topic}").as_bytes());
        let (first, second) = (hash as i32, (hash >> 32) as i32);
        let position = |i: i32| {
            let sum = first.wrapping_add(i.wrapping_mul(second));
            (if sum < 0 { !sum } else { sum }) % MAP_BITS
        };
        Self { bit_num: MAP_BITS, bit_pos: (1..=FILTER_BITS).map(position).collect() }
    }
}

const C1: u64 = 0x87c3_7b91_1142_53d5;
const C2: u64 = 0x4cf5_ad43_2745_937f;

/// The first half of the hash.
fn murmur3(bytes: &[u8]) -> u64 {
    let (mut h1, mut h2) = (0_u64, 0_u64);
    let (blocks, tail) = bytes.as_chunks::<16>();
    for block in blocks {
        let (k1, k2) = words(block);
        h1 = (h1 ^ mixed(k1, C1, 31, C2)).rotate_left(27).wrapping_add(h2);
        h1 = h1.wrapping_mul(5).wrapping_add(0x52dc_e729);
        h2 = (h2 ^ mixed(k2, C2, 33, C1)).rotate_left(31).wrapping_add(h1);
        h2 = h2.wrapping_mul(5).wrapping_add(0x3849_5ab5);
    }
    let mut last = [0; 16];
    last.iter_mut().zip(tail).for_each(|(to, from)| *to = *from);
    // What is missing counts as zero, which changes nothing.
    let (k1, k2) = words(&last);
    h1 ^= mixed(k1, C1, 31, C2) ^ bytes.len() as u64;
    h2 ^= mixed(k2, C2, 33, C1) ^ bytes.len() as u64;
    h1 = h1.wrapping_add(h2);
    h2 = h2.wrapping_add(h1);
    finished(h1).wrapping_add(finished(h2))
}

fn words(block: &[u8; 16]) -> (u64, u64) {
    let both = u128::from_le_bytes(*block);
    (both as u64, (both >> 64) as u64)
}

fn mixed(word: u64, before: u64, rotation: u32, after: u64) -> u64 {
    word.wrapping_mul(before).rotate_left(rotation).wrapping_mul(after)
}

fn finished(hash: u64) -> u64 {
    let hash = (hash ^ hash >> 33).wrapping_mul(0xff51_afd7_ed55_8ccd);
    let hash = (hash ^ hash >> 33).wrapping_mul(0xc4ce_b9fe_1a85_ec53);
    hash ^ hash >> 33
}

#[cfg(test)]
mod tests {
    use super::*;

    /// As the broker in Java (5.5.0) computes them.
    #[test]
    fn the_bits_are_those_of_java() {
        let cases = [
            ("g", "t", [22, 87, 58]),
            ("group", "topic", [79, 21, 21]),
            ("", "", [3, 62, 22]),
            ("a-much-longer-group-name", "and-a-topic-of-some-length", [46, 102, 46]),
            ("Größe", "😀", [60, 21, 71]),
            ("sixteen_", "bytes_16", [3, 98, 62]),
            ("g_sqlCompare_1i83xld", "t_sqlCompare_1i83xl2", [42, 45, 95]),
        ];
        for (group, topic, bits) in cases {
            let expected = BloomBits { bit_num: 112, bit_pos: bits.to_vec() };
            assert_eq!(BloomBits::of(group, topic), expected, "{group}#{topic}");
        }
    }
}
