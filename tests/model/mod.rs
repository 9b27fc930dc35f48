//! Model clients: they do what the specification demands of a client, report every [`Fact`](crate::checker::Fact), and
//! know nothing of how their bytes travel. The simulation drives them over links of its own, the tests of the real
//! process over sockets.

mod actions;
pub(crate) mod chance;
pub(crate) mod client;
pub(crate) mod persona;
pub(crate) mod side_by_side;
