//! Throw-away certificate authorities and the certificates that they sign.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{SystemTime, UNIX_EPOCH};

use super::openssl;
use super::stores::{KeyForm, KeyStore, TrustStore, Trusted};

/// A certificate with its key.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Cert {
    /// A broker's: RSA 2048, for `localhost` and 127.0.0.1, signed by the root.
    Broker,
    /// The same with another key.
    BrokerRenewed,
    /// The same with a P-256 key.
    BrokerEc,
    /// The same, signed by an intermediate authority, which its chain contains.
    BrokerChained,
    /// A client's: RSA 2048, CN=alice, signed by the root.
    Alice,
    /// The same with another key.
    AliceRenewed,
    /// The same with a P-256 key.
    AliceEc,
    /// A client's that ended yesterday.
    AliceExpired,
    /// A client's that the root did not sign.
    Stranger,
    /// A broker's that ended yesterday.
    Expired,
    /// A broker's that begins tomorrow.
    NotYetValid,
    /// A broker's for `elsewhere.test` and `other.test`.
    WrongHost,
    /// A broker's for 127.0.0.1 only.
    IpOnly,
    /// A broker's with `localhost` in the subject only, no SAN.
    CommonNameOnly,
    /// A broker's without extensions, of X.509 version 1, as `openssl x509 -req` makes it.
    Version1,
    /// A broker's that signed itself and is an authority (CA:TRUE), as `openssl req -x509` makes it.
    SelfSigned,
    /// A broker's with a key that is too short for most of today's clients.
    Rsa1024,
    /// A broker's that is allowed for clients only.
    NoServerAuth,
    /// A broker's that an unknown authority signed.
    Untrusted,
}

/// Whether a peer asks its clients for a certificate.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum ClientAuth {
    None,
    Required,
}

/// An authority.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Authority {
    /// The one that clients and brokers trust.
    Root,
    /// Signed by the root.
    Intermediate,
    /// The one that nobody trusts.
    Other,
}

#[derive(Clone, Copy)]
enum Signer {
    Authority(Authority),
    Itself,
}

#[derive(Clone, Copy)]
enum KeyType {
    Rsa(u16),
    P256,
}

/// How a certificate is made.
struct Recipe {
    /// The names of its files begin so.
    name: &'static str,
    common_name: &'static str,
    key: KeyType,
    signer: Signer,
    /// `None`: X.509 version 1.
    extensions: Option<&'static str>,
    /// First and last day of its validity, counted from today.
    days: (i64, i64),
}

const BROKER: &str =
    "subjectAltName=DNS:localhost,IP:127.0.0.1\nextendedKeyUsage=serverAuth,clientAuth\n";
const CLIENT: &str = "extendedKeyUsage=clientAuth\n";

impl Cert {
    fn recipe(self) -> Recipe {
        let mut recipe = Recipe {
            name: self.name(),
            common_name: "localhost",
            key: KeyType::Rsa(2048),
            signer: Signer::Authority(Authority::Root),
            extensions: Some(BROKER),
            days: (-1, 30),
        };
        if self.is_clients() {
            recipe.common_name = "alice";
            recipe.extensions = Some(CLIENT);
        }
        match self {
            Cert::BrokerEc | Cert::AliceEc => recipe.key = KeyType::P256,
            Cert::BrokerChained => recipe.signer = Signer::Authority(Authority::Intermediate),
            Cert::Stranger | Cert::Untrusted => recipe.signer = Signer::Authority(Authority::Other),
            Cert::Expired | Cert::AliceExpired => recipe.days = (-30, -1),
            Cert::NotYetValid => recipe.days = (1, 30),
            Cert::WrongHost => {
                recipe.common_name = "elsewhere.test";
                recipe.extensions = Some("subjectAltName=DNS:elsewhere.test,DNS:other.test\n");
            }
            Cert::IpOnly => {
                recipe.common_name = "broker";
                recipe.extensions = Some("subjectAltName=IP:127.0.0.1\n");
            }
            Cert::CommonNameOnly => recipe.extensions = Some("extendedKeyUsage=serverAuth\n"),
            Cert::Version1 => recipe.extensions = None,
            Cert::SelfSigned => {
                recipe.signer = Signer::Itself;
                recipe.extensions = Some(
                    "basicConstraints=critical,CA:TRUE\nsubjectAltName=DNS:localhost,IP:127.0.0.1\n",
                );
            }
            Cert::Rsa1024 => recipe.key = KeyType::Rsa(1024),
            Cert::NoServerAuth => {
                recipe.extensions =
                    Some("subjectAltName=DNS:localhost,IP:127.0.0.1\nextendedKeyUsage=clientAuth\n")
            }
            _ => {}
        }
        recipe
    }

