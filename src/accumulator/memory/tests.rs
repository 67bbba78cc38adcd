use super::*;
use crate::error::ErrorKind;
use crate::sync::channel;
use std::time::Duration;

fn soon() -> Instant {
    Instant::now() + Duration::from_millis(20)
}

fn late() -> Instant {
    Instant::now() + Duration::from_secs(30)
}

fn short(bytes: usize, share: &Arc<BrokerShare>) -> Shortage {
    Shortage::new(bytes, share, MemoryLimit::Budget)
}

fn limit(reserved: Result<Reservation, Shortage>) -> Option<MemoryLimit> {
    reserved.err().map(|shortage| shortage.limit)
}

/// Starts a thread that waits for `bytes`. The thread is in the queue when this returns.
fn wait_in_queue(
    memory: &Arc<BufferMemory>,
    share: &Arc<BrokerShare>,
    bytes: usize,
    served: channel::Sender<(usize, Reservation)>,
) -> std::thread::JoinHandle<()> {
    let (queued, is_queued) = channel::bounded(1);
    let (memory, share) = (Arc::clone(memory), Arc::clone(share));
    let handle = std::thread::spawn(move || {
        if let Ok(reservation) =
            memory.reserve(&short(bytes, &share), late(), || queued.send(()).unwrap())
        {
            let _ = served.send((bytes, reservation));
        }
    });
    is_queued.recv().unwrap();
    handle
}

#[test]
fn dropped_reservations_can_be_reserved_again() {
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
fn memory_taken_beyond_the_budget_is_missing_until_it_is_free_again() {
    let (memory, share) = (BufferMemory::new(100), Arc::default());
    let first = memory.try_reserve(60, &share).unwrap();
    let beyond = memory.reserve_beyond_budget(90, &share);
    assert!(memory.try_reserve(1, &share).is_err());
    drop(first);
    assert_eq!(memory.available(), 10);
    drop(beyond);
    assert_eq!(memory.available(), 100);
}

#[test]
fn a_wait_ends_at_its_deadline_and_leaves_the_queue() {
    let (memory, share) = (BufferMemory::new(100), Arc::default());
    let held = memory.try_reserve(100, &share).unwrap();
    assert_eq!(
        memory.reserve(&short(1, &share), soon(), || {}).err(),
        Some(WaitError::TimedOut)
    );
    assert!(!memory.has_budget_waiters());
    drop(held);
    assert_eq!(memory.available(), 100);
}

#[test]
fn waiters_are_served_in_the_order_in_which_they_came() {
    let (memory, share) = (BufferMemory::new(100), Arc::default());
    let mut held = memory.try_reserve(100, &share).unwrap();
    let (served, order) = channel::unbounded();
    let threads = [70, 10, 20].map(|bytes| wait_in_queue(&memory, &share, bytes, served.clone()));
    held.shrink_to(50);
    assert!(
        memory.try_reserve(1, &share).is_err(),
        "no caller gets memory before a waiter"
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
fn a_waiter_that_gives_up_lets_the_next_one_be_served() {
    let (memory, share) = (BufferMemory::new(100), Arc::default());
    let mut held = memory.try_reserve(100, &share).unwrap();
    let (queued, is_queued) = channel::bounded(1);
    let impatient = {
        let (memory, share) = (Arc::clone(&memory), Arc::clone(&share));
        std::thread::spawn(move || {
            let deadline = Instant::now() + Duration::from_millis(100);
            memory
                .reserve(&short(90, &share), deadline, || queued.send(()).unwrap())
                .err()
        })
    };
    is_queued.recv().unwrap();
    let (served, order) = channel::unbounded();
    let patient = wait_in_queue(&memory, &share, 10, served);
    held.shrink_to(50);
    assert_eq!(impatient.join().unwrap(), Some(WaitError::TimedOut));
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
            let (queued, is_queued) = channel::bounded(1);
            let thread = std::thread::spawn(move || {
                memory
                    .reserve(&short(5, &share), late(), || queued.send(()).unwrap())
                    .err()
            });
            is_queued.recv().unwrap();
            thread
        })
        .collect();
    memory.close();
    for waiter in waiters {
        assert_eq!(waiter.join().unwrap(), Some(WaitError::Closed));
    }
    assert!(!memory.has_budget_waiters());
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
                        .reserve(&short(bytes, &share), late(), || {})
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
    assert!(!memory.has_budget_waiters());
}

fn shares() -> [Arc<BrokerShare>; 2] {
    Default::default()
}

#[test]
fn one_broker_may_hold_everything_and_beside_another_three_quarters() {
    let (memory, [a, b]) = (BufferMemory::new(100), shares());
    drop(memory.try_reserve(100, &a).unwrap());
    drop(memory.try_reserve(10, &b).unwrap());
    let some = memory.try_reserve(70, &a).unwrap();
    let most = memory.try_reserve(5, &a).unwrap();
    assert_eq!(limit(memory.try_reserve(1, &a)), Some(MemoryLimit::Share));
    let mut rest = memory.try_reserve(15, &b).unwrap();
    rest.absorb(memory.try_reserve(3, &b).unwrap());
    assert_eq!(limit(memory.try_reserve(1, &b)), Some(MemoryLimit::Budget));
    drop((some, most, rest));
    let whole = memory.try_reserve(100, &a);
    assert!(
        whole.is_ok(),
        "a share that holds nothing may take any size"
    );
}

#[test]
fn a_waiter_for_a_share_delays_no_other_share() {
    let (memory, [a, b]) = (BufferMemory::new(100), shares());
    drop(memory.try_reserve(1, &b).unwrap());
    let mut stuck = memory.try_reserve(70, &a).unwrap();
    stuck.absorb(memory.try_reserve(5, &a).unwrap());
    let (served, order) = channel::unbounded();
    let threads = [20, 10].map(|bytes| wait_in_queue(&memory, &a, bytes, served.clone()));
    assert!(memory.has_share_waiters() && a.has_waiters() && !b.has_waiters());
    assert!(!memory.has_budget_waiters());
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
    assert!(!memory.has_share_waiters() && !a.has_waiters());
}

#[test]
fn a_waiter_for_the_budget_that_gives_up_frees_its_part_of_the_share() {
    let (memory, [a, b]) = (BufferMemory::new(100), shares());
    let held = [
        memory.try_reserve(60, &a).unwrap(),
        memory.try_reserve(40, &b).unwrap(),
    ];
    let c = Arc::default();
    for share in [&a, &c] {
        assert_eq!(
            memory.reserve(&short(15, share), soon(), || {}).err(),
            Some(WaitError::TimedOut)
        );
    }
    assert_eq!(c.reserved(), 0);
    drop(held);
    assert_eq!((memory.available(), a.reserved.load(SeqCst)), (100, 0));
}

#[test]
fn brokers_that_take_nothing_leave_memory_for_the_others_however_many_they_are() {
    let memory = BufferMemory::new(100_000);
    let shares: Vec<Arc<BrokerShare>> = (0..8).map(BrokerId).map(BrokerShare::of).collect();
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
fn a_waiter_for_a_share_is_woken_when_the_leader_changes() {
    let (memory, [a, b]) = (BufferMemory::new(100), shares());
    drop(memory.try_reserve(1, &b).unwrap());
    let mut stuck = memory.try_reserve(70, &a).unwrap();
    stuck.absorb(memory.try_reserve(5, &a).unwrap());
    let pending = memory.start_waiting(&short(20, &a));
    memory.partition_left(&b);
    assert!(!pending.is_ready());
    memory.partition_left(&a);
    assert_eq!(pending.wait(late()).err(), Some(WaitError::ShareChanged));
    assert!(!memory.has_share_waiters());
}

#[test]
fn absorbed_memory_belongs_to_the_share_of_the_reservation() {
    let (memory, [a, b]) = (BufferMemory::new(100), shares());
    let mut first = memory.try_reserve(10, &a).unwrap();
    first.absorb(memory.try_reserve(20, &b).unwrap());
    assert_eq!((a.reserved.load(SeqCst), b.reserved.load(SeqCst)), (30, 0));
    drop(first);
    assert_eq!((memory.available(), a.reserved.load(SeqCst)), (100, 0));
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
                    drop(memory.reserve(&short(bytes, share), late(), || {}).unwrap());
                }
            });
        }
    });
    assert_eq!(memory.available(), TOTAL);
    assert!(shares.iter().all(|share| share.reserved.load(SeqCst) == 0));
    assert!(!memory.has_budget_waiters() && !memory.has_share_waiters());
}

