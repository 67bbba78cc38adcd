use super::*;
use crate::metadata::{Broker, CallOutcome, ConnectedBroker, PartitionMetadata, TopicMetadata};

fn cluster_with(topic: &str, partitions: i32) -> Cluster {
    let partitions = (0..partitions)
        .map(|partition| PartitionMetadata {
            partition,
            leader: Some(1),
            leader_epoch: Some(3),
            replicas: vec![1],
            in_sync_replicas: vec![1],
            offline_replicas: vec![],
        })
        .collect();
    let metadata = TopicMetadata {
        name: topic.into(),
        id: None,
        is_internal: false,
        partitions,
    };
    Cluster {
        topics: [metadata].into_iter().collect(),
        ..Cluster::default()
    }
}

fn cache() -> Arc<MetadataCache> {
    struct Nobody;
    impl ClusterObserver for Nobody {
        fn before_publication(&self, _: &TopicChanges) {}
        fn after_publication(&self) {}
    }
    MetadataCache::new(Box::new(Nobody))
}

fn update(cluster: Cluster) -> Update {
    Update {
        cluster,
        errors: Vec::new(),
        is_incomplete: false,
        has_older_epochs: false,
    }
}

struct NoCalls;

const NO_CALLS: NoCalls = NoCalls;

impl BrokerCalls for NoCalls {
    fn due(&self, _: Instant) -> Due {
        Due::Never
    }
    fn call(&mut self, _: &mut ConnectedBroker<'_>) -> Result<CallOutcome, Error> {
        unreachable!("no call is due")
    }
}

/// Calls that are due when a test says so.
struct Calls(Arc<Mutex<Due>>);

impl BrokerCalls for Calls {
    fn due(&self, now: Instant) -> Due {
        match *self.0.lock() {
            Due::At(at) if at <= now => Due::Now,
            due => due,
        }
    }
    fn call(&mut self, _: &mut ConnectedBroker<'_>) -> Result<CallOutcome, Error> {
        unreachable!("there is no connection")
    }
}

const LONG: Duration = Duration::from_secs(30);

#[test]
fn a_caller_waits_until_its_topic_is_known() {
    let cache = cache();
    let waiter = {
        let cache = Arc::clone(&cache);
        std::thread::spawn(move || cache.wait_for_topic("t", Some(1), LONG, Instant::now() + LONG))
    };
    let pending = cache
        .wait_for_requests(Instant::now() + LONG, &NO_CALLS)
        .unwrap();
    assert!(pending.topics && !pending.refresh);
    let asked = cache.topics_to_ask(true, LONG, Instant::now(), |_| false);
    cache.answered(&asked, |_| update(cluster_with("t", 1)));
    // One partition is not enough: the topic is asked for again.
    assert!(
        cache
            .wait_for_requests(Instant::now() + LONG, &NO_CALLS)
            .unwrap()
            .topics
    );
    cache.answered(&asked, |_| update(cluster_with("t", 2)));
    assert_eq!(
        waiter
            .join()
            .unwrap()
            .unwrap()
            .topic("t")
            .unwrap()
            .partitions()
            .len(),
        2
    );
}

#[test]
fn an_error_that_waiting_does_not_cure_ends_the_wait_and_is_told_to_who_may_not_wait() {
    let cache = cache();
    let error = Error::new(ErrorKind::InvalidTopic, "no such name");
    let asked: Vec<Arc<str>> = vec!["t".into()];
    let waiter = {
        let cache = Arc::clone(&cache);
        std::thread::spawn(move || cache.wait_for_topic("t", None, LONG, Instant::now() + LONG))
    };
    cache
        .wait_for_requests(Instant::now() + LONG, &NO_CALLS)
        .unwrap();
    cache.answered(&asked, |_| Update {
        errors: vec![("t".into(), error)],
        ..update(Cluster::default())
    });
    assert_eq!(
        waiter.join().unwrap().unwrap_err().kind(),
        ErrorKind::InvalidTopic
    );
    let at_once = || cache.wait_for_topic("t", None, Duration::ZERO, Instant::now());
    assert_eq!(at_once().unwrap_err().kind(), ErrorKind::InvalidTopic);
    // It is asked for again all the same, and what happens meanwhile counts for more.
    assert!(
        cache
            .wait_for_requests(Instant::now(), &NO_CALLS)
            .unwrap()
            .topics
    );
    let nobody = Error::new(ErrorKind::Network, "nobody answers");
    cache.failed(nobody, PendingRequests::default());
    let later = at_once().unwrap_err();
    assert_eq!(later.kind(), ErrorKind::MetadataTimeout);
    assert!(later.to_string().contains("nobody answers"), "{later}");
}

#[test]
fn topics_that_wait_are_asked_for_together_and_no_others() {
    let cache = cache();
    cache.keep_topic("known");
    let asked = cache.topics_to_ask(true, LONG, Instant::now(), |_| false);
    cache.answered(&asked, |_| update(cluster_with("known", 1)));
    assert!(!cache.has_new_topics());
    for topic in ["a", "b", "c", "b"] {
        let at_once = cache.wait_for_topic(topic, None, Duration::ZERO, Instant::now());
        assert!(at_once.is_err());
    }
    assert!(cache.has_new_topics());
    let mut asked = cache.topics_to_ask(true, LONG, Instant::now(), |_| false);
    asked.sort();
    assert_eq!(asked, ["a", "b", "c"].map(Arc::<str>::from));
    // What comes meanwhile is asked for next.
    cache.keep_topic("d");
    cache.answered(&asked, |_| update(Cluster::default()));
    let asked = cache.topics_to_ask(true, LONG, Instant::now(), |_| false);
    assert_eq!(asked, ["d"].map(Arc::<str>::from));
    cache.answered(&asked, |_| update(Cluster::default()));
    assert!(
        !cache
            .wait_for_requests(Instant::now(), &NO_CALLS)
            .unwrap()
            .any()
    );
}

