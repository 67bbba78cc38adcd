//! Looks up the hosts of `bootstrap.servers`: finds out whether any of them resolves, and reports those that do not.

use std::cmp::Ordering;
use std::collections::{HashSet, VecDeque};
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::Endpoint;
use super::resolve::{NameService, spawn_resolver};
use crate::error::{Error, ErrorKind};
use crate::sync::{Mutex, channel};
use crate::threads::ThreadGroup;
use crate::threads::logging::log_line;

/// The result of resolving all bootstrap addresses.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Resolution {
    /// At least one host has an address.
    Resolved,
    /// No host has an address so far, and some answers are missing.
    Unanswered,
    /// The producer was closed before any host resolved.
    Cancelled,
}

/// The look-ups of a producer's bootstrap addresses. A look-up cannot be interrupted, and the list may be long. So a limited
/// number of threads looks the names up one by one. A name whose look-up is in progress is not looked up again. The answer
/// counts for the attempt that is current when it comes.
pub(crate) struct BootstrapResolver {
    names: Arc<dyn NameService>,
    shared: Arc<Mutex<Shared>>,
    /// Disconnects when the producer closes.
    cancelled: channel::Receiver<()>,
}

/// The maximum number of threads that look names up, including those that still wait since an earlier attempt.
const MOST_THREADS: usize = 16;

#[derive(Default)]
struct Shared {
    threads: usize,
    waiting: VecDeque<Endpoint>,
    in_progress: HashSet<Arc<str>>,
    attempt: Option<Attempt>,
}

/// An attempt, which collects the answers.
#[derive(Clone)]
struct Attempt {
    failures: Arc<Failures>,
    /// Gets true for each name that does not resolve, false for others. Has room for one answer of each name.
    has_failed: channel::Sender<bool>,
}

impl BootstrapResolver {
    /// `cancelled` disconnects when the producer closes.
    pub(crate) fn new(names: Arc<dyn NameService>, cancelled: channel::Receiver<()>) -> Self {
        Self {
            names,
            shared: Arc::default(),
            cancelled,
        }
    }

    /// Looks all `endpoints` up. Returns when one of them has an address, or when `patience` is over. Returns an error if none
    /// of them has an address. If some hosts resolve, the other hosts are logged, even if their answers come later.
    pub(crate) fn resolve_any(
        &self,
        endpoints: &[Endpoint],
        patience: Duration,
        threads: &Arc<ThreadGroup>,
    ) -> Result<Resolution, Error> {
        let names = names(endpoints);
        let has_address = endpoints.iter().any(is_address);
        let failures = Arc::new(Failures::new(has_address));
        let (has_failed, answered) = channel::bounded(names.len());
        let attempt = Attempt {
            failures: Arc::clone(&failures),
            has_failed,
        };
        self.begin(attempt, &names, threads)?;
        if has_address {
            return Ok(Resolution::Resolved);
        }
        let deadline = Instant::now() + patience;
        for _ in &names {
            let has_failed = channel::select! {
                recv(answered) -> has_failed => has_failed.unwrap_or(true),
                recv(self.cancelled) -> _ => return Ok(Resolution::Cancelled),
                default(deadline.saturating_duration_since(Instant::now())) => return Ok(Resolution::Unanswered),
            };
            if !has_failed {
                return Ok(Resolution::Resolved);
            }
        }
        let message = format!(
            "no host of bootstrap.servers resolves ({})",
            failures.all().join("; ")
        );
        Err(Error::new(ErrorKind::Config, message))
    }

    /// Makes `attempt` the current one, and starts the threads that it needs. Returns an error if no thread can be started
    /// and none runs.
    fn begin(
        &self,
        attempt: Attempt,
        names: &[Endpoint],
        threads: &Arc<ThreadGroup>,
    ) -> Result<(), Error> {
        let missing = {
            let shared = &mut *self.shared.lock();
            let is_new = |name: &&Endpoint| !shared.in_progress.contains(&name.host);
            shared.waiting = names.iter().filter(is_new).cloned().collect();
            shared.attempt = Some(attempt);
            let missing = shared.waiting.len().min(MOST_THREADS - shared.threads);
            shared.threads += missing;
            missing
        };
        for started in 0..missing {
            let work = Work {
                names: Arc::clone(&self.names),
                shared: Arc::clone(&self.shared),
                cancelled: self.cancelled.clone(),
            };
            if let Err(error) = spawn_resolver(threads, move || work.run()) {
                let mut shared = self.shared.lock();
                shared.threads -= missing - started;
                // If any thread could be started, it looks all names up. It may even have ended by now.
                if started == 0 && shared.threads == 0 {
                    return Err(error);
                }
                break;
            }
        }
        Ok(())
    }
}

/// The task of a thread that looks names up.
struct Work {
    names: Arc<dyn NameService>,
    shared: Arc<Mutex<Shared>>,
    cancelled: channel::Receiver<()>,
}

impl Work {
    /// The body of the thread: looks names up until no name waits.
    fn run(&self) {
        while let Some(endpoint) = self.next() {
            let failure = failure(self.names.look_up(&endpoint.host, endpoint.port));
            let attempt = {
                let mut shared = self.shared.lock();
                shared.in_progress.remove(&endpoint.host);
                shared.attempt.clone()
            };
            let Some(attempt) = attempt else { continue };
            let has_failed = failure.is_some();
            warn(match failure {
                Some(reason) => attempt.failures.add(format!("{}: {reason}", endpoint.host)),
                None => attempt.failures.another_resolves(),
            });
            let _ = attempt.has_failed.try_send(has_failed);
        }
    }

