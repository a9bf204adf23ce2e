//! Numbers with a meaning: positions in the log, places in a queue, queues of a topic.
//!
//! Arithmetic never wraps: a sum that would is beyond everything there is, and so finds nothing.

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
        Self(self.0.saturating_add(bytes))
    }

    /// How many bytes lie between `earlier` and here; none if it is later.
    pub fn since(self, earlier: Self) -> u64 {
        self.0.saturating_sub(earlier.0)
    }
}

impl QueueOffset {
    /// The place `count` further on.
    pub fn plus(self, count: u64) -> Self {
        Self(self.0.saturating_add(count))
    }

    /// How many places lie between `earlier` and here; none if it is later.
    pub fn since(self, earlier: Self) -> u64 {
        self.0.saturating_sub(earlier.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sums_and_distances_do_not_wrap() {
        assert_eq!(PhysicalOffset(u64::MAX).plus(1), PhysicalOffset(u64::MAX));
        assert_eq!(PhysicalOffset(5).since(PhysicalOffset(7)), 0);
        assert_eq!(QueueOffset(7).since(QueueOffset(5)), 2);
        assert_eq!(QueueOffset(7).plus(5), QueueOffset(12));
    }
}
