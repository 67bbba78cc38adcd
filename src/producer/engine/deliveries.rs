//! The delivery thread, which runs callbacks. The first record with a callback starts it.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Instant;

use crate::accumulator::batch::CompletedBatch;
use crate::error::Error;
use crate::sender::DeliveryTask;
use crate::sync::{Mutex, STACK_BYTES, channel};

use super::{Engine, thread_error};

/// The channel to the delivery thread.
pub(super) struct Deliveries {
    /// `None` after the close. The thread then ends when the workers, too, have dropped their senders.
    sender: Mutex<Option<channel::Sender<DeliveryTask>>>,
    /// `None` after the thread has started.
    receiver: Mutex<Option<channel::Receiver<DeliveryTask>>>,
    is_started: AtomicBool,
}

impl Deliveries {
    pub(super) fn new() -> Self {
        let (sender, receiver) = channel::unbounded();
        Self {
            sender: Mutex::new(Some(sender)),
            receiver: Mutex::new(Some(receiver)),
            is_started: AtomicBool::new(false),
        }
    }

    /// Returns a sender for a worker. Must not be called after [`close`](Self::close).
    pub(super) fn sender(&self) -> channel::Sender<DeliveryTask> {
        let sender = self.sender.lock();
        sender.clone().expect("the producer is not closed")
    }

    #[inline]
    pub(super) fn is_started(&self) -> bool {
        self.is_started.load(Ordering::Acquire)
    }

    /// Waits until the callbacks that are queued now have run. Returns false if the deadline came first.
    pub(super) fn wait_for_queued(&self, deadline: Instant) -> bool {
        if !self.is_started() {
            return true;
        }
        let Some(sender) = self.sender.lock().clone() else {
            return true;
        };
        let (done, passed) = channel::bounded(1);
        let _ = sender.send(DeliveryTask::Barrier(done));
        drop(sender);
        // The delivery thread drops the other end when it reaches the barrier, or when it ends.
        passed.recv_deadline(deadline) != Err(channel::RecvTimeoutError::Timeout)
    }

    /// Ends the delivery thread when it has run all callbacks and the workers have ended.
    pub(super) fn close(&self) {
        *self.sender.lock() = None;
    }
}

impl Engine {
    #[cold]
    pub(super) fn start_delivery_thread(&self) -> Result<(), Error> {
        self.check_process()?;
        let mut receiver = self.deliveries.receiver.lock();
        let Some(deliveries) = receiver.as_ref().cloned() else {
            return Ok(());
        };
        let name = self.thread_name("delivery");
        self.threads
            .spawn_for_user_code(name, STACK_BYTES, move || run(&deliveries))
            .map_err(|error| thread_error("delivery", error))?;
        *receiver = None;
        self.deliveries.is_started.store(true, Ordering::Release);
        Ok(())
    }
}

/// The body of the delivery thread.
fn run(deliveries: &channel::Receiver<DeliveryTask>) {
    for delivery in deliveries {
        match delivery {
            DeliveryTask::RunCallbacks(batches) => {
                batches.into_iter().for_each(CompletedBatch::deliver)
            }
            DeliveryTask::Barrier(done) => drop(done),
        }
    }
}
