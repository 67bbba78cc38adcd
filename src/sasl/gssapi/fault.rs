//! What a failure of Kerberos means, and what to change.

use std::fmt;
use std::net::IpAddr;

use super::library::{Fault, NotLoaded};
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

/// Kerberos's error codes begin here: `ERROR_TABLE_BASE_krb5`.
const KERBEROS: i64 = -1_765_328_384;
/// The codes of MIT's GSSAPI begin here: `ERROR_TABLE_BASE_k5g`.
const GSSAPI: i64 = 39_756_032;

/// The meaning of an error code.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Meaning {
    ClientUnknown,
    ServerUnknown,
    ClientLocked,
    WrongKey,
    Expired,
    Skew,
    NoCipher,
    NoConfiguration,
    NoCredentials,
    OtherPrincipal,
    BadCache,
    BadKeytab,
    NoKey,
    RealmUnknown,
    Unreachable,
    Other,
}

impl Meaning {
    fn of(fault: &Fault) -> Self {
        let minor = i64::from(fault.minor);
        match minor - KERBEROS {
            6 => return Self::ClientUnknown,
            7 => return Self::ServerUnknown,
            1 | 18 | 21 | 23 => return Self::ClientLocked,
            24 | 31 => return Self::WrongKey,
            32 => return Self::Expired,
            33 | 37 | 148 => return Self::Skew,
            14 | 150 | 200 | 236 | 237 => return Self::NoCipher,
            135 | 136 | 224 => return Self::NoConfiguration,
            141 | 195 | 203 => return Self::NoCredentials,
            139 | 140 | 193 | 194 | 199 | 212 => return Self::BadCache,
            179 | 180 | 213 | 235 => return Self::BadKeytab,
            181 => return Self::NoKey,
            154 => return Self::RealmUnknown,
            156 | 220 => return Self::Unreachable,
            _ => {}
        }
        match minor - GSSAPI {
            0 => Self::OtherPrincipal,
            1 => Self::NoKey,
            2 | 12 => Self::NoCredentials,
            _ => Self::Other,
        }
    }
}

/// Returns whether a ticket of the cache has expired.
pub(super) fn is_expired(fault: &Fault) -> bool {
    Meaning::of(fault) == Meaning::Expired
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
        let kind = match Meaning::of(fault) {
            // Like a broker that cannot be reached, it is no refusal: it may answer soon.
            Meaning::Unreachable => ErrorKind::Network,
            _ => ErrorKind::Authentication,
        };
        Error::new(kind, message).with_advice(advice)
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
                "make the keytab anew: the principal's password or key has been changed since, or the option principal is \
                 spelt in another case than at the KDC"
                    .to_owned(),
            ),
            Meaning::Expired => (
                format!("the ticket of {principal} has expired"),
                "set the clock of this machine right, and check that the KDC gives tickets".to_owned(),
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
        let target = &self.target;
        match Meaning::of(fault) {
            Meaning::ServerUnknown => (
                format!("the KDC does not know the principal {target} of the broker"),
                self.advice_on_names(),
            ),
            Meaning::ClientUnknown => (
                format!("the KDC does not know the principal {}", self.client()),
                "check the option principal in sasl.jaas.config, and its realm".to_owned(),
            ),
            Meaning::ClientLocked => (
                format!("the KDC gives no ticket to {}", self.client()),
                "ask the administrator of the KDC: the principal is locked, or it or its password has expired".to_owned(),
            ),
            Meaning::Skew => (
                "the clocks of this machine and of the KDC differ too much".to_owned(),
                "set both right, for example by NTP: Kerberos allows a difference of 5 minutes".to_owned(),
            ),
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
            false => format!("use the broker's full name instead of {host}, or {compare}: {made}"),
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
