//! A small HTTP client for servers that issue credentials: one request, one answer, one connection.
//!
//! It is made for peers that may be hostile or out of order. Each call ends by its deadline, whatever the peer does. The
//! answer's head and body are bounded. Redirects are not followed: a redirect would take the credentials to another place.
//! No proxy is used, and no variable of the environment is read. A compressed answer is refused: it is not asked for.
//!
//! The client is our own because the libraries for HTTP log. What they log goes to the user's logger on a thread of the
//! producer, which may not wait for a logger. And at the level `trace`, ureq's logs have the secrets of requests and the
//! tokens of answers.
//!
//! | to | see |
//! |---|---|
//! | read an answer | [`response`] |
//! | end requests that nobody needs any more | [`requests`] |
//! | bound reads and writes, and make the handshake of TLS | [`stream`] |
//! | resolve the host | [`resolve`] |
//! | read a URL | [`url`] |

mod requests;
mod resolve;
mod response;
mod stream;
mod url;

use std::io::{self, Write as _};
use std::sync::Arc;
use std::time::{Duration, Instant};

use zeroize::Zeroizing;

pub(crate) use self::requests::Requests;
use self::resolve::Resolver;
pub(crate) use self::response::Response;
use self::response::{Fault, MOST_BODY_BYTES, MOST_HEAD_BYTES};
use self::stream::{Socket, Stream};
pub(crate) use self::url::Url;
use crate::error::{Error, ErrorKind, printable};
use crate::secret::Secret;
use crate::tls::TlsClient;

/// A request. `Debug` shows its method and its URL, without the query.
#[derive(Clone)]
pub(crate) struct Request {
    method: &'static str,
    url: Url,
    headers: Vec<(&'static str, Secret)>,
    body: Option<Secret>,
}

impl Request {
    pub(crate) fn get(url: Url) -> Self {
        Self::new("GET", url, None)
    }

    pub(crate) fn post(url: Url, body: Secret) -> Self {
        Self::new("POST", url, Some(body))
    }

    /// Makes a request without a body.
    pub(crate) fn put(url: Url) -> Self {
        Self::new("PUT", url, Some(Secret::default()))
    }

    fn new(method: &'static str, url: Url, body: Option<Secret>) -> Self {
        Self {
            method,
            url,
            headers: Vec::new(),
            body,
        }
    }

    /// Adds a header. The client itself sets `Host`, `User-Agent`, `Content-Length`, `Accept-Encoding` and `Connection`.
    #[must_use]
    pub(crate) fn header(mut self, name: &'static str, value: impl Into<Secret>) -> Self {
        self.headers.push((name, value.into()));
        self
    }

    /// Returns the request's bytes.
    fn bytes(&self) -> Result<Zeroizing<Vec<u8>>, Error> {
        let first = format!("{} {} HTTP/1.1", self.method, self.url.target());
        let host = self.url.authority();
        let body = self.body.as_ref().map_or("", Secret::reveal);
        let length = body.len().to_string();
        let mut lines = vec![&*first, "\r\nHost: ", &host, "\r\nUser-Agent: ", USER_AGENT];
        lines.push("\r\nAccept-Encoding: identity\r\nConnection: close");
        if self.body.is_some() {
            lines.extend(["\r\nContent-Length: ", &length]);
        }
        for (name, value) in &self.headers {
            let is_legal = |byte: u8| matches!(byte, b'\t' | b' '..=b'~');
            if !value.reveal().bytes().all(is_legal) {
                return Err(faulty(
                    format!(
                        "the header {name} for the server at {} has a character that HTTP cannot carry",
                        self.url
                    ),
                    "use printable ASCII characters",
                ));
            }
            lines.extend(["\r\n", name, ": ", value.reveal()]);
        }
        lines.extend(["\r\n\r\n", body]);
        // One allocation, so that no part stays behind.
        Ok(Zeroizing::new(lines.concat().into_bytes()))
    }
}

impl std::fmt::Debug for Request {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Request({} {})", self.method, self.url)
    }
}

const USER_AGENT: &str = concat!("kafka-producer/", env!("CARGO_PKG_VERSION"));

/// How long the parts of a call may take. The deadline of the call limits them, too.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Times {
    /// For the look-up and the connect together.
    pub(crate) connect: Duration,
    /// For each wait for further bytes.
    pub(crate) read: Duration,
}

