//! PEM: blocks of base64 between a line of BEGIN and a line of END. Text around them is skipped, as are headers in them. A
//! value of a settings file may be one line, with spaces where a file has line breaks, or with `\n` in two characters.

use base64::Engine as _;
use base64::engine::general_purpose::GeneralPurpose;
use base64::engine::{DecodePaddingMode, GeneralPurposeConfig};
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use zeroize::Zeroizing;

use super::fault::{BlockFault, Found, Owner, StoreFault, Text};
use super::key::{self, KeyForm};
use super::{Format, KeyEntry, MAX_BYTES, der};
use crate::secret::Secret;

const BEGIN: &[u8] = b"-----BEGIN";
const END: &[u8] = b"-----END";
const DASHES: &[u8] = b"-----";
/// No label in use is longer.
const LONGEST_LABEL: usize = 64;

const BASE64: GeneralPurpose = GeneralPurpose::new(
    &base64::alphabet::STANDARD,
    GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent),
);

/// Returns whether there is a block.
pub(super) fn is_pem(bytes: &[u8]) -> bool {
    find(bytes, BEGIN).is_some()
}

/// Reads every certificate, in the order of the text. There is at least one.
pub(crate) fn pem_certificates(text: &[u8]) -> Result<Vec<CertificateDer<'static>>, StoreFault> {
    let blocks = some_blocks(text)?;
    let certificates = certificates(&blocks)?;
    if certificates.is_empty() {
        return Err(StoreFault::NoCertificate(found(&blocks)));
    }
    Ok(certificates)
}

/// Reads the one private key. An encrypted one needs the password; with a plain one the password has no use, and the
/// result says so.
pub(crate) fn pem_key(text: &[u8], password: Option<&Secret>) -> Result<PemKey, StoreFault> {
    key_of(&some_blocks(text)?, password)
}

/// A private key, and whether a password was given that it did not need.
#[derive(Debug)]
pub(crate) struct PemKey {
    pub(crate) key: Zeroizing<PrivateKeyDer<'static>>,
    pub(crate) password_unused: bool,
}

/// Reads one private key, and all certificates as its chain.
pub(super) fn key_entry(text: &[u8], password: Option<&Secret>) -> Result<KeyEntry, StoreFault> {
    let blocks = blocks(text)?;
    let PemKey {
        key,
        password_unused,
    } = key_of(&blocks, password)?;
    let chain = certificates(&blocks)?;
    if chain.is_empty() {
        return Err(StoreFault::KeyWithoutCertificate);
    }
    Ok(KeyEntry {
        alias: None,
        chain,
        key,
        password_unused,
    })
}

