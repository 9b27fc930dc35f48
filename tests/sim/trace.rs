//! The history of one run: a hash of all of it, and its last lines in words.

use std::collections::VecDeque;
use std::fmt::Arguments;

/// How many lines are kept to be shown with a failure.
const LINES_KEPT: usize = 60;

/// See the module's page.
pub(crate) struct Trace {
    hash: u64,
    lines: VecDeque<String>,
    prints: bool,
}

impl Trace {
    /// `prints`: every line goes to standard output at once.
    pub(crate) fn new(prints: bool) -> Self {
        Self { hash: 0xcbf2_9ce4_8422_2325, lines: VecDeque::new(), prints }
    }

    /// Notes a line.
    pub(crate) fn line(&mut self, now: u64, line: Arguments<'_>) {
        let line = format!("{:>4}.{:06} {line}", now / 1_000_000, now % 1_000_000);
        self.bytes(line.as_bytes());
        if self.prints {
            println!("{line}");
        }
        if self.lines.len() == LINES_KEPT {
            self.lines.pop_front();
        }
        self.lines.push_back(line);
    }

    /// Takes bytes into the hash (FNV-1a).
    pub(crate) fn bytes(&mut self, bytes: &[u8]) {
        for byte in bytes {
            self.hash = (self.hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3);
        }
    }

    /// The hash of everything so far.
    pub(crate) fn hash(&self) -> u64 {
        self.hash
    }

    /// The last lines.
    pub(crate) fn tail(&self) -> String {
        self.lines.iter().fold(String::new(), |text, line| text + "    " + line + "\n")
    }
}
