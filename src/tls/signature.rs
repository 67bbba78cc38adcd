//! Signatures with a private key, for the assertions of OAuth (RFC 7518, section 3).

use rustls::SignatureScheme;
use zeroize::Zeroizing;

use super::provider::provider;
use super::stores::der::{INTEGER, Reader};
use super::stores::{pem_key, take};
use crate::secret::Secret;

/// An algorithm of JSON web signatures.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Algorithm {
    /// RSA (PKCS#1 v1.5) with SHA-256.
    Rs256,
    /// ECDSA on P-256 with SHA-256.
    Es256,
}

impl Algorithm {
    /// Reads a name; upper and lower case are the same. `None` if this client does not have the algorithm.
    pub(crate) fn of(name: &str) -> Option<Self> {
        [Self::Rs256, Self::Es256]
            .into_iter()
            .find(|algorithm| algorithm.name().eq_ignore_ascii_case(name))
    }

    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Rs256 => "RS256",
            Self::Es256 => "ES256",
        }
    }

    fn scheme(self) -> SignatureScheme {
        match self {
            Self::Rs256 => SignatureScheme::RSA_PKCS1_SHA256,
            Self::Es256 => SignatureScheme::ECDSA_NISTP256_SHA256,
        }
    }

    fn key(self) -> &'static str {
        match self {
            Self::Rs256 => "an RSA key of 2048 bits or more",
            Self::Es256 => "an EC key on P-256",
        }
    }
}

/// Signs `message` with the private key in `key_file`: PEM, or the base64 digits of a PEM block alone, as Java takes them. An
/// error is a phrase about the file.
pub(crate) fn sign(
    key_file: &[u8],
    password: Option<&Secret>,
    algorithm: Algorithm,
    message: &[u8],
) -> Result<Vec<u8>, String> {
    let pem = as_pem(key_file, password.is_some());
    let mut key = pem_key(&pem, password).map_err(|fault| format!("cannot be read: {fault}"))?;
    let unusable = || {
        format!(
            "has a key that does not fit {}: use {}",
            algorithm.name(),
            algorithm.key()
        )
    };
    let key = provider()
        .map_err(|error| format!("cannot be used: {}", error.message()))?
        .key_provider
        .load_private_key(take(&mut key.key))
        .map_err(|_| unusable())?;
    let signer = key
        .choose_scheme(&[algorithm.scheme()])
        .ok_or_else(unusable)?;
    let signature = signer
        .sign(message)
        .map_err(|error| format!("has a key that cannot sign: {error}"))?;
    match algorithm {
        Algorithm::Rs256 => Ok(signature),
        Algorithm::Es256 => raw_signature(&signature).ok_or_else(unusable),
    }
}

fn as_pem(key_file: &[u8], is_encrypted: bool) -> Zeroizing<Vec<u8>> {
    let is_digit = |byte: &u8| byte.is_ascii_alphanumeric() || b"+/= \r\n\t".contains(byte);
    if key_file.is_empty() || !key_file.iter().all(is_digit) {
        return Zeroizing::new(key_file.to_vec());
    }
    let label = match is_encrypted {
        true => "ENCRYPTED PRIVATE KEY",
        false => "PRIVATE KEY",
    };
    let (begin, end) = (
        format!("-----BEGIN {label}-----\n"),
        format!("\n-----END {label}-----\n"),
    );
    Zeroizing::new([begin.as_bytes(), key_file, end.as_bytes()].concat())
}

