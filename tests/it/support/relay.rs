//! An address that passes connections on to another port, which can be changed.

use std::io;
use std::net::{Ipv4Addr, Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;

pub(crate) struct Relay {
    address: SocketAddr,
    state: Arc<Mutex<State>>,
    accepting: Option<JoinHandle<()>>,
}

struct State {
    /// `None` when the relay ends.
    port: Option<u16>,
    open: Vec<TcpStream>,
}

impl Relay {
    /// Listens on `address` and passes each connection on to `port` of 127.0.0.1.
    pub(crate) fn start(address: &str, port: u16) -> Self {
        let listener = TcpListener::bind(address).unwrap();
        let address = listener.local_addr().unwrap();
        let state = Arc::new(Mutex::new(State {
            port: Some(port),
            open: Vec::new(),
        }));
        let accept = {
            let state = Arc::clone(&state);
            move || {
                while let Ok((client, _)) = listener.accept() {
                    let mut state = lock(&state);
                    let Some(port) = state.port else { return };
                    // Nothing listens behind it: the connection ends at once.
                    if let Ok(server) = TcpStream::connect((Ipv4Addr::LOCALHOST, port)) {
                        for stream in [&client, &server] {
                            state.open.push(stream.try_clone().unwrap());
                        }
                        pass_on(&client, &server);
                        pass_on(&server, &client);
                    }
                }
            }
        };
        Self {
            address,
            state,
            accepting: Some(std::thread::spawn(accept)),
        }
    }

    pub(crate) fn address(&self) -> String {
        self.address.to_string()
    }

    /// Cuts the open connections; later ones go to `port`.
    pub(crate) fn lead_to(&self, port: u16) {
        let mut state = lock(&self.state);
        state.port = Some(port);
        state.cut();
    }
}

impl State {
    fn cut(&mut self) {
        for stream in self.open.drain(..) {
            let _ = stream.shutdown(Shutdown::Both);
        }
    }
}

impl Drop for Relay {
    fn drop(&mut self) {
        {
            let mut state = lock(&self.state);
            state.port = None;
            state.cut();
        }
        let _ = TcpStream::connect(self.address);
        if let Some(accepting) = self.accepting.take() {
            let _ = accepting.join();
        }
    }
}

/// Copies until either end closes; the thread ends with the connection.
fn pass_on(from: &TcpStream, to: &TcpStream) {
    let (mut from, mut to) = (from.try_clone().unwrap(), to.try_clone().unwrap());
    std::thread::spawn(move || {
        let _ = io::copy(&mut from, &mut to);
        let _ = to.shutdown(Shutdown::Both);
        let _ = from.shutdown(Shutdown::Both);
    });
}

fn lock(state: &Mutex<State>) -> std::sync::MutexGuard<'_, State> {
    state.lock().unwrap_or_else(PoisonError::into_inner)
}
