//! The store against itself: what live operation, recovery, checkpoint and retention say has to be the same.
//!
//! `STORE_SEED=7 cargo test --test store model` replays one history.

#![expect(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test may panic")]

mod chance;
mod checkpoints;
mod cleaning;
mod clock;
mod fold;
mod full;
mod messages;
mod model;
mod retention;
mod rows;
mod state_stores;
mod world;
