//! Both halves of TLS against rustls's own server side, over real sockets.

use std::io::{Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::thread::JoinHandle;

use proptest::prelude::*;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::{ServerConfig, ServerConnection, StreamOwned};

use super::*;
use crate::connection::ConnectionConfig;
use crate::connection::exchange::{ExchangeConnection as _, OwnConnection};
use crate::connection::frames::FrameReader;
use crate::tls::provider::provider;
use crate::tls::settings::{TlsSettings, TrustSource, Versions};
use crate::tls::stores::pem_certificates;

/// Far longer than anything here takes.
const PATIENCE: Duration = Duration::from_secs(20);

const A_MOMENT: Duration = Duration::from_millis(20);

type Peer = StreamOwned<ServerConnection, TcpStream>;

fn file(name: &str) -> Vec<u8> {
    let path = format!("{}/tests/data/stores/{name}", env!("CARGO_MANIFEST_DIR"));
    std::fs::read(&path).unwrap_or_else(|error| panic!("{path}: {error}"))
}

/// A client that trusts the peer's certificate.
fn client(versions: Versions) -> Arc<TlsClient> {
    let trust = String::from_utf8(file("chain.pem")).unwrap();
    let settings = TlsSettings {
        trust: Some(TrustSource::inline(trust)),
        versions,
        ..TlsSettings::default()
    };
    Arc::new(TlsClient::new(settings).unwrap())
}

fn server_config() -> ServerConfig {
    let chain: Vec<CertificateDer<'static>> = pem_certificates(&file("chain.pem")).unwrap();
    let key = PrivateKeyDer::try_from(file("leaf.key.der")).unwrap();
    ServerConfig::builder_with_provider(Arc::new(provider().unwrap()))
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(chain, key)
        .unwrap()
}

/// Two ends of a TCP connection. The client's system holds few bytes that the peer has not read.
fn sockets() -> (Arc<TcpSocket>, TcpStream) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let config = ConnectionConfig {
        send_buffer: Some(8 * 1024),
        ..ConnectionConfig::for_tests()
    };
    let socket = Arc::new(TcpSocket::new(&address, &config).unwrap());
    socket.connect(address, PATIENCE).unwrap();
    let peer = listener.accept().unwrap().0;
    peer.set_read_timeout(Some(PATIENCE)).unwrap();
    peer.set_write_timeout(Some(PATIENCE)).unwrap();
    (socket, peer)
}

/// Starts the peer's side of a connection. `at_once` is written before the client has finished its handshake.
fn serve(
    config: ServerConfig,
    mut stream: TcpStream,
    at_once: &'static [u8],
) -> JoinHandle<io::Result<Peer>> {
    std::thread::spawn(move || {
        let mut tls = ServerConnection::new(Arc::new(config)).unwrap();
        tls.writer().write_all(at_once)?;
        while tls.is_handshaking() || tls.wants_write() {
            tls.complete_io(&mut stream)?;
        }
        Ok(StreamOwned::new(tls, stream))
    })
}

/// A connection after its handshake.
struct Connected {
    send: TlsSendHalf,
    receive: TlsReceiveHalf,
    peer: Peer,
}

fn begin(client: &Arc<TlsClient>, socket: &Arc<TcpSocket>) -> (TlsSendHalf, TlsReceiveHalf) {
    let deadline = Instant::now() + PATIENCE;
    halves(client, "127.0.0.1", socket, deadline).unwrap()
}

fn connect_to(config: ServerConfig, versions: Versions, at_once: &'static [u8]) -> Connected {
    let (socket, stream) = sockets();
    let serving = serve(config, stream, at_once);
    let (mut send, mut receive) = begin(&client(versions), &socket);
    Handshake::new(&mut send, &mut receive)
        .run(Instant::now() + PATIENCE)
        .unwrap_or_else(|failed| panic!("{}", failed.error));
    let peer = serving.join().unwrap().unwrap();
    Connected {
        send,
        receive,
        peer,
    }
}

fn connected() -> Connected {
    connect_to(server_config(), Versions::default(), b"")
}

const TLS12: Versions = Versions {
    tls12: true,
    tls13: false,
};

