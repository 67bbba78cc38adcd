//! Fills in the placeholders when the producer is built.

use std::borrow::Cow;
use std::collections::BTreeMap;

use crate::error::Error;
use crate::producer::config::load::trimmed;
use crate::producer::config::settings::{ROWS, row};
use crate::producer::config::shown::ShownWhole;
use crate::producer::config::{Faults, ProducerConfig, warn};
use crate::secret::{HIDDEN, Secret};

use super::allowlist::Pattern;
use super::placeholder::{Piece, Placeholder, pieces};
use super::sources::{AllowedPaths, LONGEST, Reads, Source};
use super::{CLASS, Class, LIST, PARAM, PREFIX, ProviderNames, Providers};

/// What became of a placeholder.
#[derive(Debug)]
pub(crate) enum Lookup {
    Value(Secret),
    /// No provider has this name: the placeholder stays.
    NoProvider,
    /// Why there is no value. A sentence about the placeholder, without its name.
    Fault(String),
    /// As `Fault`. The key is not shown: it may be a default, as other programs have it, and so a secret.
    FaultOfHiddenKey(String),
}

/// A value whose placeholders are filled in.
#[derive(Debug, Default)]
pub(crate) struct Filled {
    pub(crate) text: Secret,
    /// A provider gave a part of it.
    pub(crate) is_provided: bool,
    /// The first provider that does not exist.
    pub(crate) no_provider: Option<String>,
    /// The first placeholder whose value ends a line in the middle of the text. It is seldom intended.
    pub(crate) ends_line: Option<String>,
}

/// Fills in the placeholders of `text` with what `look_up` returns for each. What is filled in is not read again.
pub(crate) fn fill<'a>(
    text: &'a str,
    mut look_up: impl FnMut(&Placeholder<'a>) -> Lookup,
) -> Result<Filled, String> {
    let mut filled = Filled::default();
    let mut parts = Vec::new();
    let mut length = 0_usize;
    let mut line_end = None;
    for piece in pieces(text) {
        filled.ends_line = filled.ends_line.or(line_end.take());
        let part = match piece {
            Piece::Text(text) => Secret::from(text),
            Piece::Placeholder(placeholder) => match look_up(&placeholder) {
                Lookup::Value(value) => {
                    filled.is_provided = true;
                    let ends_line = value.reveal().ends_with('\n');
                    line_end = ends_line.then(|| placeholder.written.to_owned());
                    value
                }
                Lookup::NoProvider => {
                    let name = || placeholder.provider.to_owned();
                    filled.no_provider.get_or_insert_with(name);
                    Secret::from(placeholder.written)
                }
                Lookup::Fault(fault) => {
                    let written = shown(placeholder.written);
                    return Err(format!("{written} cannot be filled in: {fault}"));
                }
                Lookup::FaultOfHiddenKey(fault) => {
                    let Placeholder { provider, path, .. } = placeholder;
                    let written = shown(&format!("{provider}:{path}"));
                    return Err(format!("${{{written}:...}} cannot be filled in: {fault}"));
                }
            },
        };
        length = length.saturating_add(part.reveal().len());
        if length > LONGEST {
            return Err(format!(
                "with its placeholders filled in, the value is longer than {LONGEST} bytes"
            ));
        }
        parts.push(part);
    }
    // A buffer that grows would leave copies behind.
    let mut whole = String::with_capacity(length);
    parts.iter().for_each(|part| whole.push_str(part.reveal()));
    filled.text = Secret::new(whole);
    Ok(filled)
}

