//! A reader of DER that never copies and trusts no length. It also accepts what BER adds and stores in the field have:
//! indefinite lengths, and octet strings in pieces.

use std::borrow::Cow;

use super::fault::Other;

pub(in crate::tls) const INTEGER: u8 = 0x02;
pub(super) const BIT_STRING: u8 = 0x03;
pub(super) const OCTETS: u8 = 0x04;
pub(super) const OID: u8 = 0x06;
pub(super) const BMP_STRING: u8 = 0x1e;
pub(in crate::tls) const SEQUENCE: u8 = 0x30;
pub(super) const SET: u8 = 0x31;
/// `[0]`, constructed.
pub(super) const TAGGED: u8 = 0xa0;
/// `[0]` in place of the tag of an octet string.
pub(super) const TAGGED_OCTETS: u8 = 0x80;

const CONSTRUCTED: u8 = 0x20;
/// How deep indefinite lengths and octet strings in pieces may be nested. Each level is read again by the one above it.
const DEPTH: usize = 16;

/// One element. `whole` includes tag and length.
#[derive(Clone, Copy)]
pub(in crate::tls) struct Element<'a> {
    pub(in crate::tls) tag: u8,
    pub(super) contents: &'a [u8],
    pub(in crate::tls) whole: &'a [u8],
}

/// The elements of some bytes, one after the other. Every method returns `None` if the bytes are not what it expects.
#[derive(Clone)]
pub(in crate::tls) struct Reader<'a>(&'a [u8]);

impl<'a> Reader<'a> {
    pub(in crate::tls) fn new(bytes: &'a [u8]) -> Self {
        Self(bytes)
    }

    pub(in crate::tls) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub(in crate::tls) fn next(&mut self) -> Option<Element<'a>> {
        let (element, rest) = element(self.0, DEPTH)?;
        self.0 = rest;
        Some(element)
    }

    /// Reads an element that has this tag, and returns its contents.
    pub(in crate::tls) fn read(&mut self, tag: u8) -> Option<&'a [u8]> {
        self.next()
            .filter(|element| element.tag == tag)
            .map(|element| element.contents)
    }

    /// As [`Reader::read`], of a sequence.
    pub(in crate::tls) fn sequence(&mut self) -> Option<Reader<'a>> {
        self.read(SEQUENCE).map(Reader)
    }

    /// Reads the next element only if it has this tag.
    pub(super) fn optional(&mut self, tag: u8) -> Option<&'a [u8]> {
        let mut ahead = self.clone();
        let contents = ahead.read(tag)?;
        *self = ahead;
        Some(contents)
    }

    /// Reads an integer from 0 to 2^63 - 1.
    pub(super) fn number(&mut self) -> Option<u64> {
        number(self.read(INTEGER)?)
    }

    /// As [`Reader::number`], if the next element is an integer.
    pub(super) fn optional_number(&mut self) -> Option<Option<u64>> {
        match self.optional(INTEGER) {
            Some(contents) => number(contents).map(Some),
            None => Some(None),
        }
    }

    /// Reads an octet string, in one piece or in several.
    pub(super) fn octets(&mut self) -> Option<Cow<'a, [u8]>> {
        let element = self.next()?;
        octets(element, OCTETS)
    }
}

/// Returns the contents of `element`, an octet string with this primitive tag.
pub(super) fn octets(element: Element<'_>, tag: u8) -> Option<Cow<'_, [u8]>> {
    if element.tag == tag {
        return Some(Cow::Borrowed(element.contents));
    }
    if element.tag != tag | CONSTRUCTED {
        return None;
    }
    let mut joined = Vec::new();
    join(element.contents, &mut joined, DEPTH)?;
    Some(Cow::Owned(joined))
}

fn join(pieces: &[u8], joined: &mut Vec<u8>, depth: usize) -> Option<()> {
    let mut pieces = Reader(pieces);
    while !pieces.is_empty() {
        match pieces.next()? {
            piece if piece.tag == OCTETS => joined.extend_from_slice(piece.contents),
            piece if piece.tag == OCTETS | CONSTRUCTED => {
                join(piece.contents, joined, depth.checked_sub(1)?)?
            }
            _ => return None,
        }
    }
    Some(())
}

fn number(contents: &[u8]) -> Option<u64> {
    // A first byte of 0x80 or more is a negative number.
    if contents.is_empty() || contents.len() > 8 || contents[0] >= 0x80 {
        return None;
    }
    Some(
        contents
            .iter()
            .fold(0, |sum, byte| sum << 8 | u64::from(*byte)),
    )
}

fn element(bytes: &[u8], depth: usize) -> Option<(Element<'_>, &[u8])> {
    let (&tag, after_tag) = bytes.split_first()?;
    // Tags over 30 take more bytes. No store has them. Tag 0 ends an indefinite length.
    if tag == 0 || tag & 0x1f == 0x1f {
        return None;
    }
    let (&first, after_first) = after_tag.split_first()?;
    let (contents, rest) = match first {
        0..0x80 => after_first.split_at_checked(usize::from(first))?,
        0x80 if tag & CONSTRUCTED != 0 => indefinite(after_first, depth.checked_sub(1)?)?,
        0x81..=0x84 => {
            let (length, after) = after_first.split_at_checked(usize::from(first - 0x80))?;
            let length = length
                .iter()
                .fold(0, |sum, byte| sum << 8 | u64::from(*byte));
            after.split_at_checked(usize::try_from(length).ok()?)?
        }
        _ => return None,
    };
    let whole = &bytes[..bytes.len() - rest.len()];
    Some((
        Element {
            tag,
            contents,
            whole,
        },
        rest,
    ))
}

/// Returns the elements before two bytes of zero, and what follows these.
fn indefinite(bytes: &[u8], depth: usize) -> Option<(&[u8], &[u8])> {
    let mut rest = bytes;
    loop {
        if let Some(after) = rest.strip_prefix(&[0, 0]) {
            return Some((&bytes[..bytes.len() - rest.len()], after));
        }
        rest = element(rest, depth)?.1;
    }
}

/// Returns whether the bytes have the outer form of an X.509 certificate.
pub(super) fn is_certificate(bytes: &[u8]) -> bool {
    let mut outer = Reader(bytes);
    let Some(mut parts) = outer.sequence() else {
        return false;
    };
    outer.is_empty()
        && parts.sequence().is_some()
        && parts.sequence().is_some()
        && parts.read(BIT_STRING).is_some()
        && parts.is_empty()
}

/// Returns whether the bytes begin as a store of PKCS#12: a sequence of the number 3 and more. What follows may be cut off.
pub(super) fn begins_like_pkcs12(bytes: &[u8]) -> bool {
    let after_length = match bytes {
        [SEQUENCE, 0..=0x80, rest @ ..] => rest,
        [SEQUENCE, length @ 0x81..=0x84, rest @ ..] => {
            rest.get(usize::from(length - 0x80)..).unwrap_or_default()
        }
        _ => return false,
    };
    after_length.starts_with(&[INTEGER, 1, 3])
}

/// Returns what bytes in DER are if they are no store, as far as people take them for one.
pub(super) fn other_than_a_store(bytes: &[u8]) -> Option<&'static Other> {
    let mut parts = Reader(bytes).sequence()?;
    Some(match parts.next()?.tag {
        INTEGER => &Other::PRIVATE_KEY,
        OID => &Other::PKCS7,
        SEQUENCE => &Other::OTHER_DER,
        _ => return None,
    })
}