impl Default for Times {
    fn default() -> Self {
        Self {
            connect: Duration::from_secs(10),
            read: Duration::from_secs(10),
        }
    }
}

/// The time that is left for reads and writes.
#[derive(Clone, Copy, Debug)]
struct Clock {
    deadline: Instant,
    each: Duration,
}

impl Clock {
    fn left(&self) -> Duration {
        let left = self.deadline.saturating_duration_since(Instant::now());
        left.min(self.each)
    }
}

/// Makes requests. Any number of threads can use it at once.
#[derive(Debug)]
pub(crate) struct Client {
    /// `None` if `https` is not possible.
    tls: Option<Arc<TlsClient>>,
    times: Times,
    resolver: Resolver,
    requests: Arc<Requests>,
}

impl Client {
    /// Makes a client, whose requests are among `requests`. Without `tls` it refuses `https` URLs.
    pub(crate) fn new(tls: Option<Arc<TlsClient>>, times: Times, requests: &Arc<Requests>) -> Self {
        Self {
            tls,
            times,
            resolver: Resolver::default(),
            requests: Arc::clone(requests),
        }
    }

    /// Makes one request and returns its answer, with whatever status but that of a redirect. Blocks until `deadline` at
    /// most, or until the requests are closed.
    ///
    /// An error has one of three kinds: [`Network`](ErrorKind::Network) if the same call may succeed later,
    /// [`Tls`](ErrorKind::Tls) if one side refuses the other, [`Authentication`](ErrorKind::Authentication) if the server's
    /// answer is not usable. It names the server and, for the last kind, not what the request was for.
    pub(crate) fn send(&self, request: &Request, deadline: Instant) -> Result<Response, Error> {
        let result = self.send_while_open(request, deadline);
        match self.requests.are_closed() {
            // What happened to a socket that was shut down says nothing.
            true if result.is_err() => Err(closed(&request.url)),
            _ => result,
        }
    }

    fn send_while_open(&self, request: &Request, deadline: Instant) -> Result<Response, Error> {
        let url = &request.url;
        if self.requests.are_closed() {
            return Err(closed(url));
        }
        let bytes = request.bytes()?;
        let started = Instant::now();
        let call = Call { url, started };
        let mut stream = self.connect(&call, deadline)?;
        let written = stream.write_all(&bytes).and_then(|()| stream.flush());
        let fault = match (response::read(&mut stream), written) {
            (Ok(response), _) => return call.check_redirect(response),
            // A server may answer and close before it has read all. If it has not answered, the write tells why.
            (Err(Fault::Io(_) | Fault::Closed), Err(error)) => Fault::Io(error),
            (Err(fault), _) => fault,
        };
        Err(call.error_of(fault, self.tls.as_deref()))
    }

    fn connect(&self, call: &Call<'_>, deadline: Instant) -> Result<Stream, Error> {
        let url = call.url;
        let connect_by = deadline.min(call.started + self.times.connect);
        let addresses = self.resolver.resolve(url, connect_by);
        let addresses =
            addresses.map_err(|error| call.unreachable("cannot resolve the host of", error))?;
        let clock = Clock {
            deadline,
            each: self.times.read,
        };
        let socket = Socket::connect(&addresses, connect_by, clock, &self.requests);
        let socket = socket.map_err(|error| call.unreachable("cannot connect to", error))?;
        if !url.is_https() {
            return Ok(Stream::Plain(socket));
        }
        let tls = self.tls.as_ref().ok_or_else(|| {
            Error::new(
                ErrorKind::Tls,
                format!("TLS is not set up for the server at {url}"),
            )
        })?;
        Stream::secure(tls, url.host(), socket).map_err(|fault| match fault {
            stream::Fault::Tls(error) => call.tls_error(error),
            stream::Fault::Io(error) => call.io_error(error, Some(tls)),
        })
    }
}

/// A call in progress, for its errors.
struct Call<'a> {
    url: &'a Url,
    started: Instant,
}