impl Connected {
    /// Reads `length` bytes of the peer.
    fn read(&mut self, length: usize) -> Vec<u8> {
        read(&mut self.receive, length)
    }

    /// As the rest of the crate uses it.
    fn into_own(self) -> (OwnConnection, Peer) {
        let halves = (SendHalf::Tls(self.send), ReceiveHalf::Tls(self.receive));
        (OwnConnection::new(halves), self.peer)
    }
}

fn read(receive: &mut TlsReceiveHalf, length: usize) -> Vec<u8> {
    let mut bytes = vec![0; length];
    let mut filled = 0;
    while filled < length {
        match receive.read(&mut bytes[filled..], Some(Instant::now() + PATIENCE)) {
            Ok(0) => panic!("the stream ends after {filled} bytes"),
            Ok(read) => filled += read,
            Err(error) if is_interrupted(&error) => {}
            Err(error) => panic!("after {filled} bytes: {error}"),
        }
    }
    bytes
}

/// Writes all of `bytes`, as the slices of `cuts`.
fn write(send: &mut TlsSendHalf, bytes: &[u8], cuts: &[usize]) {
    let mut written = 0;
    while written < bytes.len() {
        let mut slices = Vec::new();
        let mut start = written;
        for cut in cuts.iter().copied().chain([bytes.len()]) {
            if cut > start {
                slices.push(IoSlice::new(&bytes[start..cut]));
                start = cut;
            }
        }
        match send.write_vectored(&slices, PATIENCE) {
            Ok(accepted) => written += accepted,
            Err(error) if is_interrupted(&error) => {}
            Err(error) => panic!("after {written} bytes: {error}"),
        }
    }
    flush(send);
}

fn flush(send: &mut TlsSendHalf) {
    loop {
        match send.flush(PATIENCE) {
            Ok(true) => return,
            Ok(false) => {}
            Err(error) if is_interrupted(&error) => {}
            Err(error) => panic!("{error}"),
        }
    }
}

/// Bytes in which no part of a record looks like another.
fn pattern(length: usize) -> Vec<u8> {
    (0..length)
        .map(|at| (at ^ (at >> 8) ^ (at >> 16)) as u8)
        .collect()
}

fn read_at(mut peer: Peer, length: usize) -> JoinHandle<(Peer, Vec<u8>)> {
    std::thread::spawn(move || {
        let mut bytes = vec![0; length];
        peer.read_exact(&mut bytes).unwrap();
        (peer, bytes)
    })
}

fn frame(body: &[u8]) -> Vec<u8> {
    [&(body.len() as u32).to_be_bytes(), body].concat()
}

#[test]
fn a_handshake_goes_on_after_signals_and_with_few_bytes_at_once() {
    for versions in [Versions::default(), TLS12] {
        let (socket, stream) = sockets();
        let serving = serve(server_config(), stream, b"");
        let (mut send, mut receive) = begin(&client(versions), &socket);
        for faults in [&mut send.socket.faults, &mut receive.socket.faults] {
            faults.interruptions = 3;
            faults.most_bytes = Some(5);
        }
        Handshake::new(&mut send, &mut receive)
            .run(Instant::now() + PATIENCE)
            .unwrap_or_else(|failed| panic!("{}", failed.error));
        assert_eq!(receive.socket.faults.interruptions, 0);
        let mut peer = serving.join().unwrap().unwrap();
        write(&mut send, b"request", &[]);
        let mut request = [0; 7];
        peer.read_exact(&mut request).unwrap();
        assert_eq!(&request, b"request");
    }
}

