//! An address that passes connections on to a broker and goes wrong at one step of their handshakes.

use std::io::{self, Read, Write};
use std::net::{Ipv4Addr, Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, Weak};
use std::thread::JoinHandle;
use std::time::Duration;

use socket2::SockRef;

/// How a stream is cut into messages.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Framing {
    /// The records of TLS.
    Tls,
    /// Kafka's requests and answers.
    Kafka,
}

/// Where the peer goes wrong.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Step {
    /// Before it reads anything.
    Accept,
    /// In place of its message with this number, from 0.
    Message(usize),
    /// In the middle of that message.
    Within(usize),
    /// In place of the first message that it has after the client's message with this number.
    AfterClients(usize),
}

/// What the peer does wrong.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Wrong {
    /// It sends nothing more.
    Stall,
    /// It sends a byte a second.
    Drip,
    Close,
    Reset,
    Garbage,
}

pub(crate) const WRONGS: [Wrong; 5] = [
    Wrong::Stall,
    Wrong::Drip,
    Wrong::Close,
    Wrong::Reset,
    Wrong::Garbage,
];

pub(crate) struct Meddler {
    address: SocketAddr,
    shared: Arc<Shared>,
    accepting: Option<JoinHandle<()>>,
}

struct Shared {
    port: u16,
    framing: Framing,
    step: Step,
    wrong: Wrong,
    is_mended: AtomicBool,
    has_ended: AtomicBool,
    /// How many connections have gone wrong.
    wronged: AtomicUsize,
    open: Mutex<Vec<Weak<TcpStream>>>,
}

impl Meddler {
    /// Passes connections on to `port` of 127.0.0.1, and does wrong at `step` of each.
    pub(crate) fn start(port: u16, framing: Framing, step: Step, wrong: Wrong) -> Self {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let address = listener.local_addr().unwrap();
        let shared = Arc::new(Shared {
            port,
            framing,
            step,
            wrong,
            is_mended: AtomicBool::new(false),
            has_ended: AtomicBool::new(false),
            wronged: AtomicUsize::new(0),
            open: Mutex::default(),
        });
        let accept = {
            let shared = Arc::clone(&shared);
            move || {
                while let Ok((client, _)) = listener.accept() {
                    if shared.has_ended.load(Ordering::Acquire) {
                        return;
                    }
                    let shared = Arc::clone(&shared);
                    // Ends with the connection.
                    std::thread::spawn(move || shared.serve(client));
                }
            }
        };
        Self {
            address,
            shared,
            accepting: Some(std::thread::spawn(accept)),
        }
    }

    pub(crate) fn address(&self) -> String {
        self.address.to_string()
    }

    /// Makes later connections go right.
    pub(crate) fn mend(&self) {
        self.shared.is_mended.store(true, Ordering::Release);
    }

    /// How many connections have gone wrong.
    pub(crate) fn wronged(&self) -> usize {
        self.shared.wronged.load(Ordering::Acquire)
    }
}

impl Drop for Meddler {
    fn drop(&mut self) {
        self.shared.has_ended.store(true, Ordering::Release);
        for stream in self.shared.open.lock().unwrap().drain(..) {
            if let Some(stream) = stream.upgrade() {
                let _ = stream.shutdown(Shutdown::Both);
            }
        }
        let _ = TcpStream::connect(self.address);
        if let Some(accepting) = self.accepting.take() {
            let _ = accepting.join();
        }
    }
}

impl Shared {
    /// Serves one connection.
    fn serve(&self, client: TcpStream) {
        let client = self.watch(client);
        let is_mended = self.is_mended.load(Ordering::Acquire);
        if !is_mended && matches!(self.step, Step::Accept) {
            if matches!(self.wrong, Wrong::Reset) {
                // The client has connected when it writes: an earlier reset can be one of its connect.
                let _ = client.peek(&mut [0]);
            }
            return self.do_wrong(client, &self.first_bytes());
        }
        let Ok(server) = TcpStream::connect((Ipv4Addr::LOCALHOST, self.port)) else {
            return;
        };
        let server = self.watch(server);
        let sent = Arc::new(AtomicUsize::new(0));
        let up = {
            let (client, server) = (Arc::clone(&client), Arc::clone(&server));
            let (sent, framing) = (Arc::clone(&sent), self.framing);
            move || {
                while let Ok(message) = framing.read(&mut &*client) {
                    sent.fetch_add(1, Ordering::AcqRel);
                    if (&*server).write_all(&message).is_err() {
                        break;
                    }
                }
                let _ = server.shutdown(Shutdown::Both);
            }
        };
        std::thread::spawn(up);
        for number in 0.. {
            let Ok(message) = self.framing.read(&mut &*server) else {
                break;
            };
            if !is_mended && self.is_step(number, sent.load(Ordering::Acquire)) {
                return self.go_wrong_at(client, &message);
            }
            if (&*client).write_all(&message).is_err() {
                break;
            }
        }
        let _ = client.shutdown(Shutdown::Both);
    }

