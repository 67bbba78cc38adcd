//! Reads the answer of a server (RFC 9112). It asks for one answer only, so a connection is not used again.
//!
//! A head has at most [`MOST_HEAD_BYTES`], a body at most [`MOST_BODY_BYTES`]. Memory grows with what arrives.

use std::io::{self, Read};
use std::ops::Range;

use zeroize::Zeroizing;

/// The limit of all heads of an answer, the lines between chunks included.
pub(super) const MOST_HEAD_BYTES: usize = 64 << 10;

/// The limit of a body.
pub(super) const MOST_BODY_BYTES: usize = 1 << 20;

/// What a server answered, whatever the status.
pub(crate) struct Response {
    status: u16,
    /// With names in lower case.
    headers: Vec<(String, String)>,
    body: Zeroizing<Vec<u8>>,
}

impl Response {
    pub(crate) fn status(&self) -> u16 {
        self.status
    }

    /// Returns the first header of this name, which is in lower case.
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        let found = self.headers.iter().find(|(other, _)| other == name);
        found.map(|(_, value)| &**value)
    }

    /// Returns the body. It may hold a secret.
    pub(crate) fn body(&self) -> &[u8] {
        &self.body
    }
}

/// Shows no contents: they may be secret.
impl std::fmt::Debug for Response {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Response")
            .field("status", &self.status)
            .field("bytes", &self.body.len())
            .finish_non_exhaustive()
    }
}

/// Why an answer could not be read.
#[derive(Debug)]
pub(super) enum Fault {
    Io(io::Error),
    /// The server closed the connection before the end of its answer.
    Closed,
    /// The bytes are those of TLS.
    IsTls,
    /// The bytes are not those of HTTP.
    NotHttp,
    /// The answer does not keep to HTTP in this part.
    Malformed(&'static str),
    HeadTooLong,
    BodyTooLong,
    /// The body has an encoding that the request did not ask for.
    Encoded,
}

/// Reads one answer.
pub(super) fn read(stream: &mut impl Read) -> Result<Response, Fault> {
    let mut input = Input {
        stream,
        buffer: Zeroizing::new([0; 4096]),
        unread: 0..0,
        head_left: MOST_HEAD_BYTES,
    };
    loop {
        let head = Head::read(&mut input)?;
        // An interim answer comes before the one that counts. 101 would be another protocol, which no request asks for.
        if head.status / 100 != 1 {
            let body = head.read_body(&mut input)?;
            return Ok(Response {
                status: head.status,
                headers: head.headers,
                body: body.0,
            });
        }
    }
}

struct Head {
    status: u16,
    headers: Vec<(String, String)>,
}

impl Head {
    fn read(input: &mut Input<'_, impl Read>) -> Result<Self, Fault> {
        let status = status_of(&input.line(IsFirst::Yes)?)?;
        let mut headers = Vec::new();
        loop {
            let line = input.line(IsFirst::No)?;
            if line.is_empty() {
                return Ok(Self { status, headers });
            }
            // A line that begins with a blank continues the last header (RFC 9112, 5.2). No header that counts here has one.
            if matches!(line[..], [b' ' | b'\t', ..]) {
                continue;
            }
            let line = String::from_utf8_lossy(&line);
            let (name, value) = line
                .split_once(':')
                .ok_or(Fault::Malformed("a line of its head"))?;
            headers.push((name.trim().to_ascii_lowercase(), value.trim().to_owned()));
        }
    }

    fn values<'a>(&'a self, name: &'a str) -> impl Iterator<Item = &'a str> {
        let named = self.headers.iter().filter(move |(other, _)| other == name);
        named
            .flat_map(|(_, value)| value.split(','))
            .map(str::trim)
            .filter(|value| !value.is_empty())
    }