    fn is_clients(self) -> bool {
        use Cert::{Alice, AliceEc, AliceExpired, AliceRenewed, Stranger};
        matches!(
            self,
            Alice | AliceRenewed | AliceEc | AliceExpired | Stranger
        )
    }

    pub(super) fn name(self) -> &'static str {
        match self {
            Cert::Broker => "broker",
            Cert::BrokerRenewed => "broker-renewed",
            Cert::BrokerEc => "broker-ec",
            Cert::BrokerChained => "broker-chained",
            Cert::Alice => "alice",
            Cert::AliceRenewed => "alice-renewed",
            Cert::AliceEc => "alice-ec",
            Cert::AliceExpired => "alice-expired",
            Cert::Stranger => "stranger",
            Cert::Expired => "expired",
            Cert::NotYetValid => "not-yet-valid",
            Cert::WrongHost => "wrong-host",
            Cert::IpOnly => "ip-only",
            Cert::CommonNameOnly => "common-name-only",
            Cert::Version1 => "version-1",
            Cert::SelfSigned => "self-signed",
            Cert::Rsa1024 => "rsa-1024",
            Cert::NoServerAuth => "no-server-auth",
            Cert::Untrusted => "untrusted",
        }
    }
}

impl Authority {
    fn name(self) -> &'static str {
        match self {
            Authority::Root => "root",
            Authority::Intermediate => "intermediate",
            Authority::Other => "other",
        }
    }
}

/// A folder with an authority, certificates, keys and stores.
pub(crate) struct Pki(Mutex<Maker>);

impl Pki {
    pub(crate) fn new(folder: &Path) -> Pki {
        fs::create_dir_all(folder).expect("create a folder for certificates");
        Pki(Mutex::new(Maker {
            folder: folder.to_owned(),
        }))
    }

    /// The certificate alone, as PEM.
    pub(crate) fn certificate(&self, cert: Cert) -> PathBuf {
        self.maker().certificate(cert)
    }

    /// The certificate and the intermediate authority's, if one signed it, as PEM.
    pub(crate) fn chain(&self, cert: Cert) -> PathBuf {
        self.maker().chain(cert)
    }

    /// The certificate of the authority that clients and brokers trust, as PEM.
    pub(crate) fn root(&self) -> PathBuf {
        self.maker().authority(Authority::Root)
    }

    /// The certificate's key, as PEM. [`KEY_PASSWORD`](super::KEY_PASSWORD) opens the encrypted forms.
    pub(crate) fn key(&self, cert: Cert, form: KeyForm) -> PathBuf {
        self.maker().key(cert, form)
    }

    /// A key store with the certificate, its chain and its key, under the alias of the certificate's name.
    pub(crate) fn key_store(&self, cert: Cert, format: KeyStore) -> PathBuf {
        self.maker().key_store(cert, format)
    }

    /// A key store by keytool with an entry for each of the certificates: JKS or PKCS#12.
    pub(crate) fn key_store_of_several(&self, certs: &[Cert], java_type: &str) -> PathBuf {
        self.maker().key_store_of_several(certs, java_type)
    }

    pub(crate) fn trust_store(&self, trusted: &[Trusted], format: TrustStore) -> PathBuf {
        self.maker().trust_store(trusted, format)
    }

    /// The settings of a TLS server inside the test, which trusts clients that the root signed.
    #[cfg(feature = "tls")]
    pub(crate) fn rustls_server(
        &self,
        cert: Cert,
        clients: ClientAuth,
    ) -> std::sync::Arc<rustls::ServerConfig> {
        use rustls::pki_types::pem::PemObject;
        use rustls::pki_types::{CertificateDer, PrivateKeyDer};
        use std::sync::Arc;

        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let builder = rustls::ServerConfig::builder_with_provider(Arc::clone(&provider))
            .with_safe_default_protocol_versions()
            .expect("versions that the provider knows");
        let builder = match clients {
            ClientAuth::None => builder.with_no_client_auth(),
            ClientAuth::Required => {
                let mut roots = rustls::RootCertStore::empty();
                let root = CertificateDer::from_pem_file(self.root()).expect("a certificate");
                roots.add(root).expect("a root");
                let verifier = rustls::server::WebPkiClientVerifier::builder_with_provider(
                    Arc::new(roots),
                    provider,
                );
                builder.with_client_cert_verifier(verifier.build().expect("a verifier"))
            }
        };
        let chain = CertificateDer::pem_file_iter(self.chain(cert)).expect("a chain");
        let chain = chain.collect::<Result<_, _>>().expect("certificates");
        let key = PrivateKeyDer::from_pem_file(self.key(cert, KeyForm::Pkcs8)).expect("a key");
        Arc::new(builder.with_single_cert(chain, key).expect("a server"))
    }

