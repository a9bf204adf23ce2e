//! The panic guard: turns what ends an incarnation into an [`Exit`].
//!
//! The guard stands around one poll of an actor's context, not around each handler: everything an
//! actor runs (handlers, futures, stream items, hooks) runs inside that poll, and so a message costs no
//! guard of its own. A message whose handler panics is dropped by the unwinding, and with it the
//! sender of its reply, so its caller has the error at once. The context stays usable after that: actix
//! takes a message out of the mailbox before it is handled, and a restart throws the futures away.
//!
//! A failure of the logic ([`ContextExt::fail`](crate::ContextExt::fail)) and a refusal of its factory
//! travel beside the poll in a thread local: actix's context has no room for them.
//!
//! [`quiet_panics`] replaces the default report of a guarded panic (text and backtrace on standard
//! error) by the supervisor's log line, and lets that line name the place. Panics outside of any guard
//! keep the report they had.

use std::any::Any;
use std::backtrace::{Backtrace, BacktraceStatus};
use std::cell::{Cell, RefCell};
use std::panic::{self, AssertUnwindSafe, PanicHookInfo};
use std::sync::Once;

use crate::policy::Exit;

thread_local! {
    static GUARDED: Cell<bool> = const { Cell::new(false) };
    static FAILURE: RefCell<Option<Exit>> = const { RefCell::new(None) };
    static SITE: RefCell<Option<Site>> = const { RefCell::new(None) };
}

/// Where the last guarded panic of this thread happened.
struct Site {
    place: String,
    backtrace: Option<String>,
}

/// Runs `f`; a panic in it, or a failure noted in it, is the error.
pub(crate) fn guarded<T>(f: impl FnOnce() -> T) -> Result<T, Exit> {
    // What was noted outside of this guard, e.g. by a logic tested without one, is not its result.
    let outer = (GUARDED.replace(true), FAILURE.take());
    let result = panic::catch_unwind(AssertUnwindSafe(f));
    GUARDED.set(outer.0);
    let failure = FAILURE.replace(outer.1);
    match (result, failure) {
        (Ok(value), None) => Ok(value),
        (Ok(_), Some(exit)) => Err(exit),
        (Err(payload), _) => Err(panicked(&*payload)),
    }
}

/// Notes that the incarnation now running on this thread has failed.
pub(crate) fn note_failure(exit: Exit) {
    // The first failure is the cause; a second one tends to be its consequence.
    FAILURE.with_borrow_mut(|failure| {
        failure.get_or_insert(exit);
    });
}

/// Whether the incarnation now running on this thread has failed.
pub(crate) fn has_failed() -> bool {
    FAILURE.with_borrow(Option::is_some)
}

/// The backtrace of the panic that [`guarded`] has just returned, if it was asked for
/// (`RUST_BACKTRACE`) and the hook is installed.
pub(crate) fn take_backtrace() -> Option<String> {
    SITE.take().and_then(|site| site.backtrace)
}

fn panicked(payload: &(dyn Any + Send)) -> Exit {
    let site = SITE.with_borrow(|site| site.as_ref().map(|site| site.place.clone()));
    Exit::Panicked { message: panic_text(payload), site }
}

fn panic_text(payload: &(dyn Any + Send)) -> String {
    if let Some(text) = payload.downcast_ref::<&str>() {
        (*text).to_owned()
    } else if let Some(text) = payload.downcast_ref::<String>() {
        text.clone()
    } else {
        "panic without a text".to_owned()
    }
}

/// Installs a panic hook, once per process, that leaves the report of a supervised actor's panic to
/// the supervisor's log. All other panics go to the hook that was installed before.
pub fn quiet_panics() {
    static INSTALLED: Once = Once::new();
    INSTALLED.call_once(|| {
        let previous = panic::take_hook();
        panic::set_hook(Box::new(move |info| {
            if GUARDED.get() {
                SITE.set(Some(site_of(info)));
            } else {
                previous(info);
            }
        }));
    });
}

fn site_of(info: &PanicHookInfo<'_>) -> Site {
    let place = info.location().map_or_else(String::new, |l| format!("{}:{}", l.file(), l.line()));
    let backtrace = Backtrace::capture();
    let captured = backtrace.status() == BacktraceStatus::Captured;
    Site { place, backtrace: captured.then(|| backtrace.to_string()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn message(exit: Exit) -> String {
        match exit {
            Exit::Panicked { message, .. } => message,
            other => panic!("not a panic: {other}"),
        }
    }

    #[test]
    fn panic_texts_are_kept() {
        quiet_panics();
        let number = 7;
        assert_eq!(message(guarded(|| panic!("plain")).unwrap_err()), "plain");
        assert_eq!(message(guarded(|| panic!("no {number}")).unwrap_err()), "no 7");
        let odd = guarded(|| panic::panic_any(7_u8)).unwrap_err();
        assert_eq!(message(odd), "panic without a text");
    }

    #[test]
    fn the_hook_finds_the_place() {
        quiet_panics();
        let line = line!() + 1;
        let exit = guarded(|| panic!("here")).unwrap_err();
        let site = Some(format!("{}:{line}", file!()));
        assert_eq!(exit, Exit::Panicked { message: "here".to_owned(), site });
    }

    #[test]
    fn a_noted_failure_is_the_result_and_is_gone_afterwards() {
        let exit = guarded(|| {
            note_failure(Exit::Failed("disk".to_owned()));
            note_failure(Exit::Failed("consequence".to_owned()));
            assert!(has_failed());
        });
        assert_eq!(exit, Err(Exit::Failed("disk".to_owned())));
        assert_eq!(guarded(|| 1), Ok(1));
    }

    #[test]
    fn a_failure_noted_without_a_guard_is_not_taken_for_another_ones() {
        note_failure(Exit::Failed("unguarded".to_owned()));
        assert_eq!(guarded(has_failed), Ok(false));
    }

    #[test]
    fn guards_nest() {
        quiet_panics();
        let inner = guarded(|| {
            let inner = guarded(|| panic!("inner"));
            assert!(GUARDED.get());
            inner.is_err()
        });
        assert_eq!(inner, Ok(true));
        assert!(!GUARDED.get());
    }
}
