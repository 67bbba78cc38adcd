//! A sender that never lets its connection rest, while a test changes something: each record is a request of its own, and
//! `send` waits whenever a hundred of them wait.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::mpsc::{self, Receiver, Sender};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use kafka_producer::{ErrorKind, Future};

use crate::producing::{BytesProducer, SOON, producer_of, record};
use crate::support::kafka::{KafkaCluster, poll};

/// A load on a topic of one partition.
pub(crate) struct Load {
    topic: String,
    over: Arc<AtomicBool>,
    progress: Arc<Progress>,
    sending: JoinHandle<()>,
    receiving: JoinHandle<Pauses>,
}

#[derive(Default)]
struct Progress {
    sent: AtomicUsize,
    delivered: AtomicUsize,
}

/// What a user may notice.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Pauses {
    /// The longest time from one delivery to the next.
    pub(crate) between: Duration,
    /// The longest time from `send` to the delivery.
    pub(crate) delivery: Duration,
}

/// Together with the frame of a batch, a record fills one.
const VALUE_BYTES: usize = 400;

/// The settings that make a load of a producer.
const SETTINGS: [(&str, &str); 4] = [
    ("batch.size", "512"),
    ("linger.ms", "0"),
    ("buffer.memory", "65536"),
    ("sender.threads", "1"),
];

impl Load {
    /// Sends to a new topic until [`finish`](Self::finish).
    pub(crate) fn start(
        kafka: &KafkaCluster,
        topic: &str,
        mut settings: Vec<(String, String)>,
    ) -> Load {
        kafka.create_topic(topic, 1, 1, &[]);
        settings.extend(SETTINGS.map(|(name, value)| (name.to_owned(), value.to_owned())));
        let producer = producer_of(&settings).expect("a producer");
        let (over, progress) = (Arc::<AtomicBool>::default(), Arc::<Progress>::default());
        let (sent, results) = mpsc::channel();
        let sending = {
            let (topic, over, progress) = (topic.to_owned(), over.clone(), progress.clone());
            thread::spawn(move || send_until(&over, &producer, &topic, &progress, &sent))
        };
        let receiving = {
            let progress = Arc::clone(&progress);
            thread::spawn(move || receive(&results, &progress))
        };
        let load = Load {
            topic: topic.to_owned(),
            over,
            progress,
            sending,
            receiving,
        };
        load.wait_for_progress("the start");
        load
    }

    /// Waits until records are delivered that were not sent yet.
    pub(crate) fn wait_for_progress(&self, after: &str) {
        let sent = self.progress.sent.load(Ordering::Relaxed);
        let arrived = poll(SOON, || {
            assert!(
                !self.receiving.is_finished(),
                "a record failed after {after}"
            );
            (self.progress.delivered.load(Ordering::Relaxed) > sent + 100).then_some(())
        });
        assert!(arrived.is_some(), "nothing is delivered after {after}");
    }

    /// Ends the load, and checks that the topic holds each record once and in order.
    pub(crate) fn finish(self, kafka: &KafkaCluster) -> Pauses {
        self.over.store(true, Ordering::Relaxed);
        self.sending.join().expect("each record accepted");
        let pauses = self.receiving.join().expect("each record delivered");
        let count = self.progress.sent.load(Ordering::Relaxed);
        println!("{}: {count} records, {pauses:?}", self.topic);
        let consumed = kafka.consume(&self.topic);
        assert_eq!(consumed.len(), count, "records in {}", self.topic);
        let wrong = consumed
            .iter()
            .zip(0..)
            .find(|(record, number)| record.text().trim_end() != number.to_string());
        let wrong = wrong.map(|(record, number)| (record.text().trim_end(), number));
        assert!(wrong.is_none(), "{}: {wrong:?}", self.topic);
        pauses
    }
}

type Sent = (Instant, Future);

fn send_until(
    over: &AtomicBool,
    producer: &BytesProducer,
    topic: &str,
    progress: &Progress,
    sent: &Sender<Sent>,
) {
    while !over.load(Ordering::Relaxed) {
        let number = progress.sent.load(Ordering::Relaxed);
        let value = format!("{number:<VALUE_BYTES$}");
        let began = Instant::now();
        match producer.send(record(topic, value)) {
            Ok(future) => {
                progress.sent.store(number + 1, Ordering::Relaxed);
                if sent.send((began, future)).is_err() {
                    return;
                }
            }
            // Who waits for memory is told, and may send the record again.
            Err(refused) => {
                let kind = refused.error().kind();
                let is_told = matches!(kind, ErrorKind::Tls | ErrorKind::Authentication);
                assert!(is_told, "{}", refused.error());
                thread::park_timeout(Duration::from_millis(20));
            }
        }
    }
    producer.close(SOON).expect("a close");
}

fn receive(results: &Receiver<Sent>, progress: &Progress) -> Pauses {
    let mut pauses = Pauses::default();
    let mut last: Option<Instant> = None;
    for (began, future) in results {
        let result = future.get(2 * SOON);
        result.unwrap_or_else(|error| panic!("a record is not delivered: {error}"));
        let now = Instant::now();
        pauses.delivery = pauses.delivery.max(now - began);
        pauses.between = pauses
            .between
            .max(last.map_or(Duration::ZERO, |last| now - last));
        last = Some(now);
        progress.delivered.fetch_add(1, Ordering::Relaxed);
    }
    pauses
}
