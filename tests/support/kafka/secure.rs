//! Listeners that ask for TLS, SASL or both, and what their clients need.
//!
//! ```ignore
//! let options = ClusterOptions::new(KafkaVersion::V4_3_1).secure(&Listener::COMMON);
//! let kafka = KafkaCluster::start(&options)?;
//! let settings = kafka.settings(Listener::SaslSsl, Some(Mechanism::ScramSha512));
//! kafka.java_produce("topic", &settings, "a line\n");        // by Kafka's own console producer
//! kafka.set_scram("alice", "changed", &[Mechanism::ScramSha512]);
//! kafka.present(Cert::Expired);                              // at Listener::SslExchanged
//! kafka.add_acl(&Acl::deny("User:alice", Operation::Write, AclResource::Topic("t")));
//! ```
//!
//! - The plaintext listener stays, for Kafka's tools and for the brokers among each other.
//! - [`USERS`] are known to PLAIN and SCRAM with [`password`]; the subject of a token is a user, too. A client with the
//!   certificate of alice is `User:CN=alice`; one without an identity is `User:ANONYMOUS`, which is a super user.
//! - Users may do what no ACL rules. `.property("allow.everyone.if.no.acl.found", "false")` makes a cluster strict.
//! - Behind proxies each listener has a proxy of its own: `kafka.listener_proxy`.
//! - [`Listener::KERBEROS`] start a KDC with the cluster: `kafka.kdc()`. They have a cluster of their own, because not every
//!   machine has a KDC: `ClusterOptions::find_tools` says so before the start.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Output;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use super::broker::{Broker, PORT_TAKEN};
use super::{ClusterOptions, KafkaCluster, KafkaVersion, Proxy, admin, poll};
use crate::support::security::{
    self, AUDIENCE, Cert, ISSUER, Issuer, Kdc, KeyForm, KeyStore, Pki, STORE_PASSWORD, TrustStore,
    Trusted,
};

/// A listener besides the plaintext one. Its host is `localhost`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Listener {
    /// TLS 1.2 and 1.3.
    Ssl,
    /// TLS, with a client certificate required.
    SslClientAuth,
    /// TLS, with a client certificate asked for but not required.
    SslClientAuthRequested,
    /// TLS with the certificate that [`present`](KafkaCluster::present) chose. KRaft only.
    SslExchanged,
    /// SASL without TLS; all mechanisms but GSSAPI, and with ZooKeeper not OAUTHBEARER.
    SaslPlaintext,
    /// The same with TLS.
    SaslSsl,
    /// The same, with a client certificate required besides.
    SaslSslClientAuth,
    /// The same as `SaslPlaintext`, with sessions of five seconds.
    ReauthPlaintext,
    /// The same as `SaslSsl`, with sessions of five seconds.
    ReauthSsl,
    /// GSSAPI without TLS.
    Kerberos,
    /// GSSAPI with TLS.
    KerberosSsl,
}

impl Listener {
    /// All that one cluster with KRaft can have on a machine without a KDC.
    pub(crate) const COMMON: [Listener; 9] = [
        Listener::Ssl,
        Listener::SslClientAuth,
        Listener::SslClientAuthRequested,
        Listener::SslExchanged,
        Listener::SaslPlaintext,
        Listener::SaslSsl,
        Listener::SaslSslClientAuth,
        Listener::ReauthPlaintext,
        Listener::ReauthSsl,
    ];
    pub(crate) const KERBEROS: [Listener; 2] = [Listener::Kerberos, Listener::KerberosSsl];

