//! Texts that are never shown, and files that have such texts.

use std::fmt;
use std::fs::{File, Metadata};
use std::io::{self, Read};
use std::path::Path;

/// A password or a key, or a text that may be one. `Debug` and `Display` do not show it. Its bytes are overwritten when it
/// is dropped. A clone is an independent copy.
#[derive(Clone, Default, Hash)]
pub(crate) struct Secret(String);

/// The text that is shown instead of a secret.
pub(crate) const HIDDEN: &str = "[hidden]";

impl Secret {
    pub(crate) fn new(text: String) -> Self {
        Self(text)
    }

    /// Returns the text. Nothing that is shown may be made of it.
    pub(crate) fn reveal(&self) -> &str {
        &self.0
    }
}

impl From<String> for Secret {
    fn from(text: String) -> Self {
        Self::new(text)
    }
}

impl From<&str> for Secret {
    fn from(text: &str) -> Self {
        Self::new(text.to_owned())
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(HIDDEN)
    }
}

impl fmt::Display for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(HIDDEN)
    }
}

impl Drop for Secret {
    fn drop(&mut self) {
        wipe(&mut std::mem::take(&mut self.0).into_bytes());
    }
}

/// Returns whether a text has a placeholder: `${name}`, `#{name}`, `{{ name }}`, `@name@` and `<name>` of templates, `$name`
/// and `%name%` of shells. One in a password was probably not filled in.
pub(crate) fn is_placeholder(text: &str) -> bool {
    let encloses = |open: &str, close: &str| {
        text.split_once(open)
            .is_some_and(|(_, rest)| rest.contains(close))
    };
    let is_one =
        |open: char, close: char| text.len() > 2 && text.starts_with(open) && text.ends_with(close);
    let is_variable = text
        .strip_prefix('$')
        .is_some_and(|name| name.starts_with(|c: char| c.is_ascii_alphabetic()));
    is_variable
        || ["${", "#{"].iter().any(|open| encloses(open, "}"))
        || encloses("{{", "}}")
        || [('<', '>'), ('%', '%'), ('@', '@')]
            .iter()
            .any(|(open, close)| is_one(*open, *close))
}

/// As [`Secret`], of bytes.
#[cfg(feature = "tls-core")]
#[derive(Clone, Default, Hash)]
pub(crate) struct SecretBytes(Vec<u8>);

#[cfg(feature = "tls-core")]
impl SecretBytes {
    pub(crate) fn new(bytes: Vec<u8>) -> Self {
        Self(bytes)
    }

    /// Returns the bytes. Nothing that is shown may be made of them.
    pub(crate) fn reveal(&self) -> &[u8] {
        &self.0
    }
}

#[cfg(feature = "tls-core")]
impl fmt::Debug for SecretBytes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(HIDDEN)
    }
}

#[cfg(feature = "tls-core")]
impl Drop for SecretBytes {
    fn drop(&mut self) {
        wipe(&mut self.0);
    }
}

/// Overwrites bytes that may hold a secret.
pub(crate) fn wipe(bytes: &mut [u8]) {
    bytes.fill(0);
    // Without this the compiler may leave out a write that nothing reads.
    std::hint::black_box(bytes);
}

/// Why a file is not read.
pub(crate) enum FileFault {
    Unreadable(io::Error),
    /// A folder, a pipe, a device: others than regular files may never end.
    NotAFile,
    TooLong,
}

/// Reads a regular file of at most `most` bytes, which may hold secrets.
pub(crate) fn read_file(path: &Path, most: usize) -> Result<Vec<u8>, FileFault> {
    let (file, metadata) = open_file(path)?;
    // Room for all of it: a buffer that grows would leave copies behind.
    let length = usize::try_from(metadata.len()).unwrap_or(most);
    let mut bytes = Vec::with_capacity(length.min(most) + 2);
    let read = file.take(most as u64 + 1).read_to_end(&mut bytes);
    let fault = match read {
        Ok(_) if bytes.len() <= most => return Ok(bytes),
        Ok(_) => FileFault::TooLong,
        Err(error) => FileFault::Unreadable(error),
    };
    wipe(&mut bytes);
    Err(fault)
}

/// Opens a regular file. Returns what the system knows of it, too.
pub(crate) fn open_file(path: &Path) -> Result<(File, Metadata), FileFault> {
    #[cfg(test)]
    hung::wait(path);
    let file = open(path).map_err(FileFault::Unreadable)?;
    let metadata = file.metadata().map_err(FileFault::Unreadable)?;
    match metadata.is_file() {
        true => Ok((file, metadata)),
        false => Err(FileFault::NotAFile),
    }
}

/// Opens a file. If it is a pipe, this does not wait for its writer.
#[cfg(unix)]
fn open(path: &Path) -> io::Result<File> {
    use std::os::unix::fs::OpenOptionsExt;
    let mut options = File::options();
    options.read(true).custom_flags(libc::O_NONBLOCK);
    options.open(path)
}

#[cfg(not(unix))]
fn open(path: &Path) -> io::Result<File> {
    File::open(path)
}

#[cfg(test)]
pub(crate) use hung::HungFile;

/// Files that tests let hang, as those of a file system that does not answer.
#[cfg(test)]
mod hung {
    use std::path::{Path, PathBuf};

    use crate::sync::{Condvar, Mutex};

    static PATHS: Mutex<Vec<PathBuf>> = Mutex::new(Vec::new());
    static CHANGED: Condvar = Condvar::new();

    /// A file that nobody can open as long as this lives.
    pub(crate) struct HungFile(PathBuf);

    impl HungFile {
        pub(crate) fn new(path: &Path) -> Self {
            PATHS.lock().push(path.to_owned());
            Self(path.to_owned())
        }
    }

    impl Drop for HungFile {
        fn drop(&mut self) {
            PATHS.lock().retain(|path| *path != self.0);
            CHANGED.notify_all();
        }
    }

    pub(super) fn wait(path: &Path) {
        let mut paths = PATHS.lock();
        while paths.iter().any(|hung| hung == path) {
            CHANGED.wait(&mut paths);
        }
    }
}
