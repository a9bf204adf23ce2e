//! Looking into a store off line: a sound one is found sound, every kind of damage is found where it is,
//! and what can be mended is mended.

#[path = "../common/mod.rs"]
mod common;
mod files;
mod index;
mod log;
mod queues;
mod random;
mod repair;
mod support;
