//! Byte credits: what holds producers back instead of the size of a mailbox.
//!
//! actix's mailboxes are unbounded in practice (`do_send` ignores their capacity), and a count of
//! messages says little about memory. A producer takes a permit for its bytes before it sends, the
//! permit travels with the message, and the bytes come back when it is dropped, wherever that is: a
//! consumer that panics returns its credits too.
//!
//! Waiters are served in order, and whoever does not wait cannot overtake them, so that a large request
//! is not starved by small ones. A request beyond the capacity takes all of it: one burst larger than
//! the whole budget passes alone instead of never.

use std::sync::Arc;

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// A budget of bytes. Clones share it, across threads.
#[derive(Clone, Debug)]
pub struct Credits {
    bytes: Arc<Semaphore>,
    capacity: u32,
}

/// Bytes taken from [`Credits`]; dropping it gives them back.
#[derive(Debug)]
#[must_use = "the bytes come back when the permit is dropped"]
pub struct Permit {
    bytes: OwnedSemaphorePermit,
}

impl Credits {
    /// A budget of `capacity` bytes, at least 1; sizes above 4 GiB count as 4 GiB.
    pub fn new(capacity: usize) -> Self {
        let capacity = saturate(capacity).max(1);
        Self { bytes: Arc::new(Semaphore::new(capacity as usize)), capacity }
    }

    /// Takes `bytes` if they are there and nobody is waiting for them.
    pub fn try_take(&self, bytes: usize) -> Option<Permit> {
        let bytes = saturate(bytes).min(self.capacity);
        let bytes = Arc::clone(&self.bytes).try_acquire_many_owned(bytes).ok()?;
        Some(Permit { bytes })
    }

    /// Takes `bytes` as soon as they are there, after those who asked earlier. Cancel safe.
    pub async fn take(&self, bytes: usize) -> Permit {
        let bytes = saturate(bytes).min(self.capacity);
        let taken = Arc::clone(&self.bytes).acquire_many_owned(bytes).await;
        Permit { bytes: taken.expect("the semaphore of credits is never closed") }
    }

    /// All bytes, free or not.
    pub fn capacity(&self) -> usize {
        self.capacity as usize
    }

    /// Bytes taken, including those already set aside for the first waiter.
    pub fn in_use(&self) -> usize {
        self.capacity() - self.bytes.available_permits()
    }
}

impl Permit {
    /// How many bytes this permit holds.
    pub fn bytes(&self) -> usize {
        self.bytes.num_permits()
    }

    /// Takes `bytes` of this permit into one of its own; `None` if it holds fewer.
    pub fn split(&mut self, bytes: usize) -> Option<Self> {
        self.bytes.split(bytes).map(|bytes| Self { bytes })
    }

    /// Takes over the bytes of `other`, which must come from the same credits.
    pub fn merge(&mut self, other: Self) {
        self.bytes.merge(other.bytes);
    }
}

fn saturate(bytes: usize) -> u32 {
    u32::try_from(bytes).unwrap_or(u32::MAX)
}

#[cfg(test)]
mod tests {
    use futures_util::FutureExt;
    use futures_util::future::LocalBoxFuture;

    use super::*;

    fn waiting(credits: &Credits, bytes: usize) -> LocalBoxFuture<'static, Permit> {
        let credits = credits.clone();
        let mut taken = async move { credits.take(bytes).await }.boxed_local();
        assert!((&mut taken).now_or_never().is_none(), "{bytes} bytes should not be there");
        taken
    }

    #[test]
    fn credits_come_back_when_the_permit_is_dropped() {
        let credits = Credits::new(100);
        let permit = credits.try_take(60).expect("60 of 100");
        assert_eq!((credits.in_use(), permit.bytes()), (60, 60));
        assert!(credits.try_take(41).is_none());
        drop(permit);
        assert_eq!(credits.in_use(), 0);
        assert!(credits.try_take(100).is_some());
    }

    #[test]
    fn waiters_are_served_in_order_and_not_overtaken() {
        let credits = Credits::new(100);
        let all = credits.try_take(100).expect("all of them");
        let mut large = waiting(&credits, 80);
        let mut small = waiting(&credits, 10);
        drop(all);
        assert!(credits.try_take(20).is_none(), "20 are free, but 10 of them are spoken for");
        let second = (&mut small).now_or_never();
        let first = (&mut large).now_or_never().expect("80 of 100");
        assert_eq!(first.bytes(), 80);
        assert_eq!(second.expect("10 of the rest").bytes(), 10);
    }

    #[test]
    fn a_large_waiter_is_not_starved_by_small_ones() {
        let credits = Credits::new(100);
        let mut held: Vec<_> = (0..10).map(|_| credits.try_take(10).expect("ten tens")).collect();
        let mut large = waiting(&credits, 50);
        for _ in 0..4 {
            held.pop();
            assert!(credits.try_take(1).is_none());
            assert!((&mut large).now_or_never().is_none());
        }
        held.pop();
        assert!(large.now_or_never().is_some());
    }

    #[test]
    fn a_waiter_that_gives_up_leaves_no_hole() {
        let credits = Credits::new(10);
        let all = credits.try_take(10);
        let mut kept = {
            let _given_up = waiting(&credits, 10);
            waiting(&credits, 3)
        };
        drop(all);
        assert_eq!((&mut kept).now_or_never().expect("its turn").bytes(), 3);
        assert_eq!(credits.in_use(), 0, "the permit was dropped by the line above");
    }

    #[test]
    fn more_than_everything_takes_everything() {
        let credits = Credits::new(10);
        assert_eq!(credits.try_take(1000).expect("all of them").bytes(), 10);
    }

    #[test]
    fn permits_split_and_merge() {
        let credits = Credits::new(10);
        let mut permit = credits.try_take(10).expect("all of them");
        let part = permit.split(4).expect("4 of 10");
        assert!(permit.split(7).is_none());
        drop(part);
        assert_eq!((permit.bytes(), credits.in_use()), (6, 6));
        permit.merge(credits.try_take(2).expect("2 of 4"));
        assert_eq!((permit.bytes(), credits.in_use()), (8, 8));
    }
}
