//! Buffers into which serializers write. Each thread keeps them from one record to the next.

use std::cell::Cell;

/// The buffers of one record, and other data that is needed while it is sent.
#[derive(Default)]
pub(super) struct Scratch {
    pub(super) key: Vec<u8>,
    pub(super) value: Vec<u8>,
    /// The number of its headers before serializers could add some.
    pub(super) headers_before: usize,
}

thread_local! {
    static SCRATCH: Cell<Option<Box<Scratch>>> = const { Cell::new(None) };
    static MANY: Cell<Vec<Scratch>> = const { Cell::new(Vec::new()) };
}

/// Larger buffers are freed, so that one large record does not hold memory for ever.
const MOST_KEPT_BYTES: usize = 64 * 1024;

/// The same for each of the buffers of `send_all`.
const MOST_KEPT_BYTES_OF_MANY: usize = 4 * 1024;

impl Scratch {
    /// Takes this thread's buffers. A serializer that itself sends a record gets new ones, and so does a thread that is
    /// ending.
    #[inline]
    pub(super) fn take() -> Box<Self> {
        let taken = SCRATCH.try_with(Cell::take).ok().flatten();
        taken.unwrap_or_default()
    }

    #[inline]
    pub(super) fn put_back(self: Box<Self>) {
        if self.capacity() <= MOST_KEPT_BYTES {
            let _ = SCRATCH.try_with(|kept| kept.set(Some(self)));
        }
    }

    /// As [`take`](Self::take), for at least `count` records.
    pub(super) fn take_many(count: usize) -> Vec<Self> {
        let mut many = MANY.try_with(Cell::take).unwrap_or_default();
        many.resize_with(many.len().max(count), Self::default);
        many
    }

    /// Puts back what [`take_many`](Self::take_many) returned, of which the first `used` were used.
    pub(super) fn put_many_back(mut many: Vec<Self>, used: usize) {
        for scratch in many.iter_mut().take(used) {
            if scratch.capacity() > MOST_KEPT_BYTES_OF_MANY {
                *scratch = Self::default();
            }
        }
        let _ = MANY.try_with(|kept| kept.set(many));
    }

    fn capacity(&self) -> usize {
        self.key.capacity() + self.value.capacity()
    }
}
