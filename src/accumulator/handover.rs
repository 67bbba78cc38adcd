//! The way of messages from callers to a worker: a bounded channel, and a queue behind it for what the channel has no place
//! for.
//!
//! A push happens under a partition's lock and must not block, so there has to be room for as many messages as the memory
//! budget lets exist. A channel allocates all its places when it is made: for the whole budget they took megabytes in a
//! producer that sends nothing. So the channel has few places, and the queue's room comes and goes with what is in it. Both
//! are bounded by the budget, because each message belongs to a batch that is charged with it.

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use crate::sync::{Mutex, channel};

/// The channel's places, of 24 bytes each. A worker is far behind when they are all taken. Tests have few, so that they meet
/// the queue.
const PLACES: usize = if cfg!(test) { 4 } else { 256 };

/// The callers' end.
pub(crate) struct HandoverSender<T> {
    shared: Arc<Shared<T>>,
}

/// The worker's end.
pub(crate) struct HandoverReceiver<T> {
    /// What was taken from the queue: older than all that is in the channel.
    taken: VecDeque<T>,
    channel: channel::Receiver<T>,
    shared: Arc<Shared<T>>,
}

struct Shared<T> {
    ends: Mutex<Ends<T>>,
    /// The length of the queue, changed under the lock.
    queued: AtomicUsize,
}

struct Ends<T> {
    /// None after the worker's end: its room is free then, even if a thread keeps a topic of this producer.
    channel: Option<channel::Sender<T>>,
    /// Younger than all that is in the channel: as long as anything is here, nothing is pushed there.
    queue: VecDeque<T>,
}

/// Both ends.
pub(crate) fn handover<T>() -> (HandoverSender<T>, HandoverReceiver<T>) {
    let (sender, receiver) = channel::bounded(PLACES);
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
    /// Never blocks. The message comes back after the worker's end.
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

    /// Called by the worker when it ends. Drops what is queued. What is in the channel, and the room it takes, goes when
    /// the worker drops its receiver.
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
    /// The oldest message, if there is any.
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

    /// At least all that was pushed before.
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
        // The channel was filled since it was found empty: that comes before the queue.
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
        // Bursts of all sizes, taken to a part, so that there is something in all three places.
        for burst in [1, PLACES, 10, 3 * PLACES, PLACES / 2, 5, 4 * PLACES] {
            for number in next.by_ref().take(burst) {
                assert_eq!(sender.push(number), Ok(()));
            }
            for _ in 0..burst * 2 / 3 {
                assert_eq!(receiver.try_recv(), expected.next());
            }
        }
        let left = receiver.len();
        assert!(left > PLACES && !receiver.is_empty());
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
    fn what_was_pushed_is_there_to_be_taken() {
        let (sender, mut receiver) = handover();
        for pushed in 1..2 * PLACES {
            sender.push(pushed).unwrap();
            assert_eq!(receiver.len(), pushed);
        }
        for left in (1..2 * PLACES).rev() {
            assert!(receiver.len() == left && receiver.try_recv().is_some());
        }
    }

    #[test]
    fn room_is_free_again_when_a_burst_is_over() {
        let (sender, mut receiver) = handover();
        for number in 0..100 * PLACES {
            sender.push(number).unwrap();
        }
        while receiver.try_recv().is_some() {}
        assert_eq!(receiver.taken.capacity(), 0);
        assert_eq!(sender.shared.ends.lock().queue.capacity(), 0);
    }

    #[test]
    fn after_the_end_messages_come_back_and_those_in_between_are_dropped() {
        let message = Arc::new(());
        let (sender, mut receiver) = handover();
        for _ in 0..2 * PLACES {
            sender.push(Arc::clone(&message)).unwrap();
        }
        drop(receiver.try_recv());
        sender.disconnect();
        assert!(sender.push(Arc::clone(&message)).is_err());
        drop(receiver);
        assert_eq!(Arc::strong_count(&message), 1);
    }

    #[test]
    fn without_a_receiver_messages_come_back() {
        let (sender, receiver) = handover();
        drop(receiver);
        assert_eq!(sender.push(1), Err(1));
    }
}
