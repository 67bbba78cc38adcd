//! When the connection is closed or replaced.

use super::*;

#[test]
fn an_idle_connection_is_closed() {
    let mut scene = Scene::with(&[1], |config| config.max_age = 3600 * SECOND);
    scene.refresh();
    scene.now += SECOND;
    scene.policy.begin_request(scene.now);
    assert_eq!(scene.pause(), 540 * SECOND);
    scene.wait();
    scene.disconnects();
    assert_eq!(scene.pause(), 3600 * SECOND - 541 * SECOND);
}

#[test]
fn a_connection_whose_session_is_over_is_replaced_before_the_next_request() {
    let mut scene = Scene::new(&[1]);
    scene.request_refresh();
    assert_eq!(scene.connects_to(), 1);
    let session = NewConnection {
        is_own: true,
        session_ends: Some(scene.now + 10 * SECOND),
        reports_cluster_id: true,
    };
    let cluster = Arc::clone(&scene.situation.cluster);
    scene.policy.connected(session, &cluster, scene.now);
    assert_eq!(scene.asks_for(), Scope::TopicsInUse);
    scene.answer();
    scene.now += 9 * SECOND;
    scene.refresh();
    scene.now += SECOND;
    scene.request_topics();
    assert_eq!(scene.connects_to(), 1);
}

#[test]
fn the_connection_is_released_if_a_worker_was_refused_one_there() {
    let mut scene = Scene::new(&[1]);
    scene.refresh();
    scene.situation.release = Some(endpoint(1));
    scene.disconnects();
    assert_eq!(scene.pause(), 300 * SECOND);
    scene.now += SECOND;
    // In a backoff, too.
    scene.request_refresh();
    assert_eq!(scene.connects_to(), 1);
    scene.connect();
    assert_eq!(scene.asks_for(), Scope::TopicsInUse);
    scene
        .answer_with(|answer| answer.is_incomplete = true)
        .unwrap();
    assert!(scene.pause() > RETRY / 2);
    scene.situation.release = Some(endpoint(1));
    scene.disconnects();
    assert!(scene.pause() > RETRY / 2);
}

#[test]
fn requests_that_are_due_go_before_the_release() {
    let mut scene = Scene::new(&[1]);
    scene.refresh();
    assert_eq!(scene.pause(), 300 * SECOND);
    scene.now += SECOND;
    scene.request_topics();
    scene.situation.release = Some(endpoint(1));
    assert_eq!(scene.asks_for(), Scope::RequestedTopics);
    scene.answer();
    // What is requested meanwhile goes after it.
    scene.request_call();
    scene.disconnects();
    assert_eq!(scene.connects_to(), 1);
}

#[test]
fn only_a_connection_of_its_own_to_that_broker_is_released() {
    let mut scene = Scene::new(&[1, 2]);
    let other = 3 - scene.refresh();
    scene.situation.release = Some(endpoint(other));
    assert_eq!(scene.pause(), 300 * SECOND);
    let mut scene = Scene::new(&[1]);
    scene.request_refresh();
    assert_eq!(scene.connects_to(), 1);
    let shared = NewConnection {
        is_own: false,
        session_ends: None,
        reports_cluster_id: true,
    };
    let cluster = Arc::clone(&scene.situation.cluster);
    scene.policy.connected(shared, &cluster, scene.now);
    assert_eq!(scene.asks_for(), Scope::TopicsInUse);
    scene.answer();
    scene.situation.release = Some(endpoint(1));
    assert_eq!(scene.pause(), 300 * SECOND);
}

/// It can be another name of the same broker.
#[test]
fn the_connection_to_a_bootstrap_address_is_released_for_any_broker() {
    let mut scene = Scene::new(&[]);
    scene.request_refresh();
    assert_eq!(scene.connects_to(), BOOTSTRAP);
    scene.connect();
    assert_eq!(scene.asks_for(), Scope::TopicsInUse);
    scene
        .answer_with(|answer| answer.cluster = named("c", cluster_at(&[1])))
        .unwrap();
    scene.situation.release = Some(endpoint(1));
    scene.disconnects();
}
