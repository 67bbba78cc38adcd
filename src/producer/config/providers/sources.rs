//! The three kinds of provider: a properties file, the files of a directory, and the environment.

use std::collections::BTreeMap;
use std::path::{Component, Path, PathBuf};

use crate::error::advice_on_path;
use crate::producer::config::properties::{self, Line};
use crate::secret::{self, FileFault, Secret};

use super::allowlist::Pattern;
use super::fill::shown;
use super::placeholder::Placeholder;

/// One provider.
#[derive(Debug)]
pub(super) enum Source {
    File(Option<AllowedPaths>),
    Directory(Option<AllowedPaths>),
    Env(Option<Pattern>),
}

/// The folders that a provider may read: absolute and without `.` and `..`.
#[derive(Debug)]
pub(super) struct AllowedPaths(Vec<PathBuf>);

impl AllowedPaths {
    /// Reads a list of paths. As in Java, each must be absolute and exist. Empty means that all paths are allowed.
    pub(super) fn parse(text: &str) -> Result<Option<Self>, String> {
        if text.is_empty() {
            return Ok(None);
        }
        let paths = text
            .split(',')
            .map(str::trim)
            .filter(|path| !path.is_empty());
        let allowed = paths.map(|path| {
            let normal = normalized(Path::new(path));
            if !normal.is_absolute() {
                return Err(format!("has a path that is not absolute: {}", shown(path)));
            }
            match normal.exists() {
                true => Ok(normal),
                false => Err(format!("has a path that does not exist: {}", shown(path))),
            }
        });
        Ok(Some(Self(allowed.collect::<Result<_, _>>()?)))
    }

    /// The path to open. `None` if it is not allowed. As in Java, symbolic links are not followed for this.
    fn allow(&self, path: &Path) -> Option<PathBuf> {
        let path = normalized(path);
        let is_allowed = self.0.iter().any(|allowed| path.starts_with(allowed));
        is_allowed.then_some(path)
    }
}

/// The path without `.` and `..`, as far as that is possible without the file system.
fn normalized(path: &Path) -> PathBuf {
    let mut normal = PathBuf::new();
    for component in path.components() {
        match (component, normal.components().next_back()) {
            (Component::CurDir, _) => {}
            (Component::ParentDir, Some(Component::Normal(_))) => {
                normal.pop();
            }
            (Component::ParentDir, Some(Component::RootDir)) => {}
            (component, _) => normal.push(component),
        }
    }
    normal
}

/// What providers have read. A file is read once, so several placeholders see the same content.
#[derive(Default)]
pub(super) struct Reads {
    files: BTreeMap<PathBuf, Result<BTreeMap<String, Secret>, String>>,
    bytes: usize,
}

/// The length of a file, and of a value.
pub(super) const LONGEST: usize = 1 << 20;
/// The length of all files together.
const LONGEST_TOGETHER: usize = 8 << 20;

impl Source {
    /// The value for a placeholder. The error is a sentence about the placeholder, without its name.
    pub(super) fn get(
        &self,
        placeholder: &Placeholder<'_>,
        read: &mut Reads,
    ) -> Result<Secret, String> {
        let Placeholder { path, key, .. } = *placeholder;
        self.check_parts(placeholder)?;
        match self {
            Self::File(allowed) => {
                let file = open_path(path, allowed.as_ref())?;
                read.properties(&file)?
                    .get(key)
                    .cloned()
                    .ok_or_else(|| format!("the file has no key {}", shown(key)))
            }
            Self::Directory(allowed) => {
                let folder = open_path(path, allowed.as_ref())?;
                let mut parts = Path::new(key).components();
                let is_a_name = matches!(
                    (parts.next(), parts.next()),
                    (Some(Component::Normal(_)), None)
                ) && !key.contains(std::path::is_separator);
                if !is_a_name {
                    return Err("the key is not the name of a file".to_owned());
                }
                read.text(&folder.join(key))
            }
            Self::Env(allowed) => variable(key, allowed.as_ref()),
        }
    }

