//! Sends requests and waits for their answers, one after the other on one connection, each before a deadline.
//!
//! All requests except Produce use this path: version negotiation, authentication, metadata, producer ids. Only this module
//! gives such requests their correlation ids. It rejects an answer with a different correlation id.

use std::io::{self, IoSlice};
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::errors::broken_error;
use super::frames::FrameReader;
use super::transport::{ReceiveHalf, SendHalf, is_timeout};
use crate::error::{Error, ErrorKind};
use crate::protocol::{
    ProtocolError, Reader, Request, Response, decode_response_header, encode_request,
};
use crate::secret::wipe;

/// Sends one request after the other over a connection `C`. After an error the connection is unusable, because a late
/// answer would be read instead of the answer to the next request.
pub(crate) struct Exchange<C> {
    pub(super) connection: C,
    client_id: Arc<str>,
    next_correlation_id: i32,
}

/// A connection for an [`Exchange`].
pub(crate) trait ExchangeConnection {
    /// Writes `request`, which begins with its length prefix, and returns the answer, without its length prefix. The write
    /// and the read share `deadline`.
    fn exchange(&mut self, request: Vec<u8>, deadline: Instant) -> Result<Vec<u8>, Error>;
}

impl<C> Exchange<C> {
    /// Replaces the connection by `wrap(connection)`. Correlation ids continue.
    pub(super) fn map<D>(self, wrap: impl FnOnce(C) -> D) -> Exchange<D> {
        Exchange {
            connection: wrap(self.connection),
            client_id: self.client_id,
            next_correlation_id: self.next_correlation_id,
        }
    }
}

impl<C: ExchangeConnection> Exchange<C> {
    pub(super) fn new(connection: C, client_id: Arc<str>) -> Self {
        Self {
            connection,
            client_id,
            next_correlation_id: 0,
        }
    }

    /// Sends `request` and waits until `deadline` for its answer.
    pub(crate) fn call<R: Request>(
        &mut self,
        request: &R,
        version: i16,
        deadline: Instant,
    ) -> Result<R::Response, Error> {
        let decode = |body: &mut Reader<'_>| R::Response::decode(version, body);
        self.call_and_decode(request, version, deadline, decode)
    }

    /// As [`call`](Self::call), for an answer whose layout depends on more than the request's version. `decode` reads the
    /// bytes after the header.
    pub(super) fn call_and_decode<R: Request, T>(
        &mut self,
        request: &R,
        version: i16,
        deadline: Instant,
        decode: impl FnOnce(&mut Reader<'_>) -> Result<T, ProtocolError>,
    ) -> Result<T, Error> {
        let id = self.next_correlation_id;
        self.next_correlation_id = id.checked_add(1).unwrap_or(0);
        let header = HEADER_BYTES + self.client_id.len();
        let mut bytes = Vec::with_capacity(header + request.size_hint());
        encode_request(request, version, id, Some(&self.client_id), &mut bytes)
            .map_err(not_encodable)?;
        let frame = self.connection.exchange(bytes, deadline)?;
        let mut reader = Reader::new(&frame);
        let answer_id =
            decode_response_header(R::API_KEY, version, &mut reader).map_err(not_kafka)?;
        if answer_id != id {
            return Err(other_answer(id, answer_id));
        }
        decode(&mut reader).map_err(not_kafka)
    }
}

fn not_encodable(error: ProtocolError) -> Error {
    Error::new(ErrorKind::InvalidArgument, "the request cannot be encoded").with_source(error)
}

fn not_kafka(error: ProtocolError) -> Error {
    let message = "the broker's answer does not follow Kafka's protocol";
    Error::new(ErrorKind::Protocol, message).with_source(error)
}

fn other_answer(id: i32, answer_id: i32) -> Error {
    let message = format!("the broker answered request {answer_id} instead of request {id}");
    Error::new(ErrorKind::Protocol, message)
}

/// Enough for the fields of a request's frame and header, without the client's id.
const HEADER_BYTES: usize = 32;

/// A connection that only one thread uses.
pub(crate) struct OwnConnection {
    pub(super) send: SendHalf,
    pub(super) receive: ReceiveHalf,
    pub(super) frames: FrameReader,
}

impl OwnConnection {
    pub(super) fn new((send, receive): (SendHalf, ReceiveHalf)) -> Self {
        Self {
            send,
            receive,
            frames: FrameReader::default(),
        }
    }

