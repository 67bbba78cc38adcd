//! A broker: its port, the thread that accepts connections, and the threads of its connections.

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
    /// The socket is bound but does not listen: the port refuses connections, and no other program can take it. `None` if
    /// the port could not be bound again when the broker stopped.
    Down(Option<Socket>),
    Up {
        connections: Arc<Connections>,
        threads: Arc<ThreadGroup>,
    },
}

impl Broker {
    /// Makes a broker that is down, on a free port.
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

    /// Starts the broker. Does nothing if it is up.
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
        let connections = Arc::new(Connections {
            shared: Arc::clone(shared),
            broker: self.id,
            state: Mutex::default(),
        });
        let threads = Arc::new(ThreadGroup::default());
        let accept = {
            let (connections, threads) = (Arc::clone(&connections), Arc::clone(&threads));
            let listener = TcpListener::from(socket);
            move || accept(&listener, &connections, &threads)
        };
        threads.spawn(format!("mock-broker-{}", self.id), STACK_BYTES, accept)?;
        *run = Run::Up {
            connections,
            threads,
        };
        Ok(())
    }

    /// Stops listening, closes the connections and waits for their threads. Does nothing if the broker is down.
    pub(super) fn stop(&self) {
        let mut run = self.run.lock();
        let Run::Up {
            connections,
            threads,
        } = &*run
        else {
            return;
        };
        connections.close(Closing::ForGood);
        // This connection wakes the accepting thread. If it cannot be made, other connections wait and wake the thread.
        let _ = TcpStream::connect_timeout(&self.address, Duration::from_secs(1));
        threads.join_until(deadline_after(Instant::now(), PATIENCE));
        *run = Run::Down(bound_socket(self.address).ok());
    }

    pub(super) fn disconnect(&self) {
        if let Run::Up { connections, .. } = &*self.run.lock() {
            connections.close(Closing::ForNow);
        }
    }

    pub(super) fn connections(&self) -> usize {
        match &*self.run.lock() {
            Run::Up { connections, .. } => connections.state.lock().open.len(),
            Run::Down(_) => 0,
        }
    }
}

fn bound_socket(address: SocketAddr) -> io::Result<Socket> {
    let socket = Socket::new(Domain::IPV4, Type::STREAM, None)?;
    if cfg!(unix) {
        // Closed connections of the broker may still occupy the port. On other systems, the option would let other
        // programs take the port.
        socket.set_reuse_address(true)?;
    }
    socket.bind(&address.into())?;
    Ok(socket)
}

fn accept(listener: &TcpListener, connections: &Arc<Connections>, threads: &Arc<ThreadGroup>) {
    let pause = Stop::default();
    loop {
        let accepted = listener.accept();
        if connections.state.lock().closed {
            return;
        }
        match accepted {
            Ok((stream, _)) => connections.serve(stream, threads),
            // Probably no file descriptor is free. A little later there may be one.
            Err(_) => drop(pause.wait(Duration::from_millis(10))),
        }
    }
}

/// A broker's open connections.
struct Connections {
    shared: Arc<Shared>,
    broker: i32,
    state: Mutex<ConnectionsState>,
}

#[derive(Default)]
struct ConnectionsState {
    closed: bool,
    open: HashMap<u64, (TcpStream, Arc<Stop>)>,
    last_id: u64,
}

#[derive(Clone, Copy, PartialEq)]
enum Closing {
    ForNow,
    ForGood,
}

impl Connections {
    /// Starts the connection's thread. Closes the connection at once if the thread cannot be started.
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
        let open = OpenConnection {
            connections: Arc::clone(self),
            id,
        };
        let (shared, broker) = (Arc::clone(&self.shared), self.broker);
        let body = move || {
            let _open = open;
            // Without a connection the client sees the end of its stream.
            if let Ok(mut connection) = Connection::accept(shared, broker, stream, stop) {
                connection.run();
            }
        };
        // If the thread cannot be started, `body` is dropped, and with it `OpenConnection`.
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
            // Fails if the client has closed the connection already.
            let _ = stream.shutdown(Shutdown::Both);
        }
    }
}

/// Removes the connection from the list when its thread ends, also by a panic.
struct OpenConnection {
    connections: Arc<Connections>,
    id: u64,
}

impl Drop for OpenConnection {
    fn drop(&mut self) {
        let closed = self.connections.state.lock().open.remove(&self.id);
        // The thread has a second handle. Without the shutdown the client would not see the end until both are dropped.
        if let Some((stream, _)) = closed {
            let _ = stream.shutdown(Shutdown::Both);
        }
        self.connections.shared.notify();
    }
}

/// Stops a connection's thread while it waits.
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

    /// Waits for `time`, or until the connection has to end. Returns whether it has to end.
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

/// The time that `stop` waits for a hook that does not return.
const PATIENCE: Duration = Duration::from_secs(10);
