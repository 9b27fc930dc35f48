//! `tidelog log`: data directories checked, copied and mended, beside a running broker and without one.

use std::path::Path;
use std::path::PathBuf;

use serde_json::Value;
use tempfile::TempDir;

use crate::broker::Broker;
use crate::broker::data;
use crate::program::Ended;
use crate::program::Program;
use crate::program::run;
use crate::program::terminate;

/// Runs `tidelog log` with these words.
fn log(words: &[&str]) -> Ended {
    run(&[&["log"], words].concat())
}

#[track_caller]
fn verified(folder: &Path) -> String {
    let ended = log(&["verify", "--data", folder.to_str().unwrap()]);
    assert_eq!((ended.code, ended.stderr.as_str()), (Some(0), ""), "{}", ended.stdout);
    ended.stdout
}

fn verified_json(folder: &Path) -> Value {
    let ended = log(&["verify", "--json", "--data", folder.to_str().unwrap()]);
    serde_json::from_str(&ended.stdout).unwrap()
}

/// A broker with sessions, retained messages and several segments of messages.
fn filled() -> Broker {
    let broker = Broker::start(&["--set", "data.checkpoint_interval=100 ms"]);
    for id in ["one", "two"] {
        broker.session(id, "load/#");
    }
    broker.run("pub", &["-q", "1", "-r", "-t", "state", "-m", "kept"]).expect_success("");
    publish(&broker, "load/a", 60);
    broker
}

/// Publishes so many messages of 64 KiB, that many lines.
fn publish(broker: &Broker, topic: &str, count: usize) {
    let port = broker.port_of("tcp");
    let words = ["pub", "-h", "127.0.0.1", "-p", &port, "-q", "1", "-t", topic, "-l"];
    let mut publisher = Program::start(&words);
    let line = format!("needle {}\n", "x".repeat(64 << 10));
    publisher.feed(&line.repeat(count));
    publisher.end().expect_success("");
}

/// Ends the broker in good order, with a last checkpoint, and keeps its directory.
fn stop(broker: Broker) -> TempDir {
    let Broker { mut program, directory, .. } = broker;
    terminate(&mut program);
    assert_eq!(program.end().code, Some(0));
    directory
}

/// Kills the broker and keeps its directory.
fn kill(broker: Broker) -> TempDir {
    let Broker { program, directory, .. } = broker;
    drop(program);
    directory
}

fn segments(folder: &Path) -> Vec<PathBuf> {
    let files = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    let mut logs: Vec<_> =
        files.filter(|path| path.extension().is_some_and(|kind| kind == "log")).collect();
    logs.sort();
    logs
}

/// How many messages a session is owed.
fn owed(broker: &Broker, id: &str, count: usize) {
    let words = ["-i", id, "-c", "-q", "2", "-t", "load/#", "-C", &count.to_string(), "-F", "%t"];
    let ended = broker.run("sub", &words);
    assert_eq!((ended.code, ended.stdout.lines().count()), (Some(0), count), "{}", ended.stderr);
}

/// Flips a bit of a message in a segment.
fn spoil(segment: &Path) {
    let mut bytes = std::fs::read(segment).unwrap();
    let position = bytes.windows(6).position(|window| window == b"needle").unwrap();
    *bytes.get_mut(position + 100).unwrap() ^= 1;
    std::fs::write(segment, bytes).unwrap();
}

#[test]
fn a_snapshot_of_a_running_broker_is_whole_and_a_broker_starts_from_it() {
    let broker = filled();
    let folder = data(&broker.directory);
    let root = tempfile::tempdir().unwrap();
    for (name, words) in [("shared", &[][..]), ("copied", &["--copy"])] {
        let target = root.path().join(name);
        let path = target.to_str().unwrap();
        let words = [&["snapshot", "--data", folder.to_str().unwrap()], words, &[path]].concat();
        let ended = log(&words);
        assert_eq!((ended.code, ended.stderr.as_str()), (Some(0), ""), "{}", ended.stdout);
        assert!(segments(&target).len() > 2 && !target.join("lock").exists());
        assert!(verified(&target).contains("there is none"));
    }
    owed(&broker, "one", 60);
    // The source goes on, and goes; the snapshot stays as it was.
    publish(&broker, "load/b", 30);
    drop(kill(broker));
    for name in ["shared", "copied"] {
        let restored = TempDir::new().unwrap();
        let target = data(&restored);
        let snapshot = root.path().join(name);
        let words = ["restore", snapshot.to_str().unwrap(), target.to_str().unwrap()];
        let ended = log(&words);
        assert_eq!((ended.code, ended.stderr.as_str()), (Some(0), ""), "{}", ended.stdout);
        verified(&target);
        let broker = Broker::start_in(restored, &[]);
        owed(&broker, "two", 60);
        broker.run("sub", &["-t", "state", "-C", "1"]).expect_success("kept\n");
    }
}