    fn write_all(&mut self, mut bytes: &[u8], deadline: Instant) -> Result<(), Error> {
        loop {
            let timeout = deadline.saturating_duration_since(Instant::now());
            if timeout.is_zero() {
                let message = "the broker did not accept the request in time";
                return Err(Error::new(ErrorKind::Network, message));
            }
            let result = match bytes {
                [] => match self.send.flush(timeout) {
                    Ok(true) => return Ok(()),
                    Ok(false) => Ok(0),
                    Err(error) => Err(error),
                },
                _ => self.send.write_vectored(&[IoSlice::new(bytes)], timeout),
            };
            match result {
                Ok(accepted) => bytes = &bytes[accepted..],
                Err(error) if is_timeout(&error) || error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(broken_error(error)),
            }
        }
    }
}

impl ExchangeConnection for OwnConnection {
    fn exchange(&mut self, mut request: Vec<u8>, deadline: Instant) -> Result<Vec<u8>, Error> {
        let written = self.write_all(&request, deadline);
        // It may hold a password.
        wipe(&mut request);
        if let Err(error) = written {
            return Err(self.reason_of_end(deadline).unwrap_or(error));
        }
        self.frames.next(&mut self.receive.until(Some(deadline)))
    }
}

/// How long a thread looks for the reason why the broker ended a connection.
const REASON_PATIENCE: Duration = Duration::from_millis(200);

impl OwnConnection {
    /// After a failed write, reads what the broker sent before it closed the connection. With TLS 1.3 this can be the alert
    /// that refuses the client's certificate. A broker that closes the connection before its first answer has the reasons
    /// that the reader of frames tells. `None` if there is no such reason.
    fn reason_of_end(&mut self, deadline: Instant) -> Option<Error> {
        let deadline = deadline.min(Instant::now() + REASON_PATIENCE);
        let read = self.frames.next(&mut self.receive.until(Some(deadline)));
        let is_unheard = self.frames.closed_before_first_byte();
        read.err()
            .filter(|error| is_unheard || error.kind() == ErrorKind::Tls)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::protocol::messages::{ApiVersionsRequest, ApiVersionsResponse};

    /// A connection that answers with prepared frames and stores the requests.
    #[derive(Default)]
    struct Scripted {
        answers: Vec<Vec<u8>>,
        requests: Vec<Vec<u8>>,
    }

    impl ExchangeConnection for Scripted {
        fn exchange(&mut self, request: Vec<u8>, _: Instant) -> Result<Vec<u8>, Error> {
            self.requests.push(request);
            Ok(self.answers.remove(0))
        }
    }

    /// Returns an ApiVersions answer in version 0 that lists no API.
    fn answer(correlation_id: i32) -> Vec<u8> {
        let mut frame = correlation_id.to_be_bytes().to_vec();
        frame.extend([0; 6]);
        frame
    }

    fn ask(exchange: &mut Exchange<Scripted>) -> Result<ApiVersionsResponse, Error> {
        let request = ApiVersionsRequest {
            client_software_name: "test",
            client_software_version: "1",
        };
        exchange.call(&request, 0, Instant::now() + Duration::from_secs(1))
    }

    fn exchange(answers: Vec<Vec<u8>>) -> Exchange<Scripted> {
        let connection = Scripted {
            answers,
            ..Scripted::default()
        };
        Exchange::new(connection, "client".into())
    }

    #[test]
    fn each_request_has_the_next_correlation_id() {
        let mut exchange = exchange((0..3).map(answer).collect());
        for _ in 0..3 {
            ask(&mut exchange).unwrap();
        }
        // Length, API key and version come before the correlation id.
        let ids = exchange
            .connection
            .requests
            .iter()
            .map(|request| &request[8..12]);
        assert_eq!(
            ids.collect::<Vec<_>>(),
            [[0, 0, 0, 0], [0, 0, 0, 1], [0, 0, 0, 2]]
        );
    }

    #[test]
    fn an_answer_to_another_request_is_an_error_that_names_both() {
        let error = ask(&mut exchange(vec![answer(7)])).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Protocol);
        let message = error.to_string();
        assert!(
            message.contains("request 7 instead of request 0"),
            "{message}"
        );
    }

    #[test]
    fn an_answer_that_ends_too_soon_is_a_protocol_error() {
        for length in [0, 3, 5] {
            let frame = answer(0)[..length].to_vec();
            let error = ask(&mut exchange(vec![frame])).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::Protocol, "{length}");
        }
    }
}
