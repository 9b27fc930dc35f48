//! The rules of the layout, held by a test: imports between layers point down, every file says what it is, functions and
//! files stay short, and only the doors that are named here open what the lints forbid.
#![expect(
    clippy::disallowed_methods,
    clippy::indexing_slicing,
    clippy::unwrap_used,
    reason = "the test reads the source"
)]

use std::collections::BTreeMap;
use std::collections::BTreeSet;
use std::path::Path;
use std::path::PathBuf;

/// The layers of `src/lib.rs`, lowest first. Modules of the same layer do not know each other, `mqtt` aside (below).
const LAYERS: [(&str, u32); 12] = [
    ("mutant", 0),
    ("collections", 0),
    ("time", 0),
    ("mqtt", 1),
    ("commitlog", 1),
    ("access", 2),
    ("session", 2),
    ("store", 3),
    ("broker", 4),
    ("config", 5),
    ("server", 5),
    ("cli", 6),
];

/// Imports within a layer that are meant: `server` is made from a configuration.
const SIDEWAYS: [(&str, &str); 1] = [("server", "config")];

const FUNCTION_LINES_MAX: usize = 70;
const FILE_LINES_MAX: usize = 600;

/// Files that are longer. This list may only shrink.
const LONG_FILES: [&str; 1] = ["tests/sim/world.rs"];

/// Functions that are longer, as `file::function`. This list may only shrink.
const LONG_FUNCTIONS: [&str; 0] = [];

/// Files of the source that open what the lints forbid, by prefix: clock, threads and sockets; the disk; settings; maps.
const DOORS: [&str; 8] = [
    "src/server/",
    "src/commitlog/disk/os.rs",
    "src/commitlog/disk/memory.rs",
    "src/store/sled_store.rs",
    "src/store/memory_store.rs",
    "src/config/load.rs",
    "src/collections.rs",
    "src/cli/",
];

/// Names that say nothing.
const EMPTY_NAMES: [&str; 6] = ["types", "common", "util", "utils", "helpers", "misc"];

struct Source {
    /// From the project's root, with slashes.
    path: String,
    text: String,
}

fn collect(folder: &Path, found: &mut Vec<PathBuf>) {
    let Ok(entries) = std::fs::read_dir(folder) else { return };
    for entry in entries {
        let path = entry.unwrap().path();
        if path.is_dir() && !path.ends_with("target") {
            collect(&path, found);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            found.push(path);
        }
    }
}

fn sources(folders: &[&str]) -> Vec<Source> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut paths = Vec::new();
    for folder in folders {
        collect(&root.join(folder), &mut paths);
    }
    paths.sort();
    let read = |path: PathBuf| Source {
        path: path.strip_prefix(root).unwrap().to_str().unwrap().replace('\\', "/"),
        text: std::fs::read_to_string(&path).unwrap(),
    };
    paths.into_iter().map(read).collect()
}

fn code_of_the_project() -> Vec<Source> {
    sources(&["src", "tests", "examples", "benches", "fuzz"])
}

/// The top module that a file of `src` belongs to: `mqtt` for `src/mqtt/packet.rs`.
fn module(path: &str) -> &str {
    let inside = path.strip_prefix("src/").unwrap();
    inside.split('/').next().unwrap().trim_end_matches(".rs")
}

/// The text without comments and without the tests at its end, which may look around freely.
fn code(text: &str) -> String {
    let without_tests = text.split("\n#[cfg(test)]\nmod ").next().unwrap();
    without_tests
        .lines()
        .map(|line| line.split("//").next().unwrap())
        .collect::<Vec<_>>()
        .join("\n")
}

/// The top modules named in `crate::...` paths, braces included.
fn imports(text: &str) -> BTreeSet<String> {
    let mut found = BTreeSet::new();
    for (position, _) in text.match_indices("crate::") {
        let rest = &text[position + "crate::".len()..];
        let names = match rest.strip_prefix('{') {
            Some(list) => list.split('}').next().unwrap(),
            None => rest,
        };
        let separate = if rest.starts_with('{') { names.split(',').collect() } else { vec![names] };
        for name in separate {
            let name: String = name
                .trim()
                .chars()
                .take_while(|c| c.is_ascii_alphanumeric() || *c == '_')
                .collect();
            found.insert(name);
        }
    }
    found
}