#[test]
fn an_exchange_goes_on_after_signals_and_with_few_bytes_at_once() {
    let mut connection = connected();
    for faults in [
        &mut connection.send.socket.faults,
        &mut connection.receive.socket.faults,
    ] {
        faults.interruptions = 3;
        faults.most_bytes = Some(11);
    }
    let (mut own, peer) = connection.into_own();
    let request = frame(&pattern(1000));
    let answering = {
        let reading = read_at(peer, request.len());
        std::thread::spawn(move || {
            let (mut peer, request) = reading.join().unwrap();
            peer.write_all(&frame(b"answer")).unwrap();
            (peer, request)
        })
    };
    let answer = own.exchange(request.clone(), Instant::now() + PATIENCE);
    assert_eq!(answer.unwrap(), b"answer");
    let (_peer, asked) = answering.join().unwrap();
    assert_eq!(asked, request);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    /// A record of TLS has up to 16 KiB, and one call encrypts up to 256 KiB.
    #[test]
    fn writes_of_any_size_arrive_whole_however_they_are_cut(
        length in prop_oneof![0..100_usize, 16_000..17_000_usize, 262_000..263_000_usize, 0..600_000_usize],
        cuts in prop::collection::vec(0..600_000_usize, 0..6),
        most_bytes in prop_oneof![Just(None), (700..70_000_usize).prop_map(Some)],
        uses_tls12 in any::<bool>(),
    ) {
        let versions = if uses_tls12 { TLS12 } else { Versions::default() };
        let mut connection = connect_to(server_config(), versions, b"");
        connection.send.socket.faults.most_bytes = most_bytes;
        let bytes = pattern(length);
        let mut cuts: Vec<_> = cuts.into_iter().filter(|cut| *cut < length).collect();
        cuts.sort_unstable();
        let reading = read_at(connection.peer, length);
        write(&mut connection.send, &bytes, &cuts);
        let (mut peer, read_there) = reading.join().unwrap();
        prop_assert!(read_there == bytes);
        peer.write_all(&bytes).unwrap();
        prop_assert!(read(&mut connection.receive, length) == bytes);
    }
}

#[test]
fn both_halves_work_at_once() {
    const LENGTH: usize = 3 << 20;
    let Connected {
        mut send,
        mut receive,
        mut peer,
    } = connected();
    let echoing = std::thread::spawn(move || {
        let mut buffer = vec![0; 50_000];
        let mut left = LENGTH;
        while left > 0 {
            let read = peer.read(&mut buffer).unwrap();
            peer.write_all(&buffer[..read]).unwrap();
            left -= read;
        }
        peer
    });
    let bytes = pattern(LENGTH);
    std::thread::scope(|scope| {
        scope.spawn(|| write(&mut send, &bytes, &[1000, 100_000]));
        assert!(read(&mut receive, LENGTH) == bytes);
    });
    drop(echoing.join().unwrap());
}

#[test]
fn keys_are_exchanged_in_mid_stream_by_the_peer() {
    let mut connection = connected();
    for round in 0..20_u8 {
        // The client must answer each of these with new keys of its own before it writes the next bytes.
        connection.peer.conn.refresh_traffic_keys().unwrap();
        connection.peer.write_all(&[round; 3000]).unwrap();
        assert_eq!(connection.read(3000), [round; 3000]);
        write(&mut connection.send, &[round; 40_000], &[]);
        let mut bytes = [0; 40_000];
        connection.peer.read_exact(&mut bytes).unwrap();
        assert_eq!(bytes, [round; 40_000]);
    }
}

#[test]
fn keys_are_exchanged_while_a_write_is_half_done() {
    let mut connection = connected();
    let bytes = pattern(60_000);
    connection.send.socket.faults.most_bytes = Some(100);
    let accepted = connection
        .send
        .write_vectored(&[IoSlice::new(&bytes)], PATIENCE)
        .unwrap();
    assert!(!connection.send.pending.is_empty());
    connection.peer.conn.refresh_traffic_keys().unwrap();
    connection.peer.write_all(b"answer").unwrap();
    assert_eq!(connection.read(6), b"answer");
    connection.send.socket.faults.most_bytes = None;
    let reading = read_at(connection.peer, bytes.len());
    write(&mut connection.send, &bytes[accepted..], &[]);
    flush(&mut connection.send);
    assert!(reading.join().unwrap().1 == bytes);
}

