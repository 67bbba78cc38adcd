//! Settings from texts, lists and files. One error lists the first 20 faults and counts the others.

use std::collections::HashMap;
use std::path::Path;

use crate::error::Error;

use super::continuations::{self, Cut};
use super::foreign::Owner;
use super::names::{self, Refusal};
use super::providers::Providers;
use super::shown::ShownName;
use super::{ProducerConfig, ROWS, config_error, encoding, hints, properties, settings, warn};

impl ProducerConfig {
    /// Reads a list of names and values, as [`set`](Self::set) reads each of them. If a name occurs several times, the last
    /// value counts, but the earlier ones must be legal, too. An error lists the first 20 faults and counts the others.
    pub fn from_pairs<N: AsRef<str>, V: AsRef<str>>(
        pairs: impl IntoIterator<Item = (N, V)>,
    ) -> Result<Self, Error> {
        let (mut config, mut faults, mut warnings) =
            (Self::new(), Faults::default(), Warnings::default());
        for (name, value) in pairs {
            if let Err(refusal) =
                config.set_with_warnings(name.as_ref(), value.as_ref(), &mut warnings)
            {
                faults.add_lazily(|| refusal.to_string());
            }
        }
        faults.into_result()?;
        warnings.log("");
        Ok(config)
    }

    /// Reads a text in the syntax of Java's `.properties` files: `name=value`, `name: value` or `name value` on each line,
    /// `#` and `!` for comments, `\` to continue in the next line, `\t \n \r \f \\` and `\uXXXX` for characters. If a name
    /// occurs several times, only the last value is read, as in Java, and the log has a warning. An error lists the first
    /// 20 faults, each with its line, and counts the others.
    pub fn from_properties(text: &str) -> Result<Self, Error> {
        let mut config = Self::new();
        config.load_properties(text)?;
        Ok(config)
    }

    /// Reads a Java `.properties` file of at most 1 MiB, as [`from_properties`](Self::from_properties) reads a text. A file
    /// that is not UTF-8 is read as Latin-1, as Java reads it, with a warning in the log. An error names the file. Blocks as
    /// long as the file system does, and for a pipe until its end. The files that the settings name are read by `build`.
    pub fn from_properties_file(path: impl AsRef<Path>) -> Result<Self, Error> {
        let mut config = Self::new();
        config.load_properties_file(path)?;
        Ok(config)
    }

    /// Adds the settings of a text as [`from_properties`](Self::from_properties) reads it. Settings that the text does not
    /// name keep their values. After an error the configuration is unchanged.
    pub fn load_properties(&mut self, text: &str) -> Result<(), Error> {
        self.load(text)?.log("");
        Ok(())
    }

    /// Adds the settings of a file as [`from_properties_file`](Self::from_properties_file) reads it. Settings that the file
    /// does not name keep their values. After an error the configuration is unchanged.
    pub fn load_properties_file(&mut self, path: impl AsRef<Path>) -> Result<(), Error> {
        let path = path.as_ref();
        let file = encoding::read_file(path)?;
        let warnings = self
            .load(file.text.reveal())
            .map_err(|error| Error::new(error.kind(), format!("{}: {error}", path.display())))?;
        if let Some(line) = file.first_latin1_line {
            warn(&format!(
                "{}: line {line} is not UTF-8: the file is read as Latin-1, as Java reads it",
                path.display()
            ));
        }
        warnings.log(&format!("{}: ", path.display()));
        Ok(())
    }

    /// Sets the setting that Kafka calls `name`. White space around the value is ignored. An error of kind
    /// [`ErrorKind::Config`](crate::ErrorKind::Config) reports an unknown name (with the nearest known one), a value of the
    /// wrong type or out of range, or a setting of Java's producer that is not supported yet. After an error the
    /// configuration is unchanged. Names of Kafka's other clients are accepted with a warning in the log.
    ///
    /// Conflicts with other settings are reported when the producer is built.
    pub fn set(&mut self, name: &str, value: &str) -> Result<(), Error> {
        let mut warnings = Warnings::default();
        self.set_with_warnings(name, value, &mut warnings)?;
        warnings.log("");
        Ok(())
    }

