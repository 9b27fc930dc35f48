//! A server that runs, and its end.
//!
//! ```text
//!  shutdown: stop accepting ─► Event::Stop ─► the core says Stopped ─► connections closed ─► threads joined
//! ```

use std::fmt;
use std::io;
use std::sync::Arc;
use std::sync::mpsc;
use std::thread::JoinHandle;
use std::time::Duration;

use tokio::io::DuplexStream;
use tokio::task;
use tokio::time;

use super::driver::End;
use super::entrance::Entrance;
use super::error::ServerError;
use super::files::AccessFiles;
use super::files::AccessTexts;
use super::link::Link;
use super::link::LinkError;
use super::listener::Listener;
use super::listener::ListenerAddress;
use super::listener::Speech;
use super::runtime::Background;
use super::signals::Signals;
use super::signals::Wish;
use super::startup::Startup;
use crate::broker::event::Event;

/// How long the core may take to stop: to say goodbye, sync and checkpoint.
const STOP_DEADLINE: Duration = Duration::from_secs(30);
/// How long connections may take to close after that.
const CLOSE_DEADLINE: Duration = Duration::from_secs(3);
/// How often certificates are looked at.
const CERTIFICATES_INTERVAL: Duration = Duration::from_secs(2);
/// What a link holds each way before who writes has to wait.
const LINK_BYTES: usize = 64 << 10;

/// A server that runs. Dropped without [`Running::shutdown`], it ends at once, as after a crash.
pub struct Running {
    runtime: Option<Background>,
    shared: Arc<Shared>,
    accepting: Vec<task::JoinHandle<()>>,
    threads: Vec<JoinHandle<()>>,
    startup: Startup,
    signals: Option<Signals>,
}

/// What a server is made of.
pub(super) struct Parts {
    pub(super) runtime: Background,
    pub(super) entrance: Arc<Entrance>,
    pub(super) threads: Vec<JoinHandle<()>>,
    pub(super) listeners: Vec<Listener>,
    pub(super) access: AccessFiles,
    /// If they were listened to from the start on.
    pub(super) signals: Option<Signals>,
    /// Without the addresses.
    pub(super) startup: Startup,
}

/// What tasks that run as long as the server share with it.
struct Shared {
    entrance: Arc<Entrance>,
    access: AccessFiles,
    /// The listeners' names and what they speak.
    speeches: Vec<(Arc<str>, Arc<Speech>)>,
}

/// How many connections there are and were.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Connections {
    /// Now, with those in their handshake.
    pub open: usize,
    /// Ever let in.
    pub accepted: u64,
    /// Ever closed at once because a limit was reached.
    pub refused: u64,
}

impl fmt::Debug for Running {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Running")
            .field("addresses", &self.startup.addresses)
            .finish_non_exhaustive()
    }
}

impl Running {
    /// Begins to accept.
    pub(super) fn start(parts: Parts) -> Result<Self, ServerError> {
        let Parts { runtime, entrance, threads, listeners, access, signals, mut startup } = parts;
        let unknown = |source| ServerError::System { what: "a listener's address", source };
        let addresses: Result<Vec<_>, _> = listeners.iter().map(Listener::address).collect();
        startup.addresses =
            addresses.map_err(unknown).inspect_err(|_| entrance.driver.dismiss())?;
        startup.trace();
        let speeches = listeners.iter();
        let speeches =
            speeches.map(|one| (Arc::clone(&one.name), Arc::clone(one.speech()))).collect();
        let shared = Arc::new(Shared { entrance: Arc::clone(&entrance), access, speeches });
        let accept = |listener| runtime.spawn(Arc::clone(&entrance).accept_all(listener));
        let accepting = listeners.into_iter().map(accept).collect();
        let driver = Arc::clone(&entrance.driver);
        runtime.spawn(async move { driver.run_alarm().await });
        let driver = Arc::clone(&entrance.driver);
        runtime.spawn(async move { driver.run_commits().await });
        runtime.spawn(Arc::clone(&shared).watch_certificates());
        Ok(Self { runtime: Some(runtime), shared, accepting, threads, startup, signals })
    }

    /// Where the server listens, with the ports that it got; in the order of the configuration.
    pub fn local_addresses(&self) -> &[ListenerAddress] {
        &self.startup.addresses
    }

    /// What the start found, opened and promises.
    pub const fn startup(&self) -> &Startup {
        &self.startup
    }

    /// How many connections there are and were.
    pub fn connections(&self) -> Connections {
        let admission = &self.shared.entrance.admission;
        Connections {
            open: admission.connections(),
            accepted: admission.accepted(),
            refused: admission.refused(),
        }
    }

    /// Whether the server has ended by itself: [`Running::shutdown`] says why.
    pub fn has_ended(&self) -> bool {
        self.shared.entrance.driver.has_ended()
    }

    /// Reads the password file, the ACL file and the certificates again, as SIGHUP does. What can't be read stays as it
    /// was, and is traced.
    pub fn reload(&self) {
        self.shared.reload();
    }

    /// A connection within this process, as a stream of MQTT's bytes. Whoever has it may do without a user name.
    ///
    /// # Errors
    /// `limits.connections` is reached.
    pub fn connect(&self) -> io::Result<DuplexStream> {
        let (ours, theirs) = tokio::io::duplex(LINK_BYTES);
        self.shared.entrance.let_link_in(Box::new(theirs))?;
        Ok(ours)
    }

