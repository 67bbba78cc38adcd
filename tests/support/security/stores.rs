//! The forms in which keys and certificates lie in files.

use std::fs;
use std::path::PathBuf;
use std::process::Command;

use super::certificates::{Authority, Cert, Maker, text};
use super::{keytool, run};

/// The password of every store.
pub(crate) const STORE_PASSWORD: &str = "store-secret";
/// The password of encrypted PEM keys and of the key in [`KeyStore::JksKeyPassword`].
pub(crate) const KEY_PASSWORD: &str = "key-secret";

/// A private key in PEM.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum KeyForm {
    /// Unencrypted PKCS#8.
    Pkcs8,
    /// PKCS#8 under PBES2 with PBKDF2 and AES-256-CBC: what `openssl pkcs8 -topk8` makes.
    Pbes2,
    /// PKCS#8 under PBES2 with PBKDF2 and 3DES.
    Pbes2TripleDes,
    /// PKCS#8 under PBES2 with scrypt.
    Pbes2Scrypt,
    /// PKCS#8 under PBE-SHA1-3DES, which every JDK reads.
    Pbes1TripleDes,
    /// PKCS#1 for an RSA key, SEC1 for an EC key.
    Traditional,
    /// The same, encrypted as `Proc-Type: 4,ENCRYPTED` says.
    TraditionalEncrypted,
}

/// The format of a key store.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum KeyStore {
    Jks,
    /// JKS whose key has another password than the store.
    JksKeyPassword,
    /// PKCS#12 by keytool.
    Pkcs12,
    /// PKCS#12 by keytool as JDK 8 to 15 wrote it: RC2-40 and 3DES.
    Pkcs12Legacy,
    /// PKCS#12 by openssl 3.
    Pkcs12Openssl,
    /// PKCS#12 by openssl with RC2-40 and 3DES.
    Pkcs12OpensslLegacy,
    /// Key and chain as PEM in one file.
    Pem(KeyForm),
}

/// The format of a trust store.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum TrustStore {
    Jks,
    /// PKCS#12 by keytool.
    Pkcs12,
    /// PKCS#12 by keytool as JDK 8 to 15 wrote it: RC2-40.
    Pkcs12Legacy,
    /// PKCS#12 by `openssl pkcs12 -export -nokeys`: Java sees no trusted certificate in it.
    Pkcs12Openssl,
    Pem,
}

/// A certificate of a trust store.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Trusted {
    Root,
    /// The authority of [`Cert::Untrusted`] and [`Cert::Stranger`].
    Other,
    Certificate(Cert),
}

impl KeyForm {
    pub(crate) fn is_encrypted(self) -> bool {
        !matches!(self, KeyForm::Pkcs8 | KeyForm::Traditional)
    }

    fn name(self) -> &'static str {
        match self {
            KeyForm::Pkcs8 => "pkcs8",
            KeyForm::Pbes2 => "pbes2",
            KeyForm::Pbes2TripleDes => "pbes2-3des",
            KeyForm::Pbes2Scrypt => "pbes2-scrypt",
            KeyForm::Pbes1TripleDes => "pbes1-3des",
            KeyForm::Traditional => "traditional",
            KeyForm::TraditionalEncrypted => "traditional-encrypted",
        }
    }

    /// The arguments with which openssl turns PKCS#8 into this.
    fn conversion(self) -> &'static [&'static str] {
        match self {
            KeyForm::Pkcs8 => &["pkcs8", "-topk8", "-nocrypt"],
            KeyForm::Pbes2 => &["pkcs8", "-topk8"],
            KeyForm::Pbes2TripleDes => &["pkcs8", "-topk8", "-v2", "des3"],
            KeyForm::Pbes2Scrypt => &["pkcs8", "-topk8", "-scrypt"],
            KeyForm::Pbes1TripleDes => &["pkcs8", "-topk8", "-v1", "PBE-SHA1-3DES"],
            KeyForm::Traditional => &["pkey", "-traditional"],
            KeyForm::TraditionalEncrypted => &["pkey", "-traditional", "-aes256"],
        }
    }
}

impl KeyStore {
    /// Every format but PEM.
    pub(crate) const BINARY: [Self; 6] = [
        Self::Jks,
        Self::JksKeyPassword,
        Self::Pkcs12,
        Self::Pkcs12Legacy,
        Self::Pkcs12Openssl,
        Self::Pkcs12OpensslLegacy,
    ];

