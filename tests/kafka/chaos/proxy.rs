//! Tests of the proxy itself, without Kafka: each weather has its effect.

use std::io::{self, Read, Write};
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::time::{Duration, Instant};

use crate::support::kafka::{Proxy, Way, Weather, free_ports, poll};
use crate::support::suite::Test;

pub(crate) const TESTS: &[Test<()>] = &[
    (
        "fair_weather_passes_bytes_both_ways",
        fair_weather_passes_bytes_both_ways,
    ),
    (
        "a_cut_closes_and_refuses_until_it_is_over",
        a_cut_closes_and_refuses_until_it_is_over,
    ),
    (
        "bytes_of_a_hanging_connection_arrive_afterwards",
        bytes_of_a_hanging_connection_arrive_afterwards,
    ),
    ("delayed_bytes_come_later", delayed_bytes_come_later),
    ("slow_bytes_take_their_time", slow_bytes_take_their_time),
    ("lost_answers_never_come", lost_answers_never_come),
    ("a_frame_is_cut_in_its_middle", a_frame_is_cut_in_its_middle),
    (
        "a_proxy_without_a_broker_closes_its_clients",
        a_proxy_without_a_broker_closes_its_clients,
    ),
];

fn fair_weather_passes_bytes_both_ways(_: &()) {
    let there = There::start();
    let (mut client, mut broker) = there.connect();
    client.write_all(b"question").expect("a write");
    assert_eq!(read(&mut broker, 8), b"question");
    broker.write_all(b"answer").expect("a write");
    assert_eq!(read(&mut client, 6), b"answer");
    drop(client);
    assert!(is_closed(&mut broker));
}

fn a_cut_closes_and_refuses_until_it_is_over(_: &()) {
    let there = There::start();
    let (mut client, mut broker) = there.connect();
    there.proxy.set(Weather::Cut);
    assert!(is_closed(&mut client) && is_closed(&mut broker));
    let refused = TcpStream::connect((Ipv4Addr::LOCALHOST, there.port));
    assert!(refused.is_err_and(|error| error.kind() == io::ErrorKind::ConnectionRefused));

    there.proxy.set(Weather::Fair);
    let (mut client, mut broker) = there.connect();
    client.write_all(b"again").expect("a write");
    assert_eq!(read(&mut broker, 5), b"again");
}

fn bytes_of_a_hanging_connection_arrive_afterwards(_: &()) {
    let there = There::start();
    let (mut client, mut broker) = there.connect();
    there.proxy.set(Weather::Hang);
    client.write_all(b"question").expect("a write");
    assert!(is_silent(&mut broker));
    // New connections are accepted, and hang, too.
    let (mut second, mut second_broker) = there.connect();
    second.write_all(b"second").expect("a write");
    assert!(is_silent(&mut second_broker));
    there.proxy.set(Weather::Fair);
    assert_eq!(read(&mut broker, 8), b"question");
    assert_eq!(read(&mut second_broker, 6), b"second");
}

fn delayed_bytes_come_later(_: &()) {
    let there = There::start();
    let (mut client, mut broker) = there.connect();
    let delay = Duration::from_millis(150);
    there.proxy.set(Weather::Delay(delay));
    let began = Instant::now();
    client.write_all(b"question").expect("a write");
    assert_eq!(read(&mut broker, 8), b"question");
    assert!(began.elapsed() >= delay, "{:?}", began.elapsed());
}

fn slow_bytes_take_their_time(_: &()) {
    let there = There::start();
    let (mut client, mut broker) = there.connect();
    there.proxy.set(Weather::Slow(10_000));
    let began = Instant::now();
    client.write_all(&[b'x'; 3_000]).expect("a write");
    read(&mut broker, 3_000);
    // The last piece is not waited for.
    assert!(
        began.elapsed() >= Duration::from_millis(240),
        "{:?}",
        began.elapsed()
    );
}

fn lost_answers_never_come(_: &()) {
    let there = There::start();
    let (mut client, mut broker) = there.connect();
    there.proxy.set(Weather::AnswersLost);
    client.write_all(b"question").expect("a write");
    assert_eq!(read(&mut broker, 8), b"question");
    broker.write_all(b"answer").expect("a write");
    assert!(is_silent(&mut client));
    there.proxy.set(Weather::Fair);
    assert!(is_closed(&mut client) && is_closed(&mut broker));
}

fn a_frame_is_cut_in_its_middle(_: &()) {
    let there = There::start();
    let (mut client, mut broker) = there.connect();
    let frame = |byte: u8| [&[0, 0, 0, 10][..], &[byte; 10]].concat();
    client.write_all(&frame(1)).expect("a write");
    // A frame that has begun goes through.
    client.write_all(&frame(2)[..7]).expect("a write");
    assert_eq!(read(&mut broker, 21).len(), 21);
    there.proxy.set(Weather::CutInFrame(Way::ToBroker));
    client.write_all(&frame(2)[7..]).expect("a write");
    client.write_all(&frame(3)).expect("a write");
    let mut rest = Vec::new();
    // A reset may take the place of an orderly end.
    let _ = broker.read_to_end(&mut rest);
    assert_eq!(rest, [&[2; 7][..], &[0, 0, 0, 10], &[3; 5]].concat());
    assert!(is_closed(&mut client));
}

fn a_proxy_without_a_broker_closes_its_clients(_: &()) {
    let there = There::start();
    drop(there.broker);
    let mut client = TcpStream::connect((Ipv4Addr::LOCALHOST, there.port)).expect("a connection");
    assert!(is_closed(&mut client));
    assert!(poll(PATIENCE, || (there.proxy.connections() == 0).then_some(())).is_some());
}

/// A proxy, and the listener behind it in place of a broker.
struct There {
    port: u16,
    proxy: Proxy,
    broker: TcpListener,
}

const PATIENCE: Duration = Duration::from_secs(20);

impl There {
    fn start() -> There {
        let broker = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a port");
        let broker_port = broker.local_addr().expect("an address").port();
        let port = free_ports(1)[0];
        let proxy = Proxy::start(port, broker_port).expect("a proxy");
        There {
            port,
            proxy,
            broker,
        }
    }

    /// Both ends of a connection through the proxy.
    fn connect(&self) -> (TcpStream, TcpStream) {
        let client = TcpStream::connect((Ipv4Addr::LOCALHOST, self.port)).expect("a connection");
        let (broker, _) = self.broker.accept().expect("a connection");
        for socket in [&client, &broker] {
            socket.set_read_timeout(Some(PATIENCE)).expect("a timeout");
        }
        (client, broker)
    }
}

fn read(socket: &mut TcpStream, count: usize) -> Vec<u8> {
    let mut bytes = vec![0; count];
    socket.read_exact(&mut bytes).expect("the bytes");
    bytes
}

fn is_closed(socket: &mut TcpStream) -> bool {
    match socket.read(&mut [0]) {
        Ok(count) => count == 0,
        Err(error) => error.kind() == io::ErrorKind::ConnectionReset,
    }
}

fn is_silent(socket: &mut TcpStream) -> bool {
    socket
        .set_read_timeout(Some(Duration::from_millis(100)))
        .expect("a timeout");
    let read = socket.read(&mut [0]);
    socket.set_read_timeout(Some(PATIENCE)).expect("a timeout");
    read.is_err_and(|error| {
        matches!(
            error.kind(),
            io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut
        )
    })
}
