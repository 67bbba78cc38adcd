//! What a failure of Kerberos means, and what to change.

use std::fmt;
use std::net::IpAddr;

use super::library::{Fault, NotLoaded};
use super::meaning::Meaning;
use crate::error::{Error, ErrorKind, printable};
use crate::sasl::{failed, misconfigured};

/// What a failure is about. No part of it is a secret.
#[derive(Clone, Debug)]
pub(super) struct Subject {
    /// The principal of the broker.
    pub(super) target: String,
    /// The host of which `target` is made.
    pub(super) host: String,
    pub(super) tickets: Tickets,
}

/// Where the client's tickets come from.
#[derive(Clone, Debug)]
pub(super) enum Tickets {
    Keytab {
        file: String,
        principal: String,
    },
    /// `None` stands for the default cache, and for whatever principal it has.
    Cache {
        name: Option<String>,
        principal: Option<String>,
    },
}

impl fmt::Display for Tickets {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Keytab { file, .. } => write!(f, "the keytab {file}"),
            Self::Cache {
                name: Some(name), ..
            } => write!(f, "the ticket cache {name}"),
            Self::Cache { name: None, .. } => f.write_str("the default ticket cache"),
        }
    }
}

impl Subject {
    /// Returns the error of a client that gets no ticket for the broker.
    pub(super) fn error(&self, fault: &Fault) -> Error {
        let (message, advice) = match &self.tickets {
            Tickets::Keytab { file, principal } => self.of_keytab(fault, file, principal),
            Tickets::Cache { .. } => self.of_cache(fault),
        }
        .unwrap_or_else(|| self.of_any(fault));
        let message = format!("{message} ({})", printable(&fault.text));
        let meaning = Meaning::of(fault);
        let error = match meaning {
            // Like a broker that cannot be reached, it is no refusal: it may answer soon.
            Meaning::Unreachable => Error::new(ErrorKind::Network, message),
            _ if meaning.is_temporary() || self.is_replaced(meaning) => {
                Error::new(ErrorKind::Network, message).with_put_off()
            }
            _ => failed(message),
        };
        error.with_advice(advice)
    }

    /// Returns whether the next attempt gets other tickets, which may be accepted: those of a keytab are dropped after a failure.
    fn is_replaced(&self, meaning: Meaning) -> bool {
        meaning == Meaning::StaleTicket && matches!(self.tickets, Tickets::Keytab { .. })
    }

    fn of_keytab(&self, fault: &Fault, file: &str, principal: &str) -> Option<(String, String)> {
        Some(match Meaning::of(fault) {
            // The second is what MIT's library says if a keytab does not help to fill an empty cache.
            Meaning::NoKey | Meaning::NoCredentials => (
                format!("the keytab {file} has no usable key of {principal}"),
                format!(
                    "set the options principal and keyTab to fit each other: klist -kt {file} lists the principals of the file"
                ),
            ),
            Meaning::BadKeytab => (
                format!("{file} is not a usable keytab"),
                "set the option keyTab to a file that ktadd or ktpass made: klist -kt shows what is in it".to_owned(),
            ),
            Meaning::WrongKey => (
                format!("the KDC does not accept the key of {principal} in the keytab {file}"),
                "create a new keytab file with the principal's current key (ktadd or ktpass): the password or the key has been \
                 changed since this one was created. Or the option principal differs from the KDC's spelling in upper and \
                 lower case"
                    .to_owned(),
            ),
            Meaning::Expired => (
                format!("the ticket of {principal} has expired"),
                "set the clock of this machine right, and check that the KDC gives tickets".to_owned(),
            ),
            Meaning::StaleTicket => (
                format!("the KDC does not accept the ticket that it gave to {principal}"),
                "the producer gets a new ticket with the keytab and tries again".to_owned(),
            ),
            _ => return None,
        })
    }

