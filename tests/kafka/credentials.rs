//! Tests of the certificates, stores and tokens that secure clusters and their clients use.

use std::fs;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::support::security::{
    self, Answer, CLIENT_ID, CLIENT_SECRET, Cert, Issuer, KEY_PASSWORD, KeyForm, KeyStore, Pki,
    STORE_PASSWORD, TokenServer, TrustStore, Trusted, base64,
};
use crate::support::suite::{Test, Unavailable};

pub(crate) const TESTS: &[Test<Folder>] = &[
    (
        "each_certificate_has_its_fault_and_no_other",
        each_certificate_has_its_fault_and_no_other,
    ),
    ("each_form_of_a_key_opens", each_form_of_a_key_opens),
    ("each_store_has_its_format", each_store_has_its_format),
    (
        "the_token_server_answers_as_it_was_told",
        the_token_server_answers_as_it_was_told,
    ),
    #[cfg(feature = "tls")]
    ("the_token_server_speaks_tls", the_token_server_speaks_tls),
];

/// A folder that goes with the last test.
pub(crate) struct Folder(PathBuf);

impl Drop for Folder {
    fn drop(&mut self) {
        // A folder that cannot be removed stays in the build folder.
        let _ = fs::remove_dir_all(&self.0);
    }
}

pub(crate) fn start() -> Result<Folder, Unavailable> {
    security::find_tools().map_err(crate::unavailable)?;
    let name = format!("credentials-{}", std::process::id());
    Ok(Folder(Path::new(env!("CARGO_TARGET_TMPDIR")).join(name)))
}

fn each_certificate_has_its_fault_and_no_other(folder: &Folder) {
    let pki = Pki::new(&folder.0);
    let faults = [
        (Cert::Broker, ": OK"),
        (Cert::BrokerEc, ": OK"),
        (Cert::BrokerChained, ": OK"),
        (Cert::Expired, "certificate has expired"),
        (Cert::NotYetValid, "certificate is not yet valid"),
        (Cert::WrongHost, "hostname mismatch"),
        (Cert::IpOnly, "hostname mismatch"),
        (Cert::SelfSigned, "self-signed certificate"),
        (Cert::NoServerAuth, "unsuitable certificate purpose"),
        (Cert::Untrusted, "unable to get local issuer certificate"),
        // openssl takes these.
        (Cert::CommonNameOnly, ": OK"),
        (Cert::Version1, ": OK"),
        (Cert::Rsa1024, ": OK"),
    ];
    for (cert, expected) in faults {
        let (root, chain) = (show(&pki.root()), show(&pki.chain(cert)));
        let arguments = ["verify", "-purpose", "sslserver", "-CAfile", &root];
        let more = ["-verify_hostname", "localhost", "-untrusted", &chain];
        let said = openssl(&[&arguments[..], &more, &[&chain]].concat());
        assert!(said.contains(expected), "{cert:?}: {said}");
    }
    let text = |cert| {
        openssl(&[
            "x509",
            "-noout",
            "-text",
            "-in",
            &show(&pki.certificate(cert)),
        ])
    };
    assert!(text(Cert::Version1).contains("Version: 1 "));
    assert!(text(Cert::Rsa1024).contains("(1024 bit)"));
    assert!(text(Cert::SelfSigned).contains("CA:TRUE"));
    let name_only = text(Cert::CommonNameOnly);
    assert!(!name_only.contains("Alternative Name") && name_only.contains("CN = localhost"));
}

fn each_form_of_a_key_opens(folder: &Folder) {
    let pki = Pki::new(&folder.0);
    let forms = [
        (KeyForm::Pkcs8, "-----BEGIN PRIVATE KEY-----"),
        (KeyForm::Pbes2, "-----BEGIN ENCRYPTED PRIVATE KEY-----"),
        (
            KeyForm::Pbes2TripleDes,
            "-----BEGIN ENCRYPTED PRIVATE KEY-----",
        ),
        (
            KeyForm::Pbes2Scrypt,
            "-----BEGIN ENCRYPTED PRIVATE KEY-----",
        ),
        (
            KeyForm::Pbes1TripleDes,
            "-----BEGIN ENCRYPTED PRIVATE KEY-----",
        ),
        (KeyForm::Traditional, "-----BEGIN RSA PRIVATE KEY-----"),
        (KeyForm::TraditionalEncrypted, "Proc-Type: 4,ENCRYPTED"),
    ];
    let password = format!("pass:{KEY_PASSWORD}");
    for (form, text) in forms {
        for cert in [Cert::Alice, Cert::AliceEc] {
            let file = pki.key(cert, form);
            let pem = fs::read_to_string(&file).expect("a key");
            let text = match cert {
                Cert::AliceEc => text.replace("RSA", "EC"),
                _ => text.to_owned(),
            };
            assert!(pem.contains(&text), "{form:?}: {pem}");
            let opened = openssl(&["pkey", "-pubout", "-passin", &password, "-in", &show(&file)]);
            let certificate = show(&pki.certificate(cert));
            let expected = openssl(&["x509", "-noout", "-pubkey", "-in", &certificate]);
            assert_eq!(opened, expected, "{form:?} of {cert:?}");
        }
    }
}

