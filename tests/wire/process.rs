//! The broker as a process, on ports of its own choice and in a directory of its own, killed when the test ends.
//!
//! With `TIDELOG_TEST_PEER=mosquitto` it is mosquitto instead, which shows whether the tests ask for what the
//! specification says, and not for what this broker happens to do.

use std::fmt::Arguments;
use std::fmt::Write;
use std::io::BufRead;
use std::io::BufReader;
use std::net::Ipv4Addr;
use std::net::SocketAddr;
use std::net::TcpListener;
use std::path::PathBuf;
use std::process::Child;
use std::process::Command;
use std::process::ExitStatus;
use std::process::Stdio;
use std::sync::Arc;
use std::sync::Mutex;
use std::sync::mpsc;
use std::time::Duration;
use std::time::Instant;

use tempfile::TempDir;

/// How long a broker may take to start, recovery included.
const START: Duration = Duration::from_mins(1);

/// What a test changes in the configuration.
#[derive(Clone, Default)]
pub(crate) struct Settings {
    /// Sections of `tidelog.toml`.
    pub(crate) toml: String,
    /// Lines of its section `data`.
    pub(crate) data: String,
    /// Lines of `mosquitto.conf` that mean the same.
    pub(crate) mosquitto: String,
    /// Whether it is mosquitto, whatever the environment says.
    pub(crate) is_mosquitto: bool,
    /// Whether there is a second listener, for WebSocket.
    pub(crate) websocket: bool,
    /// The folder of `tidelog certs`; there is a last listener then, for TLS, which wants a client certificate.
    pub(crate) certificates: Option<PathBuf>,
    /// The text of the password file and of the file of access rules, if there are any.
    pub(crate) passwords: Option<String>,
    pub(crate) rules: Option<String>,
    /// Variables of the process's environment.
    pub(crate) environment: Vec<(String, String)>,
}

/// A process that does not outlive its owner, whatever happens to that.
struct Process(Child);

impl Process {
    /// As `kill -9` does.
    fn kill(&mut self) {
        self.0.kill().ok();
        self.0.wait().ok();
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        self.kill();
    }
}

/// A running broker.
pub(crate) struct Broker {
    running: Running,
    pub(crate) settings: Settings,
    directory: TempDir,
}

/// A process that has begun to listen.
struct Running {
    process: Process,
    addresses: Vec<SocketAddr>,
    /// Its lines one by one; the end of them is the end of the process.
    lines: mpsc::Receiver<String>,
    output: Arc<Mutex<Vec<String>>>,
}

/// Whether the tests run against mosquitto.
pub(crate) fn peer_is_mosquitto() -> bool {
    std::env::var("TIDELOG_TEST_PEER").is_ok_and(|peer| peer == "mosquitto")
}

impl Broker {
    /// Starts a broker as it comes.
    pub(crate) fn start() -> Self {
        Self::start_with(Settings::default())
    }

    /// Starts a broker with these settings.
    pub(crate) fn start_with(settings: Settings) -> Self {
        Self::start_in(tempfile::tempdir().unwrap(), settings)
    }

    /// Starts a broker with these settings in this directory.
    pub(crate) fn start_in(directory: TempDir, settings: Settings) -> Self {
        let running = launch(&directory, &settings).unwrap_or_else(|said| panic!("{said}"));
        Self { running, settings, directory }
    }

    /// Where its files are.
    pub(crate) fn data(&self) -> PathBuf {
        self.directory.path().join("data")
    }

    /// The process.
    pub(crate) fn id(&self) -> u32 {
        self.running.process.0.id()
    }

    /// What it has said.
    pub(crate) fn output(&self) -> String {
        self.running.output.lock().unwrap().join("\n")
    }

    /// Where it listens for TCP.
    pub(crate) fn address(&self) -> SocketAddr {
        self.running.addresses[0]
    }

    /// Where it listens for WebSocket, if it was told to.
    pub(crate) fn websocket_address(&self) -> SocketAddr {
        self.running.addresses[1]
    }

    /// Where it listens for TLS, if it was told to.
    pub(crate) fn tls_address(&self) -> SocketAddr {
        self.running.addresses[self.running.addresses.len() - 1]
    }

    /// Kills the process as `kill -9` does.
    pub(crate) fn kill(&mut self) {
        self.running.process.kill();
    }

