//! A broker: its port, the thread that accepts, and the threads of its connections.

use std::collections::HashMap;
use std::io;
use std::net::{Ipv4Addr, Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use socket2::{Domain, Socket, Type};

use super::cluster::Shared;
use super::connection::Connection;
use crate::sync::{Condvar, Mutex};
use crate::threads::ThreadGroup;
use crate::time::deadline_after;

pub(super) struct Broker {
    id: i32,
    address: SocketAddr,
    run: Mutex<Run>,
}

enum Run {
    /// The port is bound but not listened on, so that it refuses connections and nobody else gets it. Without a socket
    /// it could not be bound again when the broker stopped.
    Down(Option<Socket>),
    Up {
        links: Arc<Links>,
        threads: Arc<ThreadGroup>,
    },
}

impl Broker {
    /// A broker that is down, on a free port.
    pub(super) fn bind(id: i32) -> io::Result<Self> {
        let socket = bound_socket(SocketAddr::from((Ipv4Addr::LOCALHOST, 0)))?;
        let address = socket
            .local_addr()?
            .as_socket()
            .ok_or(io::ErrorKind::AddrNotAvailable)?;
        Ok(Self {
            id,
            address,
            run: Mutex::new(Run::Down(Some(socket))),
        })
    }

    pub(super) fn port(&self) -> u16 {
        self.address.port()
    }

    /// Listens; does nothing if it does already.
    pub(super) fn start(&self, shared: &Arc<Shared>) -> io::Result<()> {
        let mut run = self.run.lock();
        let Run::Down(socket) = &mut *run else {
            return Ok(());
        };
        let socket = match socket.take() {
            Some(socket) => socket,
            None => bound_socket(self.address)?,
        };
        socket.listen(BACKLOG)?;
        let links = Arc::new(Links {
            shared: Arc::clone(shared),
            broker: self.id,
            state: Mutex::default(),
        });
        let threads = Arc::new(ThreadGroup::default());
        let accept = {
            let (links, threads) = (Arc::clone(&links), Arc::clone(&threads));
            let listener = TcpListener::from(socket);
            move || accept(&listener, &links, &threads)
        };
        threads.spawn(format!("mock-broker-{}", self.id), STACK_BYTES, accept)?;
        *run = Run::Up { links, threads };
        Ok(())
    }

    /// Stops listening, closes the connections and waits for their threads; does nothing if it is down.
    pub(super) fn stop(&self) {
        let mut run = self.run.lock();
        let Run::Up { links, threads } = &*run else {
            return;
        };
        links.close(Closing::ForGood);
        // The accepting thread looks up at the next connection: this one. If it cannot be made, there are others waiting.
        let _ = TcpStream::connect_timeout(&self.address, Duration::from_secs(1));
        threads.join_until(deadline_after(Instant::now(), PATIENCE));
        *run = Run::Down(bound_socket(self.address).ok());
    }

    pub(super) fn disconnect(&self) {
        if let Run::Up { links, .. } = &*self.run.lock() {
            links.close(Closing::ForNow);
        }
    }

    pub(super) fn connections(&self) -> usize {
        match &*self.run.lock() {
            Run::Up { links, .. } => links.state.lock().open.len(),
            Run::Down(_) => 0,
        }
    }
}

fn bound_socket(address: SocketAddr) -> io::Result<Socket> {
    let socket = Socket::new(Domain::IPV4, Type::STREAM, None)?;
    if cfg!(unix) {
        // Connections of the broker's last life may linger; elsewhere the option lets others take the port.
        socket.set_reuse_address(true)?;
    }
    socket.bind(&address.into())?;
    Ok(socket)
}

fn accept(listener: &TcpListener, links: &Arc<Links>, threads: &Arc<ThreadGroup>) {
    let out_of_luck = Stop::default();
    loop {
        let accepted = listener.accept();
        if links.state.lock().closed {
            return;
        }
        match accepted {
            Ok((stream, _)) => links.serve(stream, threads),
            // Out of file descriptors, most likely: a little later there may be some.
            Err(_) => drop(out_of_luck.wait(Duration::from_millis(10))),
        }
    }
}

/// A broker's open connections.
struct Links {
    shared: Arc<Shared>,
    broker: i32,
    state: Mutex<LinksState>,
}

#[derive(Default)]
struct LinksState {
    closed: bool,
    open: HashMap<u64, (TcpStream, Arc<Stop>)>,
    last_id: u64,
}

#[derive(Clone, Copy, PartialEq)]
enum Closing {
    ForNow,
    ForGood,
}

impl Links {
    /// Starts the connection's thread. Where there are no resources for one, the connection is closed at once.
    fn serve(self: &Arc<Self>, stream: TcpStream, threads: &Arc<ThreadGroup>) {
        let Ok(handle) = stream.try_clone() else {
            return;
        };
        let stop = Arc::new(Stop::default());
        let id = {
            let mut state = self.state.lock();
            let most = self.shared.max_connections.load(Ordering::Relaxed);
            if state.closed || state.open.len() >= most {
                return;
            }
            state.last_id += 1;
            let id = state.last_id;
            state.open.insert(id, (handle, Arc::clone(&stop)));
            id
        };
        let open = OpenLink {
            links: Arc::clone(self),
            id,
        };
        let mut connection = Connection::new(Arc::clone(&self.shared), self.broker, stream, stop);
        let body = move || {
            let _open = open;
            connection.run();
        };
        // Where the thread cannot be started, `body` and with it `OpenLink` are dropped.
        let _ = threads.spawn(
            format!("mock-broker-{}-{id}", self.broker),
            STACK_BYTES,
            body,
        );
        self.shared.notify();
    }

    fn close(&self, closing: Closing) {
        let mut state = self.state.lock();
        state.closed |= closing == Closing::ForGood;
        for (stream, stop) in state.open.values() {
            stop.stop();
            // It may be closed already, by the other side.
            let _ = stream.shutdown(Shutdown::Both);
        }
    }
}

/// Takes the connection off the list at the end of its thread, whatever the end.
struct OpenLink {
    links: Arc<Links>,
    id: u64,
}

impl Drop for OpenLink {
    fn drop(&mut self) {
        let closed = self.links.state.lock().open.remove(&self.id);
        // This handle is one of two: without the shutdown the other side would not see the end before both are gone.
        if let Some((stream, _)) = closed {
            let _ = stream.shutdown(Shutdown::Both);
        }
        self.links.shared.notify();
    }
}

/// What a connection's thread waits on when it is to do nothing.
#[derive(Default)]
pub(super) struct Stop {
    stopped: Mutex<bool>,
    changed: Condvar,
}

impl Stop {
    fn stop(&self) {
        *self.stopped.lock() = true;
        self.changed.notify_all();
    }

    /// Waits for `time`, or until the connection is to end: then it is true.
    pub(super) fn wait(&self, time: Duration) -> bool {
        let deadline = deadline_after(Instant::now(), time);
        let mut stopped = self.stopped.lock();
        while !*stopped {
            if self.changed.wait_until(&mut stopped, deadline).timed_out() {
                break;
            }
        }
        *stopped
    }
}

const BACKLOG: i32 = 1024;

/// Requests are decoded and records decompressed on these stacks.
const STACK_BYTES: usize = 512 << 10;

/// How long `stop` waits for a hook that does not return.
const PATIENCE: Duration = Duration::from_secs(10);
