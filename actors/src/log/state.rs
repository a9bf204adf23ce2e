//! Whether the log takes messages, as everybody can read it.
//!
//! Written by the appender, the flusher, the allocator and the cleaner when they must stop writing;
//! read by them, by connections (to refuse early) and by the registration. Three causes, each with its
//! own end, and never more than one of them in an answer:
//!
//! | cause | who says so | ends |
//! |---|---|---|
//! | [`Refusal::Failed`]: writing or syncing failed | appender, flusher | never in this process |
//! | [`Refusal::DiskFull`]: a disk is over its limit | cleaner | when it is not any more |
//! | [`Refusal::NoSpace`]: the next file could not be made | appender | when it could |
//!
//! They are kept apart, so that the end of one does not end another; of several the first counts.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use arc_swap::ArcSwapOption;

/// Why the log takes no messages.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// Writing failed; only a restart ends this.
    Failed(Arc<str>),
    /// A disk is over its limit; ends when it has room again.
    DiskFull(Arc<str>),
    /// No room for the next file; ends when there is room again.
    NoSpace(Arc<str>),
}

impl Refusal {
    /// The reason in words, for answers and logs.
    pub fn reason(&self) -> &Arc<str> {
        match self {
            Self::Failed(why) | Self::DiskFull(why) | Self::NoSpace(why) => why,
        }
    }
}

/// The log's state, shared by all actors.
#[derive(Default)]
pub struct LogState {
    causes: Mutex<Causes>,
    /// The first of them, to be read without waiting.
    refusal: ArcSwapOption<Refusal>,
}

#[derive(Default)]
struct Causes {
    failed: Option<Arc<str>>,
    disk_full: Option<Arc<str>>,
    no_space: Option<Arc<str>>,
}

impl Causes {
    fn first(&self) -> Option<Refusal> {
        let failed = self.failed.clone().map(Refusal::Failed);
        let full = self.disk_full.clone().map(Refusal::DiskFull);
        failed.or(full).or_else(|| self.no_space.clone().map(Refusal::NoSpace))
    }
}

impl LogState {
    /// Why messages are refused now, if they are.
    pub fn refusal(&self) -> Option<Arc<Refusal>> {
        self.refusal.load_full()
    }

    /// Whether a disk is over its limit, as far as anybody said.
    pub fn is_disk_full(&self) -> bool {
        self.causes.lock().unwrap_or_else(PoisonError::into_inner).disk_full.is_some()
    }

    /// Ends writing for good.
    pub fn fail(&self, why: &str) {
        self.change(|causes| _ = causes.failed.get_or_insert_with(|| why.into()));
    }

    /// Refuses messages until [`disk_has_room`](Self::disk_has_room); the last word counts.
    pub fn disk_full(&self, why: &str) {
        self.change(|causes| causes.disk_full = Some(why.into()));
    }

    /// No disk is over its limit any more.
    pub fn disk_has_room(&self) {
        self.change(|causes| causes.disk_full = None);
    }

    /// Refuses messages until [`space_again`](Self::space_again).
    pub fn no_space(&self, why: &str) {
        self.change(|causes| _ = causes.no_space.get_or_insert_with(|| why.into()));
    }

    /// The next file could be made.
    pub fn space_again(&self) {
        self.change(|causes| causes.no_space = None);
    }

    fn change(&self, change: impl FnOnce(&mut Causes)) {
        let mut causes: MutexGuard<'_, Causes> =
            self.causes.lock().unwrap_or_else(PoisonError::into_inner);
        change(&mut causes);
        let first = causes.first();
        if self.refusal.load().as_deref() != first.as_ref() {
            self.refusal.store(first.map(Arc::new));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refusal(state: &LogState) -> Option<Refusal> {
        state.refusal().map(|refusal| (*refusal).clone())
    }

    #[test]
    fn a_failure_is_for_good_and_a_full_disk_is_not() {
        let state = LogState::default();
        assert_eq!(refusal(&state), None);
        state.no_space("no file");
        assert_eq!(refusal(&state), Some(Refusal::NoSpace("no file".into())));
        state.space_again();
        assert_eq!(refusal(&state), None);
        state.no_space("no file");
        state.fail("sync failed");
        state.fail("later failure");
        state.space_again();
        state.disk_has_room();
        assert_eq!(refusal(&state), Some(Refusal::Failed("sync failed".into())));
    }

    #[test]
    fn the_end_of_one_cause_is_not_that_of_another() {
        let state = LogState::default();
        state.no_space("no file");
        state.disk_full("91%");
        state.disk_full("92%");
        assert!(state.is_disk_full());
        assert_eq!(refusal(&state), Some(Refusal::DiskFull("92%".into())));
        state.space_again();
        assert_eq!(refusal(&state), Some(Refusal::DiskFull("92%".into())));
        state.no_space("no file");
        state.disk_has_room();
        assert!(!state.is_disk_full());
        assert_eq!(refusal(&state), Some(Refusal::NoSpace("no file".into())));
        state.space_again();
        assert_eq!(refusal(&state), None);
    }
}
