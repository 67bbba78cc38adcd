//! The tokens of a JAAS text: those of `java.io.StreamTokenizer` as Kafka's `JaasConfig` sets it up.

use std::str::Chars;

use zeroize::Zeroizing;

use crate::secret::Secret;

/// A token. Its text may be a secret.
#[derive(Debug)]
pub(super) enum Token {
    End,
    /// A text without quotes.
    Word(Secret),
    /// A text in quotes. `closed` is false if a line break or the end of the whole text ended it.
    Quoted {
        text: Secret,
        closed: bool,
    },
    /// A number. JAAS has no use for one, so its value is not read.
    Number,
    /// A character that belongs to no other token.
    Other(char),
}

impl Token {
    pub(super) fn is(&self, character: char) -> bool {
        matches!(self, Self::Other(other) if *other == character)
    }

    pub(super) fn is_end(&self) -> bool {
        matches!(self, Self::End)
    }

    /// Returns the text of a word or a quoted text.
    pub(super) fn text(&self) -> Option<&Secret> {
        match self {
            Self::Word(text) | Self::Quoted { text, .. } => Some(text),
            Self::End | Self::Number | Self::Other(_) => None,
        }
    }
}

/// Reads tokens. The steps are those of Java's tokenizer, with its exceptions: a lone `/` takes the character behind it
/// into its comment even if that is a line break, and a string may end without a quote.
pub(super) struct Tokens<'a> {
    chars: Chars<'a>,
    /// The character that the latest token read and did not use.
    ahead: Option<char>,
}

impl<'a> Tokens<'a> {
    pub(super) fn new(text: &'a str) -> Self {
        Self {
            chars: text.chars(),
            ahead: None,
        }
    }

    pub(super) fn next(&mut self) -> Token {
        loop {
            let Some(first) = self.first_character() else {
                return Token::End;
            };
            return match first {
                '/' => {
                    self.skip_comment();
                    continue;
                }
                '0'..='9' | '.' | '-' => self.number(first),
                '"' | '\'' => self.quoted(first),
                first if is_word(first) => self.word(first),
                first => Token::Other(first),
            };
        }
    }

    /// Returns the characters that follow the latest token.
    pub(super) fn following(&self) -> impl Iterator<Item = char> + use<'a> {
        self.ahead.into_iter().chain(self.chars.clone())
    }

    /// Returns the next character that is no white space.
    fn first_character(&mut self) -> Option<char> {
        let mut next = self.ahead.take().or_else(|| self.chars.next());
        while next.is_some_and(is_space) {
            next = self.chars.next();
        }
        next
    }

    /// A dash without a digit or a dot behind it is no number.
    fn number(&mut self, first: char) -> Token {
        let mut next = Some(first);
        if first == '-' {
            next = self.chars.next();
            if !matches!(next, Some('0'..='9' | '.')) {
                self.ahead = next;
                return Token::Other('-');
            }
        }
        let mut dots = 0;
        loop {
            match next {
                Some('.') if dots == 0 => dots = 1,
                Some('0'..='9') => {}
                _ => break,
            }
            next = self.chars.next();
        }
        self.ahead = next;
        Token::Number
    }

    fn word(&mut self, first: char) -> Token {
        let mut text = Text::default();
        let mut next = Some(first);
        while let Some(character) = next.filter(|next| is_word(*next) || is_digit(*next)) {
            text.push(character);
            next = self.chars.next();
        }
        self.ahead = next;
        Token::Word(text.into_secret())
    }

    fn quoted(&mut self, quote: char) -> Token {
        let mut text = Text::default();
        let mut next = self.chars.next();
        while let Some(character) = next.filter(|next| !matches!(next, '\n' | '\r')) {
            if character == quote {
                return Token::Quoted {
                    text: text.into_secret(),
                    closed: true,
                };
            }
            if character == '\\' {
                next = self.escape(&mut text);
            } else {
                text.push(character);
                next = self.chars.next();
            }
        }
        self.ahead = next;
        Token::Quoted {
            text: text.into_secret(),
            closed: false,
        }
    }

    /// Adds the character that follows a backslash stands for. Returns the character behind it.
    fn escape(&mut self, text: &mut Text) -> Option<char> {
        let character = match self.chars.next() {
            Some(first @ '0'..='7') => return self.octal(first, text),
            Some('a') => '\u{7}',
            Some('b') => '\u{8}',
            Some('f') => '\u{c}',
            Some('n') => '\n',
            Some('r') => '\r',
            Some('t') => '\t',
            Some('v') => '\u{b}',
            Some(other) => other,
            None => return None,
        };
        text.push(character);
        self.chars.next()
    }

    /// Up to three digits, the largest is `\377`.
    fn octal(&mut self, first: char, text: &mut Text) -> Option<char> {
        let most = if first <= '3' { 3 } else { 2 };
        let mut value = 0;
        let mut next = Some(first);
        for _ in 0..most {
            let Some(digit) = next.and_then(|next| next.to_digit(8)) else {
                break;
            };
            value = value * 8 + digit;
            next = self.chars.next();
        }
        text.push(char::from_u32(value).unwrap_or_default());
        next
    }

    /// Skips what follows a slash: to the end of the line, or to `*/`.
    fn skip_comment(&mut self) {
        if self.chars.next() == Some('*') {
            self.skip_block();
        } else {
            self.ahead = self.chars.find(|next| matches!(next, '\n' | '\r'));
        }
    }

    fn skip_block(&mut self) {
        let mut before = None;
        loop {
            let mut next = self.chars.next();
            if next == Some('/') && before == Some('*') {
                return;
            }
            // As in Java, the character behind a line break cannot end the comment.
            if next == Some('\r') {
                next = self.chars.next();
                if next == Some('\n') {
                    next = self.chars.next();
                }
            } else if next == Some('\n') {
                next = self.chars.next();
            }
            if next.is_none() {
                return;
            }
            before = next;
        }
    }
}

/// The text of a token while it is read. It leaves no copy behind when it grows.
struct Text(Zeroizing<String>);

impl Default for Text {
    fn default() -> Self {
        Self(Zeroizing::new(String::with_capacity(64)))
    }
}

impl Text {
    fn push(&mut self, character: char) {
        if self.0.capacity() - self.0.len() < character.len_utf8() {
            let mut larger = Zeroizing::new(String::with_capacity(2 * self.0.capacity()));
            larger.push_str(&self.0);
            self.0 = larger;
        }
        self.0.push(character);
    }

    fn into_secret(mut self) -> Secret {
        Secret::new(std::mem::take(&mut *self.0))
    }
}

pub(super) fn is_space(character: char) -> bool {
    character <= ' '
}

/// Whether an unquoted text may begin with `character`. A dash is a part of one only behind its first character.
fn is_word(character: char) -> bool {
    character.is_ascii_alphabetic() || character >= '\u{a0}' || matches!(character, '_' | '$' | '-')
}

fn is_digit(character: char) -> bool {
    matches!(character, '0'..='9' | '.')
}
