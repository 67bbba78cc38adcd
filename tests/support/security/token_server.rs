//! A token server for the grants of OAuth 2, by HTTP or HTTPS, that can be told to fail.

use std::collections::VecDeque;
use std::io::{self, Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use serde_json::json;

use super::tokens::{Issuer, base64};

/// What a client has to send as its name and secret.
pub(crate) const CLIENT_ID: &str = "kafka-client";
pub(crate) const CLIENT_SECRET: &str = "client-secret";

/// The path of the token endpoint. Each other path is answered with 404.
const PATH: &str = "/token";
const MAX_REQUEST: usize = 1 << 20;
const TICK: Duration = Duration::from_millis(50);

/// What the server does with a request.
#[derive(Clone, Debug)]
pub(crate) enum Answer {
    /// Sends a token of this subject that ends in some seconds, if the client's name and secret or its assertion are right.
    Token { subject: String, seconds: i64 },
    /// Sends these bytes and closes.
    Bytes(Vec<u8>),
    /// Sends a header and then a body without an end.
    Endless,
    /// Sends nothing until the client closes.
    Silence,
    /// Sends one byte of a right answer a second.
    Drip,
    /// Closes the connection.
    Close,
}

impl Answer {
    /// An answer with this status and body.
    pub(crate) fn http(status: u16, body: &str) -> Answer {
        Answer::Bytes(response(status, &[], body))
    }

    pub(crate) fn redirect(url: &str) -> Answer {
        Answer::Bytes(response(302, &[("Location", url)], ""))
    }
}

/// A request as the server read it.
#[derive(Clone, Debug)]
pub(crate) struct TokenRequest {
    /// Such as `POST /token HTTP/1.1`.
    pub(crate) line: String,
    /// With names in lower case.
    pub(crate) headers: Vec<(String, String)>,
    pub(crate) body: String,
}

impl TokenRequest {
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        let found = self.headers.iter().find(|(other, _)| other == name);
        found.map(|(_, value)| value.as_str())
    }
}

/// A running server. Dropping it ends it and its connections.
pub(crate) struct TokenServer {
    address: SocketAddr,
    is_tls: bool,
    shared: Arc<Shared>,
    accepting: Option<JoinHandle<()>>,
}

struct Shared {
    issuer: Issuer,
    has_ended: AtomicBool,
    state: Mutex<State>,
}

struct State {
    usual: Answer,
    next: VecDeque<Answer>,
    requests: Vec<TokenRequest>,
}

impl Shared {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn has_ended(&self) -> bool {
        self.has_ended.load(Ordering::Relaxed)
    }
}

impl TokenServer {
    /// Starts a server on a free port of 127.0.0.1, which issues tokens of `alice` that end in five minutes.
    pub(crate) fn start(issuer: &Issuer) -> TokenServer {
        Self::start_serving(issuer, false, |shared, socket| serve(&shared, socket))
    }

    /// The same by HTTPS.
    #[cfg(feature = "tls")]
    pub(crate) fn start_with_tls(
        issuer: &Issuer,
        config: Arc<rustls::ServerConfig>,
    ) -> TokenServer {
        Self::start_serving(issuer, true, move |shared, socket| {
            let connection = rustls::ServerConnection::new(Arc::clone(&config));
            let connection = connection.map_err(io::Error::other)?;
            let mut stream = rustls::StreamOwned::new(connection, socket);
            serve(&shared, &mut stream)?;
            stream.conn.send_close_notify();
            stream.flush()
        })
    }

    fn start_serving(
        issuer: &Issuer,
        is_tls: bool,
        serve: impl Fn(Arc<Shared>, TcpStream) -> io::Result<()> + Clone + Send + 'static,
    ) -> TokenServer {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a free port");
        let address = listener.local_addr().expect("an address");
        let state = State {
            usual: Answer::Token {
                subject: "alice".to_owned(),
                seconds: 300,
            },
            next: VecDeque::new(),
            requests: Vec::new(),
        };
        let shared = Arc::new(Shared {
            issuer: issuer.clone(),
            has_ended: AtomicBool::new(false),
            state: Mutex::new(state),
        });
        let of_thread = Arc::clone(&shared);
        let accepting = thread::spawn(move || {
            let mut connections = Vec::new();
            for socket in listener.incoming().flatten() {
                if of_thread.has_ended() {
                    break;
                }
                let (serve, shared) = (serve.clone(), Arc::clone(&of_thread));
                // A client that breaks off is no failure of the test.
                connections.push(thread::spawn(move || drop(serve(shared, socket))));
                connections.retain(|connection| !connection.is_finished());
            }
            connections
                .into_iter()
                .for_each(|connection| drop(connection.join()));
        });
        TokenServer {
            address,
            is_tls,
            shared,
            accepting: Some(accepting),
        }
    }

    /// The URL of the token endpoint, with the host `localhost`.
    pub(crate) fn url(&self) -> String {
        let scheme = if self.is_tls { "https" } else { "http" };
        format!("{scheme}://localhost:{}{PATH}", self.address.port())
    }

    /// Answers every request so from now on, except those that [`answer_next`](Self::answer_next) is for.
    pub(crate) fn answer(&self, answer: Answer) {
        self.shared.state().usual = answer;
    }

    /// Answers one request so: the next one that has no such answer yet.
    pub(crate) fn answer_next(&self, answer: Answer) {
        self.shared.state().next.push_back(answer);
    }

    /// The requests to any path so far.
    pub(crate) fn requests(&self) -> Vec<TokenRequest> {
        self.shared.state().requests.clone()
    }
}

