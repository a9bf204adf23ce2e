//! The broker's configuration while it runs: which values are in effect now, and the one actor that
//! changes them.
//!
//! ```text
//! UPDATE_BROKER_CONFIG ─→ Settings ─→ the file of -c (first, so that a change that is in effect lasts)
//!                             └─────→ InEffect: Live values ←─ read at the time of use by sessions, cleaner, …
//!                                       └─→ the topics' root: templates and permissions are told anew
//! ```
//!
//! [`InEffect`] is what is published. Each part that can change is a [`Live`] value of its own, given to
//! whoever uses it, so that nobody holds the whole configuration. [`Settings`] alone publishes.
//!
//! Invariants: a request is taken as a whole or not at all; what is published is in the file, if there
//! is one. Failure policy: restart from what is published.

mod live;
mod owner;

pub use live::{InEffect, Live, SessionLimits};
pub use owner::{ChangeSettings, FollowSettings, Settings, SettingsError, SettingsParts};
