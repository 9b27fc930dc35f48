//! Files that are made or replaced whole: whoever reads one sees the old text or the new one, also after a crash.

#![expect(
    clippy::disallowed_methods,
    clippy::disallowed_types,
    reason = "these are the user's own files, not the broker's data"
)]

use std::fs;
use std::fs::File;
use std::fs::OpenOptions;
use std::io;
use std::io::Write;
use std::os::unix::fs::MetadataExt;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use std::path::PathBuf;

use super::Failure;

/// The mode of a file that holds a secret: for its owner only.
pub(super) const SECRET: u32 = 0o600;

/// The mode of a file that everybody may read.
pub(super) const PUBLIC: u32 = 0o644;

/// The text of a file; `None` if there is none.
pub(super) fn read(path: &Path) -> Result<Option<String>, Failure> {
    match fs::read_to_string(path) {
        Ok(text) => Ok(Some(text)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(failure(path, &error)),
    }
}

/// Replaces the text of a file, or makes the file, for its owner only. A file that is there keeps its owner and mode.
/// Nobody else who uses this function changes a file in the same directory meanwhile.
pub(super) fn update(
    path: &Path,
    change: impl FnOnce(&str) -> Result<String, Failure>,
) -> Result<(), Failure> {
    let path = fs::canonicalize(path).unwrap_or_else(|_| path.to_owned());
    let failed = |error: io::Error| failure(&path, &error);
    let directory = File::open(parent(&path)).map_err(failed)?;
    directory.lock().map_err(failed)?;
    let text = change(&read(&path)?.unwrap_or_default())?;
    replace(&path, &text, SECRET).map_err(failed)
}

/// Makes a file and the directories above it; replaces a file that is there only if `force` says so.
pub(super) fn create(path: &Path, text: &str, mode: u32, force: bool) -> Result<(), Failure> {
    let failed = |error: io::Error| failure(path, &error);
    fs::create_dir_all(parent(path)).map_err(failed)?;
    if force {
        return replace(path, text, mode).map_err(failed);
    }
    write_new(path, text, mode).and_then(|()| sync_directory(path)).map_err(failed)
}

fn replace(path: &Path, text: &str, mode: u32) -> io::Result<()> {
    let temporary = temporary(path);
    let replaced = write_new(&temporary, text, mode)
        .and_then(|()| keep_owner(path, &temporary))
        .and_then(|()| fs::rename(&temporary, path));
    if replaced.is_err() && fs::remove_file(&temporary).is_err() {
        return replaced;
    }
    replaced.and_then(|()| sync_directory(path))
}

fn write_new(path: &Path, text: &str, mode: u32) -> io::Result<()> {
    let mut file = OpenOptions::new().write(true).create_new(true).mode(mode).open(path)?;
    file.write_all(text.as_bytes())?;
    file.sync_all()
}

/// The new file is for whom the old one was: a broker of another user goes on reading it.
fn keep_owner(old: &Path, new: &Path) -> io::Result<()> {
    let Ok(old) = fs::metadata(old) else {
        return Ok(());
    };
    let made = fs::metadata(new)?;
    if (old.uid(), old.gid()) != (made.uid(), made.gid()) {
        std::os::unix::fs::chown(new, Some(old.uid()), Some(old.gid()))?;
    }
    fs::set_permissions(new, old.permissions())
}

fn sync_directory(path: &Path) -> io::Result<()> {
    File::open(parent(path))?.sync_all()
}

fn parent(path: &Path) -> &Path {
    path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."))
}

fn temporary(path: &Path) -> PathBuf {
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    path.with_file_name(format!(".{name}.{}", std::process::id()))
}

fn failure(path: &Path, error: &io::Error) -> Failure {
    Failure { message: format!("{}: {error}", path.display()), exit_code: 1 }
}