/// Makes of a signature in DER the form of RFC 7518, section 3.4: both numbers with 32 bytes each.
fn raw_signature(der: &[u8]) -> Option<Vec<u8>> {
    let mut numbers = Reader::new(der).sequence()?;
    let mut raw = vec![0; 64];
    for half in raw.chunks_mut(32) {
        let number = numbers.read(INTEGER)?;
        let zeros = number.iter().take_while(|byte| **byte == 0).count();
        let digits = &number[zeros..];
        let start = half.len().checked_sub(digits.len())?;
        half[start..].copy_from_slice(digits);
    }
    Some(raw)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn file(name: &str) -> Vec<u8> {
        let path = format!("{}/tests/data/stores/{name}", env!("CARGO_MANIFEST_DIR"));
        std::fs::read(path).unwrap()
    }

    #[test]
    fn numbers_of_a_signature_are_filled_up_to_32_bytes() {
        let number = |bytes: &[u8]| [&[INTEGER, bytes.len() as u8], bytes].concat();
        let long = [&[0, 0xff][..], &[7; 31]].concat();
        let body = [number(&long), number(&[5])].concat();
        let der = [&[0x30, body.len() as u8], &body[..]].concat();
        let mut expected = [&[0xff][..], &[7; 31], &[0; 31], &[5]].concat();
        assert_eq!(raw_signature(&der), Some(expected.clone()));
        expected.truncate(32);
        for bad in [&b""[..], b"x", &der[..der.len() - 1], &number(&[1; 33])] {
            assert_eq!(raw_signature(bad), None);
        }
    }

    #[test]
    fn a_key_that_does_not_fit_its_algorithm_is_told() {
        let (rsa, ec) = (file("key-pkcs1.pem"), file("key-pkcs8.pem"));
        let length =
            |key, algorithm| sign(key, None, algorithm, b"x").map(|signature| signature.len());
        assert_eq!(length(&rsa, Algorithm::Rs256), Ok(256));
        assert_eq!(length(&ec, Algorithm::Es256), Ok(64));
        let error = length(&rsa, Algorithm::Es256).unwrap_err();
        assert_eq!(
            error,
            "has a key that does not fit ES256: use an EC key on P-256"
        );
        let error = length(&ec, Algorithm::Rs256).unwrap_err();
        assert_eq!(
            error,
            "has a key that does not fit RS256: use an RSA key of 2048 bits or more"
        );
        let error = sign(&file("chain.pem"), None, Algorithm::Rs256, b"x").unwrap_err();
        assert!(error.starts_with("cannot be read: "), "{error}");
        assert!(sign(b"", None, Algorithm::Rs256, b"x").is_err());
        assert!(sign(b"AAAA", None, Algorithm::Rs256, b"x").is_err());
    }

    #[test]
    fn the_digits_of_a_key_without_the_lines_of_pem_are_taken_as_by_java() {
        let key = String::from_utf8(file("key-pkcs8.pem")).unwrap();
        let digits: Vec<_> = key.lines().filter(|line| !line.starts_with('-')).collect();
        let digits = digits.join("\n");
        assert!(sign(digits.as_bytes(), None, Algorithm::Es256, b"x").is_ok());
    }

    #[cfg(feature = "mock-tls")]
    #[test]
    fn a_signature_by_es256_is_one_that_others_verify() {
        let pair = rcgen::KeyPair::generate().unwrap();
        let digits = {
            use base64::Engine;
            base64::engine::general_purpose::STANDARD.encode(pair.serialize_der())
        };
        // The provider verifies the DER form, so the raw form is turned back.
        for count in 0..20_u8 {
            let message = [count];
            let raw = sign(digits.as_bytes(), None, Algorithm::Es256, &message).unwrap();
            assert_eq!(raw.len(), 64);
            let number = |half: &[u8]| {
                let zeros = half.iter().take_while(|byte| **byte == 0).count();
                let mut digits = half[zeros..].to_vec();
                if digits.first().is_none_or(|first| *first >= 0x80) {
                    digits.insert(0, 0);
                }
                [&[INTEGER, digits.len() as u8], &digits[..]].concat()
            };
            let body = [number(&raw[..32]), number(&raw[32..])].concat();
            let der = [&[0x30, body.len() as u8], &body[..]].concat();
            let verifier = webpki_verifier();
            let public = rcgen::PublicKeyData::der_bytes(&pair);
            verifier
                .verify_signature(public, &message, &der)
                .expect("a legal signature");
        }
    }

    #[cfg(feature = "mock-tls")]
    fn webpki_verifier() -> &'static dyn rustls::pki_types::SignatureVerificationAlgorithm {
        let algorithms = provider().unwrap().signature_verification_algorithms;
        let of_scheme = algorithms
            .mapping
            .iter()
            .find(|(scheme, _)| *scheme == SignatureScheme::ECDSA_NISTP256_SHA256);
        of_scheme.unwrap().1[0]
    }
}
