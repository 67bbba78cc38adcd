//! Resolves `bootstrap.servers`: while the producer is built, or in the background (`bootstrap.resolve.timeout.ms`,
//! KIP-909).

use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::backoff::ExponentialBackoff;
use crate::connection::Endpoint;
use crate::connection::bootstrap::{BootstrapResolver, Resolution};
use crate::connection::resolve::NameService;
use crate::error::{Error, ErrorKind};
use crate::metadata::MetadataCache;
use crate::sync::{Mutex, channel};
use crate::threads::ThreadGroup;
use crate::threads::logging::log_line;
use crate::time::deadline_after;

/// What [`BootstrapLookUp`] needs of the settings.
pub(crate) struct BootstrapConfig {
    /// The addresses of `bootstrap.servers`.
    pub(crate) endpoints: Vec<Endpoint>,
    /// Resolves them.
    pub(crate) names: Arc<dyn NameService>,
    /// `bootstrap.resolve.timeout.ms`. Zero: they are resolved before the producer is built.
    pub(crate) resolve_timeout: Duration,
    /// The wait between two attempts.
    pub(crate) backoff: ExponentialBackoff,
}

/// Whether the bootstrap addresses are resolved, and how long callers wait for that.
pub(crate) struct BootstrapLookUp {
    config: BootstrapConfig,
    /// The end of `bootstrap.resolve.timeout.ms`.
    deadline: Instant,
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

/// How long `build` waits for the resolver. A wrong name is reported at once, and a slow name server delays
/// `build` by this time at most.
const WAIT_IN_BUILD: Duration = Duration::from_secs(5);

/// How long an attempt in the background waits for the resolver before the next attempt begins.
const WAIT_IN_BACKGROUND: Duration = Duration::from_secs(60);

impl BootstrapLookUp {
    pub(crate) fn new(config: BootstrapConfig, metadata: &Arc<MetadataCache>) -> Arc<Self> {
        let (cancel, cancelled) = channel::bounded(0);
        Arc::new(Self {
            deadline: deadline_after(Instant::now(), config.resolve_timeout),
            metadata: Arc::clone(metadata),
            state: Mutex::new(State {
                is_open: !config.resolve_timeout.is_zero(),
                last_error: None,
                cancel: Some(cancel),
            }),
            resolver: BootstrapResolver::new(Arc::clone(&config.names), cancelled.clone()),
            config,
            cancelled,
        })
    }

    /// Resolves the addresses now, unless [`run`](Self::run) is to do it. Returns an error if none of them resolves.
    pub(crate) fn look_up_at_once(&self, threads: &Arc<ThreadGroup>) -> Result<(), Error> {
        if self.is_open() {
            return Ok(());
        }
        self.resolver
            .resolve_any(&self.config.endpoints, WAIT_IN_BUILD, threads)
            .map(drop)
            .map_err(|error| {
                error.with_advice("correct the names, or set bootstrap.resolve.timeout.ms to wait for names that come later")
            })
    }

    /// Returns whether the addresses are still to be resolved.
    pub(crate) fn is_open(&self) -> bool {
        self.state.lock().is_open
    }

    /// The body of a thread: resolves the addresses repeatedly until one resolves, a broker is known without it, or the
    /// producer is closed. It continues after `bootstrap.resolve.timeout.ms`: the names may resolve later, and the
    /// producer then works.
    pub(crate) fn run(&self, threads: &Arc<ThreadGroup>) {
        let (mut failures, mut is_reported) = (0, false);
        loop {
            let endpoints = &self.config.endpoints;
            let error = match self
                .resolver
                .resolve_any(endpoints, WAIT_IN_BACKGROUND, threads)
            {
                Ok(Resolution::Cancelled) => return,
                Ok(Resolution::Resolved) => break,
                Ok(Resolution::Unanswered) => no_answer(),
                Err(error) => error,
            };
            if self.knows_brokers() {
                break;
            }
            if !is_reported && Instant::now() >= self.deadline {
                is_reported = true;
                log_line!(log::Level::Error, target: "kafka_producer", "{}; the producer continues to resolve them", self.what_failed(&error));
            }
            self.state.lock().last_error = Some(error);
            let pause = self.config.backoff.after(failures);
            failures += 1;
            if self.cancelled.recv_timeout(pause) != Err(channel::RecvTimeoutError::Timeout) {
                return;
            }
        }
        self.state.lock().is_open = false;
        if is_reported {
            log_line!(log::Level::Info, target: "kafka_producer", "a host of bootstrap.servers resolves now");
        }
    }

    /// Calls `wait` with the time until which a caller waits for metadata. That is `deadline`, or the end of
    /// `bootstrap.resolve.timeout.ms` if it comes first and no address resolves. In that case the caller gets the error of
    /// the look-up.
    pub(crate) fn bound<T>(
        &self,
        deadline: Instant,
        wait: impl Fn(Instant) -> Result<T, Error>,
    ) -> Result<T, Error> {
        if self.config.resolve_timeout.is_zero()
            || deadline <= self.deadline
            || !self.is_unresolved()
        {
            return wait(deadline);
        }
        match wait(self.deadline) {
            Err(error) if error.kind() == ErrorKind::MetadataTimeout => {
                if self.is_unresolved() {
                    return Err(self.failure());
                }
                wait(deadline)
            }
            result => result,
        }
    }

    /// Ends the look-up in progress.
    pub(crate) fn cancel(&self) {
        self.state.lock().cancel = None;
    }

    fn is_unresolved(&self) -> bool {
        self.is_open() && !self.knows_brokers()
    }

    fn knows_brokers(&self) -> bool {
        self.metadata.cluster().brokers().next().is_some()
    }

    fn what_failed(&self, cause: &Error) -> String {
        format!(
            "bootstrap.resolve.timeout.ms={} is over, and {}",
            self.config.resolve_timeout.as_millis(),
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
