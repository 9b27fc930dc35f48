//! The sources of the configuration, one upon the other.
//!
//! Every key begins at its default. A source sets keys one at a time, and each is checked as it is set, so that an
//! error names the key, the value and where it came from. Rules between keys are checked at the end.

use std::collections::BTreeMap;
use std::fmt;
use std::path::Path;
use std::path::PathBuf;

use serde::Deserialize;
use toml::Table;
use toml::Value;

use super::Config;
use super::DEFAULTS;
use super::Keys;
use super::nearest::nearest;

/// The prefix of environment variables that set keys.
const VARIABLE_PREFIX: &str = "TIDELOG__";

/// The key that holds the listeners.
const LISTENER: &str = "listener";

/// Keys that hold a list of blocks, and the keys of a block that it does not take from the defaults.
const LISTS: [(&str, &[&str]); 2] = [(LISTENER, &["name", "address"]), ("group", &[])];

/// Where a value came from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Source {
    /// Nobody set it.
    Default,
    /// The configuration file.
    File(PathBuf),
    /// An environment variable.
    Environment(String),
    /// A flag of the command line.
    Flag(&'static str),
}

impl fmt::Display for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Default => f.write_str("default"),
            Self::File(path) => write!(f, "{}", path.display()),
            Self::Environment(variable) => f.write_str(variable),
            Self::Flag(flag) => f.write_str(flag),
        }
    }
}

/// Why there is no configuration.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// The file can't be read.
    #[error("{}: {source}", path.display())]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// What the system says.
        source: std::io::Error,
    },
    /// The file is no TOML.
    #[error("{origin}: {source}")]
    Syntax {
        /// Where the text came from.
        origin: Source,
        /// What is wrong, with line and column.
        source: Box<toml::de::Error>,
    },
    /// There is no such key.
    #[error("{origin}: there is no key `{key}`{}", nearest.as_ref().map(|key| format!("; is it `{key}`?")).unwrap_or_default())]
    Unknown {
        /// The key, with its whole path.
        key: String,
        /// The known key that was probably meant.
        nearest: Option<String>,
        /// Where the key came from.
        origin: Source,
    },
    /// The value does not fit the key.
    #[error("{origin}: `{key}` is {value}: {why}")]
    Value {
        /// The key, with its whole path.
        key: String,
        /// The value, as TOML.
        value: String,
        /// What it should be.
        why: Box<str>,
        /// Where the value came from.
        origin: Source,
    },
    /// An argument of `--set` without a key and a value.
    #[error("--set {0}: expected section.key=value")]
    Assignment(String),
    /// An argument of `--listen` that is no address.
    #[error(
        "--listen {0}: expected a port, ADDRESS:PORT, or tcp://, ws://, tls://, wss:// or unix: before it"
    )]
    Listen(String),
}

/// One key in force.
#[derive(Clone, Debug, PartialEq)]
pub struct Setting {
    /// The key, with its whole path; blocks of a list by number, as in `listener.0.kind`.
    pub key: String,
    /// Its value as TOML.
    pub value: Value,
    /// Where it came from.
    pub source: Source,
}

/// The sources, one upon the other.
#[derive(Clone, Debug)]
pub struct Layers {
    table: Table,
    sources: BTreeMap<String, Source>,
    /// What the keys of a list's block are while nobody set them, by the list.
    blocks: BTreeMap<&'static str, Table>,
}

impl Layers {
    /// The defaults alone.
    pub fn new() -> Result<Self, ConfigError> {
        let table = parse(DEFAULTS, &Source::Default)?;
        let block = |(list, own): (&'static str, &[&str])| {
            let blocks = table.get(list).and_then(Value::as_array);
            let first = blocks.and_then(|all| all.first()).and_then(Value::as_table);
            let mut block = first.cloned().unwrap_or_default();
            block.extend(own.iter().map(|key| ((*key).to_owned(), Value::from(""))));
            (list, block)
        };
        let blocks = LISTS.into_iter().map(block).collect();
        Ok(Self { table, sources: BTreeMap::new(), blocks })
    }

