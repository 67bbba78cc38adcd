//! A listener that speaks Kafka's protocol until SaslAuthenticate, and then answers unlike a broker.

use std::io::{Read, Write};
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::sync::Arc;

/// Starts a listener, which ends with the process, and returns its address. `answer` makes the body of each answer to
/// SaslAuthenticate from the request. `taken` hears how many bytes of such answers the client's side took from a connection.
pub(crate) fn start(
    answer: impl Fn(&[u8]) -> Vec<u8> + Send + Sync + 'static,
    taken: impl Fn(usize) + Send + Sync + 'static,
) -> String {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let address = listener.local_addr().unwrap().to_string();
    let shared = Arc::new((answer, taken));
    std::thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            let shared = Arc::clone(&shared);
            std::thread::spawn(move || serve(stream, &shared.0, &shared.1));
        }
    });
    address
}

fn serve(
    mut stream: TcpStream,
    answer: impl Fn(&[u8]) -> Vec<u8>,
    taken: impl Fn(usize),
) -> Option<()> {
    let mut count = 0;
    loop {
        let mut length = [0; 4];
        stream.read_exact(&mut length).ok()?;
        let mut request = vec![0; u32::from_be_bytes(length) as usize];
        stream.read_exact(&mut request).ok()?;
        let (api, version) = (request[1], request[3]);
        let mut bytes = request[4..8].to_vec();
        match api {
            // ApiVersions: no version above 0. SaslAuthenticate has version 0.
            18 => {
                bytes.extend([0, if version > 0 { 35 } else { 0 }]);
                bytes.extend([0, 0, 0, 3]);
                bytes.extend([0, 17, 0, 0, 0, 1, 0, 18, 0, 0, 0, 0, 0, 36, 0, 0, 0, 0]);
            }
            // SaslHandshake: no error, no mechanism.
            17 => bytes.extend([0; 6]),
            _ => bytes.extend(answer(&request)),
        }
        stream.write_all(&(bytes.len() as u32).to_be_bytes()).ok()?;
        for part in bytes.chunks(64 << 10) {
            stream.write_all(part).ok()?;
            if api == 36 {
                count += part.len();
                taken(count);
            }
        }
    }
}
