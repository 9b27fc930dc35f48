//! The log against a model, and against everything that can happen to its files.
//!
//! `LOG_SEED=7 cargo test --test log` replays one seed of the model; `LOG_SEEDS=5000` runs more of them.

#![expect(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test fails by panicking")]

mod basics;
mod clean;
mod cold;
mod damage;
mod faults;
mod model;
mod reserve;
mod world;
