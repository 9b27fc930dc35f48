//! A client at work, whether it publishes or receives: until the run closes, or until it fails.

use std::future::poll_fn;
use std::sync::Arc;
use std::task::Context;
use std::task::Poll;

use tokio::sync::watch;

use super::error::LoadError;
use super::flow::Flow;
use super::link::Link;

/// A client that has something to do.
pub(super) trait Worker: Send + 'static {
    /// Does what can be done now. It is called again when there is more.
    ///
    /// # Errors
    /// Fails with what ends its work.
    fn step(&mut self, cx: &mut Context<'_>) -> Result<(), LoadError>;

    /// The connection.
    fn into_link(self) -> Link;
}

/// Works until the run closes, then says goodbye. What goes wrong is in the flow.
pub(super) async fn work(
    mut worker: impl Worker,
    flow: Arc<Flow>,
    mut closing: watch::Receiver<bool>,
) {
    let failed = poll_fn(|cx| match worker.step(cx) {
        Ok(()) => Poll::Pending,
        Err(error) => Poll::Ready(error),
    });
    tokio::select! {
        error = failed => flow.fail(error),
        // A run that is gone has closed.
        _ = closing.wait_for(|closing| *closing) => {}
    }
    worker.into_link().close().await;
}
