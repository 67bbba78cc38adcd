//! Where a client's tickets come from: the options of `Krb5LoginModule`, or code.

use std::path::{Path, PathBuf};

use super::super::jaas::{Jaas, LoginModule};
use super::super::misconfigured;
use crate::error::{Error, printable};
use crate::secret::Secret;

/// The service of the brokers, and where the client's tickets come from.
#[derive(Clone, Debug)]
pub(crate) struct Login {
    /// The first part of the brokers' principals.
    pub(super) service: String,
    principal: Option<String>,
    /// `Some` if tickets come from a cache. Then `None` within it is the default cache.
    cache: Option<Option<String>>,
    keytab: Option<PathBuf>,
}

/// One source of tickets.
#[derive(Clone, Copy)]
pub(super) enum Source<'a> {
    Keytab {
        file: &'a Path,
        principal: &'a str,
    },
    Cache {
        name: Option<&'a str>,
        principal: Option<&'a str>,
    },
}

/// The options of Java's module that this client uses.
const USED: [&str; 7] = [
    "useKeyTab",
    "keyTab",
    "principal",
    "useTicketCache",
    "ticketCache",
    "serviceName",
    "isInitiator",
];

/// The options of Java's module that change nothing here: they are for servers, for programs that ask for a password, or for
/// Java's own cache and log.
const WITHOUT_EFFECT: [&str; 9] = [
    "storeKey",
    "doNotPrompt",
    "refreshKrb5Config",
    "renewTGT",
    "useFirstPass",
    "tryFirstPass",
    "storePass",
    "clearPass",
    "debug",
];

impl Login {
    /// Makes the login of a keytab.
    pub(crate) fn with_keytab(
        service: &str,
        principal: &str,
        keytab: &Path,
    ) -> Result<Self, Error> {
        let login = Self {
            service: service.to_owned(),
            principal: Some(principal.to_owned()),
            cache: None,
            keytab: Some(keytab.to_owned()),
        };
        login.checked()
    }

    /// Makes the login of the default ticket cache.
    pub(crate) fn with_ticket_cache(service: &str) -> Result<Self, Error> {
        let login = Self {
            service: service.to_owned(),
            principal: None,
            cache: Some(None),
            keytab: None,
        };
        login.checked()
    }

    /// Reads the options of `Krb5LoginModule`. `service` is `sasl.kerberos.service.name`, empty if it is not set.
    pub(crate) fn from_jaas(jaas: &Jaas, service: &str) -> Result<Self, Error> {
        if jaas.module() == LoginModule::IbmKerberos {
            return Err(
                misconfigured("sasl.jaas.config names the Krb5LoginModule of IBM's Java, which has options of its own")
                    .with_advice(
                        "write com.sun.security.auth.module.Krb5LoginModule required useKeyTab=true keyTab=\"...\" \
                         principal=\"...\";",
                    ),
            );
        }
        check_spelling(jaas)?;
        if jaas.option("isInitiator").is_some() && !flag(jaas, "isInitiator")? {
            return Err(option_fault(
                "isInitiator=false is for servers",
                "leave it out",
            ));
        }
        let keytab = match flag(jaas, "useKeyTab")? {
            true => Some(keytab(jaas)?),
            false => None,
        };
        let principal = text(jaas, "principal");
        if keytab.is_some() && principal.is_none() {
            return Err(option_fault(
                "useKeyTab=true needs the option principal",
                "add principal=\"name@REALM\": klist -kt lists the principals of a keytab",
            ));
        }
        let cache =
            flag(jaas, "useTicketCache")?.then(|| text(jaas, "ticketCache").map(str::to_owned));
        for (option, flag, is_used) in [
            ("keyTab", "useKeyTab", keytab.is_some()),
            ("ticketCache", "useTicketCache", cache.is_some()),
        ] {
            if !is_used && jaas.option(option).is_some() {
                return Err(option_fault(
                    &format!("the option {option} has no effect without {flag}=true"),
                    &format!("add {flag}=true"),
                ));
            }
        }
        let login = Self {
            service: service_name(jaas, service)?.to_owned(),
            principal: principal.map(str::to_owned),
            cache,
            keytab,
        };
        login.checked()
    }

