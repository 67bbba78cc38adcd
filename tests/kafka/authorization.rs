//! What a rule about topics or about the cluster refuses: told at once, for that topic alone, and over once the rule is gone.

use std::error::Error as _;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use kafka_producer::{Error, ErrorCode, ErrorKind, Future};

use crate::Tests;
use crate::producing::{BytesProducer, SOON, outcome, producer_of, record};
use crate::support::kafka::{
    Acl, AclResource, KafkaCluster, KafkaVersion, Listener, Mechanism, Operation,
};

/// For a cluster with [`Listener::SaslPlaintext`].
pub(crate) const TESTS: Tests = &[
    (
        "a_topic_that_may_not_be_described_is_refused_alone_until_it_may",
        |kafka| for_each_kind(kafka, "describe", a_topic_that_may_not_be_described),
    ),
    (
        "a_topic_that_may_not_be_written_is_refused_alone_until_it_may",
        |kafka| for_each_kind(kafka, "write", a_topic_that_may_not_be_written),
    ),
    (
        "idempotent_writes_are_refused_until_they_are_allowed",
        idempotent_writes_are_refused_until_they_are_allowed,
    ),
];

/// Far less than `max.block.ms` and `delivery.timeout.ms`.
const AT_ONCE: Duration = Duration::from_secs(10);

/// A producer as alice, about whom the rules are.
fn producer(kafka: &KafkaCluster, idempotent: bool) -> BytesProducer {
    let mut settings = kafka.settings(Listener::SaslPlaintext, Some(Mechanism::Plain));
    for (name, value) in [
        ("enable.idempotence", idempotent.to_string()),
        ("metadata.max.age.ms", "300".to_owned()),
        // The records of both topics share requests.
        ("linger.ms", "20".to_owned()),
        ("sender.threads", "1".to_owned()),
    ] {
        settings.push((name.to_owned(), value));
    }
    producer_of(&settings).expect("a producer")
}

/// A producer, the topic that rules are about, and one that is sent to all the time, by the same producer.
struct Topics<'a> {
    kafka: &'a KafkaCluster,
    producer: BytesProducer,
    ruled: String,
    free: String,
}

/// Runs a test with idempotence and without, at the same time.
fn for_each_kind(kafka: &KafkaCluster, what: &str, test: fn(&Topics<'_>)) {
    thread::scope(|scope| {
        for idempotent in [true, false] {
            scope.spawn(move || beside_another_topic(kafka, what, idempotent, test));
        }
    });
}

/// Runs a test. Meanwhile the same producer delivers to another topic, in order.
fn beside_another_topic(kafka: &KafkaCluster, what: &str, idempotent: bool, test: fn(&Topics<'_>)) {
    let name = |topic: &str| format!("authorization-{what}-{idempotent}-{topic}");
    let topics = Topics {
        kafka,
        producer: producer(kafka, idempotent),
        ruled: name("ruled"),
        free: name("free"),
    };
    for topic in [&topics.ruled, &topics.free] {
        kafka.create_topic(topic, 1, 1, &[]);
    }
    let over = AtomicBool::new(false);
    let count = thread::scope(|scope| {
        let sending = scope.spawn(|| topics.send_to_free_until(&over));
        let end = SetOnDrop(&over);
        test(&topics);
        drop(end);
        sending.join().expect("each record delivered")
    });
    let expected: Vec<_> = (0..count).map(|number| number.to_string()).collect();
    assert_eq!(values(kafka, &topics.free), expected, "{}", topics.free);
}

/// A rule that goes with its test, also with one that fails: others use the same cluster.
struct Rule<'a> {
    kafka: &'a KafkaCluster,
    acl: Acl,
}

impl<'a> Rule<'a> {
    fn add(kafka: &'a KafkaCluster, acl: Acl) -> Self {
        kafka.add_acl(&acl);
        Self { kafka, acl }
    }
}

impl Drop for Rule<'_> {
    fn drop(&mut self) {
        let removed = catch_unwind(AssertUnwindSafe(|| self.kafka.remove_acl(&self.acl)));
        assert!(removed.is_ok() || thread::panicking(), "{:?}", self.acl);
    }
}

/// Ends the sending also if the test fails.
struct SetOnDrop<'a>(&'a AtomicBool);

impl Drop for SetOnDrop<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

impl Topics<'_> {
    /// Sends numbers without a rule. No record may fail, or wait for long.
    fn send_to_free_until(&self, over: &AtomicBool) -> usize {
        let mut count = 0;
        while !over.load(Ordering::Relaxed) {
            let began = Instant::now();
            let numbers = count..count + 20;
            let send = |number: usize| {
                let sent = self.producer.send(record(&self.free, number.to_string()));
                sent.expect("a record accepted")
            };
            let sent: Vec<Future> = numbers.map(send).collect();
            count += sent.len();
            for future in sent {
                future.get(SOON).expect("a delivery");
            }
            assert!(began.elapsed() < AT_ONCE, "{:?}", began.elapsed());
        }
        count
    }

    fn deny(&self, operation: Operation) -> Rule<'_> {
        let acl = Acl::deny("User:alice", operation, AclResource::topic(&self.ruled));
        Rule::add(self.kafka, acl)
    }

    fn send(&self, value: &str) -> Result<(), Error> {
        outcome(&self.producer, record(&self.ruled, value)).map(drop)
    }

    /// Checks that the topic is refused at once, in words that say which one and what to do.
    fn assert_refused(&self, attempt: impl Fn() -> Result<(), Error>) {
        let began = Instant::now();
        let error = attempt().expect_err("a refusal");
        assert!(began.elapsed() < AT_ONCE, "{:?}: {error}", began.elapsed());
        assert_authorization(&error, ErrorCode::TOPIC_AUTHORIZATION_FAILED);
        let shown = error.to_string();
        for part in [&*self.ruled, "ask for the permission"] {
            assert!(shown.contains(part), "{part}: {shown}");
        }
        assert!(!shown.contains(&self.free), "{shown}");
    }
}

