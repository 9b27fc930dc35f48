//! What the shim is told while the process runs, and what it says: the numbers in the file that they share.

use std::fs::File;
use std::fs::OpenOptions;
use std::os::unix::fs::FileExt;
use std::path::Path;

/// Kinds of calls, as in `shim.c`; they can be added.
pub(crate) const WRITE: u64 = 1;
pub(crate) const SYNC: u64 = 2;
pub(crate) const READ: u64 = 4;
pub(crate) const NAME: u64 = 8;
pub(crate) const SIZE: u64 = 16;

/// The system's numbers of errors.
pub(crate) const EIO: u64 = 5;
pub(crate) const ENOSPC: u64 = 28;

/// What happens to the call that is hit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Action {
    /// It fails with this error.
    Fail(u64),
    /// The same, but a write has written half before.
    FailShort(u64),
    /// The process is killed, and the call not made.
    KillBefore,
    /// The process is killed once it is made.
    KillAfter,
}

/// A fault to come.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Plot {
    /// The calls that count.
    pub(crate) kinds: u64,
    /// The one that is hit, from 1.
    pub(crate) call: u64,
    pub(crate) action: Action,
    /// All after it are hit too.
    pub(crate) sticky: bool,
}

/// Where the numbers are in the file.
const KINDS: u64 = 0;
const COUNTDOWN: u64 = 1;
const ACTION: u64 = 2;
const ERROR: u64 = 3;
const STICKY: u64 = 4;
const DELAY: u64 = 5;
const FORGET: u64 = 6;
const SEEN: u64 = 7;
const HIT: u64 = 8;
const ONLY: u64 = 9;
const NUMBERS: u64 = 10;

/// See the module's page.
pub(crate) struct Control(File);

impl Control {
    pub(crate) fn create(path: &Path) -> Self {
        let file = OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(true)
            .open(path)
            .unwrap();
        file.set_len(8 * NUMBERS).unwrap();
        Self(file)
    }

    fn set(&self, number: u64, value: u64) {
        self.0.write_all_at(&value.to_le_bytes(), 8 * number).unwrap();
    }

    fn get(&self, number: u64) -> u64 {
        let mut bytes = [0; 8];
        self.0.read_exact_at(&mut bytes, 8 * number).unwrap();
        u64::from_le_bytes(bytes)
    }

    /// Only calls for the files of the state count.
    pub(crate) fn count_only_state(&self) {
        self.set(ONLY, 1);
    }

    /// Only calls of the thread that cleans count.
    pub(crate) fn count_only_cleaner(&self) {
        self.set(ONLY, 2);
    }

    /// Has a fault come about. Calls are counted from here.
    pub(crate) fn plot(&self, plot: Plot) {
        self.clear();
        let (action, error) = match plot.action {
            Action::Fail(error) => (1, error),
            Action::KillBefore => (2, 0),
            Action::KillAfter => (3, 0),
            Action::FailShort(error) => (4, error),
        };
        self.set(ACTION, action);
        self.set(ERROR, error);
        self.set(STICKY, u64::from(plot.sticky));
        self.set(COUNTDOWN, plot.call);
        self.set(KINDS, plot.kinds);
    }

    /// Nothing goes wrong any more.
    pub(crate) fn clear(&self) {
        for number in [KINDS, COUNTDOWN, ACTION, ERROR, STICKY, SEEN, HIT] {
            self.set(number, 0);
        }
    }

    /// Every sync takes so much longer.
    pub(crate) fn delay_syncs(&self, micros: u64) {
        self.set(DELAY, micros);
    }

    /// Syncs are not remembered: the disk lies.
    pub(crate) fn forget_syncs(&self) {
        self.set(FORGET, 1);
    }

    /// Whether a fault is plotted that has not come about.
    pub(crate) fn awaits(&self) -> bool {
        self.get(COUNTDOWN) > 0 && self.hit() == 0
    }

    /// How many calls were hit.
    pub(crate) fn hit(&self) -> u64 {
        self.get(HIT)
    }
}
