//! Cuts a byte stream into frames.

use std::borrow::Cow;
use std::io::{self, Read};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use super::errors::{broken_error, no_answer_error};
use super::other_protocols::{self, CHECK_THE_PORT};
use super::transport::is_timeout;
use crate::error::{Error, ErrorKind};
use crate::protocol::frame_length;

/// The largest answer that is accepted before the connection is authenticated. Until the first answer, the peer need not even
/// be a broker. The list of all APIs and features of a broker takes a few kilobytes.
const MAX_HANDSHAKE_FRAME_BYTES: usize = 1024 * 1024;

/// The largest answer about the cluster, as in librdkafka. The metadata of 100,000 partitions is about 10 MB.
pub(super) const MAX_METADATA_FRAME_BYTES: usize = 100_000_000;

/// The largest answer to a Produce request: room for 100,000 partitions and their errors.
pub(super) const MAX_PRODUCE_FRAME_BYTES: usize = 16 * 1024 * 1024;

/// The number of bytes that one read asks for.
const READ_BYTES: usize = 16 * 1024;

/// The capacity above which the buffer is shrunk after a large frame, before the wait for the next frame.
const KEPT_BYTES: usize = 4 * READ_BYTES;

/// The largest frame that is accepted. It can be raised while another thread reads.
#[derive(Clone)]
pub(super) struct FrameLimit(Arc<AtomicUsize>);

impl FrameLimit {
    pub(super) fn raise_to(&self, max_bytes: usize) {
        self.0.fetch_max(max_bytes, Ordering::Relaxed);
    }
}

/// Cuts a stream into frames. Keeps the bytes that were read beyond the last frame.
pub(crate) struct FrameReader {
    max_bytes: FrameLimit,
    /// The bytes from `start` on belong to frames that are not returned yet.
    buffer: Vec<u8>,
    start: usize,
    /// The number of frames so far.
    frames: u64,
    /// Whether the stream ended before its first byte.
    closed_before_first_byte: bool,
    client: ClientProtocol,
    stage: Stage,
}

/// How far the connection has come. It decides what its end may mean.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Stage {
    /// The versions are negotiated, with one request or with two.
    Versions,
    /// The versions are known, and the next request has no answer yet. With SASL this is the handshake.
    FirstRequest,
    Later,
}

/// What the client uses besides Kafka's own protocol. It decides what the end of a new connection may mean.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct ClientProtocol {
    pub(super) uses_tls: bool,
    pub(super) uses_sasl: bool,
    /// A setting with credentials for SASL that is set and not used.
    pub(super) unused_credentials: Option<&'static str>,
}

impl ClientProtocol {
    /// Returns the advice about a listener that may expect SASL, if the user has set credentials and they are not used.
    fn advice_about_credentials(self, listener_has_tls: bool) -> Option<String> {
        let setting = self.unused_credentials?;
        let (set, fitting) = match (self.uses_tls, listener_has_tls) {
            (true, _) => ("SSL", "SASL_SSL"),
            (false, true) => ("PLAINTEXT", "SASL_SSL"),
            (false, false) => (
                "PLAINTEXT",
                "SASL_PLAINTEXT, or SASL_SSL if the listener expects TLS",
            ),
        };
        Some(format!(
            "{setting} is set and has no effect with security.protocol={set}: set security.protocol={fitting}"
        ))
    }

    /// Returns the advice about credentials, or the usual one if there is none.
    fn advice_or(self, listener_has_tls: bool, usual: &'static str) -> Cow<'static, str> {
        match self.advice_about_credentials(listener_has_tls) {
            Some(advice) => Cow::from(advice),
            None => Cow::from(usual),
        }
    }
}

impl Default for FrameReader {
    fn default() -> Self {
        Self {
            max_bytes: FrameLimit(Arc::new(AtomicUsize::new(MAX_HANDSHAKE_FRAME_BYTES))),
            buffer: Vec::new(),
            start: 0,
            frames: 0,
            closed_before_first_byte: false,
            client: ClientProtocol::default(),
            stage: Stage::Versions,
        }
    }
}

impl FrameReader {
    /// Makes the reader refuse frames of more than `max_bytes` from now on.
    pub(crate) fn limit(&mut self, max_bytes: usize) {
        self.max_bytes.0.store(max_bytes, Ordering::Relaxed);
    }

    /// Tells the reader what the client uses.
    pub(super) fn explain_for(&mut self, client: ClientProtocol) {
        self.client = client;
    }

    /// Tells the reader that the versions are negotiated.
    pub(super) fn versions_are_known(&mut self) {
        self.stage = Stage::FirstRequest;
    }

