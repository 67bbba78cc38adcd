//! A TCP proxy in front of one broker, with the network faults that it can cause.
//!
//! Each direction of a connection has two threads: one reads ahead and notes when bytes arrived, one passes them on when
//! the weather allows. Everything ends with the proxy.

use std::collections::HashMap;
use std::io::{self, Read, Write};
use std::net::{Ipv4Addr, Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

/// What a proxy does with its connections.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Weather {
    /// Passes everything on.
    Fair,
    /// Closes all connections and refuses new ones.
    Cut,
    /// Accepts connections and bytes, and passes nothing on.
    Hang,
    /// Delays everything by this time, in each direction.
    Delay(Duration),
    /// Limits each connection to this many bytes a second in each direction.
    Slow(u32),
    /// Requests arrive, answers are lost. A connection that lost bytes is unusable, so the next weather closes all.
    AnswersLost,
    /// Cuts each connection in the middle of the next frame that comes this way.
    CutInFrame(Way),
}

/// A direction of a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Way {
    ToBroker,
    ToClient,
}

/// A running proxy on a port of 127.0.0.1.
pub(crate) struct Proxy {
    shared: Arc<Shared>,
    listening: Option<JoinHandle<()>>,
}

impl Proxy {
    /// Listens on `port` and passes on to `broker_port`, on which no broker need listen yet.
    pub(crate) fn start(port: u16, broker_port: u16) -> io::Result<Proxy> {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, port))?;
        let shared = Arc::new(Shared {
            port,
            broker_port,
            state: Mutex::new(State {
                weather: Weather::Fair,
                is_over: false,
                listens: true,
                next_connection: 0,
                connections: HashMap::new(),
            }),
            changed: Condvar::new(),
        });
        let listening = thread::Builder::new()
            .name(format!("proxy-{port}"))
            .spawn({
                let shared = Arc::clone(&shared);
                move || listen(&shared, listener)
            })?;
        Ok(Proxy {
            shared,
            listening: Some(listening),
        })
    }

    /// Changes the weather. When it returns, connections are refused or accepted as the weather says.
    pub(crate) fn set(&self, weather: Weather) {
        let listens = weather != Weather::Cut;
        let mut state = self.shared.lock();
        let closes_all = !listens || state.weather == Weather::AnswersLost;
        state.weather = weather;
        if closes_all {
            state.close_all();
        }
        let is_to_close = state.listens && !listens;
        drop(state);
        self.shared.changed.notify_all();
        if is_to_close {
            self.wake_listener();
        }
        self.shared
            .wait_until(None, |state| state.listens == listens);
    }

    /// Closes all connections once; new ones are accepted.
    pub(crate) fn reset(&self) {
        self.shared.lock().close_all();
        self.shared.changed.notify_all();
    }

    pub(crate) fn connections(&self) -> usize {
        self.shared.lock().connections.len()
    }

    /// The listening thread sits in `accept`, which only a connection ends.
    fn wake_listener(&self) {
        // If the thread no longer listens, the connection fails, and no thread must wake up.
        drop(TcpStream::connect((Ipv4Addr::LOCALHOST, self.shared.port)));
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        let mut state = self.shared.lock();
        state.is_over = true;
        state.close_all();
        drop(state);
        self.shared.changed.notify_all();
        self.wake_listener();
        if let Some(listening) = self.listening.take() {
            // A panic there has been printed already.
            let _ = listening.join();
        }
    }
}

struct Shared {
    port: u16,
    broker_port: u16,
    state: Mutex<State>,
    /// Notified of every change that a thread can wait for.
    changed: Condvar,
}

struct State {
    weather: Weather,
    is_over: bool,
    listens: bool,
    next_connection: u64,
    connections: HashMap<u64, Connection>,
}

/// The sockets of a connection, to be closed from outside.
struct Connection {
    client: TcpStream,
    /// `None` until the connection exists.
    broker: Option<TcpStream>,
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits until the condition holds, and until `until` at most if it is given.
    fn wait_until(&self, until: Option<Instant>, mut holds: impl FnMut(&State) -> bool) {
        let mut state = self.lock();
        while !holds(&state) {
            state = match until.map(|until| until.saturating_duration_since(Instant::now())) {
                None => self
                    .changed
                    .wait(state)
                    .unwrap_or_else(PoisonError::into_inner),
                Some(Duration::ZERO) => return,
                Some(left) => {
                    self.changed
                        .wait_timeout(state, left)
                        .unwrap_or_else(PoisonError::into_inner)
                        .0
                }
            };
        }
    }

