//! `gantry admin` against a broker that runs.
