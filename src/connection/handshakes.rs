//! In which version each peer is asked for its versions first.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use super::Endpoint;
use crate::sync::Mutex;

/// The first version to ask in. Brokers that do not know it answer in version 0 (KIP-511).
pub(super) const NEWEST: i16 = 3;

/// How long a peer that closed the connection at [`NEWEST`] is asked in version 0 first. Another broker can stand there
/// soon, and one that was only being restarted learns this client's name and version from [`NEWEST`] alone.
const REMEMBERED: Duration = Duration::from_secs(5 * 60);

/// The peers that closed the connection where they were asked in [`NEWEST`], each with when that is forgotten. Some
/// proxies and imitations of Kafka do so, instead of answering as KIP-511 says; so does any broker that is being
/// restarted.
#[derive(Debug, Default)]
pub(crate) struct Handshakes {
    closed: Mutex<HashMap<Endpoint, Instant>>,
}

impl Handshakes {
    /// The version to ask `endpoint` in first.
    pub(super) fn first_version(&self, endpoint: &Endpoint, now: Instant) -> i16 {
        let closed = self.closed.lock();
        match closed.get(endpoint) {
            Some(until) if *until > now => 0,
            _ => NEWEST,
        }
    }

    /// Notes that `endpoint` closed the connection instead of answering `version`. Where it closes it at 0 too, the version
    /// is not the reason.
    pub(super) fn note_closed(&self, endpoint: &Endpoint, version: i16, now: Instant) {
        let mut closed = self.closed.lock();
        closed.retain(|_, until| *until > now);
        if version == NEWEST {
            closed.insert(endpoint.clone(), now + REMEMBERED);
        } else {
            closed.remove(endpoint);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_peer_that_closes_at_the_newest_version_is_asked_in_the_oldest_for_a_while() {
        let peers = Handshakes::default();
        let [one, other] = ["one", "other"].map(|host| Endpoint {
            host: host.into(),
            port: 9092,
        });
        let now = Instant::now();
        assert_eq!(peers.first_version(&one, now), NEWEST);
        peers.note_closed(&one, NEWEST, now);
        assert_eq!(peers.first_version(&one, now), 0);
        assert_eq!(peers.first_version(&other, now), NEWEST);
        assert_eq!(peers.first_version(&one, now + REMEMBERED), NEWEST);
        // It closes whatever it is asked: a broker that starts, or one that wants TLS.
        peers.note_closed(&one, 0, now);
        assert_eq!(peers.first_version(&one, now), NEWEST);
    }
}
