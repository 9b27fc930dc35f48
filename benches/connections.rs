//! What idle connections cost: `cargo bench --bench connections -- --connections 10000`.
//!
//! The broker is a process of its own, so that its memory is nobody else's. Connections are opened by a few threads, each
//! waits for its CONNACKs; then nothing happens for a while. Printed are connections per second, the broker's resident memory before and
//! after, bytes for each connection (without what the kernel holds for its socket), and the processor time that the broker uses while all are idle.
//!
//! `--seconds 5` is how long it watches, `--broker PATH` measures another build. `cargo bench` itself gives `--bench`.
#![expect(
    clippy::disallowed_types,
    clippy::disallowed_methods,
    clippy::unwrap_used,
    clippy::print_stdout,
    reason = "a benchmark measures a real process in real time, prints what it finds, and a panic is how it fails"
)]

#[path = "../tests/limits/broker.rs"]
#[expect(dead_code, reason = "the tests do more with it")]
mod broker;

use std::io::Read;
use std::io::Write;
use std::net::Ipv4Addr;
use std::net::SocketAddr;
use std::net::TcpStream;
use std::path::PathBuf;
use std::thread;
use std::time::Duration;
use std::time::Instant;

use rustix::process::Resource;
use rustix::process::Rlimit;
use rustix::process::getrlimit;
use rustix::process::setrlimit;
use socket2::Domain;
use socket2::Socket;
use socket2::Type;

use broker::Broker;

/// Threads that open connections.
const THREADS: usize = 4;
/// Open files of this process beside the connections.
const OTHER_FILES: u64 = 64;
/// Connections from one source address: it has about 28,000 ports, and the last ones are long looked for.
const CONNECTIONS_PER_ADDRESS: u32 = 4_000;
/// How many CONNECTs of one thread are under way.
const WINDOW: usize = 64;
/// How long one answer may take.
const PATIENCE: Duration = Duration::from_secs(30);
/// CONNACK 0x00 without a session, as 3.1.1 has it.
const CONNACK: [u8; 4] = [0x20, 2, 0, 0];

/// What the command line asks for.
struct Arguments {
    connections: u32,
    watched: Duration,
    broker: PathBuf,
}

fn main() {
    let arguments = arguments();
    let connections = allowed(arguments.connections);
    let broker = Broker::start(&arguments.broker, &[]);
    let before = broker.memory();
    let started = Instant::now();
    let clients = open_all(broker.address(), connections);
    let took = started.elapsed();
    let after = broker.memory();
    let busy = broker.processor_time();
    let watched = Instant::now();
    thread::sleep(arguments.watched);
    let idle = broker.processor_time().saturating_sub(busy).as_secs_f64();
    let share = 100.0 * idle / watched.elapsed().as_secs_f64();
    println!("connections            {:>10}", clients.len());
    println!("opened per second      {:>10.0}", f64::from(connections) / took.as_secs_f64());
    println!("memory before          {:>10} KiB", before.resident / 1024);
    println!(
        "memory after           {:>10} KiB, at most {} KiB",
        after.resident / 1024,
        after.peak / 1024
    );
    let grown = after.resident.saturating_sub(before.resident);
    println!("for each connection    {:>10} B", grown / u64::from(connections));
    println!("processor while idle   {share:>10.2} % of one core");
    assert_alive(clients);
}

fn arguments() -> Arguments {
    let mut arguments = Arguments {
        connections: 10_000,
        watched: Duration::from_secs(5),
        broker: PathBuf::from(env!("CARGO_BIN_EXE_tidelog")),
    };
    let mut given = std::env::args().skip(1).filter(|word| word != "--bench");
    while let Some(name) = given.next() {
        let value = given.next().unwrap_or_else(|| panic!("{name} needs a value"));
        match name.as_str() {
            "--connections" => {
                arguments.connections = value.parse().expect("--connections is a number");
            }
            "--seconds" => {
                arguments.watched =
                    Duration::from_secs(value.parse().expect("--seconds is a number"));
            }
            "--broker" => arguments.broker = PathBuf::from(value),
            _ => panic!("{name} is none of --connections, --seconds and --broker"),
        }
    }
    arguments
}

/// Raises the limit of open files; where that is not allowed so far, there are fewer connections.
fn allowed(connections: u32) -> u32 {
    let wanted = u64::from(connections) + OTHER_FILES;
    let limit = getrlimit(Resource::Nofile);
    if limit.current.is_none_or(|current| current >= wanted) {
        return connections;
    }
    let files = limit.maximum.map_or(wanted, |maximum| maximum.min(wanted));
    setrlimit(Resource::Nofile, Rlimit { current: Some(files), maximum: limit.maximum }).unwrap();
    let fewer = u32::try_from(files.saturating_sub(OTHER_FILES)).unwrap();
    if fewer < connections {
        println!("the system allows {files} open files (ulimit -Hn)");
    }
    fewer.min(connections)
}

fn open_all(address: SocketAddr, connections: u32) -> Vec<TcpStream> {
    thread::scope(|scope| {
        let threads: Vec<_> = (0..THREADS)
            .map(|thread| {
                scope.spawn(move || {
                    let numbers: Vec<u32> =
                        (0..connections).skip(thread).step_by(THREADS).collect();
                    open(address, &numbers)
                })
            })
            .collect();
        threads.into_iter().flat_map(|thread| thread.join().unwrap()).collect()
    })
}

/// Opens these connections, some at a time, and waits until each is answered.
fn open(address: SocketAddr, numbers: &[u32]) -> Vec<TcpStream> {
    let mut opened = Vec::with_capacity(numbers.len());
    for window in numbers.chunks(WINDOW) {
        let mut streams: Vec<TcpStream> =
            window.iter().map(|number| connect(address, *number)).collect();
        for stream in &mut streams {
            let mut answer = [0; CONNACK.len()];
            stream.read_exact(&mut answer).unwrap();
            assert_eq!(answer, CONNACK, "refused");
        }
        opened.append(&mut streams);
    }
    opened
}

/// Opens a connection and sends CONNECT, a clean start without Keep Alive.
fn connect(address: SocketAddr, number: u32) -> TcpStream {
    let socket = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
    let host =
        u8::try_from(1 + number / CONNECTIONS_PER_ADDRESS).expect("some millions are enough");
    socket.bind(&SocketAddr::from((Ipv4Addr::new(127, 0, 0, host), 0)).into()).unwrap();
    socket.connect(&address.into()).unwrap();
    let mut stream = TcpStream::from(socket);
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    let client_id = format!("idle-{number:08}");
    let length = u8::try_from(client_id.len()).unwrap();
    let mut packet = vec![0x10, 12 + length, 0, 4, b'M', b'Q', b'T', b'T', 4, 2, 0, 0, 0, length];
    packet.extend(client_id.as_bytes());
    stream.write_all(&packet).unwrap();
    stream
}

/// All are still there: each PINGREQ has its answer.
fn assert_alive(mut clients: Vec<TcpStream>) {
    for client in &mut clients {
        client.write_all(&[0xC0, 0]).unwrap();
    }
    for client in &mut clients {
        let mut answer = [0; 2];
        client.read_exact(&mut answer).unwrap();
        assert_eq!(answer, [0xD0, 0]);
    }
}
