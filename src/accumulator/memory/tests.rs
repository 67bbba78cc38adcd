use super::*;
use crate::sync::channel;
use std::time::Duration;

fn soon() -> Instant {
    Instant::now() + Duration::from_millis(20)
}

fn late() -> Instant {
    Instant::now() + Duration::from_secs(30)
}

/// Starts a thread that waits for `bytes` and is in line when this returns.
fn wait_in_line(
    memory: &Arc<BufferMemory>,
    share: &Arc<BrokerShare>,
    bytes: usize,
    served: channel::Sender<(usize, Reservation)>,
) -> std::thread::JoinHandle<()> {
    let (in_line, is_in_line) = channel::bounded(1);
    let (memory, share) = (Arc::clone(memory), Arc::clone(share));
    let handle = std::thread::spawn(move || {
        if let Ok(reservation) = memory.reserve(bytes, &share, share.moves(), late(), || {
            in_line.send(()).unwrap()
        }) {
            let _ = served.send((bytes, reservation));
        }
    });
    is_in_line.recv().unwrap();
    handle
}

#[test]
fn what_is_dropped_can_be_reserved_again() {
    let (memory, share) = (BufferMemory::new(100), Arc::default());
    let mut first = memory.try_reserve(60, &share).unwrap();
    assert!(memory.try_reserve(41, &share).is_err());
    first.absorb(memory.try_reserve(40, &share).unwrap());
    assert_eq!((first.bytes(), memory.available()), (100, 0));
    let part = first.split(30);
    first.shrink_to(10);
    assert_eq!(memory.available(), 60);
    drop((first, part));
    assert_eq!(memory.available(), 100);
}

#[test]
fn what_was_taken_beyond_the_budget_is_missing_until_it_comes_back() {
    let (memory, share) = (BufferMemory::new(100), Arc::default());
    let first = memory.try_reserve(60, &share).unwrap();
    let beyond = memory.take_now(90, &share);
    assert!(memory.try_reserve(1, &share).is_err());
    drop(first);
    assert_eq!(memory.available(), 10);
    drop(beyond);
    assert_eq!(memory.available(), 100);
}

#[test]
fn a_wait_ends_at_its_deadline_and_leaves_the_line() {
    let (memory, share) = (BufferMemory::new(100), Arc::default());
    let held = memory.try_reserve(100, &share).unwrap();
    assert_eq!(
        memory
            .reserve(1, &share, share.moves(), soon(), || {})
            .err(),
        Some(ReserveError::Exhausted(Shortage::Budget))
    );
    assert!(!memory.is_exhausted());
    drop(held);
    assert_eq!(memory.available(), 100);
}

#[test]
fn waiters_are_served_in_the_order_in_which_they_came() {
    let (memory, share) = (BufferMemory::new(100), Arc::default());
    let mut held = memory.try_reserve(100, &share).unwrap();
    let (served, order) = channel::unbounded();
    let threads = [70, 10, 20].map(|bytes| wait_in_line(&memory, &share, bytes, served.clone()));
    held.shrink_to(50);
    assert!(
        memory.try_reserve(1, &share).is_err(),
        "nobody overtakes those in line"
    );
    assert!(
        order.try_recv().is_err(),
        "small requests wait behind the large one"
    );
    drop(held);
    let mut got: Vec<usize> = Vec::new();
    let mut reservations = Vec::new();
    for _ in 0..3 {
        let (bytes, reservation) = order.recv().unwrap();
        got.push(bytes);
        reservations.push(reservation);
    }
    got.sort_unstable();
    assert_eq!(got, [10, 20, 70]);
    for thread in threads {
        thread.join().unwrap();
    }
    drop(reservations);
    assert_eq!(memory.available(), 100);
}

#[test]
fn a_waiter_that_gives_up_passes_its_place_on() {
    let (memory, share) = (BufferMemory::new(100), Arc::default());
    let mut held = memory.try_reserve(100, &share).unwrap();
    let (in_line, is_in_line) = channel::bounded(1);
    let impatient = {
        let (memory, share) = (Arc::clone(&memory), Arc::clone(&share));
        std::thread::spawn(move || {
            let deadline = Instant::now() + Duration::from_millis(100);
            memory
                .reserve(90, &share, share.moves(), deadline, || {
                    in_line.send(()).unwrap()
                })
                .err()
        })
    };
    is_in_line.recv().unwrap();
    let (served, order) = channel::unbounded();
    let patient = wait_in_line(&memory, &share, 10, served);
    held.shrink_to(50);
    assert_eq!(
        impatient.join().unwrap(),
        Some(ReserveError::Exhausted(Shortage::Budget))
    );
    let (bytes, _reservation) = order.recv_timeout(Duration::from_secs(10)).unwrap();
    assert_eq!(bytes, 10);
    patient.join().unwrap();
}