#[test]
fn a_caller_that_waits_after_the_leader_changed_does_not_wait() {
    let memory = BufferMemory::new(100);
    let (left, other) = (BrokerShare::of(BrokerId(1)), BrokerShare::of(BrokerId(2)));
    let _held = memory.try_reserve(60, &left).ok().unwrap();
    let _elsewhere = memory.try_reserve(10, &other).ok().unwrap();
    // The partition moves after the caller has looked at it, and before it waits.
    let shortage = short(25, &left);
    memory.partition_left(&left);
    assert_eq!(
        memory.reserve(&shortage, late(), || {}).err(),
        Some(WaitError::ShareChanged)
    );
}

#[test]
fn the_waiters_for_a_broker_are_told_when_it_refuses_this_client() {
    let (memory, [a, b]) = (BufferMemory::new(100), shares());
    drop(memory.try_reserve(1, &b).unwrap());
    let held = memory.try_reserve(70, &a).unwrap();
    let beyond = memory.reserve_beyond_budget(30, &b);
    let for_share = memory.start_waiting(&short(20, &a));
    let for_budget = memory.start_waiting(&short(20, &b));
    memory.connection_failed(&a, &Error::new(ErrorKind::Network, "no route"));
    assert!(!for_share.is_ready() && a.refusal().is_none());
    let refusal = Error::new(ErrorKind::Authentication, "wrong password");
    memory.connection_failed(&a, &refusal);
    assert!(!for_budget.is_ready(), "it waits for another broker");
    assert_eq!(for_share.wait(late()).err(), Some(WaitError::Refused));
    assert_eq!(a.refusal().unwrap().kind(), ErrorKind::Authentication);
    memory.connection_failed(&b, &refusal);
    assert_eq!(for_budget.wait(late()).err(), Some(WaitError::Refused));
    // Who comes later waits for the next attempt.
    let later = memory.start_waiting(&short(20, &a));
    assert!(!later.is_ready());
    memory.connection_works(&a);
    assert!(a.refusal().is_none());
    drop((held, beyond));
    assert!(later.wait(late()).is_ok());
    assert_eq!(memory.available(), 100);
}
