//! TLS of the null broker: TLS 1.3 with TLS_AES_128_GCM_SHA256 and nothing else, so that all clients use the same cipher.
//!
//! rustls makes the handshake. Then the broker decrypts each record in the buffer that it was read into. rustls would copy
//! every byte once more, and the broker has to cost little: it runs on the same cores as the client.

use std::io::{self, Read, Write};
use std::net::TcpStream;
use std::ops::Range;
use std::path::Path;
use std::sync::Arc;

use rcgen::{
    BasicConstraints, CertificateParams, CertifiedIssuer, DnType, IsCa, KeyPair, KeyUsagePurpose,
};
use ring::aead::{AES_128_GCM, Aad, LessSafeKey, UnboundKey};
use rustls::crypto::cipher::{Iv, Nonce};
use rustls::crypto::ring::cipher_suite::TLS13_AES_128_GCM_SHA256;
use rustls::pki_types::PrivatePkcs8KeyDer;
use rustls::{ConnectionTrafficSecrets, ServerConfig, ServerConnection};

use crate::support::null_broker::Stream;

/// A connection after its handshake.
pub(crate) struct TlsStream {
    socket: TcpStream,
    receiving: Direction,
    sending: Direction,
    buffer: Box<[u8]>,
    /// The decrypted bytes that nobody has read yet.
    plaintext: Range<usize>,
    /// The bytes from the socket that are not decrypted yet. They are behind `plaintext`.
    encrypted: Range<usize>,
    outgoing: Vec<u8>,
}

/// The key of one direction, and the number of the next record.
struct Direction {
    key: LessSafeKey,
    iv: Iv,
    sequence: u64,
}

const HEADER_BYTES: usize = 5;
const MOST_PLAINTEXT: usize = 1 << 14;
const BUFFER_BYTES: usize = 256 << 10;
const APPLICATION_DATA: u8 = 23;

/// Makes an authority and its certificate for 127.0.0.1. Writes that of the authority to `ca.pem` in `folder`.
pub(crate) fn server_config(
    folder: &Path,
) -> Result<ServerConfig, Box<dyn std::error::Error + Send + Sync>> {
    let mut authority = CertificateParams::new(Vec::<String>::new())?;
    // With one name for both, OpenSSL takes the broker's certificate for one of itself.
    authority
        .distinguished_name
        .push(DnType::CommonName, "rivals authority");
    authority.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    authority.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    let authority = CertifiedIssuer::self_signed(authority, KeyPair::generate()?)?;
    let key = KeyPair::generate()?;
    let mut own = CertificateParams::new(vec!["127.0.0.1".to_owned(), "localhost".to_owned()])?;
    own.distinguished_name.push(DnType::CommonName, "127.0.0.1");
    own.use_authority_key_identifier_extension = true;
    let own = own.signed_by(&key, &authority)?;
    std::fs::create_dir_all(folder)?;
    std::fs::write(folder.join("ca.pem"), authority.pem())?;

    let mut provider = rustls::crypto::ring::default_provider();
    provider.cipher_suites = vec![TLS13_AES_128_GCM_SHA256];
    let mut config = ServerConfig::builder_with_provider(Arc::new(provider))
        .with_protocol_versions(&[&rustls::version::TLS13])?
        .with_no_client_auth()
        .with_single_cert(
            vec![own.der().clone()],
            PrivatePkcs8KeyDer::from(key.serialize_der()).into(),
        )?;
    config.enable_secret_extraction = true;
    // A ticket would be one more message behind the handshake, and no client of a benchmark connects again.
    config.send_tls13_tickets = 0;
    Ok(config)
}

impl TlsStream {
    pub(crate) fn accept(mut socket: TcpStream, config: &Arc<ServerConfig>) -> io::Result<Self> {
        socket.set_nodelay(true)?;
        let mut tls = ServerConnection::new(Arc::clone(config)).map_err(io::Error::other)?;
        while tls.is_handshaking() || tls.wants_write() {
            if tls.wants_write() {
                tls.write_tls(&mut socket)?;
            } else {
                take_record(&mut tls, &mut socket)?;
            }
        }
        let secrets = tls.dangerous_extract_secrets().map_err(io::Error::other)?;
        Ok(Self {
            socket,
            receiving: Direction::new(secrets.rx)?,
            sending: Direction::new(secrets.tx)?,
            buffer: vec![0; BUFFER_BYTES].into(),
            plaintext: 0..0,
            encrypted: 0..0,
            outgoing: Vec::new(),
        })
    }

    /// Returns the bytes to read next; none at the end.
    fn plaintext(&mut self) -> io::Result<Range<usize>> {
        while self.plaintext.is_empty() {
            let record = match self.record() {
                Some(record) => record,
                None if self.receive()? == 0 => return Ok(0..0),
                None => continue,
            };
            self.encrypted.start = record.end;
            let Some(plaintext) = self.receiving.open(&mut self.buffer[record.clone()])? else {
                return Ok(0..0);
            };
            let start = record.start + HEADER_BYTES;
            self.plaintext = start..start + plaintext;
        }
        Ok(self.plaintext.clone())
    }

