//! Transactions: half messages that consumers see once their producer says so, or never.
//!
//! ```text
//! producer ── half message ──→ session ──→ appender ──→ half topic ──→ Transactions (takes in, later)
//!          ── END_TRANSACTION ──→ session ── EndBurst ──→ Transactions ──┬─→ appender ──→ real topic
//!          ←── CHECK_TRANSACTION_STATE ──── when it is due ──────┘       └─→ appender ──→ op topic
//! ```
//!
//! | where | what |
//! |---|---|
//! | [`half`], [`op`] | half messages and op messages, as they are read |
//! | [`ledger`] | which half messages are open: the state machine |
//! | [`forms`] | what a half message becomes in the log |
//! | [`settlement`] | from decisions to batches for the appender, and back |
//! | [`recovery`] | where everything stands at a start |
//! | [`check`] | questions to producers |
//! | [`operate`] | what operators ask |
//! | [`transactions`], `due` | the actor; what it does when half messages are due |
//! | [`orders`], [`parts`] | what it is asked, what it works with |
//!
//! # Side by side with Java's broker
//!
//! What is in the log and in `consumerOffset.json` has Java's form, so that either broker goes on with
//! what the other left (store.md 4.3). Where this one does not do as Java does:
//!
//! * Java reads the half topic again at each look; here a ledger in memory knows the open ones.
//! * Java stores a half message once more with each question, as its scan moves on over all of them.
//!   Here a question stores nothing: so the place that a producer knows stays the one that counts, and a
//!   question that crosses with the producer's own word does not make two transactions of one. Only a
//!   half message that lies far behind the end of its queue is stored once more, so that a start
//!   does not have to read far back; ends by its old place are found by its unique key. The price: the
//!   count of questions is only as old as the last start, so a transaction that nobody can decide on
//!   may be asked for more often than `transactionCheckMax` over a restart.
//! * The first question comes when `transactionTimeOut` is over, not at the next tick behind it; the
//!   following ones each `transactionCheckInterval` later.
//! * Without a producer of the group nothing is counted, and nothing done until one appears.
//! * An op message names one half message, not a list of them: every version reads that.
//! * A second end of a transaction is answered like the first and does nothing.
//! * A half message with a delay level is stored as one, and its delay begins with its commit. Java's
//!   broker stores it as a delayed message for the half topic, whereby it forgets where to deliver it.

pub mod check;
mod due;
pub mod forms;
pub mod half;
pub mod ledger;
#[cfg(test)]
mod model;
pub mod op;
pub mod operate;
pub mod orders;
pub mod parts;
pub mod recovery;
pub mod settlement;
pub mod transactions;

pub use orders::{End, EndBurst, EndRefusal, EndTransaction, Outcome};
pub use parts::TransactionParts;
pub use transactions::Transactions;
