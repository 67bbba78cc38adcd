//! Holds the crate's layers: a module may use those before it in the list, never those after it.

use std::collections::{BTreeSet, HashMap};
use std::fs;
use std::path::{Path, PathBuf};

/// Bottom-up. Every layer may use the first six.
const LAYERS: [&str; 22] = [
    "time",
    "sync",
    "threads",
    "backoff",
    "topic_partition",
    "secret",
    "protocol",
    "error",
    "tls",
    "http",
    "sasl",
    "record",
    "connection",
    "metadata",
    "identity",
    "accumulator",
    "sender",
    "producer",
    "mock",
    "ffi",
    "internals",
    "design",
];

#[test]
fn no_layer_uses_a_higher_one() {
    let mut upward = Vec::new();
    for source in sources() {
        for used in source.used_layers() {
            if rank(&used) > rank(&source.layer) {
                upward.push(format!("{} uses {used}", source.path.display()));
            }
        }
    }
    assert!(upward.is_empty(), "{upward:#?}");
}

#[test]
fn every_module_is_a_layer() {
    let unknown: BTreeSet<_> = sources()
        .into_iter()
        .map(|source| source.layer)
        .filter(|l| !is_layer(l))
        .collect();
    assert!(unknown.is_empty(), "not in the list of layers: {unknown:?}");
}

/// What turns bytes into messages knows no socket, clock or thread, so that it can be tested without any.
#[test]
fn the_protocol_layer_stands_alone() {
    const WORLD: [&str; 5] = ["std::net", "std::thread", "std::time", "std::fs", "log::"];
    let mut found = Vec::new();
    for source in sources()
        .into_iter()
        .filter(|source| source.layer == "protocol")
    {
        let others = source
            .used_layers()
            .into_iter()
            .filter(|layer| layer != "protocol");
        found.extend(others.map(|layer| format!("{} uses {layer}", source.path.display())));
        let world = WORLD.iter().filter(|name| source.code.contains(**name));
        found.extend(world.map(|name| format!("{} uses {name}", source.path.display())));
    }
    assert!(found.is_empty(), "{found:#?}");
}

/// Each wait is on a condition, a channel or a socket, with a deadline.
#[test]
fn nothing_sleeps() {
    let sleeping = sources()
        .into_iter()
        .filter(|source| source.code.contains("thread::sleep"));
    let files: Vec<_> = sleeping.map(|source| source.path).collect();
    assert!(files.is_empty(), "{files:?}");
}

/// A logger may wait for the very thread that logs: lines go by `threads::logging`.
#[test]
fn no_thread_of_a_producer_calls_the_logger() {
    const MACROS: [&str; 6] = ["error", "warn", "info", "debug", "trace", "log"];
    let calling = sources().into_iter().filter(|source| {
        let is_call = |name: &str| source.code.contains(&format!("log::{name}!("));
        MACROS.iter().any(|name| is_call(name))
    });
    let files: Vec<_> = calling.map(|source| source.path).collect();
    assert!(files.is_empty(), "not by log_line!: {files:?}");
}

/// A fork is noticed by foreign code, and Kerberos is foreign code; everything else is safe Rust.
#[test]
fn unsafe_code_is_in_two_files() {
    let with_unsafe = sources().into_iter().filter(|source| {
        let mut words = source
            .code
            .split(|c: char| !c.is_alphanumeric() && c != '_');
        words.any(|word| word == "unsafe" || word == "unsafe_code")
    });
    let mut files: Vec<_> = with_unsafe.map(|source| source.path).collect();
    files.sort_unstable();
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let expected = ["src/sasl/gssapi/library.rs", "src/threads/fork.rs"];
    assert_eq!(files, expected.map(|file| root.join(file)));
}

#[test]
fn paths_are_read_out_of_every_form_of_use() {
    let code = "use crate::time::now;\nuse crate::{error::{Error, Kind}, record, TopicPartition};\ncrate::sync::x()";
    let names: Vec<_> = first_segments(code).collect();
    assert_eq!(names, ["time", "error", "record", "TopicPartition", "sync"]);
}

