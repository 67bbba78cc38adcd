//! The syntax of Java's `.properties` files.

use std::fs::File;
use std::io::Read;
use std::iter::Peekable;
use std::path::Path;
use std::str::Chars;

use crate::error::Error;

use super::config_error;

/// One property and the line it begins on, counted from 1.
#[derive(Debug, PartialEq)]
pub(super) struct Property {
    pub(super) line: usize,
    pub(super) name: String,
    pub(super) value: String,
}

/// The file's text. UTF-8, where Java reads ISO-8859-1 from a stream: an escape as `\u00e9` is the same in both.
pub(super) fn read_file(path: &Path) -> Result<String, Error> {
    const LONGEST: u64 = 1 << 20;
    let unreadable = |error: std::io::Error| {
        config_error(format!("{}: cannot be read: {error}", path.display())).with_source(error)
    };
    let mut text = Vec::new();
    let file = File::open(path).map_err(unreadable)?;
    file.take(LONGEST + 1)
        .read_to_end(&mut text)
        .map_err(unreadable)?;
    if text.len() as u64 > LONGEST {
        return Err(config_error(format!(
            "{}: longer than {LONGEST} bytes",
            path.display()
        )));
    }
    String::from_utf8(text).map_err(|_| config_error(format!("{}: not UTF-8", path.display())))
}

/// The properties in their order; names may come twice.
pub(super) fn parse(text: &str) -> Result<Vec<Property>, Error> {
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    let mut properties = Vec::new();
    for (line, logical) in logical_lines(text) {
        let (name, value) = split(&logical);
        let unescaped = |part: &str| {
            unescape(part).map_err(|fault| config_error(format!("line {line}: {fault}")))
        };
        properties.push(Property {
            line,
            name: unescaped(name)?,
            value: unescaped(value)?,
        });
    }
    Ok(properties)
}

/// Lines as the syntax means them: without blank lines and comments, with those joined that end in an odd number of
/// backslashes, and the white space at the beginning of each natural line gone.
fn logical_lines(text: &str) -> Vec<(usize, String)> {
    let mut logical: Vec<(usize, String)> = Vec::new();
    let mut goes_on = false;
    for (index, natural) in natural_lines(text).enumerate() {
        let content = natural.trim_start_matches(is_blank);
        if !goes_on && (content.is_empty() || content.starts_with(['#', '!'])) {
            continue;
        }
        let backslashes = content.len() - content.trim_end_matches('\\').len();
        let continued = backslashes % 2 == 1;
        let content = if continued {
            &content[..content.len() - 1]
        } else {
            content
        };
        match logical.last_mut() {
            Some((_, line)) if goes_on => line.push_str(content),
            _ => logical.push((index + 1, content.to_owned())),
        }
        goes_on = continued;
    }
    logical
}

/// Lines end with `\n`, `\r\n` or `\r`.
fn natural_lines(text: &str) -> impl Iterator<Item = &str> {
    text.split('\n')
        .flat_map(|line| line.strip_suffix('\r').unwrap_or(line).split('\r'))
}

/// The name ends at the first `=`, `:` or white space without a backslash; the value begins behind one `=` or `:` and
/// the white space around it.
fn split(line: &str) -> (&str, &str) {
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
    (&line[..end], value.trim_start_matches(is_blank))
}

fn is_blank(character: char) -> bool {
    matches!(character, ' ' | '\t' | '\u{c}')
}

fn unescape(text: &str) -> Result<String, &'static str> {
    let mut plain = String::with_capacity(text.len());
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
    Ok(plain)
}

/// The four digits behind `\u`, and those of a second escape where the first is half of a surrogate pair.
fn unicode(characters: &mut Peekable<Chars<'_>>) -> Result<char, &'static str> {
    const MALFORMED: &str = "\\u must be followed by the four hexadecimal digits of a character";
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
        let properties = parse(text).unwrap();
        properties
            .into_iter()
            .map(|property| (property.name, property.value))
            .collect()
    }

    fn pair(name: &str, value: &str) -> Vec<(String, String)> {
        vec![(name.to_owned(), value.to_owned())]
    }

    #[test]
    fn name_and_value_are_parted_by_equals_colon_or_space() {
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
        let expected = [(5, "c", "3 # no comment"), (6, "d", "45"), (8, "e", "6")].map(
            |(line, name, value)| Property {
                line,
                name: name.to_owned(),
                value: value.to_owned(),
            },
        );
        assert_eq!(parse(text).unwrap(), expected);
    }

    #[test]
    fn a_line_goes_on_behind_an_odd_number_of_backslashes() {
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
            let error = parse(&format!("b=1\na={text}"))
                .expect_err(text)
                .to_string();
            assert!(error.starts_with("line 2: \\u must be"), "{error}");
        }
    }

    #[test]
    fn a_byte_order_mark_is_no_part_of_the_first_name() {
        assert_eq!(pairs("\u{feff}a=b"), pair("a", "b"));
    }

    #[test]
    fn files_that_are_missing_too_long_or_not_utf8_are_refused_by_name() {
        let directory =
            std::env::temp_dir().join(format!("kafka-producer-properties-{}", std::process::id()));
        std::fs::create_dir_all(&directory).unwrap();
        let path = directory.join("producer.properties");
        assert!(
            read_file(&path)
                .unwrap_err()
                .to_string()
                .contains("cannot be read")
        );
        for (content, fault) in [
            (vec![b'#'; (1 << 20) + 1], "longer than"),
            (b"a=\xe9".to_vec(), "not UTF-8"),
        ] {
            std::fs::write(&path, content).unwrap();
            let error = read_file(&path).unwrap_err().to_string();
            assert!(
                error.contains(fault) && error.contains("producer.properties"),
                "{error}"
            );
        }
        std::fs::write(&path, "a=b").unwrap();
        assert_eq!(read_file(&path).unwrap(), "a=b");
        std::fs::remove_dir_all(&directory).unwrap();
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