    fn read_body(&self, input: &mut Input<'_, impl Read>) -> Result<Body, Fault> {
        let mut body = Body::default();
        if matches!(self.status, 204 | 304) {
            return Ok(body);
        }
        let is_plain = |coding: &str| coding.eq_ignore_ascii_case("identity");
        if !self.values("content-encoding").all(is_plain) {
            return Err(Fault::Encoded);
        }
        let mut codings = self
            .values("transfer-encoding")
            .filter(|coding| !is_plain(coding));
        match (codings.next(), codings.next()) {
            (Some(only), None) if only.eq_ignore_ascii_case("chunked") => {
                read_chunks(input, &mut body)?;
            }
            (Some(_), _) => return Err(Fault::Encoded),
            (None, _) => match self.content_length()? {
                Some(length) => input.take(length, &mut body)?,
                None => input.take_all(&mut body)?,
            },
        }
        Ok(body)
    }

    fn content_length(&self) -> Result<Option<u64>, Fault> {
        let mut length = None;
        for value in self.values("content-length") {
            let number = number(value, 10).ok_or(Fault::Malformed("its Content-Length"))?;
            if length.is_some_and(|other| other != number) {
                return Err(Fault::Malformed("its Content-Length"));
            }
            length = Some(number);
        }
        Ok(length)
    }
}

/// Returns the status of a line such as `HTTP/1.1 200 OK`.
fn status_of(line: &[u8]) -> Result<u16, Fault> {
    let rest = line.strip_prefix(b"HTTP/").ok_or(Fault::NotHttp)?;
    let fault = || Fault::Malformed("its first line");
    let rest = rest.strip_prefix(b"1.").ok_or_else(fault)?;
    match rest {
        [b'0'..=b'9', b' ', digits @ ..] => {
            let (digits, rest) = digits.split_at_checked(3).ok_or_else(fault)?;
            let digits = std::str::from_utf8(digits).map_err(|_| fault())?;
            let status = number(digits, 10).ok_or_else(fault)?;
            let is_status = (100..600).contains(&status) && (rest.is_empty() || rest[0] == b' ');
            is_status.then_some(status as u16).ok_or_else(fault)
        }
        _ => Err(fault()),
    }
}

/// Reads digits only: no sign.
fn number(text: &str, radix: u32) -> Option<u64> {
    let is_number = !text.is_empty() && text.chars().all(|digit| digit.is_digit(radix));
    is_number.then(|| u64::from_str_radix(text, radix).ok())?
}

fn read_chunks(input: &mut Input<'_, impl Read>, body: &mut Body) -> Result<(), Fault> {
    let fault = || Fault::Malformed("a chunk of its body");
    loop {
        let line = input.line(IsFirst::No)?;
        let line = std::str::from_utf8(&line).map_err(|_| fault())?;
        // Extensions follow a semicolon.
        let digits = line.split(';').next().unwrap_or(line).trim();
        let length = number(digits, 16).ok_or_else(fault)?;
        if length == 0 {
            break;
        }
        input.take(length, body)?;
        if !input.line(IsFirst::No)?.is_empty() {
            return Err(fault());
        }
    }
    // The trailer. Some servers close before the last line.
    loop {
        match input.line(IsFirst::No) {
            Ok(line) if !line.is_empty() => {}
            Ok(_) | Err(Fault::Closed) => return Ok(()),
            Err(fault) => return Err(fault),
        }
    }
}

/// Whether a line is the first one of an answer.
#[derive(Clone, Copy, PartialEq)]
enum IsFirst {
    Yes,
    No,
}

/// A body of at most [`MOST_BODY_BYTES`]. Memory that it leaves when it grows is overwritten.
#[derive(Default)]
struct Body(Zeroizing<Vec<u8>>);

impl Body {
    fn append(&mut self, bytes: &[u8]) -> Result<(), Fault> {
        let length = self.0.len() + bytes.len();
        if length > MOST_BODY_BYTES {
            return Err(Fault::BodyTooLong);
        }
        if length > self.0.capacity() {
            let mut larger = Zeroizing::new(Vec::with_capacity((2 * length).max(8 << 10)));
            larger.extend_from_slice(&self.0);
            self.0 = larger;
        }
        self.0.extend_from_slice(bytes);
        Ok(())
    }
}

struct Input<'a, R> {
    stream: &'a mut R,
    buffer: Zeroizing<[u8; 4096]>,
    unread: Range<usize>,
    head_left: usize,
}

