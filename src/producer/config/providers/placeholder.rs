//! Finds the placeholders in a value: `${provider:key}` and `${provider:path:key}`.

/// A piece of a value.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Piece<'a> {
    Text(&'a str),
    Placeholder(Placeholder<'a>),
}

/// A reference to a value that a config provider has.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Placeholder<'a> {
    /// As it is written, from `$` to `}`.
    pub(crate) written: &'a str,
    pub(crate) provider: &'a str,
    /// Empty if there is none.
    pub(crate) path: &'a str,
    pub(crate) key: &'a str,
}

/// Returns whether `text` has a placeholder.
pub(crate) fn has_placeholder(text: &str) -> bool {
    pieces(text).any(|piece| matches!(piece, Piece::Placeholder(_)))
}

/// The pieces of `text` in their order. Together they are the whole text.
///
/// Java's rule: a placeholder goes from `${` to the next `}`, and has a `:` between them. The provider ends at the first
/// `:`, and the path at the second. A key may have further ones; a provider and a path have none. Nothing escapes a
/// placeholder.
pub(crate) fn pieces(text: &str) -> impl Iterator<Item = Piece<'_>> {
    let mut rest = text;
    // A placeholder that was found behind a text, which comes first.
    let mut found = None;
    std::iter::from_fn(move || {
        if let Some(placeholder) = found.take() {
            return Some(Piece::Placeholder(placeholder));
        }
        if rest.is_empty() {
            return None;
        }
        let (before, after) = match next(rest) {
            Some((start, placeholder)) => {
                let (before, from) = rest.split_at(start);
                found = Some(placeholder);
                (before, &from[placeholder.written.len()..])
            }
            None => (rest, ""),
        };
        rest = after;
        match found {
            Some(placeholder) if before.is_empty() => {
                found = None;
                Some(Piece::Placeholder(placeholder))
            }
            _ => Some(Piece::Text(before)),
        }
    })
}

/// The first placeholder, and where it starts.
fn next(text: &str) -> Option<(usize, Placeholder<'_>)> {
    const OPEN: &str = "${";
    let mut from = 0;
    loop {
        let start = from + text[from..].find(OPEN)?;
        let inside_at = start + OPEN.len();
        let end = inside_at + text[inside_at..].find('}')?;
        let inside = &text[inside_at..end];
        if let Some((provider, rest)) = inside.split_once(':') {
            let (path, key) = rest.split_once(':').unwrap_or(("", rest));
            let placeholder = Placeholder {
                written: &text[start..=end],
                provider,
                path,
                key,
            };
            return Some((start, placeholder));
        }
        // Without a `:` before this `}`, no later `${` before it begins a placeholder either.
        from = end;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn placeholder<'a>(
        written: &'a str,
        provider: &'a str,
        path: &'a str,
        key: &'a str,
    ) -> Piece<'a> {
        Piece::Placeholder(Placeholder {
            written,
            provider,
            path,
            key,
        })
    }

    fn read(text: &str) -> Vec<Piece<'_>> {
        pieces(text).collect()
    }

    #[test]
    fn provider_path_and_key_are_separated_by_colons() {
        for (text, provider, path, key) in [
            ("${env:A}", "env", "", "A"),
            ("${env::A}", "env", "", "A"),
            ("${file:/run/s:a.b}", "file", "/run/s", "a.b"),
            ("${file:/run/s:a:b}", "file", "/run/s", "a:b"),
            ("${file:C:\\s:a}", "file", "C", "\\s:a"),
            ("${ env: A}", " env", "", " A"),
            ("${env:}", "env", "", ""),
            ("${:}", "", "", ""),
            ("${::}", "", "", ""),
            ("${env\n:A\n}", "env\n", "", "A\n"),
            ("${env:${env:A}", "env", "${env", "A"),
            ("${x ${env:A}", "x ${env", "", "A"),
        ] {
            assert_eq!(read(text), [placeholder(text, provider, path, key)]);
        }
    }

    #[test]
    fn a_value_may_have_several_placeholders_and_text_around_them() {
        assert_eq!(
            read("user=\"${env:A}\" password=\"${f:p:k}\";"),
            [
                Piece::Text("user=\""),
                placeholder("${env:A}", "env", "", "A"),
                Piece::Text("\" password=\""),
                placeholder("${f:p:k}", "f", "p", "k"),
                Piece::Text("\";"),
            ]
        );
        assert_eq!(
            read("$${a:b}${c:d}"),
            [
                Piece::Text("$"),
                placeholder("${a:b}", "a", "", "b"),
                placeholder("${c:d}", "c", "", "d"),
            ]
        );
        assert_eq!(
            read("${foo} ${a:b}}"),
            [
                Piece::Text("${foo} "),
                placeholder("${a:b}", "a", "", "b"),
                Piece::Text("}"),
            ]
        );
    }

    #[test]
    fn other_dollars_and_braces_are_text() {
        for text in [
            "$", "$$", "${", "${}", "${a}", "${a:b", "$a:b}", "{a:b}", "a}:{$",
        ] {
            assert_eq!(read(text), [Piece::Text(text)]);
            assert!(!has_placeholder(text));
        }
        assert_eq!(read(""), []);
    }

    #[test]
    fn a_long_text_of_beginnings_is_read_quickly() {
        let start = std::time::Instant::now();
        let text = "${".repeat(500_000);
        assert!(!has_placeholder(&text) && !has_placeholder(&(text + "}")));
        assert!(start.elapsed() < std::time::Duration::from_secs(20));
    }

    proptest::proptest! {
        #![proptest_config(proptest::prelude::ProptestConfig { failure_persistence: None, ..Default::default() })]
        #[test]
        fn the_pieces_are_the_whole_text(text in "(\\PC|[$\\{\\}:a]){0,40}") {
            let mut whole = String::new();
            for piece in pieces(&text) {
                match piece {
                    Piece::Text(text) => {
                        proptest::prop_assert!(!text.is_empty() && !has_placeholder(text));
                        whole += text;
                    }
                    Piece::Placeholder(Placeholder { written, provider, path, key }) => {
                        let with_path = format!("${{{provider}:{path}:{key}}}");
                        let without = format!("${{{provider}:{key}}}");
                        proptest::prop_assert!(written == with_path || path.is_empty() && written == without);
                        let is_plain = |text: &str| !text.contains([':', '}']);
                        let is_legal = is_plain(provider) && is_plain(path) && !key.contains('}');
                        proptest::prop_assert!(is_legal);
                        whole += written;
                    }
                }
            }
            proptest::prop_assert_eq!(whole, text);
        }
    }
}
