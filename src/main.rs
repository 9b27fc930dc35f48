//! The `tidelog` program.

use std::process::ExitCode;

fn main() -> ExitCode {
    tidelog::cli::main()
}