    /// Its value of `ssl.keystore.type`.
    pub(crate) fn java_type(self) -> &'static str {
        match self {
            KeyStore::Jks | KeyStore::JksKeyPassword => "JKS",
            KeyStore::Pem(_) => "PEM",
            _ => "PKCS12",
        }
    }

    /// Its value of `ssl.key.password`, where Java needs one.
    pub(crate) fn key_password(self) -> Option<&'static str> {
        match self {
            KeyStore::JksKeyPassword => Some(KEY_PASSWORD),
            KeyStore::Pem(form) => form.is_encrypted().then_some(KEY_PASSWORD),
            _ => None,
        }
    }
}

impl TrustStore {
    /// Every format but PEM.
    pub(crate) const BINARY: [Self; 4] = [
        Self::Jks,
        Self::Pkcs12,
        Self::Pkcs12Legacy,
        Self::Pkcs12Openssl,
    ];

    /// Its value of `ssl.truststore.type`.
    pub(crate) fn java_type(self) -> &'static str {
        match self {
            TrustStore::Jks => "JKS",
            TrustStore::Pem => "PEM",
            _ => "PKCS12",
        }
    }
}

impl Maker {
    pub(super) fn key(&mut self, cert: Cert, form: KeyForm) -> PathBuf {
        let name = format!("{}.{}.key", cert.name(), form.name());
        self.file(&name, |maker, part| {
            if form == KeyForm::Pkcs8 {
                return maker.new_key(cert, part);
            }
            let plain = text(&maker.key(cert, KeyForm::Pkcs8));
            let password = format!("pass:{KEY_PASSWORD}");
            let mut arguments = form.conversion().to_vec();
            arguments.extend(["-in", &plain, "-out", part]);
            if form.is_encrypted() {
                arguments.extend(["-passout", &password]);
            }
            maker.openssl(&arguments);
        })
    }

    pub(super) fn key_store(&mut self, cert: Cert, format: KeyStore) -> PathBuf {
        let name = cert.name();
        match format {
            KeyStore::Jks => self.file(&format!("{name}.jks"), |maker, part| {
                maker.import_key(cert, part, &["-deststoretype", "JKS"]);
            }),
            KeyStore::JksKeyPassword => {
                self.file(&format!("{name}.key-password.jks"), |maker, part| {
                    let options = ["-deststoretype", "JKS", "-destkeypass", KEY_PASSWORD];
                    maker.import_key(cert, part, &options);
                })
            }
            KeyStore::Pkcs12 => self.file(&format!("{name}.keytool.p12"), |maker, part| {
                maker.import_key(cert, part, &["-deststoretype", "PKCS12"]);
            }),
            KeyStore::Pkcs12Legacy => {
                self.file(&format!("{name}.keytool-legacy.p12"), |maker, part| {
                    maker.import_key(cert, part, &["-deststoretype", "PKCS12", LEGACY]);
                })
            }
            KeyStore::Pkcs12Openssl => self.file(&format!("{name}.p12"), |maker, part| {
                maker.export_key(cert, part, &[]);
            }),
            KeyStore::Pkcs12OpensslLegacy => {
                self.file(&format!("{name}.legacy.p12"), |maker, part| {
                    maker.export_key(cert, part, &["-legacy"]);
                })
            }
            KeyStore::Pem(form) => {
                self.file(&format!("{name}.{}.pem", form.name()), |maker, part| {
                    let mut pem = fs::read(maker.key(cert, form)).expect("read a key");
                    pem.extend(fs::read(maker.chain(cert)).expect("read a chain"));
                    maker.write(part, &pem);
                })
            }
        }
    }

    pub(super) fn key_store_of_several(&mut self, certs: &[Cert], java_type: &str) -> PathBuf {
        let names: Vec<_> = certs.iter().map(|cert| cert.name()).collect();
        let name = format!("{}.several.{java_type}", names.join("-"));
        self.file(&name, |maker, part| {
            for cert in certs {
                maker.import_key(*cert, part, &["-deststoretype", java_type]);
            }
        })
    }

