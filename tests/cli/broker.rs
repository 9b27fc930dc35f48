//! The whole: `tidelog serve` with `tidelog pub`, `sub`, `user`, `certs` and `log`.

use std::io::BufRead;
use std::io::BufReader;
use std::path::Path;
use std::path::PathBuf;

use rustix::process::Signal;
use tempfile::TempDir;

use crate::program::Ended;
use crate::program::Program;
use crate::program::run;
use crate::program::signal;
use crate::program::terminate;

/// A `sub` that waits for more than comes ends after so many seconds, and fails its test.
const PATIENCE: &str = "20";

/// A new segment is zeroes, which the tests need not read through.
const SMALL_SEGMENTS: &str = "data.segment_size=1 MiB";

/// A broker with a data directory of its own.
pub(crate) struct Broker {
    pub(crate) program: Program,
    pub(crate) directory: TempDir,
    /// What it said when it was up.
    pub(crate) startup: String,
}

impl Broker {
    /// Starts one on a free port, with these words beside.
    pub(crate) fn start(words: &[&str]) -> Self {
        Self::start_in(tempfile::tempdir().unwrap(), words)
    }

    pub(crate) fn start_in(directory: TempDir, words: &[&str]) -> Self {
        Self::start_configured(directory, &[&["--listen", "127.0.0.1:0"], words].concat())
    }

    /// The same, listening where the words say.
    pub(crate) fn start_configured(directory: TempDir, words: &[&str]) -> Self {
        let data = data(&directory);
        let always = ["serve", "--data", data.to_str().unwrap(), "--set", SMALL_SEGMENTS];
        let mut program = Program::start(&[&always, words].concat());
        let stdout = BufReader::new(program.child().stdout.take().unwrap());
        let mut startup = String::new();
        for line in stdout.lines() {
            let line = line.unwrap();
            startup.push_str(&line);
            startup.push('\n');
            if line.starts_with("listening:") {
                return Self { program, directory, startup };
            }
        }
        panic!("the broker did not start: {}", program.end().stderr);
    }

    /// The port of the first listener of this kind.
    pub(crate) fn port_of(&self, kind: &str) -> String {
        let (_, address) = self.startup.split_once(&format!(" {kind} on 127.0.0.1:")).unwrap();
        address.chars().take_while(char::is_ascii_digit).collect()
    }

    /// Runs `command` with this broker's address.
    #[track_caller]
    pub(crate) fn run(&self, command: &str, words: &[&str]) -> Ended {
        let patience: &[&str] = if command == "sub" { &["-W", PATIENCE] } else { &[] };
        let port = self.port_of("tcp");
        run(&[&[command, "-h", "127.0.0.1", "-p", &port], patience, words].concat())
    }

    /// A session that is subscribed to `filter` at `QoS` 2.
    pub(crate) fn session(&self, id: &str, filter: &str) {
        let words = ["-i", id, "-c", "-q", "2", "-t", filter, "-E"];
        self.run("sub", &words).expect_success("");
    }

    /// Ends it at once, and starts it again on the same data.
    pub(crate) fn crash(mut self) -> Self {
        self.program.child().kill().unwrap();
        self.program.end();
        Self::start_in(self.directory, &[])
    }
}

/// Its data directory.
pub(crate) fn data(directory: &TempDir) -> PathBuf {
    directory.path().join("data")
}

/// The words that make a client show the certificate of `name` from `directory`.
fn identity(directory: &Path, name: &str) -> Vec<String> {
    let path = |file: &str| directory.join(file).to_str().unwrap().to_owned();
    vec![
        "--cafile".to_owned(),
        path("ca.pem"),
        "--cert".to_owned(),
        path(&format!("client-{name}.pem")),
        "--key".to_owned(),
        path(&format!("client-{name}-key.pem")),
    ]
}

