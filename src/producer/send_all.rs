//! `send_all`: neighbouring records of one partition are appended under one lock.

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

/// The most records that are serialized together.
const MOST_AT_ONCE: usize = 64;

/// The serialized bytes after which no more records are serialized together. They are not in a batch yet, and not part of
/// `buffer.memory`.
const MOST_BYTES_AT_ONCE: usize = 64 * 1024;

/// The most futures for which memory is allocated at the start, whatever size an iterator claims.
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
            // The iterator may take long to return records beyond its lower bound, so those up to the bound are sent first.
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

    /// Sends the records of `group` up to the first one that is refused. Adds the futures of those before it.
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

    /// Sends as many of the first records of `group` as may be serialized together, at least one.
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
        // Headers that serializers added to refused records are removed. Otherwise the records would have them twice when
        // they are sent again.
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
            let (first_handle, count) = match self.intake.append_run(records) {
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
            futures.push(first_handle, details);
            records = rest;
        }
        Ok(())
    }
}

/// The error of a `send_all` that stopped. `records` begins with the refused one.
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
        None => unreachable!("an error belongs to a record"),
    }
}
