//! What a certificate says, for messages about it and for the checks that rustls leaves to us.

use std::fmt::Write as _;
use std::net::IpAddr;

use rustls::pki_types::{CertificateDer, UnixTime};
use x509_parser::certificate::X509Certificate;
use x509_parser::extensions::GeneralName;
use x509_parser::prelude::{ASN1Time, FromDer, X509Version};
use x509_parser::public_key::PublicKey;

use super::stores::der::{self, Reader};

/// The contents of a certificate.
pub(super) struct Certificate<'a>(X509Certificate<'a>);

impl<'a> Certificate<'a> {
    /// `None` if the bytes are no certificate.
    pub(super) fn read(der: &'a CertificateDer<'_>) -> Option<Self> {
        match X509Certificate::from_der(der.as_ref()) {
            Ok((_, certificate)) => Some(Self(certificate)),
            Err(_) => None,
        }
    }

    pub(super) fn subject(&self) -> String {
        self.0.subject().to_string()
    }

    pub(super) fn issuer(&self) -> String {
        self.0.issuer().to_string()
    }

    /// Returns the DER form of the issuer's name.
    pub(super) fn issuer_der(&self) -> &[u8] {
        self.0.issuer().as_raw()
    }

    /// Returns the DER form of the subject's name.
    pub(super) fn subject_der(&self) -> &[u8] {
        self.0.subject().as_raw()
    }

    /// Returns whether the certificate is of version 1 or 2, which have no extensions.
    pub(super) fn is_older_than_version_3(&self) -> bool {
        self.0.version() != X509Version::V3
    }

    pub(super) fn is_valid_at(&self, time: UnixTime) -> bool {
        match i64::try_from(time.as_secs()).map(ASN1Time::from_timestamp) {
            Ok(Ok(time)) => self.0.validity().is_valid_at(time),
            _ => false,
        }
    }

    /// Returns the end of the validity as text.
    pub(super) fn not_after(&self) -> String {
        time_text(self.0.validity().not_after)
    }

    pub(super) fn not_before(&self) -> String {
        time_text(self.0.validity().not_before)
    }

    /// Returns the end of the validity in seconds since 1970, or 0 if it is earlier.
    pub(super) fn not_after_seconds(&self) -> u64 {
        u64::try_from(self.0.validity().not_after.timestamp()).unwrap_or(0)
    }

    pub(super) fn not_before_seconds(&self) -> u64 {
        u64::try_from(self.0.validity().not_before.timestamp()).unwrap_or(0)
    }

    /// Returns whether the names of the subjectAltName extension can be read. True without the extension.
    pub(super) fn has_readable_names(&self) -> bool {
        self.0.subject_alternative_name().is_ok()
    }

    /// Returns the names of the subjectAltName extension that can name a broker.
    pub(super) fn names(&self) -> Vec<Name> {
        let Ok(Some(extension)) = self.0.subject_alternative_name() else {
            return Vec::new();
        };
        let names = extension.value.general_names.iter();
        names
            .filter_map(|name| match name {
                GeneralName::DNSName(name) => Some(Name::Dns((*name).to_owned())),
                GeneralName::IPAddress(bytes) => address(bytes).map(Name::Ip),
                _ => None,
            })
            .collect()
    }

    /// Returns the common names of the subject.
    pub(super) fn common_names(&self) -> Vec<String> {
        let names = self.0.subject().iter_common_name();
        names
            .filter_map(|name| name.as_str().ok().map(str::to_owned))
            .collect()
    }

    /// Returns the number of bits of an RSA key; `None` for other keys.
    pub(super) fn rsa_bits(&self) -> Option<usize> {
        match self.0.public_key().parsed() {
            Ok(PublicKey::RSA(key)) => Some(key.key_size()),
            _ => None,
        }
    }

    /// Returns the contents of the public key's bit string, and the DER form of its algorithm without the outer tag and
    /// length, as rustls compares it.
    pub(super) fn public_key(&self) -> Option<(&[u8], &[u8])> {
        let key = self.0.public_key();
        let algorithm = Reader::new(key.raw).sequence()?.read(der::SEQUENCE)?;
        Some((&key.subject_public_key.data, algorithm))
    }
}

/// A name of a subjectAltName extension.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Name {
    Dns(String),
    Ip(IpAddr),
}

/// Returns the names as one text, at most ten of them.
pub(super) fn list(names: &[Name]) -> String {
    const MOST: usize = 10;
    let mut text = String::new();
    for (number, name) in names.iter().take(MOST).enumerate() {
        let comma = if number == 0 { "" } else { ", " };
        let _ = match name {
            Name::Dns(name) => write!(text, "{comma}{}", crate::error::printable(name)),
            Name::Ip(address) => write!(text, "{comma}{address}"),
        };
    }
    if names.len() > MOST {
        let _ = write!(text, " and {} others", names.len() - MOST);
    }
    text
}

/// Returns a point in time as text.
pub(super) fn unix_time_text(time: UnixTime) -> String {
    let seconds = i64::try_from(time.as_secs()).unwrap_or(i64::MAX);
    match ASN1Time::from_timestamp(seconds) {
        Ok(time) => time_text(time),
        Err(_) => format!("{seconds} s after 1970"),
    }
}

fn time_text(time: ASN1Time) -> String {
    time.to_string()
}

fn address(bytes: &[u8]) -> Option<IpAddr> {
    if let Ok(bytes) = <[u8; 4]>::try_from(bytes) {
        return Some(bytes.into());
    }
    <[u8; 16]>::try_from(bytes).ok().map(IpAddr::from)
}
