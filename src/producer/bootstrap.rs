//! Looking up `bootstrap.servers`: while the producer is built, or behind it (`bootstrap.resolve.timeout.ms`, KIP-909).

use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::backoff::ExponentialBackoff;
use crate::connection::Endpoint;
use crate::connection::look_up::{BootstrapResolver, LookUp};
use crate::error::{Error, ErrorKind};
use crate::metadata::MetadataCache;
use crate::sync::{Mutex, channel};
use crate::threads::ThreadGroup;
use crate::threads::logging::log_line;
use crate::time::deadline_after;

/// Whether the bootstrap addresses have been looked up, and how long callers wait for that.
pub(crate) struct BootstrapLookUp {
    endpoints: Vec<Endpoint>,
    /// `bootstrap.resolve.timeout.ms`. Zero: looked up before the producer is built.
    within: Duration,
    deadline: Instant,
    backoff: ExponentialBackoff,
    metadata: Arc<MetadataCache>,
    state: Mutex<State>,
    resolver: BootstrapResolver,
    /// Closes with the producer.
    cancelled: channel::Receiver<()>,
}

struct State {
    is_open: bool,
    /// Why the latest attempt failed.
    last_error: Option<Error>,
    /// Dropped to cancel.
    cancel: Option<channel::Sender<()>>,
}

/// How long the start waits for the resolver: a typo is told at once, a slow name server later.
const PATIENCE_OF_START: Duration = Duration::from_secs(5);

/// How long an attempt behind the producer waits for the resolver before it asks anew.
const PATIENCE: Duration = Duration::from_secs(60);

impl BootstrapLookUp {
    /// `within` is `bootstrap.resolve.timeout.ms`, `backoff` the wait between two attempts.
    pub(crate) fn new(
        endpoints: Vec<Endpoint>,
        within: Duration,
        backoff: ExponentialBackoff,
        metadata: &Arc<MetadataCache>,
    ) -> Arc<Self> {
        let (cancel, cancelled) = channel::bounded(0);
        Arc::new(Self {
            endpoints,
            within,
            deadline: deadline_after(Instant::now(), within),
            backoff,
            metadata: Arc::clone(metadata),
            state: Mutex::new(State {
                is_open: !within.is_zero(),
                last_error: None,
                cancel: Some(cancel),
            }),
            resolver: BootstrapResolver::new(cancelled.clone()),
            cancelled,
        })
    }

    /// Where no time is set for it: looks the addresses up now. An error: none of them can be.
    pub(crate) fn look_up_at_once(&self, threads: &Arc<ThreadGroup>) -> Result<(), Error> {
        if self.is_open() {
            return Ok(());
        }
        self.resolver.look_up_any(&self.endpoints, PATIENCE_OF_START, threads)
        .map(drop)
        .map_err(|error| {
            error.with_advice(
                "correct the names, or set bootstrap.resolve.timeout.ms to wait for names that come later",
            )
        })
    }

    /// Whether the addresses are still to be looked up.
    pub(crate) fn is_open(&self) -> bool {
        self.state.lock().is_open
    }

    /// The body of a thread: looks the addresses up again and again until one can be, a broker was found all the same, or
    /// the producer is closed. It does not end with the time set: the names may come later, and the producer then works.
    pub(crate) fn run(&self, threads: &Arc<ThreadGroup>) {
        let (mut failures, mut has_told) = (0, false);
        loop {
            let error = match self
                .resolver
                .look_up_any(&self.endpoints, PATIENCE, threads)
            {
                Ok(LookUp::Cancelled) => return,
                Ok(LookUp::Found) => break,
                Ok(LookUp::Open) => no_answer(),
                Err(error) => error,
            };
            if self.knows_brokers() {
                break;
            }
            if !has_told && Instant::now() >= self.deadline {
                has_told = true;
                log_line!(log::Level::Error, target: "kafka_producer", "{}; the producer continues to resolve them", self.what_failed(&error));
            }
            self.state.lock().last_error = Some(error);
            let pause = self.backoff.after(failures);
            failures += 1;
            if self.cancelled.recv_timeout(pause) != Err(channel::RecvTimeoutError::Timeout) {
                return;
            }
        }
        self.state.lock().is_open = false;
        if has_told {
            log_line!(log::Level::Info, target: "kafka_producer", "a host of bootstrap.servers resolves now");
        }
    }

    /// Calls `wait` with the time until which a caller waits for metadata: `deadline`, or sooner, where the addresses
    /// cannot be looked up in the time set. That failure takes the place of what `wait` then returns.
    pub(crate) fn bound<T>(
        &self,
        deadline: Instant,
        wait: impl Fn(Instant) -> Result<T, Error>,
    ) -> Result<T, Error> {
        if self.within.is_zero() || deadline <= self.deadline || !self.is_unknown() {
            return wait(deadline);
        }
        match wait(self.deadline) {
            Err(error) if error.kind() == ErrorKind::MetadataTimeout => {
                if self.is_unknown() {
                    return Err(self.failure());
                }
                wait(deadline)
            }
            result => result,
        }
    }

    /// Ends the look-up under way.
    pub(crate) fn cancel(&self) {
        self.state.lock().cancel = None;
    }

    fn is_unknown(&self) -> bool {
        self.is_open() && !self.knows_brokers()
    }

    fn knows_brokers(&self) -> bool {
        self.metadata.cluster().brokers().next().is_some()
    }

    fn what_failed(&self, cause: &Error) -> String {
        format!(
            "bootstrap.resolve.timeout.ms={} is over, and {}",
            self.within.as_millis(),
            cause.summary()
        )
    }

    fn failure(&self) -> Error {
        let last_error = self.state.lock().last_error.clone();
        let cause = last_error.unwrap_or_else(no_answer);
        Error::new(ErrorKind::MetadataTimeout, self.what_failed(&cause))
            .with_advice("check bootstrap.servers and the name server; the producer continues to resolve them, and later calls succeed when a host resolves")
            .with_source(cause)
    }
}

fn no_answer() -> Error {
    Error::new(
        ErrorKind::Network,
        "the system has not resolved any host of bootstrap.servers yet",
    )
}