    /// A client within this process. Its session is clean and ends with it; it may do without a user name.
    ///
    /// # Errors
    /// `limits.connections` is reached, or the broker does not let this client id in.
    pub async fn link(&self, client_id: &str) -> Result<Link, LinkError> {
        Link::connect(self.connect()?, client_id).await
    }

    /// Runs until a signal says to end, or the server ends by itself. SIGTERM and SIGINT end it in good order, a second one
    /// at once; SIGHUP is [`Running::reload`]. Those that came before count only after [`super::Server::heed_signals`]. Blocks.
    ///
    /// # Errors
    /// Why the server ended, if it was not asked to.
    pub fn run_until_signal(mut self) -> Result<(), ServerError> {
        let Some(runtime) = &self.runtime else { return Ok(()) };
        let shared = Arc::clone(&self.shared);
        let signals = match self.signals.take() {
            Some(signals) => signals,
            None => Signals::listen(runtime)
                .map_err(|source| ServerError::System { what: "signals", source })?,
        };
        let told = wait_for(runtime, async move {
            while !shared.entrance.driver.has_ended() {
                let wish = tokio::select! {
                    wish = signals.next() => wish,
                    _ = shared.entrance.driver.ended() => Wish::End,
                };
                match wish {
                    Wish::End => break,
                    Wish::Reload => shared.reload_apart().await,
                }
            }
            tracing::info!("ending");
        });
        told.and_then(|()| self.shutdown())
    }

    /// Ends in good order: no more connections are accepted, clients are told (5.0: 0x8B), everything is made durable and
    /// checkpointed. Blocks until it is done.
    ///
    /// # Errors
    /// Why the server ended, if it had before; [`ServerError::Late`] if not everything was done in time.
    pub fn shutdown(mut self) -> Result<(), ServerError> {
        let Some(runtime) = self.runtime.take() else { return Ok(()) };
        let shared = Arc::clone(&self.shared);
        let accepting = std::mem::take(&mut self.accepting);
        let threads = std::mem::take(&mut self.threads);
        let ended = wait_for(&runtime, async move {
            let ended = shared.stop(accepting).await;
            shared.entrance.driver.dismiss();
            let joined =
                task::spawn_blocking(move || threads.into_iter().all(|one| one.join().is_ok()));
            match joined.await {
                Ok(true) => ended,
                Ok(false) | Err(_) => ended.and(Err(ServerError::Panicked)),
            }
        });
        drop(runtime);
        ended.flatten()
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let Some(runtime) = self.runtime.take() else { return };
        self.shared.entrance.driver.finish(End::Stopped);
        self.shared.entrance.driver.dismiss();
        drop(runtime);
    }
}

impl Shared {
    /// Stops accepting, then the core, then waits for the connections.
    async fn stop(&self, accepting: Vec<task::JoinHandle<()>>) -> Result<(), ServerError> {
        for accepting in accepting {
            accepting.abort();
            drop(accepting.await);
        }
        let driver = &self.entrance.driver;
        driver.turn([Event::Stop]);
        let end = time::timeout(STOP_DEADLINE, driver.ended()).await;
        match end {
            Ok(End::Stopped) => {
                drop(time::timeout(CLOSE_DEADLINE, self.entrance.admission.empty()).await);
                Ok(())
            }
            Ok(End::Poisoned(error)) => Err(ServerError::Poisoned(error)),
            Ok(End::Panicked) => Err(ServerError::Panicked),
            Err(_) => {
                driver.finish(End::Stopped);
                Err(ServerError::Late)
            }
        }
    }

    /// Looks at the certificates now and then.
    async fn watch_certificates(self: Arc<Self>) {
        if self.speeches.iter().all(|(_, speech)| !speech.has_certificates()) {
            return;
        }
        while !self.entrance.driver.has_ended() {
            time::sleep(CERTIFICATES_INTERVAL).await;
            let this = Arc::clone(&self);
            drop(task::spawn_blocking(move || this.reload_certificates()).await);
        }
    }

    /// [`Shared::reload`], where it may block.
    async fn reload_apart(self: &Arc<Self>) {
        let this = Arc::clone(self);
        drop(task::spawn_blocking(move || this.reload()).await);
    }

    fn reload(&self) {
        match self.access.sound_texts() {
            Ok(AccessTexts { passwords, acl }) => {
                self.entrance.driver.turn([Event::AccessRead { passwords, acl }]);
                tracing::info!("passwords and access rules read again");
            }
            Err(error) => {
                tracing::error!(%error, "passwords and access rules not read, the old ones stay in force");
            }
        }
        self.reload_certificates();
    }

    fn reload_certificates(&self) {
        for (name, speech) in &self.speeches {
            speech.reload(name);
        }
    }
}

/// Runs a future on the runtime and blocks for it. Unlike `block_on` this may be called from within another runtime.
fn wait_for<T: Send + 'static>(
    runtime: &Background,
    future: impl Future<Output = T> + Send + 'static,
) -> Result<T, ServerError> {
    let (done, wait) = mpsc::sync_channel(1);
    runtime.spawn(async move {
        drop(done.send(future.await));
    });
    wait.recv().map_err(|_| ServerError::Panicked)
}
