//! Many records in one call.

use std::collections::HashMap;
use std::time::Duration;

use kafka_producer::mock::{Fault, MockApi, MockCluster};
use kafka_producer::{
    BoxError, Cluster, ErrorCode, ErrorKind, Headers, Partitioner, ProducerRecord, serializer_fn,
};

use crate::support::{PATIENCE, Record, builder, cluster, deliver, producer, record, values};

#[test]
fn send_all_stops_at_a_refused_record_and_loses_none() {
    let cluster = cluster(1, 1);
    let producer = builder(&cluster).max_request_size(1000).build().unwrap();
    let mut records: Vec<Record> = (0..10).map(|index| record(0, index.to_string())).collect();
    records[4].value = Some(vec![0; 2000]);
    let (futures, refused, remaining) = producer.send_all(records).unwrap_err().into_parts();
    assert_eq!((futures.len(), remaining.len()), (4, 5));
    assert_eq!(refused.error().kind(), ErrorKind::RecordTooLarge);
    let refused = refused.into_record();
    assert_eq!(
        (refused.value.unwrap().len(), refused.timestamp),
        (2000, None)
    );
    for future in futures
        .into_iter()
        .chain(producer.send_all(remaining).unwrap())
    {
        future.get(PATIENCE).unwrap();
    }
    assert_eq!(
        values(&cluster, 0),
        ["0", "1", "2", "3", "5", "6", "7", "8", "9"]
    );
}

#[test]
fn the_records_of_one_call_can_be_waited_for_together_or_one_by_one() {
    let cluster = cluster(1, 3);
    let producer = producer(&cluster);
    let records = (0..500).map(|index| record(index % 3, index.to_string()));
    let futures = producer.send_all(records).unwrap();
    futures.wait(PATIENCE).unwrap();
    assert!(futures.are_done());
    assert_eq!((futures.len(), futures.iter().len()), (500, 500));
    for (index, future) in (&futures).into_iter().enumerate() {
        let metadata = future.get(Duration::ZERO).unwrap();
        let position = (metadata.partition(), metadata.offset());
        assert_eq!(position, (index as i32 % 3, Some(index as i64 / 3)));
    }
    let last = futures.get(499).unwrap().try_get().unwrap().unwrap();
    assert_eq!(last.offset(), Some(166));
    assert!(futures.get(500).is_none());
}

#[test]
fn the_first_error_of_the_records_of_one_call_is_returned() {
    let cluster = cluster(1, 2);
    let producer = producer(&cluster);
    deliver(&producer, 0, "known").unwrap();
    // No batch lingers here: the second record may be in a batch of its own.
    cluster.on(MockApi::Produce, |_| {
        Fault::Error(ErrorCode::INVALID_RECORD)
    });
    let futures = producer
        .send_all([record(0, "refused"), record(0, "too")])
        .unwrap();
    let error = futures.wait(PATIENCE).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::InvalidRecord, "{error}");
    assert!(
        futures
            .into_iter()
            .all(|future| future.try_get().unwrap().is_err())
    );
    let futures = producer.send_all(std::iter::empty()).unwrap();
    assert!(futures.is_empty() && futures.are_done());
    futures.wait(Duration::ZERO).unwrap();
}

#[test]
fn records_of_an_iterator_that_waits_are_sent_at_once() {
    let cluster = cluster(1, 1);
    let producer = producer(&cluster);
    let (sender, receiver) = std::sync::mpsc::channel();
    sender.send(record(0, "first")).unwrap();
    std::thread::scope(|scope| {
        let call = scope.spawn(|| producer.send_all(receiver).unwrap());
        let arrived = cluster.wait_until(PATIENCE, |_| values(&cluster, 0) == ["first"]);
        assert!(arrived, "the first record waits for the second");
        sender.send(record(0, "second")).unwrap();
        drop(sender);
        call.join().unwrap().wait(PATIENCE).unwrap();
    });
    assert_eq!(values(&cluster, 0), ["first", "second"]);
}

#[test]
fn headers_that_serializers_added_to_records_not_accepted_are_removed() {
    let cluster = cluster(1, 1);
    let mark = |_: &str, headers: &mut Headers, value: &Vec<u8>, bytes: &mut Vec<u8>| {
        headers.add("serialized", "yes");
        bytes.extend_from_slice(value);
        match value.is_empty() {
            true => Err("nothing to serialize".into()),
            false => Ok(()),
        }
    };
    let producer = builder(&cluster)
        .value_serializer(serializer_fn(mark))
        .build()
        .unwrap();
    let records = ["a", "b", "", "c"].map(|value| record(0, value));
    let (futures, refused, remaining) = producer.send_all(records).unwrap_err().into_parts();
    futures.wait(PATIENCE).unwrap();
    assert_eq!(refused.error().kind(), ErrorKind::Serialization);
    assert!(refused.into_record().headers.is_empty());
    assert!(remaining.iter().all(|record| record.headers.is_empty()));
    let written = cluster.records("t", 0);
    assert_eq!((written.len(), remaining.len()), (2, 1));
    assert!(written.iter().all(|record| record.headers.len() == 1));
}

