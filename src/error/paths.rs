//! Paths that are written as other programs read them.

use std::io::{self, ErrorKind};
use std::path::Path;

/// Returns what to do about a path that cannot be opened, if it seems to be written for another program: for Spring, a
/// shell, a browser or Windows.
pub(crate) fn advice_on_path(path: &Path, error: &io::Error) -> Option<&'static str> {
    if error.kind() == ErrorKind::PermissionDenied {
        return None;
    }
    let text = path.to_string_lossy();
    let begins = |beginnings: &[&str]| beginnings.iter().any(|begin| text.starts_with(begin));
    if begins(&["\"", "'"]) {
        return Some("write the path without quotes");
    }
    if begins(&["classpath:"]) {
        return Some("there is no classpath, because this is no Java: write the path of a file");
    }
    if begins(&["file:"]) {
        return Some("write the path without \"file:\", as /folder/file");
    }
    if text.contains("://") {
        return Some("write the path of a file, not a URL");
    }
    if begins(&["~"]) {
        return Some("only shells replace \"~\": write the whole path");
    }
    if begins(&["$", "%", "#{", "{{"]) {
        return Some("no variable is replaced in a path: write the whole path");
    }
    if is_of_windows(&text) {
        return Some(
            "this is a path of Windows: a .properties file loses each single \\, so write / or \\\\ there",
        );
    }
    if text.contains(" #") {
        return Some(
            "\"#\" and what follows it are part of the path: write a comment on a line of its own",
        );
    }
    (error.kind() == ErrorKind::NotFound && path.is_relative()).then_some(
        "the path does not begin at the root: it is looked for in the folder in which the program was started",
    )
}

/// `C:\folder\file` or `\\server\file`. On Windows itself, only what is left of them without backslashes.
fn is_of_windows(text: &str) -> bool {
    let mut characters = text.chars();
    let drive = characters.next().is_some_and(|c| c.is_ascii_alphabetic());
    let begins_so = text.starts_with('\\') || drive && characters.next() == Some(':');
    begins_so && (cfg!(not(windows)) || !text.contains(['/', '\\']))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_that_is_written_for_another_program_gets_its_advice() {
        let no_file = io::Error::from(ErrorKind::NotFound);
        for (path, begin) in [
            ("\"/etc/x\"", "write the path without quotes"),
            ("classpath:x.jks", "there is no classpath"),
            (
                "file:/etc/x",
                "write the path without \"file:\", as /folder/file",
            ),
            ("file:///etc/x", "write the path without \"file:\""),
            ("https://host/x", "write the path of a file, not a URL"),
            ("~/x", "only shells replace \"~\""),
            ("$HOME/x", "no variable is replaced"),
            ("${HOME}/x", "no variable is replaced"),
            ("%USERPROFILE%\\x", "no variable is replaced"),
            (
                "C:kafkax",
                "this is a path of Windows: a .properties file loses each single \\",
            ),
            ("C:\temp", "this is a path of Windows"),
            ("c:/kafka/x", "this is a path of Windows"),
            ("\\server\\x", "this is a path of Windows"),
            (
                "/etc/x # the store",
                "\"#\" and what follows it are part of the path",
            ),
            ("certs/x", "the path does not begin at the root"),
        ] {
            let advice = advice_on_path(Path::new(path), &no_file);
            assert!(
                advice.is_some_and(|advice| advice.starts_with(begin)),
                "{path}: {advice:?}"
            );
        }
    }

    #[test]
    fn an_ordinary_path_gets_none() {
        let no_file = io::Error::from(ErrorKind::NotFound);
        assert_eq!(advice_on_path(Path::new("/no/such/x#1"), &no_file), None);
        let denied = io::Error::from(ErrorKind::PermissionDenied);
        assert_eq!(advice_on_path(Path::new("certs/x"), &denied), None);
    }
}
