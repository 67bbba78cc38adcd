//! Looking up `bootstrap.servers`: whether anybody can be asked, and which hosts are mistaken.

use std::cmp::Ordering;
use std::collections::{HashSet, VecDeque};
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

/// The look-ups of a producer's bootstrap addresses. `getaddrinfo` cannot be interrupted, and a list may be long: few
/// threads take the names one by one. A name that is being looked up is not asked for again: the answer counts for the
/// attempt that is then under way.
pub(crate) struct BootstrapResolver {
    shared: Arc<Mutex<Shared>>,
    /// Closes with the producer.
    cancelled: channel::Receiver<()>,
}

/// How many threads look names up at once, those included that got stuck in an earlier attempt.
const MOST_THREADS: usize = 16;

#[derive(Default)]
struct Shared {
    threads: usize,
    waiting: VecDeque<Endpoint>,
    under_way: HashSet<Arc<str>>,
    attempt: Option<Attempt>,
}

/// Where the answers go.
#[derive(Clone)]
struct Attempt {
    failures: Arc<Failures>,
    /// Has room for one answer of each name.
    has_failed: channel::Sender<bool>,
}

impl BootstrapResolver {
    pub(crate) fn new(cancelled: channel::Receiver<()>) -> Self {
        let shared = Arc::default();
        Self { shared, cancelled }
    }

