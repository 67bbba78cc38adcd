//! Calls that callbacks and the program's logger may make: both run on the producer's own threads.

use std::sync::mpsc;
use std::time::Duration;

use kafka_producer::mock::{Fault, MockApi, PartitionError};
use kafka_producer::{Delivery, ErrorCode, ErrorKind, Future};

use crate::support::{
    Gate, PATIENCE, Producer, SOON, Watched, builder, cluster, deliver, get_all, producer, record,
    values,
};

#[test]
fn records_sent_by_callbacks_that_hold_the_last_producers_are_delivered() {
    let cluster = cluster(1, 2);
    let producer = producer(&cluster);
    let audits = Watched::<Vec<_>>::default();
    for index in 0..20 {
        let (again, audits) = (producer.clone(), audits.clone());
        let callback = move |_| {
            let audit = again.send(record(1, index.to_string()));
            audits.change(|audits| audits.push(audit.unwrap()));
        };
        drop(producer.send_with(record(0, "v"), callback).unwrap());
    }
    drop(producer);
    audits.wait(|audits| audits.len() == 20);
    get_all(audits.change(std::mem::take));
    assert_eq!(values(&cluster, 1).len(), 20);
    assert!(cluster.wait_until(PATIENCE, |cluster| cluster.connections(0) == 0));
}

#[test]
fn the_last_producer_dropped_in_a_callback_has_the_usual_time() {
    let cluster = cluster(1, 2);
    let producer = producer(&cluster);
    let (hand_over, handed_over) = mpsc::channel::<(Producer, Gate)>();
    let (begin, begun) = mpsc::channel();
    let callback = move |_| {
        begin.send(()).unwrap();
        let (last, gate) = handed_over.recv_timeout(PATIENCE).unwrap();
        drop(last);
        // No broker answers the requests in flight before the drop.
        drop(gate);
    };
    let first = producer.send_with(record(0, "first"), callback).unwrap();
    begun.recv_timeout(PATIENCE).unwrap();
    let (gate, hold) = Gate::new();
    cluster.on(MockApi::Produce, move |_| {
        hold.wait();
        Fault::Pass
    });
    let in_flight: Vec<_> = (0..100)
        .map(|_| producer.send(record(1, vec![b'v'; 1000])).unwrap())
        .collect();
    hand_over.send((producer, gate)).unwrap();
    first.get(PATIENCE).unwrap();
    get_all(in_flight);
    assert!(cluster.wait_until(PATIENCE, |cluster| cluster.connections(0) == 0));
}

#[test]
fn close_in_a_callback_does_not_wait_and_leaves_the_others_their_time() {
    let cluster = cluster(2, 2);
    let (gate, hold) = Gate::new();
    cluster.on(MockApi::Produce, move |request| {
        if request.broker() == 1 {
            hold.wait();
        }
        Fault::Pass
    });
    let producer = producer(&cluster);
    let in_flight = producer.send(record(1, "in flight")).unwrap();
    let (answer, answered) = mpsc::channel();
    let callback = {
        let producer = producer.clone();
        move |_| {
            let closed = producer.close(PATIENCE);
            let refused = producer.send(record(0, "late")).map(drop);
            answer
                .send((closed, refused.unwrap_err().error().kind()))
                .unwrap();
        }
    };
    let first = producer.send_with(record(0, "first"), callback).unwrap();
    let (closed, refused) = answered.recv_timeout(PATIENCE).unwrap();
    assert_eq!(closed.unwrap_err().kind(), ErrorKind::InvalidArgument);
    assert_eq!(refused, ErrorKind::Closed);
    first.get(PATIENCE).unwrap();
    assert!(!in_flight.is_done());
    drop(gate);
    in_flight.get(PATIENCE).unwrap();
    producer.close(PATIENCE).unwrap();
}

#[test]
fn close_in_a_callback_fails_records_not_delivered_in_its_time() {
    let cluster = cluster(2, 2);
    cluster.on(MockApi::Produce, |request| match request.broker() {
        1 => Fault::NoAnswer,
        _ => Fault::Pass,
    });
    let producer = producer(&cluster);
    let stuck = producer.send(record(1, "stuck")).unwrap();
    assert!(
        cluster.wait_until(PATIENCE, |cluster| cluster.request_count(MockApi::Produce)
            == 1)
    );
    let callback = {
        let producer = producer.clone();
        move |_| drop(producer.close(Duration::ZERO))
    };
    let first = producer.send_with(record(0, "first"), callback).unwrap();
    first.get(PATIENCE).unwrap();
    let error = stuck.get(PATIENCE).unwrap_err();
    assert_eq!(
        (error.kind(), error.delivery()),
        (ErrorKind::ForceClosed, Delivery::MaybeWritten)
    );
}

