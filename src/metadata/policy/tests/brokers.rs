//! Which broker is asked, and what.

use super::*;

#[test]
fn one_broker_after_the_other_is_asked_and_then_there_is_a_growing_backoff() {
    let mut scene = Scene::new(&[1, 2]);
    for (number, times) in [(1, 1), (2, 2), (3, 4)] {
        scene.request_refresh();
        let mut asked = Vec::new();
        for _ in 0..3 {
            asked.push(scene.connects_to());
            scene.fail();
        }
        asked.sort_unstable();
        assert_eq!(asked, [1, 2, BOOTSTRAP]);
        let failed = scene.failure();
        assert_eq!((failed.number, failed.level), (number, log::Level::Warn));
        assert!(failed.pending.refresh);
        assert_eq!(failed.error.message(), "gone");
        // If no broker answers, no other request ends the backoff.
        scene.situation.has_new_topics = true;
        scene.request_call();
        assert_about(scene.pause(), times * RECONNECT);
        scene.situation.has_new_topics = false;
        scene.situation.pending = PendingRequests::default();
        // Beyond the pause before a repeated request.
        scene.now += 20 * RETRY;
    }
}

#[test]
fn a_failure_is_no_warning_while_the_names_of_the_first_brokers_may_still_resolve() {
    let mut scene = Scene::with(&[], |config| config.bootstrap_resolve_deadline += SECOND);
    scene.request_refresh();
    assert_eq!(scene.connects_to(), BOOTSTRAP);
    scene.fail();
    assert_eq!(scene.failure().level, log::Level::Info);
    scene.now += SECOND;
    assert_eq!(scene.connects_to(), BOOTSTRAP);
    scene.fail();
    assert_eq!(scene.failure().level, log::Level::Warn);
}

#[test]
fn without_any_address_the_attempt_fails_at_once() {
    let mut scene = Scene::with(&[], |config| config.bootstrap.clear());
    scene.request_refresh();
    assert_eq!(scene.failure().error.message(), "no broker is known");
}

#[test]
fn a_new_connection_is_asked_about_all_topics_before_a_call() {
    let mut scene = Scene::new(&[1]);
    scene.request_call();
    assert_eq!(scene.connects_to(), 1);
    scene.connect();
    assert_eq!(scene.asks_for(), Scope::TopicsInUse);
    scene.answer();
    scene.makes_the_call();
    scene.complete_call();
    // The connection is known to be of this cluster now.
    scene.request_call();
    scene.makes_the_call();
}

#[test]
fn a_broker_that_cannot_tell_its_cluster_is_not_asked_for_it() {
    let mut scene = Scene::new(&[1]);
    scene.request_call();
    assert_eq!(scene.connects_to(), 1);
    let new = NewConnection {
        is_own: true,
        session_ends: None,
        reports_cluster_id: false,
    };
    let cluster = Arc::clone(&scene.situation.cluster);
    scene.policy.connected(new, &cluster, scene.now);
    scene.makes_the_call();
}

#[test]
fn a_call_that_fails_is_made_at_another_broker() {
    let mut scene = Scene::new(&[1, 2]);
    let first = scene.refresh();
    scene.request_call();
    scene.makes_the_call();
    scene.fail();
    let second = scene.connects_to();
    assert_ne!(first, second);
    scene.connect();
    assert_eq!(scene.asks_for(), Scope::TopicsInUse);
    scene.answer();
    scene.makes_the_call();
}

#[test]
fn after_the_end_of_an_old_connection_the_address_may_be_asked_again() {
    let mut scene = Scene::new(&[1]);
    scene.refresh();
    scene.now += SECOND;
    scene.request_refresh();
    assert_eq!(scene.asks_for(), Scope::TopicsInUse);
    scene.fail();
    assert_eq!(scene.connects_to(), BOOTSTRAP);
    scene.fail();
    assert_eq!(scene.connects_to(), 1);
    scene.fail();
    scene.failure();
}

#[test]
fn a_broker_that_lets_requests_time_out_gets_more_time_up_to_the_request_timeout() {
    let mut scene = Scene::new(&[1]);
    scene.refresh();
    for seconds in [2, 4, 8, 16, 30, 30] {
        let patience = scene.policy.begin_request(scene.now);
        assert_eq!(patience, seconds * SECOND);
        scene.policy.end_request(patience, patience);
    }
}

#[test]
fn a_broker_that_left_the_cluster_is_forgotten() {
    let mut scene = Scene::new(&[1]);
    scene.request_refresh();
    assert_eq!(scene.connects_to(), 1);
    scene.fail();
    assert_eq!(scene.connects_to(), BOOTSTRAP);
    scene.connect();
    assert_eq!(scene.asks_for(), Scope::TopicsInUse);
    scene
        .answer_with(|answer| answer.cluster = named("c", cluster_at(&[2])))
        .unwrap();
    assert_eq!(scene.policy.candidates.failures(&endpoint(1)), 0);
}

#[test]
fn a_call_is_not_made_at_a_broker_that_throttles_but_at_another() {
    let mut scene = Scene::new(&[1, 2]);
    scene.request_call();
    let first = scene.connects_to();
    scene.connect();
    assert_eq!(scene.asks_for(), Scope::TopicsInUse);
    scene
        .answer_with(|answer| answer.throttle = Some(SECOND))
        .unwrap();
    let second = scene.connects_to();
    assert_ne!(first, second);
    scene.connect();
    assert_eq!(scene.asks_for(), Scope::TopicsInUse);
    scene.answer();
    scene.makes_the_call();
}

#[test]
fn the_throttle_of_the_only_broker_is_waited_out() {
    let mut scene = Scene::new(&[1]);
    scene.request_call();
    assert_eq!(scene.connects_to(), 1);
    scene.connect();
    assert_eq!(scene.asks_for(), Scope::TopicsInUse);
    scene
        .answer_with(|answer| answer.throttle = Some(7 * SECOND))
        .unwrap();
    scene.situation.has_new_topics = true;
    assert_eq!(scene.pause(), 7 * SECOND);
    scene.wait();
    scene.situation.has_new_topics = false;
    scene.makes_the_call();
}