    /// Returns the sources in the order in which they are tried, which is Java's.
    pub(super) fn sources(&self) -> impl Iterator<Item = Source<'_>> {
        let principal = self.principal.as_deref();
        let cache = self.cache.as_ref().map(|name| Source::Cache {
            name: name.as_deref(),
            principal,
        });
        let keytab = self.keytab.as_deref().map(|file| Source::Keytab {
            file,
            principal: principal.unwrap_or_default(),
        });
        cache.into_iter().chain(keytab)
    }

    fn checked(self) -> Result<Self, Error> {
        if self.sources().next().is_none() {
            return Err(option_fault(
                "Krb5LoginModule has neither a keytab nor a ticket cache, and this client does not ask for passwords",
                "add useKeyTab=true keyTab=\"...\" principal=\"...\", or useTicketCache=true",
            ));
        }
        if self.service.is_empty()
            || self.service.contains(['/', '@', '\\'])
            || has_control(&self.service)
        {
            return Err(misconfigured(format!(
                "sasl.kerberos.service.name={} is not the first part of a principal",
                printable(&self.service)
            ))
            .with_advice("set it to kafka if the brokers' principals are kafka/host@REALM"));
        }
        let principal = self.principal.as_deref();
        if principal.is_some_and(|name| name.is_empty() || name == "*" || has_control(name)) {
            return Err(option_fault(
                "the option principal is not the name of a client",
                "write it as name@REALM",
            ));
        }
        let keytab = self.keytab.as_deref().map(|file| file.to_string_lossy());
        let cache = self.cache.as_ref().and_then(|name| name.as_deref());
        if keytab.is_some_and(|file| file.is_empty() || has_control(&file))
            || cache.is_some_and(|name| name.is_empty() || has_control(name))
        {
            return Err(option_fault(
                "keyTab or ticketCache is empty, or has a control character",
                "set it to a path",
            ));
        }
        Ok(self)
    }
}

fn has_control(text: &str) -> bool {
    text.contains(char::is_control)
}

fn option_fault(fault: &str, advice: &str) -> Error {
    misconfigured(format!("sasl.jaas.config: {fault}")).with_advice(advice.to_owned())
}

fn text<'a>(jaas: &'a Jaas, name: &str) -> Option<&'a str> {
    jaas.option(name).map(Secret::reveal)
}

/// Returns the value of an option that is true or false. Java takes every other text for false.
fn flag(jaas: &Jaas, name: &str) -> Result<bool, Error> {
    match text(jaas, name) {
        None => Ok(false),
        Some(value) if value.eq_ignore_ascii_case("true") => Ok(true),
        Some(value) if value.eq_ignore_ascii_case("false") => Ok(false),
        // The value is not shown: it can be a misplaced secret.
        Some(_) => Err(option_fault(
            &format!("the option {name} is neither true nor false"),
            &format!("write {name}=true or {name}=false"),
        )),
    }
}

fn keytab(jaas: &Jaas) -> Result<PathBuf, Error> {
    let file = text(jaas, "keyTab").ok_or_else(|| {
        option_fault(
            "useKeyTab=true needs the option keyTab: this client uses no keytab by default",
            "add keyTab=\"/path/to/client.keytab\"",
        )
    })?;
    Ok(PathBuf::from(without_type(file)))
}

/// Returns the path of a keytab whose name may have a type of files, as Java and MIT's library write it, in upper or lower case.
fn without_type(name: &str) -> &str {
    let types = ["ANY:FILE:", "FILE:", "WRFILE:"];
    let path = types.iter().find_map(|kind| {
        let start = name.get(..kind.len())?;
        start
            .eq_ignore_ascii_case(kind)
            .then(|| &name[kind.len()..])
    });
    path.unwrap_or(name)
}

