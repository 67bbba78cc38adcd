//! Checks in cargo's own list of dependencies that the crate needs no async runtime and, without default features, no C
//! compiler; and in the source that no type of a dependency is in the public API, and that the documents list the features.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

#[test]
fn no_feature_brings_an_async_runtime() {
    let packages = packages(&["--all-features", "--edges", "normal,build"]);
    let banned = [
        "tokio",
        "mio",
        "async-std",
        "smol",
        "async-io",
        "async-executor",
        "futures-executor",
    ];
    assert_without(&packages, &banned);
}

#[test]
fn no_development_dependency_brings_an_async_runtime() {
    let packages = packages(&["--all-features", "--edges", "all"]);
    let banned = ["tokio", "mio", "async-std", "smol"];
    assert_without(&packages, &banned);
}

#[test]
fn sasl_and_the_codecs_without_zstd_need_no_c_compiler() {
    assert_without_c("gzip,snappy,lz4,sasl,sasl-gssapi,mock");
}

#[test]
fn tls_by_graviola_needs_no_c_compiler() {
    let packages =
        assert_without_c("gzip,snappy,lz4,sasl,sasl-oidc,sasl-msk-iam,tls-graviola,tls-stores");
    assert!(packages.contains("graviola"), "{packages:?}");
    assert_without(&packages, &["ring"]);
}

/// Returns the packages of these features.
fn assert_without_c(features: &str) -> BTreeSet<String> {
    let packages = packages(&[
        "--no-default-features",
        "--features",
        features,
        "--edges",
        "normal,build",
    ]);
    let compilers: Vec<_> = packages
        .iter()
        .filter(|name| *name == "cc" || *name == "cmake")
        .collect();
    assert!(compilers.is_empty(), "{compilers:?} among {packages:?}");
    // crc32c names its C-free build script's helper only; every `-sys` crate links foreign code. These link what Windows and
    // macOS have, whose stores of trusted certificates are read by it.
    let systems_own = |name: &str| {
        let of_macos = ["core-foundation-sys", "security-framework-sys"];
        name.starts_with("windows") || name == "linux-raw-sys" || of_macos.contains(&name)
    };
    let linked: Vec<_> = packages
        .iter()
        .filter(|name| name.ends_with("-sys") && !systems_own(name))
        .collect();
    assert!(linked.is_empty(), "{linked:?} among {packages:?}");
    packages
}

#[test]
fn the_core_packages_are_those_the_library_was_asked_to_use() {
    let packages = packages(&["--edges", "normal", "--depth", "1"]);
    for name in [
        "crossbeam-channel",
        "parking_lot",
        "byteorder",
        "crc32c",
        "flate2",
        "socket2",
        "log",
    ] {
        assert!(packages.contains(name), "no {name} among {packages:?}");
    }
}

fn assert_without(packages: &BTreeSet<String>, banned: &[&str]) {
    let found: Vec<_> = banned
        .iter()
        .filter(|name| packages.contains(**name))
        .collect();
    assert!(found.is_empty(), "{found:?} among {packages:?}");
}

/// The names of all packages that `cargo tree` shows, for every platform if it can.
fn packages(arguments: &[&str]) -> BTreeSet<String> {
    // Building this test fetched what its own platform needs. The packages of other platforms may be missing, and the network,
    // too.
    let modes = [
        &["--target", "all", "--offline"][..],
        &["--target", "all"],
        &["--offline"],
    ];
    let mut failures = Vec::new();
    for mode in modes {
        let output = cargo_tree(mode, arguments);
        if output.status.success() {
            let text = String::from_utf8(output.stdout).expect("cargo prints UTF-8");
            let names = text.lines().filter_map(|line| line.split(' ').next());
            let packages: BTreeSet<_> = names.map(str::to_owned).collect();
            assert!(
                packages.contains("kafka-producer"),
                "cargo tree shows nothing of this package: {text}"
            );
            return packages;
        }
        failures.push(String::from_utf8_lossy(&output.stderr).into_owned());
    }
    panic!("cargo tree {arguments:?}: {failures:?}");
}

fn cargo_tree(mode: &[&str], arguments: &[&str]) -> Output {
    Command::new(env!("CARGO"))
        .args(["tree", "--locked", "--prefix", "none", "--format", "{p}"])
        .args(mode)
        .args(arguments)
        .current_dir(env!("CARGO_MANIFEST_DIR"))
        .output()
        .expect("run cargo")
}

