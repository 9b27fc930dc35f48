//! `tidelog check-config`: the configuration in force, where each value came from, and what is wrong with it.

use std::path::PathBuf;

use clap::Args;

use crate::config::ConfigError;
use crate::config::Layers;
use crate::config::Sources;
use crate::server;

use super::Failure;
use super::stdout;

/// The exit code for a wrong configuration.
const EXIT_CONFIG: u8 = 2;

/// Where settings come from, for every command that has some.
#[derive(Args, Clone, Debug, Default)]
pub struct ConfigArgs {
    /// The configuration file [default: config/tidelog.toml, if there is one]
    #[arg(long, value_name = "PATH", env = "TIDELOG_CONFIG")]
    pub config: Option<PathBuf>,

    /// Set a key, as in --set limits.connections=500; may be repeated
    #[arg(long, value_name = "KEY=VALUE")]
    pub set: Vec<String>,
}

/// The settings of a broker, with those that people type every day.
#[derive(Args, Clone, Debug, Default)]
pub struct BrokerArgs {
    /// The sources that other commands have too.
    #[command(flatten)]
    pub config: ConfigArgs,

    /// Listen here instead of where the configuration says: PORT, ADDRESS:PORT, ws://ADDRESS:PORT, tls://.., wss://..
    /// or unix:PATH; may be repeated
    #[arg(long, value_name = "ADDRESS")]
    pub listen: Vec<String>,

    /// The data directory
    #[arg(long, value_name = "DIR")]
    pub data: Option<PathBuf>,
}

impl From<ConfigArgs> for Sources {
    fn from(args: ConfigArgs) -> Self {
        Self { file: args.config, set: args.set, ..Self::default() }
    }
}

impl From<BrokerArgs> for Sources {
    fn from(args: BrokerArgs) -> Self {
        Self { listen: args.listen, data: args.data, ..Self::from(args.config) }
    }
}

impl From<ConfigError> for Failure {
    fn from(error: ConfigError) -> Self {
        Self { message: format!("configuration: {error}"), exit_code: EXIT_CONFIG }
    }
}

/// Print the configuration in force, with the source of each value; exit with 2 if it is wrong
#[derive(Args, Clone, Debug, Default)]
pub struct CheckConfigArgs {
    /// What a broker started with the same flags would use.
    #[command(flatten)]
    pub broker: BrokerArgs,
}

impl CheckConfigArgs {
    /// Prints the configuration to standard output.
    pub fn run(self) -> Result<(), Failure> {
        stdout::print(&report(&Sources::from(self.broker))?)
    }
}

/// What is printed, if everything is right.
pub fn report(sources: &Sources) -> Result<String, Failure> {
    let layers = sources.layers()?;
    let access = layers.config()?.access;
    server::check_access(&access)
        .map_err(|error| Failure::usage(format!("configuration: {error}")))?;
    let file = sources.file().map_or("no file".to_owned(), |path| path.display().to_string());
    Ok(format!("# {file}\n{}", lines(&layers)))
}

/// A line for each key: as TOML, with its source as a comment.
fn lines(layers: &Layers) -> String {
    let settings = layers.settings();
    let assignments: Vec<String> =
        settings.iter().map(|setting| format!("{} = {}", setting.key, setting.value)).collect();
    let width = assignments.iter().map(String::len).max().unwrap_or_default();
    let line = |(assignment, source): (&String, _)| format!("{assignment:width$}  # {source}\n");
    assignments.iter().zip(settings.iter().map(|setting| &setting.source)).map(line).collect()
}
