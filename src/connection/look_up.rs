//! Looking up `bootstrap.servers`: whether anybody can be asked, and which hosts are mistaken.

use std::collections::HashSet;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::Endpoint;
use super::resolve::look_up;
use super::resolve::spawn_resolver;
use crate::error::{Error, ErrorKind};
use crate::sync::{Mutex, channel};
use crate::threads::ThreadGroup;
use crate::threads::logging::log_line;

/// What came of looking up all bootstrap addresses.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum LookUp {
    /// At least one has an address.
    Found,
    /// None has an address so far, and the resolver owes an answer.
    Open,
    /// `cancelled` closed first.
    Cancelled,
}

/// Looks up all `endpoints` at once and returns when one of them has an address. An error: none of them has. Hosts that
/// have none among others that do are told in the log, whenever the resolver's answer comes.
pub(crate) fn look_up_any(
    endpoints: &[Endpoint],
    patience: Duration,
    cancelled: &channel::Receiver<()>,
    threads: &Arc<ThreadGroup>,
) -> Result<LookUp, Error> {
    let names = names(endpoints);
    let is_known = endpoints.iter().any(is_address);
    let failures = Arc::new(Failures::new(is_known));
    let (answer, answered) = channel::bounded(names.len());
    for endpoint in &names {
        let (endpoint, answer) = (endpoint.clone(), answer.clone());
        let failures = Arc::clone(&failures);
        let ask = move || {
            let failure = failure(look_up(&endpoint.host, endpoint.port));
            let has_failed = failure.is_some();
            warn(match failure {
                Some(reason) => failures.add(format!("{}: {reason}", endpoint.host)),
                None => failures.tell_from_now_on(),
            });
            let _ = answer.send(has_failed);
        };
        spawn_resolver(threads, ask)?;
    }
    if is_known {
        return Ok(LookUp::Found);
    }
    let deadline = Instant::now() + patience;
    for _ in &names {
        let has_failed = channel::select! {
            recv(answered) -> has_failed => has_failed.unwrap_or(true),
            recv(cancelled) -> _ => return Ok(LookUp::Cancelled),
            default(deadline.saturating_duration_since(Instant::now())) => return Ok(LookUp::Open),
        };
        if !has_failed {
            return Ok(LookUp::Found);
        }
    }
    let message = format!(
        "no host of bootstrap.servers resolves ({})",
        failures.all().join("; ")
    );
    Err(Error::new(ErrorKind::Config, message))
}

/// Those that have to be looked up, each host once.
fn names(endpoints: &[Endpoint]) -> Vec<Endpoint> {
    let mut seen = HashSet::new();
    let names = endpoints.iter().filter(|endpoint| !is_address(endpoint));
    names
        .filter(|endpoint| seen.insert(Arc::clone(&endpoint.host)))
        .cloned()
        .collect()
}

fn is_address(endpoint: &Endpoint) -> bool {
    endpoint.host.parse::<IpAddr>().is_ok()
}

fn failure(found: io::Result<Vec<SocketAddr>>) -> Option<String> {
    match found {
        Ok(addresses) if addresses.is_empty() => Some("no address".to_owned()),
        Ok(_) => None,
        Err(error) => Some(error.to_string()),
    }
}

fn warn(hosts: Vec<String>) {
    for host in hosts {
        log_line!(log::Level::Warn, target: "kafka_producer", "cannot resolve one host of bootstrap.servers: {host}; the others resolve");
    }
}

/// The hosts that cannot be looked up. As long as none can, they are the reason of one error; once another can, each is
/// worth a warning of its own.
struct Failures(Mutex<(bool, Vec<String>)>);

impl Failures {
    fn new(another_is_found: bool) -> Self {
        Self(Mutex::new((another_is_found, Vec::new())))
    }

    /// Returns what to tell now.
    fn add(&self, failure: String) -> Vec<String> {
        let (another_is_found, failures) = &mut *self.0.lock();
        failures.push(failure);
        match another_is_found {
            true => std::mem::take(failures),
            false => Vec::new(),
        }
    }

    /// Another host is found. Returns what to tell now.
    fn tell_from_now_on(&self) -> Vec<String> {
        let (another_is_found, failures) = &mut *self.0.lock();
        *another_is_found = true;
        std::mem::take(failures)
    }

    fn all(&self) -> Vec<String> {
        self.0.lock().1.clone()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_host_that_cannot_be_looked_up_is_told_of_once_when_another_can() {
        let failures = Failures::new(false);
        assert!(failures.add("a: no address".to_owned()).is_empty());
        assert_eq!(failures.tell_from_now_on(), ["a: no address"]);
        assert_eq!(failures.add("b: unknown".to_owned()), ["b: unknown"]);
        assert!(failures.tell_from_now_on().is_empty());
    }

    #[test]
    fn each_name_is_looked_up_once_and_addresses_not_at_all() {
        let endpoint = |host: &str, port| Endpoint {
            host: host.into(),
            port,
        };
        let endpoints = [
            endpoint("a.test", 1),
            endpoint("127.0.0.1", 1),
            endpoint("a.test", 2),
            endpoint("::1", 1),
            endpoint("b.test", 1),
        ];
        assert_eq!(
            names(&endpoints),
            [endpoint("a.test", 1), endpoint("b.test", 1)]
        );
    }
}