struct Source {
    path: PathBuf,
    layer: String,
    /// Without comments and without the tests at the file's end: these may use what they like.
    code: String,
}

impl Source {
    fn used_layers(&self) -> BTreeSet<String> {
        let exports = root_exports();
        let layer_of = |name: String| exports.get(&name).cloned().unwrap_or(name);
        first_segments(&self.code)
            .map(layer_of)
            .filter(|layer| is_layer(layer))
            .collect()
    }
}

fn is_layer(name: &str) -> bool {
    LAYERS.contains(&name)
}

fn rank(layer: &str) -> usize {
    LAYERS
        .iter()
        .position(|candidate| *candidate == layer)
        .unwrap_or_else(|| panic!("{layer} is no layer"))
}

/// Every file under src but the root and the modules of tests.
fn sources() -> Vec<Source> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut files = Vec::new();
    collect(&root, &mut files);
    let source = |path: PathBuf| {
        let relative = path.strip_prefix(&root).expect("a file under src");
        let first = relative
            .components()
            .next()
            .expect("a file's name")
            .as_os_str();
        let layer = Path::new(first)
            .file_stem()
            .expect("a module's name")
            .to_str()
            .expect("UTF-8")
            .to_owned();
        let code = code(&fs::read_to_string(&path).expect("read a source file"));
        (layer != "lib").then_some(Source { path, layer, code })
    };
    let sources: Vec<_> = files.into_iter().filter_map(source).collect();
    assert!(sources.len() > 10, "src holds {} files", sources.len());
    sources
}

fn collect(folder: &Path, files: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(folder).expect("read a folder of src") {
        let path = entry.expect("an entry").path();
        if path.file_stem().is_some_and(|name| name == "tests") {
            continue;
        }
        if path.is_dir() {
            collect(&path, files);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            files.push(path);
        }
    }
}

fn code(text: &str) -> String {
    let lines = text
        .lines()
        .map(|line| line.split_once("//").map_or(line, |(code, _)| code));
    let code = lines.collect::<Vec<_>>().join("\n");
    let end = code.find("#[cfg(test)]\nmod tests").unwrap_or(code.len());
    code[..end].to_owned()
}

/// The first name after each `crate::`, with braces opened.
fn first_segments(code: &str) -> impl Iterator<Item = String> + '_ {
    code.match_indices("crate::").flat_map(|(at, matched)| {
        let path = &code[at + matched.len()..];
        match path.strip_prefix('{') {
            Some(group) => group_members(group),
            None => vec![identifier(path)],
        }
    })
}

/// The first name of each member of a `use` group, whose opening brace has been read.
fn group_members(group: &str) -> Vec<String> {
    let mut members = vec![String::new()];
    let mut depth = 0;
    for character in group.chars() {
        match character {
            '{' => depth += 1,
            '}' if depth == 0 => break,
            '}' => depth -= 1,
            ',' if depth == 0 => members.push(String::new()),
            _ if depth == 0 => members
                .last_mut()
                .expect("at least one member")
                .push(character),
            _ => {}
        }
    }
    members
        .iter()
        .map(|member| identifier(member.trim()))
        .filter(|name| !name.is_empty())
        .collect()
}

fn identifier(path: &str) -> String {
    path.chars()
        .take_while(|character| character.is_alphanumeric() || *character == '_')
        .collect()
}

/// The names that src/lib.rs exports, with the layer that each comes from.
fn root_exports() -> HashMap<String, String> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/lib.rs");
    let code = code(&fs::read_to_string(root).expect("read src/lib.rs"));
    let mut exports = HashMap::new();
    for statement in code
        .split(';')
        .filter_map(|statement| statement.trim().strip_prefix("pub use "))
    {
        let (path, names) = match statement.split_once('{') {
            Some((path, group)) => (path, group_members(group)),
            None => (
                statement,
                statement.rsplit("::").take(1).map(identifier).collect(),
            ),
        };
        exports.extend(names.into_iter().map(|name| (name, identifier(path))));
    }
    exports
}
