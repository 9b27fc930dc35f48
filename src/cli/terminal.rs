//! Lines for people on standard error.

use std::io;
use std::io::Write;

use super::Failure;

/// Prints one line on standard error. There is nobody to tell if that fails.
pub(crate) fn error(text: &str) {
    drop(writeln!(io::stderr().lock(), "tidelog: {text}"));
}

/// The failure that stands for a broken standard output: a reader that has left is no news to anybody.
pub(crate) fn output_failure(error: &io::Error) -> Failure {
    if error.kind() == io::ErrorKind::BrokenPipe {
        return Failure { message: String::new(), exit_code: 0 };
    }
    Failure::failed(format!("can't write to standard output: {error}"))
}

/// Prints one line about what happens, on standard error.
pub(crate) fn debug(text: &str) {
    drop(writeln!(io::stderr().lock(), "{text}"));
}
