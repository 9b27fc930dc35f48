//! The server's own tokio runtime, which may be dropped anywhere.

use std::num::NonZero;
use std::ops::Deref;
use std::thread;
use std::time::Duration;

use tokio::runtime::Builder;
use tokio::runtime::Runtime;

use super::error::ServerError;

/// How many threads there are at least.
const THREADS_MIN: usize = 2;

/// How long a thread that did something blocking waits for more of it.
const KEEP_ALIVE: Duration = Duration::from_secs(10);

/// A runtime that is left behind when dropped: its tasks end at their next await, and nobody waits for them. That
/// is allowed within another runtime, too.
#[derive(Debug)]
pub(super) struct Background(Option<Runtime>);

impl Background {
    /// A runtime with a thread for each core, and at least two: one may be waiting for a sync.
    pub(super) fn start() -> Result<Self, ServerError> {
        let threads = thread::available_parallelism().map_or(THREADS_MIN, NonZero::get);
        let runtime = Builder::new_multi_thread()
            .worker_threads(threads.max(THREADS_MIN))
            .thread_name("tidelog-io")
            .thread_keep_alive(KEEP_ALIVE)
            .enable_all()
            .build();
        match runtime {
            Ok(runtime) => Ok(Self(Some(runtime))),
            Err(source) => Err(ServerError::System { what: "threads", source }),
        }
    }
}

impl Deref for Background {
    type Target = Runtime;

    fn deref(&self) -> &Runtime {
        self.0.as_ref().expect("there until it is dropped")
    }
}

impl Drop for Background {
    fn drop(&mut self) {
        if let Some(runtime) = self.0.take() {
            runtime.shutdown_background();
        }
    }
}
