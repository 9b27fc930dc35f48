//! The door to the file system and the environment: reads what [`Layers`] are made of.

#![expect(
    clippy::disallowed_methods,
    reason = "the configuration file is read here, before there is a disk"
)]

use std::path::Path;
use std::path::PathBuf;

use super::Config;
use super::ConfigError;
use super::Layers;

/// The file that is read if none is named.
const FILE_DEFAULT: &str = "config/tidelog.toml";

/// What the command line says about the configuration.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Sources {
    /// The file; `None` for `config/tidelog.toml` in the working directory if it exists.
    pub file: Option<PathBuf>,
    /// `section.key=value`, in order.
    pub set: Vec<String>,
    /// Addresses that replace the listeners.
    pub listen: Vec<String>,
    /// The data directory.
    pub data: Option<PathBuf>,
}

impl Sources {
    /// Reads the file and the environment and lays everything one upon the other.
    pub fn layers(&self) -> Result<Layers, ConfigError> {
        self.layers_in(environment())
    }

    /// The same, with these variables for the environment.
    pub fn layers_in(
        &self,
        environment: impl IntoIterator<Item = (String, String)>,
    ) -> Result<Layers, ConfigError> {
        let mut layers = Layers::new()?;
        if let Some(path) = self.file() {
            layers.file(&read(path)?, path)?;
        }
        layers.environment(environment)?;
        // Before what is set, so that the listeners made here can be given certificates.
        layers.listen(&self.listen)?;
        self.set.iter().try_for_each(|assignment| layers.set(assignment))?;
        self.data.iter().try_for_each(|dir| layers.data(dir))?;
        Ok(layers)
    }

    /// The file that is read, if one is.
    pub fn file(&self) -> Option<&Path> {
        let standard = Path::new(FILE_DEFAULT);
        self.file.as_deref().or_else(|| standard.is_file().then_some(standard))
    }
}

/// The configuration that the sources say.
pub fn load(sources: &Sources) -> Result<Config, ConfigError> {
    sources.layers()?.config()
}

fn read(path: &Path) -> Result<String, ConfigError> {
    std::fs::read_to_string(path)
        .map_err(|source| ConfigError::Unreadable { path: path.to_owned(), source })
}

fn environment() -> impl Iterator<Item = (String, String)> {
    let text = |text: std::ffi::OsString| text.to_string_lossy().into_owned();
    std::env::vars_os().map(move |(name, value)| (text(name), text(value)))
}
