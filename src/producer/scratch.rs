//! Buffers for serializers that write, kept by each thread from one record to the next.

use std::cell::Cell;

/// The buffers of one record.
#[derive(Default)]
pub(super) struct Scratch {
    pub(super) key: Vec<u8>,
    pub(super) value: Vec<u8>,
}

thread_local! {
    static SCRATCH: Cell<Option<Box<Scratch>>> = const { Cell::new(None) };
    static MANY: Cell<Vec<Scratch>> = const { Cell::new(Vec::new()) };
}

/// One large record does not make a thread hold on to its size.
const MOST_KEPT_BYTES: usize = 64 * 1024;

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

    pub(super) fn put_many_back(many: Vec<Self>) {
        if many.iter().map(Self::capacity).sum::<usize>() <= MOST_KEPT_BYTES {
            let _ = MANY.try_with(|place| place.set(many));
        }
    }

    fn capacity(&self) -> usize {
        self.key.capacity() + self.value.capacity()
    }
}