#[test]
fn snapshots_under_load_and_retention_are_whole() {
    let words = ["--set", "data.retention_bytes=3 MiB", "--set", "data.checkpoint_interval=50 ms"];
    let broker = Broker::start(&words);
    broker.session("one", "load/#");
    let folder = data(&broker.directory);
    let root = tempfile::tempdir().unwrap();
    std::thread::scope(|scope| {
        let load = scope.spawn(|| publish(&broker, "load/a", 1_000));
        let mut number = 0;
        while !load.is_finished() || number < 3 {
            let target = root.path().join(number.to_string());
            let path = target.to_str().unwrap();
            let ended = log(&["snapshot", "--data", folder.to_str().unwrap(), path]);
            assert_eq!((ended.code, ended.stderr.as_str()), (Some(0), ""), "{}", ended.stdout);
            verified(&target);
            number += 1;
        }
    });
}

#[test]
fn what_is_not_empty_or_not_whole_is_not_restored() {
    let broker = filled();
    let folder = data(&broker.directory);
    let root = tempfile::tempdir().unwrap();
    let [snapshot, target] = ["snapshot", "target"].map(|name| root.path().join(name));
    let [from, to] = [&snapshot, &target].map(|path| path.to_str().unwrap());
    let used = folder.to_str().unwrap();
    assert_eq!(log(&["snapshot", "--data", used, from]).code, Some(0));
    log(&["snapshot", "--data", used, from]).expect_failure(1, "is not empty");
    log(&["restore", from, used]).expect_failure(1, "is not empty");
    log(&["snapshot", "--data", root.path().to_str().unwrap(), to])
        .expect_failure(1, "holds no log");
    let logs = segments(&snapshot);
    std::fs::remove_file(logs.last().unwrap()).unwrap();
    spoil(&logs[0]);
    log(&["restore", from, to]).expect_failure(1, "nothing was restored");
    assert!(!target.exists() && std::fs::read_dir(root.path()).unwrap().count() == 1);
}

#[test]
fn a_check_compares_the_state_with_the_log() {
    let folder = stop(filled());
    let folder = data(&folder);
    let sound = verified(&folder);
    assert!(sound.contains("retained messages, the same as the log's"), "{sound}");
    let sound = verified_json(&folder);
    assert_eq!((&sound["sound"], &sound["state"]["compared"]), (&true.into(), &true.into()));

    // A state that says something else: that of another log, and one with a session that the log does not know.
    let path = folder.join("state");
    {
        use tidelog::store::StateStore;
        let mut state = tidelog::store::SledStateStore::new(&path);
        state.open().unwrap();
        let mut session = None;
        state
            .scan(&mut |key, value| {
                if key.starts_with(b"\x01\x02\x00one") {
                    session = Some((key.to_vec(), value.to_vec()));
                }
            })
            .unwrap();
        let (mut key, value) = session.unwrap();
        key[5] = b'O';
        state.apply(&[(key, Some(value))]).unwrap();
        state.sync().unwrap();
    }
    let ended = log(&["verify", "--data", folder.to_str().unwrap()]);
    ended.expect_failure(1, "state: session \"onO\" is not what the log says");
    ended.expect_failure(1, "one place is damaged");
    assert_eq!(verified_json(&folder)["sound"], false);

    std::fs::write(path.join("conf"), "nonsense").unwrap();
    std::fs::write(path.join("db"), vec![0x5a; 1 << 20]).unwrap();
    let ended = log(&["verify", "--data", folder.to_str().unwrap()]);
    ended.expect_failure(1, "state: the checkpoint was damaged");
    assert!(path.join("db").exists(), "a check moves nothing");
}

