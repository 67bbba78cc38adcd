//! Stores, certificates and passwords are exchanged on both sides under load. No record is lost, doubled or out of order.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::Tests;
use crate::load::Load;
use crate::producing::SOON;
use crate::support::kafka::{
    ClusterOptions, KafkaCluster, KafkaVersion, Listener, Mechanism, password, poll,
};
use crate::support::logger::Lines;
use crate::support::security::{Cert, KeyForm, KeyStore, TrustStore, Trusted};

/// Clients come through proxies, which can close their connections. The broker updates the keys of connections all the time.
pub(crate) fn cluster() -> ClusterOptions {
    ClusterOptions::new(KafkaVersion::V4_3_1)
        .behind_proxies()
        .secure(&[Listener::SslExchanged, Listener::ReauthSsl])
        .property("listener.name.exchanged.ssl.client.auth", "required")
        .updates_keys()
}

/// For a cluster of [`cluster`].
pub(crate) const TESTS: Tests = &[
    (
        "stores_and_certificates_are_exchanged_under_load",
        stores_and_certificates_are_exchanged_under_load,
    ),
    (
        "a_password_is_wrong_for_a_while_under_load",
        a_password_is_wrong_for_a_while_under_load,
    ),
    (
        "the_broker_updates_its_keys_under_load",
        the_broker_updates_its_keys_under_load,
    ),
];

const FORMATS: [(KeyStore, TrustStore); 3] = [
    (KeyStore::Jks, TrustStore::Jks),
    (KeyStore::Pkcs12Openssl, TrustStore::Pkcs12),
    (KeyStore::Pem(KeyForm::Pbes2), TrustStore::Pem),
];

const EXCHANGED: &str = "the TLS stores have changed: new connections use them";
const KEPT: &str = "the TLS stores have changed and are not usable, so new connections use the last ones that were: ";

/// A producer under load whose stores lie where `current` points to, as Kubernetes does it.
struct Rotated<'a> {
    kafka: &'a KafkaCluster,
    formats: (KeyStore, TrustStore),
    folder: PathBuf,
    /// The number of the folder to which `current` points.
    version: u32,
    load: Load,
}

impl<'a> Rotated<'a> {
    fn start(kafka: &'a KafkaCluster, formats: (KeyStore, TrustStore)) -> Self {
        let name = format!("rotation-{}", formats.0.java_type().to_lowercase());
        let folder = kafka.folder().join(&name);
        fs::create_dir_all(folder.join("1")).expect("create a folder");
        symlink("1", folder.join("current")).expect("a symbolic link");
        copy(
            &kafka.pki().key_store(Cert::Alice, formats.0),
            &folder.join("1/keys"),
        );
        let trust = kafka.pki().trust_store(&[Trusted::Root], formats.1);
        copy(&trust, &folder.join("1/trust"));
        let mut settings = kafka.settings(Listener::SslExchanged, None);
        settings.retain(|(name, _)| !name.starts_with("ssl."));
        settings.extend(kafka.key_store_settings(Cert::Alice, formats.0));
        settings.extend(kafka.trust_store_settings(&[Trusted::Root], formats.1));
        for (setting, value) in &mut settings {
            match setting.as_str() {
                "ssl.keystore.location" => *value = text(&folder.join("current/keys")),
                "ssl.truststore.location" => *value = text(&folder.join("current/trust")),
                _ => {}
            }
        }
        Rotated {
            kafka,
            formats,
            load: Load::start(kafka, &name, settings),
            folder,
            version: 1,
        }
    }

    fn keys(&self) -> PathBuf {
        self.folder.join("current/keys")
    }

    fn key_store(&self, cert: Cert) -> PathBuf {
        self.kafka.pki().key_store(cert, self.formats.0)
    }

    fn trust_store(&self, trusted: &[Trusted]) -> PathBuf {
        self.kafka.pki().trust_store(trusted, self.formats.1)
    }

    fn rename(&self, store: &Path, name: &str) {
        let folder = self.folder.join("current");
        copy(store, &folder.join("new"));
        fs::rename(folder.join("new"), folder.join(name)).expect("rename a store");
    }

    /// What a program leaves that writes in place and is interrupted.
    fn write_half(&self, store: &Path) {
        let bytes = fs::read(store).expect("read a store");
        fs::write(self.keys(), &bytes[..bytes.len() / 2]).expect("write a store");
    }

    /// Lets `current` point to a new folder.
    fn swap(&mut self, keys: &Path, trust: &Path) {
        self.version += 1;
        let folder = self.folder.join(self.version.to_string());
        fs::create_dir_all(&folder).expect("create a folder");
        copy(keys, &folder.join("keys"));
        copy(trust, &folder.join("trust"));
        let next = self.folder.join("next");
        symlink(self.version.to_string(), &next).expect("a symbolic link");
        fs::rename(next, self.folder.join("current")).expect("rename a link");
    }
}

fn copy(from: &Path, to: &Path) {
    fs::copy(from, to).expect("copy a store");
}

fn text(path: &Path) -> String {
    path.display().to_string()
}

