//! A text that is never shown.

use std::fmt;

use super::value::Kind;

/// A password or a key, or a text that may be one. `Debug` and `Display` do not show it. Its bytes are overwritten when it
/// is dropped. A clone is an independent copy.
#[derive(Clone, Default)]
pub(crate) struct Secret(String);

/// The text that is shown instead of a secret.
const HIDDEN: &str = "[hidden]";

impl Secret {
    pub(crate) fn new(text: String) -> Self {
        Self(text)
    }

    /// Returns the text. It must not get into a log line, an error or `Debug`.
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
        let mut bytes = std::mem::take(&mut self.0).into_bytes();
        bytes.fill(0);
        // Without this the compiler may leave out a write that nothing reads.
        std::hint::black_box(&bytes);
    }
}

/// A setting that is a secret: an error does not quote it, and `get` returns `[hidden]` if it is set.
pub(super) struct SecretText;

impl Kind for SecretText {
    type Value = Secret;

    fn parse(&self, text: &str) -> Result<Secret, String> {
        Ok(Secret::from(text))
    }

    fn check(&self, _value: &Secret) -> Result<(), String> {
        Ok(())
    }

    fn write(&self, value: &Secret) -> String {
        value.reveal().to_owned()
    }

    fn show(&self, value: &Secret) -> String {
        match value.reveal() {
            "" => String::new(),
            _ => HIDDEN.to_owned(),
        }
    }

    fn refusal(property: &str, _text: &str, fault: &str, range: &str) -> String {
        format!("{property} {fault} ({}: {range})", Self::RANGE_IS)
    }
}