    /// Ends the process in good order, as SIGTERM does.
    pub(crate) fn stop(&mut self) {
        let id = rustix::process::Pid::from_child(&self.running.process.0);
        rustix::process::kill_process(id, rustix::process::Signal::TERM).unwrap();
        assert!(self.wait_for_end(START).is_some(), "the broker does not end");
    }

    /// Waits until the process says this; `false` if it does not in time.
    pub(crate) fn wait_for_line(&mut self, text: &str, at_most: Duration) -> bool {
        let deadline = Instant::now() + at_most;
        loop {
            let left = deadline.saturating_duration_since(Instant::now());
            match self.running.lines.recv_timeout(left) {
                Ok(line) if line.contains(text) => return true,
                Ok(_) => {}
                Err(_) => return false,
            }
        }
    }

    /// Waits until the process has ended by itself; `None` if it has not in time.
    pub(crate) fn wait_for_end(&mut self, at_most: Duration) -> Option<ExitStatus> {
        let deadline = Instant::now() + at_most;
        loop {
            let left = deadline.saturating_duration_since(Instant::now());
            match self.running.lines.recv_timeout(left) {
                Ok(_) => {}
                Err(mpsc::RecvTimeoutError::Timeout) => return None,
                Err(mpsc::RecvTimeoutError::Disconnected) => {
                    return Some(self.running.process.0.wait().unwrap());
                }
            }
        }
    }

    /// Starts it again over the same directory, on new ports.
    pub(crate) fn start_again(&mut self) {
        self.try_start_again().unwrap_or_else(|said| panic!("{said}"));
    }

    /// The same, if it starts.
    ///
    /// # Errors
    /// What the process said instead.
    pub(crate) fn try_start_again(&mut self) -> Result<(), String> {
        self.running = launch(&self.directory, &self.settings)?;
        Ok(())
    }
}

impl Drop for Broker {
    fn drop(&mut self) {
        self.kill();
        if std::thread::panicking() {
            let output = self.running.output.lock().unwrap();
            let start = output.len().saturating_sub(40);
            eprintln!("the broker's last lines:\n{}", output[start..].join("\n"));
        }
    }
}

fn launch(directory: &TempDir, settings: &Settings) -> Result<Running, String> {
    if settings.is_mosquitto || peer_is_mosquitto() {
        launch_mosquitto(directory, settings)
    } else {
        launch_tidelog(directory, settings)
    }
}

fn launch_tidelog(directory: &TempDir, settings: &Settings) -> Result<Running, String> {
    let config = directory.path().join("tidelog.toml");
    std::fs::write(&config, tidelog_config(directory, settings)).unwrap();
    let mut command = Command::new(env!("CARGO_BIN_EXE_tidelog"));
    command.arg("serve").arg("--config").arg(config).current_dir(directory.path());
    command.envs(settings.environment.iter().cloned());
    let listeners =
        1 + usize::from(settings.websocket) + usize::from(settings.certificates.is_some());
    let (process, lines, output) = spawn(command);
    let mut addresses = Vec::new();
    while addresses.len() < listeners {
        let Ok(line) = lines.recv_timeout(START) else {
            let said = output.lock().unwrap().join("\n");
            return Err(format!("the broker did not start:\n{said}"));
        };
        addresses.extend(listening_addresses(&line));
    }
    Ok(Running { process, addresses, lines, output })
}

fn tidelog_config(directory: &TempDir, settings: &Settings) -> String {
    let data = directory.path().join("data").display().to_string();
    let mut text = format!("[data]\ndir = {data:?}\n{}", settings.data);
    if !settings.toml.contains("[sys]") {
        text += "[sys]\ninterval = \"0s\"\n";
    }
    text += "[[listener]]\nname = \"tcp\"\nkind = \"tcp\"\naddress = \"127.0.0.1:0\"\n";
    if settings.websocket {
        text += "[[listener]]\nname = \"ws\"\nkind = \"websocket\"\naddress = \"127.0.0.1:0\"\n";
    }
    if let Some(certificates) = &settings.certificates {
        let folder = certificates.display();
        text += "[[listener]]\nname = \"tls\"\nkind = \"tls\"\naddress = \"127.0.0.1:0\"\n";
        text += "client_certificate = \"required\"\n";
        let pair = format_args!(
            "certificate = \"{folder}/server.pem\"\nkey = \"{folder}/server-key.pem\"\n"
        );
        write_text(&mut text, pair);
        write_text(&mut text, format_args!("client_ca = \"{folder}/ca.pem\"\n"));
    }
    let passwords = written(directory, "passwords", settings.passwords.as_deref());
    let rules = written(directory, "rules", settings.rules.as_deref());
    if passwords.is_some() || rules.is_some() {
        text += "[access]\n";
        text += &passwords.map(|path| format!("passwords = {path:?}\n")).unwrap_or_default();
        text += &rules.map(|path| format!("acl = {path:?}\n")).unwrap_or_default();
    }
    text + &settings.toml
}