    fn load(&mut self, text: &str) -> Result<Warnings, Error> {
        let (mut loaded, mut faults, mut warnings) =
            (self.clone(), Faults::default(), Warnings::default());
        let lines = properties::parse(text);
        let last_lines: HashMap<_, _> = lines
            .iter()
            .filter_map(|line| Some((line.name()?, line.first)))
            .collect();
        let mut cuts = continuations::find(&lines, is_setting)
            .into_iter()
            .peekable();
        let mut at = 0;
        while let Some(line) = lines.get(at) {
            let starts = |cut: &Cut| cut.owner.unwrap_or(cut.rest.start) == at;
            let cut = cuts.next_if(starts);
            at += 1;
            if let Some(cut) = &cut {
                at = cut.rest.end;
                faults.add_lazily(|| cut.message(&lines));
            }
            let (name, value) = match (&line.property, cut) {
                // The value is cut, so it is not judged.
                (_, Some(Cut { owner: None, .. })) => continue,
                (Ok((name, _)), Some(_)) if is_setting(name) => continue,
                (Ok(property), _) => property,
                (Err(fault), _) => {
                    faults.add_lazily(|| format!("line {}: {fault}", line.first));
                    continue;
                }
            };
            let last = last_lines[name.as_str()];
            if last > line.first {
                // Java, too, reads only the last value.
                warnings.repeated.push((name.clone(), line.first, last));
                continue;
            }
            if let Err(refusal) = loaded.set_with_warnings(name, value.reveal(), &mut warnings) {
                faults.add_lazily(|| format!("line {}: {}", line.first, refusal.of_line()));
            }
        }
        if let Some(hint) = hints::other_syntax(text) {
            faults.explain(hint);
        }
        faults.into_result()?;
        *self = loaded;
        Ok(warnings)
    }

    /// Sets a setting, and adds the warnings about its name or value.
    fn set_with_warnings<'a>(
        &mut self,
        name: &'a str,
        value: &str,
        warnings: &mut Warnings,
    ) -> Result<(), Refusal<'a>> {
        let value = trimmed(value);
        if let Some(result) = self.providers.set(name, value) {
            return Ok(result?);
        }
        if let Some(row) = settings::row(ROWS, name) {
            if self.providers.keep(row.property, value) {
                return Ok(());
            }
        }
        match self.set_supported(name, value) {
            Some(result) => {
                result?;
                self.providers.forget(name);
                // The value is legal but seldom intended.
                if hints::is_placeholder(value) {
                    let warning = "the placeholder is kept as part of the value; nothing fills it in: write the value \
                         itself, or ${PROVIDER:KEY} with a provider that config.providers lists";
                    warnings.kept_as_written.push((name.to_owned(), warning));
                } else if hints::is_quoted(value) && name != JAAS {
                    // The parser of `sasl.jaas.config` knows which of its quotes are meant.
                    let warning = "the quotes are kept as part of the value";
                    warnings.kept_as_written.push((name.to_owned(), warning));
                } else if name != JAAS && hints::comment_sign(value) == Some("#") {
                    let warning = "\"#\" and what follows it are kept as part of the value: write a comment on a line of its \
                                   own";
                    warnings.kept_as_written.push((name.to_owned(), warning));
                }
            }
            None => {
                if let Some(owner) = names::judge(name, value)? {
                    warnings.without_effect.push((owner, name.to_owned()));
                }
            }
        }
        Ok(())
    }
}

/// Returns whether a name is that of a setting, of this producer or another program.
fn is_setting(name: &str) -> bool {
    settings::row(ROWS, name).is_some()
        || Providers::is_setting(name)
        || !matches!(names::judge(name, ""), Err(Refusal::Unknown { .. }))
}

/// Warnings about settings that are accepted.
#[derive(Default)]
struct Warnings {
    /// Settings of other programs, which have no effect here.
    without_effect: Vec<(Owner, String)>,
    /// Values that are kept as written, each with the reason why it may not be intended.
    kept_as_written: Vec<(String, &'static str)>,
    /// Names that occur again later: the line that is ignored, and the last line, which counts.
    repeated: Vec<(String, usize, usize)>,
}

impl Warnings {
    /// Logs each warning. `file` is what precedes it: the file's name, or nothing.
    fn log(&self, file: &str) {
        for warning in self.messages() {
            warn(&format!("{file}{warning}"));
        }
    }

