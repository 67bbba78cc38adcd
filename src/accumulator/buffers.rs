//! A pool of buffers for whole batches. Without it, callers would allocate buffers and workers would free them. That would
//! take a large part of the time of both, and they would wait for each other in the allocator.

use std::sync::atomic::{AtomicUsize, Ordering};

use crate::sync::Mutex;

/// The limit of the pool: its buffers take at most `buffer.memory / KEPT_PART` bytes, in addition to `buffer.memory`.
const KEPT_PART: usize = 16;

/// A pool of buffers of one size.
pub(crate) struct BufferPool {
    /// The most bytes that the buffers in the pool may take together.
    most_bytes: usize,
    /// The size of the buffers; 0 if the pool keeps none.
    size: AtomicUsize,
    idle: Mutex<Vec<Vec<u8>>>,
}

impl BufferPool {
    /// Makes a pool for a budget of `buffer_memory` bytes.
    pub(crate) fn new(buffer_memory: usize) -> Self {
        Self {
            most_bytes: buffer_memory / KEPT_PART,
            size: AtomicUsize::new(0),
            idle: Mutex::default(),
        }
    }

    /// Makes the pool keep buffers of exactly this size from now on.
    pub(crate) fn keep(&self, size: usize) {
        self.size.store(size, Ordering::Relaxed);
    }

    /// Frees all buffers, and makes the pool keep none from now on.
    pub(crate) fn close(&self) {
        self.keep(0);
        self.idle.lock().clear();
    }

    /// Returns an empty buffer of this capacity.
    pub(crate) fn take(&self, capacity: usize) -> Vec<u8> {
        let kept = match capacity == self.size.load(Ordering::Relaxed) {
            true => self.idle.lock().pop(),
            false => None,
        };
        kept.unwrap_or_else(|| Vec::with_capacity(capacity))
    }

    /// Keeps a buffer that nothing reads any more, or frees it.
    pub(crate) fn return_buffer(&self, mut buffer: Vec<u8>) {
        let size = self.size.load(Ordering::Relaxed);
        if size == 0 || buffer.capacity() != size {
            return;
        }
        buffer.clear();
        let mut idle = self.idle.lock();
        // The size is read again under the lock, under which `close` empties the list. A buffer that is not kept is freed
        // after the lock is released.
        if self.size.load(Ordering::Relaxed) == size && (idle.len() + 1) * size <= self.most_bytes {
            idle.push(buffer);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn buffers_of_the_size_are_reused_empty() {
        let pool = BufferPool::new(1 << 20);
        pool.keep(1000);
        let mut buffer = pool.take(1000);
        buffer.extend_from_slice(b"old");
        let address = buffer.as_ptr();
        pool.return_buffer(buffer);
        let again = pool.take(1000);
        assert_eq!(
            (again.as_ptr(), again.len(), again.capacity()),
            (address, 0, 1000)
        );
    }

    #[test]
    fn keeps_no_other_sizes_and_no_more_than_a_part_of_the_budget() {
        let pool = BufferPool::new(16 * 2500);
        pool.return_buffer(Vec::with_capacity(1000));
        pool.keep(1000);
        pool.return_buffer(Vec::with_capacity(999));
        assert_eq!(pool.idle.lock().len(), 0);
        for _ in 0..5 {
            pool.return_buffer(Vec::with_capacity(1000));
        }
        assert_eq!(pool.idle.lock().len(), 2);
        assert_eq!(pool.take(500).capacity(), 500);
        pool.close();
        pool.return_buffer(Vec::with_capacity(1000));
        assert_eq!(pool.idle.lock().len(), 0);
    }
}
