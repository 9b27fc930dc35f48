//! The brokers that are compared: where they are and how each is told to do the same.
//!
//! All but ours acknowledge from memory. Limits that would make a peer drop messages are lifted, as its users would lift them.

use std::fmt;
use std::fmt::Write;
use std::path::Path;
use std::path::PathBuf;
use std::process::Command;

use crate::transport::Carrier;

/// The kinds of brokers that we know how to start.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    Tidelog,
    Mosquitto,
    Rumqttd,
    Rmqttd,
}

/// A broker that is there.
#[derive(Clone, Debug)]
pub(crate) struct Peer {
    pub(crate) kind: Kind,
    pub(crate) name: &'static str,
    program: PathBuf,
}

/// What a broker is started with.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Start<'a> {
    pub(crate) port: u16,
    pub(crate) carrier: Carrier,
    /// Where it may write.
    pub(crate) directory: &'a Path,
    /// With `server.pem`, `server-key.pem` and `ca.pem`.
    pub(crate) certificates: &'a Path,
    /// `key=value` for Tidelog.
    pub(crate) settings: &'a [&'a str],
}

/// How a peer is found: its kind, its name, the variable with its path, and where it is otherwise looked for.
const KNOWN: [(Kind, &str, &str, &[&str]); 5] = [
    (Kind::Tidelog, "tidelog", "LOAD_TIDELOG", &[env!("CARGO_BIN_EXE_tidelog")]),
    (Kind::Tidelog, "baseline", "LOAD_BASELINE", &[]),
    (
        Kind::Mosquitto,
        "mosquitto",
        "LOAD_MOSQUITTO",
        &["/usr/sbin/mosquitto", "/usr/local/sbin/mosquitto", "/opt/homebrew/sbin/mosquitto"],
    ),
    (Kind::Rumqttd, "rumqttd", "LOAD_RUMQTTD", &[]),
    (Kind::Rmqttd, "rmqttd", "LOAD_RMQTTD", &[]),
];

/// The names of all that can be compared.
pub(crate) fn names() -> Vec<&'static str> {
    KNOWN.iter().map(|(_, name, ..)| *name).collect()
}

impl Peer {
    /// The broker of this name, or how to say where it is.
    pub(crate) fn find(wanted: &str) -> Result<Self, String> {
        let known = KNOWN.iter().find(|(_, name, ..)| *name == wanted);
        let (kind, name, variable, places) =
            known.ok_or_else(|| format!("{wanted} is none of {}", names().join(", ")))?;
        let given = std::env::var(variable).ok().map(PathBuf::from);
        let program = given.or_else(|| places.iter().map(PathBuf::from).find(|path| path.exists()));
        match program {
            Some(program) if program.exists() => Ok(Self { kind: *kind, name, program }),
            Some(program) => Err(format!("{variable} names {}: not there", program.display())),
            None => Err(format!("not found; {variable} may name its program")),
        }
    }

    /// Whether an acknowledgement means that the message is on disk.
    pub(crate) fn is_durable(&self) -> bool {
        self.kind == Kind::Tidelog
    }

    /// Whether it speaks this, as we start it.
    pub(crate) fn carries(&self, carrier: Carrier) -> bool {
        carrier == Carrier::Tcp || matches!(self.kind, Kind::Tidelog | Kind::Mosquitto)
    }

    /// How to run it.
    pub(crate) fn command(&self, start: &Start<'_>) -> Command {
        let mut command = Command::new(&self.program);
        command.current_dir(start.directory);
        match self.kind {
            Kind::Tidelog => {
                let address = format!("127.0.0.1:{}", start.port);
                command.args(["serve", "--data", "data", "--listen", &address]);
                let listener = tidelog_listener(start);
                let settings =
                    start.settings.iter().copied().chain(listener.iter().map(String::as_str));
                for setting in settings {
                    command.args(["--set", setting]);
                }
            }
            Kind::Mosquitto => {
                command.args(["-c", "mosquitto.conf"]);
                self.write(start, "mosquitto.conf", &mosquitto(start));
            }
            Kind::Rumqttd => {
                command.args(["-q", "-c", "rumqttd.toml"]);
                self.write(start, "rumqttd.toml", &rumqttd(start));
            }
            Kind::Rmqttd => {
                command.args(["-f", "rmqttd.toml"]);
                self.write(start, "rmqttd.toml", &rmqttd(start));
            }
        }
        command
    }

    fn write(&self, start: &Start<'_>, file: &str, text: &str) {
        std::fs::write(start.directory.join(file), text)
            .unwrap_or_else(|error| panic!("the configuration of {self}: {error}"));
    }
}

impl fmt::Display for Peer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name)
    }
}

fn tidelog_listener(start: &Start<'_>) -> Vec<String> {
    let kind = match start.carrier {
        Carrier::Tcp => return Vec::new(),
        Carrier::Tls => "tls",
        Carrier::WebSocket => return vec!["listener.0.kind=websocket".to_owned()],
    };
    let path = |name: &str| start.certificates.join(name).display().to_string();
    vec![
        format!("listener.0.kind={kind}"),
        format!("listener.0.certificate={}", path("server.pem")),
        format!("listener.0.key={}", path("server-key.pem")),
    ]
}

fn mosquitto(start: &Start<'_>) -> String {
    let mut text = format!(
        "user root\nallow_anonymous true\npersistence false\nlog_type error\nset_tcp_nodelay true\n\
         max_queued_messages 0\nmax_queued_bytes 0\nlistener {} 127.0.0.1\n",
        start.port
    );
    match start.carrier {
        Carrier::Tcp => {}
        Carrier::WebSocket => text.push_str("protocol websockets\n"),
        Carrier::Tls => {
            let path = |name: &str| start.certificates.join(name).display().to_string();
            let (certificate, key) = (path("server.pem"), path("server-key.pem"));
            writeln!(text, "certfile {certificate}\nkeyfile {key}").unwrap();
        }
    }
    text
}

fn rumqttd(start: &Start<'_>) -> String {
    format!(
        "id = 0\n[router]\nid = 0\nmax_connections = 25000\nmax_outgoing_packet_count = 200\n\
         max_segment_size = 104857600\nmax_segment_count = 10\n\
         [v4.1]\nname = \"v4-1\"\nlisten = \"127.0.0.1:{}\"\nnext_connection_delay_ms = 0\n\
         [v4.1.connections]\nconnection_timeout_ms = 60000\nmax_payload_size = 20480\n\
         max_inflight_count = 100\ndynamic_filters = true\n",
        start.port
    )
}

fn rmqttd(start: &Start<'_>) -> String {
    let plugins = start.directory.display();
    format!(
        "node.id = 1\nrpc.server_addr = \"127.0.0.1:0\"\nlog.to = \"off\"\nlog.level = \"error\"\n\
         plugins.dir = \"{plugins}\"\nplugins.default_startups = []\n\
         listener.tcp.external.addr = \"127.0.0.1:{}\"\n\
         listener.tcp.external.allow_anonymous = true\nlistener.tcp.external.min_keepalive = 0\n\
         listener.tcp.external.allow_zero_keepalive = true\n\
         listener.tcp.external.max_connections = 1024000\n\
         listener.tcp.external.max_mqueue_len = 1000000\n\
         listener.tcp.external.mqueue_rate_limit = \"4000000000,1s\"\n",
        start.port
    )
}