/// Such a type would make the dependency's versions a part of this crate's own. The lint `unreachable_pub` makes sure that
/// what is `pub` in the source is public.
#[test]
fn no_type_of_a_dependency_is_in_the_public_api() {
    let manifest = manifest();
    let dependencies = manifest
        .split("dependencies]\n")
        .skip(1)
        .flat_map(|section| section.lines().take_while(|line| !line.starts_with('[')))
        .filter_map(|line| line.split_once(" = "));
    let dependencies: BTreeSet<_> = dependencies
        .map(|(name, _)| name.replace('-', "_"))
        .collect();
    assert!(dependencies.contains("rustls") && dependencies.contains("crossbeam_channel"));
    let mut files = Vec::new();
    collect(&root().join("src"), &mut files);
    assert!(files.len() > 100);
    let mut found = Vec::new();
    for path in files {
        let code = fs::read_to_string(&path).unwrap();
        let foreign = foreign_in_public(&code, &dependencies);
        found.extend(foreign.map(|item| format!("{}: {item}", path.display())));
    }
    assert!(found.is_empty(), "{found:#?}");
}

#[test]
fn a_type_of_a_dependency_is_found_however_it_is_written() {
    let code = "use rustls::{ClientConfig, pki_types::CertificateDer as Der};
use std::sync::Arc;
/// rustls::Comment
pub fn hidden(self) -> Arc<ClientConfig> { rustls::body() }
pub(crate) fn inside(_: Der) {}
pub fn path(_: &rustls::Error) {}
pub struct Ours {
    inside: ClientConfig,
    pub field: Der,
}
pub enum Either {
    Ours(Ours),
    Theirs(ClientConfig),
}
pub trait Ask {
    fn ask(&self) -> Der;
}
impl From<rustls::Error> for Ours {
}
impl From<Ours> for Inside {
}
#[cfg(test)]
mod tests {
    pub fn tested(_: Der) {}
";
    let dependencies = BTreeSet::from(["rustls".to_owned()]);
    let found: Vec<_> = foreign_in_public(code, &dependencies).collect();
    let begins = [
        "pub fn hidden",
        "pub fn path",
        "pub field",
        "pub enum",
        "pub trait",
        "impl From<rustls",
    ];
    assert_eq!(found.len(), begins.len(), "{found:#?}");
    for begin in begins {
        assert!(
            found.iter().any(|item| item.starts_with(begin)),
            "{begin}: {found:#?}"
        );
    }
}

/// The public items of a file that name a type of a dependency.
fn foreign_in_public<'a>(
    code: &'a str,
    dependencies: &'a BTreeSet<String>,
) -> impl Iterator<Item = String> + 'a {
    let code = code.split("#[cfg(test)]\nmod tests").next().unwrap_or(code);
    let lines = code
        .lines()
        .map(|line| line.split("//").next().unwrap_or(line));
    let lines: Vec<_> = lines.collect();
    let imported = imported(&lines.join("\n"), dependencies);
    let is_foreign = move |item: &str| {
        let words = item.split(|c: char| !c.is_alphanumeric() && c != '_');
        let by_path = dependencies
            .iter()
            .any(|name| words_before_paths(item).any(|word| word == name));
        by_path || words.into_iter().any(|word| imported.contains(word))
    };
    let public: Vec<_> = (0..lines.len())
        .filter_map(|at| public_item(&lines, at))
        .collect();
    let ours: BTreeSet<_> = public
        .iter()
        .filter_map(|item| {
            let mut words = item.split(|c: char| !c.is_alphanumeric() && c != '_');
            let kind = words.nth(1)?;
            matches!(kind, "struct" | "enum").then(|| words.next().unwrap_or_default().to_owned())
        })
        .collect();
    let implementations = lines
        .iter()
        .filter(|line| line.starts_with("impl"))
        .filter(|line| {
            let subject = line.rsplit(" for ").next().unwrap_or_default();
            ours.contains(subject.split(['<', ' ']).next().unwrap_or_default())
        })
        .map(|line| (*line).to_owned());
    let all: Vec<_> = public.into_iter().chain(implementations).collect();
    all.into_iter().filter(move |item| is_foreign(item))
}

