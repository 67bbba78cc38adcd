//! Recognises servers that are certainly no Kafka brokers, by the first bytes that they send.

use crate::error::{Error, ErrorKind};

/// The number of first bytes that are enough to recognise each protocol.
#[cfg(any(test, feature = "tls-core"))]
pub(super) const ENOUGH_BYTES: usize = 8;

/// What to do about a peer that is no broker.
pub(super) const CHECK_THE_PORT: &str =
    "check the port in bootstrap.servers or advertised.listeners";

/// Returns the error of a server whose first bytes are those of another protocol. `None` if they may be something else, such as
/// the damaged bytes of a broker. Callers are told of the error at once: the server does not become a broker.
pub(super) fn error_of(first: &[u8]) -> Option<Error> {
    let protocol = protocol_of(first)?;
    let message = format!("the server answered in {protocol}: this is not a Kafka listener");
    Some(
        Error::new(ErrorKind::Protocol, message)
            .with_advice(CHECK_THE_PORT)
            .with_refusal(),
    )
}

/// Returns the name of the protocol. As the length of a frame, all these bytes stand for 500 MB and more, or for less than
/// nothing, or for the form of a MySQL greeting: no broker begins an answer with them.
fn protocol_of(first: &[u8]) -> Option<&'static str> {
    const TEXTS: [(&[u8], &str); 14] = [
        (b"HTTP", "HTTP"),
        (b"<!DO", "HTML"),
        (b"<htm", "HTML"),
        (b"SSH-", "SSH"),
        (b"220 ", "SMTP or FTP"),
        (b"220-", "SMTP or FTP"),
        (b"421 ", "SMTP or FTP"),
        (b"554 ", "SMTP or FTP"),
        (b"* OK", "IMAP"),
        (b"+OK ", "POP3"),
        (b"-ERR", "Redis' protocol"),
        (b"-NOA", "Redis' protocol"),
        (b"-DEN", "Redis' protocol"),
        (b"AMQP", "AMQP"),
    ];
    let known = TEXTS.iter().find(|(start, _)| first.starts_with(start));
    if let Some((_, name)) = known.copied() {
        return Some(name);
    }
    match first {
        // An error: its length, and the field for the severity.
        [b'E', 0, 0, _, _, b'S', ..] => Some("PostgreSQL's protocol"),
        // A packet of less than 256 bytes with the number 0: a greeting in version 10, whose text begins with the server's
        // version, or the error with which it refuses this host.
        [_, 0, 0, 0, 10, b'1'..=b'9', ..] | [_, 0, 0, 0, 0xff, _, 0x04, ..] => {
            Some("MySQL's protocol")
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_server_that_is_certainly_no_broker_is_told_with_its_protocol() {
        for (first, protocol) in [
            (&b"HTTP/1.1 400 Bad Request\r\n"[..], "HTTP"),
            (b"SSH-2.0-OpenSSH_9.6\r\n", "SSH"),
            (b"220 mail.example.com ESMTP\r\n", "SMTP or FTP"),
            (b"220-welcome\r\n", "SMTP or FTP"),
            (b"-ERR unknown command\r\n", "Redis"),
            (b"-DENIED Redis is running in protected mode", "Redis"),
            (b"E\0\0\0\x6cSFATAL\0VFATAL\0", "PostgreSQL"),
            (b"\x4a\0\0\0\x0a8.0.36\0", "MySQL"),
            (b"\x4b\0\0\0\x0a5.5.5-10.11.6-MariaDB\0", "MySQL"),
            (b"\x45\0\0\0\xff\x6a\x04Host '10.0.0.1' is not", "MySQL"),
            (b"* OK IMAP4rev1 ready", "IMAP"),
            (b"AMQP\0\0\x09\x01", "AMQP"),
        ] {
            let error = error_of(first).unwrap();
            assert_eq!(error.kind(), ErrorKind::Protocol);
            assert!(error.is_refusal(), "the callers are told at once: {error}");
            assert!(error.message().contains(protocol), "{error}");
            assert!(error_of(&first[..ENOUGH_BYTES]).is_some(), "{error}");
        }
    }

    #[test]
    fn bytes_that_may_be_a_brokers_are_not_recognised() {
        for first in [
            &b""[..],
            b"S",
            b"SSH",
            b"220",
            b"\xa5\xa5\xa5\xa5\xa5\xa5\xa5\xa5",
            b"\0\0\0\x4a\0\0\0\0",
            b"\x4a\0\0\0\x0a",
            b"\x4a\0\0\0\0\0\0\0",
            b"E\0\0\0",
            b"\x15\x03\x03\0\x02\x02\x46",
        ] {
            assert!(error_of(first).is_none(), "{first:?}");
        }
    }
}
