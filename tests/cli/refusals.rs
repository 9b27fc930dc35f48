//! Data directories that a broker does not take: it says which one and why, and leaves everything as it was.

use std::collections::BTreeMap;
use std::io::BufRead;
use std::io::BufReader;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::Command;

use tempfile::TempDir;
use tidelog::commitlog::disk::Disk;
use tidelog::commitlog::disk::OsDisk;

use crate::broker::Broker;
use crate::broker::data;
use crate::program::Ended;
use crate::program::Program;
use crate::program::command;
use crate::program::run;

/// A user who owns nothing.
const NOBODY: u32 = 65_534;

const ANY_PORT: &str = "127.0.0.1:0";

/// A data directory that a broker has made.
fn made() -> TempDir {
    let broker = Broker::start(&[]);
    broker.run("pub", &["-q", "1", "-t", "a", "-n"]).expect_success("");
    let Broker { program, directory, .. } = broker;
    drop(program);
    directory
}

/// The names of all files in a folder and the checksums of their bytes, but for the lock, which is always empty.
fn contents(folder: &Path) -> BTreeMap<String, u32> {
    let files = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    let files = files.filter(|path| path.is_file() && !path.ends_with("lock"));
    files
        .map(|path| (path.display().to_string(), crc32c::crc32c(&std::fs::read(&path).unwrap())))
        .collect()
}

/// Runs `tidelog serve` as somebody to whom the system says no: root may write everywhere.
fn serve_unprivileged(data: &Path) -> Ended {
    let words = ["serve", "--data", data.to_str().unwrap(), "--listen", ANY_PORT];
    if !rustix::process::geteuid().is_root() {
        return run(&words);
    }
    // Where the build is may be closed to others.
    let folder = tempfile::tempdir().unwrap();
    std::fs::set_permissions(folder.path(), PermissionsExt::from_mode(0o755)).unwrap();
    let program = folder.path().join("tidelog");
    std::fs::copy(env!("CARGO_BIN_EXE_tidelog"), &program).unwrap();
    let mut command = Command::new(&program);
    command.args(words).current_dir("/").uid(NOBODY).gid(NOBODY);
    Ended::new(&command.output().unwrap())
}

#[test]
fn a_second_broker_is_told_who_has_the_directory() {
    let mut broker = Broker::start(&[]);
    let used = data(&broker.directory);
    let used = used.to_str().unwrap();
    let ended = run(&["serve", "--data", used, "--listen", ANY_PORT]);
    ended.expect_failure(1, &format!("data directory {used} is in use by another broker"));
    if cfg!(target_os = "linux") {
        ended.expect_failure(1, &format!("(process {}, tidelog)", broker.program.child().id()));
    }
    broker.run("pub", &["-q", "1", "-t", "a", "-n"]).expect_success("");
}

#[test]
fn a_directory_that_may_not_be_written_is_refused() {
    let old = made();
    let fresh = tempfile::tempdir().unwrap();
    for (parent, folder) in [(&old, data(&old)), (&fresh, fresh.path().to_owned())] {
        let before = contents(&folder);
        std::fs::set_permissions(parent.path(), PermissionsExt::from_mode(0o755)).unwrap();
        std::fs::set_permissions(&folder, PermissionsExt::from_mode(0o555)).unwrap();
        let ended = serve_unprivileged(&folder);
        ended.expect_failure(
            2,
            &format!("data directory {} (--data, data.dir): ", folder.display()),
        );
        ended.expect_failure(2, "Permission denied");
        assert_eq!(contents(&folder), before);
        std::fs::set_permissions(&folder, PermissionsExt::from_mode(0o755)).unwrap();
    }
    let inside = fresh.path().join("new/data");
    serve_unprivileged(&inside).expect_failure(2, &inside.display().to_string());
}

