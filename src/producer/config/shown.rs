//! Shows a user's text in an error or a log line: shortened, printable, without secrets.

use std::fmt;

/// Displays a value in an error or a log line. Only for settings that are not secrets. If the value seems to contain
/// another line, as after an unintended `\`, the rest is left out.
pub(super) struct Shown<'a> {
    text: &'a str,
    /// At most this many bytes of it are shown.
    open: usize,
}

impl<'a> Shown<'a> {
    /// For a number, a choice or a boolean. Such a value has none of the characters that end a name in a file: `=`, `:`, or
    /// white space after a letter. The text is shown up to the first of them (`5 ms` is shown whole).
    pub(super) fn value(text: &'a str) -> Self {
        let mut before = ' ';
        let ends_name = |character: char| {
            let ends = matches!(character, '=' | ':')
                || character.is_whitespace() && before.is_alphabetic();
            before = character;
            ends
        };
        Self::up_to(text, text.find(ends_name))
    }

    /// For an address, or a list of them. The text is shown up to a `=`.
    pub(super) fn address(text: &'a str) -> Self {
        Self::up_to(text, text.find('='))
    }

    fn up_to(text: &'a str, end: Option<usize>) -> Self {
        let ends = end.into_iter().chain(start_of_secret(text));
        let open = ends.min().unwrap_or(text.len());
        Self { text, open }
    }
}

impl fmt::Display for Shown<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        const LONGEST: usize = 100;
        let is_cut = show(&self.text[..self.open], LONGEST, f)? || self.open < self.text.len();
        f.write_str(if is_cut { "..." } else { "" })
    }
}

/// Words after which a secret may follow. A dot stands for a dash and an underscore, too.
const SECRETIVE: [&str; 16] = [
    "password",
    "passwd",
    "passphrase",
    "pwd",
    "secret",
    "jaas",
    "credential",
    "token",
    "private",
    "ssl.key",
    "basic.auth",
    "user.info",
    "username",
    "access.key",
    "api.key",
    "apikey",
];

fn start_of_secret(text: &str) -> Option<usize> {
    // Positions stay the same: only ASCII characters change.
    let lower = text.to_ascii_lowercase().replace(['_', '-'], ".");
    let starts = SECRETIVE.iter().filter_map(|word| lower.find(word));
    // `user:password@host`
    let at = lower
        .split_once('@')
        .filter(|(user, _)| user.contains(':'))
        .map(|_| 0);
    starts.chain(at).min()
}

/// Displays a name that is not Kafka's. It may be anything, even a line of a pasted key. A text that does not look like a
/// name is cut.
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

/// Displays a text that is no secret: whole, unless it is too long.
pub(super) struct ShownWhole<'a>(pub(super) &'a str);

impl fmt::Display for ShownWhole<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        const LONGEST: usize = 300;
        let is_cut = show(self.0, LONGEST, f)?;
        f.write_str(if is_cut { "..." } else { "" })
    }
}

/// Returns whether a word is too long for a name, or mixes upper case, lower case and digits as base64 does.
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

/// Writes up to `longest` characters. Returns whether there are more.
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
            ("5\nb", "5\u{fffd}b"),
            ("5 ms", "5 ms"),
            ("5basic.auth.user.info=user:hunter2", "5..."),
            ("5API_KEY hunter2", "5..."),
            ("5some.name=hunter2", "5some.name..."),
            ("5some.name: hunter2", "5some.name..."),
            ("5some.name hunter2", "5some.name..."),
        ] {
            assert_eq!(Shown::value(text).to_string(), shown);
        }
        for (text, shown) in [
            ("broker:9092", "broker:9092"),
            ("a b:9092", "a b:9092"),
            ("a:1some.name=hunter2", "a:1some.name..."),
        ] {
            assert_eq!(Shown::address(text).to_string(), shown);
        }
        let long = "é".repeat(1000);
        assert_eq!(Shown::value(&long).to_string().chars().count(), 103);
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
