//! What a tree does about a child that is beyond its budget or has failed for good.
//!
//! The child's driver reports it and holds the child: no incarnation, mailbox kept. The tree's verdict
//! decides, and a tree without one passes it on to its parent; at the root nobody is left to ask, and
//! the child stays down. Whatever is decided, the child's mailbox is either served again or closed, so
//! no caller is left waiting.

use crate::policy::{Budget, Exit, Policy};

/// A child that needs its parent's decision.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Escalation {
    /// Names of its trees and its own, joined by `/`.
    pub child: String,
    /// What kind of actor it is, see [`Logic::NAME`](crate::Logic::NAME).
    pub kind: &'static str,
    /// The child's policy: [`Policy::FailStop`], or a restart whose budget is spent.
    pub policy: Policy,
    /// Why its last incarnation ended.
    pub exit: Exit,
    /// Restarts after failures of its own.
    pub restarts: u32,
}

/// A tree's decision about an [`Escalation`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// The child stays down, its mailbox closes; the others go on.
    Leave,
    /// End the incarnations of all children of this tree in reverse order, then make them again in
    /// declared order. Mailboxes are kept. Beyond this budget the tree's own parent is asked.
    RestartAll(Budget),
    /// Stop this tree.
    StopAll,
    /// Ask the tree's parent.
    Escalate,
}
