//! The signals by which a user ends a command in good order.

use super::Failure;

/// SIGINT and SIGTERM.
pub(super) struct Signals {
    #[cfg(unix)]
    interrupt: tokio::signal::unix::Signal,
    #[cfg(unix)]
    terminate: tokio::signal::unix::Signal,
}

#[cfg(unix)]
impl Signals {
    /// Takes them over from the system, which would end the process.
    ///
    /// # Errors
    /// If the system does not give them.
    pub(super) fn new() -> Result<Self, Failure> {
        use tokio::signal::unix::SignalKind;
        use tokio::signal::unix::signal;
        let failure =
            |error: std::io::Error| Failure::failed(format!("can't handle signals: {error}"));
        let interrupt = signal(SignalKind::interrupt()).map_err(failure)?;
        Ok(Self { interrupt, terminate: signal(SignalKind::terminate()).map_err(failure)? })
    }

    /// Waits for one.
    pub(super) async fn next(&mut self) {
        tokio::select! {
            _ = self.interrupt.recv() => (),
            _ = self.terminate.recv() => (),
        }
    }
}

#[cfg(not(unix))]
impl Signals {
    /// Takes them over from the system, which would end the process.
    ///
    /// # Errors
    /// If the system does not give them.
    pub(super) fn new() -> Result<Self, Failure> {
        Ok(Self {})
    }

    /// Waits for one.
    pub(super) async fn next(&mut self) {
        drop(tokio::signal::ctrl_c().await);
    }
}
