//! The key index over a store: what is found, and what any end of the broker leaves of it.

mod crash;
mod lookup;
mod model;
mod world;
