use super::*;
use crate::connection::ConnectionConfig;
use crate::connection::exchange::Exchange;
use crate::connection::socket::TcpSocket;
use crate::connection::transport::{self, scripted};
use crate::error::ErrorKind;
use crate::sync::{STACK_BYTES, channel};
use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::time::Duration;

const PATIENCE: Duration = Duration::from_secs(20);

/// A user and its events.
fn user(link: u64) -> (Arc<ConnectionUser>, channel::Receiver<LinkEvent>) {
    let (sender, link_events) = channel::unbounded();
    let events = move |_, event| drop(sender.send(event));
    let events = Arc::new(events);
    let link = LinkId(link);
    (Arc::new(ConnectionUser { link, events }), link_events)
}

/// A connection with its first user, its thread running, and the peer's end.
fn connection(first: &Arc<ConnectionUser>) -> (Arc<Connection>, TcpStream) {
    connection_over(first, |half| half)
}

/// As [`connection`], over what `wrap` makes of the send half.
fn connection_over(
    first: &Arc<ConnectionUser>,
    wrap: impl FnOnce(SendHalf) -> SendHalf,
) -> (Arc<Connection>, TcpStream) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    // Small buffers, so that a peer that does not read stops the writer soon.
    let buffer = socket2::SockRef::from(&listener).set_recv_buffer_size(64 << 10);
    buffer.unwrap();
    let address = listener.local_addr().unwrap();
    let config = ConnectionConfig {
        send_buffer: Some(16 << 10),
        ..ConnectionConfig::for_tests()
    };
    let control = ConnectionControl::new();
    let socket = Arc::new(TcpSocket::new(&address, &config).unwrap());
    control.adopt(&socket).unwrap();
    socket.connect(address, PATIENCE).unwrap();
    let (send, receive) = transport::plain(&socket);
    let own = OwnConnection::new((wrap(send), receive));
    let context = ConnectionContext {
        config: Arc::new(config),
        threads: Arc::default(),
        registry: Arc::default(),
    };
    let new = NewShared {
        dialed: Dialed {
            exchange: Exchange::new(own, "client".into()),
            versions: BrokerVersions::default(),
            session: Session {
                begins: Instant::now(),
                ends: None,
            },
        },
        control: &control,
        context: &context,
        cluster_id: None,
        writer_name: "test-writer".into(),
    };
    let (connection, incoming) = Connection::new(new, Arc::clone(first));
    let reading = Arc::clone(&connection);
    context
        .threads
        .spawn("test-link".into(), STACK_BYTES, move || {
            reading.read(incoming);
        })
        .unwrap();
    (connection, listener.accept().unwrap().0)
}

fn request(bytes: Vec<u8>) -> OutgoingRequest {
    OutgoingRequest {
        fields: bytes,
        cuts: Vec::new(),
        batches: Vec::new(),
        is_answered: true,
    }
}

fn answer(peer: &mut TcpStream, bytes: &[u8]) {
    let mut frame = (bytes.len() as u32).to_be_bytes().to_vec();
    frame.extend_from_slice(bytes);
    peer.write_all(&frame).unwrap();
}

fn frame(link_events: &channel::Receiver<LinkEvent>) -> Vec<u8> {
    match link_events.recv_timeout(PATIENCE).unwrap() {
        LinkEvent::Frame(frame) => frame,
        other => panic!("{other:?} where a frame was due"),
    }
}

fn closed(link_events: &channel::Receiver<LinkEvent>) -> Error {
    match link_events.recv_timeout(PATIENCE).unwrap() {
        LinkEvent::Closed(error) => error,
        other => panic!("{other:?} where the end was due"),
    }
}

#[test]
fn each_answer_goes_to_the_user_that_asked() {
    let ((first, first_events), (second, second_events)) = (user(1), user(2));
    let (connection, mut peer) = connection(&first);
    assert!(connection.add_user(&second));
    for user in [&second, &first, &first, &second] {
        connection.write(user, request(vec![1])).unwrap();
    }
    for number in 0..4 {
        answer(&mut peer, &[number]);
    }
    assert_eq!([frame(&second_events), frame(&second_events)], [[0], [3]]);
    assert_eq!([frame(&first_events), frame(&first_events)], [[1], [2]]);
}

#[test]
fn an_answer_to_no_request_ends_the_connection_for_all_users() {
    let ((first, first_events), (second, second_events)) = (user(1), user(2));
    let (connection, mut peer) = connection(&first);
    assert!(connection.add_user(&second));
    connection.write(&second, request(vec![1])).unwrap();
    answer(&mut peer, &[0]);
    answer(&mut peer, &[1]);
    assert_eq!(frame(&second_events), [0]);
    assert_eq!(closed(&first_events).kind(), ErrorKind::Protocol);
    assert_eq!(closed(&second_events).kind(), ErrorKind::Protocol);
    assert!(!connection.add_user(&first), "it has ended");
    assert!(connection.write(&first, request(vec![1])).is_err());
}

