//! Holds the size of what a reader meets at once: no file over 800 lines, no function over 60.
//!
//! The lines of a function count from `fn` to its closing brace, comments and empty lines included.

use std::fs;
use std::path::{Path, PathBuf};

const FILE_LINES: usize = 800;
const FUNCTION_LINES: usize = 60;

#[test]
fn no_file_is_longer_than_800_lines() {
    let files = sources().into_iter().map(|path| {
        let lines = read(&path).lines().count();
        (path, lines)
    });
    let long = files.filter(|(_, lines)| *lines > FILE_LINES);
    let long: Vec<_> = long
        .map(|(path, lines)| format!("{}: {lines} lines", path.display()))
        .collect();
    assert!(long.is_empty(), "{long:#?}");
}

#[test]
fn no_function_is_longer_than_60_lines() {
    let long: Vec<_> = sources()
        .iter()
        .flat_map(|path| long_functions(path))
        .collect();
    assert!(long.is_empty(), "{} functions: {long:#?}", long.len());
}

fn long_functions(path: &Path) -> Vec<String> {
    let functions = functions(&tokens(&read(path)));
    let long = functions.into_iter().filter(|f| f.lines() > FUNCTION_LINES);
    let describe = |f: Function| {
        format!(
            "{}:{}: {}, {} lines",
            path.display(),
            f.first,
            f.name,
            f.lines()
        )
    };
    long.map(describe).collect()
}

/// Every Rust file of the repository.
fn sources() -> Vec<PathBuf> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut files = Vec::new();
    for folder in ["src", "tests", "examples", "benches"] {
        let before = files.len();
        collect(&root.join(folder), &mut files);
        assert!(files.len() > before, "no Rust file in {folder}");
    }
    files
}

fn collect(folder: &Path, files: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(folder).expect("read a folder") {
        let path = entry.expect("an entry").path();
        if path.is_dir() {
            if path.file_name().is_none_or(|name| name != "target") {
                collect(&path, files);
            }
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            files.push(path);
        }
    }
}

