//! Buffers for serializers that write, kept by each thread from one record to the next.

use std::cell::Cell;

/// The buffers of one record, and what else is kept of it while it is sent.
#[derive(Default)]
pub(super) struct Scratch {
    pub(super) key: Vec<u8>,
    pub(super) value: Vec<u8>,
    /// The number of its headers before serializers could add to them.
    pub(super) headers_before: usize,
}

thread_local! {
    static SCRATCH: Cell<Option<Box<Scratch>>> = const { Cell::new(None) };
    static MANY: Cell<Vec<Scratch>> = const { Cell::new(Vec::new()) };
}

/// One large record does not make a thread hold on to its size.
const MOST_KEPT_BYTES: usize = 64 * 1024;

/// The same where there are many.
const MOST_KEPT_BYTES_OF_MANY: usize = 4 * 1024;

impl Scratch {
    /// Takes this thread's buffers out. A serializer that sends itself, and a thread at its end, get new ones.
    #[inline]
    pub(super) fn take() -> Box<Self> {
        let taken = SCRATCH.try_with(Cell::take).ok().flatten();
        taken.unwrap_or_default()
    }

    #[inline]
    pub(super) fn put_back(self: Box<Self>) {
        if self.capacity() <= MOST_KEPT_BYTES {
            let _ = SCRATCH.try_with(|place| place.set(Some(self)));
        }
    }

    /// As [`take`](Self::take), the buffers of `count` records at least.
    pub(super) fn take_many(count: usize) -> Vec<Self> {
        let mut many = MANY.try_with(Cell::take).unwrap_or_default();
        many.resize_with(many.len().max(count), Self::default);
        many
    }

    /// Of which the first `used` were used.
    pub(super) fn put_many_back(mut many: Vec<Self>, used: usize) {
        for scratch in many.iter_mut().take(used) {
            if scratch.capacity() > MOST_KEPT_BYTES_OF_MANY {
                *scratch = Self::default();
            }
        }
        let _ = MANY.try_with(|place| place.set(many));
    }

    fn capacity(&self) -> usize {
        self.key.capacity() + self.value.capacity()
    }
}
