//! The checker sees what it should.
