//! Golden scripts: what clients send, and what the broker has to answer, as the specification says it.
//!
//! Every `*.script` below this folder is run against a broker in memory with a clock of its own. A script opens with the rule that
//! it shows, and its statement ids; then come blocks: commands, `---`, and everything that the broker did because of them.
//!
//! ```text
//! connect c1 version=5 clean_start
//! ---
//! c1 <- CONNACK success session_present=false
//! ```
//!
//! `UPDATE_SCRIPTS=1 cargo test --test scripts` writes what the broker did in place of what was expected: read the difference
//! against the specification before it is kept. The commands are in `command.rs`, the form of packets in `print.rs`.

#![expect(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test fails by panicking")]
#![expect(
    clippy::disallowed_methods,
    reason = "scripts are files, and whoever runs the test says whether to update them"
)]

mod command;
#[path = "../sim/engine.rs"]
#[expect(dead_code, reason = "the simulation uses more of it")]
mod engine;
mod hex;
mod print;
mod stage;

use std::fmt::Write as _;
use std::path::Path;
use std::path::PathBuf;

use stage::Stage;

/// A script, cut into its parts.
struct Block {
    /// Commands with their comments, as they stand.
    commands: Vec<String>,
    expected: Vec<String>,
}

fn scripts(folder: &Path, found: &mut Vec<PathBuf>) {
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            scripts(&path, found);
        } else if path.extension().is_some_and(|extension| extension == "script") {
            found.push(path);
        }
    }
}

fn parse(text: &str) -> Vec<Block> {
    let mut blocks = Vec::new();
    let mut block = Block { commands: Vec::new(), expected: Vec::new() };
    let mut expects = false;
    for line in text.lines() {
        match line {
            "---" => expects = true,
            "" if expects => {
                blocks.push(std::mem::replace(
                    &mut block,
                    Block { commands: Vec::new(), expected: Vec::new() },
                ));
                expects = false;
            }
            line if expects => block.expected.push(line.to_owned()),
            line => block.commands.push(line.to_owned()),
        }
    }
    if expects || !block.commands.is_empty() {
        blocks.push(block);
    }
    blocks
}

/// Runs a script; returns it as it would have to be.
fn play(blocks: &[Block]) -> String {
    let mut stage = Stage::new();
    let mut text = String::new();
    for block in blocks {
        for line in &block.commands {
            writeln!(text, "{line}").unwrap();
            let command = line.split(" # ").next().unwrap_or("").trim();
            if !command.is_empty() && !command.starts_with('#') {
                stage.command(command);
            }
        }
        writeln!(text, "---").unwrap();
        for line in stage.take_events() {
            writeln!(text, "{line}").unwrap();
        }
        writeln!(text).unwrap();
    }
    text.truncate(text.trim_end().len());
    text.push('\n');
    text
}

/// Lines that differ, one below the other.
fn difference(expected: &str, actual: &str) -> String {
    let mut text = String::new();
    let (mut expected, mut actual) = (expected.lines(), actual.lines());
    loop {
        match (expected.next(), actual.next()) {
            (None, None) => return text,
            (one, other) if one == other => {
                writeln!(text, "    {}", one.unwrap_or_default()).unwrap();
            }
            (one, other) => {
                writeln!(text, "  - {}\n  + {}", one.unwrap_or("(end)"), other.unwrap_or("(end)"))
                    .unwrap();
                for line in actual.by_ref() {
                    writeln!(text, "  + {line}").unwrap();
                }
                return text;
            }
        }
    }
}

#[test]
fn every_script_plays_as_written() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/scripts");
    let mut paths = Vec::new();
    scripts(&folder, &mut paths);
    paths.sort();
    assert!(paths.len() >= 60, "only {} scripts", paths.len());
    let mut failures = String::new();
    for path in &paths {
        let text = std::fs::read_to_string(path).unwrap();
        let actual = play(&parse(&text));
        if actual == text {
            continue;
        }
        if std::env::var_os("UPDATE_SCRIPTS").is_some() {
            std::fs::write(path, actual).unwrap();
        } else {
            let name = path.strip_prefix(&folder).unwrap().display();
            writeln!(failures, "{name}\n{}", difference(&text, &actual)).unwrap();
        }
    }
    assert!(failures.is_empty(), "\n{failures}");
}

/// A bug that is put in on purpose changes what a script prints. To be run alone: the bug is in the whole process.
#[cfg(feature = "mutants")]
#[test]
fn bugs_that_histories_do_not_show_are_seen() {
    use tidelog::mutant::Mutant;
    for (bug, path) in [
        (Mutant::PauseIsSilence, "disk/keep_alive_while_slow.script"),
        (Mutant::CommitAtAcknowledgement, "groups/manual_commit.script"),
        (Mutant::LaggingLate, "events/lagging_at_once.script"),
    ] {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/scripts");
        let text = std::fs::read_to_string(folder.join(path)).unwrap();
        tidelog::mutant::activate(Some(bug));
        let actual = play(&parse(&text));
        tidelog::mutant::activate(None);
        assert_ne!(actual, text, "{} is not seen", bug.name());
    }
}

#[test]
fn every_script_opens_with_its_rule_and_a_statement() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/scripts");
    let mut paths = Vec::new();
    scripts(&folder, &mut paths);
    // What is beyond the specification has a decision record instead.
    paths.retain(|path| !path.starts_with(folder.join("replay")));
    for path in paths {
        let text = std::fs::read_to_string(&path).unwrap();
        let comment: String = text.lines().take_while(|line| line.starts_with('#')).collect();
        assert!(comment.contains('['), "{} names no statement", path.display());
    }
}
