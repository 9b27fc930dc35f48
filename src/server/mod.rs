//! The process around the core: the only async code, clock, threads and sockets.
//!
//! ```text
//!  listeners ─► entrance ─► connection ┐                  ┌─► mailbox ─► connection
//!                  link ─► connection ┼─► driver ─► core ┼─► work (threads) ─► driver
//!                               alarm ┘                  └─► the end
//! ```
//!
//! - Every store is open and verified before the first listener accepts.
//! - Nothing is spawned or queued without a bound: connections by [`crate::config::Limits`], slow work by the core.
//! - Several servers may live in one process; each has its own threads. No code here knows MQTT, but [`Link`].

mod admission;
mod clock;
mod committer;
mod connection;
mod driver;
mod entrance;
mod error;
mod files;
mod holder;
mod link;
mod listener;
mod mailbox;
mod open;
mod options;
mod pacer;
mod process;
mod running;
mod runtime;
mod signals;
mod startup;
mod transport;
mod work;

use std::sync::Arc;
use std::time::Duration;

use crate::broker::event::Event;
use crate::config;
use crate::config::Config;
use crate::config::Limits;
use crate::store::RecoverySummary;

use admission::Admission;
use clock::Clock;
use connection::Flow;
use driver::Driver;
use entrance::Entrance;
use files::AccessFiles;
use listener::Listener;
use open::OpenedBroker;
use running::Parts;
use runtime::Background;
use signals::Signals;
use work::Work;

pub use admission::Refusal;
pub use driver::Core;
pub use error::Holder;
pub use error::ServerError;
pub use link::Link;
pub use link::LinkError;

pub use listener::ListenError;
pub use listener::ListenerAddress;
pub use running::Connections;
pub use running::Running;
pub use startup::Startup;
pub use transport::tls::TlsError;

/// What a WebSocket frame may have beside the largest packet: smaller packets.
const FRAME_SLACK_BYTES: u64 = 64 << 10;
/// The core is told of this many written bytes at once, or of fewer if it bounds them closely.
const DRAINED_STEP_MAX: usize = 16 << 10;
/// Bytes of answers that wait for a peer that does not read, before it is no longer read from.
const ANSWER_BYTES_MAX: usize = 1 << 20;

/// A broker that is about to be started.
#[derive(Clone, Debug)]
pub struct Server {
    config: Config,
    heeds_signals: bool,
}

/// What a server has from its first moment on.
struct Ground {
    runtime: Background,
    /// If it heeds them while it starts.
    signals: Option<Signals>,
}

impl Server {
    /// A server of this configuration.
    pub const fn new(config: Config) -> Self {
        Self { config, heeds_signals: false }
    }

    /// Listens to signals as soon as it starts, so that one that comes meanwhile is heeded by [`Running::run_until_signal`].
    /// From then on SIGTERM, SIGINT and SIGHUP do not end the process by themselves.
    #[must_use]
    pub fn heed_signals(mut self) -> Self {
        self.heeds_signals = true;
        self
    }

    /// Starts the broker: locks the data directory, opens and verifies every store, and only then listens. Blocks until all
    /// of that is done. What can be found wrong without the data directory is found before it is touched or made.
    ///
    /// # Errors
    /// Nothing is left open then.
    pub fn start(self) -> Result<Running, ServerError> {
        let ground = self.ground()?;
        self.check()?;
        let opened = open::broker(&self.config, Clock::start())?;
        let OpenedBroker { broker, tools, access, recovery, took, clock } = opened;
        let employ = |driver: &Arc<Driver>| {
            let refused = |source| ServerError::System { what: "threads", source };
            Work::start(driver, tools).map_err(refused)
        };
        self.start_parts(ground, clock, Box::new(broker), access, Some((recovery, took)), employ)
    }

    /// Starts with a core other than the broker, that has no slow work: to try listeners and transports.
    ///
    /// # Errors
    /// Nothing is left open then.
    pub fn start_with(self, core: Box<dyn Core>) -> Result<Running, ServerError> {
        let ground = self.ground()?;
        let access = AccessFiles::new(self.config.access.clone(), random()?);
        self.start_parts(ground, Clock::start(), core, access, None, |_| Ok(Vec::new()))
    }

