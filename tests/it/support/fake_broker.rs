//! Listeners that behave unlike brokers, and a bootstrap server that only names the members of a cluster, which can be any
//! listeners.

use std::io::{self, Read, Write};
use std::net::{Ipv4Addr, Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
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
    cluster_id: Option<String>,
    /// The answer to Metadata.
    metadata: Arc<Mutex<Vec<u8>>>,
    asked: Arc<AtomicUsize>,
    open: Arc<Mutex<Vec<TcpStream>>>,
    stopped: Arc<AtomicBool>,
    accepting: Option<JoinHandle<()>>,
}

impl FakeBootstrap {
    /// `leaders` are those of the topic's partitions, in order. It names no cluster id.
    pub(crate) fn start(members: Vec<Member>, leaders: Vec<i32>) -> Self {
        Self::start_in(None, members, leaders)
    }

    /// A server that names the id of its cluster.
    pub(crate) fn start_in(
        cluster_id: Option<&str>,
        members: Vec<Member>,
        leaders: Vec<i32>,
    ) -> Self {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let port = listener.local_addr().unwrap().port();
        let metadata = Arc::new(Mutex::new(metadata(cluster_id, &members, &leaders)));
        let stopped = Arc::new(AtomicBool::new(false));
        let (asked, open) = (Arc::default(), Arc::<Mutex<Vec<TcpStream>>>::default());
        let accept = {
            let (stopped, metadata) = (Arc::clone(&stopped), Arc::clone(&metadata));
            let (asked, open) = (Arc::clone(&asked), Arc::clone(&open));
            move || {
                while let Ok((stream, _)) = listener.accept() {
                    if stopped.load(Ordering::Acquire) {
                        return;
                    }
                    open.lock().unwrap().push(stream.try_clone().unwrap());
                    let (metadata, asked) = (Arc::clone(&metadata), Arc::clone(&asked));
                    // Ends with the connection, which the producer closes.
                    std::thread::spawn(move || serve(stream, &metadata, &asked));
                }
            }
        };
        Self {
            port,
            cluster_id: cluster_id.map(str::to_owned),
            metadata,
            asked,
            open,
            stopped,
            accepting: Some(std::thread::spawn(accept)),
        }
    }

    pub(crate) fn set_leaders(&self, members: &[Member], leaders: &[i32]) {
        let cluster_id = self.cluster_id.as_deref();
        *self.metadata.lock().unwrap() = metadata(cluster_id, members, leaders);
    }

    pub(crate) fn address(&self) -> String {
        format!("127.0.0.1:{}", self.port)
    }

    pub(crate) fn port(&self) -> u16 {
        self.port
    }

    /// How many Metadata requests were answered.
    pub(crate) fn metadata_requests(&self) -> usize {
        self.asked.load(Ordering::Acquire)
    }

    /// Closes the connections that are open.
    pub(crate) fn disconnect(&self) {
        for stream in self.open.lock().unwrap().drain(..) {
            let _ = stream.shutdown(Shutdown::Both);
        }
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
        // The time between two reads is how this broker behaves, and no wait for a condition.
        while !stopped.load(Ordering::Acquire) && matches!(stream.read(&mut buffer), Ok(1..)) {
            std::thread::park_timeout(every);
        }
    })
}

/// A port that accepts connections and answers nothing at all.
pub(crate) fn answering_nothing() -> (u16, TcpListener) {
    // The system accepts for it: connections wait in the backlog.
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    (listener.local_addr().unwrap().port(), listener)
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

/// A port that accepts connections, answers ApiVersions and then calls `serve`.
pub(crate) fn answering_versions(
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
                // Refuses the version that clients send first; they ask again.
                let mut answer = || answer_one(&mut stream, &Mutex::default());
                if answer().and_then(|_| answer()).is_ok() {
                    then(stream, &stop);
                }
            });
        }
    });
    (port, Listener(port, stopped))
}

fn serve(mut stream: TcpStream, metadata: &Mutex<Vec<u8>>, asked: &AtomicUsize) {
    while let Ok(api) = answer_one(&mut stream, metadata) {
        match api {
            METADATA => drop(asked.fetch_add(1, Ordering::Release)),
            PRODUCE => return,
            _ => {}
        }
    }
}

pub(crate) const PRODUCE: i16 = 0;
const METADATA: i16 = 3;
const API_VERSIONS: i16 = 18;
const INIT_PRODUCER_ID: i16 = 22;

/// Answers a request and returns its API. A Produce request gets no answer.
pub(crate) fn answer_one(
    stream: &mut (impl Read + Write),
    metadata: &Mutex<Vec<u8>>,
) -> io::Result<i16> {
    let mut length = [0; 4];
    stream.read_exact(&mut length)?;
    let mut request = vec![0; u32::from_be_bytes(length) as usize];
    stream.read_exact(&mut request)?;
    let number = |at: usize| i16::from_be_bytes([request[at], request[at + 1]]);
    let (api, version) = (number(0), number(2));
    let body = match api {
        // A version above 0 is refused, in the layout of version 0.
        API_VERSIONS if version > 0 => [&35i16.to_be_bytes()[..], &versions()].concat(),
        API_VERSIONS => [&0i16.to_be_bytes()[..], &versions()].concat(),
        METADATA => metadata.lock().unwrap().clone(),
        PRODUCE => return Ok(api),
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
    stream.write_all(&answer)?;
    Ok(api)
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
pub(crate) fn metadata(cluster_id: Option<&str>, members: &[Member], leaders: &[i32]) -> Vec<u8> {
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
    match cluster_id {
        Some(id) => put_string(&mut body, id),
        None => put_i16(&mut body, -1),
    }
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
