//! Checks in cargo's own list of dependencies that the crate needs no async runtime and, without default features, no C
//! compiler.

use std::collections::BTreeSet;
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