    fn of_cache(&self, fault: &Fault) -> Option<(String, String)> {
        let tickets = &self.tickets;
        Some(match Meaning::of(fault) {
            Meaning::NoCredentials => (
                format!("there is no ticket in {tickets}"),
                "run kinit as the user of this program; the option ticketCache, or KRB5CCNAME, chooses the cache. A service \
                 that runs for long needs a keytab: useKeyTab=true with keyTab and principal"
                    .to_owned(),
            ),
            Meaning::Expired => (
                format!("the ticket in {tickets} has expired"),
                "run kinit, and renew the ticket in time, for example by kinit -R, k5start or sssd: the cache is read again \
                 for each connection. A keytab needs no renewal: useKeyTab=true with keyTab and principal"
                    .to_owned(),
            ),
            Meaning::StaleTicket | Meaning::WrongKey => (
                format!("the KDC does not accept the ticket in {tickets}"),
                "run kinit for a new ticket: this one was withdrawn, or the KDC has a new key since".to_owned(),
            ),
            Meaning::OtherPrincipal => (
                format!("{tickets} has tickets of another principal"),
                "set the option principal to the one that klist shows, or leave it out".to_owned(),
            ),
            Meaning::BadCache => (
                format!("{tickets} is not usable"),
                "set the option ticketCache to a cache that kinit made and that this program may read: klist -c shows what is \
                 in it"
                    .to_owned(),
            ),
            _ => return None,
        })
    }

    fn of_any(&self, fault: &Fault) -> (String, String) {
        let meaning = Meaning::of(fault);
        let found = self.of_principals(meaning);
        let found = found.or_else(|| self.of_time(meaning));
        found.unwrap_or_else(|| self.of_setup(meaning))
    }

    /// Returns what is wrong with the principals of client and broker.
    fn of_principals(&self, meaning: Meaning) -> Option<(String, String)> {
        let target = &self.target;
        Some(match meaning {
            Meaning::ServerUnknown => (
                format!("the KDC does not know the principal {target} of the broker"),
                self.advice_on_names(),
            ),
            Meaning::ClientUnknown => (
                format!("the KDC does not know the principal {}", self.client()),
                "check the option principal in sasl.jaas.config, and its realm".to_owned(),
            ),
            Meaning::NotUnique => (
                format!("the KDC has more than one entry for {} or for {target}", self.client()),
                "ask the administrator of the KDC to remove the other entries: setspn -X lists them in an Active Directory"
                    .to_owned(),
            ),
            Meaning::ClientLocked => (
                format!("the KDC gives no ticket to {}", self.client()),
                "ask the administrator of the KDC: the principal is locked, it or its password has expired, or a policy does \
                 not allow the request"
                    .to_owned(),
            ),
            Meaning::ServerLocked => (
                format!("the KDC gives no tickets for {target}"),
                "ask the administrator of the KDC: the principal of the broker is locked, has expired, or is that of a user and \
                 not of a service"
                    .to_owned(),
            ),
            Meaning::OtherProof => (
                format!("the KDC demands another proof of the identity of {}", self.client()),
                "check that the keytab has the principal's current keys (klist -ket), and that the principal needs no \
                 certificate and no one-time password: this client has none"
                    .to_owned(),
            ),
            Meaning::BadName => (
                format!("{} or {target} is not the name of a principal", self.client()),
                "check the option principal in sasl.jaas.config: write it as name@REALM".to_owned(),
            ),
            _ => return None,
        })
    }

    /// Returns what is wrong with clocks and times, and what goes away by itself.
    fn of_time(&self, meaning: Meaning) -> Option<(String, String)> {
        let target = &self.target;
        Some(match meaning {
            Meaning::Skew => (
                "the clocks of this machine and of the KDC differ too much".to_owned(),
                "set both right, for example by NTP: Kerberos allows a difference of 5 minutes".to_owned(),
            ),
            Meaning::NotYetValid => (
                format!("{}, {target} or the ticket is not valid yet", self.client()),
                "the producer tries again; if this persists, set the clocks of this machine and of the KDC right, and check \
                 from when on the principals are valid"
                    .to_owned(),
            ),
            Meaning::Replay => (
                format!("the KDC takes the request of a ticket for {target} for a copy of an earlier one"),
                "the producer tries again; if this persists, check that the clocks of this machine and of the KDC are right"
                    .to_owned(),
            ),
            Meaning::Busy => (
                format!("the KDC has no ticket for {target} at the moment"),
                "the producer tries again; if this persists, ask the administrator of the KDC".to_owned(),
            ),
            _ => return None,
        })
    }