#[test]
fn messages_go_from_pub_to_sub_in_every_version_at_every_qos() {
    let broker = Broker::start(&[]);
    for version in ["31", "311", "5"] {
        for qos in ["0", "1", "2"] {
            let topic = format!("v{version}/q{qos}");
            let words = ["-V", version, "-q", qos, "-r", "-t", &topic, "-m", "hello"];
            broker.run("pub", &words).expect_success("");
            let words = ["-V", version, "-q", "2", "-t", &topic, "-C", "1", "-F", "%t %p %q"];
            broker.run("sub", &words).expect_success(&format!("{topic} hello {qos}\n"));
        }
    }
}

#[test]
fn every_transport_carries_messages() {
    let directory = tempfile::tempdir().unwrap();
    let certificates = directory.path().join("certs");
    let words = ["certs", "--dir", certificates.to_str().unwrap(), "--client", "dev"];
    assert_eq!(run(&words).code, Some(0));
    let socket = directory.path().join("socket");
    let configuration = directory.path().join("tidelog.toml");
    let listener = |kind: &str, rest: &str| {
        format!("[[listener]]\nname = \"{kind}\"\nkind = \"{kind}\"\n{rest}\n")
    };
    let tls = format!(
        "address = \"127.0.0.1:0\"\ncertificate = {:?}\nkey = {:?}\nclient_ca = {:?}\n\
         client_certificate = \"required\"\nuser_from_certificate = \"cn\"\n",
        certificates.join("server.pem"),
        certificates.join("server-key.pem"),
        certificates.join("ca.pem")
    );
    let text = [
        listener("tcp", "address = \"127.0.0.1:0\""),
        listener("websocket", "address = \"127.0.0.1:0\""),
        listener("tls", &tls),
        listener("wss", &tls),
        listener("unix", &format!("address = {socket:?}")),
    ];
    std::fs::write(&configuration, text.concat()).unwrap();
    let words = ["--config", configuration.to_str().unwrap()];
    let broker = Broker::start_configured(directory, &words);
    broker.session("s", "#");

    let identity = identity(&certificates, "dev");
    let identity: Vec<_> = identity.iter().map(String::as_str).collect();
    let [websocket, tls, wss] = ["websocket", "tls", "wss"].map(|kind| broker.port_of(kind));
    let plain = ["pub", "-h", "127.0.0.1", "-q", "1", "-t", "a"];
    let unix = ["pub", "--unix", socket.to_str().unwrap(), "-q", "1", "-t", "a", "-m", "unix"];
    for words in [
        [&plain[..], &["-p", &websocket, "--ws", "-m", "websocket"]].concat(),
        [&plain[..], &["-p", &tls, "-m", "tls"], &identity].concat(),
        [&plain[..], &["-p", &tls, "-m", "tls 1.2", "--tls-version", "tlsv1.2"], &identity]
            .concat(),
        [&plain[..], &["-p", &wss, "--ws", "-m", "wss"], &identity].concat(),
        unix.to_vec(),
    ] {
        run(&words).expect_success("");
    }
    let words = ["-i", "s", "-c", "-q", "2", "-t", "#", "-C", "5"];
    broker.run("sub", &words).expect_success("websocket\ntls\ntls 1.2\nwss\nunix\n");

    let stranger = [&plain[..], &["-p", &tls, "-n", "--cafile", identity[1]]].concat();
    assert_eq!(run(&stranger).code, Some(1));
    let other_name = [&plain[3..], &["-p", &tls, "-n"], &identity].concat();
    let other_name = [&["pub", "-h", "127.0.0.2"], &other_name[..]].concat();
    assert_eq!(run(&other_name).code, Some(1));
}