    fn export_key(&mut self, cert: Cert, part: &str, options: &[&str]) {
        let (key, chain) = (self.key(cert, KeyForm::Pkcs8), self.chain(cert));
        let (key, chain) = (text(&key), text(&chain));
        let password = format!("pass:{STORE_PASSWORD}");
        let mut arguments = vec!["pkcs12", "-export", "-inkey", &key, "-in", &chain];
        arguments.extend(["-name", cert.name(), "-passout", &password, "-out", part]);
        arguments.extend(options);
        self.openssl(&arguments);
    }

    /// Lets keytool write a store of its own from openssl's.
    fn import_key(&mut self, cert: Cert, part: &str, options: &[&str]) {
        let source = text(&self.key_store(cert, KeyStore::Pkcs12Openssl));
        let mut arguments = vec!["-importkeystore", "-noprompt", "-srckeystore", &source];
        arguments.extend(["-srcstoretype", "PKCS12", "-srcstorepass", STORE_PASSWORD]);
        arguments.extend(["-srcalias", cert.name(), "-srckeypass", STORE_PASSWORD]);
        arguments.extend(["-destkeystore", part, "-deststorepass", STORE_PASSWORD]);
        arguments.extend(options);
        self.keytool(&arguments);
    }

    pub(super) fn trust_store(&mut self, trusted: &[Trusted], format: TrustStore) -> PathBuf {
        let names: Vec<_> = trusted.iter().map(|trusted| trusted.name()).collect();
        let name = format!("trust-{}", names.join("-"));
        match format {
            TrustStore::Jks => self.file(&format!("{name}.jks"), |maker, part| {
                maker.import_certificates(trusted, part, &["-storetype", "JKS"]);
            }),
            TrustStore::Pkcs12 => self.file(&format!("{name}.keytool.p12"), |maker, part| {
                maker.import_certificates(trusted, part, &["-storetype", "PKCS12"]);
            }),
            TrustStore::Pkcs12Legacy => {
                self.file(&format!("{name}.keytool-legacy.p12"), |maker, part| {
                    maker.import_certificates(trusted, part, &["-storetype", "PKCS12", LEGACY]);
                })
            }
            TrustStore::Pkcs12Openssl => self.file(&format!("{name}.p12"), |maker, part| {
                let pem = text(&maker.trust_store(trusted, TrustStore::Pem));
                let password = format!("pass:{STORE_PASSWORD}");
                let arguments = ["pkcs12", "-export", "-nokeys", "-in", &pem, "-passout"];
                maker.openssl(&[&arguments[..], &[&password, "-out", part]].concat());
            }),
            TrustStore::Pem => self.file(&format!("{name}.pem"), |maker, part| {
                let mut pem = Vec::new();
                for one in trusted {
                    pem.extend(fs::read(maker.trusted(*one)).expect("read a certificate"));
                }
                maker.write(part, &pem);
            }),
        }
    }

    fn import_certificates(&mut self, trusted: &[Trusted], part: &str, options: &[&str]) {
        for one in trusted {
            let file = text(&self.trusted(*one));
            let mut arguments = vec!["-importcert", "-noprompt", "-alias", one.name()];
            arguments.extend(["-file", &file, "-keystore", part]);
            arguments.extend(["-storepass", STORE_PASSWORD]);
            arguments.extend(options);
            self.keytool(&arguments);
        }
    }

    fn trusted(&mut self, trusted: Trusted) -> PathBuf {
        match trusted {
            Trusted::Root => self.authority(Authority::Root),
            Trusted::Other => self.authority(Authority::Other),
            Trusted::Certificate(cert) => self.certificate(cert),
        }
    }

    fn keytool(&self, arguments: &[&str]) {
        let mut command = Command::new(keytool());
        let quick = ["-J-XX:TieredStopAtLevel=1", "-J-XX:+UseSerialGC"];
        run(
            command
                .args(arguments)
                .args(quick)
                .current_dir(self.folder()),
            b"",
        );
    }
}

impl Trusted {
    fn name(self) -> &'static str {
        match self {
            Trusted::Root => "root",
            Trusted::Other => "other",
            Trusted::Certificate(cert) => cert.name(),
        }
    }
}

/// The algorithms of JDK 8 to 15.
const LEGACY: &str = "-J-Dkeystore.pkcs12.legacy";