#[test]
fn imports_point_down() {
    let layers: BTreeMap<&str, u32> = LAYERS.into_iter().collect();
    let mut wrong = Vec::new();
    for source in sources(&["src"]) {
        let from = module(&source.path);
        let Some(level) = layers.get(from) else {
            assert!(["lib", "main"].contains(&from), "{} is in no layer", source.path);
            continue;
        };
        for to in imports(&code(&source.text)) {
            let Some(target) = layers.get(to.as_str()) else { continue };
            let meant = SIDEWAYS.contains(&(from, to.as_str()));
            if to != from && target >= level && !meant {
                wrong.push(format!("{} imports {to}", source.path));
            }
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
}

#[test]
fn the_table_of_layers_is_that_of_the_library() {
    let library =
        std::fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("src/lib.rs")).unwrap();
    for line in library.lines().filter_map(|line| line.strip_prefix("//! | ")) {
        let cells: Vec<&str> = line.split('|').map(str::trim).collect();
        let Ok(level) = cells[0].parse::<u32>() else { continue };
        let name = cells[1].trim_matches(['[', ']', '`']);
        assert!(LAYERS.contains(&(name, level)), "{name} is on layer {level} in src/lib.rs");
    }
    for module in library.lines().filter_map(|line| line.strip_prefix("pub mod ")) {
        let name = module.trim_end_matches(';');
        assert!(LAYERS.iter().any(|(layer, _)| *layer == name), "{name} is in no layer");
    }
}

#[test]
fn only_the_server_and_the_program_know_the_configuration() {
    for source in sources(&["src"]) {
        let from = module(&source.path);
        let may = ["config", "server", "cli", "lib", "main"].contains(&from);
        assert!(
            may || !imports(&code(&source.text)).contains("config"),
            "{} imports config",
            source.path
        );
    }
}

#[test]
fn every_file_says_what_it_is() {
    for source in code_of_the_project() {
        assert!(source.text.starts_with("//! "), "{} has no module doc at its top", source.path);
    }
}

/// Each function's name and how many lines it has, its own line and the closing brace included. Relies on rustfmt's layout:
/// a function ends with the first closing brace at its own indentation, a declaration with its parenthesis.
fn functions(text: &str) -> Vec<(String, usize)> {
    let lines: Vec<&str> = text.lines().collect();
    let mut found = Vec::new();
    for (start, line) in lines.iter().enumerate() {
        let trimmed = line.trim_start();
        let indentation = line.len() - trimmed.len();
        let words: Vec<&str> = trimmed.split(' ').take_while(|word| *word != "fn").collect();
        let modifiers = ["pub", "pub(crate)", "pub(super)", "const", "async", "unsafe"];
        if words.iter().any(|word| !modifiers.contains(word)) || !trimmed.contains("fn ") {
            continue;
        }
        let name: String =
            trimmed.split("fn ").nth(1).unwrap().split(['(', '<']).next().unwrap().into();
        let margin = " ".repeat(indentation);
        let ends = |l: &str| {
            let rest = l.strip_prefix(margin.as_str()).unwrap_or_default();
            rest == "}" || (rest.starts_with(')') && rest.ends_with(';'))
        };
        let one_line = trimmed.ends_with('}') || trimmed.ends_with(';');
        let last = lines[start..].iter().copied().position(ends).filter(|_| !one_line).unwrap_or(0);
        let length = last + 1;
        found.push((name, length));
    }
    found
}

#[test]
fn functions_are_short() {
    let mut long = BTreeSet::new();
    for source in code_of_the_project() {
        for (name, length) in functions(&source.text) {
            if length > FUNCTION_LINES_MAX {
                long.insert(format!("{}::{name}", source.path));
            }
        }
    }
    let named = LONG_FUNCTIONS.iter().map(ToString::to_string).collect();
    assert_eq!(
        long, named,
        "functions of more than {FUNCTION_LINES_MAX} lines, and those that are named"
    );
}

#[test]
fn files_are_short() {
    let too_long = |source: &&Source| source.text.lines().count() > FILE_LINES_MAX;
    let project = code_of_the_project();
    let long: BTreeSet<&str> =
        project.iter().filter(too_long).map(|source| source.path.as_str()).collect();
    let named = LONG_FILES.into_iter().collect();
    assert_eq!(long, named, "files of more than {FILE_LINES_MAX} lines, and those that are named");
}

#[test]
fn names_of_files_say_something() {
    for source in code_of_the_project() {
        let name = source.path.rsplit('/').next().unwrap().trim_end_matches(".rs");
        assert!(!EMPTY_NAMES.contains(&name), "{}", source.path);
    }
}

#[test]
fn only_the_doors_open_what_the_lints_forbid() {
    for source in sources(&["src"]) {
        let opens = source.text.contains("clippy::disallowed_types")
            || source.text.contains("clippy::disallowed_methods");
        let is_door = DOORS.iter().any(|door| source.path.starts_with(door));
        assert!(!opens || is_door, "{} is not a door", source.path);
    }
}

#[test]
fn functions_are_measured_from_head_to_brace() {
    let text = "fn a() {\n    if x {\n    }\n}\nimpl B {\n    pub(crate) const fn b(\n        c: u8,\n    ) -> u8 {\n        c\n    }\n\n    fn d(&self);\n    fn e(\n    ) -> u8;\n    fn f() {}\n}\n// a fn in prose\nlet g = fn_like;\n";
    let expected = [("a", 4), ("b", 5), ("d", 1), ("e", 2), ("f", 1)];
    let found = functions(text);
    assert_eq!(found, expected.map(|(name, length)| (name.to_owned(), length)));
}
