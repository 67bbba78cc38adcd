//! Recognises what people write by mistake: quotes, units, placeholders, the syntax of another file format.

pub(super) use crate::secret::is_placeholder;

/// The fault of a text that cannot be read, for settings of any kind. `None` if the fault depends on the kind.
pub(super) fn fault_of_any_kind(text: &str) -> Option<&'static str> {
    if text.is_empty() {
        Some("has no value: give it one, or leave the setting out for its default")
    } else if is_placeholder(text) {
        Some("has a placeholder in it, which was not filled in")
    } else if is_quoted(text) {
        Some("is in quotes: write it without them")
    } else {
        None
    }
}

/// The sign of a comment behind a value, which Java's format does not have: the sign is a part of the value.
pub(super) fn comment_sign(text: &str) -> Option<&'static str> {
    let words = || text.split_whitespace().skip(1);
    let begins = |sign: &&str| words().any(|word| word.starts_with(*sign));
    ["#", "//", "!"].into_iter().find(begins)
}

/// Returns whether a text has quotes of any kind around it, or at one end, as a part of a quoted list.
pub(super) fn is_quoted(text: &str) -> bool {
    let quotes = [
        '"', '\'', '`', '\u{201c}', '\u{201d}', '\u{201e}', '\u{2018}', '\u{2019}', '\u{201a}',
    ];
    text.starts_with(quotes) || text.ends_with(quotes)
}

/// How to write the number in `text` here, if it has a known unit of time.
pub(super) fn as_millis(text: &str) -> Option<String> {
    let (number, unit) = number_and_unit(text)?;
    let factor = match unit.to_ascii_lowercase().as_str() {
        "ms" | "msec" | "millis" | "milliseconds" => 1,
        "s" | "sec" | "secs" | "second" | "seconds" => 1000,
        "m" | "min" | "mins" | "minute" | "minutes" => 60_000,
        "h" | "hour" | "hours" => 3_600_000,
        "d" | "day" | "days" => 86_400_000,
        _ => return plain(text),
    };
    Some(number.checked_mul(factor)?.to_string())
}

/// How to write the number in `text` here, if it has a known unit of size.
pub(super) fn as_bytes(text: &str) -> Option<String> {
    let (number, unit) = number_and_unit(text)?;
    let factor = match unit.to_ascii_lowercase().as_str() {
        "b" | "byte" | "bytes" => 1,
        "k" | "kb" | "kib" => 1 << 10,
        "m" | "mb" | "mib" => 1 << 20,
        "g" | "gb" | "gib" => 1 << 30,
        _ => return plain(text),
    };
    Some(number.checked_mul(factor)?.to_string())
}

fn number_and_unit(text: &str) -> Option<(u64, &str)> {
    let end = text.find(|c: char| !c.is_ascii_digit())?;
    let number = text[..end].parse().ok()?;
    Some((number, text[end..].trim_start_matches([' ', '_'])))
}

/// Rewrites `1_000`, `1,000`, `5.0`, `5L`.
fn plain(text: &str) -> Option<String> {
    let text = text.trim_end_matches(['L', 'l']);
    let whole = text.split_once('.').map_or(text, |(whole, rest)| {
        match rest.bytes().all(|digit| digit == b'0') {
            true => whole,
            false => text,
        }
    });
    let digits = whole.replace(['_', ',', '\''], "");
    digits.parse::<u64>().ok().map(|number| number.to_string())
}

/// The format that a text with faults seems to have, if it is not a `.properties` file.
pub(super) fn other_syntax(text: &str) -> Option<&'static str> {
    let lines = || {
        text.lines()
            .filter(|line| !line.trim().is_empty() && !line.trim_start().starts_with('#'))
    };
    let first = lines().next()?.trim_start();
    if first.starts_with('{') {
        return Some("this looks like JSON; write each setting on a line of its own, as acks=all");
    }
    if first.starts_with('<') {
        return Some("this looks like XML; write each setting on a line of its own, as acks=all");
    }
    let indent = |line: &str| line.len() - line.trim_start().len();
    let nests = lines()
        .zip(lines().skip(1))
        .any(|(line, next)| line.trim_end().ends_with(':') && indent(next) > indent(line));
    if nests || first.trim_end() == "---" {
        return Some(
            "this looks like YAML; write each setting on a line of its own, by Kafka's whole name, as acks=all",
        );
    }
    if first.starts_with('[') {
        return Some(
            "this looks like an INI or TOML file; write settings without sections and quotes, as acks=all",
        );
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn units_are_converted() {
        for (text, millis) in [
            ("5ms", Some("5")),
            ("5 s", Some("5000")),
            ("2min", Some("120000")),
            ("1h", Some("3600000")),
            ("1_000", Some("1000")),
            ("1,000", Some("1000")),
            ("5.0", Some("5")),
            ("5L", Some("5")),
            ("5.5", None),
            ("abc", None),
            ("5 parsecs", None),
            ("99999999999999999999s", None),
            ("9999999999999999999d", None),
        ] {
            assert_eq!(as_millis(text).as_deref(), millis, "{text}");
        }
        for (text, bytes) in [
            ("16KB", Some("16384")),
            ("16k", Some("16384")),
            ("32 MiB", Some("33554432")),
            ("1G", Some("1073741824")),
            ("7 bytes", Some("7")),
            ("16ms", None),
        ] {
            assert_eq!(as_bytes(text).as_deref(), bytes, "{text}");
        }
    }

    #[test]
    fn other_formats_are_recognised_by_their_beginning() {
        for (text, syntax) in [
            ("spring:\n  kafka:\n    a: b", Some("YAML")),
            ("---\nacks: all", Some("YAML")),
            ("# c\n{ \"acks\": \"all\" }", Some("JSON")),
            ("<properties>", Some("XML")),
            ("[kafka]\nacks = 'all'", Some("INI")),
            ("acks: all\nlinger.ms: 5", None),
            ("acks:\n\nlinger.ms=5", None),
            ("", None),
        ] {
            match (other_syntax(text), syntax) {
                (Some(hint), Some(syntax)) => assert!(hint.contains(syntax), "{text}: {hint}"),
                (hint, syntax) => assert_eq!(hint, syntax, "{text}"),
            }
        }
    }

    #[test]
    fn quotes_and_placeholders_are_recognised() {
        for text in [
            "${env:BS}",
            "a:${PORT}",
            "{{ BS }}",
            "<brokers>",
            "%BS%",
            "$BS",
            "#{bs}",
            "@bs@",
        ] {
            assert!(is_placeholder(text), "{text}");
        }
        for text in ["$", "$5", "a{b}", "{}", "50%", "<>", "localhost:9092"] {
            assert!(!is_placeholder(text), "{text}");
        }
        for text in [
            "\"5\"",
            "'5'",
            "\u{201c}5\u{201d}",
            "\u{201e}5\u{201c}",
            "\"a:1",
        ] {
            assert!(is_quoted(text), "{text}");
        }
    }
}