/// The names that a file imports from dependencies.
fn imported(code: &str, dependencies: &BTreeSet<String>) -> BTreeSet<String> {
    let statements = code
        .split(';')
        .filter_map(|part| part.trim().rsplit_once("use "));
    let foreign = statements.filter(|(_, path)| {
        let name = path.split("::").next().unwrap_or_default();
        dependencies.contains(name)
    });
    let words =
        foreign.flat_map(|(_, path)| path.split(|c: char| !c.is_alphanumeric() && c != '_'));
    words
        .filter(|word| word.starts_with(|c: char| c.is_ascii_uppercase()))
        .map(str::to_owned)
        .collect()
}

/// The words in `text` that `::` follows.
fn words_before_paths(text: &str) -> impl Iterator<Item = &str> {
    text.match_indices("::").filter_map(|(at, _)| {
        text[..at]
            .rsplit(|c: char| !c.is_alphanumeric() && c != '_')
            .next()
    })
}

/// The public item that begins in a line: its signature, and the body if that is public, too.
fn public_item(lines: &[&str], at: usize) -> Option<String> {
    let first = lines[at].trim_start();
    let is_item = first.starts_with("pub ")
        && !["pub use ", "pub mod "]
            .iter()
            .any(|other| first.starts_with(other));
    if !is_item {
        return None;
    }
    let has_public_body = ["pub enum ", "pub trait "]
        .iter()
        .any(|kind| first.starts_with(kind));
    let is_field = ![
        "fn", "struct", "enum", "trait", "type", "const", "static", "unsafe", "async",
    ]
    .contains(&first.split(' ').nth(1).unwrap_or_default());
    let mut item = String::new();
    for line in &lines[at..] {
        let line = line.trim();
        item.push_str(line);
        item.push(' ');
        let ends = match has_public_body {
            true => line == "}",
            false => line.contains(['{', ';']) || is_field && line.ends_with(','),
        };
        if ends {
            break;
        }
    }
    if !has_public_body {
        let signature = item.split(['{', ';']).next().unwrap_or_default();
        return Some(signature.to_owned());
    }
    Some(item)
}

fn collect(folder: &Path, files: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        // The inside that benches and fuzz targets use is no part of the API.
        let is_left_out = path
            .file_stem()
            .is_some_and(|name| name == "tests" || name == "internals");
        if is_left_out {
            continue;
        }
        match path.is_dir() {
            true => collect(&path, files),
            false => files.push(path),
        }
    }
}

#[test]
fn the_documents_list_every_feature_and_which_are_on_by_default() {
    let manifest = manifest();
    let features = manifest
        .split("\n[features]\n")
        .nth(1)
        .and_then(|rest| rest.split("\n[").next())
        .unwrap();
    let names = features
        .lines()
        .filter(|line| !line.starts_with('#'))
        .filter_map(|line| line.split_once(" = ["))
        .map(|(name, _)| name);
    let default = features
        .lines()
        .find(|line| line.starts_with("default = "))
        .unwrap();
    // No use alone, or no part of the API.
    let inner = ["default", "http", "tls-core", "unstable-internals"];
    let expected: BTreeMap<_, _> = names
        .filter(|name| !inner.contains(name))
        .map(|name| (name.to_owned(), default.contains(&format!("\"{name}\""))))
        .collect();
    assert!(expected["tls"] && !expected["mock"]);
    for file in ["README.md", "src/lib.rs"] {
        let text = fs::read_to_string(root().join(file))
            .unwrap()
            .replace("//! ", "");
        let table = text.split("| feature | default |").nth(1).unwrap();
        let rows = table
            .lines()
            .skip(2)
            .take_while(|line| line.starts_with('|'));
        let listed: BTreeMap<_, _> = rows.flat_map(features_of_row).collect();
        assert_eq!(listed, expected, "the table of features in {file}");
    }
}

/// The features of a row, and whether they are on by default.
fn features_of_row(row: &str) -> Vec<(String, bool)> {
    let mut cells = row.split('|').skip(1);
    let names = cells
        .next()
        .unwrap_or_default()
        .split('`')
        .skip(1)
        .step_by(2);
    let is_default = cells.next().unwrap_or_default().trim() == "yes";
    names.map(|name| (name.to_owned(), is_default)).collect()
}

fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}

fn manifest() -> String {
    fs::read_to_string(root().join("Cargo.toml")).unwrap()
}
