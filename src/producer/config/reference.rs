//! The table of settings as people read it.

use super::settings::Access;
use super::{ProducerConfig, ROWS};

impl ProducerConfig {
    /// The table of all settings in Markdown, as the README has it: Kafka's name, the typed setter, default, range and
    /// meaning.
    pub fn settings_as_markdown() -> String {
        let mut markdown = String::from(
            "| Setting | Setter | Default | Range | Meaning |\n|---|---|---|---|---|\n",
        );
        for row in ROWS {
            let default = match row.default {
                "" => "empty".to_owned(),
                default => format!("`{default}`"),
            };
            let doc = row.doc.concat();
            let setter = match row.access {
                Access::Typed { setter } => format!("`{setter}`"),
                Access::ByName { .. } => "by name".to_owned(),
            };
            markdown.push_str(&format!(
                "| `{}` | {setter} | {default} | {} | {} |\n",
                row.property,
                row.range,
                doc.trim()
            ));
        }
        markdown
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_setting_has_one_line_of_five_cells() {
        let markdown = ProducerConfig::settings_as_markdown();
        assert_eq!(markdown.lines().count(), ROWS.len() + 2);
        for line in markdown.lines() {
            assert_eq!(line.matches('|').count(), 6, "{line}");
        }
        assert!(markdown.contains("| `linger.ms` | `linger` | `5` | 0 to 2147483647 | How long"));
    }

    #[test]
    fn the_readme_has_this_table() {
        let readme = include_str!("../../../README.md");
        let markdown = ProducerConfig::settings_as_markdown();
        assert!(
            readme.contains(&markdown),
            "the README's table of settings should be:\n{markdown}"
        );
    }
}