    fn close(&self, id: u64) {
        if let Some(connection) = self.lock().connections.remove(&id) {
            connection.close();
            self.changed.notify_all();
        }
    }
}

impl State {
    fn close_all(&mut self) {
        self.connections
            .drain()
            .for_each(|(_, connection)| connection.close());
    }
}

impl Connection {
    /// Ends reads and writes that wait on the sockets; one that the peer has closed already is no error.
    fn close(&self) {
        let _ = self.client.shutdown(Shutdown::Both);
        if let Some(broker) = &self.broker {
            let _ = broker.shutdown(Shutdown::Both);
        }
    }
}

/// The listening thread: it closes its socket while connections must be refused, and joins all others at the end.
fn listen(shared: &Arc<Shared>, listener: TcpListener) {
    let mut listener = Some(listener);
    let mut running: Vec<JoinHandle<()>> = Vec::new();
    loop {
        let (weather, is_over) = {
            let state = shared.lock();
            (state.weather, state.is_over)
        };
        if is_over {
            break;
        }
        if weather == Weather::Cut {
            listener = None;
            shared.lock().listens = false;
            shared.changed.notify_all();
            shared.wait_until(None, |state| state.is_over || state.weather != Weather::Cut);
            continue;
        }
        let Some(open) = &listener else {
            match TcpListener::bind((Ipv4Addr::LOCALHOST, shared.port)) {
                Ok(bound) => {
                    listener = Some(bound);
                    shared.lock().listens = true;
                    shared.changed.notify_all();
                }
                // Another process may hold the port for a moment.
                Err(_) => shared.wait_until(Some(Instant::now() + REBIND), |state| state.is_over),
            }
            continue;
        };
        let Ok((client, _)) = open.accept() else {
            continue;
        };
        running.retain(|thread| !thread.is_finished());
        running.extend(serve(shared, client));
    }
    for thread in running {
        let _ = thread.join();
    }
}

const REBIND: Duration = Duration::from_millis(50);
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);
/// Between a reading and a writing thread: enough to read on while bytes are delayed, not enough to hide that they hang.
const CHUNKS_AHEAD: usize = 64;
const CHUNK_BYTES: usize = 16 * 1024;

/// Registers a client and starts the threads of its connection. Returns `None` if it must be refused.
fn serve(shared: &Arc<Shared>, client: TcpStream) -> Option<JoinHandle<()>> {
    let id = {
        let mut state = shared.lock();
        if state.is_over || state.weather == Weather::Cut {
            return None;
        }
        let id = state.next_connection;
        state.next_connection += 1;
        let client = client.try_clone().ok()?;
        state.connections.insert(
            id,
            Connection {
                client,
                broker: None,
            },
        );
        id
    };
    let thread = thread::Builder::new().name(format!("proxy-{}-{id}", shared.port));
    let spawned = thread.spawn({
        let shared = Arc::clone(shared);
        move || {
            // Both sides notice the end, whatever caused it.
            let _ = carry(&shared, id, &client);
            let _ = client.shutdown(Shutdown::Both);
            shared.close(id);
        }
    });
    spawned.map_err(|_| shared.close(id)).ok()
}

/// Carries a connection's bytes both ways until either side closes it.
fn carry(shared: &Arc<Shared>, id: u64, client: &TcpStream) -> io::Result<()> {
    let address = SocketAddr::from((Ipv4Addr::LOCALHOST, shared.broker_port));
    let broker = TcpStream::connect_timeout(&address, CONNECT_TIMEOUT)?;
    client.set_nodelay(true)?;
    broker.set_nodelay(true)?;
    match shared.lock().connections.get_mut(&id) {
        Some(connection) => connection.broker = Some(broker.try_clone()?),
        None => return Ok(()),
    }
    let direction = |way, from, to| Direction {
        shared,
        id,
        way,
        from,
        to,
    };
    let to_broker = direction(Way::ToBroker, client, &broker);
    let to_client = direction(Way::ToClient, &broker, client);
    thread::scope(|scope| {
        for direction in [&to_broker, &to_client] {
            let (sender, receiver) = sync_channel(CHUNKS_AHEAD);
            scope.spawn(move || direction.read_ahead(&sender));
            scope.spawn(move || {
                // An error means that a side is gone; the connection ends with it.
                let _ = direction.pass_on(&receiver);
                shared.close(id);
            });
        }
    });
    Ok(())
}

struct Block {
    bytes: Vec<u8>,
    arrived: Instant,
}

