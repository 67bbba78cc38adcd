//! The little of JSON that the mechanisms need.

use std::iter::Peekable;
use std::str::Chars;

/// A text with more nesting is no object that a broker sends.
const MOST_DEPTH: usize = 16;

/// A value, as far as it is of use here.
#[derive(Debug, PartialEq)]
pub(crate) enum Value {
    Text(String),
    Number(f64),
    /// An object, an array, `true`, `false` or `null`.
    Other,
}

/// Returns the members of an object; `None` if the text is no JSON object.
pub(crate) fn members(text: &str) -> Option<Vec<(String, Value)>> {
    let mut reader = Reader {
        chars: text.chars().peekable(),
    };
    let mut members = Vec::new();
    reader.object(0, &mut |name, value| members.push((name, value)))?;
    reader.skip_spaces();
    reader.chars.next().is_none().then_some(members)
}

/// Returns the members of an object whose values are strings; `None` if the text is no JSON object.
pub(crate) fn strings(text: &str) -> Option<Vec<(String, String)>> {
    let strings = members(text)?
        .into_iter()
        .filter_map(|(name, value)| match value {
            Value::Text(text) => Some((name, text)),
            Value::Number(_) | Value::Other => None,
        });
    Some(strings.collect())
}

/// Returns the text as a JSON string, with its quotes.
pub(crate) fn quoted(text: &str) -> String {
    let mut quoted = String::with_capacity(2 + 6 * text.len());
    quoted.push('"');
    for character in text.chars() {
        match character {
            '"' | '\\' => quoted.extend(['\\', character]),
            '\0'..='\u{1f}' => quoted += &format!("\\u{:04x}", u32::from(character)),
            _ => quoted.push(character),
        }
    }
    quoted.push('"');
    quoted
}

struct Reader<'a> {
    chars: Peekable<Chars<'a>>,
}