    /// The name in the broker's properties.
    pub(super) fn name(self) -> &'static str {
        match self {
            Listener::Ssl => "TLS",
            Listener::SslClientAuth => "MTLS",
            Listener::SslClientAuthRequested => "WANTED",
            Listener::SslExchanged => "EXCHANGED",
            Listener::SaslPlaintext => "SASL",
            Listener::SaslSsl => "SASLTLS",
            Listener::SaslSslClientAuth => "SASLMTLS",
            Listener::ReauthPlaintext => "REAUTH",
            Listener::ReauthSsl => "REAUTHTLS",
            Listener::Kerberos => "KRB",
            Listener::KerberosSsl => "KRBTLS",
        }
    }

    /// The value of a client's `security.protocol`.
    pub(crate) fn protocol(self) -> &'static str {
        match self {
            Listener::Ssl
            | Listener::SslClientAuth
            | Listener::SslClientAuthRequested
            | Listener::SslExchanged => "SSL",
            Listener::SaslPlaintext | Listener::ReauthPlaintext | Listener::Kerberos => {
                "SASL_PLAINTEXT"
            }
            Listener::SaslSsl
            | Listener::SaslSslClientAuth
            | Listener::ReauthSsl
            | Listener::KerberosSsl => "SASL_SSL",
        }
    }

    fn demands_certificate(self) -> bool {
        matches!(self, Listener::SslClientAuth | Listener::SaslSslClientAuth)
    }

    fn needs_kdc(self) -> bool {
        matches!(self, Listener::Kerberos | Listener::KerberosSsl)
    }

    /// How the names of its own properties at a broker begin.
    pub(crate) fn prefix(self) -> String {
        format!("listener.name.{}", self.name().to_lowercase())
    }
}

/// A SASL mechanism that some listener offers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Mechanism {
    Plain,
    ScramSha256,
    ScramSha512,
    OauthBearer,
    Gssapi,
}

impl Mechanism {
    pub(crate) fn name(self) -> &'static str {
        match self {
            Mechanism::Plain => "PLAIN",
            Mechanism::ScramSha256 => "SCRAM-SHA-256",
            Mechanism::ScramSha512 => "SCRAM-SHA-512",
            Mechanism::OauthBearer => "OAUTHBEARER",
            Mechanism::Gssapi => "GSSAPI",
        }
    }
}

/// The users that PLAIN and SCRAM know from the start.
pub(crate) const USERS: [&str; 2] = ["alice", "bob"];

/// The password of a user of PLAIN, and of SCRAM unless a test changes it.
pub(crate) fn password(user: &str) -> String {
    format!("{user}-secret")
}