/// One direction of a connection.
struct Direction<'a> {
    shared: &'a Shared,
    id: u64,
    way: Way,
    from: &'a TcpStream,
    to: &'a TcpStream,
}

impl Direction<'_> {
    fn read_ahead(&self, blocks: &SyncSender<Block>) {
        let mut source = self.from;
        let mut buffer = vec![0; CHUNK_BYTES];
        while let Ok(count @ 1..) = source.read(&mut buffer) {
            let block = Block {
                bytes: buffer[..count].to_vec(),
                arrived: Instant::now(),
            };
            if blocks.send(block).is_err() {
                return;
            }
        }
    }

    fn pass_on(&self, blocks: &Receiver<Block>) -> io::Result<()> {
        let mut frames = Frames::default();
        let mut sink = self.to;
        for block in blocks {
            match self.weather_for(&block)? {
                Weather::AnswersLost if self.way == Way::ToClient => {}
                Weather::CutInFrame(way) if way == self.way => {
                    let keep = frames.up_to_middle(&block.bytes);
                    sink.write_all(&block.bytes[..keep.unwrap_or(block.bytes.len())])?;
                    if keep.is_some() {
                        return Ok(());
                    }
                }
                Weather::Slow(bytes_a_second) => self.write_slowly(&block.bytes, bytes_a_second)?,
                _ => sink.write_all(&block.bytes)?,
            }
            frames.advance(&block.bytes);
        }
        // The source's end travels as its bytes do.
        self.weather_for(&Block {
            bytes: Vec::new(),
            arrived: Instant::now(),
        })
        .map(drop)
    }

    /// Waits until the block may pass, and returns the weather.
    fn weather_for(&self, block: &Block) -> io::Result<Weather> {
        self.shared.wait_until(None, |state| {
            state.weather != Weather::Hang || self.is_closed(state)
        });
        let weather = self.shared.lock().weather;
        if let Weather::Delay(delay) = weather {
            let due = block.arrived + delay;
            self.shared.wait_until(Some(due), |state| {
                state.weather != weather || self.is_closed(state)
            });
        }
        let state = self.shared.lock();
        if self.is_closed(&state) {
            return Err(io::ErrorKind::ConnectionAborted.into());
        }
        Ok(state.weather)
    }

    fn write_slowly(&self, bytes: &[u8], bytes_a_second: u32) -> io::Result<()> {
        const STEPS_A_SECOND: u32 = 20;
        let mut sink = self.to;
        let slow = Weather::Slow(bytes_a_second);
        for piece in bytes.chunks((bytes_a_second / STEPS_A_SECOND).max(1) as usize) {
            sink.write_all(piece)?;
            let due = Instant::now() + Duration::from_secs(1) / STEPS_A_SECOND;
            self.shared.wait_until(Some(due), |state| {
                state.weather != slow || self.is_closed(state)
            });
        }
        Ok(())
    }

    /// Whether the connection is closed. Closing removes it from the table and notifies the threads that wait.
    fn is_closed(&self, state: &State) -> bool {
        !state.connections.contains_key(&self.id)
    }
}

/// Where the frames of a direction begin: each has its length in four bytes before it.
#[derive(Default)]
struct Frames {
    length: [u8; 4],
    length_bytes: usize,
    /// Bytes of the current frame that have not arrived yet.
    left: usize,
}

impl Frames {
    fn advance(&mut self, bytes: &[u8]) {
        self.find(bytes, |_, _| false);
    }

    /// How many of the bytes to pass on to cut a frame in its middle. `None` if no frame begins in them.
    fn up_to_middle(&self, bytes: &[u8]) -> Option<usize> {
        let mut copy = Frames { ..*self };
        let mut keep = None;
        copy.find(bytes, |start, length| {
            keep = Some((start + length / 2).min(bytes.len()));
            true
        });
        keep
    }

    /// Scans the bytes. `at_frame` gets the start and length of each frame's content, and returns whether to stop there.
    fn find(&mut self, bytes: &[u8], mut at_frame: impl FnMut(usize, usize) -> bool) {
        let mut at = 0;
        while at < bytes.len() {
            let step = self.left.min(bytes.len() - at);
            self.left -= step;
            at += step;
            while self.left == 0 && at < bytes.len() {
                self.length[self.length_bytes] = bytes[at];
                self.length_bytes += 1;
                at += 1;
                if self.length_bytes == 4 {
                    self.length_bytes = 0;
                    self.left = u32::from_be_bytes(self.length) as usize;
                    if at_frame(at, self.left) {
                        return;
                    }
                    break;
                }
            }
        }
    }
}
