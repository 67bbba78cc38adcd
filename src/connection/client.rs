//! A connection on which one thread asks and waits: for the rare, slow requests.

use std::sync::Arc;
use std::time::{Duration, Instant};

use super::control::ConnectionControl;
use super::dial::{Dialed, ReadUntil, dial, protocol_error, send_all, setup_timeout};
use super::frames::MAX_METADATA_FRAME_BYTES;
use super::{BrokerVersions, ConnectionConfig, Endpoint};
use crate::error::{Error, ErrorKind};
use crate::protocol::{Request, decode_response, encode_request};
use crate::sync::ThreadGroup;
use crate::time::deadline_after;

/// One connection, one request at a time.
pub(crate) struct BlockingClient {
    dialed: Dialed,
    control: Arc<ConnectionControl>,
    client_id: Arc<str>,
    next_correlation_id: i32,
}

impl BlockingClient {
    /// Connects; blocks as [`dial`] does, but for no longer than `patience`.
    pub(crate) fn connect(
        endpoint: &Endpoint,
        failures: u32,
        patience: Duration,
        config: &ConnectionConfig,
        control: Arc<ConnectionControl>,
        threads: &Arc<ThreadGroup>,
    ) -> Result<Self, Error> {
        let within = setup_timeout(config, failures).min(patience);
        let mut dialed = dial(endpoint, failures, within, config, &control, threads)?;
        dialed.frames.limit(MAX_METADATA_FRAME_BYTES);
        Ok(Self {
            dialed,
            control,
            client_id: Arc::clone(&config.client_id),
            next_correlation_id: 1,
        })
    }

    pub(crate) fn versions(&self) -> &BrokerVersions {
        &self.dialed.versions
    }

    /// Sends `request` and waits up to `timeout` for its answer. After an error the connection is of no more use.
    pub(crate) fn call<R: Request>(
        &mut self,
        request: &R,
        version: i16,
        timeout: Duration,
    ) -> Result<R::Response, Error> {
        let correlation_id = self.next_correlation_id;
        self.next_correlation_id = self.next_correlation_id.checked_add(1).unwrap_or(1);
        let mut bytes = Vec::new();
        encode_request(
            request,
            version,
            correlation_id,
            Some(&self.client_id),
            &mut bytes,
        )
        .map_err(|error| {
            Error::new(ErrorKind::InvalidArgument, "the request cannot be encoded")
                .with_source(error)
        })?;
        let deadline = deadline_after(Instant::now(), timeout);
        send_all(&self.dialed.socket, &bytes, deadline)?;
        let frame = self.dialed.frames.next(&mut ReadUntil {
            socket: &self.dialed.socket,
            deadline,
        })?;
        let (answered, response) = decode_response::<R>(version, &frame).map_err(protocol_error)?;
        if answered != correlation_id {
            let message =
                format!("the broker answered request {answered} where {correlation_id} was asked");
            return Err(Error::new(ErrorKind::Protocol, message));
        }
        Ok(response)
    }
}

impl Drop for BlockingClient {
    fn drop(&mut self) {
        self.control.cancel();
    }
}
