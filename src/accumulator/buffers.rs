//! Buffers of whole batches, kept to be used again: allocated by callers and freed by workers, they would cost both a good
//! part of their time, and wait for each other in the allocator.

use std::sync::atomic::{AtomicUsize, Ordering};

use crate::sync::Mutex;

/// The kept buffers are beyond `buffer.memory`: at most this part of it.
const KEPT_PART: usize = 16;

/// Buffers of one size.
pub(crate) struct BufferPool {
    /// Bytes that buffers may take together.
    most_bytes: usize,
    /// 0: none are kept.
    size: AtomicUsize,
    idle: Mutex<Vec<Vec<u8>>>,
}

impl BufferPool {
    /// Of a budget of `buffer_memory`.
    pub(crate) fn new(buffer_memory: usize) -> Self {
        Self {
            most_bytes: buffer_memory / KEPT_PART,
            size: AtomicUsize::new(0),
            idle: Mutex::default(),
        }
    }

    /// Buffers of exactly that size are kept from now on.
    pub(crate) fn keep(&self, size: usize) {
        self.size.store(size, Ordering::Relaxed);
    }

    /// No buffer is kept any more.
    pub(crate) fn close(&self) {
        self.keep(0);
        self.idle.lock().clear();
    }

    /// An empty buffer of that capacity.
    pub(crate) fn take(&self, capacity: usize) -> Vec<u8> {
        let kept = match capacity == self.size.load(Ordering::Relaxed) {
            true => self.idle.lock().pop(),
            false => None,
        };
        kept.unwrap_or_else(|| Vec::with_capacity(capacity))
    }

    /// Keeps a buffer that nobody reads any more, or frees it.
    pub(crate) fn give_back(&self, mut buffer: Vec<u8>) {
        let size = self.size.load(Ordering::Relaxed);
        if size == 0 || buffer.capacity() != size {
            return;
        }
        buffer.clear();
        let mut idle = self.idle.lock();
        // Looked at again under the lock: a close empties the list under it. What is too much is freed without the lock.
        if self.size.load(Ordering::Relaxed) == size && (idle.len() + 1) * size <= self.most_bytes {
            idle.push(buffer);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn buffers_of_the_size_are_used_again_empty() {
        let pool = BufferPool::new(1 << 20);
        pool.keep(1000);
        let mut buffer = pool.take(1000);
        buffer.extend_from_slice(b"old");
        let address = buffer.as_ptr();
        pool.give_back(buffer);
        let again = pool.take(1000);
        assert_eq!(
            (again.as_ptr(), again.len(), again.capacity()),
            (address, 0, 1000)
        );
    }

    #[test]
    fn others_are_not_kept_and_no_more_than_a_part_of_the_budget() {
        let pool = BufferPool::new(16 * 2500);
        pool.give_back(Vec::with_capacity(1000));
        pool.keep(1000);
        pool.give_back(Vec::with_capacity(999));
        assert_eq!(pool.idle.lock().len(), 0);
        for _ in 0..5 {
            pool.give_back(Vec::with_capacity(1000));
        }
        assert_eq!(pool.idle.lock().len(), 2);
        assert_eq!(pool.take(500).capacity(), 500);
        pool.close();
        pool.give_back(Vec::with_capacity(1000));
        assert_eq!(pool.idle.lock().len(), 0);
    }
}
