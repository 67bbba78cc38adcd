//! One connection: reads requests, applies faults, and writes responses in the order of the requests.

use std::cell::RefCell;
use std::io::{self, Read, Write};
use std::net::TcpStream;
use std::ops::ControlFlow;
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::broker::Stop;
use super::cluster::Shared;
use super::dispatch::{AnyRequest, AnyResponse, Context};
use super::fault::{Corruption, Fault};
use super::request::{LoggedRequest, MockApi, MockRequest};
use super::session::{Admission, Session};
use super::stream::Stream;
use crate::ErrorCode;
use crate::protocol::{ProtocolError, Reader, ReceivedHeader, encode_response, frame_length};

pub(super) struct Connection {
    shared: Arc<Shared>,
    broker: i32,
    stream: Stream,
    stop: Arc<Stop>,
    session: RefCell<Session>,
    client_id: Option<Arc<str>>,
    client_software: Option<Arc<str>>,
    /// Responses that are not written yet. The responses to all requests of one read are written together.
    out: Vec<u8>,
    /// The number of further requests that must come before the next write.
    kept_back: usize,
}

/// Whether the connection continues after a request.
type Flow = ControlFlow<End>;

enum End {
    Close,
    /// Read until the client closes the connection, and answer nothing.
    Ignore,
}

/// The part of a request's header that its response needs.
#[derive(Clone, Copy)]
struct Call {
    api: MockApi,
    version: i16,
    correlation_id: i32,
}

impl Connection {
    /// Begins a connection. Waits for the TLS handshake if the cluster uses TLS.
    pub(super) fn accept(
        shared: Arc<Shared>,
        broker: i32,
        socket: TcpStream,
        stop: Arc<Stop>,
    ) -> io::Result<Self> {
        let stream = Stream::accept(socket, &shared, &stop)?;
        let uses_sasl = shared.sasl.lock().is_some();
        let session = RefCell::new(Session::new(uses_sasl, stream.client_subject()));
        Ok(Self {
            shared,
            broker,
            stream,
            stop,
            session,
            client_id: None,
            client_software: None,
            out: Vec::new(),
            kept_back: 0,
        })
    }

    /// Serves the connection until it ends.
    pub(super) fn run(&mut self) {
        let mut input = Input::default();
        // Errors are ignored: the client sees the end of the connection.
        let end = self.serve_until_end(&mut input);
        let _ = self.flush();
        if let Ok(End::Ignore) = end {
            let _ = io::copy(&mut self.stream, &mut io::sink());
        }
        self.stream.end();
    }

