//! The files that AWS's tools share: `~/.aws/credentials` and `~/.aws/config`.

use std::collections::BTreeMap;
use std::fmt;
use std::path::{Path, PathBuf};

use zeroize::Zeroizing;

use super::credentials::Missing;
use super::environment::Environment;
use crate::secret::{FileFault, Secret, read_file};

/// A larger file is none of these.
const MOST_BYTES: usize = 1 << 20;

/// The profiles of both files.
#[derive(Debug, Default)]
pub(super) struct Profiles {
    profiles: BTreeMap<String, Profile>,
    /// The files, as far as they exist.
    files: Vec<PathBuf>,
}

/// The settings of a profile. Their values may be secrets.
#[derive(Default)]
pub(super) struct Profile(BTreeMap<String, Secret>);

impl Profile {
    /// Returns a value; `None` if it is empty.
    pub(super) fn value(&self, name: &str) -> Option<&Secret> {
        self.0.get(name).filter(|value| !value.reveal().is_empty())
    }

    /// Returns a value that is not a secret.
    pub(super) fn text(&self, name: &str) -> Option<&str> {
        self.value(name).map(Secret::reveal)
    }
}

impl fmt::Debug for Profile {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.0.keys()).finish()
    }
}

/// Which of the two files it is: they name profiles differently.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    /// `[profile name]`, and `[default]`.
    Config,
    /// `[name]`.
    Credentials,
}

impl Profiles {
    /// Reads both files. `AWS_CONFIG_FILE` and `AWS_SHARED_CREDENTIALS_FILE` name others.
    pub(super) fn read(environment: &Environment) -> Result<Self, Missing> {
        let places = [
            (Kind::Config, "AWS_CONFIG_FILE", ".aws/config"),
            (
                Kind::Credentials,
                "AWS_SHARED_CREDENTIALS_FILE",
                ".aws/credentials",
            ),
        ];
        let mut profiles = Self::default();
        let mut absent = Vec::new();
        for (kind, variable, in_home) in places {
            let Some(path) = environment.path(variable, in_home) else {
                return Err(Missing::not_set_up(format!(
                    "neither HOME nor {variable} is set, so the files of profiles are not known"
                )));
            };
            match text(&path)? {
                Some(text) => profiles.add(kind, path, &text)?,
                None => absent.push(path.display().to_string()),
            }
        }
        if profiles.files.is_empty() {
            let files = absent.join(" nor ");
            return Err(Missing::not_set_up(format!("there is neither {files}")));
        }
        Ok(profiles)
    }

    pub(super) fn profile(&self, name: &str) -> Option<&Profile> {
        self.profiles.get(name)
    }

    /// Returns the paths of the files that were read, for messages.
    pub(super) fn files(&self) -> String {
        let files: Vec<_> = self
            .files
            .iter()
            .map(|file| file.display().to_string())
            .collect();
        files.join(" and ")
    }

    /// Adds the profiles of a file. Its values replace those of an earlier file: the credentials file counts more.
    fn add(&mut self, kind: Kind, path: PathBuf, text: &str) -> Result<(), Missing> {
        let fault = |fault| Missing::lasting(format!("{}: {fault}", path.display()));
        for (name, settings) in sections(kind, text).map_err(fault)? {
            self.profiles.entry(name).or_default().0.extend(settings);
        }
        self.files.push(path);
        Ok(())
    }
}

/// Returns the text of a file; `None` if it does not exist.
fn text(path: &Path) -> Result<Option<Zeroizing<String>>, Missing> {
    let fault = |fault: &dyn fmt::Display| {
        Missing::lasting(format!("{} cannot be read: {fault}", path.display()))
    };
    let bytes = match read_file(path, MOST_BYTES) {
        Ok(bytes) => bytes,
        Err(FileFault::Unreadable(error)) if error.kind() == std::io::ErrorKind::NotFound => {
            return Ok(None);
        }
        Err(FileFault::Unreadable(error)) => return Err(fault(&error)),
        Err(FileFault::NotAFile) => return Err(fault(&"it is not a regular file")),
        Err(FileFault::TooLong) => {
            return Err(fault(&format!("it has more than {MOST_BYTES} bytes")));
        }
    };
    match String::from_utf8(bytes) {
        Ok(text) => Ok(Some(Zeroizing::new(text))),
        Err(error) => {
            crate::secret::wipe(&mut error.into_bytes());
            Err(fault(&"it is not UTF-8"))
        }
    }
}

type Settings = BTreeMap<String, Secret>;