    /// Lays the text of a file over what is there. Listeners in it replace all others, and so do groups.
    pub fn file(&mut self, text: &str, path: &Path) -> Result<(), ConfigError> {
        let source = Source::File(path.to_owned());
        let table = parse(text, &source)?;
        for (list, _) in LISTS {
            if let Some(Value::Array(blocks)) = table.get(list) {
                self.replace_blocks(list, blocks.len(), &source);
            }
        }
        let table = Value::Table(table);
        let mut settings = Vec::new();
        flatten(String::new(), &table, &mut settings);
        settings.into_iter().try_for_each(|(key, value)| self.assign(&key, value.clone(), &source))
    }

    /// Lays the environment over what is there: variables that begin with `TIDELOG__`.
    pub fn environment(
        &mut self,
        variables: impl IntoIterator<Item = (String, String)>,
    ) -> Result<(), ConfigError> {
        let mut ours: Vec<(String, String)> =
            variables.into_iter().filter(|(name, _)| name.starts_with(VARIABLE_PREFIX)).collect();
        ours.sort();
        ours.into_iter().try_for_each(|(name, value)| {
            let key = name.trim_start_matches(VARIABLE_PREFIX).replace("__", ".").to_lowercase();
            self.assign_text(&key, &value, &Source::Environment(name))
        })
    }

    /// Sets one key, written `section.key=value`.
    pub fn set(&mut self, assignment: &str) -> Result<(), ConfigError> {
        let (key, value) = assignment
            .split_once('=')
            .ok_or_else(|| ConfigError::Assignment(assignment.to_owned()))?;
        self.assign_text(key.trim(), value.trim(), &Source::Flag("--set"))
    }

    /// Sets the data directory.
    pub fn data(&mut self, dir: &Path) -> Result<(), ConfigError> {
        self.assign_text("data.dir", &dir.to_string_lossy(), &Source::Flag("--data"))
    }

    /// Replaces the listeners by these addresses: a port (of this machine), `ADDRESS:PORT`, or one of them after
    /// `tcp://`, `ws://`, `tls://` or `wss://`, or a path after `unix:`. What is left out, such as a certificate, is
    /// taken from the first configured listener of the same kind.
    pub fn listen(&mut self, addresses: &[String]) -> Result<(), ConfigError> {
        if addresses.is_empty() {
            return Ok(());
        }
        let source = Source::Flag("--listen");
        let before = self.listeners();
        self.replace_blocks(LISTENER, addresses.len(), &source);
        for (index, address) in addresses.iter().enumerate() {
            let (kind, endpoint) =
                split_address(address).ok_or_else(|| ConfigError::Listen(address.clone()))?;
            let alike = before
                .iter()
                .find(|listener| listener.get("kind").and_then(Value::as_str) == Some(kind));
            for (key, value) in
                alike.into_iter().flatten().filter(|(key, _)| *key != "name" && *key != "address")
            {
                self.assign(&format!("{LISTENER}.{index}.{key}"), value.clone(), &source)?;
            }
            self.assign_text(&format!("{LISTENER}.{index}.kind"), kind, &source)?;
            self.assign_text(&format!("{LISTENER}.{index}.address"), &endpoint, &source)?;
        }
        Ok(())
    }

    /// The configuration, if the sources agree on one.
    pub fn config(&self) -> Result<Config, ConfigError> {
        let keys = decode(&self.table).map_err(|why| ConfigError::Value {
            key: LISTENER.to_owned(),
            value: self.shown(LISTENER),
            why,
            origin: self.origin(LISTENER),
        })?;
        keys.check().map_err(|broken| ConfigError::Value {
            value: self.shown(&broken.key),
            origin: self.origin(&broken.key),
            key: broken.key,
            why: broken.why.into(),
        })
    }

