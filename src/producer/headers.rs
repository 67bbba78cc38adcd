//! The headers of a record.

use std::borrow::Cow;
use std::fmt;

use crate::record::builder::RecordHeader;

/// A record's headers: pairs of a key and a value in the order in which they were added. A key may occur several times, and
/// a value may be null. Empty headers allocate nothing.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Headers {
    headers: Vec<Header>,
}

impl Headers {
    /// No headers.
    #[inline]
    pub const fn new() -> Self {
        Self {
            headers: Vec::new(),
        }
    }

    /// Adds a header after the others.
    pub fn add(
        &mut self,
        key: impl Into<Cow<'static, str>>,
        value: impl Into<HeaderValue>,
    ) -> &mut Self {
        self.headers.push(Header::new(key, value));
        self
    }

    /// The last header with that key. If a key occurs several times, most readers use the last one.
    pub fn last(&self, key: &str) -> Option<&Header> {
        self.headers.iter().rev().find(|header| header.key == key)
    }

    /// All headers with that key, in their order.
    pub fn all<'a>(&'a self, key: &'a str) -> impl DoubleEndedIterator<Item = &'a Header> {
        self.headers.iter().filter(move |header| header.key == key)
    }

    /// Removes all headers with that key. Returns how many there were.
    pub fn remove(&mut self, key: &str) -> usize {
        let before = self.headers.len();
        self.headers.retain(|header| header.key != key);
        before - self.headers.len()
    }

    /// Keeps the first `length` headers.
    pub(crate) fn truncate(&mut self, length: usize) {
        self.headers.truncate(length);
    }

    /// Removes all headers.
    pub fn clear(&mut self) {
        self.headers.clear();
    }

    /// All headers, in their order.
    pub fn iter(&self) -> std::slice::Iter<'_, Header> {
        self.headers.iter()
    }

    /// All headers, in their order.
    #[inline]
    pub fn as_slice(&self) -> &[Header] {
        &self.headers
    }

    /// The number of headers.
    #[inline]
    pub fn len(&self) -> usize {
        self.headers.len()
    }

    /// Returns whether there is no header.
    pub fn is_empty(&self) -> bool {
        self.headers.is_empty()
    }
}

/// One header: a key and a value, which may be null.
#[derive(Clone, PartialEq, Eq)]
pub struct Header {
    key: Cow<'static, str>,
    value: HeaderValue,
}

impl Header {
    /// Makes a header. Static keys and values are not copied.
    pub fn new(key: impl Into<Cow<'static, str>>, value: impl Into<HeaderValue>) -> Self {
        Self {
            key: key.into(),
            value: value.into(),
        }
    }

    /// The key.
    pub fn key(&self) -> &str {
        &self.key
    }

    /// The value; `None` is null.
    pub fn value(&self) -> Option<&[u8]> {
        self.value.0.as_deref()
    }
}

/// A header's value, made from bytes or text, owned or static.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct HeaderValue(Option<Cow<'static, [u8]>>);

impl HeaderValue {
    /// Null, which is not the same as an empty value.
    pub const NULL: Self = Self(None);
}

impl RecordHeader for Header {
    fn key(&self) -> &str {
        self.key()
    }

    fn value(&self) -> Option<&[u8]> {
        self.value()
    }
}

/// Shows a value that is UTF-8 as text.
impl fmt::Debug for Header {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self
            .value()
            .map(|value| (value, std::str::from_utf8(value)))
        {
            None => write!(f, "{:?}: null", self.key),
            Some((_, Ok(text))) => write!(f, "{:?}: {text:?}", self.key),
            Some((bytes, Err(_))) => write!(f, "{:?}: {bytes:?}", self.key),
        }
    }
}

impl From<&'static [u8]> for HeaderValue {
    fn from(value: &'static [u8]) -> Self {
        Self(Some(Cow::Borrowed(value)))
    }
}

impl<const N: usize> From<&'static [u8; N]> for HeaderValue {
    fn from(value: &'static [u8; N]) -> Self {
        Self(Some(Cow::Borrowed(value)))
    }
}

impl From<&'static str> for HeaderValue {
    fn from(value: &'static str) -> Self {
        value.as_bytes().into()
    }
}