#[test]
fn a_session_gets_everything_after_the_broker_was_killed() {
    let broker = Broker::start(&[]);
    broker.session("s", "p/#");
    let lines = (0..500).fold(String::new(), |lines, number| format!("{lines}line {number}\n"));
    let port = broker.port_of("tcp");
    let mut publisher =
        Program::start(&["pub", "-h", "127.0.0.1", "-p", &port, "-q", "2", "-t", "p/a", "-l"]);
    publisher.feed(&lines);
    publisher.end().expect_success("");
    let broker = broker.crash();
    let words = ["-i", "s", "-c", "-q", "2", "-t", "p/#", "-C", "200"];
    let first = broker.run("sub", &words);
    let broker = broker.crash();
    let words = ["-i", "s", "-c", "-q", "2", "-t", "p/#", "-C", "300"];
    let second = broker.run("sub", &words);
    assert_eq!(format!("{}{}", first.stdout, second.stdout), lines);
}

#[test]
fn retained_messages_are_kept_and_removed() {
    let broker = Broker::start(&[]);
    for topic in ["a/1", "a/2", "b"] {
        broker.run("pub", &["-q", "1", "-r", "-t", topic, "-m", topic]).expect_success("");
    }
    let words = ["-t", "#", "-T", "b", "--remove-retained", "-C", "2", "-F", "%t %r"];
    let mut removed: Vec<_> =
        broker.run("sub", &words).stdout.lines().map(ToOwned::to_owned).collect();
    removed.sort_unstable();
    assert_eq!(removed, ["a/1 1", "a/2 1"]);
    broker.run("sub", &["-t", "#", "-C", "1", "-v"]).expect_success("b b\n");
}

#[test]
fn a_will_is_published_for_a_client_that_dies() {
    let broker = Broker::start(&[]);
    let port = broker.port_of("tcp");
    broker.session("heir", "state/+");
    let words =
        ["sub", "-h", "127.0.0.1", "-p", &port, "-t", "birth", "-N", "--will-topic", "state/x"];
    let words = [&words[..], &["--will-payload", "gone", "--will-qos", "1"]].concat();
    let mut mortal = Program::start(&words);
    broker.run("pub", &["-q", "1", "-r", "-t", "birth", "-m", "!"]).expect_success("");
    let mut born = [0];
    std::io::Read::read_exact(mortal.child().stdout.as_mut().unwrap(), &mut born).unwrap();
    drop(mortal);
    let words = ["-i", "heir", "-c", "-q", "2", "-t", "state/+", "-C", "1", "-v"];
    broker.run("sub", &words).expect_success("state/x gone\n");
}

#[test]
fn passwords_and_scram_let_in_who_knows_them() {
    let directory = tempfile::tempdir().unwrap();
    let passwords = directory.path().join("passwords");
    let passwords = passwords.to_str().unwrap();
    let words = ["user", "add", "--file", passwords, "me", "--password", "secret"];
    assert_eq!(run(&words).code, Some(0), "{}", run(&words).stderr);
    let file = format!("access.passwords={passwords}");
    let broker = Broker::start(&["--set", &file, "--set", "access.anonymous=never"]);
    for words in [&["-u", "me", "-P", "secret"][..], &["-u", "me", "-P", "secret", "--scram"]] {
        broker.run("pub", &[words, &["-q", "1", "-t", "a", "-n"]].concat()).expect_success("");
    }
    for (words, code) in [
        (&["-u", "me", "-P", "wrong"][..], 134),
        (&["-u", "me", "-P", "wrong", "--scram"], 135),
        (&["-u", "you", "-P", "secret", "--scram"], 135),
        (&[], 135),
    ] {
        let ended = broker.run("pub", &[words, &["-V", "5", "-q", "1", "-t", "a", "-n"]].concat());
        let codes = [Some(code), Some(134), Some(135)];
        assert!(codes.contains(&ended.code), "{words:?}: {ended:?}");
        assert!(ended.stderr.contains("connection refused: "), "{words:?}: {ended:?}");
    }
}