    fn messages(&self) -> Vec<String> {
        let mut messages = Vec::new();
        for owner in Owner::ALL {
            let names = self
                .without_effect
                .iter()
                .filter(|(other, _)| *other == owner)
                .map(|(_, name)| name.as_str());
            let names = joined(names);
            if !names.is_empty() {
                let whose = owner.whose();
                messages.push(format!(
                    "settings of {whose} have no effect on this producer: {names}"
                ));
            }
        }
        for (name, warning) in self.kept_as_written.iter().take(MOST_LISTED) {
            messages.push(format!("{name}: {warning}"));
        }
        for (name, line, last) in self.repeated.iter().take(MOST_LISTED) {
            let name = ShownName(name);
            messages.push(format!(
                "{name} is set in line {line} and again in line {last}; the last one counts"
            ));
        }
        messages
    }
}

/// A password in it is in quotes, and may have any characters.
const JAAS: &str = "sasl.jaas.config";

/// The number of warnings or faults of one kind that are listed at most.
const MOST_LISTED: usize = 20;

fn joined<'a>(names: impl Iterator<Item = &'a str>) -> String {
    let names: Vec<&str> = names.collect();
    let shown: Vec<String> = names
        .iter()
        .take(MOST_LISTED)
        .map(|name| ShownName(name).to_string())
        .collect();
    match names.len().saturating_sub(MOST_LISTED) {
        0 => shown.join(", "),
        more => format!("{} and {more} more", shown.join(", ")),
    }
}

/// The faults of a configuration, for one error.
#[derive(Debug, Default)]
pub(super) struct Faults {
    listed: Vec<String>,
    not_listed: usize,
    explanation: Option<&'static str>,
}

impl Faults {
    pub(super) fn add(&mut self, fault: String) {
        self.add_lazily(|| fault);
    }

    /// Adds a fault whose message takes long to make. The message is made only if it is listed.
    fn add_lazily(&mut self, fault: impl FnOnce() -> String) {
        if self.listed.len() < MOST_LISTED {
            self.listed.push(fault());
        } else {
            self.not_listed += 1;
        }
    }

    /// Returns the value, or adds the fault and returns `None`.
    pub(super) fn value_or_add<T>(&mut self, result: Result<T, String>) -> Option<T> {
        result.map_err(|fault| self.add(fault)).ok()
    }

    /// Returns the value, or adds the other faults and returns `None`.
    pub(super) fn value_or_add_all<T>(&mut self, result: Result<T, Self>) -> Option<T> {
        let more = match result {
            Ok(value) => return Some(value),
            Err(faults) => faults,
        };
        more.listed.into_iter().for_each(|fault| self.add(fault));
        self.not_listed += more.not_listed;
        None
    }

    /// Sets an explanation of all faults, for example that the text has another syntax.
    fn explain(&mut self, explanation: &'static str) {
        self.explanation = Some(explanation);
    }

    /// Returns an error that lists the faults, if there are any. If there are several, each is on its own line.
    pub(super) fn into_result(self) -> Result<(), Error> {
        match self.listed.is_empty() {
            true => Ok(()),
            false => Err(self.into_error()),
        }
    }

    /// Returns `value` if there are no faults.
    pub(super) fn or_value<T>(self, value: T) -> Result<T, Self> {
        match self.listed.is_empty() {
            true => Ok(value),
            false => Err(self),
        }
    }

    /// Returns an error that lists the faults, of which there is one at least.
    pub(super) fn into_error(self) -> Error {
        let mut message = match &self.listed[..] {
            [fault] => fault.clone(),
            faults => format!(
                "{} faults:\n  {}",
                faults.len() + self.not_listed,
                faults.join("\n  ")
            ),
        };
        if self.not_listed > 0 {
            message += &format!("\n  and {} more", self.not_listed);
        }
        if let Some(explanation) = self.explanation {
            message += if self.listed.len() > 1 { "\n  " } else { "; " };
            message += explanation;
        }
        config_error(message)
    }
}

