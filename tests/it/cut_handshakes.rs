//! Peers that leave after each number of bytes of the TLS handshake, in each direction, as Java's SslTransportLayerTest has
//! it. None of it is taken for a refusal: the record waits, and is delivered by the first connection that lasts.

use std::io::{Read, Write};
use std::net::{Ipv4Addr, Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use kafka_producer::mock::{MockCluster, MockTls, TlsVersion};
use socket2::SockRef;

use crate::support::{PATIENCE, builder_at, deliver, values, with};

/// The direction in which bytes are counted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Way {
    ToClient,
    ToBroker,
}

/// How a connection ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum End {
    Close,
    Reset,
}

/// From one connection to the next, this many bytes more pass.
const STEP: usize = 61;

/// More than a handshake has.
const ENOUGH: usize = 4096;

/// An address that cuts each connection to a broker somewhat later than the one before, until a handshake is through.
struct Shears {
    address: SocketAddr,
    port: u16,
    way: Way,
    end: End,
    /// The number of bytes that pass on the next connection.
    allowed: AtomicUsize,
    cut: AtomicUsize,
    has_ended: AtomicBool,
}

impl Shears {
    fn start(port: u16, way: Way, end: End) -> (Arc<Self>, JoinHandle<()>) {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let shears = Arc::new(Self {
            address: listener.local_addr().unwrap(),
            port,
            way,
            end,
            allowed: AtomicUsize::new(0),
            cut: AtomicUsize::new(0),
            has_ended: AtomicBool::new(false),
        });
        let accept = {
            let shears = Arc::clone(&shears);
            move || {
                while let Ok((client, _)) = listener.accept() {
                    if shears.has_ended.load(Ordering::Acquire) {
                        return;
                    }
                    shears.serve(client);
                }
            }
        };
        (shears, std::thread::spawn(accept))
    }

    fn serve(self: &Arc<Self>, client: TcpStream) {
        let server = TcpStream::connect((Ipv4Addr::LOCALHOST, self.port)).unwrap();
        let allowed = self.allowed.fetch_add(STEP, Ordering::AcqRel);
        for way in [Way::ToClient, Way::ToBroker] {
            let is_cut = way == self.way && allowed < ENOUGH;
            let limit = if is_cut { allowed } else { usize::MAX };
            let (client, server) = (client.try_clone().unwrap(), server.try_clone().unwrap());
            let shears = Arc::clone(self);
            // Ends with the connection.
            std::thread::spawn(move || shears.pass_on(way, &client, &server, limit));
        }
    }

    fn pass_on(&self, way: Way, client: &TcpStream, server: &TcpStream, limit: usize) {
        let (mut from, mut to) = match way {
            Way::ToClient => (server, client),
            Way::ToBroker => (client, server),
        };
        let mut passed = 0;
        let mut bytes = [0; 16 << 10];
        loop {
            let room = bytes.len().min(limit - passed);
            if room == 0 {
                self.cut.fetch_add(1, Ordering::AcqRel);
                break;
            }
            match from.read(&mut bytes[..room]) {
                Ok(count) if count > 0 && to.write_all(&bytes[..count]).is_ok() => passed += count,
                _ => break,
            }
        }
        let _ = server.shutdown(Shutdown::Both);
        match self.end {
            End::Close => drop(client.shutdown(Shutdown::Both)),
            // Without linger, the last close of a socket is a reset. The other thread must not read from it any more.
            End::Reset => {
                let _ = SockRef::from(client).set_linger(Some(Duration::ZERO));
                let _ = client.shutdown(Shutdown::Read);
            }
        }
    }
}

#[test]
fn a_peer_that_leaves_after_any_number_of_bytes_is_asked_again() {
    std::thread::scope(|scope| {
        for version in [TlsVersion::Tls12, TlsVersion::Tls13] {
            for way in [Way::ToClient, Way::ToBroker] {
                for end in [End::Close, End::Reset] {
                    scope.spawn(move || assert_asked_again(version, way, end));
                }
            }
        }
    });
}

fn assert_asked_again(version: TlsVersion, way: Way, end: End) {
    let tls = MockTls::generated().only_version(version);
    let cluster = MockCluster::builder().tls(tls).start().unwrap();
    cluster.create_topic("t", 1);
    let servers = cluster.bootstrap_servers();
    let port = servers.rsplit(':').next().unwrap().parse().unwrap();
    let (shears, accepting) = Shears::start(port, way, end);
    let settings = [
        ("security.protocol", "SSL"),
        ("ssl.truststore.certificates", &*cluster.ca_pem()),
    ];
    let producer = with(builder_at(&shears.address.to_string()), &settings)
        .max_block(3 * PATIENCE)
        .build()
        .unwrap();
    let what = format!("{version:?} {way:?} {end:?}");
    deliver(&producer, 0, "v").unwrap_or_else(|error| panic!("{what}: {error}"));
    assert_eq!(values(&cluster, 0), ["v"]);
    let cut = shears.cut.load(Ordering::Acquire);
    println!("{what}: {cut} connections were cut");
    assert!(cut >= 8, "{what}: {cut} connections were cut");
    producer.close(PATIENCE).unwrap();
    shears.has_ended.store(true, Ordering::Release);
    let _ = TcpStream::connect(shears.address);
    accepting.join().unwrap();
}