    /// Every key in force, with its value and where it came from.
    pub fn settings(&self) -> Vec<Setting> {
        let mut settings = Vec::new();
        let table = Value::Table(self.table.clone());
        flatten(String::new(), &table, &mut settings);
        let setting = |(key, value): (String, &Value)| Setting {
            source: self.source(&key),
            value: value.clone(),
            key,
        };
        settings.into_iter().map(setting).collect()
    }

    fn listeners(&self) -> Vec<Table> {
        let listeners = self.table.get(LISTENER).and_then(Value::as_array).into_iter().flatten();
        listeners.filter_map(Value::as_table).cloned().collect()
    }

    fn replace_blocks(&mut self, list: &str, count: usize, source: &Source) {
        let block = self.blocks.get(list).cloned().unwrap_or_default();
        let blocks = vec![Value::Table(block); count];
        self.table.insert(list.to_owned(), Value::Array(blocks));
        self.sources.retain(|key, _| !is_of_list(key, list));
        self.sources.insert(list.to_owned(), source.clone());
    }

    /// Sets a key to a value that came as text: read as the kind of value that the key has now.
    fn assign_text(&mut self, key: &str, text: &str, source: &Source) -> Result<(), ConfigError> {
        let value = match lookup(&mut self.table, key) {
            Some(Value::Integer(_)) => text.replace('_', "").parse().ok().map(Value::Integer),
            Some(Value::Boolean(_)) => text.parse().ok().map(Value::Boolean),
            Some(_) | None => None,
        };
        self.assign(key, value.unwrap_or_else(|| Value::from(text)), source)
    }

    fn assign(&mut self, key: &str, value: Value, source: &Source) -> Result<(), ConfigError> {
        let shown = value.to_string();
        let why = match lookup(&mut self.table, key) {
            None => return Err(self.unknown(key, source)),
            Some(Value::Table(_)) if is_empty(&value) => return Ok(()),
            Some(Value::Table(_) | Value::Array(_)) if !is_empty(&value) => {
                Err(Box::from("this is a section, not a key"))
            }
            Some(place) => {
                let before = std::mem::replace(place, value);
                decode(&self.table).map(drop).inspect_err(|_| self.restore(key, before))
            }
        };
        why.map_err(|why| ConfigError::Value {
            key: key.to_owned(),
            value: shown,
            why,
            origin: source.clone(),
        })?;
        self.sources.insert(key.to_owned(), source.clone());
        Ok(())
    }

    fn restore(&mut self, key: &str, before: Value) {
        if let Some(place) = lookup(&mut self.table, key) {
            *place = before;
        }
    }

    fn unknown(&self, key: &str, source: &Source) -> ConfigError {
        let table = Value::Table(self.table.clone());
        let mut known = Vec::new();
        flatten(String::new(), &table, &mut known);
        let nearest = nearest(key, known.iter().map(|(key, _)| key.as_str())).map(str::to_owned);
        ConfigError::Unknown { key: key.to_owned(), nearest, origin: source.clone() }
    }

    fn source(&self, key: &str) -> Source {
        self.sources.get(key).cloned().unwrap_or(Source::Default)
    }

    /// Who is to be told about a wrong key: whoever set it, or made the block that lacks it.
    fn origin(&self, key: &str) -> Source {
        let list = LISTS.into_iter().find(|(list, _)| is_of_list(key, list));
        let maker = list.map(|(list, _)| self.source(list));
        self.sources.get(key).cloned().or(maker).unwrap_or(Source::Default)
    }

    fn shown(&self, key: &str) -> String {
        lookup(&mut self.table.clone(), key).map(|value| value.to_string()).unwrap_or_default()
    }
}

fn parse(text: &str, origin: &Source) -> Result<Table, ConfigError> {
    text.parse()
        .map_err(|source| ConfigError::Syntax { origin: origin.clone(), source: Box::new(source) })
}

