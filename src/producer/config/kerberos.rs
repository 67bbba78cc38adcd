//! GSSAPI: its setters, and how it is made of the settings.

use std::sync::Arc;

use crate::error::Error;
use crate::sasl::Mechanism;
use crate::sasl::jaas::Jaas;

use super::ProducerConfig;
#[cfg(all(feature = "sasl-gssapi", unix, not(target_vendor = "apple")))]
use super::warn;

/// Where tickets come from, set in code. The service is a setting.
#[cfg(feature = "sasl-gssapi")]
#[derive(Clone, Debug)]
pub(super) enum Tickets {
    Keytab {
        principal: String,
        file: std::path::PathBuf,
    },
    Cache,
}

/// Setters for Kerberos. They set `sasl.mechanism` and `sasl.kerberos.service.name`, and take precedence over
/// `sasl.jaas.config`. `security.protocol` must be `SASL_SSL` or `SASL_PLAINTEXT`.
#[cfg(feature = "sasl-gssapi")]
impl ProducerConfig {
    /// Authenticates by GSSAPI (Kerberos) as `principal`, with its key in the file `keytab`. `principal` is a whole name, such
    /// as `alice@EXAMPLE.COM`. `service` is the first part of the brokers' principals: `kafka` if they are
    /// `kafka/host@REALM`. The Kerberos library gets the tickets and renews them; `kinit` is not needed. Default: not set, so
    /// `sasl.jaas.config` and `sasl.kerberos.service.name` count. `build` returns an error if the file cannot be read.
    ///
    /// In Java this is `sasl.mechanism=GSSAPI`, `sasl.kerberos.service.name`, and in `sasl.jaas.config` the options
    /// `useKeyTab=true`, `keyTab` and `principal` of `Krb5LoginModule`.
    #[must_use]
    pub fn sasl_kerberos_keytab(
        self,
        service: impl Into<String>,
        principal: impl Into<String>,
        keytab: impl Into<std::path::PathBuf>,
    ) -> Self {
        let tickets = Tickets::Keytab {
            principal: principal.into(),
            file: keytab.into(),
        };
        self.with_tickets(&service.into(), tickets)
    }

    /// Authenticates by GSSAPI (Kerberos) with the tickets of the default ticket cache, which `kinit` fills (the environment
    /// variable `KRB5CCNAME` names another one). The cache is read again for each connection; the producer does not renew its
    /// tickets. `service` is as in [`sasl_kerberos_keytab`](Self::sasl_kerberos_keytab). Default: not set, so
    /// `sasl.jaas.config` and `sasl.kerberos.service.name` count.
    ///
    /// In Java this is `sasl.mechanism=GSSAPI`, `sasl.kerberos.service.name`, and in `sasl.jaas.config` the option
    /// `useTicketCache=true` of `Krb5LoginModule`.
    #[must_use]
    pub fn sasl_kerberos_ticket_cache(self, service: impl Into<String>) -> Self {
        self.with_tickets(&service.into(), Tickets::Cache)
    }

    fn with_tickets(mut self, service: &str, tickets: Tickets) -> Self {
        use super::sasl_credentials::SaslCredentials;
        self.set_text("sasl.mechanism", "GSSAPI");
        self.set_text("sasl.kerberos.service.name", service);
        self.sasl_credentials = Some(SaslCredentials::Kerberos(tickets));
        self
    }

    /// Makes the mechanism of tickets that were set in code.
    pub(super) fn gssapi_of_code(&self, tickets: &Tickets) -> Result<Arc<dyn Mechanism>, Error> {
        let mechanism = self.text("sasl.mechanism");
        if mechanism != "GSSAPI" {
            return Err(super::config_error(format!(
                "sasl.mechanism={} does not use Kerberos",
                crate::error::printable(&self.shown(&["sasl.mechanism"], mechanism))
            )));
        }
        mechanism_of(self.text("sasl.kerberos.service.name"), tickets)
    }
}

#[cfg(all(feature = "sasl-gssapi", unix, not(target_vendor = "apple")))]
fn mechanism_of(service: &str, tickets: &Tickets) -> Result<Arc<dyn Mechanism>, Error> {
    use crate::sasl::gssapi::{Gssapi, Login};
    let login = match tickets {
        Tickets::Keytab { principal, file } => Login::with_keytab(service, principal, file)?,
        Tickets::Cache => Login::with_ticket_cache(service)?,
    };
    Ok(Arc::new(Gssapi::new(login)?))
}

#[cfg(all(feature = "sasl-gssapi", not(all(unix, not(target_vendor = "apple")))))]
fn mechanism_of(_: &str, _: &Tickets) -> Result<Arc<dyn Mechanism>, Error> {
    Err(not_here())
}

