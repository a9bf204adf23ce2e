//! A property string: walked to its end; what is appended is found again.

#![no_main]

use gantry_codec::{filter::SubscriptionData, message_id::OffsetMessageId, properties};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|text: &str| {
    let before = properties::iter(text).count();
    assert!(before <= text.len());
    let mut longer = text.to_owned();
    properties::append(&mut longer, "appended", "value");
    assert_eq!(properties::get(&longer, "appended"), Some("value"));
    assert_eq!(properties::iter(&longer).count(), before + 1);
    let _ = properties::tag_hash(text);
    if let Ok(subscription) = SubscriptionData::build("T", text) {
        for tag in &subscription.tags_set {
            assert!(subscription.matches(properties::tag_hash(tag)));
        }
    }
    if let Ok(id) = OffsetMessageId::parse(text) {
        assert_eq!(OffsetMessageId::parse(&id.to_string()).map(|again| again.offset), Ok(id.offset));
    }
});
