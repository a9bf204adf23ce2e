//! What whole-system tests share: a daemon as a child process, and traffic that can be checked.

pub mod by_key;
pub mod daemon;
pub mod traffic;