#[test]
fn the_connection_outlives_a_user_to_which_no_answer_is_owed() {
    let ((first, first_events), (second, second_events)) = (user(1), user(2));
    let (connection, mut peer) = connection(&first);
    assert!(connection.add_user(&second));
    connection.remove_user(&first, OwedAnswers::EndConnection);
    closed(&first_events);
    connection.write(&second, request(vec![1])).unwrap();
    answer(&mut peer, &[7]);
    assert_eq!(frame(&second_events), [7]);
    connection.remove_user(&second, OwedAnswers::EndConnection);
    closed(&second_events);
    assert_eq!(peer.read_to_end(&mut Vec::new()).unwrap(), 1);
}

#[test]
fn the_connection_ends_with_a_user_that_closes_it_while_it_waits_for_an_answer() {
    let ((first, first_events), (second, second_events)) = (user(1), user(2));
    let (connection, _peer) = connection(&first);
    assert!(connection.add_user(&second));
    connection.write(&first, request(vec![1])).unwrap();
    connection.remove_user(&first, OwedAnswers::EndConnection);
    closed(&first_events);
    closed(&second_events);
}

#[test]
fn the_connection_ends_with_a_user_whose_request_cannot_be_written() {
    let ((first, first_events), (second, second_events)) = (user(1), user(2));
    let (connection, _peer) = connection(&first);
    assert!(connection.add_user(&second));
    // Far more than the buffers of both sides hold, and no answer is owed for it.
    let unanswered = OutgoingRequest {
        is_answered: false,
        ..request(vec![1; 64 << 20])
    };
    assert!(matches!(
        connection.write(&second, unanswered),
        Ok(WriteStatus::InProgress)
    ));
    connection.remove_user(&second, OwedAnswers::EndConnection);
    for link_events in [first_events, second_events] {
        while !matches!(
            link_events.recv_timeout(PATIENCE).unwrap(),
            LinkEvent::Closed(_)
        ) {}
    }
}

#[test]
fn answers_to_a_user_that_abandoned_the_connection_are_dropped() {
    let ((first, first_events), (second, second_events)) = (user(1), user(2));
    let (connection, mut peer) = connection(&first);
    assert!(connection.add_user(&second));
    connection.write(&second, request(vec![1])).unwrap();
    connection.remove_user(&second, OwedAnswers::Drop);
    connection.write(&first, request(vec![1])).unwrap();
    closed(&second_events);
    answer(&mut peer, &[1]);
    answer(&mut peer, &[2]);
    assert_eq!(frame(&first_events), [2]);
}

/// Waits until the request is written. Returns how often progress was reported.
fn await_write(link_events: &channel::Receiver<LinkEvent>) -> usize {
    let mut progress = 0;
    loop {
        match link_events.recv_timeout(PATIENCE).unwrap() {
            LinkEvent::WriteProgress => progress += 1,
            LinkEvent::WriteFinished => return progress,
            other => panic!("{other:?} while a request is written"),
        }
    }
}

#[test]
fn the_progress_of_a_write_is_reported_to_all_users_that_wait() {
    const BYTES: usize = 4 << 20;
    let users = [user(1), user(2)];
    let (connection, mut peer) = connection(&users[0].0);
    assert!(connection.add_user(&users[1].0));
    for (user, _) in &users {
        let written = connection.write(user, request(vec![0; BYTES])).unwrap();
        assert_eq!(written, WriteStatus::InProgress);
    }
    let (_silent, never) = channel::bounded::<()>(1);
    // A little at a time until both users are notified, and then the rest.
    let mut buffer = vec![0; 64 << 10];
    let mut received = 0;
    while users.iter().any(|(_, link_events)| link_events.is_empty()) {
        assert!(
            received < BYTES,
            "no user was notified of a write that goes on"
        );
        received += peer.read(&mut buffer).unwrap();
        let _ = never.recv_timeout(Duration::from_millis(50));
    }
    peer.read_exact(&mut vec![0; 2 * BYTES - received]).unwrap();
    for (_, link_events) in &users {
        assert!(await_write(link_events) > 0);
    }
}

