//! Config providers: they give the values of placeholders such as `${env:KAFKA_PASSWORD}`.
//!
//! A value with a placeholder is kept as it is written ([`Providers`]) until the producer is built. Then all placeholders
//! are filled in at once ([`fill`]), as in Java, so the order in which settings are set has no effect.
//!
//! As in Java: the syntax ([`placeholder`]), the three classes, their parameters, no placeholder inside a placeholder, none
//! in what a provider gave and in `config.providers` and its parameters, and a placeholder stays in the value if no provider
//! of this name is listed. Different from Java:
//!
//! - What a listed provider does not have is refused. Java passes `${env:TYPO}` on as the password.
//! - A provider without a class, and a parameter that its class does not have, are refused. Java ignores both.
//! - A class may be written without its package. No other classes can be loaded, so there is nothing like Java's system
//!   property `org.apache.kafka.automatic.config.providers`, which restricts them.
//! - Typed setters take a text as it is.
//! - A file is a regular file in UTF-8, and sizes are bounded.

mod allowlist;
pub(super) mod fill;
mod placeholder;
mod sources;

use std::collections::{BTreeMap, BTreeSet};

use crate::error::Error;
use crate::secret::{HIDDEN, Secret};

use super::config_error;
use super::shown::ShownName;
use super::value::Kind;

#[cfg(all(any(test, fuzzing), feature = "unstable-internals"))]
pub(crate) use allowlist::Pattern;
#[cfg(all(any(test, fuzzing), feature = "unstable-internals"))]
pub(crate) use fill::{Lookup, fill};
#[cfg(all(any(test, fuzzing), feature = "unstable-internals"))]
pub(crate) use placeholder::{Piece, Placeholder, pieces};

const LIST: &str = "config.providers";
const PREFIX: &str = "config.providers.";
const CLASS: &str = ".class";
const PARAM: &str = ".param.";

/// The settings of config providers, and the values that wait for them.
#[derive(Clone, Debug, Default)]
pub(super) struct Providers {
    /// `config.providers.NAME.class` and `config.providers.NAME.param.PARAMETER`, by their whole names.
    /// A parameter that this crate does not know may be a password.
    settings: BTreeMap<String, Secret>,
    /// The values with placeholders, by the settings' names. Their other parts may be secrets.
    unfilled: BTreeMap<&'static str, Secret>,
    /// The settings whose values have parts that a provider gave. Empty until the producer is built.
    provided: BTreeSet<&'static str>,
    /// The placeholders whose values end a line in the middle of a setting's value, as they are written: the first one of
    /// each setting.
    line_ends: BTreeMap<&'static str, String>,
}

impl Providers {
    /// Sets a setting of a provider. `None` if `name` is not one.
    pub(super) fn set(&mut self, name: &str, value: &str) -> Option<Result<(), Error>> {
        let rest = name.strip_prefix(PREFIX)?;
        Some(check(name, rest, value).map_err(config_error).map(|()| {
            self.settings.insert(name.to_owned(), Secret::from(value));
        }))
    }

    /// Returns whether `name` is that of a provider's setting.
    pub(super) fn is_setting(name: &str) -> bool {
        name.starts_with(PREFIX)
    }

    /// Keeps the value of the setting `name` until it is filled in. Returns false if it has no placeholder, or may have
    /// none.
    pub(super) fn keep(&mut self, name: &'static str, value: &str) -> bool {
        let keeps = name != LIST && placeholder::has_placeholder(value);
        if keeps {
            self.unfilled.insert(name, Secret::from(value));
        }
        keeps
    }

    /// Forgets the value that waits, because the setting got another one.
    pub(super) fn forget(&mut self, name: &str) {
        self.unfilled.remove(name);
    }

    /// The value that waits, as it is written.
    pub(super) fn unfilled(&self, name: &str) -> Option<&str> {
        self.unfilled.get(name).map(Secret::reveal)
    }