impl Call<'_> {
    fn check_redirect(&self, response: Response) -> Result<Response, Error> {
        let status = response.status();
        if !matches!(status, 300..=399) || status == 304 {
            return Ok(response);
        }
        // Without its query, as every URL.
        let place = response.header("location").unwrap_or_default();
        let place = place.split(['?', '#']).next().unwrap_or_default();
        let place = match place {
            "" => String::new(),
            place => format!(" to {}", printable(place)),
        };
        Err(faulty(
            format!(
                "the server at {} redirects{place} (status {status}), and a redirect is not followed",
                self.url
            ),
            "set the URL of the endpoint itself",
        ))
    }

    fn error_of(&self, fault: Fault, tls: Option<&TlsClient>) -> Error {
        let url = self.url;
        let answer = format!("the answer of the server at {url}");
        match fault {
            Fault::Io(error) => self.io_error(error, tls),
            Fault::Closed => self.network(format!(
                "the server at {url} closed the connection before the end of its answer"
            )),
            Fault::IsTls => faulty(
                format!("the server at {url} speaks TLS"),
                "begin the URL with https://",
            ),
            Fault::NotHttp => faulty(
                format!("{answer} is not HTTP"),
                "check the host and the port of the URL",
            ),
            Fault::Malformed(part) => faulty(
                format!("{answer} is not legal HTTP: {part} is wrong"),
                "check the host and the port of the URL",
            ),
            Fault::HeadTooLong => faulty(
                format!("{answer} has a head of more than {MOST_HEAD_BYTES} bytes"),
                "check the URL",
            ),
            Fault::BodyTooLong => faulty(
                format!("{answer} has more than {MOST_BODY_BYTES} bytes"),
                "check the URL",
            ),
            Fault::Encoded => faulty(
                format!("{answer} is compressed, although the request asks for plain text"),
                "check the URL, and the proxy before the server if there is one",
            ),
        }
    }

    /// Makes the error of a read or a write.
    fn io_error(&self, error: io::Error, tls: Option<&TlsClient>) -> Error {
        use rustls::InvalidMessage::InvalidContentType;
        let url = self.url;
        let inner = error
            .get_ref()
            .and_then(|inner| inner.downcast_ref::<rustls::Error>());
        match (inner, tls) {
            (Some(rustls::Error::InvalidMessage(InvalidContentType)), _) => Error::new(
                ErrorKind::Tls,
                format!("the server at {url} does not speak TLS"),
            )
            .with_advice("check the port, and whether the URL has to begin with http://"),
            (Some(inner), Some(tls)) => self.tls_error(tls.error_of(inner)),
            _ if error.kind() == io::ErrorKind::TimedOut => self.network(format!(
                "the server at {url} did not answer within {} s",
                self.started.elapsed().as_secs_f32().ceil()
            )),
            _ if error.kind() == io::ErrorKind::UnexpectedEof => self.network(format!(
                "the server at {url} closed the connection in the TLS handshake"
            )),
            _ => self
                .network(format!("the connection to the server at {url} broke"))
                .with_source(error),
        }
    }

    fn tls_error(&self, error: Error) -> Error {
        error.in_context(format_args!("no TLS connection to {}", self.url))
    }

    fn unreachable(&self, what: &str, error: io::Error) -> Error {
        let url = self.url;
        match error.kind() {
            io::ErrorKind::TimedOut => self.network(format!(
                "{what} {url} within {} s",
                self.started.elapsed().as_secs_f32().ceil()
            )),
            _ => self.network(format!("{what} {url}")).with_source(error),
        }
    }

    fn network(&self, message: String) -> Error {
        Error::new(ErrorKind::Network, message)
            .with_advice("check the URL, and that the server can be reached from here")
    }
}

fn closed(url: &Url) -> Error {
    let message =
        format!("the request to the server at {url} was given up: the producer is closed");
    Error::new(ErrorKind::Network, message)
}

/// Makes the error of an answer that is not usable, or of a request that cannot be made.
fn faulty(message: String, advice: &'static str) -> Error {
    Error::new(ErrorKind::Authentication, message).with_advice(advice)
}

/// Returns the answer that these bytes are. `None` if they are none.
#[cfg(any(test, fuzzing))]
pub(crate) fn response_of(bytes: &[u8]) -> Option<Response> {
    response::read(&mut &bytes[..]).ok()
}

#[cfg(test)]
pub(crate) mod test_server;
#[cfg(test)]
mod tests;
