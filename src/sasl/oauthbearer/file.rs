//! A token in a file, which another program keeps valid.

use std::path::PathBuf;
use std::time::Instant;

use super::{BearerToken, TokenSource, jwt};
use crate::error::{Error, printable};
use crate::sasl::{failed, misconfigured};
use crate::secret::{self, FileFault, Secret};

/// No broker accepts a longer token.
const MOST_BYTES: usize = 512 << 10;

/// Reads the file each time: that is cheap, and the file is always right. A read has no deadline of its own.
#[derive(Debug)]
pub(crate) struct FileTokens {
    path: PathBuf,
    extensions: Vec<(String, Secret)>,
}

impl FileTokens {
    /// Makes the source of a `file:` URL. `None` if the URL has another scheme.
    pub(crate) fn of_url(
        url: &str,
        extensions: Vec<(String, Secret)>,
    ) -> Option<Result<Self, Error>> {
        let (scheme, rest) = url.split_once(':')?;
        if !scheme.eq_ignore_ascii_case("file") {
            return None;
        }
        let path = path_of(rest).map(|path| Self { path, extensions });
        Some(path.ok_or_else(|| {
            misconfigured(
                "sasl.oauthbearer.token.endpoint.url is a file: URL without an absolute path of this machine",
            )
            .with_advice("write file:///folder/file")
        }))
    }

    fn error(&self, what: &str) -> Error {
        failed(format!(
            "the token file {}, of sasl.oauthbearer.token.endpoint.url, {what}",
            printable(&self.path.to_string_lossy())
        ))
    }
}

impl TokenSource for FileTokens {
    fn fetch(&self, _: Instant) -> Result<BearerToken, Error> {
        let bytes = secret::read_file(&self.path, MOST_BYTES).map_err(|fault| match fault {
            FileFault::Unreadable(error) => self
                .error(&format!("cannot be read: {error}"))
                .with_advice("check the path and the permissions"),
            FileFault::NotAFile => self
                .error("is not a regular file")
                .with_advice("check the path"),
            FileFault::TooLong => self.error(&format!("has more than {MOST_BYTES} bytes")),
        })?;
        let text = String::from_utf8(bytes).map(Secret::new);
        let text = text.map_err(|_| self.error("is not text"))?;
        let value = text.reveal().trim();
        if value.is_empty() {
            return Err(self
                .error("is empty")
                .with_advice("see what writes it: the next connection reads it again"));
        }
        let mut token = jwt::token(value);
        token.extensions = self.extensions.clone();
        Ok(token)
    }
}

/// Returns the path of a URL, of which `rest` follows `file:`. `None` if it is not absolute or names another machine.
fn path_of(rest: &str) -> Option<PathBuf> {
    let path = match rest.strip_prefix("//") {
        Some(rest) => {
            let (host, _) = rest.split_once('/')?;
            if !host.is_empty() && !host.eq_ignore_ascii_case("localhost") {
                return None;
            }
            &rest[host.len()..]
        }
        None => rest,
    };
    let path = PathBuf::from(percent_decoded(path)?);
    path.is_absolute().then_some(path)
}

fn percent_decoded(text: &str) -> Option<String> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let [first, tail @ ..] = rest {
        rest = tail;
        if *first != b'%' {
            bytes.push(*first);
            continue;
        }
        let digit = |digit: u8| char::from(digit).to_digit(16);
        let (high, low) = (digit(*rest.first()?)?, digit(*rest.get(1)?)?);
        bytes.push((high << 4 | low) as u8);
        rest = &rest[2..];
    }
    String::from_utf8(bytes).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_path_of_a_file_url_is_found() {
        for (url, path) in [
            ("/a/b", Some("/a/b")),
            ("///a/b", Some("/a/b")),
            ("//localhost/a%20b", Some("/a b")),
            ("//other/a", None),
            ("a/b", None),
            ("//", None),
            ("///a%2", None),
            ("///a%zz", None),
            ("///a%ff", None),
        ] {
            assert_eq!(path_of(url), path.map(PathBuf::from), "{url}");
        }
        assert!(FileTokens::of_url("https://host/token", Vec::new()).is_none());
        assert!(FileTokens::of_url("FILE:///a", Vec::new()).unwrap().is_ok());
    }

    #[test]
    fn a_file_is_read_for_each_connection_and_its_faults_are_told() {
        let name = format!("kafka-producer-token-{}", fastrand::u64(..));
        let path = std::env::temp_dir().join(name);
        let url = format!("file://{}", path.display());
        let tokens = FileTokens::of_url(&url, Vec::new()).unwrap().unwrap();
        let fetch = || tokens.fetch(Instant::now());
        let refused = |part: &str| {
            let error = fetch().unwrap_err().to_string();
            assert!(error.contains(part), "{error}");
            assert!(
                error.contains("sasl.oauthbearer.token.endpoint.url"),
                "{error}"
            );
        };
        refused("cannot be read");
        std::fs::write(&path, "one\n").unwrap();
        assert_eq!(fetch().unwrap().value.reveal(), "one");
        std::fs::write(&path, "  two ").unwrap();
        assert_eq!(fetch().unwrap().value.reveal(), "two");
        std::fs::write(&path, "\n").unwrap();
        refused("is empty");
        std::fs::write(&path, b"\xff").unwrap();
        refused("is not text");
        std::fs::write(&path, vec![b'a'; MOST_BYTES + 1]).unwrap();
        refused("more than");
        std::fs::remove_file(&path).unwrap();
        std::fs::create_dir(&path).unwrap();
        refused("is not a regular file");
        std::fs::remove_dir(&path).unwrap();
    }
}
