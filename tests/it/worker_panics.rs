//! A sender thread that panics: every call that waits returns an error.

use std::time::{Duration, Instant};

use kafka_producer::internals::{log_all_again, panic_where_logged};
use kafka_producer::mock::{Fault, MockApi, MockCluster};
use kafka_producer::{Delivery, Error, ErrorKind};

use crate::support::{Gate, PATIENCE, Producer, SOON, Watched, builder, cluster, deliver, record};

/// While this lives, a sender thread that logs a line with the address panics. Drop it before another cluster can get the
/// address.
struct PanicWhereLogged(String);

impl PanicWhereLogged {
    fn start(address: String) -> Self {
        log::set_max_level(log::LevelFilter::Info);
        panic_where_logged(&address);
        Self(address)
    }
}

impl Drop for PanicWhereLogged {
    fn drop(&mut self) {
        log_all_again(&self.0);
    }
}

/// Holds every Produce request until the gate is dropped, and then ends its connection, which is logged.
fn hold_requests(cluster: &MockCluster) -> Gate {
    let (gate, hold) = Gate::new();
    cluster.on(MockApi::Produce, move |_| {
        hold.wait();
        Fault::Disconnect
    });
    gate
}

/// Sends until a record is refused; waits for memory before that. Returns the error.
fn send_until_refused(producer: &Producer) -> Error {
    loop {
        if let Err(refused) = producer.send(record(1, vec![0; 10_000])) {
            return refused.error().clone();
        }
    }
}

#[test]
fn when_a_sender_thread_panics_every_call_that_waits_returns_an_error() {
    let cluster = cluster(1, 2);
    let producer = builder(&cluster)
        .buffer_memory(64 << 10)
        .batch_size(16 << 10)
        .build()
        .unwrap();
    deliver(&producer, 0, "known").unwrap();
    let _panics = PanicWhereLogged::start(cluster.bootstrap_servers());

    let gate = hold_requests(&cluster);
    let in_flight = producer.send(record(0, "in flight")).unwrap();
    assert!(
        cluster.wait_until(PATIENCE, |cluster| cluster.request_count(MockApi::Produce)
            == 2)
    );
    let callbacks = Watched::<Vec<ErrorKind>>::default();
    let queued = {
        let callbacks = callbacks.clone();
        let callback = move |result: Result<_, kafka_producer::Error>| {
            callbacks.change(|callbacks| callbacks.push(result.unwrap_err().kind()));
        };
        producer
            .send_with(record(0, vec![0; 10_000]), callback)
            .unwrap()
    };
    std::thread::scope(|scope| {
        let (started, start) = std::sync::mpsc::channel();
        let fills = scope.spawn({
            let producer = producer.clone();
            move || {
                started.send(()).unwrap();
                send_until_refused(&producer)
            }
        });
        let flushes = scope.spawn(|| producer.flush(PATIENCE));
        let waits = scope.spawn(|| in_flight.get(PATIENCE));
        start.recv().unwrap();
        assert!(producer.flush(Duration::from_millis(50)).is_err());
        drop(gate);
        let asked = Instant::now();
        let error = waits.join().unwrap().unwrap_err();
        assert_eq!(
            (error.kind(), error.delivery()),
            (ErrorKind::Internal, Delivery::MaybeWritten)
        );
        assert_eq!(fills.join().unwrap().kind(), ErrorKind::Internal);
        let flushed = flushes.join().unwrap();
        assert_eq!(flushed.unwrap_err().kind(), ErrorKind::Internal);
        assert!(asked.elapsed() < SOON);
    });
    assert_eq!(queued.get(SOON).unwrap_err().kind(), ErrorKind::Internal);
    callbacks.wait(|callbacks| callbacks.len() == 1);
    assert_eq!(callbacks.get(), [ErrorKind::Internal]);
    let refused = producer.send(record(1, "late")).unwrap_err();
    assert_eq!(refused.error().kind(), ErrorKind::Internal);
    let start = Instant::now();
    assert!(producer.close(PATIENCE).is_err(), "it was not delivered");
    assert!(start.elapsed() < SOON);
}
