//! Brokers that send bytes that no broker sends. The connection ends with an error that says why, and the batch is sent again.
//! The producer reads a bounded number of bytes, and pauses between its attempts.

use std::io::{self, Read, Write};
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use kafka_producer::{Delivery, ErrorKind};

use crate::support::fake_broker::{FakeBootstrap, Member, answering_versions};
use crate::support::{
    Builder, PATIENCE, Producer, SOON, Watched, builder_at, deliver, record, with_causes,
};

/// The largest number of unread bytes that a system's socket buffers hold.
const SOCKET_BUFFERS: usize = 24 << 20;

/// The number of bytes that a hostile broker writes unless it is stopped.
const FLOOD: usize = 1 << 30;

#[test]
fn bytes_that_are_no_answer_end_the_connection_only() {
    for case in CASES {
        let broker = Broker::start(move |connection, request, stream| {
            if connection < 2 {
                stream.write_all(&(case.answer)(request))?;
                // Ends when the producer ends the connection; this broker never does.
                return io::copy(stream, &mut io::sink()).map(drop);
            }
            stream.write_all(&answer(request, 0))
        });
        let producer = broker.producer();
        let start = Instant::now();
        deliver(&producer, 0, "v")
            .unwrap_or_else(|error| panic!("{}: {}", case.name, with_causes(&error)));
        let took = start.elapsed();
        assert!(took < SOON, "{}: {took:?}", case.name);
        assert_eq!(broker.connections(), 3, "{}", case.name);
        producer.close(PATIENCE).unwrap();
    }
}

#[test]
fn a_broker_that_always_sends_garbage_is_reported_and_asked_with_pauses() {
    for case in CASES {
        let broker = Broker::start(move |_, request, stream| {
            stream.write_all(&(case.answer)(request))?;
            io::copy(stream, &mut io::sink()).map(drop)
        });
        let producer = broker
            .builder()
            .reconnect_backoff(Duration::from_millis(50))
            .reconnect_backoff_max(Duration::from_millis(200))
            .request_timeout(Duration::from_millis(300))
            .delivery_timeout(Duration::from_millis(600))
            .build()
            .unwrap();
        let error = deliver(&producer, 0, "v").unwrap_err();
        let message = with_causes(&error);
        assert_eq!(error.kind(), ErrorKind::DeliveryTimeout, "{message}");
        assert_eq!(error.delivery(), Delivery::MaybeWritten, "{message}");
        assert!(message.contains(case.message), "{}: {message}", case.name);
        let connections = broker.connections();
        assert!(
            (2..=15).contains(&connections),
            "{}: {connections} connections in 0.6 s",
            case.name
        );
        producer.close(PATIENCE).unwrap();
    }
}

struct Case {
    name: &'static str,
    /// The answer to a request.
    answer: fn(&[u8]) -> Vec<u8>,
    /// A part of the error's message.
    message: &'static str,
}

const CASES: [Case; 7] = [
    Case {
        name: "a length of two gigabytes",
        answer: |_| i32::MAX.to_be_bytes().to_vec(),
        message: "above the limit",
    },
    Case {
        name: "a length above that of any answer",
        answer: |_| (17_i32 << 20).to_be_bytes().to_vec(),
        message: "above the limit",
    },
    Case {
        name: "a negative length",
        answer: |_| (-2_i32).to_be_bytes().to_vec(),
        message: "below zero",
    },
    Case {
        name: "an empty frame",
        answer: |_| vec![0; 4],
        message: "ends early",
    },
    Case {
        name: "a frame that ends early",
        answer: |request| frame(&answer(request, 0)[4..20]),
        message: "ends early",
    },
    Case {
        name: "another request's answer",
        answer: |request| {
            let mut answer = answer(request, 0);
            answer[4] ^= 0x40;
            answer
        },
        message: "answered request",
    },
    Case {
        name: "answers for partitions without end",
        answer: |request| frame(&answer_for(request, 0..20_000, 0)),
        message: "more partitions than it was asked",
    },
];