impl Reader<'_> {
    /// Reads an object. `member` gets each name with its value.
    fn object(&mut self, depth: usize, member: &mut dyn FnMut(String, Value)) -> Option<()> {
        self.take('{')?;
        if self.take('}').is_some() {
            return Some(());
        }
        loop {
            self.skip_spaces();
            let name = self.string()?;
            self.take(':')?;
            let value = self.value(depth + 1)?;
            member(name, value);
            if self.take(',').is_none() {
                return self.take('}');
            }
        }
    }

    fn array(&mut self, depth: usize) -> Option<()> {
        self.take('[')?;
        if self.take(']').is_some() {
            return Some(());
        }
        loop {
            self.value(depth + 1)?;
            if self.take(',').is_none() {
                return self.take(']');
            }
        }
    }

    fn value(&mut self, depth: usize) -> Option<Value> {
        if depth > MOST_DEPTH {
            return None;
        }
        self.skip_spaces();
        match self.chars.peek()? {
            '"' => return self.string().map(Value::Text),
            '{' => self.object(depth, &mut |_, _| {})?,
            '[' => self.array(depth)?,
            _ => return self.scalar(),
        }
        Some(Value::Other)
    }

    /// A number, `true`, `false` or `null`.
    fn scalar(&mut self) -> Option<Value> {
        let is_part = |next: &char| next.is_ascii_alphanumeric() || "+-.".contains(*next);
        let mut text = String::new();
        while let Some(part) = self.chars.next_if(is_part) {
            text.push(part);
        }
        let is_number = text.starts_with(|first: char| first == '-' || first.is_ascii_digit());
        match text.parse() {
            Ok(number) if is_number => Some(Value::Number(number)),
            _ => (!text.is_empty()).then_some(Value::Other),
        }
    }

    fn string(&mut self) -> Option<String> {
        self.chars.next_if_eq(&'"')?;
        let mut text = String::new();
        loop {
            match self.chars.next()? {
                '"' => return Some(text),
                '\\' => text.push(self.escape()?),
                '\0'..='\u{1f}' => return None,
                other => text.push(other),
            }
        }
    }

    fn escape(&mut self) -> Option<char> {
        Some(match self.chars.next()? {
            'b' => '\u{8}',
            'f' => '\u{c}',
            'n' => '\n',
            'r' => '\r',
            't' => '\t',
            'u' => {
                let first = self.unit()?;
                // Half of a pair stands for nothing.
                let is_pair = (0xd800..0xdc00).contains(&first) && self.chars.peek() == Some(&'\\');
                if !is_pair {
                    return Some(char::from_u32(first).unwrap_or(char::REPLACEMENT_CHARACTER));
                }
                self.chars.next();
                self.chars.next_if_eq(&'u')?;
                let second = self.unit()?.wrapping_sub(0xdc00);
                let code = 0x10000 + ((first - 0xd800) << 10) + (second & 0x3ff);
                let character = char::from_u32(code).filter(|_| second < 0x400);
                character.unwrap_or(char::REPLACEMENT_CHARACTER)
            }
            other @ ('"' | '\\' | '/') => other,
            _ => return None,
        })
    }

    /// Four hexadecimal digits.
    fn unit(&mut self) -> Option<u32> {
        (0..4).try_fold(0, |unit, _| {
            Some(unit * 16 + self.chars.next()?.to_digit(16)?)
        })
    }

    fn take(&mut self, expected: char) -> Option<()> {
        self.skip_spaces();
        self.chars.next_if_eq(&expected).map(|_| ())
    }

    fn skip_spaces(&mut self) {
        while self
            .chars
            .next_if(|next| " \t\r\n".contains(*next))
            .is_some()
        {}
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn strings_of_an_object_are_read_and_all_else_is_skipped() {
        let text = r#" {"a":"x", "n" : -1.5e3,"l":[1,"z",{"a":[]}],"o":{"a":"no"},"t":true,
            "e":"\"\\\/\b\f\n\r\t\u00e9\ud83d\ude00"} "#;
        let expected = [("a", "x"), ("e", "\"\\/\u{8}\u{c}\n\r\té😀")];
        assert_eq!(
            strings(text).unwrap(),
            expected.map(|(name, value)| (name.to_owned(), value.to_owned()))
        );
        assert_eq!(strings("{}").unwrap(), []);
    }

    #[test]
    fn what_is_no_object_is_refused() {
        let deep = format!("{{\"a\":{}1{}}}", "[".repeat(100_000), "]".repeat(100_000));
        for text in [
            "",
            "x",
            "[]",
            "\"a\"",
            "{",
            "{}x",
            "{\"a\"}",
            "{\"a\":}",
            "{\"a\":\"b\",}",
            "{\"a\":\"b}",
            "{\"a\":\"\\x\"}",
            "{\"a\":\"\\u12\"}",
            "{a:1}",
            "{\"a\":\"\n\"}",
            &deep,
        ] {
            assert_eq!(strings(text), None, "{text:.40}");
        }
        let half = strings(r#"{"a":"\ud83d","b":"\ud83d\u0041"}"#).unwrap();
        assert!(half.iter().all(|(_, value)| value.contains('\u{fffd}')));
    }

    proptest! {
        #[test]
        fn a_quoted_text_comes_back(name in any::<String>(), value in any::<String>()) {
            let text = format!("{{{}:{}}}", quoted(&name), quoted(&value));
            let parsed: serde_json::Value = serde_json::from_str(&text).unwrap();
            prop_assert_eq!(parsed[&name].as_str().unwrap(), &value);
            prop_assert_eq!(strings(&text).unwrap(), [(name, value)]);
        }

        #[test]
        fn no_text_panics(text in any::<String>(), near in r#"[{}\[\]",:\\ua0-9 ]{0,40}"#) {
            let _ = strings(&text);
            if let Some(members) = strings(&near) {
                let parsed: serde_json::Value = serde_json::from_str(&near).unwrap_or_default();
                for (name, value) in members.iter().filter(|_| parsed.is_object()) {
                    let last = members.iter().rev().find(|(other, _)| other == name);
                    if let Some(theirs) = parsed[name].as_str() && last == Some(&(name.clone(), value.clone())) {
                        prop_assert_eq!(theirs, value);
                    }
                }
            }
        }
    }
}
