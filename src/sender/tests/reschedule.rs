//! What a partition waits for.

use crate::accumulator::partition::PartitionId;
use crate::protocol::ErrorCode;
use crate::sender::schedule::Next;
use crate::sender::scripted::{Harness, MS, identity};

fn next(worker: &mut Harness) -> Next {
    worker.sender.next(PartitionId(0), worker.now)
}

#[test]
fn a_batch_waits_for_its_linger_and_a_partition_without_one_for_nothing() {
    let mut worker = Harness::new(|_| {});
    worker.send(0, "a");
    worker.run();
    assert_eq!(next(&mut worker), Next::WaitUntil(worker.now + 10 * MS));
    worker.run_for(10 * MS);
    let request = worker.requests().remove(0);
    worker.serve(&request);
    assert_eq!(next(&mut worker), Next::Nothing);
}

#[test]
fn a_batch_that_is_due_is_ready_for_the_leader() {
    let mut worker = Harness::new(|settings| settings.connects = false);
    worker.send_batch(0, "a");
    worker.run();
    assert!(matches!(next(&mut worker), Next::Ready(leader) if leader.broker.0 == 1));
}

#[test]
fn a_batch_that_is_due_waits_for_a_leader() {
    let mut worker = Harness::new(|_| {});
    worker.move_leader(0, None);
    worker.publish();
    worker.send_batch(0, "a");
    worker.run();
    assert_eq!(next(&mut worker), Next::WaitForLeader);
    worker.move_leader(0, Some(1));
    worker.publish();
    worker.request();
}

#[test]
fn a_batch_that_is_due_waits_for_a_producer_id() {
    let mut worker = Harness::new(|settings| settings.has_identity = false);
    worker.send_batch(0, "a");
    worker.run();
    assert_eq!(next(&mut worker), Next::WaitForIdentity);
    worker.give_identity(identity(0));
    worker.request();
}

#[test]
fn the_second_batch_of_an_identity_waits_for_the_answer_to_the_first() {
    let mut worker = Harness::new(|_| {});
    worker.send_batch(0, "a");
    let first = worker.request();
    worker.send_batch(0, "b");
    worker.no_request();
    assert_eq!(next(&mut worker), Next::WaitForAnswer);
    worker.serve(&first);
    worker.request();
}

#[test]
fn a_batch_that_was_refused_waits_for_its_backoff_unless_the_leader_changes() {
    let mut worker = Harness::new(|settings| settings.brokers = 2);
    worker.send_batch(0, "a");
    let request = worker.request();
    worker.refuse(&request, ErrorCode::NOT_ENOUGH_REPLICAS);
    assert!(matches!(next(&mut worker), Next::WaitUntil(until) if until > worker.now));
    worker.move_leader(0, Some(2));
    worker.publish();
    assert_eq!(worker.request().broker, 2);
}
