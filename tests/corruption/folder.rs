//! Folders of files: copied, listed, compared.

use std::path::Path;
use std::path::PathBuf;

use tempfile::TempDir;

/// A copy of a folder and all that is in it, in a folder of its own.
pub(crate) fn copy(folder: &Path) -> TempDir {
    let target = tempfile::tempdir().unwrap();
    copy_to(folder, target.path());
    target
}

pub(crate) fn copy_to(source: &Path, target: &Path) {
    std::fs::create_dir_all(target).unwrap();
    for entry in std::fs::read_dir(source).unwrap() {
        let entry = entry.unwrap();
        let to = target.join(entry.file_name());
        if entry.file_type().unwrap().is_dir() {
            copy_to(&entry.path(), &to);
        } else {
            std::fs::copy(entry.path(), to).unwrap();
        }
    }
}

/// Whether a file's name ends with a dot and this.
pub(crate) fn is_of(name: &str, kind: &str) -> bool {
    name.rsplit_once('.').is_some_and(|(_, end)| end == kind)
}

/// The names of all files, with those of their folders in front, in order.
pub(crate) fn files(folder: &Path) -> Vec<String> {
    let mut found = Vec::new();
    gather(folder, folder, &mut found);
    found.sort();
    found
}

fn gather(root: &Path, folder: &Path, found: &mut Vec<String>) {
    for entry in std::fs::read_dir(folder).unwrap() {
        let path: PathBuf = entry.unwrap().path();
        if path.is_dir() {
            gather(root, &path, found);
        } else {
            found.push(path.strip_prefix(root).unwrap().to_str().unwrap().to_owned());
        }
    }
}