#[test]
fn a_callback_may_wait_for_another_producer() {
    let cluster = cluster(1, 2);
    let (first, other) = (producer(&cluster), producer(&cluster));
    let (answer, answered) = mpsc::channel();
    let callback = move |_| {
        let got = other.send(record(1, "got")).unwrap().get(PATIENCE);
        let flushed = other
            .send(record(1, "flushed"))
            .map(|future| (other.flush(PATIENCE), future.is_done()));
        let in_flight: Vec<_> = (0..100)
            .map(|_| other.send(record(1, vec![b'v'; 1000])).unwrap())
            .collect();
        let closed = other.close(PATIENCE);
        let are_done = in_flight.iter().all(|future| future.is_done());
        answer
            .send((got, flushed.unwrap(), closed, are_done))
            .unwrap();
    };
    let sent = first.send_with(record(0, "v"), callback).unwrap();
    sent.get(PATIENCE).unwrap();
    let (got, (flushed, is_done), closed, are_done) = answered.recv_timeout(PATIENCE).unwrap();
    got.unwrap();
    flushed.unwrap();
    closed.unwrap();
    assert!(is_done && are_done);
    assert_eq!(values(&cluster, 1).len(), 102);
}

#[test]
fn a_callback_does_not_wait_for_its_own_producers_metadata() {
    let cluster = cluster(1, 1);
    cluster.on(MockApi::Produce, |_| Fault::Pass);
    let producer = builder(&cluster).max_block(PATIENCE).build().unwrap();
    deliver(&producer, 0, "known").unwrap();
    cluster.on(MockApi::Metadata, |_| Fault::NoAnswer);
    let (answer, answered) = mpsc::channel();
    let callback = {
        let producer = producer.clone();
        move |_| {
            let unknown = kafka_producer::ProducerRecord::new("unknown", b"v".to_vec());
            let refused = producer.send(unknown).unwrap_err();
            let asked = producer.partitions_for("unknown").unwrap_err();
            answer.send([refused.error().kind(), asked.kind()]).unwrap();
        }
    };
    let sent = producer.send_with(record(0, "v"), callback).unwrap();
    let kinds = answered.recv_timeout(SOON).unwrap();
    assert_eq!(kinds, [ErrorKind::MetadataTimeout; 2]);
    sent.get(PATIENCE).unwrap();
}

/// The broker refuses partition 0. Callers fill the memory with records for it and wait for more, and each record's
/// callback sends a copy to partition 1.
#[test]
fn callbacks_send_again_although_callers_wait_for_the_full_memory() {
    const CALLERS: usize = 4;
    let cluster = cluster(1, 2);
    let producer = builder(&cluster)
        .buffer_memory(64 << 10)
        .max_in_flight_requests_per_connection(1)
        .build()
        .unwrap();
    deliver(&producer, 1, "known").unwrap();
    let (gate, hold) = Gate::new();
    cluster.on(MockApi::Produce, move |_| {
        hold.wait();
        let refused = PartitionError::new("t", 0, ErrorCode::INVALID_RECORD);
        Fault::PartitionErrors(vec![refused])
    });
    let (sent, refused) = (Watched::<usize>::default(), Watched::<usize>::default());
    let copies = Watched::<Vec<Future>>::default();
    let send_all = || {
        for _ in 0..200 {
            let again = producer.clone();
            let (refused, copies) = (refused.clone(), copies.clone());
            let callback = move |_| match again.send(record(1, vec![b'c'; 100])) {
                Ok(copy) => copies.change(|copies| copies.push(copy)),
                Err(_) => refused.change(|refused| *refused += 1),
            };
            drop(
                producer
                    .send_with(record(0, vec![b'v'; 100]), callback)
                    .unwrap(),
            );
            sent.change(|sent| *sent += 1);
        }
    };
    std::thread::scope(|scope| {
        (0..CALLERS).for_each(|_| drop(scope.spawn(send_all)));
        // A part of the 64 KiB is in use: all callers wait in the end.
        sent.wait(|sent| *sent > 150);
        drop(gate);
    });
    producer.flush(PATIENCE).unwrap();
    let copies = copies.change(std::mem::take);
    assert_eq!(copies.len() + refused.get(), 200 * CALLERS);
    // If a copy begins another batch than its neighbour, memory may not suffice for all.
    assert!(copies.len() > 100 * CALLERS, "{} refused", refused.get());
    get_all(copies);
}