/// Whether a key is a list's own, or one of its blocks'.
fn is_of_list(key: &str, list: &str) -> bool {
    key.split('.').next() == Some(list)
}

fn decode(table: &Table) -> Result<Keys, Box<str>> {
    Keys::deserialize(table.clone()).map_err(|error| Box::from(error.message()))
}

/// Whether it is a section without keys, or `listener = []`, which is refused by its own rule.
fn is_empty(value: &Value) -> bool {
    value.as_array().is_some_and(Vec::is_empty) || value.as_table().is_some_and(Table::is_empty)
}

/// The value at a path: names of keys, and numbers in lists.
fn lookup<'a>(table: &'a mut Table, key: &str) -> Option<&'a mut Value> {
    let (first, rest) =
        key.split_once('.').map_or((key, None), |(first, rest)| (first, Some(rest)));
    rest.into_iter().flat_map(|rest| rest.split('.')).try_fold(
        table.get_mut(first)?,
        |value, part| match value {
            Value::Table(table) => table.get_mut(part),
            Value::Array(list) => list.get_mut(part.parse::<usize>().ok()?),
            Value::String(_)
            | Value::Integer(_)
            | Value::Float(_)
            | Value::Boolean(_)
            | Value::Datetime(_) => None,
        },
    )
}

/// Every key with a value of its own, and every section without keys, in order.
fn flatten<'a>(path: String, value: &'a Value, settings: &mut Vec<(String, &'a Value)>) {
    let join =
        |part: &str| if path.is_empty() { part.to_owned() } else { format!("{path}.{part}") };
    match value {
        Value::Table(table) if path.is_empty() || !table.is_empty() => {
            for (key, value) in table {
                flatten(join(key), value, settings);
            }
        }
        Value::Array(list) if list.iter().any(Value::is_table) => {
            for (index, value) in list.iter().enumerate() {
                flatten(join(&index.to_string()), value, settings);
            }
        }
        Value::Table(_)
        | Value::Array(_)
        | Value::String(_)
        | Value::Integer(_)
        | Value::Float(_)
        | Value::Boolean(_)
        | Value::Datetime(_) => settings.push((path, value)),
    }
}

/// The kind of listener and its address that an argument of `--listen` stands for.
fn split_address(text: &str) -> Option<(&'static str, String)> {
    if let Some(path) = text.strip_prefix("unix:") {
        let path = path.strip_prefix("//").unwrap_or(path);
        return (!path.is_empty()).then(|| ("unix", path.to_owned()));
    }
    let schemes = [
        ("tcp://", "tcp"),
        ("mqtt://", "tcp"),
        ("tls://", "tls"),
        ("mqtts://", "tls"),
        ("ws://", "websocket"),
        ("wss://", "wss"),
    ];
    let found = schemes
        .iter()
        .find_map(|(scheme, kind)| text.strip_prefix(scheme).map(|rest| (*kind, rest)));
    let (kind, address) = found.unwrap_or(("tcp", text));
    let port_only = !address.is_empty() && address.bytes().all(|byte| byte.is_ascii_digit());
    let address = if port_only { format!("127.0.0.1:{address}") } else { address.to_owned() };
    address.contains(':').then_some((kind, address))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// No key has a default in the code, so a key that a struct has and the file has not breaks the file. Shown from
    /// the other side: without any one of its keys the file is refused, and by the name of that key.
    #[test]
    fn the_file_of_defaults_can_spare_no_key() {
        let keys = Layers::new().unwrap().settings();
        assert!(keys.len() > 40, "{}", keys.len());
        for key in keys.iter().map(|setting| setting.key.as_str()) {
            let mut table: Table = DEFAULTS.parse().unwrap();
            let (section, name) = key.rsplit_once('.').unwrap();
            lookup(&mut table, section).unwrap().as_table_mut().unwrap().remove(name).unwrap();
            let why = decode(&table).unwrap_err();
            assert_eq!(*why, *format!("missing field `{name}`"), "{key}");
        }
    }
}
