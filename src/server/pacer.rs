//! Holds work to a rate, without a clock of its own: after each piece it sleeps as long as the piece may take.

#![expect(clippy::disallowed_methods, reason = "work that is held to a rate has to wait")]

use std::ops::ControlFlow;
use std::thread;
use std::time::Duration;

/// Less is not worth a sleep.
const PIECE_BYTES: u64 = 128 << 10;

/// Lets work pass at a rate.
#[derive(Debug)]
pub(super) struct Pacer {
    /// Bytes a second, at least one.
    rate: u64,
    /// Bytes that passed since the last sleep.
    passed: u64,
}

impl Pacer {
    /// Lets so many bytes pass a second, at most.
    pub(super) const fn new(rate: u64) -> Self {
        Self { rate: if rate == 0 { 1 } else { rate }, passed: 0 }
    }

    /// Notes that bytes have passed, and sleeps when it is time to. Breaks when the work is to end.
    pub(super) fn pass(&mut self, bytes: usize, ends: impl Fn() -> bool) -> ControlFlow<()> {
        self.passed = self.passed.saturating_add(bytes as u64);
        while self.passed >= PIECE_BYTES.min(self.rate) {
            if ends() {
                return ControlFlow::Break(());
            }
            let piece = self.passed.min(PIECE_BYTES).min(self.rate);
            self.passed -= piece;
            thread::sleep(Duration::from_micros(piece.saturating_mul(1_000_000) / self.rate));
        }
        if ends() { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
    }
}
