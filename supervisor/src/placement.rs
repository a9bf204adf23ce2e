//! Which actor runs on which thread.
//!
//! A thread is an actix arbiter with a name such as `io-0` or `log`. It is made when it is first asked
//! for and lives until [`Placement::shut_down`]. Under [`Placement::single`] all names mean the
//! calling thread: tests and simulation run a whole broker on one thread in a fixed order.

use std::borrow::Cow;
use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use actix::{Arbiter, ArbiterHandle};

/// Where a child is to run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Place {
    /// On the thread that declares it.
    Here,
    /// On the thread of this name.
    Named(Cow<'static, str>),
}

impl Place {
    /// The thread called `name`.
    pub fn named(name: impl Into<Cow<'static, str>>) -> Self {
        Self::Named(name.into())
    }

    /// Thread `index` of a group of threads, e.g. `io-3`.
    pub fn numbered(group: &str, index: usize) -> Self {
        Self::Named(format!("{group}-{index}").into())
    }
}

/// The threads that actors are spread over. Clones are the same threads.
#[derive(Clone, Debug)]
pub struct Placement {
    /// None: everything stays on the calling thread.
    threads: Option<Arc<Mutex<Threads>>>,
}

type Threads = HashMap<Cow<'static, str>, Arbiter>;

impl Placement {
    /// Everything on the calling thread, which must run a tokio `LocalSet` or an actix system.
    pub fn single() -> Self {
        Self { threads: None }
    }

    /// A thread per name. Must be used on a thread of an actix system.
    pub fn threads() -> Self {
        Self { threads: Some(Arc::default()) }
    }

    /// Runs `f` on the thread of `place`; if that thread has ended, `f` is dropped.
    pub fn run(&self, place: &Place, f: impl FnOnce() + Send + 'static) {
        match self.arbiter(place) {
            Some(arbiter) => {
                arbiter.spawn_fn(f);
            }
            None => f(),
        }
    }

    /// The arbiter of `place`, made now if need be; `None` means the calling thread.
    pub fn arbiter(&self, place: &Place) -> Option<ArbiterHandle> {
        match (&self.threads, place) {
            (Some(threads), Place::Named(name)) => {
                let mut threads = threads.lock().unwrap_or_else(PoisonError::into_inner);
                Some(threads.entry(name.clone()).or_insert_with(Arbiter::new).handle())
            }
            _ => None,
        }
    }

    /// Ends all threads and waits for them; blocks. For after the tree has stopped.
    pub fn shut_down(&self) {
        let Some(threads) = &self.threads else { return };
        let threads = std::mem::take(&mut *threads.lock().unwrap_or_else(PoisonError::into_inner));
        for arbiter in threads.values() {
            arbiter.stop();
        }
        for arbiter in threads.into_values() {
            // An arbiter ends in a panic only when a task outside of any guard did; the hook has said so.
            let _ = arbiter.join();
        }
    }
}
