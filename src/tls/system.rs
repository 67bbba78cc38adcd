//! The certificates that the system trusts.
//!
//! `SSL_CERT_FILE` and `SSL_CERT_DIR` name a file and folders of them. Then each connection looks whether they have changed,
//! which takes one call to the system for each. The system's own places are read once, when the producer is built: finding
//! and reading them takes milliseconds on Linux and far longer elsewhere, and updates of the system change them, which
//! restart programs anyway.

use std::path::{Path, PathBuf};
use std::time::SystemTime;

use rustls::pki_types::CertificateDer;

use super::fault::tls_error;
use crate::error::Error;

const FILE: &str = "SSL_CERT_FILE";
const FOLDERS: &str = "SSL_CERT_DIR";

/// Returns whether the environment names the certificates.
pub(super) fn is_named() -> bool {
    [FILE, FOLDERS]
        .iter()
        .any(|name| std::env::var_os(name).is_some())
}

/// What shows that a file or folder has changed: the time, the length, and the number of the file.
pub(super) type Stamp = (Option<SystemTime>, u64, u64);

/// A file or folder with certificates, as it is now. `None` if it is not there.
pub(super) type SystemPlace = (PathBuf, Option<Stamp>);

/// Returns the file and folders that the environment names.
pub(super) fn state() -> Vec<SystemPlace> {
    let file = std::env::var_os(FILE).map(PathBuf::from);
    let folders = std::env::var_os(FOLDERS).unwrap_or_default();
    let paths = file.into_iter().chain(std::env::split_paths(&folders));
    paths.map(|path| (path.clone(), stamp(&path))).collect()
}

fn stamp(path: &Path) -> Option<Stamp> {
    let metadata = std::fs::metadata(path).ok()?;
    #[cfg(unix)]
    let number = std::os::unix::fs::MetadataExt::ino(&metadata);
    #[cfg(not(unix))]
    let number = 0;
    Some((metadata.modified().ok(), metadata.len(), number))
}

/// Reads the certificates. Returns an error if there are none.
pub(super) fn certificates() -> Result<Vec<CertificateDer<'static>>, Error> {
    let loaded = rustls_native_certs::load_native_certs();
    if loaded.certs.is_empty() {
        let mut message = "the system has no certificates to trust".to_owned();
        if let Some(error) = loaded.errors.first() {
            message = format!("{message}: {error}");
        }
        let advice = "set ssl.truststore.location or ssl.truststore.certificates, or install the system's certificates \
                      (the package ca-certificates)";
        return Err(tls_error(message, advice));
    }
    Ok(loaded.certs)
}