impl From<Error> for Faults {
    fn from(fault: Error) -> Self {
        let mut faults = Self::default();
        faults.add(fault.to_string());
        faults
    }
}

/// Returns a value without what Java's `String.trim` removes. A password may end in another kind of space.
pub(super) fn trimmed(value: &str) -> &str {
    value.trim_matches(|character| character <= ' ')
}

#[cfg(test)]
mod tests {
    use super::*;

    fn faults(text: &str) -> String {
        let mut config = ProducerConfig::new();
        let error = config.load_properties(text).unwrap_err();
        assert_eq!(error.kind(), crate::ErrorKind::Config);
        assert_eq!(format!("{config:?}"), "ProducerConfig {}");
        error.to_string()
    }

    #[test]
    fn one_error_lists_all_faults_of_a_text_each_with_its_line() {
        assert_eq!(
            faults("acks=1\nlinger.ms=x\n# c\nclient.id=\\u12\nbootstrap.servers=localhost\n"),
            "3 faults:\n  \
             line 2: linger.ms=x is not a whole number (range: 0 to 2147483647)\n  \
             line 4: \\u must be followed by the four hexadecimal digits of a character; a backslash itself is written \\\\\n  \
             line 5: bootstrap.servers: \"localhost\" has no port: write host:port"
        );
    }

    #[test]
    fn of_very_many_faults_the_first_are_listed_and_the_others_counted() {
        let text: String = (0..1000).map(|n| format!("zzzzzzzz{n}=1\n")).collect();
        let error = faults(&text);
        assert!(error.starts_with("1000 faults:\n  line 1: "), "{error}");
        assert!(error.ends_with("\n  and 980 more"), "{error}");
        assert_eq!(error.lines().count(), 22);
    }

    /// If the intended name of each of them were searched for, this would take more than a minute.
    #[test]
    fn very_many_unknown_names_are_refused_quickly() {
        let text: String = (0..30_000).map(|n| format!("{n:x}\n")).collect();
        let start = std::time::Instant::now();
        assert!(faults(&text).starts_with("30000 faults:"));
        let pairs = (0..30_000).map(|n| (format!("{n:x}"), ""));
        assert!(ProducerConfig::from_pairs(pairs).is_err());
        assert!(start.elapsed() < std::time::Duration::from_secs(60));
    }

    #[test]
    fn a_line_that_may_be_a_part_of_a_secret_is_reported_by_its_number_only() {
        let error = faults("hunter2!\n\"hunter2\"\nKAFKA_HUNTER2\nbatch_size1=5\nmy.own=5\n");
        assert!(!error.to_lowercase().contains("hunter2"), "{error}");
        for line in [
            "line 1: this line is not a setting; it is not shown, because it may be part of a secret: if the value of the \
             setting before it goes on here, end the line before with \\\n",
            "line 2: this line is not a setting: write names without quotes",
            "line 3: this line is not a setting: the framework has names like this",
            "line 4: there is no setting batch_size1: did you mean batch.size?",
            "line 5: there is no setting my.own",
        ] {
            assert!(error.contains(line), "{error}");
        }
    }

    #[test]
    fn a_name_of_any_length_and_with_any_characters_gives_a_short_error() {
        for prefix in ["config.providers.", "spring.", "zzz.", ""] {
            let name = format!("{prefix}\u{1b}[2J\n{}", "x".repeat(500_000));
            let error = ProducerConfig::from_pairs([(&name, "1")]).unwrap_err();
            let error = error.to_string();
            assert!(
                error.len() < 400 && !error.contains(['\u{1b}', '\n']),
                "{error}"
            );
        }
    }

    #[test]
    fn of_very_many_warnings_the_first_are_logged() {
        let (mut config, mut warnings) = (ProducerConfig::new(), Warnings::default());
        for _ in 0..1000 {
            let result = config.set_with_warnings("client.id", "${ID}", &mut warnings);
            assert!(result.is_ok());
        }
        assert_eq!(warnings.messages().len(), 20);
    }

