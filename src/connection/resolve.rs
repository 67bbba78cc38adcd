//! Resolves host names.

use std::collections::HashMap;
use std::fmt;
use std::io;
use std::net::{SocketAddr, ToSocketAddrs};
use std::panic::{RefUnwindSafe, UnwindSafe};
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::Endpoint;
use super::errors::thread_error;
use crate::error::Error;
use crate::sync::{Mutex, channel};
use crate::threads::ThreadGroup;

/// A source of the addresses of hosts. A public configuration holds one, and stays safe to use after an unwinding panic.
pub(crate) trait NameService: fmt::Debug + Send + Sync + UnwindSafe + RefUnwindSafe {
    /// Returns the addresses of `host`, each with `port`. May block for any time, because the calling thread does nothing
    /// else.
    fn look_up(&self, host: &str, port: u16) -> io::Result<Vec<SocketAddr>>;
}

/// The operating system's name service.
#[derive(Debug)]
pub(crate) struct SystemNames;

impl NameService for SystemNames {
    fn look_up(&self, host: &str, port: u16) -> io::Result<Vec<SocketAddr>> {
        Ok((host, port).to_socket_addrs()?.collect())
    }
}

/// The look-ups of a producer. `getaddrinfo` has no timeout and cannot be interrupted. So each look-up has a thread, which
/// continues when its caller stops waiting. The next caller with the same endpoint waits for that look-up instead of
/// starting another, because a look-up takes seconds if the name server does not answer.
#[derive(Debug)]
pub(crate) struct Resolver {
    names: Arc<dyn NameService>,
    /// The look-ups for which no caller waits.
    kept: Mutex<HashMap<Endpoint, LookUp>>,
}

/// A look-up in progress, or its answer.
#[derive(Debug)]
pub(super) struct LookUp {
    started: Instant,
    pub(super) answered: channel::Receiver<io::Result<Vec<SocketAddr>>>,
}

/// The age above which a look-up is not used again.
const OLD_LOOK_UP: Duration = Duration::from_secs(60);

/// The stack of a thread that only resolves names.
const RESOLVER_STACK_BYTES: usize = 256 * 1024;

impl Resolver {
    pub(crate) fn new(names: Arc<dyn NameService>) -> Self {
        Self {
            names,
            kept: Mutex::default(),
        }
    }

    /// Returns the look-up of `endpoint` that was kept. If there is none, or if it is old, starts a new one.
    pub(super) fn resume_or_start(
        &self,
        endpoint: &Endpoint,
        threads: &Arc<ThreadGroup>,
    ) -> Result<LookUp, Error> {
        let kept = self.kept.lock().remove(endpoint);
        if let Some(kept) = kept.filter(|kept| kept.started.elapsed() < OLD_LOOK_UP) {
            return Ok(kept);
        }
        let (answer, answered) = channel::bounded(1);
        let (names, host) = (Arc::clone(&self.names), Arc::clone(&endpoint.host));
        let port = endpoint.port;
        spawn_resolver(threads, move || {
            let _ = answer.send(names.look_up(&host, port));
        })?;
        Ok(LookUp {
            started: Instant::now(),
            answered,
        })
    }

    /// Keeps a look-up for the next caller with this endpoint.
    pub(super) fn keep(&self, endpoint: &Endpoint, look_up: LookUp) {
        let mut kept = self.kept.lock();
        kept.retain(|_, look_up| look_up.started.elapsed() < OLD_LOOK_UP);
        kept.insert(endpoint.clone(), look_up);
    }
}

impl Default for Resolver {
    fn default() -> Self {
        Self::new(Arc::new(SystemNames))
    }
}

/// Starts a thread that resolves names.
pub(super) fn spawn_resolver(
    threads: &Arc<ThreadGroup>,
    look_up: impl FnOnce() + Send + 'static,
) -> Result<(), Error> {
    threads
        .spawn("kp-resolve".into(), RESOLVER_STACK_BYTES, look_up)
        .map_err(|error| thread_error("resolver", error))
}

/// A name service for tests, because no test can change a name server. It knows the names that the test sets, and asks the
/// system for others.
#[cfg(any(test, feature = "unstable-internals"))]
#[cfg_attr(
    not(feature = "unstable-internals"),
    allow(
        unreachable_pub,
        reason = "public only as an internal of this crate's tests"
    )
)]
pub(crate) mod test_names {
    use std::collections::HashMap;
    use std::io;
    use std::net::{IpAddr, SocketAddr};
    use std::panic::{RefUnwindSafe, UnwindSafe};
    use std::time::Duration;

    use super::{NameService, SystemNames};
    use crate::sync::{Mutex, channel};

    /// A name service for tests.
    #[derive(Debug, Default)]
    pub struct TestNames(Mutex<HashMap<String, Name>>);

    #[derive(Debug, Default)]
    struct Name {
        addresses: Vec<IpAddr>,
        takes: Duration,
        look_ups: usize,
    }

    impl TestNames {
        /// From now on `host` has these addresses and no others.
        pub fn set(&self, host: &str, addresses: &[IpAddr]) {
            self.set_slow(host, addresses, Duration::ZERO);
        }

        /// As [`set`](Self::set), and each look-up takes this time.
        pub fn set_slow(&self, host: &str, addresses: &[IpAddr], takes: Duration) {
            let mut names = self.0.lock();
            let name = names.entry(host.to_owned()).or_default();
            (name.addresses, name.takes) = (addresses.to_vec(), takes);
        }

        /// Returns how often `host` was looked up.
        pub fn look_ups(&self, host: &str) -> usize {
            self.0.lock().get(host).map_or(0, |name| name.look_ups)
        }
    }

    /// A panic under the lock leaves the map whole.
    impl UnwindSafe for TestNames {}
    impl RefUnwindSafe for TestNames {}

    impl NameService for TestNames {
        fn look_up(&self, host: &str, port: u16) -> io::Result<Vec<SocketAddr>> {
            let known = self.0.lock().get_mut(host).map(|name| {
                name.look_ups += 1;
                (name.addresses.clone(), name.takes)
            });
            let Some((addresses, takes)) = known else {
                return SystemNames.look_up(host, port);
            };
            if !takes.is_zero() {
                let _ = channel::after(takes).recv();
            }
            let with_port = |address| SocketAddr::new(address, port);
            Ok(addresses.into_iter().map(with_port).collect())
        }
    }
}
