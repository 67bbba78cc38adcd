//! Settings from texts, lists and files: each fault is told, all of them in one error.

use std::collections::HashMap;
use std::path::Path;

use crate::error::Error;

use super::foreign::Owner;
use super::names::{self, Refusal};
use super::shown::ShownName;
use super::{ProducerConfig, config_error, encoding, hints, properties};

impl ProducerConfig {
    /// The settings of a list of names and texts, as [`set`](Self::set) takes them. Of two with one name the later
    /// counts. An error names all that are at fault.
    pub fn from_pairs<N: AsRef<str>, T: AsRef<str>>(
        pairs: impl IntoIterator<Item = (N, T)>,
    ) -> Result<Self, Error> {
        let (mut config, mut faults, mut notes) =
            (Self::new(), Faults::default(), Notes::default());
        for (name, value) in pairs {
            if let Err(refusal) = config.take(name.as_ref(), value.as_ref(), &mut notes) {
                faults.add_made(|| refusal.to_string());
            }
        }
        faults.into_result()?;
        notes.log("");
        Ok(config)
    }

    /// The settings of a text in the syntax of Java's `.properties` files: `name=value`, `name: value` or `name value`
    /// on each line, `#` and `!` for comments, `\` to go on in the next line, `\t \n \r \f \\` and `\uXXXX` for
    /// characters. Of two with one name the later counts. An error lists every line that is at fault.
    pub fn from_properties(text: &str) -> Result<Self, Error> {
        let mut config = Self::new();
        config.load_properties(text)?;
        Ok(config)
    }

    /// The settings of a Java `.properties` file of at most 1 MiB; otherwise as
    /// [`from_properties`](Self::from_properties). A file that is not UTF-8 is read as Latin-1, as Java reads it, with a
    /// warning in the log. An error names the file.
    pub fn from_properties_file(path: impl AsRef<Path>) -> Result<Self, Error> {
        let mut config = Self::new();
        config.load_properties_file(path)?;
        Ok(config)
    }

    /// Adds the settings of a text as [`from_properties`](Self::from_properties) reads it: what it sets counts, what it
    /// does not name stays. After an error the configuration is as it was.
    pub fn load_properties(&mut self, text: &str) -> Result<(), Error> {
        self.load(text)?.log("");
        Ok(())
    }

    /// Adds the settings of a file as [`from_properties_file`](Self::from_properties_file) reads it, otherwise as
    /// [`load_properties`](Self::load_properties).
    pub fn load_properties_file(&mut self, path: impl AsRef<Path>) -> Result<(), Error> {
        let path = path.as_ref();
        let file = encoding::read_file(path)?;
        let notes = self
            .load(&file.text)
            .map_err(|error| Error::new(error.kind(), format!("{}: {error}", path.display())))?;
        if let Some(line) = file.first_latin1_line {
            log::warn!(target: "kafka_producer::config", "{}: line {line} is not UTF-8: the file is read as Latin-1, as Java reads it", path.display());
        }
        notes.log(&format!("{}: ", path.display()));
        Ok(())
    }

    /// Sets what Kafka calls `name` to a text; white space around the text does not count. An error of kind
    /// [`ErrorKind::Config`](crate::ErrorKind::Config) says why not: an unknown name (and the nearest known one), a text
    /// of the wrong type or out of range, or a setting of Java's that does not work here yet. After an error the
    /// configuration is as it was. Names of Kafka's other clients are accepted with a warning in the log.
    pub fn set(&mut self, name: &str, value: &str) -> Result<(), Error> {
        let mut notes = Notes::default();
        self.take(name, value, &mut notes)?;
        notes.log("");
        Ok(())
    }

    fn load(&mut self, text: &str) -> Result<Notes, Error> {
        let (mut loaded, mut faults, mut notes) =
            (self.clone(), Faults::default(), Notes::default());
        let entries = properties::parse(text);
        let last_lines: HashMap<_, _> = entries
            .iter()
            .filter_map(|(line, property)| Some((property.as_ref().ok()?.0.clone(), *line)))
            .collect();
        for (line, property) in entries {
            let (name, value) = match property {
                Ok(property) => property,
                Err(fault) => {
                    faults.add_made(|| format!("line {line}: {fault}"));
                    continue;
                }
            };
            let last = last_lines[&name];
            if last > line {
                // As in Java, which reads no value but the last.
                notes.repeated.push((name, line, last));
                continue;
            }
            if let Err(refusal) = loaded.take(&name, &value, &mut notes) {
                faults.add_made(|| format!("line {line}: {}", refusal.of_line()));
            }
        }
        if let Some(hint) = hints::other_syntax(text) {
            faults.explain(hint);
        }
        faults.into_result()?;
        *self = loaded;
        Ok(notes)
    }

