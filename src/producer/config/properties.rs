//! The syntax of Java's `.properties` files.

use std::iter::Peekable;
use std::str::Chars;

use crate::secret::Secret;

/// A name and its value, or the fault of the line. The value may be a secret, and the name a part of one.
pub(super) type Property = Result<(String, Secret), &'static str>;

/// A logical line.
pub(super) struct Line {
    /// The numbers of its first and its last natural line, from 1.
    pub(super) first: usize,
    pub(super) last: usize,
    /// The last natural line ends with a backslash and white space, which does not continue it.
    pub(super) ends_in_escaped_blank: bool,
    /// A colon ends the name.
    pub(super) has_colon: bool,
    pub(super) property: Property,
}

impl Line {
    /// The name and the value, if the line can be read.
    pub(super) fn pair(&self) -> Option<(&str, &str)> {
        let (name, value) = self.property.as_ref().ok()?;
        Some((name, value.reveal()))
    }

    pub(super) fn name(&self) -> Option<&str> {
        self.pair().map(|(name, _)| name)
    }
}

/// The properties in their order. A name may occur several times.
pub(super) fn parse(text: &str) -> Vec<Line> {
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    logical_lines(text)
        .into_iter()
        .map(|logical| {
            // `concat` takes the room for all parts at once: a text that grows would leave copies behind.
            let whole = Secret::new(logical.parts.concat());
            let (name, value, has_colon) = split(whole.reveal());
            let property =
                unescape(name).and_then(|name| Ok((name.reveal().to_owned(), unescape(value)?)));
            Line {
                first: logical.first,
                last: logical.last,
                ends_in_escaped_blank: logical.ends_in_escaped_blank,
                has_colon,
                property,
            }
        })
        .collect()
}

/// The natural lines that are joined to a logical one.
struct Logical<'a> {
    first: usize,
    last: usize,
    ends_in_escaped_blank: bool,
    parts: Vec<&'a str>,
}

/// Logical lines: blank lines and comments are dropped, a line that ends in an odd number of backslashes is joined with the
/// next one, and white space at the beginning of each natural line is removed.
fn logical_lines(text: &str) -> Vec<Logical<'_>> {
    let mut logical: Vec<Logical<'_>> = Vec::new();
    let mut goes_on = false;
    for (index, natural) in natural_lines(text).enumerate() {
        let content = natural.trim_start_matches(is_blank);
        if !goes_on && (content.is_empty() || content.starts_with(['#', '!'])) {
            continue;
        }
        let continued = ends_in_backslash(content);
        let before_blanks = content.trim_end_matches(is_blank);
        let ends_in_escaped_blank =
            before_blanks.len() < content.len() && ends_in_backslash(before_blanks);
        let content = if continued {
            &content[..content.len() - 1]
        } else {
            content
        };
        match logical.last_mut() {
            Some(last) if goes_on => {
                last.parts.push(content);
                last.last = index + 1;
                last.ends_in_escaped_blank = ends_in_escaped_blank;
            }
            _ => logical.push(Logical {
                first: index + 1,
                last: index + 1,
                ends_in_escaped_blank,
                parts: vec![content],
            }),
        }
        goes_on = continued;
    }
    logical
}

/// Returns whether the number of backslashes at the end is odd.
fn ends_in_backslash(text: &str) -> bool {
    (text.len() - text.trim_end_matches('\\').len()) % 2 == 1
}

/// Lines end with `\n`, `\r\n` or `\r`.
fn natural_lines(text: &str) -> impl Iterator<Item = &str> {
    text.split('\n')
        .flat_map(|line| line.strip_suffix('\r').unwrap_or(line).split('\r'))
}

