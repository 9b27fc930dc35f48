//! The program as users run it: `tidelog pub`, `tidelog sub` and the rest, as processes.
//!
//! Most tests have a broker that does exactly what the test says ([`peer::Peer`]), because what is to be seen is what
//! the program does when a broker refuses, vanishes or is slow.

#![expect(
    clippy::disallowed_methods,
    clippy::expect_used,
    clippy::panic,
    clippy::unwrap_used,
    reason = "a test that can't go on fails, and it has threads and files of its own"
)]

mod bench;
mod broker;
mod delayed;
mod events;
mod group;
mod log;
mod peer;
mod program;
mod publish;
mod refusals;
mod replay;
mod subscribe;
mod usage;