/// Closes all connections to the listener, so that each producer makes new ones.
fn cut(kafka: &KafkaCluster) {
    kafka.listener_proxy(1, Listener::SslExchanged).reset();
}

/// Waits until there are so many of these lines.
fn wait_for(lines: &Lines, count: usize, what: &str) {
    let there = poll(SOON, || (lines.so_far().len() >= count).then_some(()));
    let so_far = lines.so_far();
    assert!(there.is_some(), "{what}: {count} expected: {so_far:#?}");
}

/// New connections use the new stores, and no record notices.
fn exchange(kafka: &KafkaCluster, all: &[Rotated<'_>], what: &str) {
    let exchanged = Lines::about(EXCHANGED);
    cut(kafka);
    wait_for(&exchanged, all.len(), what);
    go_on(all, what);
}

fn go_on(all: &[Rotated<'_>], after: &str) {
    all.iter().for_each(|one| one.load.wait_for_progress(after));
}

fn stores_and_certificates_are_exchanged_under_load(kafka: &KafkaCluster) {
    let mut all = FORMATS.map(|formats| Rotated::start(kafka, formats));
    for one in &all {
        one.rename(&one.key_store(Cert::AliceRenewed), "keys");
    }
    exchange(kafka, &all, "a key store was renamed");

    keep_those_before_a_half_written_one(kafka, &all);

    for one in &mut all {
        let trust = one.trust_store(&[Trusted::Root, Trusted::Other]);
        one.swap(&one.key_store(Cert::Alice), &trust);
    }
    exchange(kafka, &all, "both stores were swapped");
    for cert in [Cert::BrokerRenewed, Cert::Untrusted] {
        kafka.present(cert);
        cut(kafka);
        go_on(&all, &format!("the broker presented {cert:?}"));
    }

    wait_while_the_broker_is_refused(kafka, &all);
    wait_while_the_client_is_refused(kafka, &all);
    for one in all {
        one.load.finish(kafka);
    }
}

fn keep_those_before_a_half_written_one(kafka: &KafkaCluster, all: &[Rotated<'_>]) {
    let write = |one: &Rotated<'_>| {
        let keys = text(&one.keys());
        let kept = Lines::about(&format!("{KEPT}ssl.keystore.location={keys}"));
        one.write_half(&one.key_store(Cert::Alice));
        kept
    };
    let kept: Vec<_> = all.iter().map(write).collect();
    cut(kafka);
    for lines in &kept {
        wait_for(lines, 1, "a half-written key store");
    }
    go_on(all, "a half-written key store");
}

/// The trust stores lose the authority of the broker's certificate.
fn wait_while_the_broker_is_refused(kafka: &KafkaCluster, all: &[Rotated<'_>]) {
    let refused = Lines::about("which is not the one certificate of ssl.truststore.location=");
    for one in all {
        one.rename(&one.trust_store(&[Trusted::Root]), "trust");
    }
    let exchanged = Lines::about(EXCHANGED);
    cut(kafka);
    wait_for(&exchanged, all.len(), "a trust store was renamed");
    wait_for(&refused, all.len(), "the broker's certificate was refused");
    kafka.present(Cert::Broker);
    go_on(all, "the broker presented its certificate again");
}

/// The key stores get a certificate whose authority the broker does not trust.
fn wait_while_the_client_is_refused(kafka: &KafkaCluster, all: &[Rotated<'_>]) {
    let refused = Lines::about("no connection to broker");
    for one in all {
        one.rename(&one.key_store(Cert::Stranger), "keys");
    }
    cut(kafka);
    wait_for(&refused, all.len(), "the client's certificate was refused");
    for one in all {
        one.rename(&one.key_store(Cert::Alice), "keys");
    }
    go_on(all, "the client's certificate was right again");
}

/// Sessions last five seconds.
fn a_password_is_wrong_for_a_while_under_load(kafka: &KafkaCluster) {
    let mechanism = Mechanism::ScramSha512;
    let settings = kafka.settings(Listener::ReauthSsl, Some(mechanism));
    let load = Load::start(kafka, "rotation-password", settings);
    for _ in 0..2 {
        let refused = Lines::about("no connection to broker");
        kafka.set_scram("alice", "another", &[mechanism]);
        wait_for(&refused, 2, "the sessions end");
        kafka.set_scram("alice", &password("alice"), &[mechanism]);
        load.wait_for_progress("the password was right again");
    }
    load.finish(kafka);
}

fn the_broker_updates_its_keys_under_load(kafka: &KafkaCluster) {
    let updates = || kafka.log_lines(1, "Produced KeyUpdate post-handshake message");
    let before = updates();
    let mut settings = kafka.settings(Listener::SslExchanged, None);
    settings.extend(kafka.key_store_settings(Cert::Alice, KeyStore::Pem(KeyForm::Pkcs8)));
    let load = Load::start(kafka, "rotation-key-updates", settings);
    let updated = poll(SOON, || (updates() >= before + 10).then_some(()));
    assert!(updated.is_some(), "{} key updates", updates() - before);
    load.wait_for_progress("key updates");
    let pauses = load.finish(kafka);
    assert!(pauses.between < Duration::from_secs(2), "{pauses:?}");
}
