//! What may happen to a file on a disk that goes bad.

use std::fmt;
use std::path::Path;

use crate::chance::Chance;
use crate::folder::is_of;

const SECTORS: [usize; 2] = [512, 4 << 10];

/// One thing that happens to one file.
#[derive(Clone, Copy, Debug)]
pub(crate) enum What {
    /// A bit of this byte is another one.
    Flip { at: usize, bit: usize },
    /// A sector is all zeros.
    Zero { at: usize, len: usize },
    /// A sector has the bytes of another one of the same file.
    Duplicate { from: usize, to: usize, len: usize },
    /// Two sectors have changed places.
    Swap { first: usize, second: usize, len: usize },
    /// A sector has the bytes that it, or another file's at the same place, had earlier.
    Stale { at: usize, len: usize },
    /// The file ends here.
    Cut { at: usize },
    /// The file is gone.
    Missing,
}

/// What happens, and to which file.
pub(crate) struct Spoil {
    pub(crate) file: String,
    pub(crate) what: What,
}

impl fmt::Display for Spoil {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {:?}", self.file, self.what)
    }
}

/// Spoils one file of a directory; the seed decides which and how. `earlier` is the same directory as it was before.
pub(crate) fn spoil(chance: &mut Chance, folder: &Path, earlier: &Path) -> Spoil {
    loop {
        let file = choose_file(chance, folder);
        let before = std::fs::read(folder.join(&file)).unwrap();
        let what = choose_what(chance, before.len());
        let old = std::fs::read(earlier.join(&file));
        let old = old.ok().or_else(|| std::fs::read(folder.join(neighbour(folder, &file)?)).ok());
        let after = spoiled(&before, &old.unwrap_or_default(), what);
        match after {
            Some(after) if after != before => std::fs::write(folder.join(&file), after).unwrap(),
            Some(_) => continue,
            None => std::fs::remove_file(folder.join(&file)).unwrap(),
        }
        return Spoil { file, what };
    }
}

/// A file, every kind of them as likely as any other.
fn choose_file(chance: &mut Chance, folder: &Path) -> String {
    let mut all = crate::folder::files(folder);
    all.retain(|name| name != "lock" && !is_of(name, "tmp"));
    let active = crate::truth::segments(folder).pop().unwrap();
    let kinds: [&dyn Fn(&str) -> bool; 6] = [
        &|name| name == active,
        &|name| is_of(name, "log") && name != active,
        &|name| is_of(name, "index"),
        &|name| name == "format",
        &|name| name == "secret",
        &|name| name.starts_with("state/"),
    ];
    // The state and the segments have the most to lose.
    let kind = *chance.pick(&[0, 0, 1, 1, 1, 2, 2, 3, 4, 5, 5, 5]);
    let of_kind: Vec<&String> = all.iter().filter(|name| kinds[kind](name)).collect();
    (*chance.pick(&of_kind)).clone()
}

/// Another file of the same kind.
fn neighbour(folder: &Path, file: &str) -> Option<String> {
    let kind = file.rsplit('.').next()?;
    let mut names = crate::folder::files(folder).into_iter();
    names.find(|name| name != file && name.ends_with(kind))
}

fn choose_what(chance: &mut Chance, len: usize) -> What {
    let len_max = len.max(1);
    let sector = *chance.pick(&SECTORS);
    let sectors = len.div_ceil(sector).max(1);
    let mut place = || chance.below(sectors) * sector;
    let (one, other) = (place(), place());
    match chance.below(8) {
        0 | 1 => What::Flip { at: chance.below(len_max), bit: chance.below(8) },
        2 => What::Zero { at: one, len: sector },
        3 => What::Duplicate { from: one, to: other, len: sector },
        4 => What::Swap { first: one, second: other, len: sector },
        5 => What::Stale { at: one, len: sector },
        6 => What::Cut { at: chance.below(len_max) },
        _ => What::Missing,
    }
}

/// The bytes of a file after that; `None` if it is gone.
pub(crate) fn spoiled(before: &[u8], old: &[u8], what: What) -> Option<Vec<u8>> {
    let mut bytes = before.to_vec();
    match what {
        What::Flip { at, bit } => {
            if let Some(byte) = bytes.get_mut(at) {
                *byte ^= 1 << bit;
            }
        }
        What::Zero { at, len } => put(&mut bytes, at, &vec![0; len]),
        What::Duplicate { from, to, len } => put(&mut bytes, to, &sector(before, from, len)),
        What::Swap { first, second, len } => {
            put(&mut bytes, first, &sector(before, second, len));
            put(&mut bytes, second, &sector(before, first, len));
        }
        What::Stale { at, len } => put(&mut bytes, at, &sector(old, at, len)),
        What::Cut { at } => bytes.truncate(at),
        What::Missing => return None,
    }
    Some(bytes)
}

/// The bytes of a sector; zeros behind the end.
fn sector(bytes: &[u8], at: usize, len: usize) -> Vec<u8> {
    let mut sector = bytes.get(at..bytes.len().min(at + len)).unwrap_or_default().to_vec();
    sector.resize(len, 0);
    sector
}

/// Overwrites what there is of a sector.
fn put(bytes: &mut [u8], at: usize, with: &[u8]) {
    for (byte, new) in bytes.iter_mut().skip(at).zip(with) {
        *byte = *new;
    }
}
