//! The property files that people have, and what becomes of each: `tests/data/properties` has the files, all made up, and
//! beside each a file `.outcome` with the warnings and errors, word for word.
//!
//! If a change makes another outcome, the test names the file and shows both. With `UPDATE_OUTCOMES=1` it writes what it
//! found instead.

use std::fs;
use std::path::{Path, PathBuf};

use kafka_producer::ProducerConfig;

use crate::support::Producer;
use crate::support::logger::Lines;

/// Where the files say that the stores are.
const SECRETS: &str = "/etc/secrets";

/// The stores in that folder, by the names in `tests/data/stores`.
const STORES: [(&str, &str); 6] = [
    ("ca.p12", "trust.p12"),
    ("user.p12", "openssl.p12"),
    ("ca.crt", "chain.pem"),
    ("user.pem", "keystore.pem"),
    ("truststore.jks", "trust.jks"),
    ("keystore.jks", "keytool.jks"),
];

#[test]
fn each_property_file_has_its_outcome() {
    let stores = folder("stores");
    let secrets = Path::new(env!("CARGO_TARGET_TMPDIR")).join("property-files");
    fs::create_dir_all(&secrets).unwrap();
    for (name, store) in STORES {
        fs::copy(stores.join(store), secrets.join(name)).unwrap();
    }
    fs::write(secrets.join("kafka.properties"), "password=alice-secret\n").unwrap();
    let updates = std::env::var_os("UPDATE_OUTCOMES").is_some();
    let mut differences = Vec::new();
    let files = files();
    assert!(files.len() > 10, "{files:?}");
    for file in files {
        let found = outcome(&file, &secrets);
        let expected = file.with_extension("outcome");
        if updates {
            fs::write(&expected, &found).unwrap();
        }
        let expected = fs::read_to_string(&expected).unwrap_or_default();
        if found != expected {
            let name = file.file_name().unwrap().display();
            differences.push(format!("{name}\nfound:\n{found}expected:\n{expected}"));
        }
    }
    assert!(differences.is_empty(), "{}", differences.join("\n"));
}

fn folder(name: &str) -> PathBuf {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    root.join("tests/data").join(name)
}

fn files() -> Vec<PathBuf> {
    let entries = fs::read_dir(folder("properties")).unwrap();
    let paths = entries.map(|entry| entry.unwrap().path());
    let is_properties = |path: &PathBuf| path.extension().is_some_and(|is| is == "properties");
    let mut files: Vec<_> = paths.filter(is_properties).collect();
    files.sort_unstable();
    files
}

/// What the load of a file and the build of its producer warn of, and whether there is a producer. The names of folders are left out.
fn outcome(file: &Path, secrets: &Path) -> String {
    let secrets = secrets.to_str().unwrap();
    let text = fs::read_to_string(file).unwrap().replace(SECRETS, secrets);
    let name = file.file_name().unwrap().to_str().unwrap();
    let path = format!("{secrets}/{name}");
    fs::write(&path, text).unwrap();
    // Both the load and `build` log on this thread.
    let thread = std::thread::current().id();
    let lines = Lines::of("", move |record| {
        record.level() == log::Level::Warn && std::thread::current().id() == thread
    });
    let result = ProducerConfig::from_properties_file(&path).and_then(build);
    let mut shown: String = lines
        .so_far()
        .iter()
        .map(|line| format!("warning: {line}\n"))
        .collect();
    match result {
        Ok(()) => shown.push_str("accepted\n"),
        Err(error) => shown.push_str(&format!("{:?}: {error}\n", error.kind())),
    }
    fs::remove_file(&path).unwrap();
    shown
        .replace(&format!("{path}: "), "")
        .replace(secrets, SECRETS)
}

/// With an address that needs no look-up.
fn build(config: ProducerConfig) -> Result<(), kafka_producer::Error> {
    let config = config.bootstrap_servers("127.0.0.1:1");
    Producer::builder().config(config).build().map(drop)
}