#[cfg(all(feature = "sasl-gssapi", unix, not(target_vendor = "apple")))]
impl ProducerConfig {
    /// Loads the Kerberos library. The service is that of `sasl.kerberos.service.name` or of `jaas`.
    pub(super) fn gssapi(&self, jaas: &Jaas) -> Result<Arc<dyn Mechanism>, Error> {
        use crate::sasl::gssapi::{Gssapi, Login};
        let login = Login::from_jaas(jaas, self.text("sasl.kerberos.service.name"))?;
        let renews = jaas.option("renewTGT");
        if renews.is_some_and(|value| value.reveal().eq_ignore_ascii_case("true")) {
            warn(
                "renewTGT=true in sasl.jaas.config has no effect on this producer: renew the ticket cache by kinit -R, \
                 k5start or sssd; it is read again for each connection",
            );
        }
        Ok(Arc::new(Gssapi::new(login)?))
    }
}

#[cfg(not(all(feature = "sasl-gssapi", unix, not(target_vendor = "apple"))))]
impl ProducerConfig {
    #[allow(clippy::unused_self, reason = "as with the feature")]
    pub(super) fn gssapi(&self, _: &Jaas) -> Result<Arc<dyn Mechanism>, Error> {
        Err(not_here())
    }
}

/// Returns what this build or this system lacks for Kerberos.
pub(super) fn lacking() -> Option<&'static str> {
    match (
        cfg!(feature = "sasl-gssapi"),
        cfg!(all(unix, not(target_vendor = "apple"))),
    ) {
        (true, true) => None,
        (true, false) => {
            Some("MIT's Kerberos library, which this producer uses on Linux and the BSDs only")
        }
        (false, _) => {
            Some("the Cargo feature \"sasl-gssapi\" of kafka-producer: it is off in this build")
        }
    }
}

#[cfg(not(all(feature = "sasl-gssapi", unix, not(target_vendor = "apple"))))]
fn not_here() -> Error {
    let reason = lacking().unwrap_or_default();
    super::config_error(format!("sasl.mechanism=GSSAPI needs {reason}"))
}

#[cfg(test)]
mod tests {
    use crate::producer::config::ProducerConfig;

    fn build(settings: &str) -> String {
        let common = "bootstrap.servers=127.0.0.1:1\nsecurity.protocol=SASL_PLAINTEXT\n";
        let config = ProducerConfig::from_properties(&format!("{common}{settings}")).unwrap();
        match config.validate() {
            Ok(_) => String::new(),
            Err(error) => error.to_string(),
        }
    }

    const JAAS: &str = "sasl.jaas.config=com.sun.security.auth.module.Krb5LoginModule required useTicketCache=true;\n";

    #[test]
    fn kerberos_is_javas_default_mechanism_and_needs_a_service() {
        let error = build(JAAS);
        let expected = match cfg!(all(
            feature = "sasl-gssapi",
            unix,
            not(target_vendor = "apple")
        )) {
            true => {
                "sasl.kerberos.service.name is not set, and sasl.jaas.config has no option serviceName"
            }
            false => "sasl.mechanism=GSSAPI needs ",
        };
        assert!(error.contains(expected), "{error}");
    }

    #[cfg(feature = "sasl-gssapi")]
    #[test]
    fn setters_name_the_service_and_come_before_a_text() {
        use crate::SecurityProtocol;
        let config = ProducerConfig::new()
            .bootstrap_servers("127.0.0.1:1")
            .security_protocol(SecurityProtocol::SaslPlaintext)
            .sasl_kerberos_keytab("kafka", "alice@TEST.LOCAL", "/no/such/keytab");
        assert_eq!(config.get("sasl.mechanism").as_deref(), Some("GSSAPI"));
        assert_eq!(
            config.get("sasl.kerberos.service.name").as_deref(),
            Some("kafka")
        );
        let error = config.validate().err().unwrap().to_string();
        let reasons = ["/no/such/keytab cannot be read", "libgssapi_krb5", "MIT's"];
        assert!(
            reasons.iter().any(|reason| error.contains(reason)),
            "{error}"
        );
        let mut other = ProducerConfig::new()
            .bootstrap_servers("127.0.0.1:1")
            .security_protocol(SecurityProtocol::SaslPlaintext)
            .sasl_kerberos_ticket_cache("kafka");
        other.set("sasl.mechanism", "PLAIN").unwrap();
        let error = other.validate().err().unwrap().to_string();
        assert!(
            error.contains("sasl.mechanism=PLAIN does not use Kerberos"),
            "{error}"
        );
    }

    #[test]
    fn settings_of_javas_renewal_are_accepted() {
        let mut config = ProducerConfig::new();
        for (name, value) in [
            ("sasl.kerberos.kinit.cmd", "/opt/kinit"),
            ("sasl.kerberos.ticket.renew.window.factor", "0.5"),
            ("sasl.kerberos.ticket.renew.jitter", "0.1"),
            ("sasl.kerberos.min.time.before.relogin", "1000"),
            ("sasl.kerberos.service.name", "kafka"),
        ] {
            config.set(name, value).unwrap();
        }
        assert_eq!(
            config.get("sasl.kerberos.service.name").as_deref(),
            Some("kafka")
        );
    }
}