/// Returns the name that is set in one of the two places.
fn service_name<'a>(jaas: &'a Jaas, setting: &'a str) -> Result<&'a str, Error> {
    match (text(jaas, "serviceName").unwrap_or_default(), setting) {
        ("", "") => Err(
            misconfigured("sasl.kerberos.service.name is not set, and sasl.jaas.config has no option serviceName")
                .with_advice("set it to the first part of the brokers' principals: kafka if they are kafka/host@REALM"),
        ),
        ("", name) | (name, "") => Ok(name),
        (option, setting) if option == setting => Ok(setting),
        (option, setting) => Err(misconfigured(format!(
            "sasl.kerberos.service.name={} and serviceName=\"{}\" in sasl.jaas.config differ",
            printable(setting),
            printable(option)
        ))
        .with_advice("leave one of them out")),
    }
}

/// Refuses an option that differs from a known one in upper and lower case only. Java ignores it without a word.
fn check_spelling(jaas: &Jaas) -> Result<(), Error> {
    let known = || USED.into_iter().chain(WITHOUT_EFFECT);
    let misspelt = jaas.options().find_map(|(name, _)| {
        let meant = known().find(|known| known.eq_ignore_ascii_case(name))?;
        (meant != name).then_some(meant)
    });
    match misspelt {
        None => Ok(()),
        Some(name) => Err(option_fault(
            &format!("the option {name} is written with other upper and lower case"),
            &format!("write it as {name}"),
        )),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ErrorKind;

    fn read(options: &str, service: &str) -> Result<Login, Error> {
        let text = format!("com.sun.security.auth.module.Krb5LoginModule required {options};");
        Login::from_jaas(&Jaas::parse(&text).unwrap(), service)
    }

    fn refused(options: &str, service: &str) -> String {
        let error = read(options, service).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Config);
        error.to_string()
    }

    const KEYTAB: &str =
        "useKeyTab=true storeKey=true keyTab=\"/etc/alice.keytab\" principal=\"alice@TEST.LOCAL\"";

    #[test]
    fn a_keytab_and_a_ticket_cache_are_read_as_java_reads_them() {
        let login = read(KEYTAB, "kafka").unwrap();
        let sources: Vec<_> = login.sources().collect();
        assert!(
            matches!(&sources[..], [Source::Keytab { file, principal: "alice@TEST.LOCAL" }]
                if *file == Path::new("/etc/alice.keytab"))
        );
        let login = read("useTicketCache=TRUE doNotPrompt=true", "kafka").unwrap();
        assert!(matches!(
            login.sources().collect::<Vec<_>>()[..],
            [Source::Cache {
                name: None,
                principal: None
            }]
        ));
        let both = format!("{KEYTAB} useTicketCache=true ticketCache=\"/tmp/cache\"");
        let login = read(&both, "kafka").unwrap();
        assert!(matches!(
            login.sources().collect::<Vec<_>>()[..],
            [
                Source::Cache {
                    name: Some("/tmp/cache"),
                    principal: Some("alice@TEST.LOCAL")
                },
                Source::Keytab { .. }
            ]
        ));
        for kind in ["FILE:", "file:", "Any:File:", "WRFILE:"] {
            let typed = KEYTAB.replace("/etc", &format!("{kind}/etc"));
            let login = read(&typed, "kafka").unwrap();
            let keytab = Some(Path::new("/etc/alice.keytab"));
            assert_eq!(login.keytab.as_deref(), keytab, "{kind}");
        }
    }

    #[test]
    fn the_service_comes_from_the_setting_or_the_option_but_not_from_two_that_differ() {
        let with = |name: &str| format!("{KEYTAB} serviceName=\"{name}\"");
        for (options, setting) in [
            (KEYTAB.to_owned(), "kafka"),
            (with("kafka"), ""),
            (with("kafka"), "kafka"),
        ] {
            assert_eq!(read(&options, setting).unwrap().service, "kafka");
        }
        assert_eq!(
            refused(&with("kafka"), "broker"),
            "sasl.kerberos.service.name=broker and serviceName=\"kafka\" in sasl.jaas.config differ; leave one of them out"
        );
        assert_eq!(
            refused(KEYTAB, ""),
            "sasl.kerberos.service.name is not set, and sasl.jaas.config has no option serviceName; set it to the first part \
             of the brokers' principals: kafka if they are kafka/host@REALM"
        );
        for setting in ["kafka/broker", "kafka@TEST.LOCAL", "kaf\u{0}ka"] {
            let error = refused(KEYTAB, setting);
            assert!(
                error.contains("is not the first part of a principal"),
                "{error}"
            );
        }
    }

    #[test]
    fn options_that_lead_to_no_ticket_are_refused_with_what_to_write() {
        for (options, expected) in [
            ("", "neither a keytab nor a ticket cache"),
            (
                "useKeyTab=false storeKey=true",
                "neither a keytab nor a ticket cache",
            ),
            (
                "useKeyTab=true principal=alice",
                "add keyTab=\"/path/to/client.keytab\"",
            ),
            ("useKeyTab=true keyTab=\"/x\"", "needs the option principal"),
            (
                "useKeyTab=true keyTab=\"/x\" principal=\"*\"",
                "is not the name of a client",
            ),
            (
                "useKeyTab=true keyTab=\"\" principal=alice",
                "keyTab or ticketCache is empty",
            ),
            (
                "keyTab=\"/x\" principal=alice useTicketCache=true",
                "add useKeyTab=true",
            ),
            (
                "useKeyTab=true keyTab=\"/x\" principal=alice ticketCache=\"/c\"",
                "add useTicketCache=true",
            ),
            (
                "useKeyTab=yes keyTab=\"/x\" principal=alice",
                "write useKeyTab=true or useKeyTab=false",
            ),
            (
                "useKeytab=true keyTab=\"/x\" principal=alice",
                "write it as useKeyTab",
            ),
            (
                "useTicketCache=true isInitiator=false",
                "isInitiator=false is for servers",
            ),
        ] {
            let error = refused(options, "kafka");
            assert!(error.contains(expected), "{options}: {error}");
        }
    }

    #[test]
    fn a_value_of_an_option_is_not_shown_if_it_may_be_a_secret() {
        let error = refused("useTicketCache=\"hunter2\"", "kafka");
        assert!(!error.contains("hunter2"), "{error}");
    }

    #[test]
    fn the_module_of_ibms_java_is_refused_with_the_other_one() {
        let text = "com.ibm.security.auth.module.Krb5LoginModule required useKeytab=\"file:///x\" principal=alice;";
        let error = Login::from_jaas(&Jaas::parse(text).unwrap(), "kafka").unwrap_err();
        assert!(
            error
                .to_string()
                .contains("write com.sun.security.auth.module.Krb5LoginModule"),
            "{error}"
        );
    }

    #[test]
    fn code_gives_the_same_as_a_text() {
        let login = Login::with_keytab("kafka", "alice@TEST.LOCAL", Path::new("/etc/alice.keytab"))
            .unwrap();
        assert_eq!(
            format!("{login:?}"),
            format!("{:?}", read(KEYTAB, "kafka").unwrap())
        );
        let login = Login::with_ticket_cache("kafka").unwrap();
        assert_eq!(
            format!("{login:?}"),
            format!("{:?}", read("useTicketCache=true", "kafka").unwrap())
        );
        assert!(Login::with_ticket_cache("").is_err());
        assert!(Login::with_keytab("kafka", "", Path::new("/x")).is_err());
    }
}
