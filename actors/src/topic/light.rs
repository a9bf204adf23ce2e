//! Light queues (LMQ): queues that a message is in besides its own, without being stored once more.
//!
//! A message that names queues `%LMQ%…` in its property `INNER_MULTI_DISPATCH` gets an offset in each of them
//! when it is appended, which the property `INNER_MULTI_QUEUE_OFFSET` of the stored record keeps; from that
//! the dispatcher, and whoever builds queues again from the log, makes an entry in queue 0 of each, which
//! points at the one record (store.md 4.7). Each of these is a topic of one queue for those who pull it, and
//! belongs to no catalog: it is there as soon as somebody names it, and has files once it has an entry.
//!
//! Served with `enableLmq` and `enableMultiDispatch`, which are off unless asked for. Then the views of those on
//! disk are published at start, and others as they are named: by sends and pulls on the connections'
//! threads, by the appender and the dispatcher for what comes some other way. With `enableLmqQuota` there are
//! no more than `maxLmqConsumeQueueNum` of them, and a message that needs another one is refused.
//!
//! Invariants: one view per name, for as long as it is not removed; the offsets of a light queue are
//! taken by the appender alone, as those of any other.

use std::sync::{
    Arc, Mutex, OnceLock, PoisonError,
    atomic::{AtomicUsize, Ordering},
};

use gantry_codec::properties::{self, INNER_MULTI_DISPATCH};
use gantry_storage::LIGHT_QUEUE_PREFIX;
use thiserror::Error;

use super::{
    catalog::topic_config,
    names::{
        HALF_TOPIC, OP_HALF_TOPIC, PERM_READ, PERM_WRITE, RETRY_PREFIX, SCHEDULE_TOPIC,
        SYSTEM_PREFIX,
    },
    queue::DeleteQueue,
    queues::Queues,
    view::{QueueSlot, TopicTable, TopicView},
};

/// The longest name: that of its folder.
const NAME_BYTES_MAX: usize = 255;

/// Why a message cannot be in a light queue.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
pub enum LightRefusal {
    /// Its name cannot be that of a folder.
    #[error("light queue {0:?}: a name has no slash, no control character and 6 to 255 bytes")]
    Name(String),
    /// There are as many as there may be.
    #[error("[LMQ_CONSUME_QUEUE_NUM_EXCEEDED]lmq consume queue num exceeded.")]
    TooMany,
}

/// See the module's text.
pub struct LightTopics {
    table: Arc<TopicTable>,
    queues: OnceLock<Arc<Queues>>,
    /// How many there may be.
    quota: Option<usize>,
    count: AtomicUsize,
    /// Held by whoever makes or removes one.
    change: Mutex<()>,
}

impl LightTopics {
    /// None yet, published in `table`; `quota` is how many there may be.
    pub fn new(table: Arc<TopicTable>, quota: Option<usize>) -> Arc<Self> {
        let (queues, count) = (OnceLock::new(), AtomicUsize::new(0));
        Arc::new(Self { table, queues, quota, count, change: Mutex::new(()) })
    }

    /// Publishes those that are on disk; others can be made from now on.
    pub fn begin(&self, queues: &Arc<Queues>) {
        let _ = self.queues.set(queues.clone());
        for found in queues.store.queue_names() {
            if found.topic.starts_with(LIGHT_QUEUE_PREFIX) {
                self.get(&found.topic);
            }
        }
    }

    /// Whether this is the name of one.
    pub fn is_light(topic: &str) -> bool {
        topic.starts_with(LIGHT_QUEUE_PREFIX)
    }

    /// The topic's view, published now if it was not there. None: its name cannot be.
    pub fn get(&self, name: &str) -> Option<Arc<TopicView>> {
        if let Some(view) = self.table.get(name) {
            return Some(view);
        }
        check_name(name).ok()?;
        let _change = self.change.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(view) = self.table.get(name) {
            return Some(view);
        }
        let name: Arc<str> = name.into();
        let slot = self.queues.get()?.slot(name.clone(), 0);
        let config = topic_config(&name, 1, 1, PERM_READ | PERM_WRITE);
        let view = Arc::new(TopicView::new(config, vec![slot], None));
        self.table.insert(&name, &view);
        self.count.fetch_add(1, Ordering::Relaxed);
        Some(view)
    }

    /// The queue itself.
    pub fn slot(&self, name: &str) -> Option<Arc<QueueSlot>> {
        self.get(name)?.queue(0).cloned()
    }