    /// Looks up all `endpoints` and returns when one of them has an address. An error: none of them has. Hosts that have
    /// none among others that do are told in the log, whenever the resolver's answer comes.
    pub(crate) fn look_up_any(
        &self,
        endpoints: &[Endpoint],
        patience: Duration,
        threads: &Arc<ThreadGroup>,
    ) -> Result<LookUp, Error> {
        let names = names(endpoints);
        let is_known = endpoints.iter().any(is_address);
        let failures = Arc::new(Failures::new(is_known));
        let (has_failed, answered) = channel::bounded(names.len());
        let attempt = Attempt {
            failures: Arc::clone(&failures),
            has_failed,
        };
        self.begin(attempt, &names, threads)?;
        if is_known {
            return Ok(LookUp::Found);
        }
        let deadline = Instant::now() + patience;
        for _ in &names {
            let has_failed = channel::select! {
                recv(answered) -> has_failed => has_failed.unwrap_or(true),
                recv(self.cancelled) -> _ => return Ok(LookUp::Cancelled),
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

    /// Puts `attempt` in the place of the one before, and starts the threads that are missing. An error: there is none.
    fn begin(
        &self,
        attempt: Attempt,
        names: &[Endpoint],
        threads: &Arc<ThreadGroup>,
    ) -> Result<(), Error> {
        let missing = {
            let shared = &mut *self.shared.lock();
            let is_new = |name: &&Endpoint| !shared.under_way.contains(&name.host);
            shared.waiting = names.iter().filter(is_new).cloned().collect();
            shared.attempt = Some(attempt);
            let missing = shared.waiting.len().min(MOST_THREADS - shared.threads);
            shared.threads += missing;
            missing
        };
        for started in 0..missing {
            let (shared, cancelled) = (Arc::clone(&self.shared), self.cancelled.clone());
            if let Err(error) = spawn_resolver(threads, move || work(&shared, &cancelled)) {
                let mut shared = self.shared.lock();
                shared.threads -= missing - started;
                // Others may have done all by now: no matter.
                if started == 0 && shared.threads == 0 {
                    return Err(error);
                }
                break;
            }
        }
        Ok(())
    }
}

/// The body of a thread: looks names up until none waits.
fn work(shared: &Mutex<Shared>, cancelled: &channel::Receiver<()>) {
    while let Some(endpoint) = next(shared, cancelled) {
        let failure = failure(look_up(&endpoint.host, endpoint.port));
        let attempt = {
            let mut shared = shared.lock();
            shared.under_way.remove(&endpoint.host);
            shared.attempt.clone()
        };
        let Some(attempt) = attempt else { continue };
        let has_failed = failure.is_some();
        warn(match failure {
            Some(reason) => attempt.failures.add(format!("{}: {reason}", endpoint.host)),
            None => attempt.failures.tell_from_now_on(),
        });
        let _ = attempt.has_failed.try_send(has_failed);
    }
}

/// The next name, which is then under way. Without one the thread no longer counts.
fn next(shared: &Mutex<Shared>, cancelled: &channel::Receiver<()>) -> Option<Endpoint> {
    let is_cancelled = cancelled.try_recv() == Err(channel::TryRecvError::Disconnected);
    let shared = &mut *shared.lock();
    let next = shared.waiting.pop_front().filter(|_| !is_cancelled);
    match &next {
        Some(endpoint) => {
            shared.under_way.insert(Arc::clone(&endpoint.host));
        }
        None => shared.threads -= 1,
    }
    next
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
/// worth a warning of its own. Of very many the first are told.
struct Failures(Mutex<FailuresState>);

struct FailuresState {
    another_is_found: bool,
    count: usize,
    /// Those that are not told yet.
    open: Vec<String>,
}

/// How many hosts are told one by one.
const MOST_TOLD: usize = 20;

impl Failures {
    fn new(another_is_found: bool) -> Self {
        Self(Mutex::new(FailuresState {
            another_is_found,
            count: 0,
            open: Vec::new(),
        }))
    }

    /// Returns what to tell now.
    fn add(&self, failure: String) -> Vec<String> {
        let state = &mut *self.0.lock();
        state.count += 1;
        match state.count.cmp(&(MOST_TOLD + 1)) {
            Ordering::Less => state.open.push(failure),
            Ordering::Equal => state.open.push("more hosts, which are not told".to_owned()),
            Ordering::Greater => {}
        }
        match state.another_is_found {
            true => std::mem::take(&mut state.open),
            false => Vec::new(),
        }
    }

    /// Another host is found. Returns what to tell now.
    fn tell_from_now_on(&self) -> Vec<String> {
        let state = &mut *self.0.lock();
        state.another_is_found = true;
        std::mem::take(&mut state.open)
    }

    fn all(&self) -> Vec<String> {
        self.0.lock().open.clone()
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
    fn of_very_many_hosts_that_cannot_be_looked_up_the_first_are_told() {
        for is_found_at_once in [true, false] {
            let failures = Failures::new(is_found_at_once);
            let told = (0..1000).flat_map(|n| failures.add(format!("{n}: unknown")));
            let mut told: Vec<_> = told.collect();
            assert!(failures.all().len() <= MOST_TOLD + 1);
            told.extend(failures.tell_from_now_on());
            assert_eq!(told.len(), MOST_TOLD + 1);
            assert_eq!(told[MOST_TOLD], "more hosts, which are not told");
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

    #[cfg(feature = "unstable-internals")]
    fn endpoints(count: usize, domain: &str, takes: Duration) -> Vec<Endpoint> {
        let well = [IpAddr::from([127, 0, 0, 1])];
        let endpoint = |n| {
            let host = format!("{n}.{domain}");
            crate::connection::resolve::names::set(&host, &well, takes);
            Endpoint {
                host: host.as_str().into(),
                port: 1,
            }
        };
        (0..count).map(endpoint).collect()
    }

    #[test]
    #[cfg(feature = "unstable-internals")]
    fn few_threads_look_many_names_up_however_often_they_are_asked_for_and_end_with_the_producer() {
        let endpoints = endpoints(200, "many-stuck.test", Duration::from_secs(5));
        let (cancel, cancelled) = channel::bounded(0);
        let (resolver, threads) = (BootstrapResolver::new(cancelled), Arc::default());
        for _ in 0..3 {
            let patience = Duration::from_millis(50);
            let _ = resolver.look_up_any(&endpoints, patience, &threads);
            assert!((1..=MOST_THREADS).contains(&threads.join_until(Instant::now())));
        }
        drop(cancel);
        assert_eq!(
            threads.join_until(Instant::now() + Duration::from_secs(60)),
            0
        );
        let last = &endpoints[199].host;
        assert_eq!(crate::connection::resolve::names::look_ups(last), 0);
    }

    /// The threads take one name after the other.
    #[test]
    #[cfg(feature = "unstable-internals")]
    fn the_last_of_many_names_is_found_when_all_others_fail() {
        let endpoints = endpoints(100, "last-found.test", Duration::ZERO);
        for endpoint in &endpoints[..99] {
            crate::connection::resolve::names::set(&endpoint.host, &[], Duration::ZERO);
        }
        let (_cancel, cancelled) = channel::bounded(0);
        let (resolver, threads) = (BootstrapResolver::new(cancelled), Arc::default());
        for (endpoints, is_found) in [(&endpoints[..99], false), (&endpoints[..], true)] {
            let result = resolver.look_up_any(endpoints, Duration::from_secs(60), &threads);
            assert_eq!(result.ok(), is_found.then_some(LookUp::Found));
        }
    }
}