    fn serve_until_end(&mut self, input: &mut Input) -> io::Result<End> {
        loop {
            loop {
                let most = self.session.borrow().max_frame_bytes(MAX_REQUEST_BYTES);
                let Some(frame) = input.next_frame(most).map_err(io::Error::other)? else {
                    break;
                };
                if let ControlFlow::Break(end) = self.serve(frame) {
                    return Ok(end);
                }
            }
            self.flush()?;
            if !input.fill(&mut self.stream)? {
                return Ok(End::Close);
            }
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        if self.kept_back > 0 {
            return Ok(());
        }
        let written = self.stream.write_all(&self.out);
        self.out.clear();
        written
    }

    /// Handles one request. Like a broker, it closes the connection if it cannot read the request.
    fn serve(&mut self, frame: &[u8]) -> Flow {
        self.kept_back = self.kept_back.saturating_sub(1);
        let mut reader = Reader::new(frame);
        let Ok(header) = ReceivedHeader::decode(&mut reader) else {
            return close();
        };
        let Some(api) = MockApi::from_code(header.api_code) else {
            return close();
        };
        let call = Call {
            api,
            version: header.version,
            correlation_id: header.correlation_id,
        };
        if self.client_id.as_deref() != header.client_id {
            self.client_id = header.client_id.map(Arc::from);
        }
        let admission = self.session.borrow_mut().admit(api, Instant::now());
        if admission == Admission::Close {
            self.log(call);
            return close();
        }
        if !self.shared.state.lock().versions.contain(api, call.version) {
            self.log(call);
            return self.refuse_version(call);
        }
        let Ok(request) = AnyRequest::decode(api, call.version, &mut reader) else {
            return close();
        };
        if admission == Admission::Refuse {
            self.log(call);
            let refusal = request.refuse(self.context(call), ErrorCode::ILLEGAL_SASL_STATE);
            self.answer(call, &refusal)?;
            return close();
        }
        if let AnyRequest::ApiVersions(client) = &request {
            if call.version >= 3 {
                let software = format!(
                    "{}/{}",
                    client.client_software_name, client.client_software_version
                );
                self.client_software = Some(software.into());
            }
        }
        if request.asks_for_the_cluster() {
            return self.act(call, &request, Fault::Pass);
        }
        self.log(call);
        let fault = self
            .shared
            .hooks
            .decide(api, || self.describe(call, &request));
        let flow = self.act(call, &request, fault);
        self.shared.notify();
        flow
    }

    fn log(&self, call: Call) {
        let request = LoggedRequest {
            api: call.api,
            version: call.version,
            broker: self.broker,
            at: Instant::now(),
            client_id: self.client_id.clone(),
            client_software: self.client_software.clone(),
            principal: Arc::clone(self.session.borrow().principal()),
        };
        self.shared.state.lock().requests.add(request);
        self.shared.notify();
    }

    fn describe(&self, call: Call, request: &AnyRequest<'_>) -> MockRequest {
        MockRequest {
            api: call.api,
            version: call.version,
            broker: self.broker,
            correlation_id: call.correlation_id,
            client_id: self.client_id.clone(),
            principal: Arc::clone(self.session.borrow().principal()),
            acks: request.acks(),
            topics: request.topics(self.context(call)),
            batches: request.batches(self.context(call)),
        }
    }

    fn context(&self, call: Call) -> Context<'_> {
        Context {
            shared: &self.shared,
            broker: self.broker,
            version: call.version,
            session: &self.session,
        }
    }

    /// ApiVersions is answered whatever its version, in the layout of version 0 (KIP-511).
    fn refuse_version(&mut self, call: Call) -> Flow {
        if call.api != MockApi::ApiVersions {
            return close();
        }
        let refusal = self.shared.state.lock().versions.unsupported();
        self.answer(
            Call { version: 0, ..call },
            &AnyResponse::ApiVersions(refusal),
        )
    }

    fn act(&mut self, call: Call, request: &AnyRequest<'_>, mut fault: Fault) -> Flow {
        loop {
            fault = match fault {
                Fault::Delay(time, then) => {
                    self.pause(time)?;
                    *then
                }
                Fault::KeepBack(requests, then) => {
                    self.kept_back = self.kept_back.max(requests);
                    *then
                }
                _ => break,
            };
        }
        let answer = match fault {
            Fault::Pass => request.handle(self.context(call), &[]),
            Fault::Error(error) => request.refuse(self.context(call), error),
            Fault::PartitionErrors(failed) => request.handle(self.context(call), &failed),
            Fault::TopicErrors(failed) => {
                let mut answer = request.handle(self.context(call), &[]);
                answer.fail_topics(&failed);
                answer
            }
            Fault::Throttle(time) => {
                let mut answer = request.handle(self.context(call), &[]);
                answer.set_throttle_time(time);
                answer
            }
            Fault::LoseAnswer => {
                request.handle(self.context(call), &[]);
                return close();
            }
            Fault::Corrupt(corruption) => {
                let answer = request.handle(self.context(call), &[]);
                let start = self.out.len();
                self.answer(call, &answer)?;
                corruption.damage(&mut self.out, start);
                return Flow::Continue(());
            }
            Fault::NoAnswer => return Flow::Break(End::Ignore),
            Fault::Disconnect | Fault::Delay(..) | Fault::KeepBack(..) => return close(),
        };
        if request.is_answered() {
            self.answer(call, &answer)?;
            match self.session.borrow().has_failed() {
                true => close(),
                false => Flow::Continue(()),
            }
        } else if answer.is_failure() {
            // With acks 0, closing the connection is a broker's only way to report an error.
            close()
        } else {
            Flow::Continue(())
        }
    }

