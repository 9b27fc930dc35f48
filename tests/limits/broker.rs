//! The broker as a process of its own, so that what it costs is nobody else's: its memory and its processor time as the
//! system counts them.
//!
//! Killed when the test ends. Only for Linux: it reads `/proc`.

use std::io::BufRead;
use std::io::BufReader;
use std::net::Ipv4Addr;
use std::net::SocketAddr;
use std::path::Path;
use std::process::Child;
use std::process::Command;
use std::process::Stdio;
use std::sync::mpsc;
use std::time::Duration;

use tempfile::TempDir;

/// How long a broker may take to start.
const START: Duration = Duration::from_mins(1);

/// In what the system counts processor time: 1/100 s on every Linux.
const TICK: Duration = Duration::from_millis(10);

/// What a process holds, in bytes.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Memory {
    /// Now.
    pub(crate) resident: u64,
    /// The most since it began.
    pub(crate) peak: u64,
}

/// A running broker in a directory of its own.
pub(crate) struct Broker {
    child: Child,
    address: SocketAddr,
    directory: Option<TempDir>,
}

impl Broker {
    /// Starts `program` with these `key=value` settings, listening on a port of its choice.
    pub(crate) fn start(program: &Path, settings: &[&str]) -> Self {
        Self::start_in(program, tempfile::tempdir().unwrap(), settings)
    }

    /// The same over what is in the folder `data` of a directory.
    pub(crate) fn start_in(program: &Path, directory: TempDir, settings: &[&str]) -> Self {
        let mut command = Command::new(program);
        command.arg("serve").current_dir(directory.path());
        command.args(["--data", "data", "--listen", "127.0.0.1:0", "--set", "sys.interval=0s"]);
        for setting in settings {
            command.args(["--set", setting]);
        }
        let (reader, writer) = std::io::pipe().unwrap();
        command.stdin(Stdio::null()).stdout(writer.try_clone().unwrap()).stderr(writer);
        let child = command.spawn().unwrap();
        drop(command);
        let address = listening_address(reader);
        Self { child, address, directory: Some(directory) }
    }

    /// Ends it at once and keeps its directory.
    pub(crate) fn kill(mut self) -> TempDir {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
        self.directory.take().unwrap()
    }

    /// Where it listens.
    pub(crate) fn address(&self) -> SocketAddr {
        self.address
    }

    /// What it holds.
    pub(crate) fn memory(&self) -> Memory {
        let status = self.file("status");
        Memory { resident: kibibytes(&status, "VmRSS:"), peak: kibibytes(&status, "VmHWM:") }
    }

    /// Processor time since it began, of all its threads, in and out of the kernel.
    pub(crate) fn processor_time(&self) -> Duration {
        let text = self.file("stat");
        // The name of the program, in parentheses, may have spaces; user and system time are fields 14 and 15.
        let (_, fields) = text.rsplit_once(") ").unwrap();
        let ticks = fields.split(' ').skip(11).take(2).map(|field| field.parse::<u32>().unwrap());
        TICK * ticks.sum::<u32>()
    }

    fn file(&self, name: &str) -> String {
        std::fs::read_to_string(format!("/proc/{}/{name}", self.child.id())).unwrap()
    }
}

impl Drop for Broker {
    fn drop(&mut self) {
        self.child.kill().ok();
        self.child.wait().ok();
    }
}

/// Waits for the line that says where it listens. Later lines are read, so that the broker can write, and forgotten.
fn listening_address(reader: std::io::PipeReader) -> SocketAddr {
    let (sender, lines) = mpsc::channel();
    std::thread::spawn(move || {
        for line in BufReader::new(reader).lines().map_while(Result::ok) {
            sender.send(line).ok();
        }
    });
    let mut seen = Vec::new();
    loop {
        let Ok(line) = lines.recv_timeout(START) else {
            panic!("the broker did not start:\n{}", seen.join("\n"));
        };
        if let Some(port) = port_of(&line) {
            return SocketAddr::from((Ipv4Addr::LOCALHOST, port));
        }
        seen.push(line);
    }
}

/// The port in a line such as `listening: tcp on 127.0.0.1:40123`.
fn port_of(line: &str) -> Option<u16> {
    let (_, rest) = line.split_once("127.0.0.1:")?;
    rest.split(|c: char| !c.is_ascii_digit()).next()?.parse().ok().filter(|port| *port != 0)
}

fn kibibytes(status: &str, name: &str) -> u64 {
    let line = status.lines().find_map(|line| line.strip_prefix(name)).unwrap();
    line.trim().trim_end_matches(" kB").parse::<u64>().unwrap() * 1024
}
