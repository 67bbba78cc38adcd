//! When the cluster is searched for again, from `bootstrap.servers`.

use super::*;

#[test]
fn if_all_known_brokers_failed_the_bootstrap_servers_are_asked_first() {
    let mut scene = Scene::new(&[1, 2]);
    scene.request_refresh();
    for _ in 0..2 {
        assert_ne!(scene.connects_to(), BOOTSTRAP);
        scene.fail();
    }
    assert_eq!(scene.connects_to(), BOOTSTRAP);
    scene.fail();
    scene.failure();
    // And in the next attempts, until there is an answer.
    scene.now += SECOND;
    assert_eq!(scene.connects_to(), BOOTSTRAP);
    scene.connect();
    assert_eq!(scene.asks_for(), Scope::TopicsInUse);
    scene.answer();
    scene.now += SECOND;
    scene.request_topics();
    assert_eq!(scene.asks_for(), Scope::RequestedTopics);
}

#[test]
fn a_broker_that_demands_it_begins_a_rebootstrap_once_until_there_is_an_answer() {
    let mut scene = Scene::new(&[1, 2, 3]);
    let demand = |scene: &mut Scene| {
        scene.connect();
        assert_eq!(scene.asks_for(), Scope::TopicsInUse);
        let result = scene.answer_with(|it| it.error = ErrorCode::REBOOTSTRAP_REQUIRED);
        assert!(result.is_err());
    };
    scene.request_refresh();
    assert_ne!(scene.connects_to(), BOOTSTRAP);
    demand(&mut scene);
    assert_eq!(scene.connects_to(), BOOTSTRAP);
    demand(&mut scene);
    for _ in 0..2 {
        assert_ne!(scene.connects_to(), BOOTSTRAP);
        demand(&mut scene);
    }
    scene.failure();
}

#[test]
fn without_metadata_for_the_trigger_time_a_rebootstrap_begins() {
    let mut scene = Scene::new(&[1, 2, 3]);
    scene.request_refresh();
    assert_ne!(scene.connects_to(), BOOTSTRAP);
    scene.now += 299 * SECOND;
    scene.fail();
    assert_ne!(scene.connects_to(), BOOTSTRAP);
    scene.now += SECOND;
    scene.fail();
    assert_eq!(scene.connects_to(), BOOTSTRAP);
}

#[test]
fn without_the_recovery_strategy_only_known_brokers_are_asked() {
    let mut scene = Scene::with(&[1], |config| config.rebootstrap = None);
    for _ in 0..3 {
        scene.request_refresh();
        assert_eq!(scene.connects_to(), 1);
        scene.now += 600 * SECOND;
        scene.fail();
        scene.failure();
        scene.now += SECOND;
    }
}