/// A client's JAAS text with a name and a password.
pub(crate) fn jaas(mechanism: Mechanism, user: &str, password: &str) -> String {
    let module = match mechanism {
        Mechanism::Plain => "plain.PlainLoginModule",
        Mechanism::ScramSha256 | Mechanism::ScramSha512 => "scram.ScramLoginModule",
        other => panic!("{other:?} takes no password"),
    };
    let quote = |text: &str| text.replace('\\', "\\\\").replace('"', "\\\"");
    let (user, password) = (quote(user), quote(password));
    format!(r#"{SECURITY}.{module} required username="{user}" password="{password}";"#)
}

const SECURITY: &str = "org.apache.kafka.common.security";
/// Long enough that no test outlives it.
const TOKEN_SECONDS: i64 = 12 * 60 * 60;

/// One listener of one broker.
pub(super) struct ListenerPort {
    pub(super) listener: Listener,
    /// Where the broker listens.
    pub(super) port: u16,
    /// The port and the proxy that clients use instead.
    pub(super) proxy: Option<(u16, Proxy)>,
}

impl ListenerPort {
    pub(super) fn client_port(&self) -> u16 {
        self.proxy.as_ref().map_or(self.port, |(port, _)| *port)
    }
}

/// What all listeners of a cluster use.
pub(super) struct Security {
    listeners: Vec<Listener>,
    pki: Pki,
    issuer: Issuer,
    kdc: Option<Kdc>,
}

impl Security {
    /// Makes what the listeners need, in the cluster's folder. `kdc_port` is for a KDC.
    pub(super) fn prepare(
        listeners: &[Listener],
        folder: &Path,
        kdc_port: u16,
    ) -> Result<Security, String> {
        let needs_kdc = listeners.iter().any(|listener| listener.needs_kdc());
        let kdc = needs_kdc
            .then(|| Kdc::start(&folder.join("kdc"), kdc_port))
            .transpose()
            .map_err(|error: String| match error.contains("already in use") {
                true => format!("{PORT_TAKEN}: {error}"),
                false => error,
            })?;
        Ok(Security {
            listeners: listeners.to_vec(),
            pki: Pki::new(&folder.join("pki")),
            issuer: Issuer::new(&folder.join("tokens")),
            kdc,
        })
    }

    /// The options of a broker's JVM, and of Kafka's tools.
    pub(super) fn jvm_options(&self) -> Vec<String> {
        let keys = self.issuer.jwks_url();
        let tokens = USERS.map(|user| format!(",file:{}", self.token_path(user).display()));
        let mut options = vec![format!(
            "-Dorg.apache.kafka.sasl.oauthbearer.allowed.urls={keys}{}",
            tokens.concat()
        )];
        if let Some(kdc) = &self.kdc {
            options.push(format!(
                "-Djava.security.krb5.conf={}",
                kdc.config().display()
            ));
        }
        options
    }

    /// The arguments that make the users of SCRAM while a broker's folder is formatted.
    pub(super) fn format_arguments(&self) -> Vec<String> {
        let mut arguments = Vec::new();
        for user in USERS {
            for mechanism in [Mechanism::ScramSha256, Mechanism::ScramSha512] {
                let (mechanism, password) = (mechanism.name(), password(user));
                arguments.push("--add-scram".to_owned());
                arguments.push(format!("{mechanism}=[name={user},password={password}]"));
            }
        }
        arguments
    }

    /// The properties of every broker.
    pub(super) fn broker_properties(&self, version: KafkaVersion) -> Vec<(String, String)> {
        let key_store = self.pki.key_store(Cert::Broker, KeyStore::Pkcs12Openssl);
        let trust_store = self.pki.trust_store(&[Trusted::Root], TrustStore::Jks);
        let (authorizer, token_key) = match version.needs_zookeeper() {
            true => (
                "kafka.security.authorizer.AclAuthorizer",
                "delegation.token.master.key",
            ),
            false => (
                "org.apache.kafka.metadata.authorizer.StandardAuthorizer",
                "delegation.token.secret.key",
            ),
        };
        let mut properties = vec![
            pair("authorizer.class.name", authorizer),
            pair("super.users", "User:ANONYMOUS"),
            pair("allow.everyone.if.no.acl.found", "true"),
            pair("ssl.keystore.type", "PKCS12"),
            pair("ssl.keystore.location", key_store.display()),
            pair("ssl.keystore.password", STORE_PASSWORD),
            pair("ssl.key.password", STORE_PASSWORD),
            pair("ssl.truststore.type", "JKS"),
            pair("ssl.truststore.location", trust_store.display()),
            pair("ssl.truststore.password", STORE_PASSWORD),
            pair(token_key, "delegation-secret"),
        ];
        for listener in &self.listeners {
            self.listener_properties(*listener, version, &mut properties);
        }
        properties
    }

    fn listener_properties(
        &self,
        listener: Listener,
        version: KafkaVersion,
        properties: &mut Vec<(String, String)>,
    ) {
        let prefix = listener.prefix();
        let mut add =
            |name: &str, value: &str| properties.push(pair(&format!("{prefix}.{name}"), value));
        match listener {
            Listener::Ssl => {}
            Listener::SslClientAuth => {
                let key_store = self.pki.key_store(Cert::Broker, KeyStore::Jks);
                add("ssl.client.auth", "required");
                add("ssl.keystore.type", "JKS");
                add("ssl.keystore.location", &key_store.display().to_string());
                add("ssl.keystore.password", STORE_PASSWORD);
            }
            Listener::SslClientAuthRequested => add("ssl.client.auth", "requested"),
            Listener::SslExchanged => {
                // Names and subjects are exchanged, too.
                add("ssl.allow.dn.changes", "true");
                add("ssl.allow.san.changes", "true");
            }
            Listener::Kerberos | Listener::KerberosSsl => {
                let kdc = self.kdc.as_ref().expect("a KDC");
                add("sasl.enabled.mechanisms", "GSSAPI");
                add("gssapi.sasl.jaas.config", &broker_keytab_jaas(kdc));
                add("sasl.kerberos.service.name", "kafka");
            }
            Listener::SaslPlaintext | Listener::SaslSsl => self.sasl(version, &mut add),
            Listener::SaslSslClientAuth => {
                self.sasl(version, &mut add);
                // For a listener with SASL, Kafka takes it only with the listener's prefix.
                add("ssl.client.auth", "required");
            }
            Listener::ReauthPlaintext | Listener::ReauthSsl => {
                self.sasl(version, &mut add);
                add("connections.max.reauth.ms", "5000");
            }
        }
    }

    fn sasl(&self, version: KafkaVersion, add: &mut impl FnMut(&str, &str)) {
        let has_jwks = !version.needs_zookeeper();
        let all = "PLAIN,SCRAM-SHA-256,SCRAM-SHA-512";
        let users = USERS.map(|user| format!(r#" user_{user}="{}""#, password(user)));
        let plain = format!(
            "{SECURITY}.plain.PlainLoginModule required{};",
            users.concat()
        );
        let scram = format!("{SECURITY}.scram.ScramLoginModule required;");
        add("plain.sasl.jaas.config", &plain);
        add("scram-sha-256.sasl.jaas.config", &scram);
        add("scram-sha-512.sasl.jaas.config", &scram);
        if !has_jwks {
            add("sasl.enabled.mechanisms", all);
            return;
        }
        add("sasl.enabled.mechanisms", &format!("{all},OAUTHBEARER"));
        let module = format!("{SECURITY}.oauthbearer.OAuthBearerLoginModule required;");
        let handler = format!("{SECURITY}.oauthbearer.OAuthBearerValidatorCallbackHandler");
        add("oauthbearer.sasl.jaas.config", &module);
        add("oauthbearer.sasl.server.callback.handler.class", &handler);
        add(
            "oauthbearer.sasl.oauthbearer.jwks.endpoint.url",
            &self.issuer.jwks_url(),
        );
        add("oauthbearer.sasl.oauthbearer.expected.audience", AUDIENCE);
        add("oauthbearer.sasl.oauthbearer.expected.issuer", ISSUER);
    }

    fn token_path(&self, user: &str) -> PathBuf {
        self.issuer.token_path(user)
    }

    /// A client's settings for a mechanism, as alice.
    fn sasl_settings(&self, mechanism: Mechanism) -> Vec<(String, String)> {
        let alice = USERS[0];
        let mut settings = vec![pair("sasl.mechanism", mechanism.name())];
        let jaas = match mechanism {
            Mechanism::Plain | Mechanism::ScramSha256 | Mechanism::ScramSha512 => {
                jaas(mechanism, alice, &password(alice))
            }
            Mechanism::OauthBearer => {
                let token = self.issuer.token_file(alice, TOKEN_SECONDS);
                let handler = format!("{SECURITY}.oauthbearer.OAuthBearerLoginCallbackHandler");
                let url = format!("file:{}", token.display());
                settings.push(pair("sasl.oauthbearer.token.endpoint.url", url));
                settings.push(pair("sasl.login.callback.handler.class", handler));
                format!("{SECURITY}.oauthbearer.OAuthBearerLoginModule required;")
            }
            Mechanism::Gssapi => {
                settings.push(pair("sasl.kerberos.service.name", "kafka"));
                client_keytab_jaas(self.kdc.as_ref().expect("a KDC"))
            }
        };
        settings.push(pair("sasl.jaas.config", jaas));
        settings
    }
}

impl ClusterOptions {
    /// Adds these listeners to each broker.
    pub(crate) fn secure(mut self, listeners: &[Listener]) -> ClusterOptions {
        let has_exchanged = listeners.contains(&Listener::SslExchanged);
        assert!(
            !has_exchanged || !self.version.needs_zookeeper(),
            "with KRaft only"
        );
        self.listeners = listeners.to_vec();
        self
    }

    /// The brokers update the keys of a connection with TLS 1.3 after every 128 KiB, and log each time. Java does it after
    /// 128 GiB by default.
    pub(crate) fn updates_keys(mut self) -> ClusterOptions {
        self.updates_keys = true;
        self
    }

    /// Says what is missing if this machine lacks a program that the listeners need.
    pub(crate) fn find_tools(&self) -> Result<(), String> {
        if !self.listeners.is_empty() {
            security::find_tools()?;
        }
        match self.listeners.iter().any(|listener| listener.needs_kdc()) {
            true => Kdc::find(),
            false => Ok(()),
        }
    }
}

impl KafkaCluster {
    /// The certificates and stores of a secure cluster.
    pub(crate) fn pki(&self) -> &Pki {
        &self.security().pki
    }

    /// The issuer of the tokens that a secure cluster accepts.
    pub(crate) fn issuer(&self) -> &Issuer {
        &self.security().issuer
    }

    pub(crate) fn kdc(&self) -> &Kdc {
        self.security().kdc.as_ref().expect("a KDC")
    }

    /// `localhost:port` of each broker's listener, with commas between.
    pub(crate) fn listener_servers(&self, listener: Listener) -> String {
        let ports = self
            .brokers
            .iter()
            .map(|broker| broker.listener(listener).client_port());
        let addresses: Vec<_> = ports.map(|port| format!("localhost:{port}")).collect();
        addresses.join(",")
    }

    /// The proxy in front of a broker's listener, in a cluster behind proxies.
    pub(crate) fn listener_proxy(&self, broker: i32, listener: Listener) -> &Proxy {
        let (_, proxy) = self
            .broker(broker)
            .listener(listener)
            .proxy
            .as_ref()
            .expect("a proxy");
        proxy
    }

    /// The number of open connections to a broker's listener.
    pub(crate) fn listener_connections(&self, broker: i32, listener: Listener) -> usize {
        super::connections_to(self.broker(broker).listener(listener).client_port())
    }

    /// The settings with which a client connects to the listener, as alice where it asks for an identity. `mechanism` is
    /// for the listeners with SASL.
    pub(crate) fn settings(
        &self,
        listener: Listener,
        mechanism: Option<Mechanism>,
    ) -> Vec<(String, String)> {
        let security = self.security();
        let protocol = listener.protocol();
        let mut settings = vec![
            pair("bootstrap.servers", self.listener_servers(listener)),
            pair("security.protocol", protocol),
        ];
        if protocol.ends_with("SSL") {
            let trusted = security.pki.trust_store(&[Trusted::Root], TrustStore::Pem);
            settings.push(pair("ssl.truststore.type", "PEM"));
            settings.push(pair("ssl.truststore.location", trusted.display()));
        }
        if listener.demands_certificate() {
            settings.extend(self.key_store_settings(Cert::Alice, KeyStore::Pem(KeyForm::Pkcs8)));
        }
        if let Some(mechanism) = mechanism {
            settings.extend(security.sasl_settings(mechanism));
        }
        settings
    }

    /// A client's settings for a key store.
    pub(crate) fn key_store_settings(&self, cert: Cert, format: KeyStore) -> Vec<(String, String)> {
        let file = self.pki().key_store(cert, format);
        let mut settings = vec![
            pair("ssl.keystore.type", format.java_type()),
            pair("ssl.keystore.location", file.display()),
        ];
        if !matches!(format, KeyStore::Pem(_)) {
            settings.push(pair("ssl.keystore.password", STORE_PASSWORD));
        }
        if let Some(password) = format.key_password() {
            settings.push(pair("ssl.key.password", password));
        }
        settings
    }

    /// A client's settings for a trust store; they replace those of [`settings`](Self::settings).
    pub(crate) fn trust_store_settings(
        &self,
        trusted: &[Trusted],
        format: TrustStore,
    ) -> Vec<(String, String)> {
        let file = self.pki().trust_store(trusted, format);
        let mut settings = vec![
            pair("ssl.truststore.type", format.java_type()),
            pair("ssl.truststore.location", file.display()),
        ];
        if format != TrustStore::Pem {
            settings.push(pair("ssl.truststore.password", STORE_PASSWORD));
        }
        settings
    }

    /// Lets Kafka's console producer send each line of the text, and returns what it printed. It ends without an error
    /// even if nothing was delivered.
    pub(crate) fn java_produce(
        &self,
        topic: &str,
        settings: &[(String, String)],
        lines: &str,
    ) -> Output {
        // Tests may run several at the same time.
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let number = COUNT.fetch_add(1, Ordering::Relaxed);
        let file = self.properties_file(&format!("java-produce-{number}"), settings);
        let (_, servers) = settings
            .iter()
            .find(|(name, _)| name == "bootstrap.servers")
            .expect("servers");
        let arguments = [
            "--bootstrap-server",
            servers,
            "--topic",
            topic,
            "--command-config",
        ];
        let file = file.display().to_string();
        let arguments = [&arguments[..], &[&file]].concat();
        self.run_tool(
            "org.apache.kafka.tools.ConsoleProducer",
            &arguments,
            lines.as_bytes(),
        )
    }

    /// Writes settings as a properties file of Java's.
    pub(crate) fn properties_file(&self, name: &str, settings: &[(String, String)]) -> PathBuf {
        let file = self.folder.join(format!("{name}.properties"));
        fs::write(&file, super::properties::to_text(settings)).expect("write a properties file");
        file
    }

    /// Gives a user this password for these mechanisms of SCRAM, while the cluster runs.
    pub(crate) fn set_scram(&self, user: &str, password: &str, mechanisms: &[Mechanism]) {
        let credential = |mechanism: &Mechanism| {
            format!("{}=[iterations=4096,password={password}]", mechanism.name())
        };
        let credentials: Vec<_> = mechanisms.iter().map(credential).collect();
        self.alter_user(user, "--add-config", &credentials.join(","));
    }

    /// Removes a user's credentials for these mechanisms of SCRAM.
    pub(crate) fn delete_scram(&self, user: &str, mechanisms: &[Mechanism]) {
        let names: Vec<_> = mechanisms
            .iter()
            .map(|mechanism| mechanism.name())
            .collect();
        self.alter_user(user, "--delete-config", &names.join(","));
    }

    fn alter_user(&self, user: &str, verb: &str, configs: &str) {
        let arguments = [
            "--alter",
            "--entity-type",
            "users",
            "--entity-name",
            user,
            verb,
            configs,
        ];
        let servers = self.bootstrap_servers();
        let zookeeper = self
            .zookeeper
            .as_ref()
            .map(|(_, port)| format!("127.0.0.1:{port}"));
        let class = "kafka.admin.ConfigCommand";
        match &zookeeper {
            // Brokers that old know no request for it.
            Some(address) => {
                self.run_own_tool(class, &[&arguments[..], &["--zookeeper", address]].concat())
            }
            None => drop(self.run_tool(
                class,
                &[&arguments[..], &["--bootstrap-server", &servers]].concat(),
                b"",
            )),
        }
    }

    /// Makes the users of SCRAM that a cluster without formatted storage lacks.
    pub(super) fn make_users(&self) {
        for user in USERS {
            self.set_scram(
                user,
                &password(user),
                &[Mechanism::ScramSha256, Mechanism::ScramSha512],
            );
        }
    }

    /// Creates a delegation token of alice's with the longest life that the brokers allow: its id and its HMAC, which are name
    /// and password for SCRAM with `tokenauth=true`.
    pub(crate) fn delegation_token(&self) -> (String, String) {
        let printed = self.run_delegation_tokens(&["--create", "--max-life-time-period", "-1"]);
        let mut fields = printed
            .lines()
            .last()
            .unwrap_or_default()
            .split_whitespace();
        match (fields.next(), fields.next()) {
            (Some(id), Some(hmac)) => (id.to_owned(), hmac.to_owned()),
            _ => panic!("no token in {printed:?}"),
        }
    }

    /// Ends a delegation token now, by its HMAC.
    pub(crate) fn expire_delegation_token(&self, hmac: &str) {
        let expire = ["--expire", "--expiry-time-period", "-1", "--hmac", hmac];
        self.run_delegation_tokens(&expire);
    }

    /// Lets Kafka's tool for delegation tokens run as alice. Returns what it printed.
    fn run_delegation_tokens(&self, verb: &[&str]) -> String {
        let settings = self.settings(Listener::SaslPlaintext, Some(Mechanism::ScramSha512));
        let file = self
            .properties_file("delegation-token", &settings)
            .display()
            .to_string();
        let servers = self.listener_servers(Listener::SaslPlaintext);
        let arguments = ["--bootstrap-server", &servers, "--command-config", &file];
        let class = "org.apache.kafka.tools.DelegationTokenCommand";
        let output = self.run_tool(class, &[&arguments[..], verb].concat(), b"");
        String::from_utf8_lossy(&output.stdout).into_owned()
    }

    /// Lets every broker present this certificate at [`Listener::SslExchanged`], and waits until it does. Connections that
    /// are open stay.
    pub(crate) fn present(&self, cert: Cert) {
        let store = self
            .pki()
            .key_store(cert, KeyStore::Pkcs12Openssl)
            .display()
            .to_string();
        let prefix = Listener::SslExchanged.prefix();
        let configs = [
            ("ssl.keystore.location", store.as_str()),
            ("ssl.keystore.type", "PKCS12"),
            ("ssl.keystore.password", STORE_PASSWORD),
            ("ssl.key.password", STORE_PASSWORD),
        ];
        let configs = configs.map(|(name, value)| (format!("{prefix}.{name}"), value));
        let configs: Vec<_> = configs
            .iter()
            .map(|(name, value)| (name.as_str(), *value))
            .collect();
        let expected = security::der(&self.pki().certificate(cert));
        for broker in &self.brokers {
            let id = broker.id.to_string();
            admin::alter_configs(broker.port(), admin::Resource::Broker, &id, &configs)
                .unwrap_or_else(|error| panic!("present {cert:?}: {error}"));
            let port = broker.listener(Listener::SslExchanged).port;
            let shown = poll(Duration::from_secs(30), || {
                (security::presented(port)? == expected).then_some(())
            });
            assert!(shown.is_some(), "broker {id} does not present {cert:?}");
        }
    }

    pub(super) fn security(&self) -> &Security {
        self.security.as_ref().expect("a secure cluster")
    }
}

impl Broker {
    pub(super) fn listener(&self, listener: Listener) -> &ListenerPort {
        let found = self.listeners.iter().find(|port| port.listener == listener);
        found.unwrap_or_else(|| panic!("the cluster was started without {listener:?}"))
    }
}

/// The options of a JVM that updates the keys of a connection all the time.
pub(super) fn key_update_options(folder: &Path) -> Result<Vec<String>, String> {
    let file = folder.join("java.security");
    let ciphers = ["AES/GCM/NoPadding", "ChaCha20-Poly1305"];
    let limits = ciphers.map(|cipher| format!("{cipher} KeyUpdate 2^17"));
    let text = format!("jdk.tls.keyLimits={}\n", limits.join(", "));
    fs::write(&file, text).map_err(|error| format!("write {}: {error}", file.display()))?;
    Ok(vec![
        format!("-Djava.security.properties={}", file.display()),
        "-Djavax.net.debug=ssl:handshake".to_owned(),
    ])
}

fn broker_keytab_jaas(kdc: &Kdc) -> String {
    keytab_jaas(&kdc.broker_keytab(), "kafka/localhost")
}

fn client_keytab_jaas(kdc: &Kdc) -> String {
    keytab_jaas(&kdc.keytab(), "alice")
}

fn keytab_jaas(keytab: &Path, principal: &str) -> String {
    format!(
        r#"com.sun.security.auth.module.Krb5LoginModule required useKeyTab=true storeKey=true keyTab="{}" principal="{principal}@{}";"#,
        keytab.display(),
        security::REALM
    )
}

fn pair(name: &str, value: impl ToString) -> (String, String) {
    (name.to_owned(), value.to_string())
}