    fn watch(&self, stream: TcpStream) -> Arc<TcpStream> {
        let stream = Arc::new(stream);
        let mut open = self.open.lock().unwrap();
        open.retain(|stream| stream.strong_count() > 0);
        open.push(Arc::downgrade(&stream));
        stream
    }

    /// Returns whether the server's message `number` is the step, after `sent` messages of the client.
    fn is_step(&self, number: usize, sent: usize) -> bool {
        match self.step {
            Step::Accept => false,
            Step::Message(step) | Step::Within(step) => number == step,
            Step::AfterClients(step) => sent > step,
        }
    }

    fn go_wrong_at(&self, client: Arc<TcpStream>, message: &[u8]) {
        let sent = match self.step {
            Step::Within(_) => message.len() / 2,
            _ => 0,
        };
        let _ = (&*client).write_all(&message[..sent]);
        self.do_wrong(client, &message[sent..]);
    }

    /// Does wrong in place of sending `rest`.
    fn do_wrong(&self, client: Arc<TcpStream>, rest: &[u8]) {
        match self.wrong {
            Wrong::Stall => {}
            Wrong::Drip => {
                self.wronged.fetch_add(1, Ordering::AcqRel);
                return self.drip(&client, rest);
            }
            Wrong::Close => {
                let _ = client.shutdown(Shutdown::Both);
            }
            Wrong::Reset => {
                SockRef::from(&*client)
                    .set_linger(Some(Duration::ZERO))
                    .unwrap();
                // Ends the other thread's read: the last close sends the reset.
                let _ = client.shutdown(Shutdown::Read);
            }
            Wrong::Garbage => {
                let _ = (&*client).write_all(&[0xa5; 1000]);
            }
        }
        self.wronged.fetch_add(1, Ordering::AcqRel);
        if matches!(self.wrong, Wrong::Stall | Wrong::Garbage) && matches!(self.step, Step::Accept)
        {
            // No other thread holds the connection open until the client leaves.
            let _ = io::copy(&mut &*client, &mut io::sink());
        }
    }

    /// The time between two bytes is how this peer behaves, and no wait for a condition.
    fn drip(&self, client: &TcpStream, rest: &[u8]) {
        for byte in rest.iter().cycle() {
            let has_ended = self.has_ended.load(Ordering::Acquire);
            if has_ended || (&*client).write_all(&[*byte]).is_err() {
                return;
            }
            std::thread::park_timeout(Duration::from_secs(1));
        }
    }

    /// How a message begins that a peer may send.
    fn first_bytes(&self) -> Vec<u8> {
        match self.framing {
            Framing::Tls => vec![22, 3, 3, 0, 100, 2, 0, 0, 96, 3, 3],
            Framing::Kafka => vec![0, 0, 0, 100, 0, 0, 0, 0],
        }
    }
}

impl Framing {
    /// Reads a message with its header.
    fn read(self, stream: &mut impl Read) -> io::Result<Vec<u8>> {
        let mut header = vec![0; if matches!(self, Self::Tls) { 5 } else { 4 }];
        stream.read_exact(&mut header)?;
        let length = match self {
            Self::Tls => usize::from(u16::from_be_bytes([header[3], header[4]])),
            Self::Kafka => {
                u32::from_be_bytes([header[0], header[1], header[2], header[3]]) as usize
            }
        };
        let start = header.len();
        let mut message = header;
        message.resize(start + length, 0);
        stream.read_exact(&mut message[start..])?;
        Ok(message)
    }
}
