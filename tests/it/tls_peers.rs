//! What a producer with TLS does with peers that are no brokers, how its connections end, and what it trusts and says of
//! its settings by default.

use std::io::{Read, Write};
use std::net::{Ipv4Addr, TcpListener};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, mpsc};
use std::time::Instant;

use kafka_producer::ErrorKind;

use crate::support::fake_broker::{Member, PRODUCE, answer_one, metadata};
use crate::support::logger::Lines;
use crate::support::tls_peer::{TlsConnection, listening, store_path, trusting};
use crate::support::{
    Builder, PATIENCE, SOON, builder, child, deliver, eventually, record, tls_cluster, with,
};

/// How a connection ended.
struct End {
    /// The peer got `close_notify`.
    is_announced: bool,
    had_records: bool,
}

/// Answers requests to the end of the connection.
fn serve(mut stream: TlsConnection, metadata: &Mutex<Vec<u8>>) -> End {
    let mut had_records = false;
    while let Ok(api) = answer_one(&mut stream, metadata) {
        had_records |= api == PRODUCE;
    }
    End {
        // Without `close_notify` the end is an error.
        is_announced: matches!(stream.read(&mut [0]), Ok(0)),
        had_records,
    }
}

/// The connection on which it learned of the cluster, and the one on which it sent the record.
#[test]
fn a_producer_that_is_closed_announces_the_end_of_each_connection() {
    let answer = Arc::<Mutex<Vec<u8>>>::default();
    let begun = Arc::new(AtomicUsize::new(0));
    let (ended, ends) = mpsc::channel();
    let (port, _listener) = listening({
        let (answer, begun) = (Arc::clone(&answer), Arc::clone(&begun));
        move |stream| {
            begun.fetch_add(1, Ordering::AcqRel);
            let _ = ended.send(serve(stream, &answer));
        }
    });
    *answer.lock().unwrap() = metadata(None, &[Member::new(9, port)], &[9]);
    let settings = [("acks", "0"), ("enable.idempotence", "false")];
    let producer = with(trusting(port), &settings).build().unwrap();
    deliver(&producer, 0, "last").unwrap();
    producer.close(PATIENCE).unwrap();
    let mut all = Vec::new();
    while all.len() < begun.load(Ordering::Acquire) {
        all.push(
            ends.recv_timeout(PATIENCE)
                .expect("the end of a connection"),
        );
    }
    assert!(all.iter().any(|end| end.had_records));
    let announced = all.iter().filter(|end| end.is_announced).count();
    assert_eq!(announced, all.len());
}

const HTTP: &[u8] = b"HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\n\r\n";

#[track_caller]
fn assert_no_broker(builder: Builder, message: &str) {
    let producer = builder.build().unwrap();
    let began = Instant::now();
    let refused = producer.send(record(0, "never")).unwrap_err();
    let error = refused.error();
    let shown = error.to_string();
    assert!(began.elapsed() < SOON, "{:?}: {shown}", began.elapsed());
    assert_eq!(error.kind(), ErrorKind::Protocol, "{shown}");
    for part in [
        message,
        "check the port in bootstrap.servers or advertised.listeners",
    ] {
        assert!(shown.contains(part), "{part}: {shown}");
    }
}

const IS_HTTP: &str = "the server answered in HTTP: this is not a Kafka listener";

#[test]
fn a_web_server_without_tls_is_named() {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let port = listener.local_addr().unwrap().port();
    // Ends with the test's process.
    std::thread::spawn(move || {
        for mut stream in listener.incoming().flatten() {
            let _ = stream.read(&mut [0; 4096]);
            let _ = stream.write_all(HTTP);
        }
    });
    assert_no_broker(trusting(port), IS_HTTP);
}

#[test]
fn a_web_server_with_tls_is_named() {
    let (port, _listener) = listening(|mut stream| {
        let _ = stream.read(&mut [0; 4096]);
        let _ = stream.write_all(HTTP);
        // Until the client has closed its side: a reset could overtake the answer.
        let _ = stream.read(&mut [0]);
    });
    assert_no_broker(trusting(port), IS_HTTP);
}

/// Runs the test again in a process of its own, in which the system trusts the certificates of a file.
fn with_system_roots(test: &str, run: impl FnOnce(&Path)) {
    const FILE: &str = "SSL_CERT_FILE";
    if child::addresses().is_some() {
        return run(Path::new(&std::env::var(FILE).unwrap()));
    }
    let name = format!("kafka-producer-{test}-{}.pem", std::process::id());
    let file = std::env::temp_dir().join(name);
    let path = file.to_str().unwrap();
    // The environment of the tests may name a folder, too.
    let variables = [(FILE, path), ("SSL_CERT_DIR", "")];
    child::run_with(&format!("tls_peers::{test}"), "none", &variables);
    let _ = std::fs::remove_file(file);
}

