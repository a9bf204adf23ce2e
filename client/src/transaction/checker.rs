//! Who knows what became of a transaction.

use std::fmt;
use std::future::Future;
use std::pin::Pin;

use crate::message::MessageExt;
use crate::producer::TransactionEnd;

/// A look-up under way.
pub type Checking = Pin<Box<dyn Future<Output = TransactionEnd> + Send>>;

/// Looks up what became of a local transaction. One that panics does not know it yet.
pub trait Checker: Send + Sync + 'static {
    /// What became of the transaction of this half message, which any member of the group may have sent?
    /// Unknown has the broker ask again later.
    fn check(&self, half: MessageExt) -> Checking;
}

impl<F, W> Checker for F
where
    F: Fn(MessageExt) -> W + Send + Sync + 'static,
    W: Future<Output = TransactionEnd> + Send + 'static,
{
    fn check(&self, half: MessageExt) -> Checking {
        Box::pin(self(half))
    }
}

impl fmt::Debug for dyn Checker {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a checker")
    }
}
