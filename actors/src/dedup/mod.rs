//! Deduplication: a message that is sent again within a topic's window is stored once.
//!
//! | attribute of a topic | value | meaning |
//! |---|---|---|
//! | `gantry.dedup.window.ms` | milliseconds, more than 0 | for so long after a message another with its key counts as the same |
//! | `gantry.dedup.property` | a property's name | what the key is; default `UNIQ_KEY`. Messages without it are all different |
//! | `gantry.dedup.keys.max` | a number, more than 0 | keys that are remembered at most; default 1,000,000 |
//!
//! Clients give every message a `UNIQ_KEY` before they send it, and send it again with the same one if no
//! answer came in time: so retries of the clients themselves are stored once, without a change of
//! theirs. The second send is answered as the first one was, with its ids.
//!
//! A topic's [`Window`] is part of its published view. Sessions give it to the appender along with a send,
//! and that alone looks into it: it is the one place that sees all sends of a topic in their order, so of two
//! that come at the same time one is the second. A key is remembered by its hash and the place of its
//! message in the log ([`Keys`]); the message there is read and its key compared, so what is in the window is
//! a hint, and no collision, no appender that died with half a round and no file that is gone makes
//! two different messages one.
//!
//! At start the windows are filled again from the queues ([`refill()`]). Memory: some 50 bytes a key, of as many keys
//! as the attribute allows; beyond that the oldest are forgotten before their time, which is logged.
//!
//! | file | what |
//! |---|---|
//! | `settings` | the attributes |
//! | `keys` | hashes and places, by hash and by age |
//! | `refill` | what was stored before the process began |
//! | `log/appender/once.rs` | the appender's part |

mod keys;
mod refill;
mod settings;

use std::sync::{
    Arc, Mutex, MutexGuard, PoisonError,
    atomic::{AtomicBool, AtomicU64, Ordering::Relaxed},
};

use gantry_codec::{Record, properties as names};

pub use keys::{Key, Keys};
pub use refill::refill;
pub use settings::{Settings, check};

/// See the module's text.
pub struct Window {
    /// The topic.
    pub topic: Arc<str>,
    /// How it is configured.
    pub settings: Settings,
    memory: Arc<Memory>,
}

/// What outlives a change of the settings.
#[derive(Default)]
struct Memory {
    keys: Mutex<Keys>,
    duplicates: AtomicU64,
    is_short: AtomicBool,
}

impl Window {
    /// An empty one.
    pub fn new(topic: Arc<str>, settings: Settings) -> Self {
        Self { topic, settings, memory: Arc::default() }
    }

    /// The same with other settings: it goes on with what it remembers, unless another property counts.
    pub fn changed(before: Option<&Self>, topic: &str, settings: Settings) -> Self {
        let same = before.filter(|before| before.settings.property == settings.property);
        let memory = same.map(|before| before.memory.clone()).unwrap_or_default();
        Self { topic: topic.into(), settings, memory }
    }

    /// What it remembers.
    pub fn keys(&self) -> MutexGuard<'_, Keys> {
        self.memory.keys.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The key in a property string.
    pub fn key_in<'a>(&self, properties: &'a str) -> Option<&'a str> {
        names::get(properties, &self.settings.property)
    }

    /// Whether a record is of this topic, stored for it first, and has this key.
    pub fn is_first(&self, record: &Record<'_>, key: &str) -> bool {
        self.is_for(record) && self.key_in(record.properties) == Some(key)
    }

    /// Whether a record was stored for this topic by its sender: there, or where it waits for its time. What
    /// was brought to the topic from such a place is a copy.
    fn is_for(&self, record: &Record<'_>) -> bool {
        let real = names::get(record.properties, names::REAL_TOPIC);
        if *record.topic == *self.topic {
            real.is_none() && record.prepared_transaction_offset == 0
        } else {
            real == Some(&self.topic)
        }
    }

    /// So many messages were not stored again.
    pub fn suppressed(&self, messages: u64) {
        self.memory.duplicates.fetch_add(messages, Relaxed);
    }

    /// How many were not stored again, since the broker started.
    pub fn duplicates(&self) -> u64 {
        self.memory.duplicates.load(Relaxed)
    }

    /// Keys had to be forgotten before their time; whether that is so for the first time.
    pub fn is_too_small(&self) -> bool {
        !self.memory.is_short.swap(true, Relaxed)
    }
}
