//! The program's commands.

pub mod certs;
pub mod check_config;
pub mod user;

mod replace;
mod stdout;

/// Why a command failed: one line for the user, and the exit code.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Failure {
    /// What went wrong.
    pub message: String,
    /// The exit code of the process; not 0.
    pub exit_code: u8,
}