    /// Returns the limit, which can be raised while another thread reads.
    pub(super) fn shared_limit(&self) -> FrameLimit {
        self.max_bytes.clone()
    }

    /// Returns whether the peer closed the connection before its first byte.
    pub(super) fn closed_before_first_byte(&self) -> bool {
        self.closed_before_first_byte
    }

    /// Returns the next frame without its length. Blocks as `stream` does. The buffer grows with the bytes that arrive, not
    /// with the length that the peer announces.
    pub(crate) fn next(&mut self, stream: &mut impl Read) -> Result<Vec<u8>, Error> {
        self.fill(4, stream)?;
        let mut prefix = [0; 4];
        prefix.copy_from_slice(&self.buffer[self.start..self.start + 4]);
        let length = frame_length(prefix, self.max_bytes.0.load(Ordering::Relaxed))
            .map_err(|error| self.not_kafka(prefix, error))?;
        self.start += 4;
        self.fill(length, stream)?;
        let frame = self.buffer[self.start..self.start + length].to_vec();
        self.start += length;
        self.frames += 1;
        if self.stage == Stage::FirstRequest {
            self.stage = Stage::Later;
        }
        self.shrink();
        Ok(frame)
    }

    /// Reads until `wanted` bytes are in the buffer.
    fn fill(&mut self, wanted: usize, stream: &mut impl Read) -> Result<(), Error> {
        while self.buffer.len() - self.start < wanted {
            if self.start > 0 {
                self.buffer.drain(..self.start);
                self.start = 0;
            }
            let filled = self.buffer.len();
            self.buffer.resize(filled + READ_BYTES, 0);
            let read = stream.read(&mut self.buffer[filled..]);
            self.buffer.truncate(filled + *read.as_ref().unwrap_or(&0));
            match read {
                Ok(0) => return Err(self.closed()),
                Ok(_) => {}
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error)
                    if error.kind() == io::ErrorKind::ConnectionReset
                        && self.stage != Stage::Later =>
                {
                    return Err(self.closed().with_source(error));
                }
                Err(error) if is_timeout(&error) => return Err(self.no_answer()),
                Err(error) => return Err(broken_error(error)),
            }
        }
        Ok(())
    }

    /// Frees memory after a large frame. The bytes that were read beyond the frame are one read at most, and stay.
    fn shrink(&mut self) {
        if self.buffer.capacity() > KEPT_BYTES {
            self.buffer.drain(..self.start);
            self.start = 0;
            self.buffer.shrink_to(READ_BYTES);
        }
    }

    fn no_answer(&self) -> Error {
        let advice = self.client.advice_about_credentials(false);
        match advice.filter(|_| self.stage != Stage::Later) {
            Some(advice) => no_answer_error().with_advice(advice),
            None => no_answer_error(),
        }
    }

    fn closed(&mut self) -> Error {
        self.closed_before_first_byte = self.frames == 0 && self.buffer.is_empty();
        let error = |message| Error::new(ErrorKind::Network, message);
        match self.stage {
            // With TLS 1.3 the broker sees the client's certificate after the client's handshake.
            Stage::Versions if self.frames == 0 && self.client.uses_tls => error(
                "the broker closed the connection before its first answer: either it has reached its connection limit \
                 (max.connections.per.ip, max.connections), or it does not accept the client's certificate",
            )
            .with_advice("see the broker's log; ssl.keystore.location has the client's certificate"),
            Stage::Versions if self.frames == 0 => error(
                "the server closed the connection before its first answer: either it has reached its connection limit \
                 (max.connections.per.ip, max.connections), or the listener expects TLS",
            )
            .with_advice(match self.client.advice_about_credentials(true) {
                Some(advice) => Cow::from(format!("if the listener expects TLS: {advice}")),
                None => Cow::from(
                    "if the listener expects TLS, set security.protocol=SSL or SASL_SSL",
                ),
            }),
            Stage::FirstRequest if self.client.uses_sasl => {
                error("the broker closed the connection at the SASL handshake")
                    .with_advice("see the broker's log")
            }
            // What a listener with SASL does with a client that does not authenticate itself.
            Stage::FirstRequest => error(
                "the broker closed the connection at the first request after ApiVersions",
            )
            .with_advice(self.client.advice_or(
                false,
                "if the listener expects SASL, set security.protocol=SASL_SSL or SASL_PLAINTEXT",
            )),
            Stage::Versions | Stage::Later => error("the broker closed the connection"),
        }
    }