fn read(path: &Path) -> String {
    fs::read_to_string(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

struct Function {
    name: String,
    first: usize,
    last: usize,
}

impl Function {
    fn lines(&self) -> usize {
        self.last - self.first + 1
    }
}

/// Finds every function with a body, those inside of others, of closures and of macros too.
fn functions(tokens: &[Token]) -> Vec<Function> {
    let starts = tokens.windows(2).enumerate().filter_map(|(at, pair)| {
        // `fn(u8)` is a type.
        let name = pair[1].word()?;
        (pair[0].word() == Some("fn")).then_some((at, name))
    });
    let functions = starts.filter_map(|(at, name)| {
        let last = end_of_function(&tokens[at..])?;
        Some(Function {
            name: name.to_owned(),
            first: tokens[at].line,
            last,
        })
    });
    functions.collect()
}

/// The line of the brace that closes the function with which `tokens` begin. `None` if it has no body.
fn end_of_function(tokens: &[Token]) -> Option<usize> {
    let mut depth = 0;
    let mut is_in_body = false;
    for token in tokens {
        match &token.kind {
            Kind::Mark('(' | '[') => depth += 1,
            Kind::Mark(')' | ']') => depth -= 1,
            Kind::Mark('{') => {
                is_in_body |= depth == 0;
                depth += 1;
            }
            Kind::Mark('}') => {
                depth -= 1;
                if is_in_body && depth == 0 {
                    return Some(token.line);
                }
            }
            Kind::Mark(';') if depth == 0 => return None,
            _ => {}
        }
        // The end of a macro's argument or pattern, such as `$vis fn $name`.
        if depth < 0 {
            return None;
        }
    }
    panic!("the function of line {} does not end", tokens[0].line)
}

struct Token {
    line: usize,
    kind: Kind,
}

enum Kind {
    Word(String),
    Mark(char),
}

impl Token {
    fn word(&self) -> Option<&str> {
        match &self.kind {
            Kind::Word(word) => Some(word),
            Kind::Mark(_) => None,
        }
    }
}

/// The words and marks of Rust code, without comments, texts and characters.
fn tokens(code: &str) -> Vec<Token> {
    let mut scanner = Scanner {
        rest: code,
        line: 1,
    };
    let mut tokens = Vec::new();
    while let Some(first) = scanner.rest.chars().next() {
        let line = scanner.line;
        if scanner.skip_comment() || scanner.skip_text() || scanner.skip_character() {
            continue;
        }
        let kind = if is_word(first) {
            Kind::Word(scanner.take_while(is_word).to_owned())
        } else {
            scanner.skip(first.len_utf8());
            Kind::Mark(first)
        };
        if !matches!(kind, Kind::Mark(mark) if mark.is_whitespace()) {
            tokens.push(Token { line, kind });
        }
    }
    tokens
}

fn is_word(character: char) -> bool {
    character.is_alphanumeric() || character == '_'
}

struct Scanner<'a> {
    rest: &'a str,
    line: usize,
}

impl<'a> Scanner<'a> {
    fn skip(&mut self, bytes: usize) -> &'a str {
        let (skipped, rest) = self.rest.split_at(bytes);
        self.line += skipped.matches('\n').count();
        self.rest = rest;
        skipped
    }

    fn take_while(&mut self, belongs: impl Fn(char) -> bool) -> &'a str {
        let end = self.rest.find(|character| !belongs(character));
        self.skip(end.unwrap_or(self.rest.len()))
    }

    fn skip_comment(&mut self) -> bool {
        if self.rest.starts_with("//") {
            self.take_while(|character| character != '\n');
            return true;
        }
        if !self.rest.starts_with("/*") {
            return false;
        }
        let mut depth = 0;
        loop {
            if self.rest.starts_with("/*") {
                depth += 1;
                self.skip(2);
            } else if self.rest.starts_with("*/") {
                depth -= 1;
                self.skip(2);
            } else {
                let next = self.rest.chars().next().expect("the end of a comment");
                self.skip(next.len_utf8());
            }
            if depth == 0 {
                return true;
            }
        }
    }

    /// Skips `"..."`, `r#"..."#` and the same with `b` or `c` before it.
    fn skip_text(&mut self) -> bool {
        let prefix = self.rest.trim_start_matches(['b', 'c']);
        let prefix_bytes = self.rest.len() - prefix.len();
        let raw = prefix.strip_prefix('r').map(|raw| {
            let text = raw.trim_start_matches('#');
            (raw.len() - text.len(), text)
        });
        if let Some((hashes, text)) = raw.filter(|(_, text)| text.starts_with('"')) {
            let close = format!("\"{}", "#".repeat(hashes));
            let end = text[1..].find(&close).expect("the end of a raw text");
            self.skip(prefix_bytes + 1 + hashes + 1 + end + close.len());
            return true;
        }
        if prefix_bytes > 1 || !prefix.starts_with('"') {
            return false;
        }
        self.skip(prefix_bytes + 1);
        self.skip_to_unescaped('"');
        true
    }

    /// Skips `'x'`, `b'x'` and `'\u{7d}'`, but not the lifetime `'x`.
    fn skip_character(&mut self) -> bool {
        let quoted = self.rest.strip_prefix('b').unwrap_or(self.rest);
        let Some(text) = quoted.strip_prefix('\'') else {
            return false;
        };
        let mut characters = text.chars();
        let first = characters.next();
        if first != Some('\\') && characters.next() != Some('\'') {
            // A lifetime or a label: its name is a word.
            return false;
        }
        self.skip(self.rest.len() - text.len());
        self.skip_to_unescaped('\'');
        true
    }

    fn skip_to_unescaped(&mut self, end: char) {
        loop {
            let next = self.rest.chars().next().expect("the end of a text");
            self.skip(next.len_utf8());
            if next == end {
                return;
            }
            if next == '\\' {
                let escaped = self.rest.chars().next().expect("an escaped character");
                self.skip(escaped.len_utf8());
            }
        }
    }
}

#[test]
fn functions_are_found_beside_any_texts_and_comments() {
    let code = r##"
fn one<'a, const N: usize>(text: &'a [u8; N]) -> char where [u8; { 1 }]: Sized {
    let _ = ("fn not() {", r#"fn "nor() {{"#, b'{', b"}\"", '\'', '\u{7b}', 'x: loop { break 'x });
    // fn commented() {
    /* fn /* nested { */ { */
    fn inner() {}
    let of_type: fn(u8) -> u8 = |byte| byte;
    '}'
}
trait Without {
    fn body(&self) -> [u8; 2];
    fn default(&self) { { } }
}
macro_rules! makes {
    ($vis:vis fn $name:ident) => { $vis fn $name() { } };
    () => {
        fn in_macro() {
        }
    };
}
"##;
    let found = functions(&tokens(code));
    let found: Vec<_> = found
        .iter()
        .map(|f| (f.name.as_str(), f.first, f.lines()))
        .collect();
    let expected = [
        ("one", 2, 8),
        ("inner", 6, 1),
        ("default", 12, 1),
        ("in_macro", 17, 2),
    ];
    assert_eq!(found, expected);
}