    /// The settings whose values wait.
    pub(super) fn unfilled_names(&self) -> impl Iterator<Item = &'static str> {
        self.unfilled.keys().copied()
    }

    /// The settings of providers, by their names.
    pub(super) fn settings(&self) -> impl Iterator<Item = &str> {
        self.settings.keys().map(String::as_str)
    }

    /// What may be shown of a provider's setting. `None` if it is not set.
    pub(super) fn show(&self, name: &str) -> Option<String> {
        let value = self.setting(name)?;
        let is_known = name.ends_with(CLASS) && !name.contains(PARAM)
            || Class::ALL.iter().any(|(_, class)| {
                let provider = name.strip_suffix(class.parameter());
                provider.is_some_and(|provider| provider.ends_with(PARAM))
            });
        Some(if is_known { value } else { HIDDEN }.to_owned())
    }

    /// Returns whether a provider gave the value of the setting `name`, or a part of it.
    pub(super) fn gave(&self, name: &str) -> bool {
        self.provided.contains(name)
    }

    /// The first placeholder whose value ends a line in the middle of the setting's value, as it is written.
    #[cfg(feature = "sasl")]
    pub(super) fn line_end_in(&self, name: &str) -> Option<&str> {
        self.line_ends.get(name).map(String::as_str)
    }

    fn setting(&self, name: &str) -> Option<&str> {
        self.settings.get(name).map(Secret::reveal)
    }
}

/// Checks a provider's setting as far as that is possible without the others. `rest` is the name without its prefix.
fn check(name: &str, rest: &str, value: &str) -> Result<(), String> {
    let shown = ShownName(name);
    let is_named = |(provider, rest): (&str, &str)| !provider.is_empty() && !rest.is_empty();
    if rest.split_once(PARAM).is_some_and(is_named) {
        if rest.ends_with(".param.allowlist.pattern") {
            allowlist::Pattern::new(value).map_err(|fault| format!("{shown} {fault}"))?;
        }
        return Ok(());
    }
    if rest.strip_suffix(CLASS).is_none_or(str::is_empty) {
        return Err(format!(
            "there is no setting {shown}: a config provider has config.providers.NAME.class and \
             config.providers.NAME.param.PARAMETER"
        ));
    }
    match Class::parse(value) {
        Some(_) => Ok(()),
        None => Err(format!(
            "{shown}={} is not a config provider of this producer (values: {})",
            ShownName(value),
            Class::names()
        )),
    }
}

/// What kind of provider it is.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Class {
    File,
    Directory,
    Env,
}

impl Class {
    const ALL: [(&'static str, Self); 3] = [
        ("FileConfigProvider", Self::File),
        ("DirectoryConfigProvider", Self::Directory),
        ("EnvVarConfigProvider", Self::Env),
    ];

    /// Reads the name of Java's class, with or without its package.
    fn parse(text: &str) -> Option<Self> {
        let name = text
            .strip_prefix("org.apache.kafka.common.config.provider.")
            .unwrap_or(text);
        let class = Self::ALL.iter().find(|(class, _)| *class == name);
        class.map(|(_, class)| *class)
    }

    fn names() -> String {
        Self::ALL.map(|(name, _)| name).join(", ")
    }

    /// The one parameter that the class has.
    fn parameter(self) -> &'static str {
        match self {
            Self::File | Self::Directory => "allowed.paths",
            Self::Env => "allowlist.pattern",
        }
    }
}

/// A list of config providers.
pub(super) const fn provider_names() -> ProviderNames {
    ProviderNames
}

pub(super) struct ProviderNames;

impl ProviderNames {
    fn split(text: &str) -> impl Iterator<Item = &str> {
        let text = Some(text).filter(|text| !text.trim().is_empty());
        text.into_iter()
            .flat_map(|text| text.split(','))
            .map(str::trim)
    }
}

impl Kind for ProviderNames {
    type Value = String;

    fn parse(&self, text: &str) -> Result<String, String> {
        Ok(text.to_owned())
    }

    fn check(&self, value: &String) -> Result<(), String> {
        let names = || Self::split(value);
        if names().any(str::is_empty) {
            return Err("has an empty name".to_owned());
        }
        if names().any(|name| name.contains([':', '{', '}'])) {
            return Err("has a name that no placeholder can have".to_owned());
        }
        Ok(())
    }

    fn write(&self, value: &String) -> String {
        Self::split(value).collect::<Vec<_>>().join(",")
    }
}

#[cfg(test)]
mod tests;
