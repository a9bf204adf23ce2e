//! [`Link`]: what a tree and the driver of one child share, across threads.
//!
//! The tree writes what is *wanted* of the child; the driver writes what *is*: state, counters, last
//! exit, answers to health questions. Wants are levels, not events: the driver compares what is wanted
//! with what is at each poll, so an order is never lost and the latest one counts.
//!
//! There is one link per child and there may be 100,000 children, so it is small and allocates only
//! its name, and a text when something went wrong.

use std::sync::atomic::{AtomicU8, AtomicU32, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::Waker;

use futures_util::task::AtomicWaker;
use tokio::sync::Notify;

use crate::health::{Backlog, Health};
use crate::policy::{Exit, Policy};

/// Where a child is in its life.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum State {
    /// Its incarnation is being made.
    Starting,
    /// It handles messages.
    Running,
    /// Its last incarnation died; the next is due after a wait. The mailbox keeps what arrives.
    BackingOff,
    /// It is ending in an orderly way.
    Stopping,
    /// It has no incarnation and gets none before its parent says so. The mailbox keeps what arrives.
    Down,
    /// It is gone; its mailbox is closed.
    Ended,
}

const STATES: [State; 6] = [
    State::Starting,
    State::Running,
    State::BackingOff,
    State::Stopping,
    State::Down,
    State::Ended,
];

/// What the tree wants of a child.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub(crate) enum Want {
    /// To live.
    Run,
    /// To end its incarnation in an orderly way and keep its mailbox.
    Rest,
    /// To drop its incarnation now and keep its mailbox.
    Drop,
    /// To end in an orderly way.
    Stop,
    /// To end now.
    Kill,
}

const WANTS: [Want; 5] = [Want::Run, Want::Rest, Want::Drop, Want::Stop, Want::Kill];

/// See the module's text.
pub(crate) struct Link {
    pub id: u64,
    pub name: Box<str>,
    pub kind: &'static str,
    pub policy: Policy,
    state: AtomicU8,
    want: AtomicU8,
    incarnation: AtomicU32,
    restarts: AtomicU32,
    panics: AtomicU32,
    lost: AtomicU64,
    /// Messages that the shell was given; by its thread alone.
    handled: AtomicU64,
    driver: AtomicWaker,
    changed: Notify,
    report: Mutex<Report>,
}

/// What the child last said, or what was last said of it.
pub(crate) struct Report {
    /// Boxed, as most children never have one.
    pub last_exit: Option<Box<Exit>>,
    pub health: Health,
    /// What the last question met that was answered.
    pub mailbox: Backlog,
    /// Number of the last health question put to the child, and of the last one that it answered.
    pub asked: u32,
    pub answered: u32,
}

impl Link {
    pub fn new(id: u64, name: Box<str>, kind: &'static str, policy: Policy) -> Arc<Self> {
        Arc::new(Self {
            id,
            name,
            kind,
            policy,
            state: AtomicU8::new(State::Starting as u8),
            want: AtomicU8::new(Want::Run as u8),
            incarnation: AtomicU32::new(0),
            restarts: AtomicU32::new(0),
            panics: AtomicU32::new(0),
            lost: AtomicU64::new(0),
            handled: AtomicU64::new(0),
            driver: AtomicWaker::new(),
            changed: Notify::new(),
            report: Mutex::new(Report {
                last_exit: None,
                health: Health::Up,
                mailbox: Backlog::default(),
                asked: 0,
                answered: 0,
            }),
        })
    }

    pub fn state(&self) -> State {
        STATES[self.state.load(Ordering::Acquire) as usize]
    }

    pub fn set_state(&self, state: State) {
        self.state.store(state as u8, Ordering::Release);
        self.changed.notify_waiters();
    }

    /// Waits until the state is one that `is_reached` accepts.
    pub async fn reached(&self, is_reached: impl Fn(State) -> bool) -> State {
        loop {
            let mut changed = std::pin::pin!(self.changed.notified());
            changed.as_mut().enable();
            let state = self.state();
            if is_reached(state) {
                return state;
            }
            changed.await;
        }
    }

    pub fn want(&self) -> Want {
        WANTS[self.want.load(Ordering::Acquire) as usize]
    }

    /// Says what is wanted now and wakes the driver. Ending is final: nothing softer is wanted after it.
    pub fn set_want(&self, want: Want) {
        let softer = |now: u8| now < Want::Stop as u8 || now < want as u8;
        let set = |now| softer(now).then_some(want as u8);
        if self.want.fetch_update(Ordering::AcqRel, Ordering::Acquire, set).is_ok() {
            self.driver.wake();
        }
    }

    /// Lets a child that is down run again.
    pub fn allow_to_run(&self) {
        if self.state() == State::Down {
            // Said here already, so that whoever waits for the outcome does not take this for it.
            self.set_state(State::Starting);
        }
        self.set_want(Want::Run);
    }

    pub fn is_killed(&self) -> bool {
        self.want() == Want::Kill
    }

    /// Whether a request to halt still stands; one that reaches a later incarnation does not.
    pub fn is_halting(&self) -> bool {
        self.want() != Want::Run
    }

    pub fn register_driver(&self, waker: &Waker) {
        self.driver.register(waker);
    }

    pub fn incarnation(&self) -> u32 {
        self.incarnation.load(Ordering::Relaxed)
    }

    pub fn next_incarnation(&self) {
        self.incarnation.fetch_add(1, Ordering::Relaxed);
    }

    pub fn restarts(&self) -> u32 {
        self.restarts.load(Ordering::Relaxed)
    }

    pub fn note_restart(&self) {
        self.restarts.fetch_add(1, Ordering::Relaxed);
    }

    pub fn panics(&self) -> u32 {
        self.panics.load(Ordering::Relaxed)
    }

    pub fn lost(&self) -> u64 {
        self.lost.load(Ordering::Relaxed)
    }

    pub fn add_lost(&self, messages: usize) {
        self.lost.fetch_add(messages as u64, Ordering::Relaxed);
    }

    pub fn handled(&self) -> u64 {
        self.handled.load(Ordering::Relaxed)
    }

    /// One more message. Only one thread writes, so that this is no more than a store.
    #[inline]
    pub fn count_handled(&self) {
        self.handled.store(self.handled() + 1, Ordering::Relaxed);
    }

    /// An incarnation has failed.
    pub fn note_death(&self, exit: &Exit) {
        if matches!(exit, Exit::Panicked { .. }) {
            self.panics.fetch_add(1, Ordering::Relaxed);
        }
        self.note_exit(exit);
    }

    /// An incarnation, or the child with it, has ended.
    pub fn note_exit(&self, exit: &Exit) {
        self.report().last_exit = Some(Box::new(exit.clone()));
    }

    pub fn last_exit(&self) -> Option<Exit> {
        self.report().last_exit.as_deref().cloned()
    }

    pub fn report(&self) -> MutexGuard<'_, Report> {
        // Nothing in a critical section can leave the report half written.
        self.report.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
