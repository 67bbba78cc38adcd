//! The channel from callers to a worker: a bounded channel, and behind it a queue for messages that find the channel full.
//!
//! A push happens under a partition's lock and must not wait for room. So there must be room for all messages that the
//! memory budget allows. A bounded channel allocates all of its room when it is created. Room for the whole budget took
//! megabytes in a producer that sends nothing. So the channel is small, and the queue allocates only what it holds. The
//! budget bounds the queue, because each message belongs to a batch that reserves memory for it.

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use crate::sync::{Mutex, channel};

/// The number of messages, of 24 bytes each, for which the channel has room. When the channel is full, the worker is far
/// behind. Tests have a small channel, so that they use the queue.
const CHANNEL_LENGTH: usize = if cfg!(test) { 4 } else { 256 };

/// The callers' end.
pub(crate) struct HandoverSender<T> {
    shared: Arc<Shared<T>>,
}

/// The worker's end.
pub(crate) struct HandoverReceiver<T> {
    /// Messages that were taken from the queue. They are older than those in the channel.
    taken: VecDeque<T>,
    channel: channel::Receiver<T>,
    shared: Arc<Shared<T>>,
}

struct Shared<T> {
    ends: Mutex<Ends<T>>,
    /// The length of the queue. Changed under the lock.
    queued: AtomicUsize,
}

struct Ends<T> {
    /// `None` after the worker has ended. So the channel is freed even if a thread still keeps a topic of this producer.
    channel: Option<channel::Sender<T>>,
    /// Messages that are newer than those in the channel. While the queue is not empty, no message is pushed into the
    /// channel.
    queue: VecDeque<T>,
}

/// Creates both ends.
pub(crate) fn handover<T>() -> (HandoverSender<T>, HandoverReceiver<T>) {
    let (sender, receiver) = channel::bounded(CHANNEL_LENGTH);
    let shared = Arc::new(Shared {
        ends: Mutex::new(Ends {
            channel: Some(sender),
            queue: VecDeque::new(),
        }),
        queued: AtomicUsize::new(0),
    });
    let sender = HandoverSender {
        shared: Arc::clone(&shared),
    };
    let receiver = HandoverReceiver {
        taken: VecDeque::new(),
        channel: receiver,
        shared,
    };
    (sender, receiver)
}

impl<T> HandoverSender<T> {
    /// Pushes a message. Never waits for room. Returns the message as an error after the worker has ended.
    pub(super) fn push(&self, message: T) -> Result<(), T> {
        let mut ends = self.shared.ends.lock();
        let Some(channel) = &ends.channel else {
            return Err(message);
        };
        let message = match ends.queue.is_empty() {
            true => match channel.try_send(message) {
                Ok(()) => return Ok(()),
                Err(error) if error.is_disconnected() => return Err(error.into_inner()),
                Err(full) => full.into_inner(),
            },
            false => message,
        };
        ends.queue.push_back(message);
        self.shared
            .queued
            .store(ends.queue.len(), Ordering::Release);
        Ok(())
    }

    /// Refuses later pushes and drops the messages in the queue. The worker calls it when it ends. The channel and its
    /// messages are freed when the worker drops its receiver.
    pub(super) fn disconnect(&self) {
        let (_channel, _queue) = {
            let mut ends = self.shared.ends.lock();
            self.shared.queued.store(0, Ordering::Release);
            (ends.channel.take(), std::mem::take(&mut ends.queue))
        };
    }

    #[cfg(test)]
    pub(super) fn is_disconnected(&self) -> bool {
        self.shared.ends.lock().channel.is_none()
    }
}