    fn not_kafka(&self, prefix: [u8; 4], error: crate::protocol::ProtocolError) -> Error {
        if self.frames > 0 {
            return Error::new(
                ErrorKind::Protocol,
                "the broker sent bytes that are not Kafka's protocol",
            )
            .with_source(error);
        }
        // The decoder's error would only distract from the protocol.
        if let Some(error) = other_protocols::error_of(&self.buffer[self.start..]) {
            return error;
        }
        match &prefix {
            [0x15, 0x03, ..] => Error::new(
                ErrorKind::Tls,
                "the broker answered in TLS: this listener expects an encrypted connection",
            )
            .with_advice(
                self.client
                    .advice_or(true, "set security.protocol=SSL or SASL_SSL"),
            ),
            _ => Error::new(
                ErrorKind::Protocol,
                "the server's first bytes are not Kafka's protocol",
            )
            .with_advice(CHECK_THE_PORT)
            .with_source(error),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Returns its bytes a few at a time.
    struct Trickle<'a>(&'a [u8], usize);

    impl Read for Trickle<'_> {
        fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
            let length = self.0.len().min(self.1).min(buffer.len());
            buffer[..length].copy_from_slice(&self.0[..length]);
            self.0 = &self.0[length..];
            Ok(length)
        }
    }

    #[test]
    fn frames_are_found_however_the_stream_is_cut() {
        let long = vec![7u8; 100_000];
        let mut bytes = vec![0, 0, 0, 3, 1, 2, 3, 0, 0, 0, 0];
        bytes.extend((long.len() as u32).to_be_bytes());
        bytes.extend(&long);
        for step in [1, 2, 5, 4096, 1 << 20] {
            let mut stream = Trickle(&bytes, step);
            let mut frames = FrameReader::default();
            assert_eq!(frames.next(&mut stream).unwrap(), [1, 2, 3]);
            assert!(frames.next(&mut stream).unwrap().is_empty());
            assert_eq!(frames.next(&mut stream).unwrap(), long);
            assert_eq!(
                frames.next(&mut stream).unwrap_err().kind(),
                ErrorKind::Network
            );
        }
    }

    #[test]
    fn a_length_of_two_gigabytes_or_below_zero_is_refused_unread() {
        for prefix in [[0x7f, 0xff, 0xff, 0xff], [0xff, 0xff, 0xff, 0xfe]] {
            let error = FrameReader::default().next(&mut &prefix[..]).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::Protocol);
        }
    }

    #[test]
    fn an_announced_length_allocates_only_what_arrives() {
        let mut bytes = 90_000_000u32.to_be_bytes().to_vec();
        bytes.extend([1; 1000]);
        let mut frames = FrameReader::default();
        frames.limit(MAX_METADATA_FRAME_BYTES);
        assert!(frames.next(&mut &bytes[..]).is_err());
        assert!(frames.buffer.capacity() < 100_000);
    }

    #[test]
    fn the_buffer_of_a_large_frame_is_freed_at_once_and_what_follows_is_kept() {
        let mut bytes = 1_000_000u32.to_be_bytes().to_vec();
        bytes.resize(4 + 1_000_000, 7);
        bytes.extend([0, 0, 0, 2, 8, 9]);
        let mut stream = &bytes[..];
        let mut frames = FrameReader::default();
        assert_eq!(frames.next(&mut stream).unwrap().len(), 1_000_000);
        assert!(frames.buffer.capacity() <= KEPT_BYTES);
        assert_eq!(frames.next(&mut stream).unwrap(), [8, 9]);
    }

    #[test]
    fn before_the_handshake_nothing_large_is_read() {
        let prefix = (MAX_HANDSHAKE_FRAME_BYTES as u32 + 1).to_be_bytes();
        let mut frames = FrameReader::default();
        let error = frames.next(&mut &prefix[..]).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Protocol);
        let mut frames = FrameReader::default();
        frames.limit(MAX_METADATA_FRAME_BYTES);
        let error = frames.next(&mut &prefix[..]).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Network, "the stream has ended");
    }

    #[test]
    fn credentials_that_are_set_and_not_used_are_named_where_the_listener_may_expect_them() {
        struct Silent;
        impl Read for Silent {
            fn read(&mut self, _: &mut [u8]) -> io::Result<usize> {
                Err(io::ErrorKind::WouldBlock.into())
            }
        }
        let advice = |uses_tls, is_negotiated, stream: &mut dyn Read| {
            let mut frames = FrameReader::default();
            frames.explain_for(ClientProtocol {
                uses_tls,
                uses_sasl: false,
                unused_credentials: Some("sasl.jaas.config"),
            });
            if is_negotiated {
                frames.next(&mut &frame_of_zeros(1)[..]).unwrap();
                frames.versions_are_known();
            }
            let error = frames.next(&mut { stream }).unwrap_err();
            error.advice().to_owned()
        };
        let plaintext = "sasl.jaas.config is set and has no effect with security.protocol=PLAINTEXT: set security.protocol=";
        let either = format!("{plaintext}SASL_PLAINTEXT, or SASL_SSL if the listener expects TLS");
        let ssl = "sasl.jaas.config is set and has no effect with security.protocol=SSL: set security.protocol=SASL_SSL";
        assert_eq!(advice(false, true, &mut io::empty()), either);
        assert_eq!(advice(false, true, &mut Silent), either);
        assert_eq!(advice(false, false, &mut Silent), either);
        assert_eq!(advice(true, true, &mut io::empty()), ssl);
        assert_eq!(advice(true, true, &mut Silent), ssl);
        assert_eq!(
            advice(false, false, &mut io::empty()),
            format!("if the listener expects TLS: {plaintext}SASL_SSL")
        );
        let alert = b"\x15\x03\x03\0\x02\x02\x46";
        assert_eq!(
            advice(false, false, &mut &alert[..]),
            format!("{plaintext}SASL_SSL")
        );
    }

    #[test]
    fn the_end_of_a_new_connection_is_explained_by_what_the_client_uses() {
        // The numbers of answers during the negotiation of versions, and after it. `None`: the negotiation does not end.
        let shown = |uses_tls, uses_sasl, negotiation: usize, later: Option<usize>| {
            let mut frames = FrameReader::default();
            frames.explain_for(ClientProtocol {
                uses_tls,
                uses_sasl,
                ..ClientProtocol::default()
            });
            let answers = frame_of_zeros(1).repeat(negotiation + later.unwrap_or(0));
            let mut stream = &answers[..];
            for _ in 0..negotiation {
                frames.next(&mut stream).unwrap();
            }
            if let Some(later) = later {
                frames.versions_are_known();
                for _ in 0..later {
                    frames.next(&mut stream).unwrap();
                }
            }
            frames.next(&mut stream).unwrap_err().to_string()
        };
        assert!(shown(false, true, 0, None).contains("or the listener expects TLS"));
        assert!(shown(true, false, 0, None).contains("the client's certificate"));
        // A broker before 2.4 is asked twice for its versions.
        for negotiation in [1, 2] {
            let first = |uses_sasl| shown(true, uses_sasl, negotiation, Some(0));
            assert!(first(false).contains("if the listener expects SASL"));
            assert!(first(true).contains("at the SASL handshake"));
            let later = shown(true, true, negotiation, Some(1));
            assert!(later.starts_with("the broker closed the connection;"));
        }
        let between = shown(true, true, 1, None);
        assert!(between.starts_with("the broker closed the connection;"));
    }

    /// A stream that ends with a reset.
    struct Reset<'a>(&'a [u8]);

    impl Read for Reset<'_> {
        fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
            match self.0.read(buffer)? {
                0 => Err(io::ErrorKind::ConnectionReset.into()),
                read => Ok(read),
            }
        }
    }

    #[test]
    fn a_reset_of_a_new_connection_is_explained_as_its_end() {
        let answer = frame_of_zeros(1);
        let mut stream = Reset(&answer);
        let mut frames = FrameReader::default();
        frames.next(&mut stream).unwrap();
        frames.versions_are_known();
        let error = frames.next(&mut stream).unwrap_err();
        assert!(
            error.to_string().contains("if the listener expects SASL"),
            "{error}"
        );
        assert!(std::error::Error::source(&error).is_some());
    }

    fn frame_of_zeros(length: u32) -> Vec<u8> {
        let mut frame = length.to_be_bytes().to_vec();
        frame.resize(4 + length as usize, 0);
        frame
    }

    #[test]
    fn other_protocols_are_recognised() {
        let tls_alert = [0x15, 0x03, 0x03, 0x00, 0x02, 0x02, 0x46];
        let error = FrameReader::default()
            .next(&mut &tls_alert[..])
            .unwrap_err();
        assert!(error.to_string().contains("TLS"), "{error}");
        for first in ["HTTP/1.1 400 Bad Request", "SSH-2.0-OpenSSH_9.6\r\n"] {
            let error = FrameReader::default().next(&mut first.as_bytes());
            let error = error.unwrap_err();
            assert!(error.message().contains("not a Kafka listener"), "{error}");
            assert!(error.is_refusal(), "the callers are told at once");
        }
    }
}
