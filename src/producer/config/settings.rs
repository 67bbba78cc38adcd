//! Generates code from the table's rows: fields, typed setters, and access by name.

use std::time::Duration;

use crate::error::Error;
use crate::record::compression::CompressionType;

use super::choices::{
    Acks, ClientDnsLookup, MetadataRecoveryStrategy, PartitionerClass, SecurityProtocol,
};
use super::providers::provider_names;
use super::table::for_each_setting;
use super::text_settings::{TextKind, TextRow};
use super::value::*;
use super::{Faults, ProducerConfig, config_error, hints};

/// Defines `Settings`, `Explicit`, `ROWS` and methods of `ProducerConfig` from rows of the table.
macro_rules! define_settings {
    ($(
        $(#[doc = $doc:literal])+
        $property:literal $(, $setter:ident($argument:ty): $type:ty)? = $kind:expr,
            default $default:literal, range $range:literal;
    )+) => {
        /// The values of all settings that have a typed field.
        #[derive(Clone)]
        pub(crate) struct Settings {
            $( $( pub(crate) $setter: $type, )? )+
        }

        impl Settings {
            pub(super) fn defaults() -> Self {
                Self { $( $( $setter: default_of($property, &$kind, $default), )? )+ }
            }

            /// Checks the range of each setting.
            pub(super) fn check(&self, faults: &mut Faults) {
                $( $( check($property, &$kind, $range, &self.$setter, faults); )? )+
            }
        }

        /// Which of [`Settings`] were set. The others have their defaults.
        #[derive(Clone, Default)]
        pub(super) struct Explicit {
            $( $( pub(super) $setter: bool, )? )+
        }

        impl Explicit {
            pub(super) fn names(&self) -> Vec<&'static str> {
                [$( $( (self.$setter, $property), )? )+]
                    .into_iter()
                    .filter_map(|(is_set, name)| is_set.then_some(name))
                    .collect()
            }
        }

        impl ProducerConfig {
            $( define_setter! {
                { $(#[doc = $doc])+ } $property, $default, $range $(, $setter($argument))?
            } )+

            /// The value of the setting that Kafka calls `name`, as text: the value that was set, or else the default. A
            /// secret that was set is returned as `[hidden]`. `None` if this crate does not support that name.
            pub fn get(&self, name: &str) -> Option<String> {
                let unfilled = self.providers.unfilled(name);
                match name {
                    $( $( $property => Some(show(&$kind, &self.settings.$setter, unfilled)), )? )+
                    _ => match text_row(ROWS, name) {
                        Some(row) => Some(match unfilled {
                            Some(text) => row.kind.show_unfilled_text(text),
                            None => self.texts.show(row),
                        }),
                        None => self.providers.show(name),
                    },
                }
            }

            /// `None` if `name` is not in the table.
            pub(super) fn set_supported(&mut self, name: &str, text: &str) -> Option<Result<(), Error>> {
                match name {
                    $( $( $property => {
                        let parsed = parse($property, &$kind, $range, text);
                        Some(parsed.map(|parsed| {
                            self.settings.$setter = parsed;
                            self.explicit.$setter = true;
                        }))
                    } )? )+
                    _ => Some(self.texts.set(text_row(ROWS, name)?, text)),
                }
            }
        }

        /// The rows of the table, in its order.
        pub(super) const ROWS: &[Row] = &[
            $( Row {
                property: $property,
                access: access!($($setter)? = $kind),
                default: $default,
                range: $range,
                doc: &[$($doc),+],
            }, )+
        ];
    };
}

/// The typed setter of a row, if it has one.
macro_rules! define_setter {
    ({ $($docs:tt)+ } $property:literal, $default:literal, $range:literal, $setter:ident($argument:ty)) => {
        $($docs)+
        ///
        #[doc = concat!("Kafka's `", $property, "`. Default: `", $default, "`. Range: ", $range, ".")]
        #[must_use]
        pub fn $setter(mut self, value: $argument) -> Self {
            self.settings.$setter = value.into();
            self.explicit.$setter = true;
            self.providers.forget($property);
            self
        }
    };
    ({ $($docs:tt)+ } $property:literal, $default:literal, $range:literal) => {};
}

macro_rules! access {
    ($setter:ident = $kind:expr) => {
        Access::Typed {
            setter: stringify!($setter),
        }
    };
    (= $kind:expr) => {
        Access::ByName { kind: &$kind }
    };
}

for_each_setting!(define_settings);

/// The row of one setting in the table, as text.
pub(super) struct Row {
    pub(super) property: &'static str,
    pub(super) access: Access,
    pub(super) default: &'static str,
    pub(super) range: &'static str,
    pub(super) doc: &'static [&'static str],
}

/// How a setting is set, and which field has its value.
#[derive(Clone, Copy)]
pub(super) enum Access {
    /// It is set by its typed setter or by name. Its value is in a field of [`Settings`].
    Typed { setter: &'static str },
    /// It is set by name only. Its value is in [`TextSettings`](super::TextSettings).
    ByName { kind: &'static dyn TextKind },
}

impl ProducerConfig {
    /// Returns the text of a setting that is set by name only: the text that was set, or else the default.
    pub(super) fn text(&self, name: &'static str) -> &str {
        text_row(ROWS, name).map_or("", |row| self.texts.text(row))
    }

    /// Sets a setting that is set by name only to a text that is legal.
    #[cfg(feature = "sasl")]
    pub(super) fn set_text(&mut self, name: &'static str, text: &str) {
        if let Some(row) = text_row(ROWS, name) {
            let set = self.texts.set(row, text);
            debug_assert!(set.is_ok(), "{name}");
            self.providers.forget(name);
        }
    }
}

/// The row of a setting. `None` if the table `rows` does not have `name`.
pub(super) fn row(rows: &'static [Row], name: &str) -> Option<&'static Row> {
    rows.iter().find(|row| row.property == name)
}

/// The row of a setting that is set by name only. `None` if `name` is not such a setting.
fn text_row(rows: &'static [Row], name: &str) -> Option<TextRow> {
    let row = row(rows, name)?;
    match row.access {
        Access::ByName { kind } => Some(TextRow { row, kind }),
        Access::Typed { .. } => None,
    }
}

/// Reads a default of the table. A test reads every default, so this cannot fail.
pub(super) fn default_of<K: Kind>(property: &str, kind: &K, text: &str) -> K::Value {
    match kind.parse(text) {
        Ok(value) => value,
        Err(fault) => unreachable!("the default {property}={text} {fault}"),
    }
}

/// Reads and checks a text.
pub(super) fn parse<K: Kind>(
    property: &str,
    kind: &K,
    range: &str,
    text: &str,
) -> Result<K::Value, Error> {
    let read = kind.parse(text).map_err(|fault| {
        let general = hints::fault_of_any_kind(text);
        general.map_or(fault, str::to_owned)
    });
    let checked = read.and_then(|value| kind.check(&value).map(|()| value));
    checked.map_err(|fault| {
        let mut refusal = K::refusal(property, text, &fault, range);
        if let Some(sign) = hints::comment_sign(text) {
            refusal += &format!(
                "; \"{sign}\" and what follows it are part of the value: write a comment on a line of its own"
            );
        }
        config_error(refusal)
    })
}

/// What may be shown of a setting: of the text that waits for config providers, or else of the value.
fn show<K: Kind>(kind: &K, value: &K::Value, unfilled: Option<&str>) -> String {
    unfilled.map_or_else(|| kind.show(value), |text| kind.show_unfilled(text))
}

fn check<K: Kind>(property: &str, kind: &K, range: &str, value: &K::Value, faults: &mut Faults) {
    if let Err(fault) = kind.check(value) {
        faults.add(K::refusal(property, &kind.show(value), &fault, range));
    }
}

#[cfg(test)]
#[expect(unreachable_pub, reason = "the macro makes public methods")]
mod tests {
    //! A small table through the same macro, with rows of both forms and secrets.

    use super::super::providers::Providers;
    use super::super::secret::SecretText;
    use super::super::text_settings::TextSettings;
    use super::*;
    use crate::secret::Secret;

    #[derive(Clone)]
    struct ProducerConfig {
        settings: Settings,
        explicit: Explicit,
        texts: TextSettings,
        providers: Providers,
    }

    define_settings! {
        /// Typed.
        "test.wait.ms", test_wait(Duration): Duration = millis(1, 10), default "5", range "1 to 10";
        /// Typed and secret.
        "test.password", test_password(impl Into<Secret>): Secret = secret(), default "", range "any text";
        /// By name.
        "test.protocol" = choice::<SecurityProtocol>(), default "PLAINTEXT", range "PLAINTEXT";
        /// By name, a number.
        "test.interval.ms" = millis(0, 100), default "60", range "0 to 100";
        /// By name and secret.
        "test.key" = secret(), default "", range "any text";
    }

    const SECRETS: [&str; 2] = ["test.password", "test.key"];

    impl ProducerConfig {
        fn new() -> Self {
            Self {
                settings: Settings::defaults(),
                explicit: Explicit::default(),
                texts: TextSettings::default(),
                providers: Providers::default(),
            }
        }

        fn set(&mut self, name: &str, text: &str) -> Result<(), Error> {
            self.set_supported(name, text).expect("a row of the table")
        }
    }

    #[test]
    fn a_row_without_a_setter_is_set_and_read_by_name() {
        let mut config = ProducerConfig::new();
        assert_eq!(config.get("test.protocol").as_deref(), Some("PLAINTEXT"));
        assert_eq!(config.get("test.interval.ms").as_deref(), Some("60"));
        config.set("test.protocol", "plaintext").unwrap();
        config.set("test.interval.ms", "070").unwrap();
        assert_eq!(config.get("test.protocol").as_deref(), Some("PLAINTEXT"));
        assert_eq!(config.get("test.interval.ms").as_deref(), Some("70"));
        let names: Vec<_> = config.texts.names().collect();
        assert_eq!(names, ["test.interval.ms", "test.protocol"]);
        assert!(config.explicit.names().is_empty());
        assert!(config.set_supported("test.unknown", "1").is_none());
    }

    #[test]
    fn a_row_without_a_setter_is_checked_like_any_other() {
        let mut config = ProducerConfig::new();
        for (name, text, error) in [
            (
                "test.interval.ms",
                "101",
                "test.interval.ms=101 is out of range (range: 0 to 100)",
            ),
            (
                "test.interval.ms",
                "1s",
                "test.interval.ms=1s is not a whole number: write 1000 (range: 0 to 100)",
            ),
            (
                "test.protocol",
                "TLS",
                "test.protocol=TLS is not a legal value (values: PLAINTEXT)",
            ),
        ] {
            assert_eq!(config.set(name, text).unwrap_err().to_string(), error);
        }
        assert_eq!(config.texts.names().count(), 0);
    }

    #[test]
    fn every_row_says_how_it_is_set() {
        let setters: Vec<_> = ROWS
            .iter()
            .map(|row| match row.access {
                Access::Typed { setter } => Some(setter),
                Access::ByName { .. } => None,
            })
            .collect();
        assert_eq!(
            setters,
            [Some("test_wait"), Some("test_password"), None, None, None]
        );
        assert!(ROWS.iter().all(|row| !row.doc.is_empty()));
    }

    #[test]
    fn a_secret_is_kept_and_never_shown() {
        let mut config = ProducerConfig::new()
            .test_wait(Duration::from_millis(3))
            .test_password("hunter2");
        assert_eq!(config.settings.test_password.reveal(), "hunter2");
        for name in SECRETS {
            config.set(name, "hunter2").unwrap();
            assert_eq!(config.get(name).as_deref(), Some("[hidden]"));
        }
        let kept = config.texts.text(text_row(ROWS, "test.key").unwrap());
        assert_eq!(kept, "hunter2");
        let secret = Secret::from("hunter2");
        let shown = format!("{secret} {secret:?} {:?}", config.texts);
        assert!(!shown.contains("hunter2"), "{shown}");
    }

    #[test]
    fn a_secret_is_not_shown_while_it_waits_for_a_config_provider() {
        let mut config = ProducerConfig::new();
        for name in SECRETS {
            assert!(config.providers.keep(name, "hunter2 ${env:A}"));
            assert_eq!(config.get(name).as_deref(), Some("[hidden]"));
        }
        assert!(config.providers.keep("test.wait.ms", "${env:A}"));
        assert_eq!(config.get("test.wait.ms").as_deref(), Some("${env:A}"));
        let shown = format!("{:?}", config.providers);
        assert!(!shown.contains("hunter2"), "{shown}");
    }

    #[test]
    fn a_secret_that_is_not_set_is_empty() {
        let config = ProducerConfig::new();
        for name in SECRETS {
            assert_eq!(config.get(name).as_deref(), Some(""));
        }
    }

    #[test]
    fn a_refusal_of_a_secret_does_not_quote_it() {
        /// A kind of secret that refuses every value.
        struct NoSecret;

        impl Kind for NoSecret {
            type Value = Secret;

            fn parse(&self, text: &str) -> Result<Secret, String> {
                secret().parse(text)
            }

            fn check(&self, _: &Secret) -> Result<(), String> {
                Err("is not legal".to_owned())
            }

            fn write(&self, value: &Secret) -> String {
                secret().write(value)
            }

            fn show(&self, value: &Secret) -> String {
                secret().show(value)
            }

            fn refusal(property: &str, text: &str, fault: &str, range: &str) -> String {
                SecretText::refusal(property, text, fault, range)
            }
        }

        let expected = "test.key is not legal (range: none)";
        let refused = parse("test.key", &NoSecret, "none", "hunter2").unwrap_err();
        assert_eq!(refused.to_string(), expected);
        let mut faults = Faults::default();
        let secret = Secret::from("hunter2");
        check("test.key", &NoSecret, "none", &secret, &mut faults);
        let refused = faults.into_result().unwrap_err();
        assert_eq!(refused.to_string(), expected);
    }

    #[test]
    fn a_typed_setter_is_checked_when_the_producer_is_built() {
        let config = ProducerConfig::new().test_wait(Duration::from_millis(11));
        let mut faults = Faults::default();
        config.settings.check(&mut faults);
        let error = faults.into_result().unwrap_err().to_string();
        assert_eq!(error, "test.wait.ms=11 is out of range (range: 1 to 10)");
    }
}
