//! Bad input never costs more memory than its size: what decoding allocates, counted.
//!
//! One test, since the counters are those of the process.

use std::iter::repeat_n;

use bytes::{Bytes, BytesMut};
use dhat::{HeapStats, Profiler};
use gantry_codec::{
    BatchMessages, Command, CommandCodec, Record, body::RegisterBrokerBody, fastjson,
};
use serde_json::Value;
use tokio_util::codec::Decoder;

#[global_allocator]
static ALLOCATOR: dhat::Alloc = dhat::Alloc;

/// Errors, and the first pieces of buffers that grow.
const FIXED_BYTES: usize = 8 * 1024;
/// Spans of fields; their number is limited.
const FIELDS_BYTES: usize = 32 * 1024;

/// The most that was allocated at any time while `call` ran, beyond what there was before.
fn peak<T>(call: impl FnOnce() -> T) -> usize {
    let _profiler = Profiler::builder().testing().build();
    let result = call();
    let peak = HeapStats::get().max_bytes;
    drop(result);
    peak
}

fn frame(serialize_type: u32, header: &[u8]) -> Bytes {
    let mut frame = Vec::new();
    frame.extend((4 + header.len() as u32).to_be_bytes());
    frame.extend((serialize_type << 24 | header.len() as u32).to_be_bytes());
    frame.extend(header);
    frame.into()
}

/// A binary header with this block of ext fields.
fn binary(entries: &[u8]) -> Bytes {
    let mut header = vec![0; 17];
    header.extend((entries.len() as u32).to_be_bytes());
    header.extend(entries);
    frame(1, &header)
}

fn repeated(part: &str, times: usize) -> String {
    repeat_n(part, times).collect()
}

#[test]
fn memory_stays_in_proportion() {
    let size = 1 << 20;
    let fields = format!("{{\"extFields\":{{{}\"\":\"\"}}}}", repeated("\"\":\"\",", size / 6));
    let escapes = format!("{{\"remark\":\"{}\"}}", repeated("\\u0001", size / 6));
    let open_end = format!("{{\"remark\":\"{}", repeated("\\n", size / 2));
    let nested = format!("{{\"x\":{}", "[".repeat(size));
    for header in [&fields, &escapes, &open_end, &nested] {
        let frame = frame(0, header.as_bytes());
        let used = peak(|| Command::decode(frame.clone()));
        assert!(used <= frame.len() + FIXED_BYTES + FIELDS_BYTES, "{used} for {}", frame.len());
    }

    let entry = [0, 1, b'a', 0, 0, 0, 1, b'1'];
    let many: Vec<u8> = repeat_n(entry, size / entry.len()).flatten().collect();
    let lie = [0, 1, b'a', 0x7F, 0xFF, 0xFF, 0xFF];
    for block in [&many[..], &lie] {
        let frame = binary(block);
        let used = peak(|| Command::decode(frame.clone()));
        assert!(used <= frame.len() + FIXED_BYTES + FIELDS_BYTES, "{used} for {}", frame.len());
    }

    // Announced lengths: a frame, a record, a batch, none of which is there.
    let mut buf = BytesMut::from(&[0, 0xFF, 0xFF, 0, 0, 0, 0xFF, 0][..]);
    assert!(peak(|| CommandCodec.decode(&mut buf)) <= FIXED_BYTES);
    let record = [&0x7FFF_FFFF_u32.to_be_bytes()[..], &0xDAA3_20A7_u32.to_be_bytes()].concat();
    assert!(peak(|| Record::decode(&record).is_err()) <= FIXED_BYTES);
    let batch = Bytes::from(vec![0x7F; 64]);
    assert!(peak(|| BatchMessages::new(&batch).count()) <= FIXED_BYTES);

    // Text that only the dialect knows, and text that nobody knows.
    for text in [repeated("{\"a\":", size / 5), repeated("{", size), repeated("{0:", size / 3)] {
        let used = peak(|| fastjson::from_slice::<Value>(text.as_bytes()).is_err());
        assert!(used <= 3 * text.len() + FIXED_BYTES, "{used} for {}", text.len());
    }
    let registration = [0_u8, 1, 2, 3].repeat(size / 4);
    let used = peak(|| RegisterBrokerBody::decode(&registration).is_err());
    assert!(used <= registration.len(), "{used}");
}
