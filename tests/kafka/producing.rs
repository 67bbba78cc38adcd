//! What the tests share: producers of bytes, and the comparison of sent records with what Kafka's consumer reads.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use kafka_producer::{Error, KafkaProducer, ProducerRecord, RecordMetadata};

use crate::support::kafka::{ConsumedRecord, KafkaCluster};

pub(crate) type BytesProducer = KafkaProducer<Vec<u8>, Vec<u8>>;
pub(crate) type BytesRecord = ProducerRecord<Vec<u8>, Vec<u8>>;

/// The timeout for what a healthy cluster does within a second.
pub(crate) const SOON: Duration = Duration::from_secs(30);

/// A producer with these properties; the others have their defaults.
pub(crate) fn producer(kafka: &KafkaCluster, settings: &[(&str, &str)]) -> BytesProducer {
    let mut builder = BytesProducer::builder().bootstrap_servers(kafka.bootstrap_servers());
    for (name, value) in settings {
        builder = builder
            .set(name, value)
            .unwrap_or_else(|error| panic!("{name}={value}: {error}"));
    }
    builder.build().expect("a producer")
}

/// A producer with just these settings.
pub(crate) fn producer_of(settings: &[(String, String)]) -> Result<BytesProducer, Error> {
    let mut builder = BytesProducer::builder();
    for (name, value) in settings {
        builder = builder.set(name, value)?;
    }
    builder.build()
}

/// A record whose value begins with its number and compresses well.
pub(crate) fn numbered(topic: &str, partition: i32, number: usize) -> BytesRecord {
    let value = format!("{number:08} {}", "forest defense ".repeat(6));
    record(topic, value)
        .partition(partition)
        .key(format!("key {}", number % 7).into_bytes())
}

pub(crate) fn record(topic: &str, value: impl Into<Vec<u8>>) -> BytesRecord {
    BytesRecord::new(topic.to_owned(), value.into())
}

/// Sends one record and returns its outcome, also if `send` refuses it.
pub(crate) fn outcome(
    producer: &BytesProducer,
    record: BytesRecord,
) -> Result<RecordMetadata, Error> {
    producer.send(record)?.get(SOON)
}

/// Sends all records, then waits for each.
pub(crate) fn deliver(producer: &BytesProducer, records: &[BytesRecord]) -> Vec<RecordMetadata> {
    let futures: Vec<_> = records
        .iter()
        .map(|record| producer.send(record.clone()).expect("a record taken"))
        .collect();
    producer.flush(SOON).expect("a flush");
    futures
        .into_iter()
        .map(|future| future.get(SOON).expect("a delivered record"))
        .collect()
}

/// Checks that the topic holds exactly these records, each at the partition and offset of its metadata.
pub(crate) fn assert_holds(
    kafka: &KafkaCluster,
    topic: &str,
    records: &[BytesRecord],
    metadata: &[RecordMetadata],
) {
    let consumed = kafka.consume(topic);
    assert_eq!(consumed.len(), records.len(), "records in {topic}");
    for (record, metadata) in records.iter().zip(metadata) {
        let position = (metadata.partition(), metadata.offset().expect("an offset"));
        let found = consumed
            .iter()
            .find(|candidate| (candidate.partition, candidate.offset) == position);
        let found = found.unwrap_or_else(|| panic!("nothing at {position:?} in {topic}"));
        assert_same(record, found);
        assert_eq!(metadata.topic(), topic);
        assert_eq!(metadata.timestamp(), Some(found.timestamp));
        assert_eq!(
            metadata.serialized_key_size(),
            record.key.as_ref().map(Vec::len)
        );
        assert_eq!(
            metadata.serialized_value_size(),
            record.value.as_ref().map(Vec::len)
        );
    }
}

/// Checks that a partition holds exactly these records, in this order.
pub(crate) fn assert_sequence<'a>(
    records: impl IntoIterator<Item = &'a BytesRecord>,
    consumed: impl IntoIterator<Item = &'a ConsumedRecord>,
) {
    let (records, consumed): (Vec<_>, Vec<_>) = (
        records.into_iter().collect(),
        consumed.into_iter().collect(),
    );
    assert_eq!(records.len(), consumed.len());
    records
        .iter()
        .zip(&consumed)
        .for_each(|(record, found)| assert_same(record, found));
    assert!(
        consumed
            .iter()
            .map(|found| found.offset)
            .eq(0..records.len() as i64),
        "the offsets have gaps"
    );
}

pub(crate) fn assert_same(record: &BytesRecord, found: &ConsumedRecord) {
    let position = (found.partition, found.offset);
    let headers: Vec<_> = record
        .headers
        .iter()
        .map(|h| (h.key().to_owned(), h.value().map(<[u8]>::to_vec)))
        .collect();
    // Without assert_eq, which would print a megabyte.
    assert!(
        record.key == found.key,
        "another key at {position:?}: {:?}",
        found.key
    );
    assert!(
        record.value == found.value,
        "another value at {position:?}, of {:?} bytes",
        found.value.as_ref().map(Vec::len)
    );
    assert_eq!(headers, found.headers, "headers at {position:?}");
    if record.partition.is_some() {
        assert_eq!(record.partition, Some(found.partition));
    }
}

/// Milliseconds since 1970.
pub(crate) fn now_ms() -> i64 {
    SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .expect("a clock after 1970")
        .as_millis() as i64
}