impl ProducerConfig {
    /// Returns the configuration with all placeholders filled in. One error lists the first 20 faults and counts the others.
    pub(in crate::producer::config) fn filled(&self) -> Result<Cow<'_, Self>, Error> {
        let mut faults = Faults::default();
        let sources = self.sources(&mut faults);
        faults.into_result()?;
        if self.providers.unfilled.is_empty() {
            return Ok(Cow::Borrowed(self));
        }
        let mut config = self.clone();
        let (mut faults, mut read) = (Faults::default(), Reads::default());
        for (name, text) in std::mem::take(&mut config.providers.unfilled) {
            let filled = fill(text.reveal(), |placeholder| {
                look_up(&sources, placeholder, &mut read)
            });
            let set = filled
                .map_err(|fault| format!("{name}: {fault}"))
                .and_then(|filled| self.set_filled(&mut config, name, filled));
            faults.value_or_add(set);
        }
        faults.into_result()?;
        Ok(Cow::Owned(config))
    }

    /// Sets a setting of `config` to a value that was filled in.
    fn set_filled(
        &self,
        config: &mut Self,
        name: &'static str,
        filled: Filled,
    ) -> Result<(), String> {
        // A secret's refusal does not quote it, and its text is shown as hidden before it is filled in.
        let is_secret = self.get(name).as_deref() == Some(HIDDEN);
        let set = config.set_supported(name, trimmed(filled.text.reveal()));
        let refusal = set.and_then(Result::err);
        if filled.is_provided {
            config.providers.provided.insert(name);
        }
        if let Some(written) = filled.ends_line {
            warn(&format!(
                "{name}: the value of {} ends with the end of a line, which is kept as part of the value",
                shown(&written)
            ));
            config.providers.line_ends.insert(name, written);
        }
        match (refusal, filled.no_provider) {
            (Some(_), _) if filled.is_provided && !is_secret => {
                let range = row(ROWS, name).map_or("", |row| row.range);
                Err(format!(
                    "{name}: the value that a config provider gave is not legal; it is not shown (legal: {range})"
                ))
            }
            (Some(refusal), Some(provider)) => Err(format!(
                "{refusal}; no config provider is named {}",
                shown(&provider)
            )),
            (Some(refusal), None) => Err(refusal.to_string()),
            (None, Some(provider)) => {
                warn(&format!(
                    "{name}: a placeholder is kept as part of the value: no config provider is named {provider}; list it in \
                     config.providers, and set config.providers.{provider}.class",
                    provider = shown(&provider)
                ));
                Ok(())
            }
            (None, None) => Ok(()),
        }
    }

    /// The providers that `config.providers` lists.
    fn sources(&self, faults: &mut Faults) -> BTreeMap<String, Source> {
        let list = self.get(LIST).unwrap_or_default();
        let names: Vec<&str> = ProviderNames::split(&list).collect();
        self.providers.warn_of_others(&names);
        let mut sources = BTreeMap::new();
        for name in names {
            if let Some(source) = faults.value_or_add(self.providers.source(name)) {
                sources.insert(name.to_owned(), source);
            }
        }
        sources
    }
}

impl Providers {
    fn source(&self, name: &str) -> Result<Source, String> {
        let class_name = format!("{PREFIX}{name}{CLASS}");
        let Some(class) = self.setting(&class_name).and_then(Class::parse) else {
            return Err(format!(
                "config.providers lists {}, and {} is not set (values: {})",
                shown(name),
                shown(&class_name),
                Class::names()
            ));
        };
        let prefix = format!("{PREFIX}{name}{PARAM}");
        for setting in self.settings() {
            let parameter = setting.strip_prefix(&prefix);
            if parameter.is_some_and(|parameter| parameter != class.parameter()) {
                return Err(format!(
                    "there is no setting {}: this config provider has the parameter {}",
                    shown(setting),
                    class.parameter()
                ));
            }
        }
        let parameter = format!("{prefix}{}", class.parameter());
        let value = self.setting(&parameter);
        let source = match class {
            Class::File => AllowedPaths::parse(value.unwrap_or_default()).map(Source::File),
            Class::Directory => {
                AllowedPaths::parse(value.unwrap_or_default()).map(Source::Directory)
            }
            Class::Env => value.map(Pattern::new).transpose().map(Source::Env),
        };
        source.map_err(|fault| format!("{} {fault}", shown(&parameter)))
    }

    /// Warns of settings of providers that are not listed.
    fn warn_of_others(&self, listed: &[&str]) {
        let is_listed = |setting: &str| {
            listed.iter().any(|name| {
                let rest = setting.strip_prefix(PREFIX);
                let rest = rest.and_then(|rest| rest.strip_prefix(*name));
                rest.is_some_and(|rest| rest == CLASS || rest.starts_with(PARAM))
            })
        };
        const MOST_LISTED: usize = 20;
        let others = self.settings().filter(|name| !is_listed(name));
        for name in others.take(MOST_LISTED) {
            warn(&format!(
                "{} has no effect: config.providers does not list this provider",
                shown(name)
            ));
        }
    }
}

fn look_up(
    sources: &BTreeMap<String, Source>,
    placeholder: &Placeholder<'_>,
    read: &mut Reads,
) -> Lookup {
    const LONGEST: usize = 8192;
    let Some(source) = sources.get(placeholder.provider) else {
        return Lookup::NoProvider;
    };
    if placeholder.written.len() > LONGEST {
        return Lookup::Fault(format!("it is longer than {LONGEST} bytes"));
    }
    if placeholder.path.contains("${") || placeholder.key.contains("${") {
        return Lookup::Fault("a placeholder may not have another one inside".to_owned());
    }
    match source.get(placeholder, read) {
        Ok(value) => Lookup::Value(value),
        Err(fault) if matches!(source, Source::Env(_)) && !placeholder.path.is_empty() => {
            Lookup::FaultOfHiddenKey(fault)
        }
        Err(fault) if is_drive(placeholder) => Lookup::Fault(format!(
            "{fault}; a path ends at its first colon, as in Java"
        )),
        Err(fault) => Lookup::Fault(fault),
    }
}

/// Returns whether the placeholder seems to have a path of Windows, as `C:\secrets`.
fn is_drive(placeholder: &Placeholder<'_>) -> bool {
    placeholder.path.len() == 1 && placeholder.key.starts_with(['\\', '/'])
}

/// A placeholder or a part of it in an error. It is a reference to a secret, and none itself.
pub(in crate::producer::config) fn shown(text: &str) -> String {
    ShownWhole(text).to_string()
}