/// Splits a line into name and value, and returns whether a colon ends the name. The name ends at the first `=`, `:` or
/// white space without a backslash; the value begins after one `=` or `:` and the white space around it.
fn split(line: &str) -> (&str, &str, bool) {
    let mut escaped = false;
    let ends_name = |(_, character): &(usize, char)| {
        let ends = !escaped && (is_blank(*character) || matches!(character, '=' | ':'));
        escaped = *character == '\\' && !escaped;
        ends
    };
    let end = line
        .char_indices()
        .find(ends_name)
        .map_or(line.len(), |(index, _)| index);
    let rest = line[end..].trim_start_matches(is_blank);
    let value = rest.strip_prefix(['=', ':']).unwrap_or(rest);
    let value = value.trim_start_matches(is_blank);
    (&line[..end], value, rest.starts_with(':'))
}

fn is_blank(character: char) -> bool {
    matches!(character, ' ' | '\t' | '\u{c}')
}

fn unescape(text: &str) -> Result<Secret, &'static str> {
    // No escape is shorter than its character, so this does not grow.
    let mut plain = String::with_capacity(text.len());
    let fault = unescape_into(text, &mut plain).err();
    let plain = Secret::new(plain);
    fault.map_or(Ok(plain), Err)
}

fn unescape_into(text: &str, plain: &mut String) -> Result<(), &'static str> {
    let mut characters = text.chars().peekable();
    while let Some(character) = characters.next() {
        if character != '\\' {
            plain.push(character);
            continue;
        }
        match characters.next() {
            Some('t') => plain.push('\t'),
            Some('n') => plain.push('\n'),
            Some('r') => plain.push('\r'),
            Some('f') => plain.push('\u{c}'),
            Some('u') => plain.push(unicode(&mut characters)?),
            Some(other) => plain.push(other),
            None => {}
        }
    }
    Ok(())
}

