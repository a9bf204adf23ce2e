//! Whether the log takes messages, as everybody can read it.
//!
//! Written by the appender, the flusher and the allocator when they must stop writing; read by them,
//! by connections (to refuse early) and by the registration. A failed write or sync ends writing for
//! good: nothing in this process ever clears [`Refusal::Failed`].

use std::sync::Arc;

use arc_swap::ArcSwapOption;

/// Why the log takes no messages.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// Writing failed; only a restart ends this.
    Failed(Arc<str>),
    /// No room for the next file; ends when there is room again.
    NoSpace(Arc<str>),
}

impl Refusal {
    /// The reason in words, for answers and logs.
    pub fn reason(&self) -> &Arc<str> {
        match self {
            Self::Failed(why) | Self::NoSpace(why) => why,
        }
    }
}

/// The log's state, shared by all actors.
#[derive(Default)]
pub struct LogState(ArcSwapOption<Refusal>);

impl LogState {
    /// Why messages are refused now, if they are.
    pub fn refusal(&self) -> Option<Arc<Refusal>> {
        self.0.load_full()
    }

    /// Ends writing for good.
    pub fn fail(&self, why: &str) {
        self.0.rcu(|now| match now.as_deref() {
            Some(Refusal::Failed(_)) => now.clone(),
            _ => Some(Arc::new(Refusal::Failed(why.into()))),
        });
    }

    /// Refuses messages until [`space_again`](Self::space_again).
    pub fn no_space(&self, why: &str) {
        self.0.rcu(|now| match now.as_deref() {
            None => Some(Arc::new(Refusal::NoSpace(why.into()))),
            Some(_) => now.clone(),
        });
    }

    /// There is room again; a failure stays a failure.
    pub fn space_again(&self) {
        self.0.rcu(|now| match now.as_deref() {
            Some(Refusal::NoSpace(_)) => None,
            _ => now.clone(),
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_failure_is_for_good_and_a_full_disk_is_not() {
        let state = LogState::default();
        assert_eq!(state.refusal(), None);
        state.no_space("disk full");
        assert_eq!(&**state.refusal().unwrap().reason(), "disk full");
        state.space_again();
        assert_eq!(state.refusal(), None);
        state.no_space("disk full");
        state.fail("sync failed");
        state.fail("later failure");
        state.space_again();
        assert_eq!(*state.refusal().unwrap(), Refusal::Failed("sync failed".into()));
    }
}
