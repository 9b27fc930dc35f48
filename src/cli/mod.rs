//! The program's commands: a face over the server, the log and a small client.
//!
//! A command either succeeds, or returns one [`Failure`]: one line for standard error and an exit code.
//!
//! | exit code | meaning |
//! |---|---|
//! | 0 | done |
//! | 1 | failed |
//! | 2 | wrong usage or configuration |
//! | 27 | `sub -W`: the time was up |
//! | any other | `pub`, `sub`, `delayed`, `group`: the reason code with which the broker refused |

pub mod certs;
pub mod check_config;
pub mod user;

mod arguments;
mod bench;
mod client;
mod control;
mod delayed;
mod file;
mod format;
mod group;
mod log;
mod moment;
mod output;
mod property;
mod publish;
mod replace;
mod runtime;
mod serve;
mod signals;
mod source;
mod stdout;
mod subscribe;
mod terminal;

use std::process::ExitCode;

use clap::CommandFactory;
use clap::Parser;
use clap::Subcommand;

use check_config::BrokerArgs;

/// Why a command ended without success.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Failure {
    /// One line for standard error, without a full stop; empty if there is nothing to say.
    pub message: String,
    /// What the process exits with.
    pub exit_code: u8,
}

impl Failure {
    /// Something that could have worked did not: exit code 1.
    pub(crate) fn failed(message: impl Into<String>) -> Self {
        Self { message: message.into(), exit_code: 1 }
    }

    /// The command line or the configuration is wrong: exit code 2.
    pub(crate) fn usage(message: impl Into<String>) -> Self {
        Self { message: message.into(), exit_code: 2 }
    }
}

/// An MQTT 3.1, 3.1.1 and 5.0 broker on a durable log, and its tools.
#[derive(Debug, Parser)]
#[command(name = "tidelog", version, args_conflicts_with_subcommands = true)]
struct Program {
    #[command(subcommand)]
    command: Option<Command>,
    #[command(flatten)]
    broker: BrokerArgs,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Run the broker; this is the default.
    Serve(BrokerArgs),
    /// Publish messages; the flags are those of `mosquitto_pub`.
    #[command(name = "pub")]
    Publish(Box<publish::PublishArgs>),
    /// Subscribe and print what comes; the flags are those of `mosquitto_sub`.
    #[command(name = "sub")]
    Subscribe(Box<subscribe::SubscribeArgs>),
    /// Measure a broker, ours or another: how much it carries, how long that takes, what it costs, and whether all comes.
    Bench(Box<bench::BenchArgs>),
    /// Manage the password file.
    User(user::UserArgs),
    /// Make a development authority and certificates.
    Certs(certs::CertsArgs),
    /// Print the configuration in force, with the source of each value.
    CheckConfig(check_config::CheckConfigArgs),
    /// Look into a data directory.
    #[command(subcommand)]
    Log(log::LogCommand),
    /// Messages that a running broker keeps back until they are due.
    #[command(subcommand)]
    Delayed(delayed::DelayedCommand),
    /// Durable groups of a running broker.
    #[command(subcommand)]
    Group(group::GroupCommand),
    /// Print the version.
    Version,
}

/// Runs the program with the process's arguments.
pub fn main() -> ExitCode {
    match run(Program::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            if !failure.message.is_empty() {
                terminal::error(&failure.message);
            }
            ExitCode::from(failure.exit_code)
        }
    }
}

fn run(program: Program) -> Result<(), Failure> {
    match program.command.unwrap_or(Command::Serve(program.broker)) {
        Command::Serve(arguments) => serve::run(arguments),
        Command::Publish(arguments) => arguments.run(),
        Command::Subscribe(arguments) => arguments.run(),
        Command::Bench(arguments) => arguments.run(),
        Command::User(arguments) => arguments.run(),
        Command::Certs(arguments) => arguments.run(),
        Command::CheckConfig(arguments) => arguments.run(),
        Command::Log(command) => command.run(),
        Command::Delayed(command) => command.run(),
        Command::Group(command) => command.run(),
        Command::Version => stdout::print(&Program::command().render_version()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_command_line_is_well_formed() {
        Program::command().debug_assert();
    }
}