#[test]
fn a_data_directory_is_looked_into_while_the_broker_runs() {
    let broker = Broker::start(&[]);
    let data = data(&broker.directory);
    let data = data.to_str().unwrap();
    broker.run("pub", &["-q", "1", "-t", "a/b", "-m", "hello", "-i", "me"]).expect_success("");
    let verified = run(&["log", "verify", "--data", data]);
    assert_eq!(verified.code, Some(0), "{verified:?}");
    let dumped = run(&["log", "dump", "--data", data, "--topic", "a/+"]);
    let record: serde_json::Value = serde_json::from_str(&dumped.stdout).unwrap();
    assert_eq!(record["kind"], "message");
    assert_eq!((&record["topic"], &record["payload"]), (&"a/b".into(), &"hello".into()));
    assert_eq!(run(&["log", "dump", "--data", data, "--kind", "message"]).stdout, dumped.stdout);
    assert_eq!(run(&["log", "dump", "--data", data, "--limit", "1"]).stdout.lines().count(), 1);
}

#[test]
fn what_is_broken_in_a_data_directory_is_named() {
    let mut broker = Broker::start(&[]);
    let words = ["-q", "1", "-t", "a", "--repeat", "3", "-M", "1", "-m", "needle"];
    broker.run("pub", &words).expect_success("");
    terminate(&mut broker.program);
    let Broker { program, directory, .. } = broker;
    assert_eq!(program.end().code, Some(0));
    let data = data(&directory);
    let segment = std::fs::read_dir(&data).unwrap().map(|entry| entry.unwrap().path());
    let segment =
        segment.filter(|path| path.extension().is_some_and(|name| name == "log")).min().unwrap();
    let mut bytes = std::fs::read(&segment).unwrap();
    let position = bytes.windows(6).position(|window| window == b"needle").unwrap();
    bytes[position] ^= 1;
    std::fs::write(&segment, bytes).unwrap();
    let ended = run(&["log", "verify", "--data", data.to_str().unwrap()]);
    ended.expect_failure(1, segment.file_name().unwrap().to_str().unwrap());
    ended.expect_failure(1, "checksum differs");
    ended.expect_failure(1, "one place is damaged");
}

#[test]
fn a_broker_that_can_not_start_says_why() {
    let broker = Broker::start(&[]);
    let other = tempfile::tempdir().unwrap();
    let other = other.path().to_str().unwrap();
    let taken = format!("127.0.0.1:{}", broker.port_of("tcp"));
    let used = data(&broker.directory);
    let used = used.to_str().unwrap();
    let file = format!("{other}/acl");
    std::fs::write(&file, "allow all readwrite #\nallow nobody\n").unwrap();
    let file_is_no_directory = &format!("data directory {file} (--data, data.dir): ");
    let (acl, wrong_line) =
        (&format!("access.acl={file}"), &format!("access.acl: {file}: line 2: "));
    let file = &file;
    for (words, code, message) in [
        (&["--set", "limits.conections=5"][..], 2, "limits.connections"),
        (&["--config", "no/such/file"], 2, "no/such/file"),
        (&["--data", other, "--set", "trace.level=%"], 2, "trace.level"),
        (
            &["--data", other, "--listen", "0", "--set", "access.passwords=no/such/file"],
            2,
            "access.passwords: no/such/file: ",
        ),
        (&["--data", file, "--listen", "0"], 2, file_is_no_directory),
        (&["--data", other, "--listen", "0", "--set", acl], 2, wrong_line),
        (&["serve", "--data", other, "--listen", &taken], 1, "in use"),
        (&["serve", "--data", used, "--listen", "127.0.0.1:0"], 1, used),
    ] {
        let ended = run(words);
        ended.expect_failure(code, message);
        assert!(!ended.stdout.contains("listening"), "{ended:?}");
    }
}

#[test]
fn a_signal_ends_it_in_good_order() {
    let mut broker = Broker::start(&["--set", "trace.level=error"]);
    terminate(&mut broker.program);
    let ended = broker.program.end();
    assert_eq!((ended.code, ended.stderr.as_str()), (Some(0), ""));
}

#[test]
fn the_containers_health_check_holds() {
    let broker = Broker::start(&[]);
    broker.run("sub", &["-t", "$SYS/broker/uptime", "-E"]).expect_success("");
}