/// The issuer and the subject of a certificate, in DER.
pub(super) fn names(certificate: &[u8]) -> Option<(&[u8], &[u8])> {
    let mut fields = Reader(certificate).sequence()?.sequence()?;
    // The version. The oldest certificates have none.
    let _ = fields.optional(TAGGED);
    fields.read(INTEGER)?;
    fields.sequence()?;
    let issuer = fields.next()?.whole;
    fields.sequence()?;
    let subject = fields.next()?.whole;
    Some((issuer, subject))
}

/// Returns an object identifier in its usual form, such as `1.2.840.113549.1.5.13`. Longer ones than any known are cut.
pub(super) fn dotted(contents: &[u8]) -> String {
    const LONGEST: usize = 32;
    let mut text = String::new();
    let mut value: u64 = 0;
    for byte in contents.iter().take(LONGEST) {
        value = value << 7 | u64::from(byte & 0x7f);
        if byte & 0x80 != 0 {
            continue;
        }
        if text.is_empty() {
            // The first number stands for two.
            let first = (value / 40).min(2);
            text = format!("{first}.{}", value - 40 * first);
        } else {
            text = format!("{text}.{value}");
        }
        value = 0;
    }
    if contents.len() > LONGEST {
        text.push_str("...");
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lengths_in_all_forms() {
        let long = [&[OCTETS, 0x82, 1, 0][..], &[7; 256]].concat();
        assert_eq!(
            *Reader(&long).octets().expect("two bytes of length"),
            [7; 256]
        );
        let pieces = [0x24, 0x80, 4, 1, 1, 0x24, 4, 4, 2, 2, 3, 0, 0, 9];
        let mut reader = Reader(&pieces);
        assert_eq!(*reader.octets().expect("pieces"), [1, 2, 3]);
        assert_eq!(reader.0, [9]);
    }

    #[test]
    fn no_length_is_trusted() {
        for bytes in [
            &[][..],
            &[4],
            &[4, 2, 1],
            &[4, 0x84, 0xff, 0xff, 0xff, 0xff],
            &[4, 0x85, 0, 0, 0, 0, 0],
            &[4, 0x80, 0, 0],
            &[0x30, 0x80],
            &[0x30, 0x80, 0],
            &[0x1f, 1, 1],
        ] {
            assert!(Reader(bytes).next().is_none(), "{bytes:x?}");
        }
        let nested = [0x30, 0x80].repeat(1_000_000);
        assert!(Reader(&nested).next().is_none());
    }

    #[test]
    fn numbers() {
        let read = |bytes: &[u8]| Reader(bytes).number();
        assert_eq!(read(&[2, 1, 0]), Some(0));
        assert_eq!(read(&[2, 3, 0, 0xff, 0xff]), Some(0xffff));
        assert_eq!(read(&[2, 1, 0x80]), None);
        assert_eq!(read(&[2, 0]), None);
        assert_eq!(read(&[2, 9, 0, 0xff, 0, 0, 0, 0, 0, 0, 0]), None);
    }

    #[test]
    fn object_identifiers() {
        assert_eq!(
            dotted(&[0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 1, 5, 13]),
            "1.2.840.113549.1.5.13"
        );
        assert_eq!(dotted(&[0x60, 0x86, 0x48, 1]), "2.16.840.1");
        assert_eq!(dotted(&[]), "");
        assert!(dotted(&[0x81; 1000]).len() < 100);
    }
}
