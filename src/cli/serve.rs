//! `tidelog serve`, which is what `tidelog` does unless told otherwise: the broker, until a signal ends it.
//!
//! Standard output gets a few lines when everything is open; diagnostics go to standard error. With JSON as their
//! format those lines are diagnostics too, and standard output stays empty.

use std::io;
use std::io::IsTerminal;

use tracing_subscriber::EnvFilter;
use tracing_subscriber::filter::Directive;
use tracing_subscriber::filter::ParseError;

use super::Failure;
use super::check_config::BrokerArgs;
use super::stdout;
use crate::config;
use crate::config::Config;
use crate::config::Sources;
use crate::config::Trace;
use crate::config::TraceFormat;
use crate::server::Server;
use crate::server::ServerError;

/// The store's tree below the state says nothing that an operator can use, and much of it, below a warning.
const LIBRARIES: &str = "sled=warn";

/// The diagnostics that say what standard output says.
const STARTUP: &str = "tidelog::server::startup=off";

/// Runs a broker.
///
/// # Errors
/// Fails if the configuration is wrong, if the broker does not start, or if it ended otherwise than by a signal.
pub(crate) fn run(arguments: BrokerArgs) -> Result<(), Failure> {
    let config = config::load(&Sources::from(arguments))?;
    start_tracing(&config.trace)?;
    let format = config.trace.format;
    let running = start(config)?;
    if format == TraceFormat::Text {
        stdout::print(&format!("{}\n", running.startup()))?;
    }
    running.run_until_signal().map_err(|error| failure(&error))
}

fn start(config: Config) -> Result<crate::server::Running, Failure> {
    Server::new(config).heed_signals().start().map_err(|error| failure(&error))
}

/// Sends diagnostics to standard error.
fn start_tracing(trace: &Trace) -> Result<(), Failure> {
    let wrong = |error: ParseError| Failure::usage(format!("configuration: trace.level: {error}"));
    let filter: EnvFilter = EnvFilter::builder().parse(directives(&trace.level)).map_err(wrong)?;
    let colours = io::stderr().is_terminal();
    let subscriber = tracing_subscriber::fmt().with_writer(io::stderr).with_ansi(colours);
    match trace.format {
        TraceFormat::Text => {
            let quiet: Directive = STARTUP.parse().map_err(wrong)?;
            subscriber.with_env_filter(filter.add_directive(quiet)).init();
        }
        TraceFormat::Json => subscriber.json().with_env_filter(filter).init(),
    }
    Ok(())
}

/// The user's directives, after those that they may replace.
fn directives(level: &str) -> String {
    format!("{LIBRARIES},{level}")
}

/// What the user named and is wrong is a matter of configuration.
fn failure(error: &ServerError) -> Failure {
    match error {
        ServerError::Access { .. }
        | ServerError::Unreadable { .. }
        | ServerError::Directory { .. } => Failure::usage(format!("configuration: {error}")),
        ServerError::System { .. }
        | ServerError::Full { .. }
        | ServerError::InUse { .. }
        | ServerError::Store(_)
        | ServerError::Listen { .. }
        | ServerError::Poisoned(_)
        | ServerError::Panicked
        | ServerError::Late => Failure::failed(error.to_string()),
    }
}
