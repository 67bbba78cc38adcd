//! Answers that are outdated, empty, or of another cluster.

use super::*;

#[test]
fn a_broker_that_repeats_itself_is_left_for_another() {
    let mut scene = Scene::new(&[1, 2]);
    let first = scene.refresh();
    for _ in 0..3 {
        scene.now += SECOND;
        assert_eq!(scene.refresh(), first);
    }
    scene.now += SECOND;
    scene.request_refresh();
    scene.disconnects();
    assert_eq!(scene.connects_to(), 3 - first);
    // If the others do not answer, it is asked again.
    scene.fail();
    assert_eq!(scene.connects_to(), BOOTSTRAP);
    scene.fail();
    assert_eq!(scene.connects_to(), first);
}

#[test]
fn a_broker_whose_answers_have_changes_or_that_is_the_only_one_is_kept() {
    let tell_news = |scene: &mut Scene, leader: i32| {
        scene.now += SECOND;
        scene.request_refresh();
        assert_eq!(scene.asks_for(), Scope::TopicsInUse);
        scene
            .answer_with(|answer| {
                answer.asked = vec!["t".into()];
                answer.cluster.topics.insert(topic("t", &[leader]));
            })
            .unwrap();
    };
    let mut scene = Scene::new(&[1, 2]);
    scene.refresh();
    for leader in 0..10 {
        tell_news(&mut scene, leader);
    }
    let mut scene = Scene::new(&[1]);
    for _ in 0..10 {
        assert_eq!(scene.refresh(), 1);
        scene.now += SECOND;
    }
}

#[test]
fn an_answer_without_brokers_is_none() {
    let mut scene = Scene::new(&[1]);
    scene.request_refresh();
    assert_eq!(scene.connects_to(), 1);
    scene.connect();
    assert_eq!(scene.asks_for(), Scope::TopicsInUse);
    let result = scene.answer_with(|answer| answer.cluster = named("c", Cluster::default()));
    assert_eq!(result, Err(ErrorKind::Network));
    assert_eq!(scene.connects_to(), BOOTSTRAP);
}

#[test]
fn another_cluster_at_a_known_address_is_not_accepted() {
    let mut scene = Scene::new(&[1, 2]);
    scene.request_refresh();
    scene.connects_to();
    scene.connect();
    assert_eq!(scene.asks_for(), Scope::TopicsInUse);
    let result = scene.answer_with(|answer| answer.name("d"));
    assert_eq!(result, Err(ErrorKind::Network));
    // The cluster is searched for again.
    assert_eq!(scene.connects_to(), BOOTSTRAP);
    scene.connect();
    assert_eq!(scene.asks_for(), Scope::TopicsInUse);
    scene.answer();
}

#[test]
fn another_cluster_at_a_bootstrap_address_is_accepted_if_no_known_broker_answers() {
    let mut scene = Scene::new(&[1, 2]);
    scene.request_refresh();
    for _ in 0..2 {
        scene.connects_to();
        scene.fail();
    }
    for is_accepted in [false, true] {
        assert_eq!(scene.connects_to(), BOOTSTRAP);
        scene.connect();
        assert_eq!(scene.asks_for(), Scope::TopicsInUse);
        let result = scene.answer_with(|answer| answer.name("d"));
        let expected = match is_accepted {
            true => Ok(Basis::ClusterIdOnly),
            false => Err(ErrorKind::Network),
        };
        assert_eq!(result, expected);
    }
    // The next one has to be proven again.
    scene.now += SECOND;
    scene.request_refresh();
    assert_eq!(scene.asks_for(), Scope::TopicsInUse);
    assert!(scene.answer_with(|answer| answer.name("c")).is_err());
}

#[test]
fn another_cluster_at_a_bootstrap_address_is_accepted_if_a_broker_sends_the_client_away() {
    let mut scene = Scene::new(&[1, 2]);
    scene.request_refresh();
    scene.connects_to();
    scene.connect();
    assert_eq!(scene.asks_for(), Scope::TopicsInUse);
    let result = scene.answer_with(|it| it.error = ErrorCode::REBOOTSTRAP_REQUIRED);
    assert!(result.is_err());
    assert_eq!(scene.connects_to(), BOOTSTRAP);
    scene.connect();
    assert_eq!(scene.asks_for(), Scope::TopicsInUse);
    let basis = scene.answer_with(|answer| answer.name("d"));
    assert_eq!(basis, Ok(Basis::ClusterIdOnly));
}

#[test]
fn another_cluster_is_not_accepted_while_a_known_broker_only_throttles() {
    let mut scene = Scene::new(&[1, 2]);
    let throttling = scene.refresh();
    scene.policy.throttled(60 * SECOND, scene.now);
    scene.now += SECOND;
    scene.request_refresh();
    assert_eq!(scene.connects_to(), 3 - throttling);
    for _ in 0..2 {
        scene.connect();
        assert_eq!(scene.asks_for(), Scope::TopicsInUse);
        assert!(scene.answer_with(|answer| answer.name("d")).is_err());
        if scene.policy.attempt.as_ref().unwrap().has_candidates() {
            assert_eq!(scene.connects_to(), BOOTSTRAP);
        }
    }
    scene.failure();
}

#[test]
fn outdated_metadata_is_accepted_after_an_outage_if_nothing_newer_comes() {
    let ask = |scene: &mut Scene| {
        scene.request_refresh();
        assert_eq!(scene.asks_for(), Scope::TopicsInUse);
        scene.answer_with(|answer| answer.has_older_epochs = true)
    };
    let mut scene = Scene::new(&[1]);
    // From a broker that lags behind it is never accepted.
    scene.refresh();
    for _ in 0..5 {
        scene.now += PATIENCE;
        assert_eq!(ask(&mut scene), Ok(Basis::Known));
    }
    scene.now += SECOND;
    scene.request_refresh();
    assert_eq!(scene.asks_for(), Scope::TopicsInUse);
    scene.fail();
    assert_eq!(scene.connects_to(), BOOTSTRAP);
    scene.connect();
    assert_eq!(ask(&mut scene), Ok(Basis::Known));
    scene.now += PATIENCE / 2;
    assert_eq!(ask(&mut scene), Ok(Basis::Known));
    scene.now += PATIENCE / 2;
    assert_eq!(ask(&mut scene), Ok(Basis::ClusterIdOnly));
}