/// Exchanges a file as administrators do: by a rename.
fn exchange(file: &Path, text: &str) {
    let mut new: PathBuf = file.to_owned();
    new.set_extension("new");
    std::fs::write(&new, text).unwrap();
    std::fs::rename(new, file).unwrap();
}

#[test]
fn a_root_of_the_system_is_trusted_and_read_again_when_its_file_changes() {
    let test = "a_root_of_the_system_is_trusted_and_read_again_when_its_file_changes";
    with_system_roots(test, |file| {
        let cluster = tls_cluster(1, 1);
        exchange(file, &cluster.ca_pem());
        let settings = [("security.protocol", "SSL")];
        let producer = with(builder(&cluster), &settings).build().unwrap();
        deliver(&producer, 0, "0").unwrap();
        cluster.renew_ca().unwrap();
        cluster.disconnect(0);
        let waiting = producer.send(record(0, "1")).unwrap();
        exchange(file, &cluster.ca_pem());
        waiting.get(PATIENCE).unwrap();
        // A certificate of the system is trusted as an issuer: the broker's own is not accepted for being there.
        cluster
            .set_broker_certificate(kafka_producer::mock::BrokerCertificate::OtherAuthority)
            .unwrap();
        let shown = cluster.broker_certificate_pem();
        exchange(file, &shown);
        let producer = with(builder(&cluster), &settings).build().unwrap();
        let refused = producer.send(record(0, "never")).unwrap_err();
        let message = refused.error().to_string();
        assert!(
            message.contains("which is not the one certificate of the system's trust store"),
            "{message}"
        );
    });
}

#[test]
fn a_system_without_certificates_to_trust_is_told() {
    let test = "a_system_without_certificates_to_trust_is_told";
    with_system_roots(test, |file| {
        let settings = [("security.protocol", "SSL")];
        let refused = |builder: Builder| builder.build().err().unwrap().to_string();
        // Not there, then empty.
        for _ in 0..2 {
            let shown = refused(with(
                crate::support::builder_at("127.0.0.1:9092"),
                &settings,
            ));
            for part in [
                "the system has no certificates to trust",
                "set ssl.truststore.location or ssl.truststore.certificates, or install the system's certificates",
            ] {
                assert!(shown.contains(part), "{part}: {shown}");
            }
            exchange(file, "");
        }
    });
}

/// In a process of its own: the lines of other tests would count, too.
#[test]
fn each_doubt_about_the_settings_is_logged_once_for_a_producer() {
    let test = "each_doubt_about_the_settings_is_logged_once_for_a_producer";
    with_system_roots(test, |file| {
        let lines = [
            "ssl.endpoint.identification.algorithm is empty: a server with any certificate of a trusted issuer can pass",
            "ssl.truststore.type=JKS and ssl.truststore.location=",
            "ssl.keystore.type=PKCS12 and ssl.keystore.location=",
            "has a private key that is not encrypted, so ssl.key.password has no effect",
            "ssl.cipher.suites: this client does not have OTHER",
        ]
        .map(Lines::about);
        let changed = Lines::about("the TLS stores have changed: new connections use them");
        let cluster = tls_cluster(1, 1);
        exchange(file, &cluster.ca_pem());
        let settings = [
            ("security.protocol", "SSL"),
            ("ssl.endpoint.identification.algorithm", ""),
            ("ssl.truststore.type", "JKS"),
            ("ssl.truststore.location", file.to_str().unwrap()),
            ("ssl.keystore.type", "pkcs12"),
            ("ssl.keystore.location", &store_path("keystore.pem")),
            ("ssl.key.password", "unused"),
            ("ssl.cipher.suites", "OTHER,TLS_AES_128_GCM_SHA256"),
        ];
        let producer = with(builder(&cluster), &settings).build().unwrap();
        deliver(&producer, 0, "0").unwrap();
        exchange(file, &cluster.ca_pem().repeat(2));
        cluster.disconnect(0);
        deliver(&producer, 0, "1").unwrap();
        eventually("the stores are read again", || !changed.so_far().is_empty());
        producer.close(PATIENCE).unwrap();
        for lines in lines {
            let lines = lines.so_far();
            assert_eq!(lines.len(), 1, "{lines:#?}");
        }
    });
}
