//! For clients of an async runtime, called from ordinary threads as all others are.

use std::pin::{Pin, pin};
use std::task::{Context, Poll, Waker};

/// What `future` comes to. Most calls of `send` have nothing to wait for, and are spared what `wait`, a runtime's
/// `block_on`, costs.
pub fn now_or_wait<F: Future>(future: F, wait: impl FnOnce(Pin<&mut F>) -> F::Output) -> F::Output {
    let mut future = pin!(future);
    match future
        .as_mut()
        .poll(&mut Context::from_waker(Waker::noop()))
    {
        Poll::Ready(output) => output,
        Poll::Pending => wait(future),
    }
}
