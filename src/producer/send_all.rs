//! Many records in one call: neighbours that belong to one partition are appended under one lock.

use crate::accumulator::callbacks::NoCallback;
use crate::error::Error;
use crate::time::wall_clock_ms;

use super::futures::Futures;
use super::intake::{Blocking, Outbound};
use super::kafka_producer::Inner;
use super::record::ProducerRecord;
use super::scratch::Scratch;
use super::send_all_error::SendAllError;
use super::send_error::SendError;

/// Records that are taken together.
const MOST_AT_ONCE: usize = 64;

/// Bytes of them: serializers may have written them, and they are in no batch yet, beyond `buffer.memory`.
const MOST_BYTES_AT_ONCE: usize = 64 * 1024;

/// Futures for which there is room at once, whatever an iterator promises.
const MOST_EXPECTED: usize = 4096;

impl<K, V> Inner<K, V> {
    pub(super) fn send_all(
        &self,
        records: impl Iterator<Item = ProducerRecord<K, V>>,
    ) -> Result<Futures, SendAllError<K, V>> {
        let mut records = records.fuse();
        let mut futures = Futures::with_capacity(records.size_hint().0.min(MOST_EXPECTED));
        let mut group = Vec::new();
        loop {
            // What the iterator does not promise may be long in coming.
            let at_once = records.size_hint().0.clamp(1, MOST_AT_ONCE);
            group.extend(records.by_ref().take(at_once));
            if group.is_empty() {
                return Ok(futures);
            }
            let before = futures.len();
            if let Err(error) = self.send_group(&mut group, &mut futures) {
                let taken = futures.len() - before;
                return Err(stopped(error, futures, group.drain(taken..).chain(records)));
            }
            group.clear();
        }
    }

    /// Sends the records of `group` up to the first that is refused, and adds the futures of those before it.
    fn send_group(
        &self,
        mut group: &mut [ProducerRecord<K, V>],
        futures: &mut Futures,
    ) -> Result<(), Error> {
        let now_ms = wall_clock_ms();
        while !group.is_empty() {
            let before = futures.len();
            self.send_some(group, now_ms, futures)?;
            group = &mut group[futures.len() - before..];
        }
        Ok(())
    }

    /// As many of the first of `group` as may be serialized at once; one at least.
    fn send_some(
        &self,
        group: &mut [ProducerRecord<K, V>],
        now_ms: i64,
        futures: &mut Futures,
    ) -> Result<(), Error> {
        let before = futures.len();
        let mut scratch = Scratch::take_many(group.len());
        let mut outbound = Vec::with_capacity(group.len());
        let mut refused = Ok(());
        let mut bytes = 0;
        for (record, scratch) in group.iter_mut().zip(&mut scratch) {
            scratch.headers_before = record.headers.len();
            match self.serialize(record, scratch) {
                Ok(serialized) => {
                    bytes += serialized.bytes();
                    outbound.push(Outbound {
                        timestamp_ms: serialized.timestamp_ms.or(Some(now_ms)),
                        ..serialized
                    });
                }
                Err(error) => {
                    refused = Err(error);
                    break;
                }
            }
            if bytes >= MOST_BYTES_AT_ONCE {
                break;
            }
        }
        let touched = outbound.len() + usize::from(refused.is_err());
        let outcome = self.append_group(&outbound, futures).and(refused);
        drop(outbound);
        let appended = futures.len() - before;
        // What serializers added to a record that was not taken goes: sent again, it would have it twice.
        for (record, scratch) in group.iter_mut().zip(&scratch).take(touched).skip(appended) {
            record.headers.truncate(scratch.headers_before);
        }
        Scratch::put_many_back(scratch, touched);
        outcome
    }

    fn append_group(
        &self,
        mut records: &[Outbound<'_>],
        futures: &mut Futures,
    ) -> Result<(), Error> {
        while let Some(first) = records.first() {
            let (placed, count) = match self.intake.append_run(records) {
                Some(appended) => appended,
                None => {
                    let blocking = Blocking::UpToMaxBlock;
                    (
                        self.intake
                            .append(first, &mut 0, &mut NoCallback, blocking)?,
                        1,
                    )
                }
            };
            let (appended, rest) = records.split_at(count);
            let details = appended.iter().map(|record| {
                let timestamp_ms = record.timestamp_ms.unwrap_or_default();
                record.details(timestamp_ms)
            });
            futures.push(placed, details);
            records = rest;
        }
        Ok(())
    }
}

/// With the refused record and those behind it.
#[cold]
fn stopped<K, V>(
    error: Error,
    futures: Futures,
    mut records: impl Iterator<Item = ProducerRecord<K, V>>,
) -> SendAllError<K, V> {
    match records.next() {
        Some(refused) => {
            SendAllError::new(futures, SendError::new(error, refused), records.collect())
        }
        None => unreachable!("an error is that of a record"),
    }
}
