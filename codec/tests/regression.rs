//! What fuzzing and other people's bytes brought to light; each case stays here.

use bytes::{BufMut, BytesMut};
use gantry_codec::Command;

/// A binary header around a block of ext fields.
fn binary(ext: &[u8]) -> Command {
    let mut frame = BytesMut::new();
    frame.put_u32(4 + 21 + ext.len() as u32);
    frame.put_u32(1 << 24 | (21 + ext.len() as u32));
    frame.put_slice(&[0; 17]);
    frame.put_u32(ext.len() as u32);
    frame.put_slice(ext);
    Command::decode(frame.freeze()).expect("a binary header")
}

/// Entries without value are absent fields, so a block of them has to be what no block is: written
/// again, the two are the same bytes.
#[test]
fn a_block_of_empty_entries_is_no_block() {
    let with_block = binary(&[0, 1, b'a', 0, 0, 0, 0, 0, 0, 0, 0, 0, 0]);
    assert_eq!(with_block, binary(&[]));
    assert!(!with_block.ext.is_present());
}