/// The callback hands its record to another thread, which sends it, and waits for the outcome.
#[test]
fn a_callback_may_wait_for_another_thread_that_waits_for_memory() {
    let cluster = cluster(1, 2);
    let producer = builder(&cluster).buffer_memory(64 << 10).build().unwrap();
    deliver(&producer, 1, "known").unwrap();
    let (gate, hold) = Gate::new();
    cluster.on(MockApi::Produce, move |_| {
        hold.wait();
        Fault::Pass
    });
    let (hand_over, handed_over) = mpsc::channel::<mpsc::Sender<bool>>();
    let helper = std::thread::spawn({
        let producer = producer.clone();
        move || {
            for answer in handed_over {
                let sent = producer.send(record(1, vec![b'c'; 20_000]));
                let _ = answer.send(sent.is_ok());
            }
        }
    });
    let answers = Watched::<Vec<bool>>::default();
    for _ in 0..2 {
        let (hand_over, answers) = (hand_over.clone(), answers.clone());
        let callback = move |_| {
            let (answer, answered) = mpsc::channel();
            hand_over.send(answer).unwrap();
            let is_sent = answered.recv_timeout(PATIENCE);
            answers.change(|answers| answers.push(is_sent == Ok(true)));
        };
        let value = vec![b'v'; 20_000];
        drop(producer.send_with(record(0, value), callback).unwrap());
    }
    drop((gate, hand_over));
    answers.wait(|answers| answers.len() == 2);
    assert_eq!(answers.get(), [true; 2]);
    helper.join().unwrap();
    producer.close(PATIENCE).unwrap();
}

#[cfg(target_os = "linux")]
mod logger {
    use std::sync::{Mutex, OnceLock, PoisonError};

    use super::*;
    use crate::support::{builder, child};

    /// Sends each line with the producer that logs it, under a lock that the program holds elsewhere while it sends.
    struct Shipping {
        lock: Mutex<()>,
        lines: Watched<Vec<String>>,
        producer: OnceLock<Producer>,
    }

    impl log::Log for Shipping {
        fn enabled(&self, _: &log::Metadata<'_>) -> bool {
            true
        }

        fn log(&self, line: &log::Record<'_>) {
            let text = line.args().to_string();
            self.lines.change(|lines| lines.push(text.clone()));
            let _guard = self.lock.lock().unwrap_or_else(PoisonError::into_inner);
            if let Some(producer) = self.producer.get() {
                let _ = producer.send(record(1, text));
            }
        }

        fn flush(&self) {}
    }

    /// Runs in a process of its own, because a process has one logger.
    #[test]
    fn a_logger_that_sends_with_the_producer_under_the_programs_lock_causes_no_deadlock() {
        if child::addresses().is_none() {
            return child::run(
                "own_threads::logger::a_logger_that_sends_with_the_producer_under_the_programs_lock_causes_no_deadlock",
                "its own",
            );
        }
        let logger: &Shipping = Box::leak(Box::new(Shipping {
            lock: Mutex::new(()),
            lines: Watched::default(),
            producer: OnceLock::new(),
        }));
        log::set_logger(logger).unwrap();
        log::set_max_level(log::LevelFilter::Info);
        let cluster = cluster(1, 2);
        cluster.broker_down(0);
        let producer = builder(&cluster).build().unwrap();
        let _ = logger.producer.set(producer.clone());
        let app = std::thread::spawn({
            let producer = producer.clone();
            move || {
                let _guard = logger.lock.lock().unwrap();
                deliver(&producer, 0, "v")
            }
        });
        // The metadata thread logs about the broker while the `send` that waits for its answer holds the lock.
        logger.lines.wait(|lines| !lines.is_empty());
        cluster.broker_up(0).unwrap();
        app.join().unwrap().unwrap();
        // The loss of the connection is logged while the logger's lock is held; the record is still delivered.
        let guard = logger.lock.lock().unwrap();
        cluster.broker_down(0);
        cluster.broker_up(0).unwrap();
        deliver(&producer, 0, "v").unwrap();
        drop(guard);
        producer.close(PATIENCE).unwrap();
    }
}