/// The tickets come after what the peer wrote before the client's last message, in the middle of the stream.
#[test]
fn session_tickets_in_mid_stream_are_no_data() {
    let mut config = server_config();
    config.send_half_rtt_data = true;
    config.send_tls13_tickets = 8;
    let mut connection = connect_to(config, Versions::default(), b"before the tickets");
    connection.peer.write_all(b", after them").unwrap();
    assert_eq!(connection.read(30), b"before the tickets, after them");
    write(&mut connection.send, b"request", &[]);
    let mut request = [0; 7];
    connection.peer.read_exact(&mut request).unwrap();
    assert_eq!(&request, b"request");
}

#[test]
fn a_peer_that_stops_reading_stalls_the_writes_of_its_connection_only() {
    let mut stalled = connected();
    let bytes = pattern(64 << 20);
    let mut accepted = 0;
    let began = Instant::now();
    // The system takes some bytes; then a write accepts no more, within its time.
    let mut timeouts = 0;
    while timeouts < 3 {
        let rest = [IoSlice::new(&bytes[accepted..])];
        match stalled.send.write_vectored(&rest, A_MOMENT) {
            Ok(more) => accepted += more,
            Err(error) if is_timeout(&error) => timeouts += 1,
            Err(error) => panic!("{error}"),
        }
    }
    assert!(began.elapsed() < PATIENCE);
    assert!(!stalled.send.pending.is_empty(), "encrypted, not written");
    // The same connection is still read, and others are written.
    stalled.peer.write_all(b"answer").unwrap();
    assert_eq!(stalled.read(6), b"answer");
    let mut other = connected();
    write(&mut other.send, b"request", &[]);
    // An end does not wait for the peer, and sends nothing in the middle of a record.
    let began = Instant::now();
    let pending = stalled.send.pending.bytes.len();
    stalled.send.end(A_MOMENT);
    assert!(began.elapsed() < PATIENCE / 2);
    assert_eq!(stalled.send.pending.bytes.len(), pending);
    // What was accepted arrives when the peer reads again.
    let reading = read_at(stalled.peer, accepted);
    flush(&mut stalled.send);
    assert!(reading.join().unwrap().1 == bytes[..accepted]);
}

#[test]
fn an_end_tells_the_peer_and_signals_do_not_stop_that() {
    for interruptions in [0, 2] {
        let mut connection = connected();
        write(&mut connection.send, b"last", &[]);
        connection.send.socket.faults.interruptions = interruptions;
        connection.send.socket.faults.most_bytes = Some(5);
        connection.send.end(PATIENCE);
        // Without `close_notify` this would be an error.
        let mut bytes = Vec::new();
        connection.peer.read_to_end(&mut bytes).unwrap();
        assert_eq!(bytes, b"last");
    }
}

#[test]
fn the_end_of_a_stream_is_the_same_with_and_without_notice() {
    for gives_notice in [true, false] {
        let mut connection = connected();
        connection.peer.write_all(b"last").unwrap();
        if gives_notice {
            connection.peer.conn.send_close_notify();
            connection.peer.flush().unwrap();
        }
        connection.peer.sock.shutdown(Shutdown::Write).unwrap();
        assert_eq!(connection.read(4), b"last");
        let mut buffer = [0; 10];
        let deadline = Some(Instant::now() + PATIENCE);
        for _ in 0..2 {
            let read = connection.receive.read(&mut buffer, deadline);
            assert_eq!(read.unwrap(), 0, "{gives_notice}");
        }
        let mut receive = ReceiveHalf::Tls(connection.receive);
        let error = FrameReader::default().next(&mut receive.until(deadline));
        let error = error.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Network, "{error}");
    }
}

#[test]
fn bytes_that_are_no_record_end_the_connection_after_what_came_before() {
    let mut connection = connected();
    connection.peer.write_all(b"last").unwrap();
    connection.peer.sock.write_all(&[0xa5; 100]).unwrap();
    assert_eq!(connection.read(4), b"last");
    let mut buffer = [0; 10];
    for _ in 0..2 {
        let read = connection.receive.read(&mut buffer, None);
        let error = super::super::super::errors::broken_error(read.unwrap_err());
        assert_eq!(error.kind(), ErrorKind::Network, "{error}");
    }
}

