//! The commands `user` and `certs`.
