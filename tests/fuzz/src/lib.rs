//! What all targets share: an allocator that counts, and the limit of memory that hostile bytes may use.

use std::alloc::{GlobalAlloc, Layout, System};
use std::sync::atomic::{AtomicUsize, Ordering};

pub use libfuzzer_sys;

/// Makes the program of one target, which is a function of `kafka_producer::internals::fuzz`.
#[macro_export]
macro_rules! target {
    ($name:ident, $bytes_each:expr, $bytes_beside:expr) => {
        use $crate::libfuzzer_sys;
        libfuzzer_sys::fuzz_target!(
            init: $crate::write_seeds(stringify!($name)),
            |data: &[u8]| {
                let bound = $bytes_beside + $bytes_each * data.len();
                $crate::within(bound, || kafka_producer::internals::fuzz::$name(data));
            }
        );
    };
}

/// Writes the first inputs into the folder FUZZ_SEEDS, if that is set, and ends the process.
pub fn write_seeds(target: &str) {
    let Some(folder) = std::env::var_os("FUZZ_SEEDS") else {
        return;
    };
    let folder = std::path::Path::new(&folder);
    for (number, seed) in kafka_producer::internals::fuzz::seeds(target)
        .iter()
        .enumerate()
    {
        let file = folder.join(format!("seed-{number}"));
        std::fs::write(&file, seed).unwrap_or_else(|error| panic!("{}: {error}", file.display()));
    }
    std::process::exit(0);
}

/// Runs `target`, which may use up to `bound` bytes more than before, and must return all of them.
pub fn within(bound: usize, target: impl FnOnce()) {
    let before = ALLOCATOR.start();
    target();
    let (most, left) = ALLOCATOR.stop(before);
    assert!(
        most <= bound,
        "{most} bytes allocated where {bound} are enough"
    );
    assert!(left <= KEPT, "{left} bytes are not given back");
}

/// The memory that threads and their libraries allocate once and keep.
const KEPT: usize = 1 << 20;

#[global_allocator]
static ALLOCATOR: Counting = Counting {
    held: AtomicUsize::new(0),
    most: AtomicUsize::new(0),
};

/// Counts the allocated bytes, and their maximum.
struct Counting {
    held: AtomicUsize,
    most: AtomicUsize,
}

impl Counting {
    fn start(&self) -> usize {
        let held = self.held.load(Ordering::Relaxed);
        self.most.store(held, Ordering::Relaxed);
        held
    }

    /// The maximum and the current number of bytes, less those `before`.
    fn stop(&self, before: usize) -> (usize, usize) {
        let above = |value: &AtomicUsize| value.load(Ordering::Relaxed).saturating_sub(before);
        (above(&self.most), above(&self.held))
    }

    fn add(&self, bytes: usize) {
        let held = self
            .held
            .fetch_add(bytes, Ordering::Relaxed)
            .wrapping_add(bytes);
        self.most.fetch_max(held, Ordering::Relaxed);
    }
}

// Every call is passed to the system with the same arguments. A reallocation counts as both blocks at once, as it is if the
// block moves.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        self.add(layout.size());
        unsafe { System.alloc(layout) }
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        self.add(layout.size());
        unsafe { System.alloc_zeroed(layout) }
    }

    unsafe fn dealloc(&self, block: *mut u8, layout: Layout) {
        self.held.fetch_sub(layout.size(), Ordering::Relaxed);
        unsafe { System.dealloc(block, layout) }
    }

    unsafe fn realloc(&self, block: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        self.add(size);
        let moved = unsafe { System.realloc(block, layout, size) };
        self.held.fetch_sub(layout.size(), Ordering::Relaxed);
        moved
    }
}
