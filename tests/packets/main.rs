//! Packets of every version: known bytes, the probes that other codecs failed, generated packets, other codecs as
//! peers, and broken packets by the hundred thousand.

#![expect(clippy::unwrap_used, reason = "a test may stop where it stands")]
#![expect(clippy::indexing_slicing, reason = "a test may stop where it stands")]

mod bytes_and_values;
mod check;
mod generate;
mod limits;
mod mutations;
mod peer_mqttbytes;
mod probes;
mod round_trip;
mod table;
