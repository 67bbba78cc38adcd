//! The login modules that a JAAS text can name.

use super::super::misconfigured;
use crate::error::{Error, printable};

/// A Java class whose options this client understands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum LoginModule {
    /// User name and password for PLAIN.
    Plain,
    /// User name and password, or a delegation token, for SCRAM.
    Scram,
    OAuthBearer,
    /// Kerberos, by the class of Oracle's and OpenJDK's Java.
    Kerberos,
    /// Kerberos, by the class of IBM's Java, which has other options.
    IbmKerberos,
    MskIam,
}

const KNOWN: [(&str, LoginModule); 6] = [
    (
        "org.apache.kafka.common.security.plain.PlainLoginModule",
        LoginModule::Plain,
    ),
    (
        "org.apache.kafka.common.security.scram.ScramLoginModule",
        LoginModule::Scram,
    ),
    (
        "org.apache.kafka.common.security.oauthbearer.OAuthBearerLoginModule",
        LoginModule::OAuthBearer,
    ),
    (
        "com.sun.security.auth.module.Krb5LoginModule",
        LoginModule::Kerberos,
    ),
    (
        "com.ibm.security.auth.module.Krb5LoginModule",
        LoginModule::IbmKerberos,
    ),
    (
        "software.amazon.msk.auth.iam.IAMLoginModule",
        LoginModule::MskIam,
    ),
];

/// Modules by the beginning of their names, and what their users can do.
const UNSUPPORTED_CLASSES: [(&str, &str); 6] = [
    (
        "com.oracle.bmc.auth.sasl.",
        "use PlainLoginModule and sasl.mechanism=PLAIN with an auth token of Oracle Cloud as the password, and \
         tenancy/user/stream-pool as the user name",
    ),
    (
        "io.confluent.",
        "use OAuthBearerLoginModule and give the producer a token provider of your own",
    ),
    (
        "io.strimzi.",
        "use OAuthBearerLoginModule with the settings sasl.oauthbearer.*",
    ),
    (
        "com.ibm.eventstreams.",
        "use PlainLoginModule with the user name token and an API key as the password, or OAuthBearerLoginModule and a \
         token provider of your own",
    ),
    (
        "com.google.cloud.hosted.kafka.",
        "use OAuthBearerLoginModule and give the producer a token provider of your own",
    ),
    (
        "com.azure.",
        "use OAuthBearerLoginModule and give the producer a token provider of your own",
    ),
];

impl LoginModule {
    /// Returns the module of this class. Libraries that contain Kafka's client put a prefix before the names of its
    /// classes, as in `kafkashaded.org.apache.kafka`: it is ignored.
    pub(super) fn of(class: &str) -> Result<Self, Error> {
        let known = KNOWN.iter().find(|(name, _)| is_or_ends_in(class, name));
        known.map_or_else(|| Err(unknown(class)), |(_, module)| Ok(*module))
    }

    /// Returns the name of the class, without its package.
    pub(crate) fn class(self) -> &'static str {
        match self {
            Self::Plain => "PlainLoginModule",
            Self::Scram => "ScramLoginModule",
            Self::OAuthBearer => "OAuthBearerLoginModule",
            Self::Kerberos | Self::IbmKerberos => "Krb5LoginModule",
            Self::MskIam => "IAMLoginModule",
        }
    }

    /// Returns the mechanisms that Java's client can use with the module. PLAIN takes the user of a `ScramLoginModule`,
    /// too.
    pub(crate) fn mechanisms(self) -> &'static [&'static str] {
        match self {
            Self::Plain => &["PLAIN"],
            Self::Scram => &["SCRAM-SHA-256", "SCRAM-SHA-512", "PLAIN"],
            Self::OAuthBearer => &["OAUTHBEARER"],
            Self::Kerberos | Self::IbmKerberos => &["GSSAPI"],
            Self::MskIam => &["AWS_MSK_IAM"],
        }
    }
}

fn is_or_ends_in(class: &str, name: &str) -> bool {
    let prefix = class.strip_suffix(name);
    prefix.is_some_and(|prefix| prefix.is_empty() || prefix.ends_with('.'))
}

fn unknown(class: &str) -> Error {
    let short = class.rsplit('.').next().unwrap_or(class);
    if ["JndiLoginModule", "LdapLoginModule"].contains(&short) {
        return misconfigured(format!(
            "sasl.jaas.config: {} is not allowed",
            printable(class)
        ))
        .with_advice(
            "name the login module of your mechanism: Kafka refuses this class, because it runs code from a server",
        );
    }
    let error = misconfigured(format!(
        "sasl.jaas.config: the login module {} is not known to this client, which runs no Java classes",
        shown(class)
    ));
    let unsupported = UNSUPPORTED_CLASSES
        .iter()
        .find(|(beginning, _)| class.starts_with(beginning));
    if let Some((_, advice)) = unsupported {
        return error.with_advice(*advice);
    }
    match KNOWN
        .iter()
        .find(|(name, _)| name.ends_with(&format!(".{short}")))
    {
        Some((name, _)) => error.with_advice(format!("write {name}")),
        None => error.with_advice(format!(
            "use one of {}",
            KNOWN.map(|(name, _)| name).join(", ")
        )),
    }
}

/// Returns the name of a class. What cannot be one may be a misplaced secret, and is not shown.
fn shown(class: &str) -> &str {
    if is_class(class) {
        class
    } else {
        crate::secret::HIDDEN
    }
}

/// Returns whether a text has the form of a class in a package.
pub(super) fn is_class(text: &str) -> bool {
    let is_part = |part: &str| {
        part.starts_with(|first: char| first.is_ascii_alphabetic() || "_$".contains(first))
            && part
                .chars()
                .all(|other| other.is_ascii_alphanumeric() || "_$".contains(other))
    };
    text.len() <= 200 && text.contains('.') && text.split('.').all(is_part)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_prefix_before_a_known_class_is_ignored() {
        for (name, module) in KNOWN {
            for prefix in ["", "kafkashaded.", "org.apache.flink.kafka.shaded."] {
                assert_eq!(LoginModule::of(&format!("{prefix}{name}")).unwrap(), module);
            }
            assert!(LoginModule::of(&format!("x{name}")).is_err());
            assert!(LoginModule::of(&format!("{name}x")).is_err());
        }
    }

    #[test]
    fn a_module_of_another_vendor_has_its_way_out() {
        let cases = [
            (
                "com.oracle.bmc.auth.sasl.UserPrincipalsLoginModule",
                "sasl.mechanism=PLAIN",
            ),
            (
                "io.confluent.kafka.clients.plugins.auth.token.TokenUserLoginModule",
                "token provider",
            ),
            (
                "com.sun.security.auth.module.JndiLoginModule",
                "is not allowed",
            ),
            (
                "com.sun.security.auth.module.LdapLoginModule",
                "is not allowed",
            ),
            (
                "PlainLoginModule",
                "write org.apache.kafka.common.security.plain.PlainLoginModule",
            ),
            (
                "org.apache.kafka.common.security.scram.PlainLoginModule",
                "write org.apache.kafka.common.security.plain.PlainLoginModule",
            ),
            ("com.example.Other", "use one of org.apache.kafka"),
        ];
        for (class, expected) in cases {
            let error = LoginModule::of(class).unwrap_err().to_string();
            assert!(error.contains(expected), "{error}");
        }
    }

    #[test]
    fn what_cannot_be_a_class_is_not_shown() {
        for text in ["hunter2", "a.b c", "a..b", "a.1b", ""] {
            let error = LoginModule::of(text).unwrap_err().to_string();
            assert!(error.contains("[hidden]"), "{error}");
        }
    }
}