#[test]
fn a_deadline_that_has_passed_asks_and_fails_at_once() {
    let cache = cache();
    let error = cache
        .wait_for_topic("t", None, Duration::ZERO, Instant::now())
        .unwrap_err();
    assert_eq!(error.kind(), ErrorKind::MetadataTimeout);
    assert!(
        cache
            .wait_for_requests(Instant::now(), &NO_CALLS)
            .unwrap()
            .topics
    );
}

#[test]
fn closing_ends_every_wait() {
    let cache = cache();
    let waiters: Vec<_> = (0..4)
        .map(|_| {
            let cache = Arc::clone(&cache);
            std::thread::spawn(move || cache.wait_for_topic("t", None, LONG, Instant::now() + LONG))
        })
        .collect();
    cache.close();
    for waiter in waiters {
        assert_eq!(
            waiter.join().unwrap().unwrap_err().kind(),
            ErrorKind::Closed
        );
    }
    assert!(
        cache.wait_for_requests(Instant::now(), &NO_CALLS).is_some(),
        "the thread goes on until it is stopped"
    );
    cache.stop();
    assert!(
        cache
            .wait_for_requests(Instant::now() + LONG, &NO_CALLS)
            .is_none()
    );
}

#[test]
fn idle_topics_are_dropped_and_used_ones_are_kept() {
    let cache = cache();
    for topic in ["idle", "used"] {
        cache.keep_topic(topic);
    }
    let asked: Vec<Arc<str>> = vec!["idle".into(), "used".into()];
    cache.answered(&asked, |_| update(Cluster::default()));
    let later = Instant::now() + Duration::from_secs(600);
    let kept = cache.topics_to_ask(false, Duration::from_secs(300), later, |topic| {
        topic == "used"
    });
    assert_eq!(kept, ["used".into()] as [Arc<str>; 1]);
}

#[test]
fn a_backoff_ends_for_a_call_that_became_due() {
    let cache = cache();
    let topics = PendingRequests {
        topics: true,
        ..PendingRequests::default()
    };
    let due = Arc::new(Mutex::new(Due::Never));
    let waiter = {
        let (cache, calls) = (Arc::clone(&cache), Calls(Arc::clone(&due)));
        std::thread::spawn(move || {
            let began = Instant::now();
            assert!(cache.wait_out_backoff(began + LONG, Some(topics), &calls));
            began.elapsed()
        })
    };
    *due.lock() = Due::Now;
    cache.wake_thread();
    assert!(waiter.join().unwrap() < LONG);
    // The call was made in vain: that is what the backoff is for. And if no broker answers, no broker is asked.
    let call = PendingRequests {
        call: true,
        ..topics
    };
    for answered in [Some(call), None] {
        let soon = Instant::now() + Duration::from_millis(20);
        assert!(cache.wait_out_backoff(soon, answered, &Calls(Arc::clone(&due))));
        assert!(Instant::now() >= soon);
    }
}

#[test]
fn a_call_that_is_due_later_delays_nothing_else() {
    let cache = cache();
    let soon = Instant::now() + Duration::from_millis(50);
    let calls = Calls(Arc::new(Mutex::new(Due::At(soon))));
    assert!(
        !cache
            .wait_for_requests(Instant::now(), &calls)
            .unwrap()
            .any()
    );
    cache.keep_topic("t");
    let pending = cache
        .wait_for_requests(Instant::now() + LONG, &calls)
        .unwrap();
    assert!(pending.topics && !pending.call);
    cache.answered(&["t".into()], |_| update(Cluster::default()));
    assert!(
        cache
            .wait_for_requests(Instant::now() + LONG, &calls)
            .unwrap()
            .call
    );
    assert!(Instant::now() >= soon);
}

#[test]
fn a_leader_hint_never_undoes_an_answer_that_comes_at_the_same_time() {
    const ROUNDS: i32 = 500;
    let cache = cache();
    cache.publish_cluster(Cluster {
        brokers: HashMap::from([(
            1,
            Arc::new(Broker {
                id: 1,
                host: "h".into(),
                port: 9092,
                rack: None,
            }),
        )]),
        ..cluster_with("t", 1)
    });
    let hints = {
        let cache = Arc::clone(&cache);
        std::thread::spawn(move || {
            for leader_epoch in 4..4 + ROUNDS {
                let hint = LeaderHint {
                    topic: "t".into(),
                    topic_id: None,
                    partition: 0,
                    leader: 1,
                    leader_epoch,
                    broker: None,
                };
                assert!(cache.apply_leader_hints(&Cluster::default(), &[hint]));
            }
        })
    };
    for round in 0..ROUNDS {
        let name: Arc<str> = format!("new-{round}").into();
        cache.answered(&[Arc::clone(&name)], |before| {
            let mut cluster = before.clone();
            let new = cluster_with(&name, 1);
            new.topics
                .iter()
                .for_each(|topic| cluster.topics.insert((**topic).clone()));
            update(cluster)
        });
    }
    hints.join().unwrap();
    let cluster = cache.cluster();
    assert_eq!(cluster.topics.iter().count() as i32, 1 + ROUNDS);
    let partition = &cluster.topic("t").unwrap().partitions()[0];
    assert_eq!(partition.leader_epoch(), Some(3 + ROUNDS));
}
