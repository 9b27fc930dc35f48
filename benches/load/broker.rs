//! A broker as a process of its own, in a directory of its own, killed when it is not needed any more.

use std::fs::File;
use std::io::Read;
use std::io::Write;
use std::net::Ipv4Addr;
use std::net::SocketAddr;
use std::net::TcpListener;
use std::net::TcpStream;
use std::path::Path;
use std::process::Child;
use std::process::Command;
use std::process::Stdio;
use std::thread;
use std::time::Duration;
use std::time::Instant;

use tempfile::TempDir;

use crate::disk;
use crate::peer::Kind;
use crate::peer::Peer;
use crate::peer::Start;
use crate::transport::Carrier;
use crate::transport::Target;
use crate::wire;

/// How long a broker may take to start.
const START: Duration = Duration::from_mins(1);
/// How long is waited between two looks whether it has.
const LOOK: Duration = Duration::from_millis(2);
/// How long one answer may take.
const PATIENCE: Duration = Duration::from_secs(10);
/// What says how many commits there were.
const COMMITS: &str = "$SYS/broker/commits/count";

/// A running broker.
pub(crate) struct Broker {
    peer: Peer,
    child: Child,
    target: Target,
    settings: Vec<&'static str>,
    directory: TempDir,
    /// The disk before it was started.
    pub(crate) sync: disk::Sync,
}

impl Broker {
    /// Starts a broker with an empty directory below `place` and waits until it accepts clients.
    pub(crate) fn start(
        peer: &Peer,
        place: &Path,
        carrier: Carrier,
        settings: &[&'static str],
    ) -> Self {
        std::fs::create_dir_all(place).unwrap();
        let directory = tempfile::tempdir_in(place).unwrap();
        if carrier == Carrier::Tls {
            make_certificates(directory.path());
        }
        let sync = disk::measure(directory.path());
        let target = Target {
            address: free_address(),
            carrier,
            authority: directory.path().join("certs/ca.pem"),
        };
        let child = spawn(peer, &target, directory.path(), settings);
        let broker = Self {
            peer: peer.clone(),
            child,
            target,
            settings: settings.to_vec(),
            directory,
            sync,
        };
        broker.await_clients();
        broker
    }

    /// Kills it and starts it again in its directory. Returns how long it took until it accepted a client.
    pub(crate) fn restart(&mut self) -> Duration {
        self.kill();
        // The port of one that was killed may be in use for a while.
        self.target.address = free_address();
        let begun = Instant::now();
        self.child = spawn(&self.peer, &self.target, self.directory.path(), &self.settings);
        self.await_clients();
        begun.elapsed()
    }

    /// How to reach it.
    pub(crate) fn target(&self) -> &Target {
        &self.target
    }

    /// Its process.
    pub(crate) fn process(&self) -> u32 {
        self.child.id()
    }

    /// How often it has committed to disk, if it says so.
    pub(crate) fn commits(&self) -> Option<u64> {
        if self.peer.kind != Kind::Tidelog || self.target.carrier != Carrier::Tcp {
            return None;
        }
        let mut stream = accepted(self.target.address)?;
        stream.write_all(&wire::subscribe([COMMITS], 0)).ok()?;
        let mut bytes = Vec::new();
        loop {
            let mut more = [0; 1024];
            let read = stream.read(&mut more).ok().filter(|read| *read > 0)?;
            bytes.extend_from_slice(&more[..read]);
            let (mut at, mut found) = (0, None);
            while let Some((frame, length)) = wire::frame(&bytes[at..]) {
                if frame.kind() == wire::TYPE_PUBLISH {
                    found =
                        std::str::from_utf8(&frame.body[2 + COMMITS.len()..]).ok()?.parse().ok();
                }
                at += length;
            }
            if found.is_some() {
                return found;
            }
        }
    }

    fn await_clients(&self) {
        let begun = Instant::now();
        // A listener for TLS or WebSocket takes our CONNECT for nonsense, and the connection all the same.
        let plain = self.target.carrier == Carrier::Tcp;
        while if plain {
            accepted(self.target.address).is_none()
        } else {
            TcpStream::connect(self.target.address).is_err()
        } {
            assert!(begun.elapsed() < START, "{} did not start:\n{}", self.peer, self.said());
            thread::sleep(LOOK);
        }
    }

    /// What it wrote to its standard outputs.
    fn said(&self) -> String {
        std::fs::read_to_string(self.directory.path().join("said")).unwrap_or_default()
    }

    fn kill(&mut self) {
        self.child.kill().ok();
        self.child.wait().ok();
    }
}

impl Drop for Broker {
    fn drop(&mut self) {
        if thread::panicking() {
            println!("{} said:\n{}", self.peer, self.said());
        }
        self.kill();
    }
}

fn spawn(peer: &Peer, target: &Target, directory: &Path, settings: &[&str]) -> Child {
    let start = Start {
        port: target.address.port(),
        carrier: target.carrier,
        directory,
        certificates: &directory.join("certs"),
        settings,
    };
    let said = File::options().create(true).append(true).open(directory.join("said")).unwrap();
    let mut command = peer.command(&start);
    command.stdin(Stdio::null()).stdout(said.try_clone().unwrap()).stderr(said);
    command.spawn().unwrap_or_else(|error| panic!("{peer} does not start: {error}"))
}

/// An address of this machine that nobody listens on.
fn free_address() -> SocketAddr {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    listener.local_addr().unwrap()
}

/// A connection whose CONNECT was accepted.
fn accepted(address: SocketAddr) -> Option<TcpStream> {
    let mut stream = TcpStream::connect(address).ok()?;
    stream.set_read_timeout(Some(PATIENCE)).ok()?;
    stream.write_all(&wire::connect("load-control", true)).ok()?;
    let mut answer = [0; 4];
    stream.read_exact(&mut answer).ok()?;
    (answer == [0x20, 2, 0, 0]).then_some(stream)
}

/// Makes an authority and a certificate for this machine, by Tidelog's own command.
fn make_certificates(directory: &Path) {
    let made = Command::new(env!("CARGO_BIN_EXE_tidelog"))
        .current_dir(directory)
        .args(["certs", "--dir", "certs"])
        .stdout(Stdio::null())
        .status()
        .unwrap();
    assert!(made.success(), "no certificates");
}