    /// Returns the next name and counts its look-up as in progress. Returns `None` if the thread must end, and no longer
    /// counts it.
    fn next(&self) -> Option<Endpoint> {
        let is_cancelled = self.cancelled.try_recv() == Err(channel::TryRecvError::Disconnected);
        let shared = &mut *self.shared.lock();
        let next = shared.waiting.pop_front().filter(|_| !is_cancelled);
        match &next {
            Some(endpoint) => {
                shared.in_progress.insert(Arc::clone(&endpoint.host));
            }
            None => shared.threads -= 1,
        }
        next
    }
}

/// Returns the endpoints whose names must be looked up, one for each host.
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

/// The hosts that do not resolve. While no host resolves, one error lists them. Once another host resolves, each of them gets
/// a warning of its own. If there are very many, only the first are reported.
struct Failures(Mutex<FailuresState>);

struct FailuresState {
    another_resolves: bool,
    count: usize,
    /// The hosts that are not reported yet.
    unreported: Vec<String>,
}

/// The maximum number of hosts that are reported one by one.
const MOST_REPORTED: usize = 20;

impl Failures {
    fn new(another_resolves: bool) -> Self {
        Self(Mutex::new(FailuresState {
            another_resolves,
            count: 0,
            unreported: Vec::new(),
        }))
    }

    /// Adds a host that does not resolve. Returns what to report now.
    fn add(&self, failure: String) -> Vec<String> {
        let state = &mut *self.0.lock();
        state.count += 1;
        match state.count.cmp(&(MOST_REPORTED + 1)) {
            Ordering::Less => state.unreported.push(failure),
            Ordering::Equal => state
                .unreported
                .push("more hosts, which are not listed".to_owned()),
            Ordering::Greater => {}
        }
        match state.another_resolves {
            true => std::mem::take(&mut state.unreported),
            false => Vec::new(),
        }
    }

    /// Notes that another host resolves. Returns what to report now.
    fn another_resolves(&self) -> Vec<String> {
        let state = &mut *self.0.lock();
        state.another_resolves = true;
        std::mem::take(&mut state.unreported)
    }

    fn all(&self) -> Vec<String> {
        self.0.lock().unreported.clone()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::connection::resolve::test_names::TestNames;

    #[test]
    fn a_host_that_does_not_resolve_is_reported_once_when_another_resolves() {
        let failures = Failures::new(false);
        assert!(failures.add("a: no address".to_owned()).is_empty());
        assert_eq!(failures.another_resolves(), ["a: no address"]);
        assert_eq!(failures.add("b: unknown".to_owned()), ["b: unknown"]);
        assert!(failures.another_resolves().is_empty());
    }

    #[test]
    fn of_very_many_hosts_that_do_not_resolve_the_first_are_reported() {
        for resolves_at_once in [true, false] {
            let failures = Failures::new(resolves_at_once);
            let reported = (0..1000).flat_map(|n| failures.add(format!("{n}: unknown")));
            let mut reported: Vec<_> = reported.collect();
            assert!(failures.all().len() <= MOST_REPORTED + 1);
            reported.extend(failures.another_resolves());
            assert_eq!(reported.len(), MOST_REPORTED + 1);
            assert_eq!(reported[MOST_REPORTED], "more hosts, which are not listed");
        }
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

    fn endpoints(count: usize) -> Vec<Endpoint> {
        let endpoint = |n| Endpoint {
            host: format!("{n}.test").into(),
            port: 1,
        };
        (0..count).map(endpoint).collect()
    }

    /// Those of `endpoints` have an address whose number `resolves`. Each look-up takes this time.
    fn test_names(
        endpoints: &[Endpoint],
        resolves: fn(usize) -> bool,
        takes: Duration,
    ) -> Arc<TestNames> {
        let names = Arc::new(TestNames::default());
        for (n, endpoint) in endpoints.iter().enumerate() {
            let addresses = match resolves(n) {
                true => vec![IpAddr::from([127, 0, 0, 1])],
                false => Vec::new(),
            };
            names.set_slow(&endpoint.host, &addresses, takes);
        }
        names
    }

    #[test]
    fn few_threads_look_many_names_up_however_often_they_are_asked_for_and_end_with_the_producer() {
        let endpoints = endpoints(200);
        let names = test_names(&endpoints, |_| true, Duration::from_secs(5));
        let (cancel, cancelled) = channel::bounded(0);
        let resolver = BootstrapResolver::new(names.clone(), cancelled);
        let threads = Arc::default();
        for _ in 0..3 {
            let patience = Duration::from_millis(50);
            let _ = resolver.resolve_any(&endpoints, patience, &threads);
            assert!((1..=MOST_THREADS).contains(&threads.join_until(Instant::now())));
        }
        drop(cancel);
        let deadline = Instant::now() + Duration::from_secs(60);
        assert_eq!(threads.join_until(deadline), 0);
        assert_eq!(names.look_ups(&endpoints[199].host), 0);
    }

    /// The threads look one name up after the other.
    #[test]
    fn the_last_of_many_names_is_found_when_all_others_fail() {
        let endpoints = endpoints(100);
        let names = test_names(&endpoints, |n| n == 99, Duration::ZERO);
        let (_cancel, cancelled) = channel::bounded(0);
        let (resolver, threads) = (BootstrapResolver::new(names, cancelled), Arc::default());
        for (endpoints, resolves) in [(&endpoints[..99], false), (&endpoints[..], true)] {
            let result = resolver.resolve_any(endpoints, Duration::from_secs(60), &threads);
            assert_eq!(result.ok(), resolves.then_some(Resolution::Resolved));
        }
    }
}
