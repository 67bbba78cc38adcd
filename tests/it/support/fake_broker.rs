//! Listeners that are no brokers, and one that only tells where brokers are: the bootstrap server of a cluster whose
//! members may be anything.

use std::io::{self, Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::Duration;

use socket2::{Domain, Socket, Type};

/// A member of a cluster as metadata describes it.
#[derive(Clone, Debug)]
pub(crate) struct Member {
    pub(crate) id: i32,
    pub(crate) host: String,
    pub(crate) port: u16,
}

impl Member {
    pub(crate) fn new(id: i32, port: u16) -> Self {
        Self {
            id,
            host: "127.0.0.1".to_owned(),
            port,
        }
    }
}

/// Answers ApiVersions, Metadata and InitProducerId, and knows one topic, `t`.
pub(crate) struct FakeBootstrap {
    port: u16,
    /// The answer to Metadata.
    metadata: Arc<Mutex<Vec<u8>>>,
    stopped: Arc<AtomicBool>,
    accepting: Option<JoinHandle<()>>,
}

impl FakeBootstrap {
    /// `leaders` are those of the topic's partitions, in order.
    pub(crate) fn start(members: Vec<Member>, leaders: Vec<i32>) -> Self {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let port = listener.local_addr().unwrap().port();
        let metadata = Arc::new(Mutex::new(metadata(&members, &leaders)));
        let stopped = Arc::new(AtomicBool::new(false));
        let accept = {
            let (stopped, metadata) = (Arc::clone(&stopped), Arc::clone(&metadata));
            move || {
                while let Ok((stream, _)) = listener.accept() {
                    if stopped.load(Ordering::Acquire) {
                        return;
                    }
                    let metadata = Arc::clone(&metadata);
                    // Ends with the connection, which the producer closes.
                    std::thread::spawn(move || serve(stream, &metadata));
                }
            }
        };
        Self {
            port,
            metadata,
            stopped,
            accepting: Some(std::thread::spawn(accept)),
        }
    }

    pub(crate) fn set_leaders(&self, members: &[Member], leaders: &[i32]) {
        *self.metadata.lock().unwrap() = metadata(members, leaders);
    }

    pub(crate) fn address(&self) -> String {
        format!("127.0.0.1:{}", self.port)
    }
}

impl Drop for FakeBootstrap {
    fn drop(&mut self) {
        self.stopped.store(true, Ordering::Release);
        let _ = TcpStream::connect((Ipv4Addr::LOCALHOST, self.port));
        if let Some(accepting) = self.accepting.take() {
            let _ = accepting.join();
        }
    }
}

/// A port that accepts connections, answers ApiVersions and then never reads again.
pub(crate) fn never_reading() -> (u16, impl Drop) {
    answering_versions(|_stream, stopped| {
        while !stopped.load(Ordering::Acquire) {
            std::thread::park_timeout(Duration::from_millis(50));
        }
    })
}

/// A port that accepts connections, answers ApiVersions and then reads `bytes` at a time, with `every` between
/// two reads.
pub(crate) fn slowly_reading(bytes: usize, every: Duration) -> (u16, impl Drop) {
    answering_versions(move |mut stream, stopped| {
        let mut buffer = vec![0; bytes];
        // The time between two reads is this broker's nature, not a wait for something.
        while !stopped.load(Ordering::Acquire) && matches!(stream.read(&mut buffer), Ok(1..)) {
            std::thread::park_timeout(every);
        }
    })
}

/// A port on which the system completes no connection: its backlog is full.
pub(crate) fn never_connecting() -> (u16, Vec<Socket>) {
    let address = SocketAddr::from((Ipv4Addr::LOCALHOST, 0)).into();
    let listener = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
    listener.bind(&address).unwrap();
    listener.listen(0).unwrap();
    let address = listener.local_addr().unwrap();
    let mut sockets = vec![listener];
    for _ in 0..16 {
        let socket = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
        socket.set_nonblocking(true).unwrap();
        let _ = socket.connect(&address);
        sockets.push(socket);
    }
    (address.as_socket().unwrap().port(), sockets)
}

fn answering_versions(
    then: impl Fn(TcpStream, &AtomicBool) + Send + Sync + 'static,
) -> (u16, impl Drop) {
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
    let (then, stop) = (Arc::new(then), Arc::clone(&stopped));
    std::thread::spawn(move || {
        while let Ok((mut stream, _)) = listener.accept() {
            if stop.load(Ordering::Acquire) {
                return;
            }
            let (then, stop) = (Arc::clone(&then), Arc::clone(&stop));
            std::thread::spawn(move || {
                if answer_one(&mut stream, &Mutex::default()).is_ok() {
                    then(stream, &stop);
                }
            });
        }
    });
    (port, Listener(port, stopped))
}

fn serve(mut stream: TcpStream, metadata: &Mutex<Vec<u8>>) {
    while answer_one(&mut stream, metadata).is_ok() {}
}

const PRODUCE: i16 = 0;
const METADATA: i16 = 3;
const API_VERSIONS: i16 = 18;
const INIT_PRODUCER_ID: i16 = 22;

fn answer_one(stream: &mut TcpStream, metadata: &Mutex<Vec<u8>>) -> io::Result<()> {
    let mut length = [0; 4];
    stream.read_exact(&mut length)?;
    let mut request = vec![0; u32::from_be_bytes(length) as usize];
    stream.read_exact(&mut request)?;
    let number = |at: usize| i16::from_be_bytes([request[at], request[at + 1]]);
    let (api, version) = (number(0), number(2));
    let body = match api {
        // Above version 0: that it is not known, in the layout of version 0.
        API_VERSIONS if version > 0 => [&35i16.to_be_bytes()[..], &versions()].concat(),
        API_VERSIONS => [&0i16.to_be_bytes()[..], &versions()].concat(),
        METADATA => metadata.lock().unwrap().clone(),
        INIT_PRODUCER_ID => {
            let mut body = Vec::new();
            put(&mut body, &0i32.to_be_bytes());
            put(&mut body, &0i16.to_be_bytes());
            put(&mut body, &7i64.to_be_bytes());
            put(&mut body, &0i16.to_be_bytes());
            body
        }
        _ => return Err(io::ErrorKind::Unsupported.into()),
    };
    let mut answer = Vec::new();
    put(&mut answer, &(body.len() as i32 + 4).to_be_bytes());
    put(&mut answer, &request[4..8]);
    put(&mut answer, &body);
    stream.write_all(&answer)
}

fn versions() -> Vec<u8> {
    let ranges = [
        (PRODUCE, 3, 7),
        (METADATA, 5, 5),
        (API_VERSIONS, 0, 0),
        (INIT_PRODUCER_ID, 0, 0),
    ];
    let mut body = Vec::new();
    put(&mut body, &(ranges.len() as i32).to_be_bytes());
    for (api, first, last) in ranges {
        for number in [api, first, last] {
            put(&mut body, &number.to_be_bytes());
        }
    }
    body
}

/// A response of version 5.
fn metadata(members: &[Member], leaders: &[i32]) -> Vec<u8> {
    let mut body = Vec::new();
    let put_i32 = |body: &mut Vec<u8>, number: i32| put(body, &number.to_be_bytes());
    let put_i16 = |body: &mut Vec<u8>, number: i16| put(body, &number.to_be_bytes());
    put_i32(&mut body, 0);
    put_i32(&mut body, members.len() as i32);
    for member in members {
        put_i32(&mut body, member.id);
        put_string(&mut body, &member.host);
        put_i32(&mut body, member.port.into());
        put_i16(&mut body, -1);
    }
    put_i16(&mut body, -1);
    put_i32(&mut body, 0);
    put_i32(&mut body, 1);
    put_i16(&mut body, 0);
    put_string(&mut body, "t");
    body.push(0);
    put_i32(&mut body, leaders.len() as i32);
    for (partition, leader) in (0..).zip(leaders) {
        put_i16(&mut body, 0);
        put_i32(&mut body, partition);
        put_i32(&mut body, *leader);
        for _ in ["replicas", "in sync", "offline"] {
            put_i32(&mut body, 0);
        }
    }
    body
}

fn put(body: &mut Vec<u8>, bytes: &[u8]) {
    body.extend_from_slice(bytes);
}

fn put_string(body: &mut Vec<u8>, text: &str) {
    put(body, &(text.len() as i16).to_be_bytes());
    put(body, text.as_bytes());
}
