//! What a command has to say, on standard output.

use std::io;
use std::io::Write;

use super::Failure;

/// Prints a text. A reader that has left, as in `... | head -1`, is no failure.
pub(super) fn print(text: &str) -> Result<(), Failure> {
    let mut stdout = io::stdout().lock();
    match stdout.write_all(text.as_bytes()).and_then(|()| stdout.flush()) {
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => {
            Err(Failure { message: format!("standard output: {error}"), exit_code: 1 })
        }
        Ok(()) | Err(_) => Ok(()),
    }
}
