//! Numbers with a meaning: positions in the log, places in a queue, queues of a topic.

use std::fmt;

macro_rules! number {
    ($(#[$doc:meta])* $name:ident($inner:ty)) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name(pub $inner);

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.fmt(f)
            }
        }
    };
}

number!(
    /// A byte position in the commit log.
    PhysicalOffset(u64)
);
number!(
    /// The place of a message in its queue, counted from 0.
    QueueOffset(u64)
);
number!(
    /// The number of a queue within its topic.
    QueueId(u32)
);

impl PhysicalOffset {
    /// The position `bytes` further on.
    pub fn plus(self, bytes: u64) -> Self {
        Self(self.0 + bytes)
    }
}

impl QueueOffset {
    /// The place `count` further on.
    pub fn plus(self, count: u64) -> Self {
        Self(self.0 + count)
    }
}
