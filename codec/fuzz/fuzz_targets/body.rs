//! JSON bodies in both dialects, and registrations, compressed or not.

#![no_main]

use gantry_codec::{
    body::{ConsumeStats, ConsumerOffsetTable, HeartbeatData, RegisterBrokerBody, TopicRouteData},
    fastjson,
};
use libfuzzer_sys::fuzz_target;
use serde_json::Value;

fuzz_target!(|text: &[u8]| {
    let _ = RegisterBrokerBody::decode(text);
    let _ = fastjson::from_slice::<HeartbeatData>(text);
    let _ = fastjson::from_slice::<TopicRouteData>(text);
    let _ = fastjson::from_slice::<ConsumerOffsetTable>(text);
    if let Ok(stats) = fastjson::from_slice::<ConsumeStats>(text) {
        let again = fastjson::to_vec_object_keys(&stats).expect("JSON can hold it");
        let read: ConsumeStats = fastjson::from_slice(&again).expect("what was written can be read");
        assert_eq!(read.offset_table, stats.offset_table);
    }
    // Whatever is JSON reads the same in the dialect.
    if let Ok(value) = serde_json::from_slice::<Value>(text) {
        let read = fastjson::from_slice::<Value>(text).expect("JSON is read");
        assert_eq!(read, value);
    }
});