#[test]
fn a_flood_of_frames_is_read_only_up_to_the_first_unrequested_one() {
    let taken = Watched::<Vec<usize>>::default();
    let broker = {
        let taken = taken.clone();
        Broker::start(move |connection, request, stream| {
            stream.write_all(&answer(request, 0))?;
            if connection == 0 {
                // Small frames: millions of them would wait for the worker.
                let count = flood(stream, &frame(&[0; 64]).repeat(1000));
                taken.change(|taken| taken.push(count));
            }
            Ok(())
        })
    };
    let producer = broker.producer();
    deliver(&producer, 0, "first").unwrap();
    taken.wait(|taken| !taken.is_empty());
    let count = taken.get()[0];
    assert!(count < SOCKET_BUFFERS, "{count} bytes");
    deliver(&producer, 0, "second").unwrap();
    assert_eq!(broker.connections(), 2);
}

#[test]
fn answers_before_any_request_end_the_connection() {
    let connections = Arc::new(AtomicUsize::new(0));
    let taken = Watched::<Vec<usize>>::default();
    let (port, _listener) = {
        let (connections, taken) = (Arc::clone(&connections), taken.clone());
        answering_versions(move |mut stream, _| {
            if connections.fetch_add(1, Ordering::SeqCst) == 0 {
                let count = flood(&mut stream, &frame(&vec![0; 1 << 20]));
                taken.change(|taken| taken.push(count));
            } else {
                let _ = serve(stream, |request, stream| {
                    stream.write_all(&answer(request, 0))
                });
            }
        })
    };
    let bootstrap = FakeBootstrap::start(vec![Member::new(1, port)], vec![1]);
    let producer = builder_at(&bootstrap.address()).build().unwrap();
    deliver(&producer, 0, "v").unwrap();
    taken.wait(|taken| !taken.is_empty());
    let count = taken.get()[0];
    assert!(count < SOCKET_BUFFERS, "{count} bytes");
}

#[test]
fn an_unknown_error_code_does_not_end_the_connection() {
    for code in [134, 12_345, -2, i16::MAX, i16::MIN] {
        let broker =
            Broker::start(move |_, request, stream| stream.write_all(&answer(request, code)));
        let producer = broker.builder().enable_idempotence(false).build().unwrap();
        for _ in 0..2 {
            let error = deliver(&producer, 0, "v").unwrap_err();
            assert_eq!(error.broker_code(), Some(code), "{}", with_causes(&error));
        }
        assert_eq!(broker.connections(), 1, "{code}");
    }
}

#[test]
fn an_unknown_error_code_is_reported_and_leaves_the_batch_maybe_written() {
    let broker = Broker::start(|_, request, stream| stream.write_all(&answer(request, 12_345)));
    let producer = broker.builder().retries(2).build().unwrap();
    let error = deliver(&producer, 0, "v").unwrap_err();
    let message = with_causes(&error);
    assert_eq!(error.delivery(), Delivery::MaybeWritten, "{message}");
    assert!(message.contains("12345"), "{message}");
}

#[test]
fn a_server_that_floods_before_the_handshake_is_read_only_as_far_as_a_handshake_needs() {
    // A Metadata answer may have this length.
    let announced = [&50_000_000_i32.to_be_bytes()[..], &vec![0; 1 << 20]].concat();
    let (port, connections, taken) = garbage_server(move |stream| flood(stream, &announced));
    assert_refused_with_pauses(port, &connections, "above the limit");
    assert!(taken.get().iter().all(|count| *count < SOCKET_BUFFERS));
}

#[test]
fn after_endless_garbage_for_metadata_the_producer_pauses_between_requests() {
    let connections = Arc::new(AtomicUsize::new(0));
    let (port, _listener) = {
        let connections = Arc::clone(&connections);
        answering_versions(move |stream, _| {
            connections.fetch_add(1, Ordering::SeqCst);
            let _ = serve(stream, |request, stream| {
                stream.write_all(&frame(&[&request[4..8], &[0x7f; 200]].concat()))
            });
        })
    };
    assert_refused_with_pauses(port, &connections, "does not follow Kafka's protocol");
}

/// Checks that `send` fails after `max.block.ms` with the reason, and that the producer has made only a few attempts.
fn assert_refused_with_pauses(port: u16, connections: &AtomicUsize, expected: &str) {
    let producer = builder_at(&format!("127.0.0.1:{port}"))
        .reconnect_backoff(Duration::from_millis(50))
        .reconnect_backoff_max(Duration::from_millis(200))
        .max_block(Duration::from_millis(600))
        .build()
        .unwrap();
    let refused = producer.send(record(0, "v")).unwrap_err();
    let causes = with_causes(refused.error());
    assert!(causes.contains(expected), "{causes}");
    let tried = connections.load(Ordering::SeqCst);
    assert!((2..=15).contains(&tried), "{tried} connections in 0.6 s");
    producer.close(PATIENCE).unwrap();
}