#[test]
fn records_of_all_kinds_keep_their_order_in_each_partition() {
    let cluster = MockCluster::builder()
        .default_partitions(4)
        .start()
        .unwrap();
    for with_partitioner in [false, true] {
        let mut builder = builder(&cluster).batch_size(2_000);
        if with_partitioner {
            builder = builder.partitioner(ByLength);
        }
        let producer = builder.build().unwrap();
        let topics = ["a", "b"].map(|name| format!("{name}-{with_partitioner}"));
        let records: Vec<Record> = (0..3_000_usize)
            .map(|number| {
                // Some records do not fit into the open batch, and some need a batch of their own.
                let padding =
                    [10, 30, 400, 3_000][usize::from(number % 17 == 0) * (1 + number % 3)];
                let value = format!("{number:05}{}", "-".repeat(padding));
                let record = ProducerRecord::new(topics[number / 50 % 2].clone(), value.into());
                match number / 10 % 3 {
                    0 => record,
                    1 => record.key(vec![(number % 5) as u8]),
                    _ => record.partition((number % 4) as i32),
                }
            })
            .collect();
        let mut expected: HashMap<(String, i32), Vec<String>> = HashMap::new();
        let futures = producer.send_all(records.clone()).unwrap();
        futures.wait(PATIENCE).unwrap();
        for (future, record) in futures.iter().zip(&records) {
            let metadata = future.get(PATIENCE).unwrap();
            let position = (metadata.topic().to_owned(), metadata.partition());
            let in_partition = expected.entry(position).or_default();
            assert_eq!(metadata.offset(), Some(in_partition.len() as i64));
            let value = String::from_utf8(record.value.clone().unwrap()).unwrap();
            in_partition.push(value);
        }
        for ((topic, partition), expected) in expected {
            let written: Vec<_> = cluster
                .records(&topic, partition)
                .iter()
                .map(|record| String::from_utf8(record.value.clone().unwrap()).unwrap())
                .collect();
            assert!(
                written == expected,
                "{topic}-{partition} is in another order"
            );
        }
    }
}

struct ByLength;

impl Partitioner for ByLength {
    fn partition(
        &self,
        topic: &str,
        _key: Option<&[u8]>,
        value: Option<&[u8]>,
        cluster: &Cluster,
    ) -> Result<i32, BoxError> {
        let partitions = cluster
            .topic(topic)
            .map_or(1, |topic| topic.partitions().len());
        Ok((value.map_or(0, <[u8]>::len) % partitions) as i32)
    }
}

#[test]
fn a_thread_sends_to_topics_of_one_name_in_two_clusters() {
    let clusters = [cluster(1, 1), cluster(1, 1)];
    let producers = clusters.each_ref().map(producer);
    for number in 0..20 {
        for (index, producer) in producers.iter().enumerate() {
            producer
                .send(record(0, format!("{index} {number}")))
                .unwrap();
        }
    }
    for (index, producer) in producers.iter().enumerate() {
        producer.flush(PATIENCE).unwrap();
        let written = values(&clusters[index], 0);
        let expected: Vec<_> = (0..20).map(|number| format!("{index} {number}")).collect();
        assert_eq!(written, expected);
    }
}

#[test]
fn a_wait_that_is_too_short_reports_a_timeout_although_other_records_have_failed() {
    let cluster = cluster(2, 2);
    let producer = producer(&cluster);
    for partition in 0..2 {
        deliver(&producer, partition, "known").unwrap();
    }
    cluster.on(MockApi::Produce, |request| match request.broker() {
        0 => Fault::Error(ErrorCode::INVALID_RECORD),
        _ => Fault::NoAnswer,
    });
    let futures = producer.send_all([record(0, "a"), record(1, "b")]).unwrap();
    let refused = futures.get(0).unwrap().get(PATIENCE).unwrap_err();
    assert_eq!(refused.kind(), ErrorKind::InvalidRecord);
    let error = futures.wait(Duration::from_millis(5)).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Timeout);
    assert!(error.to_string().contains("after 5 ms"), "{error}");
    let _ = producer.close(Duration::ZERO);
    let error = futures.wait(PATIENCE).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::InvalidRecord);
}

#[test]
fn an_iterator_may_announce_too_many_records() {
    struct Boaster(Option<Record>);
    impl Iterator for Boaster {
        type Item = Record;
        fn next(&mut self) -> Option<Record> {
            self.0.take()
        }
        fn size_hint(&self) -> (usize, Option<usize>) {
            (usize::MAX, None)
        }
    }
    let cluster = cluster(1, 1);
    let producer = producer(&cluster);
    let futures = producer.send_all(Boaster(Some(record(0, "v")))).unwrap();
    futures.wait(PATIENCE).unwrap();
    assert_eq!(
        (futures.len(), values(&cluster, 0)),
        (1, vec!["v".to_owned()])
    );
}
