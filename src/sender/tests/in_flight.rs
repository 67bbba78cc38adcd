//! Five batches of a partition in flight, with every outcome that each can have. For every order of the errors, the log has
//! each acknowledged record once and in order, and no record that failed for good.

use crate::error::Delivery;
use crate::protocol::ErrorCode;
use crate::protocol::messages::ProducePartitionResponse;
use crate::sender::scripted::{Harness, MS, Sent, Ticket, refused};

const BATCHES: usize = 5;

/// What the leader does with a batch that it gets for the first time. A sequence that is out of order is reported first.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Fate {
    Written,
    /// Refuses it with a retriable error.
    NotYet,
    /// Writes it, and answers with a retriable error.
    WrittenAndDenied,
    /// Refuses it for good.
    Refused,
    /// Finds it too large.
    TooLarge,
}

const FATES: [Fate; 5] = [
    Fate::Written,
    Fate::NotYet,
    Fate::WrittenAndDenied,
    Fate::Refused,
    Fate::TooLarge,
];

/// SenderTest.testCorrectHandlingOfOutOfOrderResponses(WhenSecondSucceeds), testIdempotenceWithMultipleInflights*,
/// RecordAccumulatorTest.testReadyAndDrainWhenABatchIsBeingRetried, and all their combinations.
#[test]
fn the_log_is_in_order_for_every_outcome_of_five_batches_in_flight() {
    for number in 0..FATES.len().pow(BATCHES as u32) {
        let fates: Vec<Fate> = (0..BATCHES as u32)
            .map(|digit| FATES[number / FATES.len().pow(digit) % FATES.len()])
            .collect();
        let (mut worker, tickets, requests) = five_in_flight();
        for (request, fate) in requests.iter().zip(&fates) {
            meet(&mut worker, request, *fate);
        }
        serve_all(&mut worker);
        let is_refused = |batch: usize| fates[batch] == Fate::Refused;
        assert_outcome(&worker, &tickets, is_refused, &format!("{fates:?}"));
    }
}

/// librdkafka 0144 (its n from 1 to 5) and 0090: the connection breaks after the leader has written some of the batches
/// and has answered some of those. Then the first batch that is sent again fails, too.
#[test]
fn a_connection_that_breaks_with_five_batches_in_flight_loses_and_duplicates_nothing() {
    for written in 0..=BATCHES {
        for answered in 0..=written {
            for moves in [false, true] {
                for again in FATES.into_iter().filter(|fate| *fate != Fate::Refused) {
                    let (mut worker, tickets, requests) = five_in_flight();
                    for request in &requests[..answered] {
                        worker.serve(request);
                    }
                    for request in &requests[answered..written] {
                        worker.append(request);
                    }
                    worker.hang_up(1);
                    if moves {
                        worker.move_leader(0, Some(2));
                        worker.publish();
                    }
                    worker.run_for(500 * MS);
                    if let Some(request) = worker.requests().first() {
                        meet(&mut worker, request, again);
                    }
                    serve_all(&mut worker);
                    let what = format!(
                        "{written} written, {answered} answered, moves: {moves}, then {again:?}"
                    );
                    // The leader has or had the batch, and finds it too large now: the batch is maybe written.
                    if again != Fate::TooLarge || written == answered {
                        assert_outcome(&worker, &tickets, |_| false, &what);
                    }
                    assert_nothing_twice_or_out_of_order(&worker, &what);
                }
            }
        }
    }
}

/// A worker with five batches of two records each in flight, `0a 0b`, `1a 1b` and so on.
fn five_in_flight() -> (Harness, Vec<Ticket>, Vec<Sent>) {
    let mut worker = Harness::new(|settings| {
        settings.brokers = 2;
        settings.sender.topics.delivery_timeout = 3_600_000 * MS;
        settings.sender.request_timeout = 3_600_000 * MS;
    });
    worker.send_batch(0, "first");
    let request = worker.request();
    worker.serve(&request);
    let mut tickets = Vec::new();
    for batch in 0..BATCHES {
        for record in ["a", "b"] {
            let filling = "-".repeat(450);
            tickets.push(worker.send(0, &format!("{batch}{record}{filling}")));
        }
    }
    worker.run();
    worker.advance(10 * MS);
    worker.run();
    let requests = worker.requests();
    assert_eq!(requests.len(), BATCHES);
    (worker, tickets, requests)
}

fn meet(worker: &mut Harness, request: &Sent, fate: Fate) {
    match fate {
        Fate::Written => worker.serve(request),
        Fate::NotYet => worker.refuse(request, ErrorCode::NOT_ENOUGH_REPLICAS),
        Fate::Refused => worker.refuse(request, ErrorCode::INVALID_RECORD),
        Fate::TooLarge => worker.refuse(request, ErrorCode::MESSAGE_TOO_LARGE),
        Fate::WrittenAndDenied => {
            let mut answers = worker.append(request).into_iter();
            worker.answer(request, |_| {
                let answer = answers.next().unwrap();
                if answer.error.is_none() {
                    ProducePartitionResponse {
                        base_offset: answer.base_offset,
                        ..refused(ErrorCode::NOT_ENOUGH_REPLICAS_AFTER_APPEND)
                    }
                } else {
                    answer
                }
            });
        }
    }
}

/// Serves all requests: from now on the leader accepts everything.
fn serve_all(worker: &mut Harness) {
    const MOST_ROUNDS: usize = 40;
    for _ in 0..MOST_ROUNDS {
        worker.run_for(1500 * MS);
        let requests = worker.requests();
        if requests.is_empty() {
            return;
        }
        for request in requests {
            worker.serve(&request);
        }
    }
    panic!("the worker sends again and again");
}

fn names(worker: &Harness) -> Vec<String> {
    let log = worker.log(0);
    log.iter().map(|value| value[..2].to_owned()).collect()
}

#[track_caller]
fn assert_outcome(
    worker: &Harness,
    tickets: &[Ticket],
    is_refused: impl Fn(usize) -> bool,
    what: &str,
) {
    let mut expected = vec!["fi".to_owned()];
    for (index, ticket) in tickets.iter().enumerate() {
        let (batch, record) = (index / 2, ["a", "b"][index % 2]);
        let result = ticket
            .result()
            .unwrap_or_else(|| panic!("{what}: no outcome"));
        if is_refused(batch) {
            let error = result.expect_err(what);
            assert_eq!(error.delivery(), Delivery::NotWritten, "{what}");
        } else {
            let written = result.unwrap_or_else(|error| panic!("{what}: batch {batch}: {error}"));
            assert_eq!(written.offset, Some(expected.len() as i64), "{what}");
            expected.push(format!("{batch}{record}"));
        }
    }
    assert_eq!(names(worker), expected, "{what}");
    assert_eq!(worker.memory_in_use(), 0, "{what}");
}

#[track_caller]
fn assert_nothing_twice_or_out_of_order(worker: &Harness, what: &str) {
    let names = names(worker);
    assert!(
        names[1..].windows(2).all(|pair| pair[0] < pair[1]),
        "{what}: {names:?}"
    );
}
