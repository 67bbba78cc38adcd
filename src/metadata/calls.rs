//! Calls that a higher layer makes on the metadata thread's connection.

use std::time::{Duration, Instant};

use super::policy::Policy;
use crate::connection::client::BlockingClient;
use crate::error::Error;
use crate::protocol::Request;

/// Blocking calls to any broker of the cluster, which the metadata thread makes for a higher layer: on its connection,
/// between its own requests.
///
/// The layer calls [`MetadataCache::wake_thread`](super::MetadataCache::wake_thread) when a call becomes due.
pub(crate) trait BrokerCalls: Send {
    /// Returns when the next call is due. The metadata thread asks this under the lock of its own state: this must not
    /// block, nor call the metadata.
    fn due(&self, now: Instant) -> Due;

    /// Makes the call that is due. An error counts against the broker, and the metadata thread makes the call at another
    /// broker. If the broker throttled this client before the call, the call is not made and stays due.
    fn call(&mut self, broker: &mut ConnectedBroker<'_>) -> Result<CallOutcome, Error>;
}

/// When a call is due.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Due {
    Now,
    At(Instant),
    Never,
}

/// What follows when a broker has answered a call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum CallOutcome {
    /// The call is complete, or [`BrokerCalls::due`] says when it is made again.
    Done,
    /// The broker cannot answer yet: the call is made again after a backoff.
    AskAgain,
}

/// The broker to which the metadata thread is connected.
pub(crate) struct ConnectedBroker<'a> {
    pub(super) client: &'a mut BlockingClient,
    pub(super) policy: &'a mut Policy,
    pub(super) identity_era: u64,
}

impl ConnectedBroker<'_> {
    /// Sends `request` in the highest version that both sides know, and waits for its response. Returns the version, too.
    pub(crate) fn call<R: Request>(&mut self, request: &R) -> Result<(i16, R::Response), Error> {
        let began = Instant::now();
        let patience = self.policy.begin_request(began);
        let version = self.client.versions().best::<R>().map_err(|error| {
            // The port of a KRaft controller can be mistaken for a broker's: it serves other requests.
            let (kind, reason) = (error.kind(), error.summary());
            match self.policy.connected_to() {
                Some(endpoint) => Error::new(
                    kind,
                    format!("{endpoint} cannot serve this client: {reason}"),
                ),
                None => error,
            }
        })?;
        let response = self.client.call(request, version, patience);
        self.policy.end_request(began.elapsed(), patience);
        Ok((version, response?))
    }

    /// Notes the wait that a response asked for. In later versions the client has to wait (`by_client`). In earlier
    /// versions the broker itself has waited before it responded.
    pub(crate) fn note_throttle(&mut self, by_client: bool, throttle_time_ms: i32) {
        let wait = u64::try_from(throttle_time_ms).unwrap_or(0);
        if let (true, 1..) = (by_client, wait) {
            let wait = Duration::from_millis(wait);
            self.client.throttled(wait);
            self.policy.throttled(wait, Instant::now());
        }
    }

    /// The [identity era](super::Cluster::identity_era) of the cluster that this broker belongs to.
    pub(crate) fn identity_era(&self) -> u64 {
        self.identity_era
    }
}