#[test]
fn closing_wakes_every_waiter() {
    let (memory, share) = (BufferMemory::new(10), Arc::default());
    let _held = memory.try_reserve(10, &share).unwrap();
    let waiters: Vec<_> = (0..4)
        .map(|_| {
            let (memory, share) = (Arc::clone(&memory), Arc::clone(&share));
            let (in_line, is_in_line) = channel::bounded(1);
            let thread = std::thread::spawn(move || {
                memory
                    .reserve(5, &share, share.moves(), late(), || {
                        in_line.send(()).unwrap()
                    })
                    .err()
            });
            is_in_line.recv().unwrap();
            thread
        })
        .collect();
    memory.close();
    for waiter in waiters {
        assert_eq!(waiter.join().unwrap(), Some(ReserveError::Closed));
    }
    assert!(!memory.is_exhausted());
}

#[test]
fn many_threads_never_hold_more_than_the_budget() {
    const TOTAL: usize = 1000;
    let (memory, share) = (BufferMemory::new(TOTAL), Arc::default());
    let held = Arc::new(AtomicUsize::new(0));
    let threads: Vec<_> = (1..=8)
        .map(|n| {
            let (memory, share) = (Arc::clone(&memory), Arc::clone(&share));
            let held = Arc::clone(&held);
            std::thread::spawn(move || {
                for round in 0..2000 {
                    let bytes = (n * 37 + round * 13) % 400 + 1;
                    let reservation = memory
                        .reserve(bytes, &share, share.moves(), late(), || {})
                        .unwrap();
                    assert!(held.fetch_add(bytes, SeqCst) + bytes <= TOTAL);
                    held.fetch_sub(bytes, SeqCst);
                    drop(reservation);
                }
            })
        })
        .collect();
    for thread in threads {
        thread.join().unwrap();
    }
    assert_eq!(memory.available(), TOTAL);
    assert!(!memory.is_exhausted());
}

fn shares() -> [Arc<BrokerShare>; 2] {
    Default::default()
}

#[test]
fn a_broker_alone_may_have_everything_and_beside_another_three_quarters() {
    let (memory, [a, b]) = (BufferMemory::new(100), shares());
    drop(memory.try_reserve(100, &a).unwrap());
    drop(memory.try_reserve(10, &b).unwrap());
    let some = memory.try_reserve(70, &a).unwrap();
    let most = memory.try_reserve(5, &a).unwrap();
    assert_eq!(memory.try_reserve(1, &a).err(), Some(Shortage::Share));
    let mut rest = memory.try_reserve(15, &b).unwrap();
    rest.absorb(memory.try_reserve(3, &b).unwrap());
    assert_eq!(memory.try_reserve(1, &b).err(), Some(Shortage::Budget));
    drop((some, most, rest));
    let whole = memory.try_reserve(100, &a);
    assert!(whole.is_ok(), "for what is larger than a share");
}

#[test]
fn who_waits_for_a_share_holds_up_nobody_else() {
    let (memory, [a, b]) = (BufferMemory::new(100), shares());
    drop(memory.try_reserve(1, &b).unwrap());
    let mut stuck = memory.try_reserve(70, &a).unwrap();
    stuck.absorb(memory.try_reserve(5, &a).unwrap());
    let (served, order) = channel::unbounded();
    let threads = [20, 10].map(|bytes| wait_in_line(&memory, &a, bytes, served.clone()));
    assert!(memory.has_exhausted_share() && a.is_exhausted() && !b.is_exhausted());
    assert!(!memory.is_exhausted());
    for _ in 0..3 {
        drop(memory.try_reserve(25, &b).unwrap());
    }
    stuck.shrink_to(60);
    assert!(order.try_recv().is_err(), "10 waits behind 20");
    stuck.shrink_to(55);
    assert_eq!(order.recv().unwrap().0, 20);
    drop(stuck);
    assert_eq!(order.recv().unwrap().0, 10);
    threads
        .into_iter()
        .for_each(|thread| thread.join().unwrap());
    drop(order);
    assert_eq!(memory.available(), 100);
    assert!(!memory.has_exhausted_share() && !a.is_exhausted());
}

