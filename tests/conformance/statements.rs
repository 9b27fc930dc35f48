//! The guards of `statements.toml`: every statement has one row, every citation is of a statement, every test named exists.

use std::collections::BTreeMap;
use std::collections::BTreeSet;
use std::path::Path;
use std::path::PathBuf;

use serde::Deserialize;

/// Statements about the server that no test shows yet. This number may only shrink.
const UNTESTED_SERVER_STATEMENTS_MAX: usize = 0;

const IDS_3_1_1: &str = include_str!("ids-3.1.1.txt");
const IDS_5_0: &str = include_str!("ids-5.0.txt");

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Table {
    statement: Vec<Row>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Row {
    /// As it is cited: `MQTT-3.1.0-1`, or `3.1.1 MQTT-3.1.0-1`.
    id: String,
    who: Who,
    status: Status,
    #[serde(default)]
    tests: Vec<String>,
    #[serde(default)]
    why: Option<String>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Who {
    Server,
    Client,
    Both,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
enum Status {
    /// The tests named show it.
    Tested,
    /// It can't be otherwise by how the broker is made, and `why` says how.
    ByDesign,
    /// It binds clients only, in a way that a server can't observe.
    Client,
    /// It is ours, and nothing shows it.
    Untested,
}

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn table() -> Vec<Row> {
    let path = root().join("tests/conformance/statements.toml");
    let text = std::fs::read_to_string(path).unwrap();
    toml::from_str::<Table>(&text).unwrap().statement
}

/// Every statement and whom it binds, as the lists have them.
fn statements() -> BTreeMap<String, Who> {
    let mut found = BTreeMap::new();
    for (prefix, list) in [("3.1.1 ", IDS_3_1_1), ("", IDS_5_0)] {
        for line in list.lines() {
            let (id, who) = line.split_once(' ').unwrap();
            let who = match who {
                "server" => Who::Server,
                "client" => Who::Client,
                "both" => Who::Both,
                other => panic!("{other}"),
            };
            assert_eq!(found.insert(format!("{prefix}{id}"), who), None, "{id} is listed twice");
        }
    }
    found
}

fn rust_files(folder: &Path, found: &mut Vec<PathBuf>) {
    let Ok(entries) = std::fs::read_dir(folder) else { return };
    for entry in entries {
        let path = entry.unwrap().path();
        if path.is_dir() {
            rust_files(&path, found);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            found.push(path);
        }
    }
}

fn sources(folders: &[&str]) -> Vec<(PathBuf, String)> {
    let mut paths = Vec::new();
    for folder in folders {
        rust_files(&root().join(folder), &mut paths);
    }
    paths.sort();
    paths.into_iter().map(|path| (path.clone(), std::fs::read_to_string(path).unwrap())).collect()
}

/// The statements cited in brackets in this text.
fn citations(text: &str) -> BTreeSet<String> {
    let mut found = BTreeSet::new();
    for part in text.split('[').skip(1) {
        let Some((inside, _)) = part.split_once(']') else { continue };
        let id = inside.strip_prefix("3.1.1 ").unwrap_or(inside);
        let numbers = id.strip_prefix("MQTT-").unwrap_or_default();
        let is_id = numbers.contains('-')
            && numbers.bytes().all(|b| b.is_ascii_digit() || b == b'.' || b == b'-');
        if is_id {
            found.insert(inside.to_owned());
        }
    }
    found
}

/// The tests of this folder: their names, as `module::name`, and the statements in their doc comments.
fn conformance_tests() -> BTreeMap<String, BTreeSet<String>> {
    let mut found = BTreeMap::new();
    for (path, text) in sources(&["tests/conformance"]) {
        let module = path.file_stem().unwrap().to_str().unwrap().to_owned();
        let mut comment = String::new();
        let mut is_test = false;
        for line in text.lines() {
            if let Some(text) = line.strip_prefix("///") {
                comment += text;
            } else if line == "#[test]" {
                is_test = true;
            } else if let Some(rest) = line.strip_prefix("fn ") {
                let name = rest.split('(').next().unwrap();
                if is_test {
                    found.insert(format!("{module}::{name}"), citations(&comment));
                }
                comment.clear();
                is_test = false;
            } else if !line.starts_with("#[") {
                comment.clear();
            }
        }
    }
    found
}

#[test]
fn the_lists_are_whole() {
    assert_eq!(IDS_3_1_1.lines().count(), 141);
    assert_eq!(IDS_5_0.lines().count(), 251);
}

#[test]
fn every_statement_has_one_row() {
    let statements = statements();
    let mut rows = BTreeSet::new();
    for row in table() {
        let listed = statements.get(&row.id);
        assert_eq!(listed, Some(&row.who), "{} does not bind {:?}", row.id, row.who);
        assert!(rows.insert(row.id.clone()), "{} has two rows", row.id);
    }
    let missing: Vec<&String> = statements.keys().filter(|id| !rows.contains(*id)).collect();
    assert!(missing.is_empty(), "without a row: {missing:?}");
}

#[test]
fn every_row_says_what_its_status_needs() {
    for row in table() {
        let has_tests = !row.tests.is_empty();
        let has_reason = row.why.as_ref().is_some_and(|why| !why.is_empty());
        let expected = match row.status {
            Status::Tested => (true, false),
            Status::ByDesign | Status::Client | Status::Untested => (false, true),
        };
        assert_eq!((has_tests, has_reason), expected, "{}: tests and reason", row.id);
        let bound_only = row.status != Status::Client || row.who == Who::Client;
        assert!(bound_only, "{} binds the server too", row.id);
    }
}

#[test]
fn every_citation_is_of_a_statement() {
    let statements = statements();
    for (path, text) in sources(&["src", "tests", "examples", "fuzz"]) {
        for id in citations(&text) {
            assert!(
                statements.contains_key(&id),
                "{} cites [{id}], which there is not",
                path.display()
            );
        }
    }
}

#[test]
fn rows_and_tests_name_each_other() {
    let tests = conformance_tests();
    let rows: BTreeMap<String, Row> =
        table().into_iter().map(|row| (row.id.clone(), row)).collect();
    for row in rows.values() {
        for name in &row.tests {
            let cited =
                tests.get(name).unwrap_or_else(|| panic!("{}: there is no test {name}", row.id));
            assert!(cited.contains(&row.id), "{name} does not say that it shows {}", row.id);
        }
    }
    for (name, cited) in &tests {
        for id in cited {
            let named = rows.get(id).is_some_and(|row| row.tests.contains(name));
            assert!(named, "{name} shows {id}, and its row does not say so");
        }
    }
}

#[test]
fn every_test_says_what_it_shows() {
    for (name, cited) in conformance_tests() {
        let guards = name.starts_with("statements::");
        assert!(guards || !cited.is_empty(), "{name} cites no statement");
    }
}

#[test]
fn untested_statements_only_become_fewer() {
    let untested: Vec<String> = table()
        .into_iter()
        .filter(|row| row.status == Status::Untested && row.who != Who::Client)
        .map(|row| row.id)
        .collect();
    assert_eq!(
        untested.len(),
        UNTESTED_SERVER_STATEMENTS_MAX,
        "the constant is to shrink: {untested:?}"
    );
}