/// Reads the four digits after `\u`, and a second escape if the first one is half of a surrogate pair.
fn unicode(characters: &mut Peekable<Chars<'_>>) -> Result<char, &'static str> {
    const MALFORMED: &str = "\\u must be followed by the four hexadecimal digits of a character; a backslash itself is \
        written \\\\";
    let unit = |characters: &mut Peekable<Chars<'_>>| -> Result<u16, &'static str> {
        let mut value = 0;
        for _ in 0..4 {
            let digit = characters
                .next()
                .and_then(|digit| digit.to_digit(16))
                .ok_or(MALFORMED)?;
            value = value << 4 | digit as u16;
        }
        Ok(value)
    };
    let first = unit(characters)?;
    if !(0xd800..0xdc00).contains(&first) {
        return char::from_u32(first.into()).ok_or(MALFORMED);
    }
    if characters.next() != Some('\\') || characters.next() != Some('u') {
        return Err(MALFORMED);
    }
    let pair = [first, unit(characters)?];
    char::decode_utf16(pair)
        .next()
        .and_then(Result::ok)
        .ok_or(MALFORMED)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pairs(text: &str) -> Vec<(String, String)> {
        let properties = parse(text).into_iter();
        properties
            .map(|line| line.property.unwrap())
            .map(|(name, value)| (name, value.reveal().to_owned()))
            .collect()
    }

    fn pair(name: &str, value: &str) -> Vec<(String, String)> {
        vec![(name.to_owned(), value.to_owned())]
    }

    #[test]
    fn name_and_value_are_separated_by_equals_colon_or_space() {
        for text in [
            "a=b",
            "a:b",
            "a b",
            "a = b",
            "a : b",
            "  a\t=\tb",
            "a\u{c}b",
            "a   b",
        ] {
            assert_eq!(pairs(text), pair("a", "b"), "{text:?}");
        }
        assert_eq!(pairs("a=b=c:d e"), pair("a", "b=c:d e"));
        assert_eq!(pairs("a = = b"), pair("a", "= b"));
        assert_eq!(pairs("a=b  "), pair("a", "b  "));
        for text in ["a", "a=", "a:", "a "] {
            assert_eq!(pairs(text), pair("a", ""), "{text:?}");
        }
        assert_eq!(pairs("=b"), pair("", "b"));
    }

    #[test]
    fn comments_and_blank_lines_are_skipped_and_lines_counted() {
        let text = "# a=1\n  ! b=2\r\n\r\n \t\nc=3 # no comment\rd=4\\\n  5\ne=6";
        let expected = [(5, "c", "3 # no comment"), (6, "d", "45"), (8, "e", "6")]
            .map(|(line, name, value)| (line, name.to_owned(), value.to_owned()));
        let parsed = parse(text).into_iter().map(|line| {
            let (name, value) = line.property.unwrap();
            (line.first, name, value.reveal().to_owned())
        });
        assert_eq!(parsed.collect::<Vec<_>>(), expected);
    }

    #[test]
    fn a_line_continues_after_an_odd_number_of_backslashes() {
        assert_eq!(pairs("a=b\\\n   c\\\r\n d"), pair("a", "bcd"));
        assert_eq!(
            pairs("a=b\\\\\nc=d"),
            [pair("a", "b\\"), pair("c", "d")].concat()
        );
        assert_eq!(pairs("a=b\\\n# c"), pair("a", "b# c"));
        assert_eq!(
            pairs("a=b\\\n\nc=d"),
            [pair("a", "b"), pair("c", "d")].concat()
        );
        assert_eq!(pairs("a=b\\"), pair("a", "b"));
    }

    #[test]
    fn the_last_line_of_a_value_and_a_blank_behind_its_backslash_are_known() {
        let lines = parse("a=1\\\n 2\\\n3\nb:4\\ \nc=5\\\\ \n");
        let told = lines.iter().map(|line| {
            (
                line.first,
                line.last,
                line.ends_in_escaped_blank,
                line.has_colon,
            )
        });
        let expected = [
            (1, 3, false, false),
            (4, 4, true, true),
            (5, 5, false, false),
        ];
        assert_eq!(told.collect::<Vec<_>>(), expected);
    }

    #[test]
    fn escapes_stand_for_their_character() {
        assert_eq!(pairs("a\\ b\\=c\\:d=e"), pair("a b=c:d", "e"));
        assert_eq!(
            pairs("a=\\t\\n\\r\\f\\\\\\q\\ x"),
            pair("a", "\t\n\r\u{c}\\q x")
        );
        assert_eq!(pairs("a=\\u00e9\\u20AC\\ud83d\\ude00é"), pair("a", "é€😀é"));
    }

    #[test]
    fn a_malformed_unicode_escape_is_refused_by_line() {
        for text in [
            "\\u12",
            "\\u12g4",
            "\\ud83d",
            "\\ud83dx",
            "\\ud83d\\u0041",
            "\\ude00",
            "\\u",
        ] {
            let parsed = parse(&format!("b=1\na={text}\nc=2"));
            assert!(parsed[0].property.is_ok() && parsed[2].property.is_ok());
            let fault = parsed[1].property.as_ref().expect_err(text);
            assert!(fault.starts_with("\\u must be"), "{fault}");
        }
    }

    #[test]
    fn a_byte_order_mark_is_no_part_of_the_first_name() {
        assert_eq!(pairs("\u{feff}a=b"), pair("a", "b"));
    }

    proptest::proptest! {
        #![proptest_config(proptest::prelude::ProptestConfig { failure_persistence: None, ..Default::default() })]
        #[test]
        fn any_text_is_read_or_refused_without_a_panic(text in "(\\PC|[\\\\\n\r=: \tu0-9a-f#!]){0,60}") {
            let _ = parse(&text);
        }

        #[test]
        fn what_is_escaped_comes_back(name in "[a-z]{1,9}", value in "[ -~éx€]{0,40}") {
            let escaped: String = value.chars().flat_map(|c| {
                let escape = matches!(c, '\\' | ' ' | '=' | ':' | '#' | '!');
                escape.then_some('\\').into_iter().chain([c])
            }).collect();
            proptest::prop_assert_eq!(pairs(&format!("{name}={escaped}\n")), pair(&name, &value));
        }
    }
}
