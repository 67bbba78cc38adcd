//! What of a user's text an error or a log line may show: shortened, printable, and no secret.

use std::fmt;

/// A value, fit for an error and a log line. Only values of settings that are no secret are shown at all; where such a
/// value seems to have swallowed another line, as behind a `\` too many, the rest is left out.
pub(super) struct Shown<'a>(pub(super) &'a str);

impl fmt::Display for Shown<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        const LONGEST: usize = 100;
        let open = without_secrets(self.0);
        let is_cut = show(open, LONGEST, f)? || open.len() < self.0.len();
        f.write_str(if is_cut { "..." } else { "" })
    }
}

/// Words before which a text ends that could go on with a secret.
const SECRETIVE: [&str; 8] = [
    "password",
    "passphrase",
    "secret",
    "jaas",
    "credential",
    "token",
    "private",
    "ssl.key",
];

fn without_secrets(text: &str) -> &str {
    // Of the same length, as only ASCII letters change.
    let lower = text.to_ascii_lowercase();
    let starts = SECRETIVE.iter().filter_map(|word| lower.find(word));
    // `user:password@host`
    let at = lower
        .split_once('@')
        .filter(|(user, _)| user.contains(':'))
        .map(|_| 0);
    starts.chain(at).min().map_or(text, |end| &text[..end])
}

/// A name that is none of Kafka's: it may be anything, a line of a key that was pasted, too. What looks like no name is cut.
pub(super) struct ShownName<'a>(pub(super) &'a str);

impl fmt::Display for ShownName<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        const LONGEST: usize = 100;
        const BEGIN: usize = 8;
        let is_apart = |c: char| matches!(c, '.' | '_' | '-');
        let is_a_name = !self.0.split(is_apart).any(may_be_of_a_key);
        let longest = if is_a_name { LONGEST } else { BEGIN };
        let is_cut = show(self.0, longest, f)?;
        f.write_str(if is_cut { "..." } else { "" })
    }
}

/// Too long for a word, or letters of both sizes and digits mixed as in base64.
fn may_be_of_a_key(word: &str) -> bool {
    const LONGEST_WORD: usize = 30;
    const LONGEST_MIXED: usize = 10;
    let length = word.chars().count();
    let has = |is: fn(&char) -> bool| word.chars().any(|c| is(&c));
    let is_mixed =
        has(char::is_ascii_digit) && has(char::is_ascii_uppercase) && has(char::is_ascii_lowercase)
            || word.contains(['+', '/']);
    length > LONGEST_WORD || is_mixed && length > LONGEST_MIXED
}

/// Writes up to `longest` characters; whether there are more.
fn show(text: &str, longest: usize, f: &mut fmt::Formatter<'_>) -> Result<bool, fmt::Error> {
    let mut characters = text.chars();
    for character in characters.by_ref().take(longest) {
        let shown = match character.is_control() {
            true => '\u{fffd}',
            false => character,
        };
        write!(f, "{shown}")?;
    }
    Ok(characters.next().is_some())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_value_is_shown_up_to_where_a_secret_may_begin() {
        for (text, shown) in [
            ("5ms", "5ms"),
            ("5ssl.key.password=hunter2", "5..."),
            ("5sasl.jaas.config=Module required", "5sasl...."),
            ("user:hunter2@broker:9092", "..."),
            ("a\nb", "a\u{fffd}b"),
        ] {
            assert_eq!(Shown(text).to_string(), shown);
        }
        assert_eq!(Shown(&"é".repeat(1000)).to_string().chars().count(), 103);
    }

    #[test]
    fn a_line_of_a_key_is_not_shown_as_a_name() {
        let line = "MIIEvQIBADANBgkqhkiG9w0BAQEFAASCBKcwggSjAgEAAoIBAQC7VJTUt9Us8cKj";
        assert_eq!(ShownName(line).to_string(), "MIIEvQIB...");
        assert_eq!(ShownName("icta4eurT8jN").to_string(), "icta4eur...");
        for name in [
            "sasl.oauthbearer.client.credentials.client.secret",
            "camel.component.kafka.requestRequiredAcks",
            "KAFKA_CFG_LOG4J2_ROOT",
        ] {
            assert_eq!(ShownName(name).to_string(), name);
        }
    }
}
