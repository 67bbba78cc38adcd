//! Compression that takes longer than the timeouts, and slow writes: when each timeout begins, and which thread waits.

use std::cell::RefCell;
use std::rc::Rc;
use std::time::{Duration, Instant};

use super::handover::{Stage, set_up};
use crate::accumulator::callbacks::NoCallback;
use crate::connection::link::{LinkEvent, LinkId};
use crate::error::ErrorKind;
use crate::record::compression::{Compression, CompressionType, slowness};
use crate::sender::Event;
use crate::sender::scripted::{
    Harness, MS, ScriptedNetwork, Settings, Switches, TOPIC, Ticket, Wire, record_of, written,
};
use crate::sync::{Wakeup, channel};
use crate::time::{monotonic_now, set_monotonic_now};

const CODEC: CompressionType = CompressionType::Snappy;

/// Returns a worker whose codec takes `each_batch_ms` for a batch. `None` if the codec is not compiled in.
fn with_slow_codec(each_batch_ms: u32, choose: impl FnOnce(&mut Settings)) -> Option<Harness> {
    if !CODEC.is_compiled_in() {
        return None;
    }
    slowness::set(each_batch_ms * MS);
    Some(Harness::new(|settings| {
        settings.sender.topics.compression = Compression::with_default_level(CODEC);
        choose(settings);
    }))
}

#[test]
fn a_requests_time_counts_from_its_last_byte_and_not_from_the_compression_before() {
    let Some(mut worker) = with_slow_codec(200, |settings| settings.partitions = 4) else {
        return;
    };
    let begin = worker.now;
    (0..4).for_each(|partition| drop(worker.send_batch(partition, "a")));
    worker.run();
    assert_eq!(worker.now, begin + 800 * MS);
    assert_eq!(worker.requests().len(), 4);
    // The first was written after 200 ms.
    worker.run_for(399 * MS);
    assert!(worker.network().closed.is_empty());
    worker.run_for(MS);
    assert_eq!(worker.network().closed.len(), 1);
}

#[test]
fn a_batch_that_compresses_for_longer_than_the_request_timeout_is_sent_and_answered() {
    let Some(mut worker) = with_slow_codec(3000, |_| {}) else {
        return;
    };
    let ticket = worker.send_batch(0, "a");
    let request = worker.request();
    worker.run_for(999 * MS);
    assert!(worker.network().closed.is_empty());
    worker.serve(&request);
    assert_eq!(ticket.offset(), Some(0));
}

#[test]
fn a_slow_batch_goes_out_and_answers_are_read_before_the_next_is_compressed() {
    let Some(mut worker) = with_slow_codec(400, |settings| settings.partitions = 3) else {
        return;
    };
    let tickets = [0, 1, 2].map(|partition| worker.send_batch(partition, "a"));
    // The first round connects; each further round sends one batch.
    worker.run_once();
    for ticket in &tickets {
        assert_eq!(
            worker.run_once(),
            Some(worker.now - 400 * MS),
            "due at once"
        );
        let request = worker.requests().remove(0);
        assert_eq!(request.batches.len(), 1);
        let frame = crate::sender::scripted::answer_all(&request);
        let event = Event::Link(request.link, LinkEvent::Frame(frame));
        worker.mailbox.put(event);
        assert!(ticket.result().is_none());
        worker.run_once();
        assert!(ticket.result().unwrap().is_ok());
        if !worker.requests().is_empty() {
            break;
        }
    }
}

#[test]
fn brokers_are_served_in_order_if_compression_is_slow() {
    let Some(mut worker) = with_slow_codec(10, |settings| {
        settings.partitions = 6;
        settings.brokers = 3;
    }) else {
        return;
    };
    (0..6).for_each(|partition| drop(worker.send_batch(partition, "a")));
    worker.run();
    let brokers: Vec<i32> = worker.requests().iter().map(|sent| sent.broker).collect();
    assert_eq!(brokers, [1, 2, 3, 1, 2, 3]);
}

#[test]
fn a_quick_codec_does_not_make_more_requests() {
    let Some(mut worker) = with_slow_codec(0, |settings| settings.partitions = 6) else {
        return;
    };
    (0..6).for_each(|partition| drop(worker.send_batch(partition, "a")));
    assert_eq!(worker.request().batches.len(), 6);
}

/// Returns six batches of 400 ms each, with a delivery timeout of 1.3 s.
fn with_more_to_compress_than_there_is_time() -> Option<(Harness, Vec<Ticket>)> {
    let mut worker = with_slow_codec(400, |settings| {
        settings.partitions = 6;
        settings.sender.max_in_flight = 10;
        settings.sender.idempotence = false;
        settings.sender.request_timeout = 60_000 * MS;
        settings.sender.topics.delivery_timeout = 1300 * MS;
    })?;
    let tickets = (0..6).map(|partition| worker.send_batch(partition, "a"));
    let tickets = tickets.collect();
    worker.run();
    Some((worker, tickets))
}

#[test]
fn batches_that_wait_for_the_compression_of_others_do_not_expire() {
    let Some((mut worker, tickets)) = with_more_to_compress_than_there_is_time() else {
        return;
    };
    let requests = worker.requests();
    assert_eq!(requests.len(), 6);
    for request in requests {
        worker.serve(&request);
    }
    assert!(tickets.iter().all(|ticket| ticket.offset() == Some(0)));
}

#[test]
fn batches_expire_after_twice_their_time_even_if_compression_takes_longer() {
    let Some((mut worker, tickets)) = with_more_to_compress_than_there_is_time() else {
        return;
    };
    // 2400 of 2600 ms have passed.
    worker.run_for(199 * MS);
    assert!(tickets.iter().all(|ticket| ticket.result().is_none()));
    worker.run_for(MS);
    for ticket in tickets {
        assert_eq!(ticket.error().kind(), ErrorKind::DeliveryTimeout);
    }
}

