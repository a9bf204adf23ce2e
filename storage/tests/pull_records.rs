//! Pulls with a filter that looks at the records themselves.

mod common;

use common::{Broker, LIMITS, body};
use gantry_codec::{properties, record::decode_head};
use gantry_storage::{MemDisk, PullOutcome, PullStatus, QueueOffset, pull_records};

fn broker() -> Broker {
    let mut broker = Broker::open(MemDisk::new());
    for number in 0..40 {
        broker.append("t", 0, &body(number, 100), &format!("tag{}", number % 10));
    }
    broker.publish();
    broker.dispatch();
    broker
}

/// Those whose tag, read from the record, is `tag`.
fn tagged(broker: &mut Broker, from: u64, tag: &str) -> PullOutcome {
    let view = broker.view("t", 0);
    let wants = |record: &[u8]| {
        let head = decode_head(record).unwrap();
        assert_eq!(head.total_size as usize, record.len(), "the record and nothing behind it");
        properties::get(head.properties(record).unwrap(), properties::TAGS) == Some(tag)
    };
    pull_records(&view, broker.log(), QueueOffset(from), &LIMITS, &wants)
}

#[test]
fn what_the_filter_wants_is_found_and_the_next_read_goes_on_behind() {
    let mut broker = broker();
    let outcome = tagged(&mut broker, 0, "tag3");
    assert_eq!((outcome.status, outcome.count), (PullStatus::Found, 4));
    assert_eq!((outcome.next_begin_offset.0, outcome.slices.len()), (40, 4));
}

#[test]
fn nothing_wanted_leads_past_what_was_looked_at() {
    let mut broker = broker();
    let outcome = tagged(&mut broker, 34, "tag3");
    assert_eq!((outcome.status, outcome.count), (PullStatus::NoMatchedMessage, 0));
    assert_eq!(outcome.next_begin_offset.0, 40);
}
