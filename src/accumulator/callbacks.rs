//! The delivery callbacks of a batch's records.
//!
//! Nearly always all callbacks of a batch have one type: the type of the one closure with which a program sends to this
//! topic. They are in a list of this type, which needs no allocation for each callback and no indirect calls. The first
//! callback of another type, and all callbacks after it, are boxed.

use std::any::Any;

use super::batch::{CompletedRecord, RecordDetails};
use super::completion::{Completion, Outcome};
use crate::threads::catch_panic;
use crate::threads::logging::log_line;

/// A callback of any type.
pub(crate) type RecordCallback = Box<dyn FnOnce(CompletedRecord<'_>) + Send>;

/// A function that is called once, with its record's outcome. It calls the user's callback.
pub(crate) trait Callback: FnOnce(CompletedRecord<'_>) + Send + 'static {}

impl<F: FnOnce(CompletedRecord<'_>) + Send + 'static> Callback for F {}

/// The callback of a record, if it has one. The caller keeps it until the record is in a batch.
pub(crate) trait OfferedCallback {
    /// The memory that the callback takes. 0 if there is no callback.
    fn bytes(&self) -> usize;

    /// Moves the callback to `callbacks`, which must have room for it.
    fn give_to(&mut self, callbacks: &mut Callbacks, index: u32, details: RecordDetails);
}

/// For a record without a callback.
pub(crate) struct NoCallback;

impl OfferedCallback for NoCallback {
    #[inline]
    fn bytes(&self) -> usize {
        0
    }

    #[inline]
    fn give_to(&mut self, _: &mut Callbacks, _: u32, _: RecordDetails) {}
}

impl<F: Callback> OfferedCallback for Option<F> {
    #[inline]
    fn bytes(&self) -> usize {
        self.as_ref().map_or(0, |_| bytes_of::<F>())
    }

    #[inline]
    fn give_to(&mut self, callbacks: &mut Callbacks, index: u32, details: RecordDetails) {
        if let Some(callback) = self.take() {
            callbacks.push(index, details, callback);
        }
    }
}

/// The callbacks of a batch, in the order of its records.
#[derive(Default)]
pub(crate) struct Callbacks {
    /// The first callbacks, which are of one type.
    alike: Option<Box<dyn AnyCallbackList>>,
    /// The first callback of another type, and all after it.
    boxed: CallbackList<RecordCallback>,
    used_bytes: usize,
    /// The memory that is reserved for further callbacks.
    free_bytes: usize,
}

impl Callbacks {
    #[inline]
    pub(crate) fn is_empty(&self) -> bool {
        self.used_bytes == 0
    }

    /// The reserved memory that the callbacks use.
    #[inline]
    pub(crate) fn used_bytes(&self) -> usize {
        self.used_bytes
    }

    /// Returns whether the reserved memory suffices for a callback of this many bytes.
    #[inline]
    pub(crate) fn has_room(&self, bytes: usize) -> bool {
        bytes <= self.free_bytes
    }

    /// Adds memory that the batch has reserved for callbacks.
    pub(crate) fn add_room(&mut self, bytes: usize) {
        self.free_bytes += bytes;
    }

    /// Adds the callback of the record at `index`, which is the latest record.
    #[inline]
    fn push<F: Callback>(&mut self, index: u32, details: RecordDetails, callback: F) {
        let bytes = bytes_of::<F>();
        debug_assert!(self.has_room(bytes));
        self.used_bytes += bytes;
        self.free_bytes = self.free_bytes.saturating_sub(bytes);
        if let Some(alike) = self.alike_of::<F>() {
            if alike.has_capacity() {
                return alike.push(index, details, callback);
            }
        }
        self.push_and_grow(index, details, callback);
    }

    /// Returns the list of the first callbacks, if it is of this type and no callback of another type has followed.
    #[inline]
    fn alike_of<F: Callback>(&mut self) -> Option<&mut CallbackList<F>> {
        match &mut self.alike {
            Some(alike) if self.boxed.0.is_empty() => alike.as_any_mut().downcast_mut(),
            _ => None,
        }
    }

    /// Adds a callback for which the list has no capacity. The list grows as far as the reserved memory allows.
    #[cold]
    fn push_and_grow<F: Callback>(&mut self, index: u32, details: RecordDetails, callback: F) {
        /// The most entries by which the list of boxed callbacks grows at a time. The next boxes may be larger than
        /// expected and need the memory that more entries would take.
        const MOST_NEW_BOXED: usize = 8;

        let more = 1 + self.free_bytes / bytes_of::<F>();
        if self.is_first() {
            self.alike = Some(Box::<CallbackList<F>>::default());
        }
        if let Some(alike) = self.alike_of::<F>() {
            alike.0.reserve_exact(more);
            return alike.push(index, details, callback);
        }
        if self.boxed.0.is_empty() {
            if let Some(alike) = &mut self.alike {
                alike.shrink_to_fit();
            }
        }
        if !self.boxed.has_capacity() {
            let more = more.min(MOST_NEW_BOXED);
            self.boxed.0.reserve_exact(more);
        }
        self.boxed.push(index, details, Box::new(callback));
    }

    fn is_first(&self) -> bool {
        self.alike.is_none() && self.boxed.0.is_empty()
    }

    /// Takes the callbacks of the records `first..end`, for a batch that begins with `first`. These records must be the
    /// first ones that have callbacks here.
    pub(crate) fn take_part(&mut self, first: u32, end: u32) -> Callbacks {
        let mut part = Callbacks::default();
        if let Some(alike) = &mut self.alike {
            let (list, bytes) = alike.take_part(first, end);
            if bytes > 0 {
                part.alike = Some(list);
                part.used_bytes = bytes;
            }
        }
        part.boxed = self.boxed.split_off_part(first, end);
        let of_boxed = |pending: &PendingCallback<RecordCallback>| {
            BOXED_BYTES + size_of_val(&*pending.callback)
        };
        part.used_bytes += part.boxed.0.iter().map(of_boxed).sum::<usize>();
        self.used_bytes = self.used_bytes.saturating_sub(part.used_bytes);
        part
    }

    /// Calls each callback with the outcome of its record, in order.
    pub(crate) fn run(self, completion: &Completion, outcome: &Outcome) {
        if let Some(alike) = self.alike {
            alike.run(completion, outcome);
        }
        self.boxed.call_each(completion, outcome);
    }
}

/// The memory of a boxed callback in addition to its own size: its entry in the list, and the bytes that an allocator adds
/// to a box.
const BOXED_BYTES: usize = size_of::<PendingCallback<RecordCallback>>() + 16;

/// The memory of a callback of this type, boxed or not.
const fn bytes_of<F>() -> usize {
    let (boxed, alike) = (
        BOXED_BYTES + size_of::<F>(),
        size_of::<PendingCallback<F>>(),
    );
    if boxed > alike { boxed } else { alike }
}

struct PendingCallback<F> {
    index: u32,
    details: RecordDetails,
    callback: F,
}

/// Callbacks of one type, in the order of their records.
struct CallbackList<F>(Vec<PendingCallback<F>>);

impl<F> Default for CallbackList<F> {
    fn default() -> Self {
        Self(Vec::new())
    }
}

/// A list of callbacks of some type.
trait AnyCallbackList: Send {
    fn as_any_mut(&mut self) -> &mut dyn Any;

    fn shrink_to_fit(&mut self);

    #[cfg(test)]
    fn held_bytes(&self) -> usize;

    /// Takes callbacks as [`Callbacks::take_part`] does. Also returns the memory that they use.
    fn take_part(&mut self, first: u32, end: u32) -> (Box<dyn AnyCallbackList>, usize);

    fn run(self: Box<Self>, completion: &Completion, outcome: &Outcome);
}

impl<F> CallbackList<F> {
    #[inline]
    fn has_capacity(&self) -> bool {
        self.0.len() < self.0.capacity()
    }

    #[inline]
    fn push(&mut self, index: u32, details: RecordDetails, callback: F) {
        self.0.push(PendingCallback {
            index,
            details,
            callback,
        });
    }

    fn split_off_part(&mut self, first: u32, end: u32) -> Self {
        let count = self.0.partition_point(|pending| pending.index < end);
        let rest = self.0.split_off(count);
        let mut part = std::mem::replace(&mut self.0, rest);
        part.shrink_to_fit();
        for pending in &mut part {
            pending.index -= first;
        }
        Self(part)
    }
}

impl<F: Callback> CallbackList<F> {
    /// Calls each callback. If one panics, the next callbacks still run.
    fn call_each(self, completion: &Completion, outcome: &Outcome) {
        let mut pending = self.0.into_iter();
        while pending.len() > 0 {
            let run = || {
                for PendingCallback {
                    index,
                    details,
                    callback,
                } in &mut pending
                {
                    callback(CompletedRecord {
                        completion,
                        details,
                        result: outcome.of_record(index),
                    });
                }
            };
            if catch_panic(run).is_none() {
                log_line!(log::Level::Error, target: "kafka_producer", "a delivery callback panicked; the next callbacks still run");
            }
        }
    }
}

impl<F: Callback> AnyCallbackList for CallbackList<F> {
    fn as_any_mut(&mut self) -> &mut dyn Any {
        self
    }

    fn shrink_to_fit(&mut self) {
        self.0.shrink_to_fit();
    }

    #[cfg(test)]
    fn held_bytes(&self) -> usize {
        self.0.capacity() * size_of::<PendingCallback<F>>()
    }

    fn take_part(&mut self, first: u32, end: u32) -> (Box<dyn AnyCallbackList>, usize) {
        let part = self.split_off_part(first, end);
        let bytes = part.0.len() * bytes_of::<F>();
        (Box::new(part), bytes)
    }

    fn run(self: Box<Self>, completion: &Completion, outcome: &Outcome) {
        self.call_each(completion, outcome);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::accumulator::completion::WrittenBatch;
    use crate::sync::Mutex;
    use std::sync::Arc;

    type Calls = Arc<Mutex<Vec<(u32, i64)>>>;

    /// Callbacks of three alternating types, which note the number of their record and the offset.
    fn callbacks(numbers: impl Iterator<Item = u32>, calls: &Calls) -> Callbacks {
        let mut callbacks = Callbacks::default();
        for (index, number) in (0..).zip(numbers) {
            let calls = Arc::clone(calls);
            let note = move |completed: CompletedRecord<'_>| {
                let offset = completed.result.unwrap().offset.unwrap();
                calls.lock().push((number, offset));
            };
            let more = [number; 3];
            match number / 8 % 3 {
                0 => offer(&mut callbacks, index, note),
                1 => offer(
                    &mut callbacks,
                    index,
                    move |completed: CompletedRecord<'_>| {
                        assert_eq!(more, [number; 3]);
                        note(completed);
                    },
                ),
                _ => {
                    let boxed: RecordCallback = Box::new(note);
                    offer(&mut callbacks, index, boxed);
                }
            }
        }
        callbacks
    }

    fn offer<F: Callback>(callbacks: &mut Callbacks, index: u32, callback: F) {
        let mut offered = Some(callback);
        let bytes = offered.bytes();
        if !callbacks.has_room(bytes) {
            callbacks.add_room(bytes + 200);
        }
        offered.give_to(callbacks, index, RecordDetails::default());
        assert_eq!(offered.bytes(), 0, "it was taken");
        assert!(
            callbacks.held_bytes() <= callbacks.used_bytes + callbacks.free_bytes,
            "more is held than is reserved"
        );
    }

    impl Callbacks {
        fn held_bytes(&self) -> usize {
            let of_boxed = |pending: &PendingCallback<RecordCallback>| {
                BOXED_BYTES + size_of_val(&*pending.callback)
            };
            let alike = self.alike.as_ref().map_or(0, |alike| alike.held_bytes());
            alike + self.boxed.0.iter().map(of_boxed).sum::<usize>()
        }
    }

    fn run(callbacks: Callbacks, calls: &Calls) -> Vec<(u32, i64)> {
        let completion = Completion::new(&"t".into(), 0, crate::threads::InstanceId::new());
        let outcome = Outcome::Written(WrittenBatch {
            base_offset: Some(100),
            log_append_time_ms: None,
        });
        callbacks.run(&completion, &outcome);
        std::mem::take(&mut *calls.lock())
    }

    #[test]
    fn callbacks_of_many_types_run_in_the_order_of_their_records() {
        for first in [0, 8, 16] {
            let calls = Calls::default();
            let callbacks = callbacks(first..first + 60, &calls);
            let expected: Vec<_> = (first..first + 60).zip(100..).collect();
            assert_eq!(run(callbacks, &calls), expected);
        }
    }

    #[test]
    fn the_parts_of_a_split_batch_have_the_callbacks_of_their_records() {
        for ends in [[5, 30], [8, 9], [1, 59], [20, 40]] {
            let calls = Calls::default();
            let mut whole = callbacks(0..60, &calls);
            let used = whole.used_bytes();
            let (mut first, mut of_parts) = (0, 0);
            for end in ends.into_iter().chain([60]) {
                let part = whole.take_part(first, end);
                of_parts += part.used_bytes();
                let expected: Vec<_> = (first..end).zip(100..).collect();
                assert_eq!(run(part, &calls), expected);
                first = end;
            }
            assert!(whole.is_empty() && of_parts == used);
            assert!(whole.take_part(60, 61).is_empty());
        }
    }

    #[test]
    fn a_callback_that_panics_does_not_stop_the_others() {
        let calls = Calls::default();
        let mut callbacks = Callbacks::default();
        for index in 0..20 {
            let calls = Arc::clone(&calls);
            let callback = move |_: CompletedRecord<'_>| {
                calls.lock().push((index, 0));
                assert!(index % 3 == 0, "the panic that this test wants");
            };
            offer(&mut callbacks, index, callback);
        }
        let expected: Vec<_> = (0..20).map(|index| (index, 0)).collect();
        assert_eq!(run(callbacks, &calls), expected);
    }

    #[test]
    fn callbacks_that_do_not_run_are_dropped() {
        let calls = Calls::default();
        drop(callbacks(0..60, &calls));
        assert_eq!(Arc::strong_count(&calls), 1);
    }
}