#[test]
fn a_stalled_requests_time_counts_from_its_last_byte() {
    let mut worker = Harness::new(|_| {});
    worker.network().stalls = true;
    let ticket = worker.send_batch(0, "a");
    let request = worker.request();
    worker.run_for(900 * MS);
    worker.finish_write(request.link);
    worker.run_for(999 * MS);
    assert!(worker.network().closed.is_empty());
    worker.answer(&request, |_| written(0));
    assert_eq!(ticket.offset(), Some(0));
}

#[test]
fn a_write_with_progress_has_time_and_one_without_times_out() {
    let mut worker = Harness::new(|settings| settings.sender.topics.delivery_timeout = 60_000 * MS);
    worker.network().stalls = true;
    worker.send_batch(0, "a");
    let request = worker.request();
    for _ in 0..10 {
        worker.run_for(900 * MS);
        worker.post(Event::Link(request.link, LinkEvent::WriteProgress));
    }
    worker.run_for(999 * MS);
    assert!(worker.network().closed.is_empty());
    worker.run_for(MS);
    assert_eq!(worker.network().closed, [request.link]);
}

/// A worker whose rounds can be run by the thread of a link.
struct SharedWorker {
    stage: Stage<ScriptedNetwork<Switches>>,
    wire: Rc<RefCell<Wire<Switches>>>,
}

impl SharedWorker {
    fn new(settings: Settings) -> Self {
        let switches = Switches::new(&settings);
        let mut made = None;
        let stage = set_up(settings, |mailboxes| {
            let wire = made.insert(Wire::new(mailboxes, switches));
            ScriptedNetwork::new(0, wire)
        });
        let wire = made.expect("set_up makes the network");
        Self { stage, wire }
    }

    fn wakeup(&self) -> &Wakeup {
        self.stage.accumulator.workers()[0].wakeup()
    }

    fn append_batch(&self, partition: usize) {
        let value = "-".repeat(850);
        let record = record_of(value.as_bytes());
        self.stage.accumulator.topics.with(TOPIC, |topic| {
            topic.partitions()[partition].append(&record, false, &mut NoCallback, &mut None)
        });
    }

    /// Runs a round as the worker's own thread does.
    fn run_round(&self) {
        self.stage.worker.try_lock().unwrap().run_round();
    }

    /// The worker's thread sleeps, and the thread of the link reports something.
    fn report_on_the_links_thread(&self) {
        assert!(self.wakeup().falls_asleep(None, || false));
        let event = Event::Link(LINK, LinkEvent::WriteProgress);
        self.stage.worker.report(event);
    }

    fn closed(&self) -> Vec<LinkId> {
        self.wire.borrow().script.closed.clone()
    }
}

/// Otherwise the thread could not read its link in that time.
#[test]
fn a_links_thread_runs_no_round_that_may_compress_for_long() {
    let mut settings = Settings::default();
    settings.sender.topics.compression = Compression::with_default_level(CODEC);
    let worker = SharedWorker::new(settings);
    assert!(worker.wakeup().falls_asleep(None, || false));
    let (reply, replied) = channel::bounded(1);
    worker.stage.worker.report(Event::Flush(reply));
    assert!(replied.try_recv().is_err());
    assert!(worker.wakeup().is_woken());
}

const LINK: LinkId = LinkId(0);

/// Returns a worker with an unanswered request. The link's thread may run rounds, because the batch was quick to compress.
fn after_a_quick_batch() -> SharedWorker {
    let mut settings = Settings {
        partitions: 2,
        ..Settings::default()
    };
    settings.sender.topics.compression = Compression::with_default_level(CODEC);
    settings.sender.idempotence = false;
    set_monotonic_now(Instant::now());
    slowness::set(Duration::ZERO);
    let worker = SharedWorker::new(settings);
    worker.append_batch(0);
    // The first round connects, the second one writes.
    worker.run_round();
    worker.run_round();
    worker
}

/// The socket may hold the unread answer to the first request.
#[test]
fn a_link_whose_thread_compressed_a_slow_batch_is_read_before_its_requests_time_out() {
    if !CODEC.is_compiled_in() {
        return;
    }
    let worker = after_a_quick_batch();
    let begin = monotonic_now();
    worker.append_batch(1);
    slowness::set(3000 * MS);
    worker.report_on_the_links_thread();
    assert_eq!(monotonic_now(), begin + 3000 * MS, "compressed here");
    worker.run_round();
    assert!(worker.closed().is_empty());
    set_monotonic_now(begin + 3999 * MS);
    worker.run_round();
    assert!(worker.closed().is_empty());
    set_monotonic_now(begin + 4000 * MS);
    worker.run_round();
    assert_eq!(
        worker.closed(),
        [LINK],
        "the extra time is at most the duration of the round"
    );
}

/// The next slow batch may follow among quick ones.
#[test]
fn a_links_thread_leaves_rounds_to_the_worker_for_a_while_after_a_slow_batch() {
    if !CODEC.is_compiled_in() {
        return;
    }
    let worker = after_a_quick_batch();
    for (partition, slow_ms) in [(0, 2), (1, 0)] {
        slowness::set(slow_ms * MS);
        worker.append_batch(partition);
        worker.run_round();
    }
    slowness::set(3000 * MS);
    worker.append_batch(1);
    let begin = monotonic_now();
    worker.report_on_the_links_thread();
    assert_eq!(monotonic_now(), begin, "nothing was compressed here");
    assert!(worker.wakeup().is_woken());
}
