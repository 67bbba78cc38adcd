use super::*;
use crate::backoff::ExponentialBackoff;
use crate::error::ErrorKind;
use crate::metadata::fixtures::{cluster_at, endpoint, topic};
use crate::metadata::policy::RefreshConfig;
use crate::metadata::{CallOutcome, ConnectedBroker};

const LONG: Duration = Duration::from_secs(30);

fn cache() -> Arc<MetadataCache> {
    MetadataCache::unobserved()
}

fn cluster_with(name: &str, partitions: usize) -> Cluster {
    Cluster {
        topics: [topic(name, &vec![1; partitions])].into_iter().collect(),
        ..cluster_at(&[1])
    }
}

fn update(cluster: Cluster) -> Update {
    Update {
        cluster,
        errors: Vec::new(),
        is_incomplete: false,
        has_older_epochs: false,
    }
}

/// A call that becomes due when a test decides it.
struct Call(Arc<Mutex<Due>>);

impl Call {
    fn never() -> Self {
        Self(Arc::new(Mutex::new(Due::Never)))
    }
}

impl BrokerCalls for Call {
    fn due(&self, _: Instant) -> Due {
        *self.0.lock()
    }

    fn call(&mut self, _: &mut ConnectedBroker<'_>) -> Result<CallOutcome, Error> {
        unreachable!("there is no connection")
    }
}

/// Waits as a metadata thread that has just started: until something is requested. False if it is to end.
fn wait_for_request(cache: &MetadataCache, call: &Call) -> bool {
    let backoff = ExponentialBackoff::new(Duration::ZERO, Duration::ZERO);
    let config = RefreshConfig {
        bootstrap: vec![endpoint(9)],
        rebootstrap: None,
        max_age: LONG,
        max_idle: LONG,
        request_timeout: LONG,
        retry_backoff: backoff,
        reconnect_backoff: backoff,
        connections_max_idle: None,
        bootstrap_resolve_deadline: Instant::now(),
    };
    let mut policy = Policy::new(config, Instant::now());
    cache.next_action(&mut policy, call).is_some()
}

/// Calls `wait_for_topic` on another thread.
fn waiter(
    cache: &Arc<MetadataCache>,
    partition: Option<i32>,
) -> std::thread::JoinHandle<Result<Arc<Cluster>, Error>> {
    let cache = Arc::clone(cache);
    std::thread::spawn(move || cache.wait_for_topic("t", partition, LONG, Instant::now() + LONG))
}

#[test]
fn a_caller_waits_until_its_topic_is_known() {
    let cache = cache();
    let waiter = waiter(&cache, Some(1));
    assert!(wait_for_request(&cache, &Call::never()));
    let pending = cache.pending();
    assert!(pending.topics && !pending.refresh);
    let asked = cache.requested_topics();
    cache.publish_answer(&asked, |_| update(cluster_with("t", 1)));
    // One partition is not enough: the topic is asked for again.
    assert!(wait_for_request(&cache, &Call::never()));
    cache.publish_answer(&asked, |_| update(cluster_with("t", 2)));
    let cluster = waiter.join().unwrap().unwrap();
    assert_eq!(cluster.topic("t").unwrap().partitions().len(), 2);
}

#[test]
fn an_error_that_waiting_does_not_cure_ends_the_wait() {
    let cache = cache();
    let waiter = waiter(&cache, None);
    assert!(wait_for_request(&cache, &Call::never()));
    let refusal = Error::new(ErrorKind::InvalidTopic, "no such name");
    cache.publish_answer(&["t".into()], |_| Update {
        errors: vec![("t".into(), refusal)],
        ..update(Cluster::default())
    });
    let error = waiter.join().unwrap().unwrap_err();
    assert_eq!(error.kind(), ErrorKind::InvalidTopic);
    let topic_error = cache.topic_error("t").unwrap();
    assert_eq!(topic_error.kind(), ErrorKind::InvalidTopic);
}

#[test]
fn a_deadline_that_has_passed_requests_the_topic_and_fails_at_once() {
    let cache = cache();
    let result = cache.wait_for_topic("t", None, Duration::ZERO, Instant::now());
    assert_eq!(result.unwrap_err().kind(), ErrorKind::MetadataTimeout);
    assert!(cache.pending().topics);
    assert_eq!(cache.requested_topics(), ["t".into()]);
}

#[test]
fn closing_ends_every_wait_and_stopping_ends_the_thread() {
    let cache = cache();
    let waiters: Vec<_> = (0..4).map(|_| waiter(&cache, None)).collect();
    cache.close();
    for waiter in waiters {
        let error = waiter.join().unwrap().unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Closed);
    }
    cache.request_refresh();
    let is_running = wait_for_request(&cache, &Call::never());
    assert!(is_running, "the thread continues until it is stopped");
    cache.stop();
    assert!(!wait_for_request(&cache, &Call::never()));
}

#[test]
fn a_call_that_becomes_due_wakes_the_thread() {
    let (cache, due) = (cache(), Arc::new(Mutex::new(Due::Never)));
    let thread = {
        let (cache, call) = (Arc::clone(&cache), Call(Arc::clone(&due)));
        std::thread::spawn(move || wait_for_request(&cache, &call))
    };
    *due.lock() = Due::Now;
    cache.wake_thread();
    assert!(thread.join().unwrap());
}

#[test]
fn a_failed_refresh_stays_requested_and_one_that_has_begun_does_not() {
    let cache = cache();
    cache.keep_topic("t");
    cache.request_refresh();
    let pending = cache.pending();
    assert_eq!(cache.topics_to_refresh(LONG, |_| false), ["t".into()]);
    assert!(!cache.pending().refresh);
    let error = Error::new(ErrorKind::Network, "no broker answers");
    cache.note_failure(error, pending);
    assert!(cache.pending().refresh);
}

#[test]
fn a_leader_hint_never_undoes_an_answer_that_comes_at_the_same_time() {
    const ROUNDS: i32 = 500;
    let cache = cache();
    cache.publish_cluster(cluster_with("t", 1));
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
        cache.publish_answer(&[Arc::clone(&name)], |before| {
            let mut cluster = before.clone();
            cluster.topics.insert(topic(&name, &[1]));
            update(cluster)
        });
    }
    hints.join().unwrap();
    let cluster = cache.cluster();
    assert_eq!(cluster.topics.iter().count() as i32, 1 + ROUNDS);
    let partition = &cluster.topic("t").unwrap().partitions()[0];
    assert_eq!(partition.leader_epoch(), Some(3 + ROUNDS));
}