/// Who came, and why they went; nothing secret, and nobody can forge a line.
#[test]
fn clients_that_come_and_go_leave_a_line_each() {
    let directory = tempfile::tempdir().unwrap();
    let passwords = directory.path().join("passwords");
    std::fs::write(&passwords, "").unwrap();
    let file = format!("access.passwords={}", passwords.display());
    let level = "trace.level=info,tidelog::clients=debug";
    let mut broker = Broker::start(&["--set", level, "--set", &file]);
    let words = ["-i", "pump\nforged", "-u", "me", "-P", "secret", "-V", "5", "-k", "30"];
    let ended = broker.run("pub", &[&words[..], &["-q", "1", "-t", "a", "-m", "payload"]].concat());
    assert_ne!(ended.code, Some(0), "there is no such user");
    broker.run("pub", &["-i", "pump\nforged", "-V", "311", "-k", "30", "-q", "1", "-t", "a", "-n"]);
    terminate(&mut broker.program);
    let traces = broker.program.end().stderr;
    let line = |what: &str| {
        let mut lines = traces.lines().filter(|line| line.contains(what));
        let line = lines.next().unwrap_or_else(|| panic!("no '{what}' in: {traces}"));
        assert_eq!(lines.next(), None, "{traces}");
        line
    };
    let refused = line("connect refused");
    for part in
        [r#"client="pump\nforged""#, r#"user="me""#, "listener=127.0.0.1:0", "peer=127.0.0.1:"]
    {
        assert!(refused.contains(part), "no {part} in: {refused}");
    }
    let connected = line(" connected ");
    for part in [
        r#"client="pump\nforged""#,
        "version=3.1.1",
        "keep_alive=30",
        "clean_start=true",
        "session_present=false",
    ] {
        assert!(connected.contains(part), "no {part} in: {connected}");
    }
    assert!(line(" disconnected ").contains("why=it disconnected"), "{traces}");
    assert!(!traces.contains("secret") && !traces.contains("payload"), "{traces}");
}

/// One that came before it listened used to end it at once, or to be lost.
#[test]
fn signals_count_from_the_start_on() {
    let directory = tempfile::tempdir().unwrap();
    let data = data(&directory);
    let words = ["serve", "--data", data.to_str().unwrap(), "--listen", "127.0.0.1:0"];
    let mut program = Program::start(&[&words[..], &["--set", SMALL_SEGMENTS]].concat());
    while !data.exists() {
        assert_eq!(program.child().try_wait().unwrap(), None);
        std::thread::yield_now();
    }
    signal(&mut program, Signal::HUP);
    signal(&mut program, Signal::TERM);
    let ended = program.end();
    assert_eq!(ended.code, Some(0), "{ended:?}");
    assert!(ended.stdout.contains("listening:") && ended.stderr.contains("ending"), "{ended:?}");
}

#[test]
fn too_few_open_files_are_said_once_and_only_if_they_are_too_few() {
    for (connections, warnings) in [("272", 0), ("273", 1)] {
        let directory = tempfile::tempdir().unwrap();
        let data = data(&directory);
        let connections = format!("limits.connections={connections}");
        let words = ["serve", "--data", data.to_str().unwrap(), "--listen", "127.0.0.1:0"];
        let words = [&words[..], &["--set", SMALL_SEGMENTS, "--set", &connections]].concat();
        let mut program = Program::start_with_files(400, &words);
        while !data.join("secret").exists() {
            assert_eq!(program.child().try_wait().unwrap(), None);
            std::thread::yield_now();
        }
        terminate(&mut program);
        let ended = program.end();
        let said = "WARNING: the system allows 400 open files (ulimit -n): 272 connections fit";
        assert_eq!(ended.stdout.matches(said).count(), warnings, "{ended:?}");
        assert!(!ended.stderr.contains("open files"), "{ended:?}");
        assert_eq!(ended.code, Some(0), "{ended:?}");
    }
}