impl<R: Read> Input<'_, R> {
    /// Returns bytes that are not taken yet; none at the end of the stream.
    fn fill(&mut self) -> Result<&[u8], Fault> {
        while self.unread.is_empty() {
            let length = match self.stream.read(&mut self.buffer[..]) {
                Ok(0) => break,
                Ok(length) => length,
                // TLS without its closing message. The length of the answer says whether a part is missing.
                Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => break,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                Err(error) => return Err(Fault::Io(error)),
            };
            self.unread = 0..length;
        }
        Ok(&self.buffer[self.unread.clone()])
    }

    /// Returns a line without its end.
    fn line(&mut self, is_first: IsFirst) -> Result<Vec<u8>, Fault> {
        let mut line = Vec::new();
        loop {
            let bytes = self.fill()?;
            let end = bytes.iter().position(|byte| *byte == b'\n');
            let taken = end.map_or(bytes.len(), |end| end + 1);
            line.extend_from_slice(&bytes[..taken]);
            let is_end = bytes.is_empty();
            self.unread.start += taken;
            self.head_left = self
                .head_left
                .checked_sub(taken)
                .ok_or(Fault::HeadTooLong)?;
            if is_first == IsFirst::Yes {
                check_beginning(&line)?;
            }
            if end.is_some() {
                line.pop();
                if line.last() == Some(&b'\r') {
                    line.pop();
                }
                return Ok(line);
            }
            if is_end {
                return Err(Fault::Closed);
            }
        }
    }

    fn take(&mut self, length: u64, body: &mut Body) -> Result<(), Fault> {
        if length > (MOST_BODY_BYTES - body.0.len()) as u64 {
            return Err(Fault::BodyTooLong);
        }
        let mut left = length as usize;
        while left > 0 {
            let bytes = self.fill()?;
            let taken = bytes.len().min(left);
            if taken == 0 {
                return Err(Fault::Closed);
            }
            body.append(&bytes[..taken])?;
            self.unread.start += taken;
            left -= taken;
        }
        Ok(())
    }

    fn take_all(&mut self, body: &mut Body) -> Result<(), Fault> {
        loop {
            let bytes = self.fill()?;
            if bytes.is_empty() {
                return Ok(());
            }
            body.append(bytes)?;
            self.unread = 0..0;
        }
    }
}

