//! The settings that are set by name only: the table's rows without a typed setter.

use std::collections::BTreeMap;

use crate::error::Error;
use crate::secret::Secret;

use super::settings::{Row, parse};
use super::value::Kind;

/// The texts that were set. Each was checked when it was set. Any of them may be a secret, so they are kept as secrets.
#[derive(Clone, Debug, Default)]
pub(crate) struct TextSettings(BTreeMap<&'static str, Secret>);

/// A row without a typed setter.
#[derive(Clone, Copy)]
pub(super) struct TextRow {
    pub(super) row: &'static Row,
    pub(super) kind: &'static dyn TextKind,
}

/// A [`Kind`] whose values are kept as text.
pub(super) trait TextKind: Sync {
    /// Reads and checks a text. Returns how it is written by the one rule of its kind.
    fn read(&self, row: &Row, text: &str) -> Result<String, Error>;

    /// What may be shown of a text that [`read`](Self::read) returned.
    fn show_text(&self, text: &str) -> String;

    /// What may be shown of a text whose placeholders are not filled in yet.
    fn show_unfilled_text(&self, text: &str) -> String;
}

impl<K: Kind + Sync> TextKind for K {
    fn read(&self, row: &Row, text: &str) -> Result<String, Error> {
        parse(row.property, self, row.range, text).map(|value| self.write(&value))
    }

    fn show_text(&self, text: &str) -> String {
        self.parse(text)
            .map_or_else(|_| String::new(), |value| self.show(&value))
    }

    fn show_unfilled_text(&self, text: &str) -> String {
        self.show_unfilled(text)
    }
}

impl TextSettings {
    pub(super) fn set(&mut self, row: TextRow, text: &str) -> Result<(), Error> {
        let text = row.kind.read(row.row, text)?;
        self.0.insert(row.row.property, Secret::new(text));
        Ok(())
    }

    /// What may be shown of the text that was set, or else of the default.
    pub(super) fn show(&self, row: TextRow) -> String {
        row.kind.show_text(self.text(row))
    }

    /// The names that were set.
    pub(super) fn names(&self) -> impl Iterator<Item = &'static str> {
        self.0.keys().copied()
    }

    /// The text that was set, or else the default.
    pub(super) fn text(&self, row: TextRow) -> &str {
        self.0
            .get(row.row.property)
            .map_or(row.row.default, Secret::reveal)
    }
}
