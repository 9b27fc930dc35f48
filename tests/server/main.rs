//! The server's way in over real sockets: TCP, TLS, WebSocket, Unix, their limits and their end.
//!
//! Behind it stands [`echo::Echo`], which knows no MQTT; in [`broker`] and [`clock`] alone it is the broker itself.

#![expect(clippy::unwrap_used, reason = "a test that can't go on has failed")]
#![expect(clippy::indexing_slicing, reason = "a test that can't go on has failed")]
#![expect(clippy::wildcard_enum_match_arm, reason = "what is not expected fails the test")]
#![expect(clippy::disallowed_methods, reason = "certificates and sockets are files")]

mod broker;
mod certificates;
mod clock;
mod echo;
mod lifecycle;
mod limits;
mod tcp;
mod tls;
mod unix;
mod websocket;
