//! Packets of every version: known bytes, the probes that other codecs failed, generated packets, other codecs as
//! peers, and broken packets by the hundred thousand.

#![expect(clippy::wildcard_enum_match_arm, reason = "a peer's oddities concern a few packets only")]
#![expect(clippy::unwrap_used, reason = "a test may stop where it stands")]
#![expect(clippy::indexing_slicing, reason = "a test may stop where it stands")]

mod bytes_and_values;
mod check;
mod exchange;
mod generate;
mod limits;
mod mutations;
mod peer_mqttbytes;
mod peer_rumqttc;
mod probes;
mod round_trip;
mod table;