    /// Refuses a placeholder that lacks a part, or has one too many. What follows a single colon is the key, although
    /// people often mean a path by it.
    fn check_parts(&self, placeholder: &Placeholder<'_>) -> Result<(), String> {
        let Placeholder {
            provider,
            path,
            key,
            ..
        } = *placeholder;
        let provider = shown(provider);
        let (path_is, key_is) = match self {
            Self::File(_) => ("FILE", "the name of a setting in that file"),
            Self::Directory(_) => ("DIRECTORY", "the name of a file in that directory"),
            Self::Env(_) if key.is_empty() && path.is_empty() => {
                return Err(format!(
                    "it has no variable: write ${{{provider}:VARIABLE}}"
                ));
            }
            Self::Env(_) if !path.is_empty() => {
                return Err(format!(
                    "an environment variable has neither a path nor a default: write ${{{provider}:VARIABLE}}"
                ));
            }
            Self::Env(_) => return Ok(()),
        };
        if path.is_empty() {
            let (lacks, path) = match is_like_a_path(key) {
                true => ("key", shown(key)),
                false => ("path", path_is.to_owned()),
            };
            let why = match placeholder.written.matches(':').count() {
                1 => ", because all that follows a single colon is the key, as in Java",
                _ => "",
            };
            return Err(format!(
                "it has no {lacks}{why}: write ${{{provider}:{path}:KEY}}, where KEY is {key_is}"
            ));
        }
        if key.is_empty() {
            return Err(format!(
                "it has no key: write ${{{provider}:{}:KEY}}, where KEY is {key_is}",
                shown(path)
            ));
        }
        Ok(())
    }
}

fn is_like_a_path(text: &str) -> bool {
    const ENDS: [&str; 4] = [".properties", ".conf", ".txt", ".env"];
    text.contains(['/', '\\'])
        || text.starts_with('~')
        || ENDS.iter().any(|end| text.ends_with(end))
}

fn variable(key: &str, allowed: Option<&Pattern>) -> Result<Secret, String> {
    if allowed.is_some_and(|pattern| !pattern.matches(key)) {
        return Err("allowlist.pattern does not allow this variable".to_owned());
    }
    match std::env::var(key) {
        Ok(value) => Ok(Secret::new(value)),
        Err(std::env::VarError::NotPresent) => {
            Err(format!("there is no environment variable {}", shown(key)))
        }
        Err(std::env::VarError::NotUnicode(_)) => Err("the variable is not UTF-8".to_owned()),
    }
}

fn open_path(path: &str, allowed: Option<&AllowedPaths>) -> Result<PathBuf, String> {
    match allowed {
        None => Ok(PathBuf::from(path)),
        Some(allowed) => allowed
            .allow(Path::new(path))
            .ok_or_else(|| "allowed.paths does not allow this path".to_owned()),
    }
}

impl Reads {
    fn properties(&mut self, path: &Path) -> Result<&BTreeMap<String, Secret>, String> {
        if !self.files.contains_key(path) {
            let properties = self.text(path).and_then(|text| parse(text.reveal()));
            self.files.insert(path.to_owned(), properties);
        }
        self.files[path].as_ref().map_err(Clone::clone)
    }

    fn text(&mut self, path: &Path) -> Result<Secret, String> {
        let text = read_file(path)?;
        self.bytes += text.reveal().len();
        match self.bytes > LONGEST_TOGETHER {
            true => Err(format!(
                "the files of all placeholders are longer than {LONGEST_TOGETHER} bytes"
            )),
            false => Ok(text),
        }
    }
}

/// The last value of each name, as in Java.
fn parse(text: &str) -> Result<BTreeMap<String, Secret>, String> {
    let mut values = BTreeMap::new();
    for Line {
        first, property, ..
    } in properties::parse(text)
    {
        let (name, value) =
            property.map_err(|fault| format!("line {first} of the file: {fault}"))?;
        values.insert(name, value);
    }
    Ok(values)
}

/// Reads a file of at most 1 MiB.
fn read_file(path: &Path) -> Result<Secret, String> {
    let bytes = secret::read_file(path, LONGEST).map_err(|fault| match fault {
        FileFault::Unreadable(error) => {
            let advice = advice_on_path(path, &error).map(|advice| format!("; {advice}"));
            format!(
                "the file cannot be read: {error}{}",
                advice.unwrap_or_default()
            )
        }
        FileFault::NotAFile => "it is not a regular file".to_owned(),
        FileFault::TooLong => format!("the file is longer than {LONGEST} bytes"),
    })?;
    String::from_utf8(bytes).map(Secret::new).map_err(|error| {
        secret::wipe(&mut error.into_bytes());
        "the file is not UTF-8".to_owned()
    })
}
