//! A server for tests, which does what a script says.

use std::io::{BufRead, BufReader, Read};
use std::net::{TcpListener, TcpStream};
use std::thread::JoinHandle;

/// Starts a server on a free port of this machine. Returns the port, and the thread of the script.
pub(crate) fn start<T: Send + 'static>(
    script: impl FnOnce(TcpListener) -> T + Send + 'static,
) -> (u16, JoinHandle<T>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    (port, std::thread::spawn(move || script(listener)))
}

/// Reads a request up to the end of its body. `None` if the client closes before it sends anything.
pub(crate) fn read_request(socket: &TcpStream) -> Option<String> {
    let mut reader = BufReader::new(socket);
    let mut request = String::new();
    let mut length = 0;
    while !request.ends_with("\r\n\r\n") {
        let start = request.len();
        let read = reader.read_line(&mut request).unwrap_or_default();
        if read == 0 && start == 0 {
            return None;
        }
        assert!(read > 0, "{request}");
        if let Some(value) = request[start..].strip_prefix("Content-Length: ") {
            length = value.trim().parse().unwrap();
        }
    }
    let mut body = vec![0; length];
    reader.read_exact(&mut body).unwrap();
    Some(request + std::str::from_utf8(&body).unwrap())
}