fn assert_authorization(error: &Error, code: ErrorCode) {
    let shown = format!("{error}: {:?}", error.source());
    assert_eq!(error.kind(), ErrorKind::Authorization, "{shown}");
    assert_eq!(error.broker_code(), Some(code.code()), "{shown}");
}

fn values(kafka: &KafkaCluster, topic: &str) -> Vec<String> {
    let records = kafka.consume(topic);
    records.iter().map(|r| r.text().to_owned()).collect()
}

fn a_topic_that_may_not_be_described(topics: &Topics<'_>) {
    let partitions_for = || topics.producer.partitions_for(&topics.ruled).map(drop);
    // First before the topic is known, then while it is in use.
    for round in ["first", "second"] {
        let rule = topics.deny(Operation::Describe);
        wait_until_refused(topics);
        topics.assert_refused(|| topics.send("refused"));
        topics.assert_refused(partitions_for);
        drop(rule);
        topics.send(round).expect("a delivery");
        partitions_for().expect("partitions");
    }
    assert_eq!(values(topics.kafka, &topics.ruled), ["first", "second"]);
}

/// A producer that knows a topic goes on until its metadata is old.
fn wait_until_refused(topics: &Topics<'_>) {
    let deadline = Instant::now() + SOON;
    while topics.producer.partitions_for(&topics.ruled).is_ok() {
        assert!(Instant::now() < deadline, "the topic is not refused");
        thread::park_timeout(Duration::from_millis(20));
    }
}

/// The metadata describes the topic all the time. Without the first rule, the second one would hide it, and a record that was
/// accepted just before that waits.
fn a_topic_that_may_not_be_written(topics: &Topics<'_>) {
    let resource = AclResource::topic(&topics.ruled);
    let described = Acl::allow("User:alice", Operation::Describe, resource.clone());
    let written = Acl::allow("User:alice", Operation::Write, resource);
    let _allowed = [described, written].map(|acl| Rule::add(topics.kafka, acl));
    let mut expected = Vec::new();
    for round in ["first", "second"] {
        let before = format!("before the {round}");
        topics.send(&before).expect("a delivery");
        let rule = topics.deny(Operation::Write);
        for _ in 0..3 {
            topics.assert_refused(|| topics.send("refused"));
        }
        drop(rule);
        let after = format!("after the {round}");
        topics.send(&after).expect("a delivery");
        expected.extend([before, after]);
    }
    assert_eq!(values(topics.kafka, &topics.ruled), expected);
}

/// Since 2.8 a broker also lets those write idempotently who may write to any topic (KIP-679).
fn idempotent_writes_are_refused_until_they_are_allowed(kafka: &KafkaCluster) {
    let topic = "authorization-idempotent";
    kafka.create_topic(topic, 1, 1, &[]);
    let is_old = kafka.version() == KafkaVersion::V2_4_1;
    let deny = |operation, resource| Rule::add(kafka, Acl::deny("User:alice", operation, resource));
    let running = producer(kafka, true);
    let send = |producer: &BytesProducer, value: &str| outcome(producer, record(topic, value));
    send(&running, "running").expect("a delivery");

    let cluster = deny(Operation::IdempotentWrite, AclResource::Cluster);
    let plain = producer(kafka, false);
    send(&plain, "plain").expect("a delivery without idempotence");
    let mut topics = Vec::new();
    if !is_old {
        send(&running, "running").expect("a delivery");
        send(&producer(kafka, true), "new").expect("a delivery");
        let described = Acl::allow("User:alice", Operation::Describe, AclResource::topic(topic));
        topics.push(Rule::add(kafka, described));
        topics.push(deny(Operation::Write, AclResource::topic("*")));
    }
    let new = producer(kafka, true);
    for _ in 0..2 {
        let began = Instant::now();
        let error = send(&new, "refused").expect_err("a refusal");
        assert!(began.elapsed() < AT_ONCE, "{:?}: {error}", began.elapsed());
        assert_authorization(&error, ErrorCode::CLUSTER_AUTHORIZATION_FAILED);
        let shown = error.to_string();
        let advice = "allow this client to write idempotently, or set enable.idempotence=false";
        assert!(shown.contains(advice), "{shown}");
        // Such a broker asks at each request.
        let error = send(&running, "refused").expect_err("a refusal");
        let code = match is_old {
            true => ErrorCode::CLUSTER_AUTHORIZATION_FAILED,
            false => ErrorCode::TOPIC_AUTHORIZATION_FAILED,
        };
        assert_authorization(&error, code);
    }
    drop(topics);
    drop(cluster);
    for producer in [&new, &running, &plain] {
        send(producer, "allowed").expect("a delivery");
    }
    let mut expected = vec!["running", "plain"];
    if !is_old {
        expected.extend(["running", "new"]);
    }
    expected.extend(["allowed"; 3]);
    assert_eq!(values(kafka, topic), expected);
}