/// Reads a file. A fault names its line and shows nothing of it.
fn sections(kind: Kind, text: &str) -> Result<BTreeMap<String, Settings>, String> {
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    let mut sections: BTreeMap<String, Settings> = BTreeMap::new();
    // `[profile default]` counts more than `[default]`.
    let mut plain_default = Settings::new();
    let mut current = Section::None;
    for (number, line) in text.lines().enumerate() {
        let number = number + 1;
        let content = line.trim_end();
        if content.trim_start().is_empty() || content.starts_with(['#', ';']) {
            continue;
        }
        if content.starts_with('[') {
            let name = content
                .split_once(']')
                .map(|(name, _)| name[1..].trim())
                .ok_or_else(|| {
                    format!("line {number}: the section's name has no closing bracket")
                })?;
            current = Section::of(kind, name);
            if let Section::Profile(name) = &current {
                sections.entry(name.clone()).or_default();
            }
            continue;
        }
        // A line that begins with white space belongs to the value of the line before it, which is none that is used here.
        if content.starts_with([' ', '\t']) {
            continue;
        }
        let settings = match &current {
            Section::None => {
                return Err(format!("line {number}: it stands before the first section"));
            }
            Section::Other => continue,
            Section::PlainDefault => &mut plain_default,
            Section::Profile(name) => sections.entry(name.clone()).or_default(),
        };
        let (name, value) = content
            .split_once('=')
            .ok_or_else(|| format!("line {number}: it has no ="))?;
        let name = name.trim().to_ascii_lowercase();
        settings.insert(name, Secret::from(without_comment(value)));
    }
    if !plain_default.is_empty() {
        sections
            .entry("default".to_owned())
            .or_insert(plain_default);
    }
    Ok(sections)
}

enum Section {
    None,
    Profile(String),
    /// `[default]` in the configuration file.
    PlainDefault,
    /// A section that is no profile, as `[sso-session x]`.
    Other,
}

impl Section {
    fn of(kind: Kind, name: &str) -> Self {
        if kind == Kind::Credentials {
            return Self::Profile(name.to_owned());
        }
        if name == "default" {
            return Self::PlainDefault;
        }
        match name.split_once([' ', '\t']) {
            Some(("profile", name)) => Self::Profile(name.trim().to_owned()),
            _ => Self::Other,
        }
    }
}

/// Returns a value without a comment behind it, which begins with white space.
fn without_comment(value: &str) -> &str {
    let comments = [" #", " ;", "\t#", "\t;"];
    let starts = comments.iter().filter_map(|comment| value.find(comment));
    let end = starts.min().unwrap_or(value.len());
    value[..end].trim()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn value(profiles: &BTreeMap<String, Settings>, profile: &str, name: &str) -> String {
        profiles[profile][name].reveal().to_owned()
    }

    #[test]
    fn profiles_are_read_as_awss_tools_read_them() {
        let config = "\u{feff}# comment\n[default]\nregion = eu-west-1 ; comment\n\n[ profile  other ] # more\r\n\
            Role_Arn=arn:aws:iam::1:role/x\ns3 =\n  max_concurrent_requests = 20\n  line without sign\n\
            [sso-session x]\nanything\n[services y]\nz\n[profile]\nq=1\n";
        let read = sections(Kind::Config, config).unwrap();
        assert_eq!(value(&read, "default", "region"), "eu-west-1");
        assert_eq!(value(&read, "other", "role_arn"), "arn:aws:iam::1:role/x");
        assert_eq!(value(&read, "other", "s3"), "");
        assert_eq!(read.len(), 2);

        let credentials = "[default]\naws_access_key_id=A#KID\n[a b]\naws_secret_access_key = hun;ter2=\t# mine\n";
        let read = sections(Kind::Credentials, credentials).unwrap();
        assert_eq!(value(&read, "default", "aws_access_key_id"), "A#KID");
        assert_eq!(value(&read, "a b", "aws_secret_access_key"), "hun;ter2=");

        let both = "[profile default]\nregion=a\n[default]\nregion=b\n";
        assert_eq!(
            value(&sections(Kind::Config, both).unwrap(), "default", "region"),
            "a"
        );
    }

    #[test]
    fn a_fault_names_its_line_and_not_its_text() {
        for (text, fault) in [
            ("hunter2=1", "line 1: it stands before the first section"),
            ("[a]\n\nhunter2", "line 3: it has no ="),
            (
                "[hunter2\n",
                "line 1: the section's name has no closing bracket",
            ),
        ] {
            assert_eq!(sections(Kind::Credentials, text).unwrap_err(), fault);
        }
    }

    #[test]
    fn the_credentials_file_counts_more_and_values_are_not_shown() {
        let mut profiles = Profiles::default();
        let config = "[default]\naws_access_key_id=A\nregion=eu-west-1\n";
        profiles.add(Kind::Config, "config".into(), config).unwrap();
        let credentials = "[default]\naws_access_key_id=hunter2\n";
        profiles
            .add(Kind::Credentials, "credentials".into(), credentials)
            .unwrap();
        let profile = profiles.profile("default").unwrap();
        assert_eq!(profile.text("aws_access_key_id"), Some("hunter2"));
        assert_eq!(profile.text("region"), Some("eu-west-1"));
        assert_eq!(profiles.files(), "config and credentials");
        assert!(!format!("{profiles:?}").contains("hunter2"));
    }

    proptest! {
        #[test]
        fn no_text_panics(text in any::<String>(), near in "[\\[\\]profile =#;\n\t]{0,60}") {
            for kind in [Kind::Config, Kind::Credentials] {
                let _ = sections(kind, &text);
                let _ = sections(kind, &near);
            }
        }
    }
}