    /// Makes those that a message for `topic` with these properties is to be in, and looks at their
    /// files, which the appender should not have to; whether there are any.
    ///
    /// # Errors
    /// If one of them cannot be, and what is wrong with it.
    pub fn prepare(&self, topic: &str, properties: &str) -> Result<bool, LightRefusal> {
        let mut any = false;
        for name in names_in(topic, properties).filter(|name| Self::is_light(name)) {
            check_name(name)?;
            if self.table.get(name).is_none() && self.is_full() {
                return Err(LightRefusal::TooMany);
            }
            // Files that cannot be read are told by the appender, which needs them.
            let _ = self.slot(name).map(|slot| slot.settle());
            any = true;
        }
        Ok(any)
    }

    fn is_full(&self) -> bool {
        self.quota.is_some_and(|quota| self.count.load(Ordering::Relaxed) >= quota)
    }

    /// Removes one with its files, and says so when that is done; whether it was there.
    pub fn remove(&self, name: &str) -> Option<impl Future<Output = ()> + 'static> {
        let _change = self.change.lock().unwrap_or_else(PoisonError::into_inner);
        let view = self.table.get(name).filter(|_| Self::is_light(name))?;
        view.supersede();
        self.table.remove(name);
        self.count.fetch_sub(1, Ordering::Relaxed);
        let (slot, queues) = (view.queue(0)?.clone(), self.queues.get()?.clone());
        slot.retire();
        Some(async move {
            let _ = slot.actor().send(DeleteQueue).await;
            queues.store.forget_queues(&slot.topic);
        })
    }

    /// Those that hold nothing any more: all their messages are gone from the log.
    pub fn expired(&self) -> Vec<Arc<str>> {
        let is_expired = |view: &TopicView| {
            view.queue(0).is_some_and(|slot| {
                let range = slot.range().unwrap_or_default();
                range.1 > 0 && range.0 == range.1 && slot.next_offset().is_none_or(|n| n == range.1)
            })
        };
        let all = self.table.all();
        let light = all.iter().filter(|(name, view)| Self::is_light(name) && is_expired(view));
        light.map(|(name, _)| name.clone()).collect()
    }
}

/// The names in the message's `INNER_MULTI_DISPATCH`, if its topic is one whose messages may be in other
/// queues: those that are only on their way to a topic may not.
pub fn names_in<'a>(topic: &str, properties: &'a str) -> impl Iterator<Item = &'a str> + use<'a> {
    let is_on_its_way = topic.starts_with(RETRY_PREFIX)
        || topic.starts_with(SYSTEM_PREFIX)
        || [SCHEDULE_TOPIC, HALF_TOPIC, OP_HALF_TOPIC].contains(&topic);
    let names = properties::get(properties, INNER_MULTI_DISPATCH).filter(|_| !is_on_its_way);
    // As Java splits: empty names at the end do not count.
    names.into_iter().flat_map(|names| names.trim_end_matches(',').split(','))
}

fn check_name(name: &str) -> Result<(), LightRefusal> {
    let is_folder = name.len() > LIGHT_QUEUE_PREFIX.len()
        && name.len() <= NAME_BYTES_MAX
        && !name.contains(|c: char| c == '/' || c.is_control());
    if is_folder { Ok(()) } else { Err(LightRefusal::Name(name.into())) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn named(topic: &str, value: &str) -> Vec<String> {
        let text = format!("KEYS\u{1}k\u{2}INNER_MULTI_DISPATCH\u{1}{value}\u{2}");
        names_in(topic, &text).map(str::to_owned).collect()
    }

    #[test]
    fn names_are_split_as_java_does() {
        assert_eq!(named("t", "%LMQ%a,%LMQ%b"), ["%LMQ%a", "%LMQ%b"]);
        assert_eq!(named("t", "x,,%LMQ%b,"), ["x", "", "%LMQ%b"]);
        assert_eq!(names_in("t", "KEYS\u{1}k\u{2}").count(), 0);
    }

    #[test]
    fn messages_on_their_way_are_in_no_light_queue() {
        for topic in ["%RETRY%g", "rmq_sys_x", "SCHEDULE_TOPIC_XXXX", "RMQ_SYS_TRANS_HALF_TOPIC"] {
            assert_eq!(named(topic, "%LMQ%a"), [""; 0], "{topic}");
        }
    }

    #[test]
    fn a_name_is_that_of_a_folder() {
        for good in ["%LMQ%a", "%LMQ%$a$b c.d", &format!("%LMQ%{}", "x".repeat(250))] {
            assert_eq!(check_name(good), Ok(()));
        }
        for bad in ["%LMQ%", "%LMQ%a/../b", "%LMQ%\0", &format!("%LMQ%{}", "x".repeat(251))] {
            assert_eq!(check_name(bad), Err(LightRefusal::Name(bad.to_owned())));
        }
    }
}
