//! Typed headers by subject. Requests end in `Header`, the headers of responses in `Response`.
//!
//! Codes that carry no fields (heartbeat, locks, lists of everything) have no header here; their
//! content is in [`crate::body`].

pub mod admin;
pub mod group;
pub mod offset;
pub mod pull;
pub mod route;
pub mod send;
pub mod transaction;