#[test]
fn who_has_his_share_and_gives_up_waiting_for_the_budget_gives_it_back() {
    let (memory, [a, b]) = (BufferMemory::new(100), shares());
    let held = [
        memory.try_reserve(60, &a).unwrap(),
        memory.try_reserve(40, &b).unwrap(),
    ];
    let c = Arc::default();
    for share in [&a, &c] {
        assert_eq!(
            memory
                .reserve(15, share, share.moves(), soon(), || {})
                .err(),
            Some(ReserveError::Exhausted(Shortage::Budget))
        );
    }
    assert_eq!(c.used(), 0);
    drop(held);
    assert_eq!((memory.available(), a.used.load(SeqCst)), (100, 0));
}

#[test]
fn however_many_brokers_take_nothing_something_is_left_for_the_others() {
    let memory = BufferMemory::new(100_000);
    let shares: Vec<Arc<BrokerShare>> = (0..8).map(BrokerShare::of).collect();
    shares
        .iter()
        .for_each(|share| drop(memory.try_reserve(1, share)));
    let (well, stuck) = shares.split_last().unwrap();
    let mut held = Vec::new();
    for share in stuck.iter().cycle().take(10_000) {
        held.extend(memory.try_reserve(100, share));
    }
    assert!(memory.available() > 4_000, "{} left", memory.available());
    assert!(memory.available() < 6_000);
    for _ in 0..100 {
        drop(memory.try_reserve(1_000, well).unwrap());
    }
}

#[test]
fn who_waits_for_a_share_is_sent_on_when_the_leader_changes() {
    let (memory, [a, b]) = (BufferMemory::new(100), shares());
    drop(memory.try_reserve(1, &b).unwrap());
    let mut stuck = memory.try_reserve(70, &a).unwrap();
    stuck.absorb(memory.try_reserve(5, &a).unwrap());
    let place = memory.join_line(20, &a);
    memory.send_on(&b);
    assert!(!place.is_over());
    memory.send_on(&a);
    assert_eq!(place.wait(late()).err(), Some(ReserveError::SentOn));
    assert!(!memory.has_exhausted_share());
}

#[test]
fn what_joins_a_reservation_counts_for_its_share() {
    let (memory, [a, b]) = (BufferMemory::new(100), shares());
    let mut first = memory.try_reserve(10, &a).unwrap();
    first.absorb(memory.try_reserve(20, &b).unwrap());
    assert_eq!((a.used.load(SeqCst), b.used.load(SeqCst)), (30, 0));
    drop(first);
    assert_eq!((memory.available(), a.used.load(SeqCst)), (100, 0));
}

#[test]
fn many_threads_of_several_brokers_all_get_their_memory() {
    const TOTAL: usize = 1000;
    let memory = BufferMemory::new(TOTAL);
    let shares: [Arc<BrokerShare>; 3] = Default::default();
    std::thread::scope(|scope| {
        for n in 1..=9 {
            let (memory, share) = (&memory, &shares[n % 3]);
            scope.spawn(move || {
                for round in 0..2000 {
                    let bytes = (n * 37 + round * 13) % 900 + 1;
                    drop(
                        memory
                            .reserve(bytes, share, share.moves(), late(), || {})
                            .unwrap(),
                    );
                }
            });
        }
    });
    assert_eq!(memory.available(), TOTAL);
    assert!(shares.iter().all(|share| share.used.load(SeqCst) == 0));
    assert!(!memory.is_exhausted() && !memory.has_exhausted_share());
}

#[test]
fn a_caller_that_comes_too_late_to_be_sent_on_looks_again_at_once() {
    let memory = BufferMemory::new(100);
    let (left, other) = (BrokerShare::of(1), BrokerShare::of(2));
    let _held = memory.try_reserve(60, &left).ok().unwrap();
    let _elsewhere = memory.try_reserve(10, &other).ok().unwrap();
    // The partition moves after the caller has looked at it, and before it waits.
    let moves = left.moves();
    memory.send_on(&left);
    assert_eq!(
        memory.reserve(25, &left, moves, late(), || {}).err(),
        Some(ReserveError::SentOn)
    );
}