fn certificates(blocks: &[Block<'_>]) -> Result<Vec<CertificateDer<'static>>, StoreFault> {
    let blocks = blocks.iter().filter(|block| block.is_certificate());
    blocks.map(Block::certificate).collect()
}

fn key_of(blocks: &[Block<'_>], password: Option<&Secret>) -> Result<PemKey, StoreFault> {
    let mut keys = blocks
        .iter()
        .filter(|block| block.label.ends_with("PRIVATE KEY"));
    let Some(block) = keys.next() else {
        return Err(StoreFault::NoKey(found(blocks)));
    };
    match keys.count() {
        0 => block.key(password),
        others => Err(StoreFault::SeveralKeys(1 + others)),
    }
}

/// Up to three different labels.
fn found(blocks: &[Block<'_>]) -> Found {
    let mut labels: Vec<String> = Vec::new();
    for block in blocks {
        if labels.len() < 3 && !labels.contains(&block.label) {
            labels.push(block.label.clone());
        }
    }
    Found(labels)
}

/// The text between BEGIN and END, and where it begins.
struct Block<'a> {
    label: String,
    line: usize,
    body: &'a [u8],
}

impl Block<'_> {
    fn is_certificate(&self) -> bool {
        self.label.ends_with("CERTIFICATE")
    }

    fn certificate(&self) -> Result<CertificateDer<'static>, StoreFault> {
        let mut bytes = self.decode()?;
        if self.label == "TRUSTED CERTIFICATE" {
            // OpenSSL appends what the certificate may be used for.
            let length = der::Reader::new(&bytes)
                .next()
                .map_or(0, |element| element.whole.len());
            bytes.truncate(length);
        }
        if !der::is_certificate(&bytes) {
            return Err(self.fault(BlockFault::NotACertificate));
        }
        Ok(CertificateDer::from(std::mem::take(&mut *bytes)))
    }

    fn key(&self, password: Option<&Secret>) -> Result<PemKey, StoreFault> {
        if find(self.body, b"Proc-Type:").is_some() && find(self.body, b"ENCRYPTED").is_some() {
            return Err(StoreFault::TraditionalKey);
        }
        let owner = || Owner::Key(Format::Pem, None);
        let form = match &*self.label {
            "PRIVATE KEY" => KeyForm::Pkcs8,
            "RSA PRIVATE KEY" => KeyForm::Pkcs1,
            "EC PRIVATE KEY" => KeyForm::Sec1,
            "ENCRYPTED PRIVATE KEY" => {
                let key = key::decrypt(&self.decode()?, password, owner())?;
                return Ok(PemKey {
                    key,
                    password_unused: false,
                });
            }
            "DSA PRIVATE KEY" => return Err(StoreFault::DsaKey(owner())),
            _ => return Err(StoreFault::NoKey(Found(vec![self.label.clone()]))),
        };
        let key = key::plain(self.decode()?, form, owner())?;
        Ok(PemKey {
            key,
            password_unused: password.is_some(),
        })
    }

    fn decode(&self) -> Result<Zeroizing<Vec<u8>>, StoreFault> {
        let text = Zeroizing::new(base64_text(self.body));
        // The decoder writes into a buffer of the right size, so that it leaves no copy of a key in a smaller one.
        let mut bytes = Zeroizing::new(vec![0; base64::decoded_len_estimate(text.len())]);
        let length = BASE64.decode_slice(&*text, &mut bytes);
        let length = length.map_err(|_| self.fault(BlockFault::NotBase64))?;
        bytes.truncate(length);
        Ok(bytes)
    }

    fn fault(&self, fault: BlockFault) -> StoreFault {
        StoreFault::Block(self.label.clone(), self.line, fault)
    }
}

/// Returns the text without white space and without headers: lines with a colon, which base64 does not have.
fn base64_text(body: &[u8]) -> Vec<u8> {
    let mut text = Vec::with_capacity(body.len());
    for line in body.split(|byte| *byte == b'\n') {
        if line.contains(&b':') {
            continue;
        }
        let mut rest = line;
        while let Some((byte, after)) = rest.split_first() {
            rest = after;
            match byte {
                b' ' | b'\t' | b'\r' => {}
                b'\\' if after.starts_with(b"n") || after.starts_with(b"r") => rest = &after[1..],
                byte => text.push(*byte),
            }
        }
    }
    text
}

fn blocks(text: &[u8]) -> Result<Vec<Block<'_>>, StoreFault> {
    match text {
        [] => return Err(StoreFault::Empty),
        _ if text.len() > MAX_BYTES => return Err(StoreFault::TooLarge),
        _ => {}
    }
    let mut blocks = Vec::new();
    let mut rest = text;
    let mut line = 1;
    while let Some(begin) = find(rest, BEGIN) {
        line += lines(&rest[..begin]);
        let after_begin = &rest[begin + BEGIN.len()..];
        let Some((label, after_label)) = label(after_begin) else {
            rest = after_begin;
            continue;
        };
        let Some((body, after)) = body(after_label, &label) else {
            return Err(StoreFault::Block(label, line, BlockFault::NoEnd));
        };
        blocks.push(Block { label, line, body });
        line += lines(&rest[begin..rest.len() - after.len()]);
        rest = after;
    }
    Ok(blocks)
}