impl From<Vec<u8>> for HeaderValue {
    fn from(value: Vec<u8>) -> Self {
        Self(Some(Cow::Owned(value)))
    }
}

impl From<String> for HeaderValue {
    fn from(value: String) -> Self {
        value.into_bytes().into()
    }
}

impl From<Cow<'static, [u8]>> for HeaderValue {
    fn from(value: Cow<'static, [u8]>) -> Self {
        Self(Some(value))
    }
}

/// `None` is null.
impl<T: Into<HeaderValue>> From<Option<T>> for HeaderValue {
    fn from(value: Option<T>) -> Self {
        value.map_or(Self::NULL, Into::into)
    }
}

impl<K: Into<Cow<'static, str>>, V: Into<HeaderValue>> From<(K, V)> for Header {
    fn from((key, value): (K, V)) -> Self {
        Self::new(key, value)
    }
}

impl<H: Into<Header>> FromIterator<H> for Headers {
    fn from_iter<I: IntoIterator<Item = H>>(headers: I) -> Self {
        Self {
            headers: headers.into_iter().map(Into::into).collect(),
        }
    }
}

impl<H: Into<Header>> Extend<H> for Headers {
    fn extend<I: IntoIterator<Item = H>>(&mut self, headers: I) {
        self.headers.extend(headers.into_iter().map(Into::into));
    }
}

impl IntoIterator for Headers {
    type Item = Header;
    type IntoIter = std::vec::IntoIter<Header>;

    fn into_iter(self) -> Self::IntoIter {
        self.headers.into_iter()
    }
}

impl<'a> IntoIterator for &'a Headers {
    type Item = &'a Header;
    type IntoIter = std::slice::Iter<'a, Header>;

    fn into_iter(self) -> Self::IntoIter {
        self.iter()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn values(headers: &Headers, key: &str) -> Vec<Option<Vec<u8>>> {
        headers
            .all(key)
            .map(|header| header.value().map(<[u8]>::to_vec))
            .collect()
    }

    #[test]
    fn order_repeated_keys_and_null_values_are_kept() {
        let mut headers = Headers::new();
        headers
            .add("a", "1")
            .add("b", HeaderValue::NULL)
            .add("a", vec![2])
            .add("a", "");
        let keys: Vec<_> = headers.iter().map(Header::key).collect();
        assert_eq!(keys, ["a", "b", "a", "a"]);
        assert_eq!(
            values(&headers, "a"),
            [Some(b"1".to_vec()), Some(vec![2]), Some(vec![])]
        );
        assert_eq!(values(&headers, "b"), [None]);
        assert_eq!(headers.last("a").and_then(Header::value), Some(&b""[..]));
        assert_eq!(headers.last("c"), None);
    }

    #[test]
    fn remove_takes_every_header_of_the_key_and_leaves_the_others_in_order() {
        let mut headers: Headers = [("a", "1"), ("b", "2"), ("a", "3"), ("c", "4")]
            .into_iter()
            .collect();
        assert_eq!(headers.remove("a"), 2);
        assert_eq!(headers.remove("a"), 0);
        assert_eq!(headers, [("b", "2"), ("c", "4")].into_iter().collect());
        headers.extend([Header::new("d", None::<String>)]);
        assert_eq!(headers.len(), 3);
        headers.clear();
        assert!(headers.is_empty());
    }

    #[test]
    fn values_come_from_text_and_bytes_static_and_owned() {
        let mut headers = Headers::new();
        headers
            .add("k", b"x")
            .add("k", &b"x"[..])
            .add("k", String::from("x"))
            .add("k", Some("x"))
            .add(String::from("k"), Cow::Borrowed(&b"x"[..]));
        assert!(
            headers
                .iter()
                .all(|header| header.key() == "k" && header.value() == Some(b"x"))
        );
    }

    #[test]
    fn debug_shows_text_as_text() {
        let headers: Headers = [
            Header::new("a", "x"),
            Header::new("b", b"\xff"),
            Header::new("c", HeaderValue::NULL),
        ]
        .into_iter()
        .collect();
        assert_eq!(
            format!("{:?}", headers.as_slice()),
            r#"["a": "x", "b": [255], "c": null]"#
        );
    }
}
