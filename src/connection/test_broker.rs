//! A broker for tests that has ApiVersions 0 and nothing else.

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::thread::JoinHandle;

/// A broker that serves one connection and closes all others at once, as if the limit of connections were 1.
pub(super) struct TestBroker {
    pub(super) port: u16,
    served: JoinHandle<Vec<i16>>,
}

impl TestBroker {
    pub(super) fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let served = std::thread::spawn(move || {
            let peer = listener.accept().unwrap().0;
            // Ends with the test's process.
            std::thread::spawn(move || listener.incoming().for_each(drop));
            serve(peer)
        });
        Self { port, served }
    }

    /// Waits for the end of the connection. Returns the versions of ApiVersions that it was asked in.
    pub(super) fn asked(self) -> Vec<i16> {
        self.served.join().unwrap()
    }
}

fn serve(mut peer: TcpStream) -> Vec<i16> {
    let mut asked = Vec::new();
    let mut length = [0; 4];
    while peer.read_exact(&mut length).is_ok() {
        let mut request = vec![0; u32::from_be_bytes(length) as usize];
        peer.read_exact(&mut request).unwrap();
        let version = i16::from_be_bytes([request[2], request[3]]);
        asked.push(version);
        let mut answer = request[4..8].to_vec();
        answer.extend(match version {
            // No error, and one API: number 18, versions 0 to 0.
            0 => &[0, 0, 0, 0, 0, 1, 0, 18, 0, 0, 0, 0][..],
            // UNSUPPORTED_VERSION.
            _ => &[0, 35, 0, 0, 0, 0],
        });
        let length = (answer.len() as u32).to_be_bytes();
        peer.write_all(&[&length, &answer[..]].concat()).unwrap();
    }
    asked
}
