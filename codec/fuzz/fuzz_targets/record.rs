//! A stored message: refused, or read and written again to the same bytes.

#![no_main]

use gantry_codec::{Record, properties, record};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    let head = record::decode_head(bytes);
    let Ok(message) = Record::decode(bytes) else { return };
    let head = head.expect("a record has a head");
    let total = head.total_size as usize;
    assert!(total <= bytes.len());
    assert_eq!(head.topic(bytes), Ok(message.topic));
    assert_eq!(head.body(bytes), message.body);
    let _ = message.check_body_crc();
    let _ = properties::get(message.properties, "TAGS");
    let mut again = vec![0; message.encoded_len()];
    message.write_to(&mut again);
    let read = Record::decode(&again).expect("what was written can be read");
    // Version, address family and its flags may come out in their usual form.
    assert_eq!((read.topic, read.body, read.properties), (message.topic, message.body, message.properties));
    assert_eq!(read.store_host.ip().to_canonical(), message.store_host.ip().to_canonical());
    if again.len() == total && head.magic == record::decode_head(&again).expect("a head").magic {
        assert_eq!(again, bytes[..total]);
    }
});