#[test]
fn a_repair_gives_up_what_is_broken_and_nothing_else() {
    let directory = kill(filled());
    let folder = data(&directory);
    let path = folder.to_str().unwrap();
    let logs = segments(&folder);
    spoil(&logs[1]);
    let broken = verified_json(&folder);
    assert_eq!(broken["sound"], false);
    let lost = &broken["damage"][0];
    let lost = lost["to"].as_u64().unwrap() - lost["from"].as_u64().unwrap();

    let ended = log(&["repair", "--data", path]);
    assert_eq!((ended.code, ended.stderr.as_str()), (Some(0), ""), "{}", ended.stdout);
    let name = logs[1].file_name().unwrap().to_str().unwrap();
    assert!(ended.stdout.contains(&format!("given up: {name} at byte ")), "{}", ended.stdout);
    assert!(ended.stdout.contains("messages to load/a"), "{}", ended.stdout);
    assert!(ended.stdout.contains(&format!("given up in all: {lost} offsets")), "{}", ended.stdout);
    let copy = std::fs::read_dir(directory.path()).unwrap().map(|entry| entry.unwrap().path());
    let copy = copy.filter(|path| path.to_str().unwrap().contains("data.before-repair-"));
    let copies: Vec<_> = copy.collect();
    assert_eq!(copies.len(), 1);
    assert_eq!(verified_json(&copies[0]), broken);
    verified(&folder);

    let mut again = Broker::start_in(directory, &[]);
    assert!(!again.startup.contains("damage"), "{}", again.startup);
    owed(&again, "one", 60 - usize::try_from(lost).unwrap());
    let ended = log(&["repair", "--data", path]);
    ended.expect_failure(1, "is a broker using it?");
    again.program.child().kill().unwrap();
}

#[test]
fn a_repair_of_a_sound_directory_changes_nothing() {
    let directory = kill(filled());
    let folder = data(&directory);
    let before = verified_json(&folder);
    let copy = directory.path().join("copy");
    let words = ["repair", "--data", folder.to_str().unwrap(), "--copy-to", copy.to_str().unwrap()];
    let ended = log(&words);
    assert!(ended.stdout.contains("nothing was wrong with the log"), "{ended:?}");
    assert_eq!((verified_json(&folder), verified_json(&copy)), (before.clone(), before));
    log(&words).expect_failure(1, "is not empty");
}

#[test]
fn a_dump_shows_what_is_asked_for() {
    let broker = Broker::start(&[]);
    for (topic, text) in [("a", "1"), ("b", "2"), ("a", "3")] {
        broker.run("pub", &["-q", "1", "-t", topic, "-m", text]).expect_success("");
    }
    let folder = data(&broker.directory);
    let dump = |words: &[&str]| {
        let ended = log(&[&["dump", "--data", folder.to_str().unwrap()], words].concat());
        assert_eq!(ended.code, Some(0), "{}", ended.stderr);
        let lines = ended.stdout.lines().map(|line| serde_json::from_str(line).unwrap());
        lines.collect::<Vec<Value>>()
    };
    let messages = dump(&["--kind", "message"]);
    let payloads = |records: &[Value]| {
        let texts = records.iter().map(|record| record["payload"].as_str().unwrap().to_owned());
        texts.collect::<Vec<_>>()
    };
    assert_eq!(payloads(&messages), ["1", "2", "3"]);
    assert_eq!(payloads(&dump(&["-t", "a"])), ["1", "3"]);
    let offset = messages[1]["offset"].to_string();
    assert_eq!(payloads(&dump(&["--kind", "message", "--from", &offset])), ["2", "3"]);
    assert_eq!(payloads(&dump(&["--kind", "message", "--to", &offset])), ["1"]);
    let second = messages[1]["timestamp"].as_str().unwrap();
    assert_eq!(payloads(&dump(&["--kind", "message", "--since", second])), ["2", "3"]);
    assert_eq!(payloads(&dump(&["--kind", "message", "--until", second])), ["1"]);
    assert_eq!(payloads(&dump(&["-t", "#", "--since", "ago-1h", "--limit", "1"])), ["1"]);
    assert_eq!(dump(&["--until", "t-1000"]).len(), 0);
    log(&["dump", "--since", "yesterday"]).expect_failure(2, "ago-15m");
}