    fn take<'a>(
        &mut self,
        name: &'a str,
        value: &str,
        notes: &mut Notes,
    ) -> Result<(), Refusal<'a>> {
        let value = value.trim();
        match self.set_supported(name, value) {
            Some(result) => {
                result?;
                // Legal as a text, and seldom meant.
                if hints::is_placeholder(value) {
                    let doubt = "the placeholder is kept as part of the value; nothing fills it in";
                    notes.as_they_stand.push((name.to_owned(), doubt));
                } else if hints::is_quoted(value) {
                    let doubt = "the quotes are kept as part of the value";
                    notes.as_they_stand.push((name.to_owned(), doubt));
                }
            }
            None => {
                if let Some(owner) = names::judge(name, value)? {
                    notes.without_effect.push((owner, name.to_owned()));
                }
            }
        }
        Ok(())
    }
}

/// What is accepted and worth a warning.
#[derive(Default)]
struct Notes {
    /// Settings of others, which have no effect here.
    without_effect: Vec<(Owner, String)>,
    /// Texts that are taken as they stand, and why that may not be what was meant.
    as_they_stand: Vec<(String, &'static str)>,
    /// Names that are set again: the line that does not count, and the one that does.
    repeated: Vec<(String, usize, usize)>,
}

impl Notes {
    /// One line for each matter, behind the file's name.
    fn log(&self, file: &str) {
        for line in self.lines() {
            log::warn!(target: "kafka_producer::config", "{file}{line}");
        }
    }

    fn lines(&self) -> Vec<String> {
        let mut lines = Vec::new();
        for owner in Owner::ALL {
            let names = self
                .without_effect
                .iter()
                .filter(|(other, _)| *other == owner)
                .map(|(_, name)| name.as_str());
            let names = listed(names);
            if !names.is_empty() {
                let whose = owner.whose();
                lines.push(format!(
                    "settings of {whose} have no effect on this producer: {names}"
                ));
            }
        }
        for (name, doubt) in self.as_they_stand.iter().take(MOST_TOLD) {
            lines.push(format!("{name}: {doubt}"));
        }
        for (name, line, last) in self.repeated.iter().take(MOST_TOLD) {
            let name = ShownName(name);
            lines.push(format!(
                "{name} is set in line {line} and again in line {last}, which counts"
            ));
        }
        lines
    }
}

/// How many things of one kind are told one by one.
const MOST_TOLD: usize = 20;

fn listed<'a>(names: impl Iterator<Item = &'a str>) -> String {
    let names: Vec<&str> = names.collect();
    let shown: Vec<String> = names
        .iter()
        .take(MOST_TOLD)
        .map(|name| ShownName(name).to_string())
        .collect();
    match names.len().saturating_sub(MOST_TOLD) {
        0 => shown.join(", "),
        more => format!("{} and {more} more", shown.join(", ")),
    }
}

/// The faults of a configuration, for one error.
#[derive(Default)]
pub(super) struct Faults {
    told: Vec<String>,
    untold: usize,
    explanation: Option<&'static str>,
}

impl Faults {
    pub(super) fn add(&mut self, fault: String) {
        self.add_made(|| fault);
    }

    /// A fault whose text takes long to make: it is made only if it is told.
    fn add_made(&mut self, fault: impl FnOnce() -> String) {
        if self.told.len() < MOST_TOLD {
            self.told.push(fault());
        } else {
            self.untold += 1;
        }
    }

    /// What is right, or nothing, and its fault is told.
    pub(super) fn note<T>(&mut self, result: Result<T, String>) -> Option<T> {
        result.map_err(|fault| self.add(fault)).ok()
    }

    /// What may be the one reason of all faults.
    fn explain(&mut self, explanation: &'static str) {
        self.explanation = Some(explanation);
    }

    /// Where there are several faults, each on a line of its own.
    pub(super) fn into_result(self) -> Result<(), Error> {
        let mut message = match &self.told[..] {
            [] => return Ok(()),
            [fault] => fault.clone(),
            faults => format!(
                "{} faults:\n  {}",
                faults.len() + self.untold,
                faults.join("\n  ")
            ),
        };
        if self.untold > 0 {
            message += &format!("\n  and {} more", self.untold);
        }
        if let Some(explanation) = self.explanation {
            message += if self.told.len() > 1 { "\n  " } else { "; " };
            message += explanation;
        }
        Err(config_error(message))
    }
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
    fn all_faults_of_a_text_are_told_in_one_error_each_with_its_line() {
        assert_eq!(
            faults("acks=1\nlinger.ms=x\n# c\nclient.id=\\u12\nbootstrap.servers=localhost\n"),
            "3 faults:\n  \
             line 2: linger.ms=x is not a whole number (range: 0 to 2147483647)\n  \
             line 4: \\u must be followed by the four hexadecimal digits of a character; a backslash itself is written \\\\\n  \
             line 5: bootstrap.servers: \"localhost\" has no port: write host:port"
        );
    }