#[test]
fn a_read_ends_at_its_deadline_and_leaves_the_record_whole() {
    let mut connection = connected();
    let mut buffer = [0; 10];
    let deadline = Instant::now() + A_MOMENT;
    let error = connection
        .receive
        .read(&mut buffer, Some(deadline))
        .unwrap_err();
    assert!(is_timeout(&error) && Instant::now() >= deadline, "{error}");
    connection.peer.write_all(b"late").unwrap();
    assert_eq!(connection.read(4), b"late");
}

#[test]
fn a_tls12_connection_ends_before_its_keys_are_used_too_often() {
    let mut connection = connect_to(server_config(), TLS12, b"");
    connection.send.records_left = records_of(CHUNK_BYTES);
    write(&mut connection.send, b"last", &[]);
    let refused = connection
        .send
        .write_vectored(&[IoSlice::new(b"more")], PATIENCE);
    let error = super::super::super::errors::broken_error(refused.unwrap_err());
    assert_eq!(error.kind(), ErrorKind::Network);
    assert!(error.to_string().contains("limit of its keys"), "{error}");
}

/// The error of a handshake with a peer that only writes these bytes, and then closes its side or not.
fn handshake_with(bytes: &[u8], closes: bool, timeout: Duration) -> HandshakeFailure {
    let (socket, mut stream) = sockets();
    stream.write_all(bytes).unwrap();
    if closes {
        stream.shutdown(Shutdown::Write).unwrap();
    }
    let failed = connect(
        &client(Versions::default()),
        "127.0.0.1",
        &socket,
        Instant::now() + timeout,
    );
    match failed {
        Err(failed) => failed,
        Ok(_) => panic!("a handshake without a peer"),
    }
}

#[test]
fn a_handshake_that_the_peer_leaves_is_no_refusal() {
    // As a warning, and as a fatal alert.
    const WARNING: &[u8] = &[21, 3, 3, 0, 2, 1, 0];
    const CLOSE_NOTIFY: &[u8] = &[21, 3, 3, 0, 2, 2, 0];
    let failed = handshake_with(b"", true, PATIENCE);
    assert!(failed.closed_before_first_byte);
    assert_eq!(
        failed.error.message(),
        "the broker closed the connection at the first message of TLS"
    );
    let garbage_behind = [CLOSE_NOTIFY, &[0xa5; 300]].concat();
    for (bytes, closes) in [
        (WARNING, true),
        (CLOSE_NOTIFY, true),
        (CLOSE_NOTIFY, false),
        (&garbage_behind, false),
        // The first half of a record.
        (&[22, 3, 3, 0, 200, 2, 0], true),
    ] {
        let failed = handshake_with(bytes, closes, PATIENCE);
        assert_eq!(
            failed.error.message(),
            "the broker closed the connection during the TLS handshake"
        );
        assert_eq!(failed.error.kind(), ErrorKind::Network);
        assert!(!failed.closed_before_first_byte);
    }
}

#[test]
fn a_handshake_with_a_peer_that_says_nothing_ends_at_its_deadline() {
    for bytes in [&b""[..], &[22, 3, 3, 0, 200, 2, 0]] {
        let failed = handshake_with(bytes, false, A_MOMENT);
        assert_eq!(failed.error.message(), "the TLS handshake took too long");
        assert_eq!(failed.error.kind(), ErrorKind::Network);
    }
}

/// The alert goes out before the connection ends.
#[test]
fn a_peer_that_is_refused_is_told_why() {
    let (socket, stream) = sockets();
    let serving = serve(server_config(), stream, b"");
    let settings = TlsSettings {
        trust: Some(TrustSource::inline(
            String::from_utf8(file("other.pem")).unwrap(),
        )),
        ..TlsSettings::default()
    };
    let stranger = Arc::new(TlsClient::new(settings).unwrap());
    let failed = connect(&stranger, "127.0.0.1", &socket, Instant::now() + PATIENCE);
    let error = failed.err().expect("an unknown issuer").error;
    assert_eq!(error.kind(), ErrorKind::Tls);
    socket.shut_down();
    let told = serving.join().unwrap().expect_err("a refusal");
    assert!(told.to_string().contains("received fatal alert"), "{told}");
}
