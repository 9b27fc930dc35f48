//! The password file and the ACL file, read at the start and again when asked.

#![expect(clippy::disallowed_methods, reason = "the files of access are read here")]

use std::fs;
use std::path::Path;

use super::error::ServerError;
use crate::access::Access;
use crate::access::AccessError;
use crate::access::Options;
use crate::config;

/// The keys that name the files.
const PASSWORDS: &str = "access.passwords";
const ACL: &str = "access.acl";

/// The files of access, and how they are read.
#[derive(Debug)]
pub(super) struct AccessFiles {
    config: config::Access,
    options: Options,
}

/// What the files say, where there are any.
#[derive(Debug)]
pub(super) struct AccessTexts {
    pub(super) passwords: Option<String>,
    pub(super) acl: Option<String>,
}

impl AccessFiles {
    /// The files that the configuration names. `secret` is random and nobody outside knows it.
    pub(super) fn new(config: config::Access, secret: [u8; 32]) -> Self {
        let options = Options { remember_passwords: config.remember_passwords, secret };
        Self { config, options }
    }

    /// What the files say now.
    pub(super) fn open(&self) -> Result<Access, ServerError> {
        self.check(&self.read()?)
    }

    /// The texts of the files, if they are sound.
    pub(super) fn sound_texts(&self) -> Result<AccessTexts, ServerError> {
        let texts = self.read()?;
        self.check(&texts).map(|_| texts)
    }

    fn check(&self, texts: &AccessTexts) -> Result<Access, ServerError> {
        let AccessTexts { passwords, acl } = texts;
        let access = Access::new(self.options.clone(), passwords.as_deref(), acl.as_deref());
        access.map_err(|source| {
            let (key, path) = match &source {
                AccessError::Passwords(_) => (PASSWORDS, &self.config.passwords),
                AccessError::Acl(_) => (ACL, &self.config.acl),
            };
            ServerError::Access { key, path: path.clone().unwrap_or_default(), source }
        })
    }

    fn read(&self) -> Result<AccessTexts, ServerError> {
        let passwords = self.config.passwords.as_deref();
        let acl = self.config.acl.as_deref();
        Ok(AccessTexts {
            passwords: passwords.map(|path| read_text(PASSWORDS, path)).transpose()?,
            acl: acl.map(|path| read_text(ACL, path)).transpose()?,
        })
    }
}

fn read_text(key: &'static str, path: &Path) -> Result<String, ServerError> {
    fs::read_to_string(path).map_err(|source| ServerError::Unreadable {
        key,
        path: path.to_owned(),
        source,
    })
}
