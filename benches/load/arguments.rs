//! The command line.

use std::path::PathBuf;
use std::time::Duration;

use crate::peer;
use crate::scenario;

/// What the command line asks for.
pub(crate) struct Arguments {
    /// Names of scenarios.
    pub(crate) scenarios: Vec<String>,
    pub(crate) seconds: Duration,
    pub(crate) rounds: usize,
    /// Names of brokers.
    pub(crate) peers: Vec<String>,
    /// Where the brokers have their directories.
    pub(crate) directory: PathBuf,
    pub(crate) json: bool,
    /// Messages of the scenarios that have a number of them, and connections of those that have that.
    pub(crate) messages: u64,
    pub(crate) connections: usize,
    /// Messages that each publisher may be ahead of its subscriber.
    pub(crate) ahead: u64,
}

const USAGE: &str = "cargo bench --bench load -- [S1 S2 ...] [--seconds 5] [--rounds 3] [--peers tidelog,mosquitto] \
                     [--directory target/load] [--messages 1000000] [--connections 19000] [--ahead 1024] [--json]";

impl Arguments {
    /// What was given to this process.
    ///
    /// # Errors
    /// What is not understood.
    pub(crate) fn given() -> Result<Self, String> {
        let mut arguments = Self {
            scenarios: Vec::new(),
            seconds: Duration::from_secs(5),
            rounds: 3,
            peers: peer::names().iter().map(ToString::to_string).collect(),
            directory: PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/target/load")),
            json: false,
            messages: 1_000_000,
            connections: 19_000,
            ahead: 1_024,
        };
        // `cargo bench` itself gives `--bench`.
        let mut words = std::env::args().skip(1).filter(|word| word != "--bench");
        while let Some(word) = words.next() {
            match word.as_str() {
                "--json" => arguments.json = true,
                name if name.starts_with("--") => {
                    let value = words.next().ok_or_else(|| format!("{name} needs a value"))?;
                    arguments.set(name, &value)?;
                }
                name => arguments.scenarios.push(name.to_uppercase()),
            }
        }
        arguments.check_scenarios()?;
        Ok(arguments)
    }

    fn set(&mut self, name: &str, value: &str) -> Result<(), String> {
        let wrong = |error| format!("{name}: {error}");
        match name {
            "--seconds" => self.seconds = Duration::from_secs(value.parse().map_err(wrong)?),
            "--rounds" => self.rounds = value.parse::<usize>().map_err(wrong)?.max(1),
            "--messages" => self.messages = value.parse().map_err(wrong)?,
            "--connections" => self.connections = value.parse().map_err(wrong)?,
            "--ahead" => self.ahead = value.parse::<u64>().map_err(wrong)?.max(1),
            "--peers" => self.peers = value.split(',').map(str::to_owned).collect(),
            "--directory" => self.directory = PathBuf::from(value),
            _ => return Err(format!("{name} is none of\n{USAGE}")),
        }
        Ok(())
    }

    fn check_scenarios(&mut self) -> Result<(), String> {
        let known = scenario::names();
        if self.scenarios.is_empty() {
            self.scenarios = known.iter().map(ToString::to_string).collect();
        }
        match self.scenarios.iter().find(|name| !known.contains(&name.as_str())) {
            Some(unknown) => Err(format!("{unknown} is none of {}\n{USAGE}", known.join(", "))),
            None => Ok(()),
        }
    }
}
