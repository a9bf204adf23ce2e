//! The body of a batch: refused, or read and written again to the same messages.

#![no_main]

use bytes::{Bytes, BytesMut};
use gantry_codec::{BatchMessages, batch};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    let body = Bytes::copy_from_slice(bytes);
    let Ok(messages) = BatchMessages::new(&body).collect::<Result<Vec<_>, _>>() else { return };
    let mut again = BytesMut::new();
    for message in &messages {
        batch::encode_message(message.flag, &message.body, message.properties, &mut again);
    }
    assert_eq!(again.len(), bytes.len());
    let again = again.freeze();
    let read: Vec<_> = BatchMessages::new(&again).map(|m| m.expect("a written message")).collect();
    assert_eq!(read, messages);
});
