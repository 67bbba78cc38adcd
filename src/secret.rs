//! A text that is never shown.

use std::fmt;

/// A password or a key, or a text that may be one. `Debug` and `Display` do not show it. Its bytes are overwritten when it
/// is dropped. A clone is an independent copy.
#[derive(Clone, Default)]
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

/// Overwrites bytes that may hold a secret.
pub(crate) fn wipe(bytes: &mut [u8]) {
    bytes.fill(0);
    // Without this the compiler may leave out a write that nothing reads.
    std::hint::black_box(bytes);
}
