//! The password file and the ACL file, read at the start and again when asked.

#![expect(clippy::disallowed_methods, reason = "the files of access are read here")]
#![expect(clippy::disallowed_types, reason = "whoever reloads shares what was read last")]

use std::fs;
use std::path::Path;
use std::sync::Arc;
use std::sync::Mutex;
use std::sync::PoisonError;

use super::error::ServerError;
use crate::access::Access;
use crate::access::Options;
use crate::config;

/// The files of access, and what they say.
#[derive(Debug)]
pub(super) struct AccessFiles {
    config: config::Access,
    current: Mutex<Arc<Access>>,
}

impl AccessFiles {
    /// Reads the files. `secret` is random and nobody outside knows it.
    pub(super) fn open(config: config::Access, secret: [u8; 32]) -> Result<Self, ServerError> {
        let options = Options { remember_passwords: config.remember_passwords, secret };
        let (passwords, acl) = read(&config)?;
        let access = Access::new(options, passwords.as_deref(), acl.as_deref())?;
        Ok(Self { config, current: Mutex::new(Arc::new(access)) })
    }

    /// What the files said when they were last read.
    pub(super) fn current(&self) -> Arc<Access> {
        Arc::clone(&self.current.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Reads the files again. What they said stays in force if that fails.
    pub(super) fn reload(&self) -> Result<Arc<Access>, ServerError> {
        let mut current = self.current.lock().unwrap_or_else(PoisonError::into_inner);
        let (passwords, acl) = read(&self.config)?;
        *current = Arc::new(current.reload(passwords.as_deref(), acl.as_deref())?);
        Ok(Arc::clone(&current))
    }
}

/// The texts of the password file and the ACL file, where there are any.
fn read(config: &config::Access) -> Result<(Option<String>, Option<String>), ServerError> {
    let text = |path: &Option<_>| path.as_deref().map(read_text).transpose();
    Ok((text(&config.passwords)?, text(&config.acl)?))
}

fn read_text(path: &Path) -> Result<String, ServerError> {
    fs::read_to_string(path)
        .map_err(|source| ServerError::Unreadable { path: path.to_owned(), source })
}