    #[test]
    fn a_list_gives_all_faults_too() {
        let error =
            ProducerConfig::from_pairs([("acks", "2"), ("linger.ms", "5"), ("lingerms", "5")])
                .unwrap_err()
                .to_string();
        assert!(error.starts_with("2 faults:\n  acks=2 "), "{error}");
        assert!(
            error.ends_with("lingerms: did you mean linger.ms?"),
            "{error}"
        );
    }

    #[test]
    fn yaml_is_recognised() {
        let error = faults("spring:\n  kafka:\n    bootstrap-servers: a:1\n");
        assert!(
            error.contains(
                "line 3: there is no setting bootstrap-servers: did you mean bootstrap.servers?"
            ),
            "{error}"
        );
        assert!(
            error.ends_with("by Kafka's whole name, as acks=all"),
            "{error}"
        );
        assert!(error.contains("this looks like YAML"), "{error}");
    }

    proptest::proptest! {
        #![proptest_config(proptest::prelude::ProptestConfig { failure_persistence: None, ..Default::default() })]
        #[test]
        fn any_text_is_loaded_or_refused_with_a_short_error(
            lines in proptest::collection::vec("(bootstrap.servers=|acks=|[a-z.]{0,12}[=:]|\\PC{0,3})(\\PC|[\\[\\]\"$%{}<>@,: 0-9a-z]){0,30}", 0..40)
        ) {
            if let Err(error) = ProducerConfig::from_properties(&lines.join("\n")) {
                proptest::prop_assert!(error.to_string().chars().count() < 20_000);
            }
        }
    }

    /// As in Java, a comment begins only where a line begins.
    #[test]
    fn a_comment_behind_a_value_is_named_in_its_refusal() {
        for (text, sentence) in [
            (
                "acks=all # wait for all",
                "line 1: acks=all... is not a legal value (values: all, -1, 0, 1); \"#\" and what follows it are part of the \
                 value: write a comment on a line of its own",
            ),
            (
                "linger.ms=5 // ms",
                "line 1: linger.ms=5 // ms is not a whole number (range: 0 to 2147483647); \"//\" and what follows it are part \
                 of the value: write a comment on a line of its own",
            ),
            (
                "bootstrap.servers=localhost:9092 # here",
                "line 1: bootstrap.servers: \"localhost:9092 # here\" has a port that is not a number; \"#\" and what follows it \
                 are part of the value: write a comment on a line of its own",
            ),
        ] {
            assert_eq!(faults(text), sentence);
        }
        assert!(!faults("acks=a#b").contains("comment"));
    }

    #[test]
    fn a_comment_behind_a_value_that_may_have_any_text_is_warned_of() {
        for name in ["client.id", "ssl.truststore.location", "ssl.key.password"] {
            let mut warnings = Warnings::default();
            let mut config = ProducerConfig::new();
            let set = config.set_with_warnings(name, "hunter2\t# a", &mut warnings);
            assert!(set.is_ok());
            assert_eq!(
                warnings.messages(),
                [format!(
                    "{name}: \"#\" and what follows it are kept as part of the value: write a comment on a line of its own"
                )]
            );
        }
        let mut warnings = Warnings::default();
        let jaas = "a.LoginModule required password=\"hunter2 # a\";";
        let set = ProducerConfig::new()
            .set_with_warnings(JAAS, jaas, &mut warnings)
            .is_ok();
        assert!(set && warnings.messages().is_empty());
    }

    #[test]
    fn no_secret_of_a_text_is_shown() {
        let error = faults(
            "sasl.jaas.config=Module required password=\"hunter2\";\nssl.key.password=hunter2\n\
             password: hunter2\nlinger.ms=5\\\nssl.key.password=hunter2\n\
             acks=1\\\nbasic.auth.user.info=user:hunter2\n\
             retries=1\\\nsome.name user:hunter2\n\
             enable.idempotence=true\\\nsome.name:hunter2\n\
             bootstrap.servers=SASL_SSL://me:hunter2@broker:9092\n\
             hunter2hunter2hunter2hunter2hunter2hunter2hunter2hunter2hunter2\n",
        );
        assert!(!error.contains("hunter2"), "{error}");
        assert!(
            !error.contains("me:") && error.starts_with("7 faults"),
            "{error}"
        );
    }
}