    /// Writes the pending responses, then does nothing for a time.
    fn pause(&mut self, time: Duration) -> Flow {
        if self.flush().is_err() || self.stop.wait(time) {
            close()
        } else {
            Flow::Continue(())
        }
    }

    fn answer(&mut self, call: Call, answer: &AnyResponse) -> Flow {
        match encode_response(
            answer,
            call.api.key(),
            call.version,
            call.correlation_id,
            &mut self.out,
        ) {
            Ok(()) => Flow::Continue(()),
            Err(_) => close(),
        }
    }
}

fn close() -> Flow {
    Flow::Break(End::Close)
}

impl Corruption {
    /// Damages the frame that begins at `start`.
    fn damage(self, out: &mut Vec<u8>, start: usize) {
        const PREFIX: usize = 4;
        const CORRELATION_ID: usize = 4;
        let Some(frame) = out.get_mut(start..) else {
            return;
        };
        let length = frame.len();
        if length < PREFIX + CORRELATION_ID {
            return;
        }
        match self {
            Self::CorrelationId => frame[PREFIX..PREFIX + CORRELATION_ID]
                .iter_mut()
                .for_each(|byte| *byte = !*byte),
            Self::ShortFrame => {
                let kept = CORRELATION_ID + (length - PREFIX - CORRELATION_ID) / 2;
                frame[..PREFIX].copy_from_slice(&(kept as u32).to_be_bytes());
                out.truncate(start + PREFIX + kept);
            }
            Self::HugeLength => frame[..PREFIX].copy_from_slice(&(i32::MAX - 1).to_be_bytes()),
            Self::NegativeLength => frame[..PREFIX].copy_from_slice(&(-2i32).to_be_bytes()),
            Self::Garbage => fastrand::Rng::new().fill(&mut frame[PREFIX + CORRELATION_ID..]),
        }
    }
}

/// Bytes that were received and not served yet. Reads are large: many small requests cost one system call.
#[derive(Default)]
struct Input {
    buffer: Vec<u8>,
    start: usize,
    end: usize,
}

impl Input {
    const FIRST_BYTES: usize = 64 << 10;

    /// Returns the next whole frame of at most `most` bytes, without its length.
    fn next_frame(&mut self, most: usize) -> Result<Option<&[u8]>, ProtocolError> {
        let Some((prefix, rest)) = self.buffer[self.start..self.end].split_first_chunk() else {
            return Ok(None);
        };
        let length = frame_length(*prefix, most)?;
        let Some(frame) = rest.get(..length) else {
            return Ok(None);
        };
        self.start += prefix.len() + length;
        Ok(Some(frame))
    }

    /// Reads once. Returns false at the end of the stream. The buffer grows with the bytes that came, not with the length
    /// that a frame announces.
    fn fill(&mut self, stream: &mut impl Read) -> io::Result<bool> {
        if self.start == self.end {
            (self.start, self.end) = (0, 0);
        }
        if self.end == self.buffer.len() {
            self.buffer.copy_within(self.start..self.end, 0);
            (self.start, self.end) = (0, self.end - self.start);
            if self.end == self.buffer.len() {
                self.buffer
                    .resize((2 * self.buffer.len()).max(Self::FIRST_BYTES), 0);
            }
        }
        loop {
            match stream.read(&mut self.buffer[self.end..]) {
                Ok(count) => {
                    self.end += count;
                    return Ok(count > 0);
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
    }
}

/// Kafka's `socket.request.max.bytes`.
const MAX_REQUEST_BYTES: usize = 100 << 20;
