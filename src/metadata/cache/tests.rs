use super::*;
use crate::metadata::{Broker, PartitionMetadata, TopicMetadata};

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

const LONG: Duration = Duration::from_secs(30);

#[test]
fn a_caller_waits_until_its_topic_is_known() {
    let cache = cache();
    let waiter = {
        let cache = Arc::clone(&cache);
        std::thread::spawn(move || cache.wait_for_topic("t", Some(1), LONG, Instant::now() + LONG))
    };
    let wants = cache.wait_for_wants(Instant::now() + LONG).unwrap();
    assert!(wants.topics && !wants.refresh);
    let asked = cache.topics_to_ask(true, LONG, Instant::now(), |_| false);
    cache.answered(&asked, |_| update(cluster_with("t", 1)));
    // One partition is not enough: the topic is asked for again.
    assert!(cache.wait_for_wants(Instant::now() + LONG).unwrap().topics);
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
    cache.wait_for_wants(Instant::now() + LONG).unwrap();
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
    assert!(cache.wait_for_wants(Instant::now()).unwrap().topics);
    let nobody = Error::new(ErrorKind::Network, "nobody answers");
    cache.failed(nobody, Wants::default());
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
    assert!(!cache.wait_for_wants(Instant::now()).unwrap().any());
}

#[test]
fn a_deadline_that_has_passed_asks_and_fails_at_once() {
    let cache = cache();
    let error = cache
        .wait_for_topic("t", None, Duration::ZERO, Instant::now())
        .unwrap_err();
    assert_eq!(error.kind(), ErrorKind::MetadataTimeout);
    assert!(cache.wait_for_wants(Instant::now()).unwrap().topics);
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
        cache.wait_for_wants(Instant::now()).is_some(),
        "the thread goes on until it is stopped"
    );
    cache.stop();
    assert!(cache.wait_for_wants(Instant::now() + LONG).is_none());
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
fn a_backoff_ends_for_a_producer_id_that_is_wanted_since() {
    let cache = cache();
    let topics = Wants {
        topics: true,
        ..Wants::default()
    };
    let waiter = {
        let cache = Arc::clone(&cache);
        std::thread::spawn(move || {
            let began = Instant::now();
            assert!(cache.wait_out_backoff(began + LONG, Some(topics)));
            began.elapsed()
        })
    };
    assert_eq!(cache.identity(&Cluster::default(), None), None);
    assert!(waiter.join().unwrap() < LONG);
    // It was asked for in vain: that is what the backoff is for. And where nobody answers nobody is asked.
    let identity = Wants {
        identity: true,
        ..topics
    };
    for answered in [Some(identity), None] {
        let soon = Instant::now() + Duration::from_millis(20);
        assert!(cache.wait_out_backoff(soon, answered));
        assert!(Instant::now() >= soon);
    }
}

#[test]
fn a_spent_identity_is_not_given_out_again() {
    let cache = cache();
    assert_eq!(cache.identity(&Cluster::default(), None), None);
    let first = ProducerIdentity {
        producer_id: 7,
        producer_epoch: 0,
    };
    cache.identity_answered(Some(first));
    assert_eq!(cache.identity(&Cluster::default(), None), Some(first));
    assert_eq!(
        cache.identity(&Cluster::default(), Some(first.producer_id)),
        None
    );
    assert!(cache.wait_for_wants(Instant::now()).unwrap().identity);
}

#[test]
fn an_id_that_is_given_again_and_again_is_not_asked_for_without_a_pause() {
    let cache = cache();
    let (cluster, given) = (
        Cluster::default(),
        ProducerIdentity {
            producer_id: 7,
            producer_epoch: i16::MAX,
        },
    );
    assert!(!cache.has_been_given(given));
    cache.identity_answered(Some(given));
    assert_eq!(cache.identity(&cluster, Some(given.producer_id)), None);
    assert!(cache.has_been_given(given));
    let soon = Instant::now() + Duration::from_millis(50);
    cache.identity_postponed(soon);
    assert!(!cache.wait_for_wants(Instant::now()).unwrap().any());
    assert!(
        cache
            .wait_for_wants(Instant::now() + LONG)
            .unwrap()
            .identity
    );
    assert!(Instant::now() >= soon);
}

#[test]
fn an_id_of_an_older_era_is_not_used_and_one_of_a_newer_is_waited_for() {
    let cache = cache();
    let era = |identity_era| Cluster {
        identity_era,
        ..Cluster::default()
    };
    let given = ProducerIdentity {
        producer_id: 7,
        producer_epoch: 0,
    };
    cache.answered(&[], |_| update(era(3)));
    cache.identity_answered(Some(given));
    assert_eq!(cache.identity(&era(3), None), Some(given));
    // A worker that has not seen the newest picture asks for nothing: it will see it.
    assert_eq!(cache.identity(&era(2), None), None);
    assert!(!cache.wait_for_wants(Instant::now()).unwrap().identity);
    assert_eq!(cache.identity(&era(4), None), None);
    assert!(cache.wait_for_wants(Instant::now()).unwrap().identity);
}

#[test]
fn a_producer_id_that_was_refused_is_let_be_for_a_while_and_nothing_else_is() {
    let cache = cache();
    assert_eq!(cache.identity(&Cluster::default(), None), None);
    let soon = Instant::now() + Duration::from_millis(50);
    cache.identity_refused(soon);
    assert_eq!(cache.identity(&Cluster::default(), None), None);
    assert!(!cache.wait_for_wants(Instant::now()).unwrap().any());
    cache.keep_topic("t");
    let wants = cache.wait_for_wants(Instant::now() + LONG).unwrap();
    assert!(wants.topics && !wants.identity);
    cache.answered(&["t".into()], |_| update(Cluster::default()));
    assert!(
        cache
            .wait_for_wants(Instant::now() + LONG)
            .unwrap()
            .identity
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