#[test]
fn requests_of_several_users_do_not_mix_when_the_peer_reads_slowly() {
    const REQUESTS: usize = 20;
    const BYTES: usize = 100_000;
    let users = [1u8, 2, 3].map(|number| (number, user(number.into())));
    let (_, (first, _)) = &users[0];
    let (connection, mut peer) = connection(first);
    for (_, (other, _)) in &users[1..] {
        assert!(connection.add_user(other));
    }
    let received = std::thread::scope(|scope| {
        for (number, (user, link_events)) in &users {
            let connection = &connection;
            scope.spawn(move || {
                for _ in 0..REQUESTS {
                    let request = request(vec![*number; BYTES]);
                    if connection.write(user, request).unwrap() == WriteStatus::InProgress {
                        await_write(link_events);
                    }
                }
            });
        }
        let mut received = vec![0; users.len() * REQUESTS * BYTES];
        peer.read_exact(&mut received).unwrap();
        received
    });
    for request in received.chunks(BYTES) {
        assert!(request.iter().all(|byte| *byte == request[0]), "mixed");
    }
}

fn throttled(link_events: &channel::Receiver<LinkEvent>) -> Instant {
    match link_events.recv_timeout(PATIENCE).unwrap() {
        LinkEvent::Throttled(until) => until,
        other => panic!("{other:?} where a throttle was due"),
    }
}

#[test]
fn a_throttle_is_reported_once_to_the_other_users_and_to_later_ones_while_it_lasts() {
    let ((first, first_events), (second, second_events)) = (user(1), user(2));
    let (connection, _peer) = connection(&first);
    assert!(connection.add_user(&second));
    let now = Instant::now();
    let until = now + 100 * PATIENCE;
    connection.throttled(&first, until);
    assert_eq!(throttled(&second_events), until);
    // A shorter one, and the same again, change nothing.
    connection.throttled(&second, until - PATIENCE);
    connection.throttled(&second, until);
    let (third, third_events) = user(3);
    assert!(connection.add_user(&third));
    assert_eq!(throttled(&third_events), until);
    connection.throttled(&third, until + PATIENCE);
    for link_events in [&first_events, &second_events] {
        assert_eq!(throttled(link_events), until + PATIENCE);
    }
    assert!(third_events.is_empty());
}

#[test]
fn a_user_that_comes_when_a_throttle_is_over_is_not_notified() {
    let ((first, _link_events), (second, second_events)) = (user(1), user(2));
    let (connection, _peer) = connection(&first);
    connection.throttled(&first, Instant::now());
    assert!(connection.add_user(&second));
    assert!(second_events.is_empty());
}

#[test]
fn a_write_that_a_connection_refuses_after_its_end_wrote_nothing() {
    let (first, link_events) = user(1);
    let (connection, peer) = connection(&first);
    drop(peer);
    closed(&link_events);
    let refused = connection.write(&first, request(vec![1])).unwrap_err();
    assert!(
        matches!(refused, WriteError::NothingWritten(_)),
        "{refused:?}"
    );
}

#[test]
fn a_write_that_fails_before_its_first_byte_wrote_nothing() {
    let (first, _link_events) = user(1);
    let (connection, _peer) = connection(&first);
    // As if the reader had not seen the end yet.
    connection.control.cancel();
    let refused = connection.write(&first, request(vec![1])).unwrap_err();
    assert!(
        matches!(refused, WriteError::NothingWritten(_)),
        "{refused:?}"
    );
}

/// The broker reads, and the transport still holds bytes of the request: another thread writes these.
#[test]
fn a_request_is_written_when_the_transport_has_written_it() {
    let (half, wire) = scripted::transport(4);
    let (first, link_events) = user(1);
    let (connection, _peer) = connection_over(&first, |_| SendHalf::Scripted(half));
    let status = connection.write(&first, request(vec![7; 4])).unwrap();
    assert_eq!((status, wire.accepted()), (WriteStatus::InProgress, 4));
    // The next request waits for the first, of which the transport has accepted all bytes.
    let second = connection.write(&first, request(vec![8; 3])).unwrap();
    assert_eq!((second, wire.accepted()), (WriteStatus::InProgress, 4));
    wire.let_through(3);
    let (_silent, never) = channel::bounded::<()>(1);
    let _ = never.recv_timeout(Duration::from_millis(50));
    assert!(
        !link_events
            .try_iter()
            .any(|event| matches!(event, LinkEvent::WriteFinished)),
        "one byte is pending"
    );
    wire.let_through(4);
    await_write(&link_events);
    await_write(&link_events);
    assert_eq!(wire.received(), [7, 7, 7, 7, 8, 8, 8]);
    wire.let_through(100);
    let third = connection.write(&first, request(vec![9])).unwrap();
    assert_eq!(third, WriteStatus::Complete);
}
