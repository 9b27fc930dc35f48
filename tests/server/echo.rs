//! A core that sends back what it gets, obeys a few words, and tells the test what happens.

use std::collections::BTreeSet;
use std::collections::VecDeque;
use std::net::SocketAddr;
use std::time::Duration;

use bytes::Bytes;
use smallvec::smallvec;
use tidelog::broker::event::ConnectionId;
use tidelog::broker::event::Event;
use tidelog::broker::event::Origin;
use tidelog::broker::event::Output;
use tidelog::commitlog::PendingBatch;
use tidelog::config::Anonymous;
use tidelog::config::Config;
use tidelog::config::Endpoint;
use tidelog::config::Listener;
use tidelog::server::Core;
use tidelog::server::Running;
use tidelog::server::Server;
use tidelog::time::Timestamp;
use tokio::io::AsyncReadExt;
use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;
use tokio::sync::mpsc;
use tokio::time;

/// What the core saw.
#[derive(Debug)]
pub(crate) enum Seen {
    Opened(Origin),
    Received(usize),
    Drained(usize),
    Closed(ConnectionId),
    Reloaded,
}

/// See the module. The words: `close` closes after it was sent back, `pause` pauses, and whatever comes then is left where
/// it is until the alarm goes off and everything is handed in again, `flood` sends 16 MiB, `hang up` sends 16 MiB and closes,
/// `panic` panics.
pub(crate) struct Echo {
    outputs: VecDeque<Output>,
    seen: mpsc::UnboundedSender<Seen>,
    connections: BTreeSet<ConnectionId>,
    paused: Option<(Timestamp, ConnectionId)>,
}

const FLOOD_BYTES: usize = 16 << 20;

impl Echo {
    pub(crate) fn new() -> (Self, mpsc::UnboundedReceiver<Seen>) {
        let (seen, saw) = mpsc::unbounded_channel();
        let (outputs, connections) = (VecDeque::new(), BTreeSet::new());
        (Self { outputs, seen, connections, paused: None }, saw)
    }

    fn see(&self, seen: Seen) {
        drop(self.seen.send(seen));
    }

    fn write(&mut self, connection: ConnectionId, bytes: impl Into<Bytes>) {
        self.outputs.push_back(Output::Write { connection, chunks: smallvec![bytes.into()] });
    }

    fn obey(&mut self, now: Timestamp, connection: ConnectionId, word: &[u8]) {
        match word {
            b"close" => self.outputs.push_back(Output::Close { connection }),
            b"pause" => {
                self.outputs.push_back(Output::Pause { connection });
                self.paused = Some((now + Duration::from_millis(50), connection));
            }
            b"flood" => self.write(connection, vec![b'f'; FLOOD_BYTES]),
            b"hang up" => {
                self.write(connection, vec![b'f'; FLOOD_BYTES]);
                self.outputs.push_back(Output::Close { connection });
            }
            b"panic" => panic!("as told"),
            _ => {}
        }
    }
}

impl Core for Echo {
    fn handle(&mut self, now: Timestamp, event: Event<'_>) {
        match event {
            Event::Opened { connection, origin } => {
                self.connections.insert(connection);
                self.see(Seen::Opened(origin));
            }
            Event::Received { connection, input } => {
                self.see(Seen::Received(input.len()));
                if self.paused.is_none_or(|(_, paused)| paused != connection) {
                    let bytes = input.split().freeze();
                    self.write(connection, bytes.clone());
                    self.obey(now, connection, &bytes);
                }
            }
            Event::Drained { bytes, .. } => self.see(Seen::Drained(bytes)),
            Event::Closed { connection } => {
                self.connections.remove(&connection);
                self.see(Seen::Closed(connection));
            }
            Event::Tick => {
                if let Some((_, connection)) = self.paused.take_if(|(until, _)| *until <= now) {
                    self.write(connection, "go on");
                    self.outputs.push_back(Output::Resume { connection });
                }
            }
            Event::Stop => {
                for connection in self.connections.clone() {
                    self.write(connection, "goodbye");
                    self.outputs.push_back(Output::Close { connection });
                }
                self.outputs.push_back(Output::Stopped);
            }
            Event::AccessRead { .. } => self.see(Seen::Reloaded),
            other => panic!("no slow work, no {other:?}"),
        }
    }