#[test]
fn a_directory_of_a_newer_format_is_refused_and_left_alone() {
    let directory = made();
    let folder = data(&directory);
    let path = folder.to_str().unwrap();
    let text = "tidelog log\nformat 2\nid 746964656c6f6721\nnew things\n";
    let text = format!("{text}crc {:08x}\n", crc32c::crc32c(text.as_bytes()));
    std::fs::write(folder.join("format"), text).unwrap();
    let before = contents(&folder);
    for words in [
        &["serve", "--data", path, "--listen", ANY_PORT][..],
        &["log", "verify", "--data", path],
        &["log", "dump", "--data", path],
    ] {
        let ended = run(words);
        ended.expect_failure(1, path);
        ended.expect_failure(1, "has log format 2, this version reads formats up to 1");
        assert_eq!(contents(&folder), before, "{words:?}");
    }
}

#[test]
fn a_segment_of_a_newer_format_is_refused_too() {
    let directory = made();
    let folder = data(&directory);
    let segment = folder.join("00000000000000000000.log");
    let mut bytes = std::fs::read(&segment).unwrap();
    bytes[12] = 2;
    let checksum = crc32c::crc32c(&bytes[12..64]);
    bytes[8..12].copy_from_slice(&checksum.to_le_bytes());
    std::fs::write(&segment, bytes).unwrap();
    let before = contents(&folder);
    let ended = run(&["serve", "--data", folder.to_str().unwrap(), "--listen", ANY_PORT]);
    ended.expect_failure(1, "has log format 2");
    assert_eq!(contents(&folder), before);
}

#[test]
fn a_file_is_no_data_directory() {
    let file = tempfile::NamedTempFile::new().unwrap();
    let path = file.path().to_str().unwrap();
    let ended = run(&["serve", "--data", path, "--listen", ANY_PORT]);
    ended.expect_failure(2, &format!("data directory {path} (--data, data.dir): not a directory"));
    run(&["log", "verify", "--data", path]).expect_failure(1, path);
}

#[test]
fn a_start_that_fails_leaves_no_directory_behind() {
    let broker = Broker::start(&[]);
    let taken = format!("127.0.0.1:{}", broker.port_of("tcp"));
    let folder = tempfile::tempdir().unwrap();
    let new = folder.path().join("new");
    let path = new.to_str().unwrap();
    let rules = folder.path().join("rules");
    std::fs::write(&rules, "nonsense\n").unwrap();
    let rules = format!("access.acl={}", rules.display());
    for (words, code, message) in [
        (&["--listen", taken.as_str()][..], 1, "in use"),
        (&["--listen", ANY_PORT, "--listen", &taken], 1, "in use"),
        (&["--listen", ANY_PORT, "--set", &rules], 2, "access.acl: "),
    ] {
        run(&[&["serve", "--data", path], words].concat()).expect_failure(code, message);
        assert!(!new.exists(), "{words:?}");
    }
}

#[test]
fn a_broker_starts_in_the_instant_that_the_one_before_was_killed() {
    let mut broker = Broker::start(&[]);
    let folder = data(&broker.directory);
    let words = ["serve", "--data", folder.to_str().unwrap(), "--listen", ANY_PORT];
    let mut before = Some(std::mem::replace(&mut broker.program, Program::start(&["version"])));
    for _ in 0..10 {
        let mut killed = before.take().unwrap();
        killed.child().kill().unwrap();
        let mut program = Program::start(&words);
        wait_for_line(&mut program, "listening:");
        before = Some(program);
    }
}

/// Reads what a program says on standard output up to a line with this.
fn wait_for_line(program: &mut Program, wanted: &str) {
    let stdout = BufReader::new(program.child().stdout.take().unwrap());
    let found = stdout.lines().map_while(Result::ok).any(|line| line.contains(wanted));
    assert!(found, "the broker did not start");
}

#[test]
fn a_lock_that_is_about_to_go_is_waited_for() {
    let directory = made();
    let folder = data(&directory);
    let lock = OsDisk::open(&folder).unwrap().lock("lock").unwrap();
    let words = ["serve", "--data", folder.to_str().unwrap(), "--listen", ANY_PORT];
    let mut command = command(&words);
    command.args(["--set", "trace.level=info"]);
    let mut program = Program::of(command.spawn().unwrap());
    let mut trace = BufReader::new(program.child().stderr.take().unwrap()).lines();
    let waits = trace.by_ref().map_while(Result::ok).find(|line| line.contains("is in use"));
    assert!(waits.is_some_and(|line| line.contains("waiting up to 2s")));
    drop(lock);
    wait_for_line(&mut program, "listening:");
}
