//! A thread of the load: all publishers, or all subscribers, of a run.

#![expect(clippy::disallowed_methods, reason = "publishers and subscribers have a thread each")]

use std::future::Future;
use std::thread;
use std::time::Duration;

use tokio::runtime::Builder;
use tokio::sync::oneshot;

use super::error::LoadError;

/// A thread with a runtime of its own. It is waited for as long as [`Side::end`] is called with, not longer.
pub(super) struct Side {
    ended: oneshot::Receiver<()>,
}

impl Side {
    /// Starts one that does this.
    ///
    /// # Errors
    /// If the system gives us no thread or no event queue.
    pub(super) fn start(
        name: &str,
        work: impl Future<Output = ()> + Send + 'static,
    ) -> Result<Self, LoadError> {
        let (end, ended) = oneshot::channel();
        let runtime =
            Builder::new_current_thread().enable_all().build().map_err(LoadError::Thread)?;
        let run = move || {
            runtime.block_on(work);
            runtime.shutdown_background();
            // Nobody may wait any more.
            let _unheard = end.send(());
        };
        let thread = thread::Builder::new().name(name.to_owned());
        drop(thread.spawn(run).map_err(LoadError::Thread)?);
        Ok(Self { ended })
    }

    /// Waits until it has ended, but not longer than this.
    pub(super) async fn end(self, patience: Duration) {
        drop(tokio::time::timeout(patience, self.ended).await);
    }
}

/// Starts a thread that only waits, and does something now and then.
///
/// # Errors
/// If the system gives us no thread.
pub(super) fn start_pacing(pace: impl FnOnce() + Send + 'static) -> Result<(), LoadError> {
    let thread = thread::Builder::new().name("pace".to_owned());
    drop(thread.spawn(pace).map_err(LoadError::Thread)?);
    Ok(())
}

/// Waits for so long, to some microseconds.
pub(super) fn wait(time: Duration) {
    thread::sleep(time);
}

/// Asks the system to wake this thread when it is time and not later, where it can be asked.
pub(super) fn wake_exactly() {
    #[cfg(target_os = "linux")]
    {
        /// How late it may be: a microsecond.
        const SLACK: std::num::NonZeroU64 = std::num::NonZeroU64::new(1_000).unwrap();
        // Without it, times are later by 50 us at most.
        let _ = rustix::thread::set_current_timer_slack(Some(SLACK));
    }
}
