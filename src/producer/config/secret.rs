//! The kind of setting that is a secret.

use super::value::Kind;
use crate::secret::{HIDDEN, Secret};

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

    fn show_unfilled(&self, _text: &str) -> String {
        HIDDEN.to_owned()
    }

    fn refusal(property: &str, _text: &str, fault: &str, range: &str) -> String {
        format!("{property} {fault} ({}: {range})", Self::RANGE_IS)
    }
}
