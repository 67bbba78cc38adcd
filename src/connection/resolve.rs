//! Names into addresses.

use std::collections::HashMap;
use std::io;
use std::net::{SocketAddr, ToSocketAddrs};
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::{Endpoint, SMALL_STACK_BYTES};
use crate::error::{Error, ErrorKind};
use crate::sync::{Mutex, channel};
use crate::threads::ThreadGroup;

/// Look-ups that took longer than somebody would wait. `getaddrinfo` has no timeout and cannot be interrupted: it has a
/// thread, which goes on. Who asks for the same endpoint next waits for that one instead of beginning anew: with a name
/// server that is dead, each look-up takes seconds.
#[derive(Debug, Default)]
pub(crate) struct LookUps {
    under_way: Mutex<HashMap<Endpoint, LookUp>>,
}

/// A look-up under way, or its answer.
#[derive(Debug)]
pub(super) struct LookUp {
    began: Instant,
    pub(super) answered: channel::Receiver<io::Result<Vec<SocketAddr>>>,
}

/// What was asked longer ago is asked anew.
const OLD_LOOK_UP: Duration = Duration::from_secs(60);

impl LookUps {
    /// The look-up of that endpoint that was left, if there is one that is not old, or else a new one.
    pub(super) fn resume_or_start(
        &self,
        endpoint: &Endpoint,
        threads: &Arc<ThreadGroup>,
    ) -> Result<LookUp, Error> {
        let left = self.under_way.lock().remove(endpoint);
        if let Some(left) = left.filter(|left| left.began.elapsed() < OLD_LOOK_UP) {
            return Ok(left);
        }
        let (answer, answered) = channel::bounded(1);
        let (host, port) = (Arc::clone(&endpoint.host), endpoint.port);
        spawn_resolver(threads, move || {
            let _ = answer.send(look_up(&host, port));
        })?;
        Ok(LookUp {
            began: Instant::now(),
            answered,
        })
    }

    /// Leaves a look-up for whoever asks for the endpoint next.
    pub(super) fn leave(&self, endpoint: &Endpoint, look_up: LookUp) {
        let mut under_way = self.under_way.lock();
        under_way.retain(|_, left| left.began.elapsed() < OLD_LOOK_UP);
        under_way.insert(endpoint.clone(), look_up);
    }
}

pub(super) fn spawn_resolver(
    threads: &Arc<ThreadGroup>,
    ask: impl FnOnce() + Send + 'static,
) -> Result<(), Error> {
    threads
        .spawn("kp-resolve".into(), SMALL_STACK_BYTES, ask)
        .map_err(|error| {
            Error::new(ErrorKind::Resource, "no thread for looking a name up").with_source(error)
        })
}

/// The addresses of `host` as the system tells them now; each with `port`. Blocks for as long as the system likes.
pub(super) fn look_up(host: &str, port: u16) -> io::Result<Vec<SocketAddr>> {
    #[cfg(feature = "unstable-internals")]
    if let Some(addresses) = names::known(host) {
        let with_port = |address| SocketAddr::new(address, port);
        return Ok(addresses.into_iter().map(with_port).collect());
    }
    Ok((host, port).to_socket_addrs()?.collect())
}

/// Names that tests give out, as no test can change what a name server says.
#[cfg(feature = "unstable-internals")]
pub(crate) mod names {
    use std::collections::HashMap;
    use std::net::IpAddr;
    use std::time::Duration;

    use crate::sync::Mutex;

    static NAMES: Mutex<Option<HashMap<String, Name>>> = Mutex::new(None);

    #[derive(Default)]
    struct Name {
        addresses: Vec<IpAddr>,
        takes: Duration,
        look_ups: usize,
    }

    /// From now on `host` has these addresses, in the whole process, and each look-up takes so long.
    pub(crate) fn set(host: &str, addresses: &[IpAddr], takes: Duration) {
        let mut names = NAMES.lock();
        let name = names.get_or_insert_default().entry(host.to_owned());
        let name = name.or_default();
        (name.addresses, name.takes) = (addresses.to_vec(), takes);
    }

    /// How often `host` was looked up.
    pub(crate) fn look_ups(host: &str) -> usize {
        let names = NAMES.lock();
        let name = names.as_ref().and_then(|names| names.get(host));
        name.map_or(0, |name| name.look_ups)
    }

    pub(super) fn known(host: &str) -> Option<Vec<IpAddr>> {
        let (addresses, takes) = {
            let mut names = NAMES.lock();
            let name = names.as_mut()?.get_mut(host)?;
            name.look_ups += 1;
            (name.addresses.clone(), name.takes)
        };
        if !takes.is_zero() {
            let _ = crate::sync::channel::after(takes).recv();
        }
        Some(addresses)
    }
}
