//! Who may connect, publish and subscribe.

pub mod passwords;
pub mod scram;