    /// Returns what is wrong with the setup of this machine and of the realms.
    fn of_setup(&self, meaning: Meaning) -> (String, String) {
        let target = &self.target;
        match meaning {
            Meaning::NoCipher => (
                format!("the KDC and this machine have no cipher in common for {target}"),
                "compare permitted_enctypes in krb5.conf with the keys of the principals and of the keytab (klist -ket)"
                    .to_owned(),
            ),
            Meaning::NoConfiguration => (
                "the configuration of Kerberos is missing or not usable".to_owned(),
                "check /etc/krb5.conf, or the file that KRB5_CONFIG names: it needs default_realm, and the KDCs of the realm"
                    .to_owned(),
            ),
            Meaning::RealmUnknown => (
                format!("no KDC is known for the realm of {} or of {target}", self.client()),
                "name the KDCs of the realm in the section [realms] of krb5.conf, and check the realm's spelling, which is \
                 usually in upper case"
                    .to_owned(),
            ),
            Meaning::NoPath => (
                format!("the realm of {} has no way to {target}", self.client()),
                "check the realm of the broker in the section [domain_realm] of krb5.conf, and that the realms trust each other \
                 ([capaths])"
                    .to_owned(),
            ),
            Meaning::OtherAddress => (
                "the ticket is for other network addresses than this machine has at the KDC".to_owned(),
                "set noaddresses = true in the section [libdefaults] of krb5.conf, and run kinit for a new ticket".to_owned(),
            ),
            Meaning::Unreachable => (
                format!("no KDC answers the request of a ticket for {target}"),
                "check that the KDCs in krb5.conf run and that no firewall blocks their port 88; the producer tries again"
                    .to_owned(),
            ),
            _ => (
                format!("Kerberos gives no ticket for {target}"),
                format!(
                    "check with kinit and kvno {target} on this machine; KRB5_TRACE=/dev/stderr shows what the library does"
                ),
            ),
        }
    }

    fn client(&self) -> &str {
        match &self.tickets {
            Tickets::Keytab { principal, .. } => principal,
            Tickets::Cache { principal, .. } => principal.as_deref().unwrap_or("the client"),
        }
    }

    fn advice_on_names(&self) -> String {
        let host = &self.host;
        let made = "the principal is made of sasl.kerberos.service.name and of the host as bootstrap.servers and the broker's \
            advertised.listeners have it, without a look-up in DNS";
        if host.parse::<IpAddr>().is_ok() {
            return format!("use the broker's name instead of its address {host}: {made}");
        }
        let compare = "compare with the principal in the broker's keytab (klist -kt)";
        match host.contains('.') || host == "localhost" {
            true => format!("{compare}: {made}"),
            false => format!(
                "use the broker's full name instead of {host} (Java looks it up), or {compare}: {made}"
            ),
        }
    }

    /// Returns the error of a broker whose message does not prove its identity.
    pub(super) fn broken(&self, fault: &Fault) -> Error {
        failed(format!(
            "the broker's message does not prove that it is {} ({})",
            self.target,
            printable(&fault.text)
        ))
        .with_advice("check the broker's keytab, and that the clocks of both machines are right")
    }

    /// Returns the error of a broker that refuses the ticket.
    pub(super) fn refused(&self) -> Error {
        let kinit = match self.tickets {
            Tickets::Keytab { .. } => "",
            // The client itself fetches new tickets with the keytab.
            Tickets::Cache { .. } => "; if the broker's key is new, run kinit for new tickets",
        };
        failed(format!("the broker refused the ticket for {}", self.target)).with_advice(format!(
            "check that the broker's keytab has the current key of this principal (klist -kt, kvno), and that the clocks of \
             both machines differ by less than 5 minutes; the broker's log has the reason{kinit}"
        ))
    }
}

/// Returns the error of a system without the library.
pub(super) fn not_loaded(reason: &NotLoaded) -> Error {
    const PACKAGES: &str = "install MIT's Kerberos library: the package is libgssapi-krb5-2 on Debian and Ubuntu, krb5-libs on \
        RHEL, Fedora and Alpine, krb5 on SUSE and Arch";
    match reason {
        NotLoaded::Missing(text) => misconfigured(format!(
            "sasl.mechanism=GSSAPI needs the library libgssapi_krb5.so.2, which cannot be loaded ({})",
            printable(text)
        ))
        .with_advice(PACKAGES),
        NotLoaded::TooOld(function) => misconfigured(format!(
            "sasl.mechanism=GSSAPI needs MIT's libgssapi_krb5.so.2 of release 1.11 or later: this one has no {function}"
        ))
        .with_advice(PACKAGES),
        NotLoaded::StaticProgram => misconfigured(
            "sasl.mechanism=GSSAPI loads the system's Kerberos library, and this program is linked statically",
        )
        .with_advice("build it with RUSTFLAGS=\"-C target-feature=-crt-static\", or use another mechanism"),
    }
}

