//! Listeners with TLS that behave unlike brokers.

use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::{ServerConfig, ServerConnection, StreamOwned};

use super::{Builder, PATIENCE, builder_at, with};

/// A connection; the first read makes the handshake.
pub(crate) type TlsConnection = StreamOwned<ServerConnection, TcpStream>;

/// A port that calls `serve` for each connection, on a thread of its own. Its certificate is for 127.0.0.1.
pub(crate) fn listening(serve: impl Fn(TlsConnection) + Send + Sync + 'static) -> (u16, impl Drop) {
    struct Listener(u16, Arc<AtomicBool>);
    impl Drop for Listener {
        fn drop(&mut self) {
            self.1.store(true, Ordering::Release);
            let _ = TcpStream::connect((Ipv4Addr::LOCALHOST, self.0));
        }
    }
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let port = listener.local_addr().unwrap().port();
    let stopped = Arc::new(AtomicBool::new(false));
    let (serve, stop, config) = (Arc::new(serve), Arc::clone(&stopped), config());
    std::thread::spawn(move || {
        while let Ok((stream, _)) = listener.accept() {
            if stop.load(Ordering::Acquire) {
                return;
            }
            stream.set_read_timeout(Some(PATIENCE)).unwrap();
            let tls = ServerConnection::new(Arc::clone(&config)).unwrap();
            let serve = Arc::clone(&serve);
            std::thread::spawn(move || serve(StreamOwned::new(tls, stream)));
        }
    });
    (port, Listener(port, stopped))
}

/// A builder of a producer that trusts the certificate of [`listening`].
pub(crate) fn trusting(port: u16) -> Builder {
    let trusted = String::from_utf8(store("chain.pem")).unwrap();
    let settings = [
        ("security.protocol", "SSL"),
        ("ssl.truststore.certificates", &*trusted),
    ];
    with(builder_at(&format!("127.0.0.1:{port}")), &settings)
}

/// The path of a store that all tests share.
pub(crate) fn store_path(name: &str) -> String {
    format!("{}/tests/data/stores/{name}", env!("CARGO_MANIFEST_DIR"))
}

fn store(name: &str) -> Vec<u8> {
    std::fs::read(store_path(name)).unwrap()
}

fn config() -> Arc<ServerConfig> {
    let chain = CertificateDer::pem_slice_iter(&store("chain.pem"))
        .collect::<Result<_, _>>()
        .unwrap();
    let key = PrivateKeyDer::try_from(store("leaf.key.der")).unwrap();
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(chain, key);
    Arc::new(config.unwrap())
}
