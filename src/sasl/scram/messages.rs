//! The messages of SCRAM (RFC 5802, section 7).

use base64::Engine;
use base64::engine::general_purpose::STANDARD;

use super::super::failed;
use crate::error::{Error, printable};

/// Kafka's broker stores credentials with at least this number of iterations, and Java's client demands them. With fewer, an
/// attacker who pretends to be the broker finds a password sooner.
const FEWEST_ITERATIONS: u32 = 4096;
/// Half a second of work. A hostile broker may not ask for more of it.
const MOST_ITERATIONS: u32 = 1_000_000;

/// Kafka's broker sends fewer than 200 bytes.
const MOST_MESSAGE_BYTES: usize = 8192;
const MOST_SALT_BYTES: usize = 1024;

/// What the broker says to the client's first message.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct ServerFirst<'a> {
    /// The whole message, which the signatures cover.
    pub(super) text: &'a str,
    pub(super) nonce: &'a str,
    pub(super) salt: Vec<u8>,
    pub(super) iterations: u32,
}

/// Returns the user name as it stands in the client's first message.
pub(super) fn escaped(name: &str) -> String {
    name.replace('=', "=3D").replace(',', "=2C")
}

/// Returns the client's proof as it stands in its last message.
pub(super) fn encoded(bytes: &[u8]) -> String {
    STANDARD.encode(bytes)
}

impl<'a> ServerFirst<'a> {
    /// Reads the message and checks all that it asks for.
    pub(super) fn read(message: &'a [u8], client_nonce: &str) -> Result<Self, Error> {
        let text = text(message)?;
        let mut attributes = attributes(text);
        let nonce = match attributes.next().transpose()? {
            Some(("r", nonce)) => nonce,
            Some(("e", reason)) => return Err(ended(reason)),
            Some(("m", _)) => return Err(mandatory_extension()),
            _ => return Err(malformed("has no nonce at its beginning")),
        };
        let Some(("s", salt)) = attributes.next().transpose()? else {
            return Err(malformed("has no salt behind its nonce"));
        };
        let Some(("i", iterations)) = attributes.next().transpose()? else {
            return Err(malformed("has no iteration count behind its salt"));
        };
        check_extensions(attributes)?;
        check_nonce(nonce, client_nonce)?;
        Ok(Self {
            text,
            nonce,
            salt: read_salt(salt)?,
            iterations: read_iterations(iterations)?,
        })
    }
}

/// Reads the signature with which the broker proves that it knows the password, or the reason why the broker refuses.
pub(super) fn server_signature(message: &[u8]) -> Result<Vec<u8>, Error> {
    let mut attributes = attributes(text(message)?);
    let signature = match attributes.next().transpose()? {
        Some(("v", signature)) => STANDARD.decode(signature),
        Some(("e", reason)) => return Err(ended(reason)),
        Some(("m", _)) => return Err(mandatory_extension()),
        _ => return Err(malformed("has no signature at its beginning")),
    };
    check_extensions(attributes)?;
    signature.map_err(|_| malformed("has a signature that is not base64"))
}

fn text(message: &[u8]) -> Result<&str, Error> {
    if message.len() > MOST_MESSAGE_BYTES {
        return Err(malformed(&format!("has {} bytes", message.len())));
    }
    std::str::from_utf8(message).map_err(|_| malformed("is not UTF-8"))
}

/// Returns the names and values of a message.
fn attributes(text: &str) -> impl Iterator<Item = Result<(&str, &str), Error>> {
    text.split(',').map(|attribute| {
        let (name, value) = attribute.split_once('=').unwrap_or((attribute, ""));
        let is_name = !name.is_empty() && name.bytes().all(|byte| byte.is_ascii_alphabetic());
        if !is_name || value.is_empty() || value.contains('\0') {
            return Err(malformed("is not a list of names with values"));
        }
        Ok((name, value))
    })
}

/// What is not known is ignored, as RFC 5802 wants it, but for what it wants to be understood.
fn check_extensions<'a>(
    mut extensions: impl Iterator<Item = Result<(&'a str, &'a str), Error>>,
) -> Result<(), Error> {
    extensions.try_for_each(|extension| match extension? {
        ("m", _) => Err(mandatory_extension()),
        _ => Ok(()),
    })
}

fn check_nonce(nonce: &str, client_nonce: &str) -> Result<(), Error> {
    if !nonce.bytes().all(|byte| matches!(byte, 0x21..=0x7e)) {
        return Err(malformed(
            "has a nonce with characters that a nonce cannot have",
        ));
    }
    match nonce.strip_prefix(client_nonce) {
        None => Err(malformed(
            "does not answer this client's message: its nonce is another",
        )),
        Some("") => Err(malformed("adds nothing to this client's nonce")),
        Some(_) => Ok(()),
    }
}

fn read_salt(salt: &str) -> Result<Vec<u8>, Error> {
    let salt = STANDARD
        .decode(salt)
        .map_err(|_| malformed("has a salt that is not base64"))?;
    if salt.len() > MOST_SALT_BYTES {
        return Err(malformed(&format!("has a salt of {} bytes", salt.len())));
    }
    Ok(salt)
}

fn read_iterations(digits: &str) -> Result<u32, Error> {
    if !digits.bytes().all(|byte| byte.is_ascii_digit()) {
        return Err(malformed("has an iteration count that is no number"));
    }
    // What is too large for a number is too large in any case.
    let iterations = digits.parse().unwrap_or(u32::MAX);
    let wrong = if iterations < FEWEST_ITERATIONS {
        "less"
    } else if iterations > MOST_ITERATIONS {
        "more"
    } else {
        return Ok(iterations);
    };
    Err(failed(format!(
        "the broker asks for {} iterations of SCRAM, {wrong} than this client takes",
        &digits[..digits.len().min(20)]
    ))
    .with_advice(format!(
        "set the user's credential again on the broker, with iterations from {FEWEST_ITERATIONS} to {MOST_ITERATIONS}, \
         if the broker is yours"
    )))
}

fn malformed(what: &str) -> Error {
    failed(format!("the broker's SCRAM message {what}"))
        .with_advice("check that bootstrap.servers names Kafka brokers, and what is between them and this client")
}

fn mandatory_extension() -> Error {
    failed("the broker demands an extension of SCRAM that this client does not know")
        .with_advice("use another mechanism, or a broker without it")
}

/// The error for the reason that a broker gives instead of its signature. Kafka's own brokers never do.
fn ended(reason: &str) -> Error {
    let error = failed(format!(
        "the broker ended SCRAM with the error {}",
        printable(reason)
    ));
    match reason {
        "invalid-proof" => error.with_advice("check the password"),
        "unknown-user" => error.with_advice("check the user name"),
        "invalid-username-encoding" => error.with_advice("choose a user name of ASCII characters"),
        _ => error.with_advice("look for the reason in the broker's log"),
    }
}