fn written(directory: &TempDir, name: &str, text: Option<&str>) -> Option<String> {
    let path = directory.path().join(name);
    std::fs::write(&path, text?).unwrap();
    Some(path.display().to_string())
}

fn write_text(text: &mut String, arguments: Arguments<'_>) {
    text.write_fmt(arguments).expect("a string takes everything");
}

/// The addresses in a line such as `listening: tcp on 127.0.0.1:40123 (tcp)`.
fn listening_addresses(line: &str) -> Vec<SocketAddr> {
    let port = |rest: &str| rest.split(|c: char| !c.is_ascii_digit()).next()?.parse().ok();
    let ports = line.split("127.0.0.1:").skip(1).filter_map(port);
    ports
        .filter(|port| *port != 0)
        .map(|port: u16| SocketAddr::from((Ipv4Addr::LOCALHOST, port)))
        .collect()
}

fn launch_mosquitto(directory: &TempDir, settings: &Settings) -> Result<Running, String> {
    let mut addresses = Vec::new();
    let mut text = String::from("max_queued_messages 0\nallow_duplicate_messages false\n");
    text += "sys_interval 0\nset_tcp_nodelay true\nallow_anonymous true\nuser root\n";
    let tls = settings.certificates.as_ref().map(|folder| {
        let folder = folder.display();
        let files = [("cafile", "ca"), ("certfile", "server"), ("keyfile", "server-key")];
        let files = files.map(|(key, file)| format!("{key} {folder}/{file}.pem\n")).concat();
        files + "require_certificate true\n"
    });
    let websocket = settings.websocket.then(|| "protocol websockets\n".to_owned());
    for listener in [Some(String::new()), websocket, tls].into_iter().flatten() {
        // mosquitto can't take port 0, so a free one is found for it.
        let address = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
        write_text(&mut text, format_args!("listener {} 127.0.0.1\n{listener}", address.port()));
        addresses.push(address);
    }
    if settings.is_mosquitto {
        let data = directory.path().join("data");
        std::fs::create_dir_all(&data).unwrap();
        let data = data.display();
        write_text(&mut text, format_args!("persistence true\npersistence_location {data}/\n"));
    }
    text += &settings.mosquitto;
    let config = directory.path().join("mosquitto.conf");
    std::fs::write(&config, text).unwrap();
    let mut command = Command::new("/usr/sbin/mosquitto");
    command.arg("-v").arg("-c").arg(config);
    command.envs(settings.environment.iter().cloned());
    let (process, lines, output) = spawn(command);
    loop {
        match lines.recv_timeout(START) {
            Ok(line) if line.ends_with("running") => {
                return Ok(Running { process, addresses, lines, output });
            }
            Ok(_) => {}
            Err(mpsc::RecvTimeoutError::Timeout | mpsc::RecvTimeoutError::Disconnected) => {
                let said = output.lock().unwrap().join("\n");
                return Err(format!("mosquitto did not start:\n{said}"));
            }
        }
    }
}

/// Starts the command; its lines of both outputs come one by one and are kept.
fn spawn(mut command: Command) -> (Process, mpsc::Receiver<String>, Arc<Mutex<Vec<String>>>) {
    let (reader, writer) = std::io::pipe().unwrap();
    command.stdin(Stdio::null()).stdout(writer.try_clone().unwrap()).stderr(writer);
    let process = Process(command.spawn().unwrap());
    drop(command);
    let (sender, lines) = mpsc::channel();
    let output = Arc::new(Mutex::new(Vec::new()));
    let kept = Arc::clone(&output);
    std::thread::spawn(move || {
        for line in BufReader::new(reader).lines().map_while(Result::ok) {
            sender.send(line.clone()).ok();
            kept.lock().unwrap().push(line);
        }
    });
    (process, lines, output)
}