    fn maker(&self) -> MutexGuard<'_, Maker> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Makes the files. One thread at a time does, so that a key and its certificate fit.
pub(super) struct Maker {
    folder: PathBuf,
}

impl Maker {
    /// Returns the path of a file of this folder; `make` makes it under the name that it gets, if it is missing.
    pub(super) fn file(&mut self, name: &str, make: impl FnOnce(&mut Maker, &str)) -> PathBuf {
        let path = self.folder.join(name);
        if !path.exists() {
            let part = format!("{name}.part");
            make(self, &part);
            fs::rename(self.folder.join(part), &path).expect("rename a file that was made");
        }
        path
    }

    pub(super) fn openssl(&self, arguments: &[&str]) -> Vec<u8> {
        openssl(&self.folder, arguments, b"")
    }

    pub(super) fn folder(&self) -> &Path {
        &self.folder
    }

    pub(super) fn certificate(&mut self, cert: Cert) -> PathBuf {
        let recipe = cert.recipe();
        self.file(&format!("{}.crt", recipe.name), |maker, part| {
            let key = text(&maker.key(cert, KeyForm::Pkcs8));
            maker.sign(&recipe, &key, part);
        })
    }

    pub(super) fn chain(&mut self, cert: Cert) -> PathBuf {
        let recipe = cert.recipe();
        self.file(&format!("{}.chain", recipe.name), |maker, part| {
            let mut pem = fs::read(maker.certificate(cert)).expect("read a certificate");
            if let Signer::Authority(Authority::Intermediate) = recipe.signer {
                let intermediate = maker.authority(Authority::Intermediate);
                pem.extend(fs::read(intermediate).expect("read a certificate"));
            }
            maker.write(part, &pem);
        })
    }

    pub(super) fn write(&self, name: &str, content: &[u8]) {
        fs::write(self.folder.join(name), content).expect("write a file");
    }

    /// A new key for the certificate, as unencrypted PKCS#8.
    pub(super) fn new_key(&self, cert: Cert, part: &str) {
        self.generate_key(cert.recipe().key, part);
    }

    fn generate_key(&self, key: KeyType, part: &str) {
        let (algorithm, option) = match key {
            KeyType::Rsa(bits) => ("RSA", format!("rsa_keygen_bits:{bits}")),
            KeyType::P256 => ("EC", "ec_paramgen_curve:P-256".to_owned()),
        };
        let arguments = ["genpkey", "-algorithm", algorithm, "-pkeyopt", &option];
        self.openssl(&[&arguments[..], &["-out", part]].concat());
    }

    fn sign(&mut self, recipe: &Recipe, key: &str, part: &str) {
        let subject = format!("/CN={}", recipe.common_name);
        let config = format!("{}.cnf", recipe.name);
        self.write(&config, request_config(recipe.extensions).as_bytes());
        let request = ["req", "-new", "-config", &config, "-key", key, "-subj"];
        let request = [&request[..], &[&subject, "-out", part]].concat();
        match recipe.signer {
            Signer::Itself => {
                let own = ["-x509", "-days", "30", "-extensions", "extensions"];
                self.openssl(&[&request[..], &own].concat());
            }
            Signer::Authority(authority) => {
                self.openssl(&request);
                let request = format!("{}.csr", recipe.name);
                fs::rename(self.folder.join(part), self.folder.join(&request)).expect("rename");
                let extensions = recipe.extensions.map(|_| config.as_str());
                self.sign_request(authority, &request, extensions, recipe.days, part);
            }
        }
    }

    fn sign_request(
        &mut self,
        authority: Authority,
        request: &str,
        extensions: Option<&str>,
        days: (i64, i64),
        part: &str,
    ) {
        let signer = text(&self.authority(authority));
        let key = format!("{}.key", authority.name());
        let Some(extensions) = extensions else {
            return self.sign_without_extensions(&signer, &key, request, part);
        };
        let config = format!("{}-signs.cnf", authority.name());
        let database = format!("{}.txt", authority.name());
        if !self.folder.join(&database).exists() {
            self.write(&database, b"");
            self.write(&config, signing_config(&database).as_bytes());
        }
        let dates = [days.0, days.1].map(utc_time);
        let arguments = ["ca", "-batch", "-notext", "-config", &config, "-cert"];
        let signer = [signer.as_str(), "-keyfile", &key, "-in", request];
        let validity = ["-startdate", &dates[0], "-enddate", &dates[1]];
        let extensions = ["-extfile", extensions, "-extensions", "extensions"];
        let out = ["-out", part];
        self.openssl(&[&arguments[..], &signer, &validity, &extensions, &out].concat());
    }