/// Starts a server that does not speak Kafka's protocol. Counts the connections made to it, and sums what `speak` returns.
fn garbage_server(
    speak: impl Fn(&mut TcpStream) -> usize + Send + Sync + 'static,
) -> (u16, Arc<AtomicUsize>, Watched<Vec<usize>>) {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let port = listener.local_addr().unwrap().port();
    let connections = Arc::new(AtomicUsize::new(0));
    let taken = Watched::<Vec<usize>>::default();
    let (count, results) = (Arc::clone(&connections), taken.clone());
    // Ends with the test's process.
    std::thread::spawn(move || {
        while let Ok((mut stream, _)) = listener.accept() {
            count.fetch_add(1, Ordering::SeqCst);
            let bytes = speak(&mut stream);
            results.change(|results| results.push(bytes));
        }
    });
    (port, connections, taken)
}

/// The leader of the only partition, and a bootstrap server that knows it.
struct Broker {
    bootstrap: FakeBootstrap,
    connections: Arc<AtomicUsize>,
    _listener: Box<dyn std::any::Any>,
}

impl Broker {
    /// `behave` gets each Produce request and the number of its connection.
    fn start(
        behave: impl Fn(usize, &[u8], &mut TcpStream) -> io::Result<()> + Send + Sync + 'static,
    ) -> Self {
        let connections = Arc::new(AtomicUsize::new(0));
        let count = Arc::clone(&connections);
        let (port, listener) = answering_versions(move |stream, _| {
            let connection = count.fetch_add(1, Ordering::SeqCst);
            let _ = serve(stream, |request, stream| {
                behave(connection, request, stream)
            });
        });
        Self {
            bootstrap: FakeBootstrap::start(vec![Member::new(1, port)], vec![1]),
            connections,
            _listener: Box::new(listener),
        }
    }

    fn builder(&self) -> Builder {
        builder_at(&self.bootstrap.address())
    }

    fn producer(&self) -> Producer {
        self.builder().build().unwrap()
    }

    fn connections(&self) -> usize {
        self.connections.load(Ordering::SeqCst)
    }
}

/// Reads requests, without their lengths, until the connection ends.
fn serve(
    mut stream: TcpStream,
    answer: impl Fn(&[u8], &mut TcpStream) -> io::Result<()>,
) -> io::Result<()> {
    loop {
        let mut length = [0; 4];
        stream.read_exact(&mut length)?;
        let mut request = vec![0; u32::from_be_bytes(length) as usize];
        stream.read_exact(&mut request)?;
        answer(&request, &mut stream)?;
    }
}

/// Writes `bytes` again and again until the other side ends the connection or reads no more: a system need not report the
/// end of a connection with full buffers. Returns the number of bytes written.
fn flood(stream: &mut TcpStream, bytes: &[u8]) -> usize {
    stream
        .set_write_timeout(Some(Duration::from_secs(1)))
        .unwrap();
    let mut written = 0;
    while written < FLOOD {
        match stream.write(bytes) {
            Ok(count) => written += count,
            Err(_) => break,
        }
    }
    written
}

/// The answer to a Produce request of version 7 for partition 0 of `t`.
fn answer(request: &[u8], code: i16) -> Vec<u8> {
    frame(&answer_for(request, 0..1, code))
}

fn answer_for(request: &[u8], partitions: std::ops::Range<i32>, code: i16) -> Vec<u8> {
    assert_eq!(request[..4], [0, 0, 0, 7], "Produce, version 7");
    let mut body = request[4..8].to_vec();
    body.extend(1_i32.to_be_bytes());
    body.extend([0, 1, b't']);
    body.extend((partitions.len() as i32).to_be_bytes());
    for partition in partitions {
        body.extend(partition.to_be_bytes());
        body.extend(code.to_be_bytes());
        // No offset, append time and log start.
        body.extend([0xff; 24]);
    }
    body.extend(0_i32.to_be_bytes());
    body
}

fn frame(body: &[u8]) -> Vec<u8> {
    [&(body.len() as i32).to_be_bytes(), body].concat()
}
