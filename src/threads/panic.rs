//! Code that may panic, on a thread that must go on.

use std::panic::{AssertUnwindSafe, catch_unwind};

/// Returns what `body` returns; `None` if it panics. The payload of the panic is forgotten, because its destructor is code
/// of the user, too, and may panic.
pub(crate) fn catch_panic<T>(body: impl FnOnce() -> T) -> Option<T> {
    match catch_unwind(AssertUnwindSafe(body)) {
        Ok(result) => Some(result),
        Err(payload) => {
            std::mem::forget(payload);
            None
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_panic_whose_payload_panics_in_its_destructor_is_survived() {
        struct Bomb;
        impl Drop for Bomb {
            fn drop(&mut self) {
                panic!("a destructor");
            }
        }
        assert_eq!(catch_panic(|| 7), Some(7));
        assert_eq!(catch_panic(|| -> u8 { std::panic::panic_any(Bomb) }), None);
    }
}
