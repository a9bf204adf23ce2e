//! The hot path for load generators: frames stamped from templates, answers matched by a scan.
//!
//! A program that measures a broker must cost far less than the broker. [`FrameTemplate`] encodes a
//! request once and afterwards copies it and overwrites a few fixed-width places; [`FrameScan`]
//! reads the code, the opaque and single fields of an answer without decoding its header;
//! [`BurstStream`] moves whole bursts with one read and one write.
//!
//! None of this keeps requests and callers together, retries or times out: [`crate::Connection`]
//! does, and everything but a load generator should use that.

mod scan;
mod stream;
mod template;

pub use scan::{FrameScan, ScanError};
pub use stream::{BurstError, BurstStream};
pub use template::{FrameTemplate, OPAQUE_MAX, OPAQUE_MIN, Stamp, TemplateError};