#[cfg(test)]
mod tests {
    use super::super::meaning::fault_of_kdc;
    use super::*;

    /// The error of a KDC's code for a client with a keytab, or with a cache.
    fn error(code: i64, has_keytab: bool) -> Error {
        let tickets = match has_keytab {
            true => Tickets::Keytab {
                file: "/etc/a.keytab".to_owned(),
                principal: "alice@TEST".to_owned(),
            },
            false => Tickets::Cache {
                name: None,
                principal: None,
            },
        };
        let subject = Subject {
            target: "kafka/broker1@TEST".to_owned(),
            host: "broker1".to_owned(),
            tickets,
        };
        subject.error(&fault_of_kdc(code))
    }

    #[test]
    fn what_goes_away_by_itself_is_no_refusal_and_the_next_attempt_is_put_off() {
        for (code, sentence) in [
            (
                21,
                "alice@TEST, kafka/broker1@TEST or the ticket is not valid yet",
            ),
            (
                29,
                "the KDC has no ticket for kafka/broker1@TEST at the moment",
            ),
            (
                33,
                "alice@TEST, kafka/broker1@TEST or the ticket is not valid yet",
            ),
            (
                34,
                "the KDC takes the request of a ticket for kafka/broker1@TEST for a copy of an earlier one",
            ),
            (
                44,
                "the KDC does not accept the ticket that it gave to alice@TEST",
            ),
        ] {
            let error = error(code, true);
            assert!(!error.is_refusal() && error.delays_reconnect(), "{error}");
            assert!(error.message().starts_with(sentence), "{error}");
            assert!(error.to_string().contains("tries again"), "{error}");
        }
        assert!(error(44, false).is_refusal(), "kinit has to be run");
    }

    fn assert_is_told(code: i64, has_keytab: bool, sentence: &str, advice: &str) {
        let error = error(code, has_keytab);
        assert!(error.is_refusal(), "{error}");
        assert!(error.message().starts_with(sentence), "{code}: {error}");
        assert!(error.to_string().contains(advice), "{code}: {error}");
    }

    #[test]
    fn what_lasts_of_a_client_with_a_keytab_is_told_at_once_with_advice() {
        let client = "the KDC gives no ticket to alice@TEST";
        for (code, sentence, advice) in [
            (1, client, "has expired"),
            (
                7,
                "the KDC does not know the principal kafka/broker1",
                "(Java looks it up)",
            ),
            (8, "the KDC has more than one entry", "setspn -X"),
            (12, client, "a policy"),
            (
                19,
                "the KDC gives no tickets for kafka/broker1@TEST",
                "of the broker is locked",
            ),
            (
                24,
                "the KDC does not accept the key of alice@TEST in",
                "create a new keytab file",
            ),
            (
                25,
                "the KDC demands another proof of the identity of alice",
                "one-time",
            ),
            (
                60,
                "Kerberos gives no ticket for kafka/broker1@TEST",
                "KRB5_TRACE",
            ),
            (
                68,
                "the realm of alice@TEST has no way to kafka/broker1",
                "[domain_realm]",
            ),
        ] {
            assert_is_told(code, true, sentence, advice);
        }
    }

    #[test]
    fn what_lasts_of_a_client_with_a_ticket_cache_is_told_at_once_with_advice() {
        for (code, sentence, advice) in [
            (
                31,
                "the KDC does not accept the ticket in the default",
                "run kinit",
            ),
            (
                37,
                "the clocks of this machine and of the KDC differ",
                "NTP",
            ),
            (
                38,
                "the ticket is for other network addresses",
                "noaddresses",
            ),
        ] {
            assert_is_told(code, false, sentence, advice);
        }
    }
}