/// As [`blocks`]. If there are none, and the text seems to be another thing, the fault says so.
fn some_blocks(text: &[u8]) -> Result<Vec<Block<'_>>, StoreFault> {
    let blocks = blocks(text)?;
    match text_kind(text).filter(|_| blocks.is_empty()) {
        Some(text) => Err(StoreFault::NotPem(text)),
        None => Ok(blocks),
    }
}

/// Returns what a text without a block seems to be.
fn text_kind(text: &[u8]) -> Option<Text> {
    const ENDS: [&str; 9] = [
        ".pem", ".crt", ".cer", ".key", ".der", ".p12", ".pfx", ".jks", ".txt",
    ];
    const BEGINNINGS: [&str; 7] = ["/", "./", "../", "~", "file:", "classpath:", "\\\\"];
    const LONGEST_PATH: usize = 4096;
    let trimmed = std::str::from_utf8(text).ok()?.trim();
    let is_short = trimmed.len() <= LONGEST_PATH && !trimmed.contains('\n');
    let lower = Zeroizing::new(trimmed.to_ascii_lowercase());
    let has_drive = lower.as_bytes().get(1) == Some(&b':')
        && lower.starts_with(|character: char| character.is_ascii_lowercase());
    // Base64 may begin with a slash, and has no dots.
    let begins_so = BEGINNINGS.iter().any(|begin| lower.starts_with(begin));
    let ends_so = ENDS.iter().any(|end| lower.ends_with(end));
    if is_short && (ends_so || has_drive || begins_so && base64_kind(text).is_none()) {
        return Some(Text::Path);
    }
    base64_kind(text)
}

/// Returns which kind of base64 the bytes are. `None` if they are not, or are too few to be sure.
pub(super) fn base64_kind(bytes: &[u8]) -> Option<Text> {
    /// A shorter text may be a word or a path.
    const SHORTEST: usize = 100;
    let text = Zeroizing::new(base64_text(bytes));
    let digits = text.trim_ascii_end();
    let is_digit = |byte: &u8| byte.is_ascii_alphanumeric() || matches!(byte, b'+' | b'/' | b'=');
    if digits.len() < SHORTEST || !digits.iter().all(is_digit) {
        return None;
    }
    // "-----BEGIN"
    Some(match digits.starts_with(b"LS0tLS1CRUdJT") {
        true => Text::Base64OfPem,
        false => Text::Base64,
    })
}

/// Returns what stands between BEGIN or END and the dashes after it, with single spaces.
fn label(text: &[u8]) -> Option<(String, &[u8])> {
    let length = find(&text[..text.len().min(LONGEST_LABEL)], DASHES)?;
    let label = std::str::from_utf8(&text[..length]).ok()?;
    let plain = |c: char| c.is_ascii_alphanumeric() || c == ' ' || c == '\t';
    let words: Vec<_> = label.split_ascii_whitespace().collect();
    if words.is_empty() || !label.starts_with([' ', '\t']) || !label.chars().all(plain) {
        return None;
    }
    Some((words.join(" "), &text[length + DASHES.len()..]))
}

/// Returns the text up to the END of this label, and what follows it. `None` if other dashes come first.
fn body<'a>(text: &'a [u8], expected: &str) -> Option<(&'a [u8], &'a [u8])> {
    let end = find(text, DASHES)?;
    let after_end = text[end..].strip_prefix(END)?;
    let (found, after) = label(after_end)?;
    (found == expected).then_some((&text[..end], after))
}

fn lines(text: &[u8]) -> usize {
    text.iter().filter(|byte| **byte == b'\n').count()
}

fn find(text: &[u8], pattern: &[u8]) -> Option<usize> {
    text.windows(pattern.len())
        .position(|window| window == pattern)
}