    /// What everything else stands on.
    fn ground(&self) -> Result<Ground, ServerError> {
        let runtime = Background::start()?;
        let refused = |source| ServerError::System { what: "signals", source };
        let signals = self.heeds_signals.then(|| Signals::listen(&runtime));
        Ok(Ground { signals: signals.transpose().map_err(refused)?, runtime })
    }

    /// Looks at all that the start will need beside the data directory.
    fn check(&self) -> Result<(), ServerError> {
        for options in &self.config.listeners {
            Listener::check(options)
                .map_err(|source| ServerError::Listen { name: options.name.clone(), source })?;
        }
        AccessFiles::new(self.config.access.clone(), random()?).open().map(drop)
    }

    /// Starts everything around a core: its work first, then the listeners.
    fn start_parts(
        self,
        ground: Ground,
        clock: Clock,
        core: Box<dyn Core>,
        access: AccessFiles,
        recovery: Option<(RecoverySummary, Duration)>,
        employ: impl FnOnce(&Arc<Driver>) -> Result<Vec<std::thread::JoinHandle<()>>, ServerError>,
    ) -> Result<Running, ServerError> {
        let Ground { runtime, signals } = ground;
        let too_few_files = process::allow_connections(self.config.limits.connections);
        let driver = Driver::new(clock, core);
        let threads = employ(&driver)?;
        let listeners = {
            let _in_runtime = runtime.enter();
            self.listeners()
        };
        let listeners = match listeners {
            Ok(listeners) => listeners,
            Err(error) => {
                driver.dismiss();
                for thread in threads {
                    drop(thread.join());
                }
                return Err(error);
            }
        };
        let limits = &self.config.limits;
        let connections_max = usize::try_from(limits.connections).unwrap_or(usize::MAX);
        let entrance = Entrance {
            admission: Admission::new(connections_max, limits.connections_per_address),
            driver,
            flow: flow(limits),
            runtime: runtime.handle().clone(),
        };
        let entrance = Arc::new(entrance);
        entrance.driver.turn([Event::Tick]);
        let mut startup = Startup::new(&self.config, recovery, Vec::new());
        startup.warnings.extend(too_few_files);
        Running::start(Parts { runtime, entrance, threads, listeners, access, signals, startup })
    }

    fn listeners(&self) -> Result<Vec<Listener>, ServerError> {
        let limits = &self.config.limits;
        let frame_bytes_max = limits.packet_size + FRAME_SLACK_BYTES;
        let open = |options| {
            Listener::open(options, frame_bytes_max, limits.connect_timeout)
                .map_err(|source| ServerError::Listen { name: options.name.clone(), source })
        };
        self.config.listeners.iter().map(open).collect()
    }
}

/// How bytes flow, so that the core's own bounds come first.
fn flow(limits: &Limits) -> Flow {
    let output_bytes = usize::try_from(limits.output_buffer).unwrap_or(usize::MAX);
    let packet_bytes = usize::try_from(limits.packet_size).unwrap_or(usize::MAX);
    Flow {
        drained_step: (output_bytes / 8).min(DRAINED_STEP_MAX),
        unwritten_max: output_bytes.saturating_add(packet_bytes).saturating_add(ANSWER_BYTES_MAX),
    }
}

/// Reads the files that these keys name, as a server does when it starts.
///
/// # Errors
/// A file that can't be read, or what is wrong in it.
pub fn check_access(access: &config::Access) -> Result<(), ServerError> {
    AccessFiles::new(access.clone(), [0; 32]).sound_texts().map(drop)
}

/// Bytes that nobody can guess.
fn random<const N: usize>() -> Result<[u8; N], ServerError> {
    let mut bytes = [0; N];
    getrandom::fill(&mut bytes).map_err(|error| ServerError::System {
        what: "random bytes",
        source: std::io::Error::other(error),
    })?;
    Ok(bytes)
}