/// Checks as soon as possible that an answer begins as HTTP does: another peer may wait for more bytes.
fn check_beginning(line: &[u8]) -> Result<(), Fault> {
    const BEGINNING: &[u8] = b"HTTP/";
    /// The content types of TLS for alerts and handshakes.
    const TLS: [u8; 2] = [0x15, 0x16];
    let length = line.len().min(BEGINNING.len());
    match line {
        [first, ..] if TLS.contains(first) => Err(Fault::IsTls),
        _ if line[..length] != BEGINNING[..length] => Err(Fault::NotHttp),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// Gives a byte at a time.
    struct Drip<'a>(&'a [u8]);

    impl Read for Drip<'_> {
        fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
            let length = self.0.len().min(1);
            buffer[..length].copy_from_slice(&self.0[..length]);
            self.0 = &self.0[length..];
            Ok(length)
        }
    }

    fn read_text(text: &str) -> Result<(u16, String), Fault> {
        let whole = read(&mut text.as_bytes());
        let dripped = read(&mut Drip(text.as_bytes()));
        let shown = |result: Result<Response, Fault>| {
            result.map(|response| {
                let body = String::from_utf8(response.body().to_vec()).unwrap();
                (response.status(), body)
            })
        };
        let (whole, dripped) = (shown(whole), shown(dripped));
        assert_eq!(format!("{whole:?}"), format!("{dripped:?}"), "{text}");
        whole
    }

    #[test]
    fn a_body_ends_by_its_length_its_chunks_or_the_connection() {
        for (text, status, body) in [
            (
                "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}more",
                200,
                "{}",
            ),
            ("HTTP/1.0 200\r\n\r\n{}", 200, "{}"),
            ("HTTP/1.1 401 No\ncontent-length:0\n\n", 401, ""),
            ("HTTP/1.1 204 \r\nContent-Length: 5\r\n\r\n", 204, ""),
            (
                "HTTP/1.1 503 Busy\r\nTransfer-Encoding: chunked\r\n\r\n2;x=y\r\n{}\r\nA\r\n0123456789\r\n0\r\nT: u\r\n\r\n",
                503,
                "{}0123456789",
            ),
            (
                "HTTP/1.1 200 OK\r\nTransfer-Encoding: identity, chunked\r\nContent-Length: 7\r\n\r\n1\r\nx\r\n0\r\n",
                200,
                "x",
            ),
            (
                "HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Hints\r\nLink: x\r\n\r\nHTTP/1.1 201 Made\r\nX: a\r\n b\r\n\
                 Content-Length: 1, 1\r\nContent-Encoding: identity\r\n\r\ny",
                201,
                "y",
            ),
        ] {
            assert_eq!(
                read_text(text).unwrap(),
                (status, body.to_owned()),
                "{text}"
            );
        }
    }

    fn assert_faults(cases: &[(&str, &str)]) {
        for (text, fault) in cases {
            let found = format!("{:?}", read_text(text).unwrap_err());
            assert!(found.starts_with(fault), "{text:.80}: {found}");
        }
    }

    #[test]
    fn an_answer_that_is_not_whole_or_not_http_is_told_apart() {
        assert_faults(&[
            ("", "Closed"),
            ("HTTP/1.1 200 OK\r\nX: y\r\n", "Closed"),
            ("HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\n{}", "Closed"),
            ("\u{15}\u{3}\u{3}", "IsTls"),
            ("SSH-2.0-x", "NotHttp"),
            ("HTTP/2 200\r\n\r\n", "Malformed"),
            ("HTTP/1.1 2000 OK\r\n\r\n", "Malformed"),
            ("HTTP/1.1 +20 OK\r\n\r\n", "Malformed"),
            ("HTTP/1.1 099 OK\r\n\r\n", "Malformed"),
            ("HTTP/1.1 200 OK\r\nno colon\r\n\r\n", "Malformed"),
        ]);
        let length = |value: &str| format!("HTTP/1.1 200 OK\r\nContent-Length: {value}\r\n\r\n12");
        for (value, fault) in [
            ("-1", "Malformed"),
            ("1\r\nContent-Length: 2", "Malformed"),
            ("99999999999999999999999", "Malformed"),
            ("1048577", "BodyTooLong"),
        ] {
            assert_faults(&[(&length(value), fault)]);
        }
    }

    #[test]
    fn a_faulty_chunk_is_told_apart() {
        for (chunks, fault) in [
            ("3\r\n{}", "Closed"),
            ("", "Closed"),
            ("ffffffffffffffff\r\n", "BodyTooLong"),
            ("x\r\n", "Malformed"),
            ("1\r\nab\r\n", "Malformed"),
        ] {
            let head = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n";
            assert_faults(&[(&format!("{head}{chunks}"), fault)]);
        }
    }

    #[test]
    fn a_compressed_answer_and_one_without_an_end_are_told_apart() {
        let ok = "HTTP/1.1 200 OK\r\n";
        for (answer, fault) in [
            (
                format!("{ok}Transfer-Encoding: gzip, chunked\r\n\r\n"),
                "Encoded",
            ),
            (format!("{ok}Content-Encoding: gzip\r\n\r\nx"), "Encoded"),
            (
                format!("{ok}\r\n{}", "x".repeat(MOST_BODY_BYTES + 1)),
                "BodyTooLong",
            ),
            (format!("{ok}{}", "X: y\r\n".repeat(20_000)), "HeadTooLong"),
            (
                "HTTP/1.1 100 Continue\r\n\r\n".repeat(10_000),
                "HeadTooLong",
            ),
            (
                format!(
                    "{ok}Transfer-Encoding: chunked\r\n\r\n{}",
                    "1;x\r\ny\r\n".repeat(20_000)
                ),
                "HeadTooLong",
            ),
        ] {
            assert_faults(&[(&answer, fault)]);
        }
    }

    proptest! {
        #[test]
        fn no_answer_panics(bytes in any::<Vec<u8>>(), near in "(HTTP/1\\.1 200 \n)?([a-z]:|Content-Length:|Transfer-Encoding:chunked|[0-9a-f]|\n|;| ){0,40}") {
            let _ = read(&mut &bytes[..]);
            let _ = read(&mut near.as_bytes());
        }
    }
}
