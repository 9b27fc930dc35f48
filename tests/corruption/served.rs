//! A spoiled directory under a broker: it starts, serves what is sound to a session that is owed everything, and says what
//! is wrong, in its first lines, in its trace and in `$SYS`.

use std::collections::BTreeMap;
use std::collections::BTreeSet;
use std::io;
use std::path::Path;
use std::sync::Arc;
use std::sync::Mutex;
use std::sync::OnceLock;
use std::time::Duration;

use tidelog::server::Server;

use crate::filled;
use crate::filled::READER;
use crate::truth::Truth;
use crate::wire::Version;
use crate::wire::client::Client;
use crate::wire::packet::Packet;
use crate::wire::request::Publish;

/// What a broker said and did.
pub(crate) struct Served {
    /// Its first lines.
    pub(crate) startup: String,
    /// Everything in the trace of this process since before it started.
    pub(crate) trace: String,
    /// What `$SYS` says after all was served.
    pub(crate) sys: BTreeMap<String, String>,
}

impl Served {
    pub(crate) fn number(&self, name: &str) -> u64 {
        self.sys[&format!("$SYS/broker/{name}")].parse().unwrap()
    }
}

/// Starts a broker over the directory and lets the session that is owed everything read.
pub(crate) fn serve(folder: &Path, truth: &Truth, lost: &BTreeSet<u64>) -> Served {
    let trace = trace();
    let begun = trace.lock().unwrap().len();
    let config = filled::config(folder, Duration::from_hours(1));
    let running = Server::new(config).start().expect("the broker starts");
    let broker = filled::address(&running);
    let served = read(broker);
    let owed = truth.payloads(lost);
    let [missing, wrong] =
        [(&owed, &served), (&served, &owed)].map(|(one, other)| short(one.difference(other)));
    assert_eq!((missing, wrong), (Vec::new(), Vec::new()), "what the session gets");
    let mut observer = Client::clean(broker, Version::V5, "observer");
    observer.subscribe(&[("$SYS/#", 0)]);
    let packets = observer.settle();
    let sys = packets.iter().filter_map(|packet| match packet {
        Packet::Publish(publish) => Some((publish.topic.clone(), publish.text().to_owned())),
        _ => None,
    });
    let sys = sys.collect();
    let startup = running.startup().to_string();
    drop(running);
    let trace = String::from_utf8_lossy(&trace.lock().unwrap()[begun..]).into_owned();
    Served { startup, trace, sys }
}

/// The beginnings of texts.
fn short<'a>(texts: impl Iterator<Item = &'a String>) -> Vec<String> {
    texts.map(|text| text.chars().take(20).collect()).collect()
}

/// All that the session gets, each once, but for the last message, which is published now.
fn read(broker: std::net::SocketAddr) -> BTreeSet<String> {
    let (mut reader, connack) = Client::connect(broker, &filled::lasting(READER));
    assert!(connack.session_present, "the session is there");
    reader.send(&Publish::new("plant/fence", "fence").qos(1).id(1).bytes(Version::V5));
    let mut served = BTreeSet::new();
    loop {
        if let Packet::Publish(publish) = reader.next() {
            reader.accept(&publish);
            if publish.text() == "fence" {
                break;
            }
            assert!(served.insert(publish.text().to_owned()), "{} came twice", publish.topic);
        }
    }
    served
}

/// The trace of this process: every broker writes to the same.
fn trace() -> Arc<Mutex<Vec<u8>>> {
    static TRACE: OnceLock<Arc<Mutex<Vec<u8>>>> = OnceLock::new();
    let trace = TRACE.get_or_init(|| {
        let trace = Arc::new(Mutex::new(Vec::new()));
        let writer = Arc::clone(&trace);
        let subscriber = tracing_subscriber::fmt()
            .with_ansi(false)
            .with_max_level(tracing::Level::WARN)
            .with_writer(move || Writer(Arc::clone(&writer)));
        subscriber.init();
        trace
    });
    Arc::clone(trace)
}

struct Writer(Arc<Mutex<Vec<u8>>>);

impl io::Write for Writer {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().unwrap().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
