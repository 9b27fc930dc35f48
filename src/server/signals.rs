//! Signals: the first SIGTERM or SIGINT ends the server in good order, the second at once; SIGHUP reads files again.

use std::io;
use std::process;

use tokio::signal::unix::Signal;
use tokio::signal::unix::SignalKind;
use tokio::signal::unix::signal;

/// What the shell sees of a process that was told to end twice.
const EXIT_CODE: i32 = 130;

/// The signals that a server listens to.
#[derive(Debug)]
pub(super) struct Signals {
    terminate: Signal,
    interrupt: Signal,
    hang_up: Signal,
}

/// What a signal asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Wish {
    /// To end.
    End,
    /// To read files again.
    Reload,
}

impl Signals {
    /// Listens from now on. Has to be called in a tokio runtime.
    pub(super) fn listen() -> io::Result<Self> {
        Ok(Self {
            terminate: signal(SignalKind::terminate())?,
            interrupt: signal(SignalKind::interrupt())?,
            hang_up: signal(SignalKind::hangup())?,
        })
    }

    /// The next signal.
    pub(super) async fn next(&mut self) -> Wish {
        tokio::select! {
            _ = self.terminate.recv() => Wish::End,
            _ = self.interrupt.recv() => Wish::End,
            _ = self.hang_up.recv() => Wish::Reload,
        }
    }

    /// Ends the process at the next signal to end.
    pub(super) async fn exit_at_next(mut self) {
        while self.next().await != Wish::End {}
        tracing::warn!("told to end a second time: ending at once");
        process::exit(EXIT_CODE);
    }
}