impl Drop for TokenServer {
    fn drop(&mut self) {
        self.shared.has_ended.store(true, Ordering::Relaxed);
        // Wakes the thread that accepts.
        drop(TcpStream::connect(self.address));
        if let Some(accepting) = self.accepting.take() {
            drop(accepting.join());
        }
    }
}

/// Serves one request.
fn serve(shared: &Shared, mut stream: impl Read + Write + Timed) -> io::Result<()> {
    stream.set_tick()?;
    let request = read_request(shared, &mut stream)?;
    let is_here = request.line.split(' ').nth(1) == Some(PATH);
    let answer = {
        let mut state = shared.state();
        state.requests.push(request.clone());
        match is_here {
            true => state
                .next
                .pop_front()
                .unwrap_or_else(|| state.usual.clone()),
            false => Answer::http(404, ""),
        }
    };
    match answer {
        Answer::Token { subject, seconds } => {
            stream.write_all(&token_response(shared, &request, &subject, seconds))?
        }
        Answer::Bytes(bytes) => stream.write_all(&bytes)?,
        Answer::Endless => {
            let head = "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nConnection: close\r\n\r\n{\"access_token\":\"";
            stream.write_all(head.as_bytes())?;
            while !shared.has_ended() {
                stream.write_all(&[b'A'; 4096])?;
            }
        }
        Answer::Silence => until_closed(shared, &mut stream)?,
        Answer::Drip => {
            for byte in token_response(shared, &request, "alice", 300) {
                stream.write_all(&[byte])?;
                stream.flush()?;
                (0..20).for_each(|_| match shared.has_ended() {
                    true => {}
                    false => thread::park_timeout(TICK),
                });
            }
        }
        Answer::Close => {}
    }
    stream.flush()
}

/// A stream whose reads return after [`TICK`], so that its thread sees the end of the server.
trait Timed {
    fn set_tick(&self) -> io::Result<()>;
}

impl Timed for TcpStream {
    fn set_tick(&self) -> io::Result<()> {
        self.set_read_timeout(Some(TICK))?;
        self.set_write_timeout(Some(Duration::from_secs(5)))?;
        self.set_nodelay(true)
    }
}

#[cfg(feature = "tls")]
impl Timed for &mut rustls::StreamOwned<rustls::ServerConnection, TcpStream> {
    fn set_tick(&self) -> io::Result<()> {
        self.sock.set_tick()
    }
}

/// Reads some bytes, or none after the end of the stream.
fn read_some(shared: &Shared, stream: &mut impl Read, buffer: &mut [u8]) -> io::Result<usize> {
    loop {
        match stream.read(buffer) {
            Err(error) if is_tick(&error) && !shared.has_ended() => {}
            result => return result,
        }
    }
}

fn is_tick(error: &io::Error) -> bool {
    use io::ErrorKind::{Interrupted, TimedOut, WouldBlock};
    matches!(error.kind(), WouldBlock | TimedOut | Interrupted)
}

fn until_closed(shared: &Shared, stream: &mut impl Read) -> io::Result<()> {
    while read_some(shared, stream, &mut [0; 512])? > 0 {}
    Ok(())
}

fn read_request(shared: &Shared, stream: &mut impl Read) -> io::Result<TokenRequest> {
    let mut bytes = Vec::new();
    let mut buffer = [0; 4096];
    loop {
        if let Some(request) = parse_request(&bytes) {
            return Ok(request);
        }
        let count = read_some(shared, stream, &mut buffer)?;
        if count == 0 || bytes.len() > MAX_REQUEST {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        bytes.extend(&buffer[..count]);
    }
}

/// `None` while the request is not complete.
fn parse_request(bytes: &[u8]) -> Option<TokenRequest> {
    let end = bytes.windows(4).position(|window| window == b"\r\n\r\n")?;
    let head = String::from_utf8_lossy(&bytes[..end]).into_owned();
    let mut lines = head.split("\r\n");
    let line = lines.next()?.to_owned();
    let headers: Vec<_> = lines
        .filter_map(|line| line.split_once(':'))
        .map(|(name, value)| (name.to_ascii_lowercase(), value.trim().to_owned()))
        .collect();
    let mut request = TokenRequest {
        line,
        headers,
        body: String::new(),
    };
    let length = request.header("content-length").unwrap_or("0");
    let body = bytes.get(end + 4..end + 4 + length.parse::<usize>().ok()?)?;
    request.body = String::from_utf8_lossy(body).into_owned();
    Some(request)
}

fn token_response(shared: &Shared, request: &TokenRequest, subject: &str, seconds: i64) -> Vec<u8> {
    let secret = base64(format!("{CLIENT_ID}:{CLIENT_SECRET}").as_bytes());
    let has_secret = request.header("authorization") == Some(&format!("Basic {secret}"));
    let has_assertion = request.body.contains("assertion=");
    if !has_secret && !has_assertion {
        let refusal = json!({"error": "invalid_client", "error_description": "unknown client"});
        return response(401, &[], &refusal.to_string());
    }
    let token = shared.issuer.token(subject, seconds);
    let answer = json!({"access_token": token, "token_type": "Bearer", "expires_in": seconds});
    response(200, &[], &answer.to_string())
}

fn response(status: u16, headers: &[(&str, &str)], body: &str) -> Vec<u8> {
    let headers: String = headers
        .iter()
        .map(|(name, value)| format!("{name}: {value}\r\n"))
        .collect();
    let length = body.len();
    format!(
        "HTTP/1.1 {status} Status\r\nContent-Type: application/json\r\nContent-Length: {length}\r\n\
         Connection: close\r\n{headers}\r\n{body}"
    )
    .into_bytes()
}