    #[test]
    fn of_very_many_faults_the_first_are_told_and_the_others_counted() {
        let text: String = (0..1000).map(|n| format!("zzzzzzzz{n}=1\n")).collect();
        let told = faults(&text);
        assert!(told.starts_with("1000 faults:\n  line 1: "), "{told}");
        assert!(told.ends_with("\n  and 980 more"), "{told}");
        assert_eq!(told.lines().count(), 22);
    }

    /// The search for what each was meant to be took a minute and more.
    #[test]
    fn very_many_unknown_names_are_refused_soon() {
        let text: String = (0..30_000).map(|n| format!("{n:x}\n")).collect();
        let start = std::time::Instant::now();
        assert!(faults(&text).starts_with("30000 faults:"));
        let pairs = (0..30_000).map(|n| (format!("{n:x}"), ""));
        assert!(ProducerConfig::from_pairs(pairs).is_err());
        assert!(start.elapsed() < std::time::Duration::from_secs(60));
    }

    #[test]
    fn a_line_that_may_be_a_part_of_a_secret_is_told_by_its_number_alone() {
        let told = faults("hunter2!\n\"hunter2\"\nKAFKA_HUNTER2\nbatch_size1=5\nmy.own=5\n");
        assert!(!told.to_lowercase().contains("hunter2"), "{told}");
        for line in [
            "line 1: this line is no setting; it is not shown",
            "line 2: this line is no setting: write names without quotes",
            "line 3: this line is no setting: the framework has names like this",
            "line 4: there is no setting batch_size1: did you mean batch.size?",
            "line 5: there is no setting my.own",
        ] {
            assert!(told.contains(line), "{told}");
        }
    }

    #[test]
    fn a_name_of_any_length_and_with_any_characters_is_told_in_few_words() {
        for prefix in ["config.providers.", "spring.", "zzz.", ""] {
            let name = format!("{prefix}\u{1b}[2J\n{}", "x".repeat(500_000));
            let told = ProducerConfig::from_pairs([(&name, "1")]).unwrap_err();
            let told = told.to_string();
            assert!(
                told.len() < 400 && !told.contains(['\u{1b}', '\n']),
                "{told}"
            );
        }
    }

    #[test]
    fn of_very_many_notes_the_first_are_told() {
        let (mut config, mut notes) = (ProducerConfig::new(), Notes::default());
        for _ in 0..1000 {
            assert!(config.take("client.id", "${ID}", &mut notes).is_ok());
        }
        assert_eq!(notes.lines().len(), 20);
    }

    #[test]
    fn a_list_tells_all_faults_too() {
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
    fn yaml_is_told_from_a_properties_file() {
        let told = faults("spring:\n  kafka:\n    bootstrap-servers: a:1\n");
        assert!(
            told.contains(
                "line 3: there is no setting bootstrap-servers: did you mean bootstrap.servers?"
            ),
            "{told}"
        );
        assert!(
            told.ends_with("by Kafka's whole name, as acks=all"),
            "{told}"
        );
        assert!(told.contains("this looks like YAML"), "{told}");
    }

    proptest::proptest! {
        #![proptest_config(proptest::prelude::ProptestConfig { failure_persistence: None, ..Default::default() })]
        #[test]
        fn any_text_is_loaded_or_refused_in_few_words(
            lines in proptest::collection::vec("(bootstrap.servers=|acks=|[a-z.]{0,12}[=:]|\\PC{0,3})(\\PC|[\\[\\]\"$%{}<>@,: 0-9a-z]){0,30}", 0..40)
        ) {
            if let Err(error) = ProducerConfig::from_properties(&lines.join("\n")) {
                proptest::prop_assert!(error.to_string().chars().count() < 20_000);
            }
        }
    }

    #[test]
    fn no_secret_of_a_text_is_told() {
        let told = faults(
            "sasl.jaas.config=Module required password=\"hunter2\";\nssl.key.password=hunter2\n\
             password: hunter2\nlinger.ms=5\\\nssl.key.password=hunter2\n\
             acks=1\\\nbasic.auth.user.info=user:hunter2\n\
             retries=1\\\nsome.name user:hunter2\n\
             enable.idempotence=true\\\nsome.name:hunter2\n\
             bootstrap.servers=SASL_SSL://me:hunter2@broker:9092\n\
             hunter2hunter2hunter2hunter2hunter2hunter2hunter2hunter2hunter2\n",
        );
        assert!(!told.contains("hunter2"), "{told}");
        assert!(
            !told.contains("me:") && told.starts_with("9 faults"),
            "{told}"
        );
    }
}