impl<T> HandoverReceiver<T> {
    /// Returns the oldest message, if there is one.
    pub(crate) fn try_recv(&mut self) -> Option<T> {
        if let Some(message) = self.next_taken() {
            return Some(message);
        }
        match self.channel.try_recv() {
            Ok(message) => Some(message),
            Err(_) if self.shared.queued.load(Ordering::Acquire) > 0 => self.take_queue(),
            Err(_) => None,
        }
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The number of messages. It includes all that were pushed before this call.
    pub(crate) fn len(&self) -> usize {
        let queued = self.shared.queued.load(Ordering::Acquire);
        self.taken.len() + self.channel.len() + queued
    }

    fn next_taken(&mut self) -> Option<T> {
        let message = self.taken.pop_front()?;
        if self.taken.is_empty() {
            self.taken = VecDeque::new();
        }
        Some(message)
    }

    #[cold]
    fn take_queue(&mut self) -> Option<T> {
        let mut ends = self.shared.ends.lock();
        // Messages that were pushed into the channel since it was found empty are older than those in the queue.
        if let Ok(message) = self.channel.try_recv() {
            return Some(message);
        }
        self.taken = std::mem::take(&mut ends.queue);
        self.shared.queued.store(0, Ordering::Release);
        drop(ends);
        self.next_taken()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_come_in_order_however_many_there_are() {
        let (sender, mut receiver) = handover();
        let mut next = 0..;
        let mut expected = 0..;
        // A third of each burst is not received, so the channel, the queue and `taken` all have messages.
        for burst in [
            1,
            CHANNEL_LENGTH,
            10,
            3 * CHANNEL_LENGTH,
            CHANNEL_LENGTH / 2,
            5,
            4 * CHANNEL_LENGTH,
        ] {
            for number in next.by_ref().take(burst) {
                assert_eq!(sender.push(number), Ok(()));
            }
            for _ in 0..burst * 2 / 3 {
                assert_eq!(receiver.try_recv(), expected.next());
            }
        }
        let left = receiver.len();
        assert!(left > CHANNEL_LENGTH && !receiver.is_empty());
        for _ in 0..left {
            assert_eq!(receiver.try_recv(), expected.next());
        }
        assert_eq!(expected.next(), next.next());
        assert!(receiver.is_empty() && receiver.try_recv().is_none());
    }

    #[test]
    fn messages_come_in_order_while_others_are_pushed() {
        const MESSAGES: usize = 300_000;
        let (sender, mut receiver) = handover();
        std::thread::scope(|scope| {
            scope.spawn(move || (0..MESSAGES).for_each(|number| sender.push(number).unwrap()));
            for expected in 0..MESSAGES {
                let number = loop {
                    if let Some(number) = receiver.try_recv() {
                        break number;
                    }
                    std::thread::yield_now();
                };
                assert_eq!(number, expected);
            }
        });
    }

    #[test]
    fn pushed_messages_can_be_taken_at_once() {
        let (sender, mut receiver) = handover();
        for pushed in 1..2 * CHANNEL_LENGTH {
            sender.push(pushed).unwrap();
            assert_eq!(receiver.len(), pushed);
        }
        for left in (1..2 * CHANNEL_LENGTH).rev() {
            assert!(receiver.len() == left && receiver.try_recv().is_some());
        }
    }

    #[test]
    fn memory_is_freed_after_a_burst() {
        let (sender, mut receiver) = handover();
        for number in 0..100 * CHANNEL_LENGTH {
            sender.push(number).unwrap();
        }
        while receiver.try_recv().is_some() {}
        assert_eq!(receiver.taken.capacity(), 0);
        assert_eq!(sender.shared.ends.lock().queue.capacity(), 0);
    }

    #[test]
    fn after_the_end_pushes_fail_and_queued_messages_are_dropped() {
        let message = Arc::new(());
        let (sender, mut receiver) = handover();
        for _ in 0..2 * CHANNEL_LENGTH {
            sender.push(Arc::clone(&message)).unwrap();
        }
        drop(receiver.try_recv());
        sender.disconnect();
        assert!(sender.push(Arc::clone(&message)).is_err());
        drop(receiver);
        assert_eq!(Arc::strong_count(&message), 1);
    }

    #[test]
    fn without_a_receiver_pushes_fail() {
        let (sender, receiver) = handover();
        drop(receiver);
        assert_eq!(sender.push(1), Err(1));
    }
}