    /// Returns where the next record is, if all of it has been read.
    fn record(&self) -> Option<Range<usize>> {
        let header = self.buffer[self.encrypted.clone()].first_chunk()?;
        let end = self.encrypted.start + HEADER_BYTES + body_bytes(header);
        (end <= self.encrypted.end).then_some(self.encrypted.start..end)
    }

    /// Reads from the socket. There is no plaintext.
    fn receive(&mut self) -> io::Result<usize> {
        self.buffer.copy_within(self.encrypted.clone(), 0);
        self.encrypted = 0..self.encrypted.len();
        let read = self.socket.read(&mut self.buffer[self.encrypted.end..])?;
        self.encrypted.end += read;
        Ok(read)
    }
}

impl Stream for TlsStream {
    /// Its bytes are in memory.
    fn least_dropped(&self) -> usize {
        1
    }

    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        let plaintext = self.plaintext()?;
        let read = plaintext.len().min(into.len());
        into[..read].copy_from_slice(&self.buffer[plaintext][..read]);
        self.plaintext.start += read;
        Ok(read)
    }

    fn drop_some(&mut self, most: usize) -> io::Result<usize> {
        let dropped = self.plaintext()?.len().min(most);
        self.plaintext.start += dropped;
        Ok(dropped)
    }

    fn write_all(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.outgoing.clear();
        for part in bytes.chunks(MOST_PLAINTEXT) {
            self.sending.seal(part, &mut self.outgoing)?;
        }
        self.socket.write_all(&self.outgoing)
    }
}

impl Direction {
    fn new((sequence, secrets): (u64, ConnectionTrafficSecrets)) -> io::Result<Self> {
        let ConnectionTrafficSecrets::Aes128Gcm { key, iv } = secrets else {
            return Err(io::Error::other("another cipher than the only one"));
        };
        let key = UnboundKey::new(&AES_128_GCM, key.as_ref()).map_err(broken)?;
        Ok(Self {
            key: LessSafeKey::new(key),
            iv,
            sequence,
        })
    }

    fn next_nonce(&mut self) -> ring::aead::Nonce {
        let nonce = Nonce::new(&self.iv, self.sequence).0;
        self.sequence += 1;
        ring::aead::Nonce::assume_unique_for_key(nonce)
    }

    /// Decrypts a record in its place. Returns the length of its data, which follows the header. `None` for an alert: the
    /// peer ends the connection. A client exchanges its keys after more bytes than a benchmark sends.
    fn open(&mut self, record: &mut [u8]) -> io::Result<Option<usize>> {
        let nonce = self.next_nonce();
        let (header, body) = record.split_at_mut(HEADER_BYTES);
        let opened = self.key.open_in_place(nonce, Aad::from(&*header), body);
        match opened.map_err(broken)? {
            [data @ .., APPLICATION_DATA] => Ok(Some(data.len())),
            _ => Ok(None),
        }
    }

    fn seal(&mut self, data: &[u8], into: &mut Vec<u8>) -> io::Result<()> {
        let nonce = self.next_nonce();
        let start = into.len();
        let body = data.len() + 1 + self.key.algorithm().tag_len();
        let [high, low] = (body as u16).to_be_bytes();
        let header = [APPLICATION_DATA, 3, 3, high, low];
        into.extend_from_slice(&header);
        into.extend_from_slice(data);
        into.push(APPLICATION_DATA);
        let inner = &mut into[start + HEADER_BYTES..];
        let sealed = self
            .key
            .seal_in_place_separate_tag(nonce, Aad::from(header), inner);
        into.extend_from_slice(sealed.map_err(broken)?.as_ref());
        Ok(())
    }
}

fn body_bytes(header: &[u8; HEADER_BYTES]) -> usize {
    usize::from(u16::from_be_bytes([header[3], header[4]]))
}

/// Reads one record and not a byte more, because what follows the last one of the handshake is not for rustls.
fn take_record(tls: &mut ServerConnection, socket: &mut TcpStream) -> io::Result<()> {
    let mut header = [0; HEADER_BYTES];
    socket.read_exact(&mut header)?;
    let mut record = header.to_vec();
    record.resize(HEADER_BYTES + body_bytes(&header), 0);
    socket.read_exact(&mut record[HEADER_BYTES..])?;
    let mut rest = &record[..];
    while !rest.is_empty() {
        tls.read_tls(&mut rest)?;
        tls.process_new_packets().map_err(io::Error::other)?;
    }
    Ok(())
}

fn broken(_: ring::error::Unspecified) -> io::Error {
    io::ErrorKind::InvalidData.into()
}
