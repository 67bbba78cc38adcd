//! The threads of one producer and what they share: everything that does not depend on the types of keys and values.

mod close;
mod deliveries;
mod observers;
mod panics;
mod start;

use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::accumulator::RecordAccumulator;
use crate::connection::ConnectionContext;
use crate::error::{Delivery, Error, ErrorKind};
use crate::identity::ProducerIdSource;
use crate::metadata::refresh::CurrentConnection;
use crate::metadata::{Cluster, MetadataCache};
use crate::sender::{Event, Mailbox};
use crate::sync::{STACK_BYTES, channel};
use crate::threads::{ThreadGroup, thread_name};
use crate::time::deadline_after;

use super::bootstrap::BootstrapLookUp;
use super::config::ValidatedConfig;
use close::{CloseState, RunningWorkers};
use deliveries::Deliveries;
use panics::Panics;

/// The threads and the shared state of a producer.
pub(crate) struct Engine {
    pub(crate) config: ValidatedConfig,
    pub(crate) accumulator: Arc<RecordAccumulator>,
    pub(crate) metadata: Arc<MetadataCache>,
    producer_ids: Arc<ProducerIdSource>,
    bootstrap: Arc<BootstrapLookUp>,
    /// The mailbox of each worker.
    mailboxes: Vec<Mailbox>,
    running_workers: Arc<RunningWorkers>,
    deliveries: Deliveries,
    connections: ConnectionContext,
    current_connection: Arc<CurrentConnection>,
    threads: Arc<ThreadGroup>,
    close_state: CloseState,
}

impl Engine {
    /// Returns an error if the producer accepts no more records.
    #[inline]
    pub(crate) fn check_open(&self) -> Result<(), Error> {
        if self.accumulator.is_open() {
            return Ok(());
        }
        Err(self.closed_error())
    }

    /// Returns the error of a call on a producer that accepts no more records.
    #[cold]
    pub(crate) fn closed_error(&self) -> Error {
        if self.is_inherited() {
            return Error::of_another_process();
        }
        if self.accumulator.has_panicked() {
            return Error::new(ErrorKind::Internal, "a thread of the producer has panicked")
                .with_delivery(Delivery::NotWritten);
        }
        Error::new(ErrorKind::Closed, "the producer is closed")
    }

    /// Returns whether this process was forked after the producer was built. In such a process no code may take one of
    /// the producer's locks, or drop a value that takes one.
    pub(crate) fn is_inherited(&self) -> bool {
        self.threads.instance().is_inherited()
    }

    /// Returns an error in a process that was forked after the producer was built.
    pub(crate) fn check_process(&self) -> Result<(), Error> {
        match self.is_inherited() {
            true => Err(Error::of_another_process()),
            false => Ok(()),
        }
    }

    /// Returns whether this thread is the producer's own, which runs callbacks or calls the logger. It must not wait for
    /// the producer.
    pub(crate) fn owns_this_thread(&self) -> bool {
        self.threads.instance().owns_this_thread()
    }

    /// How long a call on this thread may block: `max.block.ms`, or zero on the producer's own threads.
    pub(crate) fn longest_wait(&self) -> Duration {
        match self.owns_this_thread() {
            true => Duration::ZERO,
            false => self.config.max_block,
        }
    }

    /// Waits as [`MetadataCache::wait_for_topic`] does. If a panic closed the cache, returns the error of the panic.
    pub(crate) fn wait_for_topic(
        &self,
        topic: &str,
        partition: Option<i32>,
        max_block: Duration,
        deadline: Instant,
    ) -> Result<Arc<Cluster>, Error> {
        let wait = |until| {
            self.metadata
                .wait_for_topic(topic, partition, max_block, until)
        };
        self.bootstrap
            .bound(deadline, wait)
            .map_err(|error| match error.kind() {
                ErrorKind::Closed if self.accumulator.has_panicked() => self.closed_error(),
                _ => error,
            })
    }

    /// Sends everything that is queued now, without waiting for `linger.ms`. Waits until each of those records has its
    /// outcome and its callback has run.
    pub(crate) fn flush(&self, timeout: Duration) -> Result<(), Error> {
        self.check_process()?;
        if self.owns_this_thread() {
            return Err(Error::new(
                ErrorKind::InvalidArgument,
                "`flush` must not be called in a callback or logger of the same producer",
            )
            .without_record()
            .with_advice("call it on another thread, or wait for the records' futures there"));
        }
        let deadline = deadline_after(Instant::now(), timeout);
        let late = || {
            Error::new(
                ErrorKind::Timeout,
                format!(
                    "not everything was delivered within {} ms",
                    timeout.as_millis()
                ),
            )
        };
        let mailboxes = self.mailboxes.iter();
        // Every worker is asked before the first answer is awaited.
        let answers: Vec<_> = mailboxes.map(|worker| worker.ask(Event::Flush)).collect();
        for answer in answers {
            match answer.recv_deadline(deadline) {
                Ok(completions) => {
                    for completion in completions {
                        if !completion.wait_all(deadline) {
                            return Err(late());
                        }
                    }
                }
                Err(channel::RecvTimeoutError::Timeout) => return Err(late()),
                // The worker has ended, so each of its batches has an outcome.
                Err(channel::RecvTimeoutError::Disconnected) => {}
            }
        }
        if !self.deliveries.wait_for_queued(deadline) {
            return Err(late());
        }
        if self.accumulator.has_panicked() {
            return Err(self.closed_error());
        }
        Ok(())
    }

    /// Starts the delivery thread if it does not run. A record with a callback needs it.
    #[inline]
    pub(crate) fn start_deliveries(&self) -> Result<(), Error> {
        match self.deliveries.is_started() {
            true => Ok(()),
            false => self.start_delivery_thread(),
        }
    }

    fn panics(&self) -> Panics {
        Panics::new(&self.accumulator, &self.metadata)
    }

    fn spawn(&self, role: &str, body: impl FnOnce() + Send + 'static) -> Result<(), Error> {
        self.threads
            .spawn(self.thread_name(role), STACK_BYTES, body)
            .map_err(|error| thread_error(role, error))
    }

    fn thread_name(&self, role: &str) -> String {
        thread_name(role, &self.config.client_id)
    }
}

fn thread_error(role: &str, error: std::io::Error) -> Error {
    let message = format!("the {role} thread cannot be started");
    Error::new(ErrorKind::Resource, message).with_source(error)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::producer::config::ProducerConfig;

    #[test]
    fn every_call_and_every_waiter_gets_the_error_of_a_panicked_thread() {
        let mut config = ProducerConfig::new();
        config.set("bootstrap.servers", "127.0.0.1:1").unwrap();
        let engine = Engine::start(config.validate().unwrap()).unwrap();
        std::thread::scope(|scope| {
            let waiter = scope.spawn(|| {
                let long = Duration::from_secs(60);
                engine.wait_for_topic("t", None, long, Instant::now() + long)
            });
            engine.panics().watch("tested", || panic!("a defect"));
            let error = waiter.join().unwrap().unwrap_err();
            assert_eq!(error.kind(), ErrorKind::Internal);
        });
        assert_eq!(engine.check_open().unwrap_err().kind(), ErrorKind::Internal);
        let flushed = engine.flush(Duration::from_secs(60));
        assert_eq!(flushed.unwrap_err().kind(), ErrorKind::Internal);
        assert_eq!(engine.close(Duration::from_secs(60)), (0, true));
    }
}
