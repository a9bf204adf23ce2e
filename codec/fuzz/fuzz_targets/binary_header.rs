//! A binary header: refused, or read and written again to the same fields.

#![no_main]

use bytes::{Bytes, BytesMut};
use gantry_codec::Command;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|header: &[u8]| {
    let mut frame = Vec::with_capacity(8 + header.len());
    frame.extend((4 + header.len() as u32).to_be_bytes());
    frame.extend((1 << 24 | header.len() as u32).to_be_bytes());
    frame.extend(header);
    if let Ok(command) = Command::decode(Bytes::from(frame)) {
        let mut again = BytesMut::new();
        command.encode(&mut again);
        let read = Command::decode(again.freeze()).expect("what was written can be read");
        assert_eq!(read, command);
    }
});