    fn poll_output(&mut self) -> Option<Output> {
        self.outputs.pop_front()
    }

    fn poll_timeout(&self) -> Option<Timestamp> {
        self.paused.map(|(until, _)| until)
    }

    fn wants_commit(&self) -> bool {
        false
    }

    fn take_commit(&mut self) -> Option<PendingBatch> {
        None
    }
}

/// A server with an echo behind it.
pub(crate) struct Fixture {
    pub(crate) running: Running,
    pub(crate) seen: mpsc::UnboundedReceiver<Seen>,
}

/// A listener of TCP on a free port of this machine.
pub(crate) fn listener(name: &str) -> Listener {
    Listener {
        name: name.to_owned(),
        endpoint: Endpoint::Tcp(SocketAddr::from(([127, 0, 0, 1], 0))),
        websocket_path: None,
        tls: None,
        connections: None,
        anonymous: Anonymous::Loopback,
    }
}

/// The default configuration, with this listener.
pub(crate) fn config(listener: Listener) -> Config {
    Config { listeners: vec![listener], ..Config::default() }
}

/// Where the listener of this number listens.
pub(crate) fn address(running: &Running, listener: usize) -> SocketAddr {
    match &running.local_addresses()[listener].endpoint {
        Endpoint::Tcp(address) => *address,
        Endpoint::Unix(path) => panic!("{} is no address", path.display()),
    }
}

impl Fixture {
    pub(crate) fn start(config: Config) -> Self {
        let (echo, seen) = Echo::new();
        Self { running: Server::new(config).start_with(Box::new(echo)).unwrap(), seen }
    }

    /// Where the listener of this number listens.
    pub(crate) fn address(&self, listener: usize) -> SocketAddr {
        address(&self.running, listener)
    }

    pub(crate) async fn connect(&self) -> TcpStream {
        within(TcpStream::connect(self.address(0))).await.unwrap()
    }

    /// The next thing that the core saw and `pick` wants.
    pub(crate) async fn saw<T>(&mut self, pick: impl Fn(Seen) -> Option<T>) -> T {
        loop {
            if let Some(picked) = pick(within(self.seen.recv()).await.unwrap()) {
                return picked;
            }
        }
    }

    pub(crate) async fn saw_opened(&mut self) -> Origin {
        self.saw(|seen| if let Seen::Opened(origin) = seen { Some(origin) } else { None }).await
    }

    pub(crate) async fn saw_closed(&mut self) -> ConnectionId {
        self.saw(|seen| if let Seen::Closed(connection) = seen { Some(connection) } else { None })
            .await
    }
}

/// What should happen soon.
pub(crate) async fn within<F: Future>(future: F) -> F::Output {
    time::timeout(Duration::from_secs(20), future).await.expect("in time")
}

/// Sends bytes and expects them back.
pub(crate) async fn echoed(stream: &mut (impl AsyncReadExt + AsyncWriteExt + Unpin), bytes: &[u8]) {
    within(stream.write_all(bytes)).await.unwrap();
    expect(stream, bytes).await;
}

/// Expects bytes.
pub(crate) async fn expect(stream: &mut (impl AsyncReadExt + Unpin), bytes: &[u8]) {
    let mut back = vec![0; bytes.len()];
    within(stream.read_exact(&mut back)).await.unwrap();
    assert!(back == bytes, "{} other bytes", back.len());
}

/// Expects the end of the stream, orderly or not.
pub(crate) async fn expect_end(stream: &mut (impl AsyncReadExt + Unpin)) {
    let read = within(stream.read(&mut [0; 16])).await;
    assert!(matches!(read, Ok(0) | Err(_)), "{read:?}");
}