    /// Makes a certificate of X.509 version 1.
    fn sign_without_extensions(&self, signer: &str, key: &str, request: &str, part: &str) {
        // Newer releases of openssl add extensions of their own unless a file says that there are none; for older ones the
        // file alone makes version 3.
        let none = "subjectKeyIdentifier=none\nauthorityKeyIdentifier=none\n";
        self.write("none.cnf", none.as_bytes());
        let arguments = ["x509", "-req", "-in", request, "-CA", signer, "-CAkey", key];
        let more = ["-CAcreateserial", "-days", "30", "-out", part];
        let has_version_1 = [&[][..], &["-extfile", "none.cnf"]].iter().any(|file| {
            self.openssl(&[&arguments[..], &more, file].concat());
            let shown = self.openssl(&["x509", "-in", part, "-noout", "-text"]);
            String::from_utf8_lossy(&shown).contains("Version: 1 ")
        });
        assert!(
            has_version_1,
            "this openssl makes no certificate of version 1"
        );
    }

    /// The authority's certificate.
    pub(super) fn authority(&mut self, authority: Authority) -> PathBuf {
        let name = authority.name();
        self.file(&format!("{name}.crt"), |maker, part| {
            maker.file(&format!("{name}.key"), |maker, part| {
                let key = match authority {
                    Authority::Root => KeyType::Rsa(2048),
                    Authority::Intermediate | Authority::Other => KeyType::P256,
                };
                maker.generate_key(key, part);
            });
            let extensions = "basicConstraints=critical,CA:TRUE\nkeyUsage=critical,keyCertSign,cRLSign\n\
                              subjectKeyIdentifier=hash\n";
            let config = format!("{name}.cnf");
            maker.write(&config, request_config(Some(extensions)).as_bytes());
            let (key, subject) = (format!("{name}.key"), format!("/CN=kafka tests {name}"));
            let request = ["req", "-new", "-config", &config, "-key", &key, "-subj", &subject];
            if let Authority::Intermediate = authority {
                let csr = format!("{name}.csr");
                maker.openssl(&[&request[..], &["-out", &csr]].concat());
                maker.sign_request(Authority::Root, &csr, Some(&config), (-1, 30), part);
            } else {
                let own = ["-x509", "-days", "30", "-extensions", "extensions", "-out", part];
                maker.openssl(&[&request[..], &own].concat());
            }
        })
    }
}

pub(super) fn text(path: &Path) -> String {
    path.to_str().expect("a path in UTF-8").to_owned()
}

/// Stands for the system's configuration of openssl, which differs from machine to machine.
fn request_config(extensions: Option<&str>) -> String {
    format!(
        "[req]\ndistinguished_name=name\nprompt=no\n[name]\nCN=unused\n[extensions]\n{}",
        extensions.unwrap_or_default()
    )
}

fn signing_config(database: &str) -> String {
    format!(
        "[ca]\ndefault_ca=signs\n[signs]\ndatabase={database}\nnew_certs_dir=.\nrand_serial=yes\ndefault_md=sha256\n\
         unique_subject=no\npolicy=names\n[names]\ncommonName=supplied\n"
    )
}

/// `YYYYMMDDHHMMSSZ` of this time of day, some days from today.
fn utc_time(days: i64) -> String {
    const DAY: i64 = 24 * 60 * 60;
    let now = SystemTime::now().duration_since(UNIX_EPOCH);
    let seconds = now.expect("a clock after 1970").as_secs() as i64 + days * DAY;
    let (day, time) = (seconds.div_euclid(DAY), seconds.rem_euclid(DAY));
    // Days in eras of 400 years that begin on the 1st of March, so that leap days come last.
    let day = day + 719_468;
    let (era, day_of_era) = (day.div_euclid(146_097), day.rem_euclid(146_097));
    let year_of_era =
        (day_of_era - day_of_era / 1_460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let month = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * month + 2) / 5 + 1;
    let month = if month < 10 { month + 3 } else { month - 9 };
    let year = year_of_era + era * 400 + i64::from(month <= 2);
    let (hour, minute, second) = (time / 3_600, time / 60 % 60, time % 60);
    format!("{year:04}{month:02}{day:02}{hour:02}{minute:02}{second:02}Z")
}
