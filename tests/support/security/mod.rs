//! What secure clusters and their clients need: certificates and stores ([`Pki`]), signed tokens ([`Issuer`]), a token server
//! ([`TokenServer`]) and a Kerberos KDC ([`Kdc`]). Everything is throw-away: it lies in a folder of the test's.
//!
//! ```ignore
//! let pki = Pki::new(folder);                                // a cluster has one: kafka.pki()
//! pki.certificate(Cert::Expired);                            // PEM, with what is needed to sign it
//! pki.key(Cert::Alice, KeyForm::Pbes2);                      // PEM
//! pki.key_store(Cert::Alice, KeyStore::Jks);                 // by keytool; passwords: STORE_PASSWORD, KEY_PASSWORD
//! pki.trust_store(&[Trusted::Root], TrustStore::Pkcs12);
//! pki.rustls_server(Cert::Broker, ClientAuth::None);         // for peers inside the test
//!
//! let issuer = Issuer::new(folder);                          // a cluster has one: kafka.issuer()
//! issuer.token("alice", 300);                                // a JWT that the cluster's brokers accept
//! let server = TokenServer::start(&issuer);                  // or start_with_tls; server.url()
//! server.answer_next(Answer::http(503, "busy"));             // then tokens again
//! ```
//!
//! Files are made when they are first asked for, and kept. All methods panic with what openssl or keytool said if they fail.

mod certificates;
mod kdc;
mod stores;
mod token_server;
mod tokens;

use std::env;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::thread;
use std::time::Duration;

use super::process::Process;

pub(crate) use certificates::{Cert, ClientAuth, Pki};
pub(crate) use kdc::{Kdc, REALM};
pub(crate) use stores::{KEY_PASSWORD, KeyForm, KeyStore, STORE_PASSWORD, TrustStore, Trusted};
pub(crate) use token_server::{Answer, CLIENT_ID, CLIENT_SECRET, TokenRequest, TokenServer};
pub(crate) use tokens::{AUDIENCE, ISSUER, Issuer, base64, base64_url};

/// Says what is missing if this machine has no openssl or no keytool.
pub(crate) fn find_tools() -> Result<(), String> {
    find_program("openssl")?;
    match env::var_os("JAVA_HOME") {
        Some(_) if keytool().is_file() => Ok(()),
        _ => find_program("keytool").map(drop),
    }
}

fn find_program(name: &str) -> Result<PathBuf, String> {
    let path = env::var_os("PATH").unwrap_or_default();
    // The programs of administrators are not in every user's PATH.
    let mut folders = env::split_paths(&path).chain([PathBuf::from("/usr/sbin")]);
    let found = folders.find_map(|folder| Some(folder.join(name)).filter(|file| file.is_file()));
    found.ok_or_else(|| format!("no program {name}; sh tests/run.sh gets it"))
}

/// The certificate of a PEM file, as DER.
pub(crate) fn der(certificate: &Path) -> Vec<u8> {
    let file = certificates::text(certificate);
    openssl(
        Path::new("/"),
        &["x509", "-in", &file, "-outform", "DER"],
        b"",
    )
}

/// The certificate that a TLS server on 127.0.0.1 presents, as DER. `None` while it presents none.
pub(crate) fn presented(port: u16) -> Option<Vec<u8>> {
    let address = format!("127.0.0.1:{port}");
    let client = Command::new("openssl")
        .args(["s_client", "-connect", &address, "-servername", "localhost"])
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn();
    let output = client.ok()?.wait_with_output().ok()?;
    let printed = String::from_utf8_lossy(&output.stdout).into_owned();
    let begin = printed.find("-----BEGIN CERTIFICATE-----")?;
    let arguments = ["x509", "-outform", "DER"];
    Some(openssl(
        Path::new("/"),
        &arguments,
        &printed.as_bytes()[begin..],
    ))
}

fn openssl(folder: &Path, arguments: &[&str], input: &[u8]) -> Vec<u8> {
    let mut command = Command::new("openssl");
    run(command.args(arguments).current_dir(folder), input)
}

fn keytool() -> PathBuf {
    match env::var_os("JAVA_HOME") {
        Some(home) => Path::new(&home).join("bin").join("keytool"),
        None => PathBuf::from("keytool"),
    }
}

/// Runs a command to its end and returns what it printed. Panics with both outputs if it fails.
fn run(command: &mut Command, input: &[u8]) -> Vec<u8> {
    command
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    let process =
        Process::spawn(command).unwrap_or_else(|error| panic!("start {command:?}: {error}"));
    let mut stdin = process.take_stdin().expect("a piped stdin");
    let output = thread::scope(|scope| {
        // The exit status shows whether a program was right not to read its input.
        scope.spawn(move || drop(std::io::Write::write_all(&mut stdin, input)));
        process
            .output(Duration::from_secs(120))
            .unwrap_or_else(|error| panic!("{command:?}: {error}"))
    });
    assert!(
        output.status.success(),
        "{command:?}: {}\n{}\n{}",
        output.status,
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr)
    );
    output.stdout
}