fn each_store_has_its_format(folder: &Folder) {
    let pki = Pki::new(&folder.0);
    let key_stores =
        KeyStore::BINARY.map(|format| (format.java_type(), pki.key_store(Cert::Alice, format)));
    let trusted = [Trusted::Root, Trusted::Certificate(Cert::SelfSigned)];
    let trust_stores =
        TrustStore::BINARY.map(|format| (format.java_type(), pki.trust_store(&trusted, format)));
    let password = format!("pass:{STORE_PASSWORD}");
    for (java_type, file) in key_stores.iter().chain(&trust_stores) {
        let bytes = fs::read(file).expect("a store");
        if *java_type == "JKS" {
            assert_eq!(bytes[..4], [0xFE, 0xED, 0xFE, 0xED], "{}", file.display());
            continue;
        }
        let arguments = ["pkcs12", "-legacy", "-nokeys", "-passin", &password, "-in"];
        let printed = openssl(&[&arguments[..], &[&show(file)]].concat());
        assert!(
            printed.contains("BEGIN CERTIFICATE"),
            "{}: {printed}",
            file.display()
        );
    }
    let pem = fs::read_to_string(pki.trust_store(&trusted, TrustStore::Pem)).expect("a store");
    assert_eq!(pem.matches("BEGIN CERTIFICATE").count(), 2);
}

fn the_token_server_answers_as_it_was_told(folder: &Folder) {
    let server = TokenServer::start(&Issuer::new(&folder.0));
    let ask = |secret: &str| {
        let mut socket = TcpStream::connect(address(&server)).expect("connect");
        let request = request(secret);
        socket.write_all(request.as_bytes()).expect("write");
        let mut answer = String::new();
        socket.read_to_string(&mut answer).expect("read");
        answer
    };
    server.answer_next(Answer::http(503, "busy"));
    server.answer_next(Answer::Close);
    assert!(ask(CLIENT_SECRET).starts_with("HTTP/1.1 503 "));
    assert_eq!(ask(CLIENT_SECRET), "");
    assert!(ask("wrong").starts_with("HTTP/1.1 401 "));
    let token = ask(CLIENT_SECRET);
    assert!(
        token.starts_with("HTTP/1.1 200 ") && token.contains("access_token"),
        "{token}"
    );
    let requests = server.requests();
    assert_eq!(requests.len(), 4);
    assert_eq!(requests[0].line, "POST /token HTTP/1.1");
    assert_eq!(requests[0].body, "grant_type=client_credentials");
    // A server with a connection that gets no answer ends, too.
    server.answer_next(Answer::Silence);
    let mut silent = TcpStream::connect(address(&server)).expect("connect");
    silent
        .write_all(request(CLIENT_SECRET).as_bytes())
        .expect("write");
    drop(server);
}

#[cfg(feature = "tls")]
fn the_token_server_speaks_tls(folder: &Folder) {
    use crate::support::security::ClientAuth;
    use rustls::pki_types::pem::PemObject;
    use rustls::pki_types::{CertificateDer, ServerName};
    use std::sync::Arc;

    let pki = Pki::new(&folder.0);
    let config = pki.rustls_server(Cert::BrokerChained, ClientAuth::None);
    let server = TokenServer::start_with_tls(&Issuer::new(&folder.0), config);
    let mut roots = rustls::RootCertStore::empty();
    let root = CertificateDer::from_pem_file(pki.root()).expect("a certificate");
    roots.add(root).expect("a root");
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = rustls::ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .expect("versions")
        .with_root_certificates(roots)
        .with_no_client_auth();
    let name = ServerName::try_from("localhost").expect("a name");
    let connection = rustls::ClientConnection::new(Arc::new(config), name).expect("a client");
    let socket = TcpStream::connect(address(&server)).expect("connect");
    let mut stream = rustls::StreamOwned::new(connection, socket);
    stream
        .write_all(request(CLIENT_SECRET).as_bytes())
        .expect("write");
    let mut answer = String::new();
    stream.read_to_string(&mut answer).expect("read");
    assert!(answer.contains("access_token"), "{answer}");
}

fn request(secret: &str) -> String {
    let secret = base64(format!("{CLIENT_ID}:{secret}").as_bytes());
    let body = "grant_type=client_credentials";
    format!(
        "POST /token HTTP/1.1\r\nHost: localhost\r\nAuthorization: Basic {secret}\r\nContent-Length: {}\r\n\r\n{body}",
        body.len()
    )
}

/// The server's host and port.
fn address(server: &TokenServer) -> String {
    let url = server.url();
    let parts: Vec<_> = url.split('/').collect();
    parts[2].to_owned()
}

/// What openssl printed; it may have failed.
fn openssl(arguments: &[&str]) -> String {
    let output = Command::new("openssl").args(arguments).output();
    let output = output.expect("run openssl");
    let texts = [output.stdout, output.stderr];
    texts
        .map(|bytes| String::from_utf8_lossy(&bytes).into_owned())
        .concat()
}

fn show(path: &Path) -> String {
    path.display().to_string()
}
