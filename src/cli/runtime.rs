//! The asynchronous runtime of `pub` and `sub`: one thread.

use std::future::Future;

use tokio::runtime::Builder;
use tokio::time::Instant;

use super::Failure;

/// Runs a command to its end.
///
/// # Errors
/// As the command, or if the system gives us no event queue.
pub(crate) fn run(command: impl Future<Output = Result<(), Failure>>) -> Result<(), Failure> {
    let runtime = Builder::new_current_thread().enable_all().build();
    let runtime =
        runtime.map_err(|error| Failure::failed(format!("can't start the runtime: {error}")))?;
    let result = runtime.block_on(command);
    // A thread may be waiting for standard input; nobody has to wait for it.
    runtime.shutdown_background();
    result
}

/// Waits until the deadline, or for ever if there is none.
pub(crate) async fn sleep_until(deadline: Option<Instant>) {
    match deadline {
        Some(deadline) => tokio::time::sleep_until(deadline).await,
        None => std::future::pending().await,
    }
}
