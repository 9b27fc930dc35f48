//! Tidelog: an MQTT 3.1, 3.1.1 and 5.0 broker that keeps every message in a durable, append-only log.
//!
//! The folders are the layers, and imports point down only (`tests/architecture.rs` holds that):
//!
//! | layer | folder | what it is |
//! |---|---|---|
//! | 0 | [`mutant`] | bugs put in on purpose, for the simulation to catch; not in the program without the feature |
//! | 1 | [`mqtt`] | bytes to packets and back, both versions in one [`mqtt::Packet`] |
//! | 1 | [`commitlog`] | the append-only segmented log of keyed, opaque records |
//! | 2 | [`access`] | who may connect, publish and subscribe |
//! | 2 | [`session`] | one session as a state machine without input or output |
//! | 3 | [`store`] | our records in the log and the state made of them |
//! | 4 | [`broker`] | all sessions and one owner: route, deliver, wait for durability |
//! | 5 | [`server`] | the only clock, threads and sockets |
//! | 6 | [`cli`] | the program's commands |

pub mod access;
pub mod broker;
pub mod cli;
pub mod collections;
pub mod commitlog;
pub mod config;
pub mod mqtt;
pub mod mutant;
pub mod server;
pub mod session;
pub mod store;
pub mod time;
