//! When the thread asks, and when it waits.

use super::*;

#[test]
fn age_requests_a_refresh_if_there_are_topics() {
    let mut scene = Scene::new(&[1]);
    scene.situation.has_topics = false;
    assert!(matches!(scene.next(), Decision::Wait(None)));
    scene.situation.has_topics = true;
    assert_eq!(scene.pause(), 300 * SECOND);
    scene.wait();
    assert_eq!(scene.connects_to(), 1);
    scene.connect();
    assert_eq!(scene.asks_for(), Scope::TopicsInUse);
    scene.answer();
    assert_eq!(scene.pause(), 300 * SECOND);
}

#[test]
fn an_age_of_zero_asks_with_a_pause() {
    let mut scene = Scene::with(&[1], |config| config.max_age = Duration::ZERO);
    for _ in 0..3 {
        assert_eq!(scene.pause(), 100 * MS);
        scene.wait();
        // The metadata is older than the pause before a repeated request.
        scene.now += RETRY;
        scene.refresh();
    }
}

#[test]
fn what_was_just_answered_is_asked_again_after_a_growing_pause() {
    let mut scene = Scene::new(&[1]);
    scene.refresh();
    for times in [1, 2, 4] {
        scene.request_topics();
        assert_about(scene.pause(), times * RETRY);
        scene.wait();
        assert_eq!(scene.asks_for(), Scope::RequestedTopics);
        scene.answer();
    }
    // After a longer time there is no pause, and the next one is short again.
    scene.now += 20 * RETRY;
    scene.request_topics();
    assert_eq!(scene.asks_for(), Scope::RequestedTopics);
    scene.answer();
    scene.request_topics();
    assert_about(scene.pause(), RETRY);
}

#[test]
fn new_topics_and_calls_are_asked_without_a_pause() {
    let mut scene = Scene::new(&[1]);
    scene.refresh();
    scene.request_topics();
    scene.situation.has_new_topics = true;
    assert_eq!(scene.asks_for(), Scope::RequestedTopics);
    scene.answer();
    scene.request_call();
    scene.makes_the_call();
    scene.complete_call();
    // During the pause before a repeated request, too.
    scene.request_topics();
    assert_about(scene.pause(), RETRY);
    scene.request_call();
    assert_eq!(scene.asks_for(), Scope::RequestedTopics);
    scene.answer();
    scene.makes_the_call();
}

#[test]
fn an_incomplete_answer_is_asked_again_after_a_growing_backoff() {
    let mut scene = Scene::new(&[1]);
    scene.refresh();
    for times in [1, 2, 4] {
        // Beyond the pause before a repeated request, which would add to the backoff.
        scene.now += 2 * RETRY;
        scene.request_topics();
        assert_eq!(scene.asks_for(), Scope::RequestedTopics);
        scene
            .answer_with(|answer| answer.is_incomplete = true)
            .unwrap();
        scene.request_topics();
        assert_about(scene.pause(), times * RETRY);
        scene.wait();
    }
    scene.now += 2 * RETRY;
    assert_eq!(scene.asks_for(), Scope::RequestedTopics);
    scene.answer();
    // After a complete answer the first backoff is short again.
    scene.now += SECOND;
    scene.request_topics();
    assert_eq!(scene.asks_for(), Scope::RequestedTopics);
    scene
        .answer_with(|answer| answer.is_incomplete = true)
        .unwrap();
    assert_about(scene.pause(), RETRY);
}

#[test]
fn a_call_or_topic_that_is_new_ends_the_backoff_of_other_requests() {
    let mut scene = Scene::new(&[1]);
    scene.refresh();
    scene.now += SECOND;
    let begin_backoff = |scene: &mut Scene| {
        scene
            .answer_with(|answer| answer.is_incomplete = true)
            .unwrap();
        scene.request_topics();
        assert!(scene.pause() > RETRY / 2);
    };
    scene.request_topics();
    assert_eq!(scene.asks_for(), Scope::RequestedTopics);
    begin_backoff(&mut scene);
    scene.situation.has_new_topics = true;
    assert_eq!(scene.asks_for(), Scope::RequestedTopics);
    begin_backoff(&mut scene);
    scene.request_call();
    assert_eq!(scene.asks_for(), Scope::RequestedTopics);
    scene
        .answer_with(|answer| answer.is_incomplete = true)
        .unwrap();
    scene.makes_the_call();
    scene.policy.called(CallOutcome::AskAgain, scene.now);
    // The broker could not answer the call, so a backoff follows.
    scene.request_topics();
    assert!(scene.pause() > RETRY / 2);
}

#[test]
fn a_call_that_is_due_later_is_waited_for() {
    let mut scene = Scene::new(&[1]);
    scene.refresh();
    scene.situation.call_due_at = Some(scene.now + SECOND);
    assert_eq!(scene.pause(), SECOND);
    scene.wait();
    scene.situation.call_due_at = None;
    scene.request_call();
    scene.makes_the_call();
}

#[test]
fn the_thread_ends_even_in_an_attempt() {
    let mut scene = Scene::new(&[1]);
    scene.request_refresh();
    assert_eq!(scene.connects_to(), 1);
    scene.situation.is_stopped = true;
    assert!(matches!(scene.next(), Decision::Stop));
}
