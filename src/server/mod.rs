//! The only async, clock, threads and sockets.

mod admission;
mod clock;
mod listener;
mod transport;
