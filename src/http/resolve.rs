//! Resolves the host of a URL.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, ToSocketAddrs};
use std::time::Instant;

use super::Url;
use crate::sync::{Mutex, channel};

/// The stack of a thread that only resolves names.
const STACK_BYTES: usize = 256 * 1024;

/// `getaddrinfo` has no timeout and cannot be interrupted. So a look-up has a thread, which continues when its caller stops
/// waiting. The next call for the same host waits for that look-up instead of starting another, so that a name server that
/// does not answer costs one thread.
#[derive(Debug, Default)]
pub(super) struct Resolver {
    /// The latest look-up for which no caller waits.
    kept: Mutex<Option<LookUp>>,
}

#[derive(Debug)]
struct LookUp {
    host: String,
    port: u16,
    answered: channel::Receiver<io::Result<Vec<SocketAddr>>>,
}

impl Resolver {
    /// Returns the addresses of the URL's host, at least one. Waits until `deadline` at most.
    pub(super) fn resolve(&self, url: &Url, deadline: Instant) -> io::Result<Vec<SocketAddr>> {
        if let Ok(address) = url.host().parse::<IpAddr>() {
            return Ok(vec![SocketAddr::new(address, url.port())]);
        }
        if url.host().eq_ignore_ascii_case("localhost") {
            // `getaddrinfo` may ask a name server, and callers send secrets to this name without TLS (RFC 6761, 6.3).
            let addresses: [IpAddr; 2] = [Ipv4Addr::LOCALHOST.into(), Ipv6Addr::LOCALHOST.into()];
            return Ok(addresses
                .map(|address| SocketAddr::new(address, url.port()))
                .into());
        }
        let look_up = self.resume_or_start(url)?;
        let mut addresses = match look_up.answered.recv_deadline(deadline) {
            Ok(answer) => answer?,
            Err(channel::RecvTimeoutError::Timeout) => {
                *self.kept.lock() = Some(look_up);
                return Err(io::ErrorKind::TimedOut.into());
            }
            Err(channel::RecvTimeoutError::Disconnected) => Vec::new(),
        };
        let mut seen = std::collections::HashSet::new();
        addresses.retain(|address| seen.insert(*address));
        match addresses.is_empty() {
            true => Err(io::Error::other("the name has no address")),
            false => Ok(addresses),
        }
    }

    fn resume_or_start(&self, url: &Url) -> io::Result<LookUp> {
        let is_same = |kept: &LookUp| kept.host == url.host() && kept.port == url.port();
        if let Some(kept) = self.kept.lock().take().filter(is_same) {
            return Ok(kept);
        }
        let (answer, answered) = channel::bounded(1);
        let (host, port) = (url.host().to_owned(), url.port());
        let look_up = LookUp {
            host: host.clone(),
            port,
            answered,
        };
        crate::sync::spawn("kp-resolve".into(), STACK_BYTES, move || {
            let addresses = (&*host, port).to_socket_addrs();
            let _ = answer.send(addresses.map(Iterator::collect));
        })?;
        Ok(look_up)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn localhost_is_this_machine_and_no_name_server_is_asked() {
        for host in ["localhost", "LocalHost"] {
            let url = Url::parse(&format!("http://{host}:81/")).unwrap();
            let resolver = Resolver::default();
            // There is no time for a look-up.
            let addresses = resolver.resolve(&url, Instant::now()).unwrap();
            let expected = ["127.0.0.1:81", "[::1]:81"].map(|text| text.parse().unwrap());
            assert_eq!(addresses, expected);
            assert!(resolver.kept.lock().is_none());
        }
    }
}
