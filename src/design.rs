//! How this crate works, and why: the page to read before changing it. No code.
//!
//! # A record's way
//!
//! 1. **`send`, on the caller's thread** (`producer::kafka_producer`, `producer::intake`). The record is checked and
//!    serialized, without a copy where key and value are bytes already; its topic is looked up, nearly always among the
//!    few that the thread keeps; a partition is chosen; and it is encoded, in its final wire form, into the partition's
//!    *open batch* (`accumulator::open_batch`). A record is copied once on its way to the socket. The caller gets a
//!    [`Future`](crate::Future): a reference to the batch's one block of outcomes and an index in it.
//! 2. **Hand-over.** A full batch goes, as one message of a pointer, over the worker's bounded crossbeam channel (if
//!    that is full, over a queue behind it, which the memory budget bounds). A part-filled batch stays open to more
//!    records and is taken by the worker when it has lingered, or later, when the partition can be sent to: a slow
//!    broker gets fuller batches, not more of them.
//! 3. **`run_once`, on the worker** (`sender::run`): take in events, batches, metadata, timers; then serve each broker.
//!    A batch is compressed and sealed when it is first sent (`sender::request`), and these bytes are kept: a retry
//!    sends the same ones. One Produce request carries a batch of each partition that stands in the broker's line, in
//!    turn, up to `max.request.size`.
//! 4. **The socket** (`connection::tcp_network`, `connection::shared`). The worker writes fields and batches with one vectored
//!    call, without copying them together. Another thread for each connection, which also made it, reads answers and
//!    hands their bytes to the worker, or runs the round that takes them in.
//! 5. **The answer** (`sender::response`) completes each batch exactly once: written, sent again, split or failed. Then
//!    memory returns and futures wake. A batch with callbacks goes to the delivery thread: there its memory returns,
//!    its callbacks run, and then its futures wake.
//!
//! # Threads
//!
//! | thread | how many | does | blocks on |
//! |---|---|---|---|
//! | the caller's | any | serialize, choose a partition, encode | memory or metadata, within one `max.block.ms` |
//! | `kp-sender-N` | `sender.threads` | owns its partitions for life: batches, sequences, compression, requests, retries, expiry, writing | its alarm clock ([below](#wake-ups)); a write, for a few ms |
//! | `kp-sender-N-link` | one a connection | dials (look-up, TCP, ApiVersions), then reads frames; rounds of a worker that [sleeps](#wake-ups) | its socket; as the worker |
//! | `kp-sender-N-writer` | one a connection that stalled | writes what the worker could not; rounds, as `-link` | its socket; as the worker |
//! | `kp-metadata` | 1 | metadata and producer ids, one blocking call after the other | its condition, its socket |
//! | `kp-delivery` | 0 or 1 | user callbacks | its channel |
//! | `kp-bootstrap` | 0 or 1 | with `bootstrap.resolve.timeout.ms`: resolves `bootstrap.servers` in the background until one host resolves | `kp-resolve`, a pause |
//! | `kp-resolve` | one a look-up; up to 16 for all of `bootstrap.servers` | `getaddrinfo`, which has no timeout; may be left behind | the system |
//! | `kp-log` | 0 or 1 | hands the log lines of the producer's other threads to the program's logger, then ends | the logger |
//! | `kp-close` | 0 or 1 | closes the producer if `close` or the last drop ran on one of its own threads | as `close` |
//!
//! **The memory of a batch is freed just before its callbacks run** (`accumulator::allowance`), so the callbacks, and
//! threads that they wait for, can send. Java frees it after them: a full buffer of failed records, each sent again by
//! its callback, then stops for `max.block.ms` a callback. Batches queued for the delivery thread keep their memory, so
//! slow callbacks cannot use more than the budget. Threads already waiting get freed memory first. So a batch's
//! callbacks may exceed the budget by the batch's size, at most 64 KiB.
//!
//! **A producer's own threads never wait for it.** They run user code: callbacks, the logger, and what callbacks drop.
//! A thread-local identifies each thread's producer (`threads`); a batch's outcomes also name their producer. On one of
//! the producer's own threads `send` is `try_send`, `partitions_for` does not wait, `flush` returns an error, `get`
//! returns an error unless the outcome is there, `close` returns an error and another thread closes the producer, and
//! so it does for the last drop, within 10 s. Calls on another producer block as usual.
//!
//! **The producer's threads hand log lines to `kp-log`**, at most 1000 at a time. A logger may block on a lock held by
//! a caller, and that caller may be waiting in `send` for the logging thread. A caller's thread calls the logger
//! itself.
//!
//! **A fork is noticed by a counter.** A forked process has the memory of the producer and none of its threads, and a
//! lock that one of them held is locked there for ever. A handler (`pthread_atfork`) counts forks. `send` detects a
//! fork with the check that detects a closed producer, before any lock. A process id would be a system call for each
//! record. The child leaks what it drops of a producer: dropping it would close the parent's connections.
//!
//! # Decisions
//!
//! **Callers encode.** The first sketch had callers copy records into chunks of 64 and the worker encode them into
//! batches. Here the chunk *is* the batch: one copy less, the encoding is spread over the callers, and a worker's share
//! of a record is its CRC, its compression and its write. The figures are in `benches/README.md`.
//!
//! **The way of nearly every record is short and straight.** `Intake::append` first tries what needs no decision: the
//! topic is known to the thread, its partition's open batch has room for two such records. Only one lock is taken, the
//! partition's. All else (metadata, memory, full batches, the sticky partitioner's turn) is the way beside it. What the
//! short way returns fits two registers: results that went through memory from function to function, written in one
//! size and read in another, took a third of the time. `send_all` takes the way with up to 64 records at once, and the
//! lock once for neighbours in a partition.
//!
//! **Threads in each other's way part.** All threads send to a topic's one sticky partition, whose lock, batch and
//! reference counts then travel between the cores. A thread that finds the lock taken again and again goes on in
//! another *lane*, with a sticky partition of its own, until it begins a batch there. There are no more lanes than
//! cores, nor than half of the partitions, and only while most of the memory is free: callers that wait for memory
//! would wake each other more often with more batches open at a time. What results share, the topic's name, is each
//! batch's own, unless it is long.
//!
//! **What goes to a worker is bounded by the memory budget.** A chunk is pushed under its partition's lock, so that the
//! order of batches is the order of their records; there a push must not block. It cannot: what finds no place in the
//! channel waits in a queue behind it (`accumulator::handover`), and every batch is charged at least 1 KiB of
//! `buffer.memory`, its messages included. A channel with places for the whole budget, which are allocated when it is
//! made, took 2.4 MB of an idle producer for each worker at 32 MiB, and 18 MB at 1 GiB. Waiting happens in one place
//! only, where memory is reserved, before the lock.
//!
//! **Memory is counted by capacity**, when a batch is opened or grows, not for each record: buffer, structures,
//! callbacks. What compression saves comes back when the batch is sealed. A sealed batch's memory is returned by the
//! last holder of its bytes, which may be the network long after the batch has failed: neither bytes nor budget are
//! reused before (KAFKA-19012). A partition's buffer starts with the size its latest batch reached, so idle partitions
//! hold little.
//!
//! **Callbacks stand side by side, not each in a box.** Those of a batch are nearly always of one type, so they are
//! kept in one list of that type (`accumulator::callbacks`). A box for each, made by the caller and freed by the
//! delivery thread, made sending with callbacks half as fast as with futures. From the first one of another type on a
//! batch's are boxed. The worker hands over what was settled, of all partitions, in one message, for it may wake the
//! delivery thread.
//!
//! **A broker's records hold at most three times the memory that is free**, once there were records for another broker.
//! A broker that takes nothing would fill the budget, and so stop the threads that send to others: with a share for
//! each leader it stops those that send to it, and records without a key are led round it. The limit moves with what is
//! free, so it holds for several such brokers, too. Who waits for a share waits in a line of its own
//! (`accumulator::memory`); a batch counts for the broker that led its partition when it was opened.
//!
//! **A silent leader is left when another one is named.** A broker that owes an answer for a second is doubted: the
//! cluster is asked about its topics, again and again, further and further apart (`sender::silence`). A broker that needs
//! seconds for every write gets them, up to 5 s, before it is asked about: questions only add to an overload. Batches
//! of which the cluster names another leader go there, under their own stamps; the others on the connection are waited
//! for as ever. Java waits for `request.timeout.ms` (30 s) first. Only with idempotence: without, a batch whose answer
//! is only late would be doubled. Without idempotence, later batches go to the new leader at once, unless max in flight
//! is 1. A broker that throttles is not silent, for as long as it says.
//!
//! **Records without a key leave a broker that takes nothing at once**, and a partition that has lost its leader. Java
//! keeps to the sticky partition until `batch.size` bytes went to it: where records are small, hundreds expire there
//! while other partitions are well. A worker that finds a broker failing (`sender::availability`), and new metadata
//! that moves a leader, end the turns of those partitions; the callers' fast path does not change. If all brokers fail,
//! all partitions are candidates.
//!
//! **Each partition has its own epoch.** A broker keeps producer epoch and sequences for each partition by itself, so
//! without transactions a partition can heal alone: after a batch that failed for good, expired, or met an out-of-order
//! sequence it raises its own epoch and starts over at sequence 0. Workers need not agree on anything.
//!
//! **A topic that was made anew gets another producer id.** A higher epoch would do where only the topic was deleted.
//! But the cluster may have been wiped and started again with the id that a container's settings give it: it gives
//! producer ids from the start again, so the one in hand is another producer's, and the records of both would be taken
//! for duplicates of each other. Where topics have no ids (brokers before 2.8) such a wipe cannot be noticed.
//! So a picture of the cluster has an *identity era*. It rises when a known topic is gone or has another id, and with
//! another cluster. A partition begins only under a producer id of the present era, and a batch that can be in the log of
//! the topic that is gone fails as *maybe written*. A new metadata connection asks for all topics first, to notice a wipe.
//!
//! **A batch that can be in the log keeps its stamp.** When a partition starts over, batches that are certainly not
//! written get new sequences: those that were refused, and those behind a refused one, which the gap kept out. A batch
//! of unknown fate goes again under its own stamp, by which the leader knows it if it has it; where the leader knows
//! neither stamp nor gap it fails as *maybe written*, where Java sends it under the new epoch and can write it twice.
//! If the topic was made anew meanwhile, such a batch can end in the new topic's log.
//!
//! **Nothing new behind a retry that can be in the log.** A broker remembers the last five batches of a producer in a
//! partition. Were new ones sent behind such a retry, it could forget the batch and take it for a gap.
//!
//! **One batch until the broker knows the identity.** A broker takes the first batch of a producer id or epoch that it
//! does not know at whatever sequence. Were two on their way and the first refused (too large, say), the second would
//! be written before it; a test on a real broker showed it. So up to five batches of a partition are in flight only
//! after the first one of the identity was acknowledged, by this leader in this epoch, and within the last minute: a
//! new leader, or one that has long heard nothing, may know nothing of the producer (any more).
//!
//! **Nothing of one cluster is used in another.** A cluster that is wiped and made anew at the same address gives
//! producer ids from the start again, so two producers came to share one and lost records in silence; an address can
//! also be reused by somebody else's cluster. So clusters are told apart by their ids. A worker's connection asks its
//! broker for the id before it is used (`connection::cluster_check`), and each Metadata answer is looked at: one round trip a
//! connection, none a record. (`ApiVersions` 5, KIP-1242, costs the same, and few brokers have it.) The metadata thread
//! accepts a different cluster id only from a bootstrap address, and only if no known broker answers or a broker asks
//! the client to rebootstrap. A list that names two clusters does not make the producer switch back and forth. With
//! `metadata.recovery.strategy=none`, the producer notices only if a known broker's address is also in
//! `bootstrap.servers`. Then everything begins anew (`sender::replaced`): links, leader epochs, topic ids, sequences,
//! and the identity, which the metadata cache hands out for the cluster that gave it only. Batches that are certainly
//! not written go to the new cluster; those of unknown fate fail as *maybe written*, without idempotence too: the new
//! cluster does not know them again, and the old one may live on elsewhere and be read.
//!
//! **Writes block for a few milliseconds at most**, then the rest of the request goes to a writer thread of that
//! connection alone. A stopped broker costs its worker one such wait; a link that keeps up never has the thread.
//! Sending again and again in small time slices, the first sketch, cost the other brokers a share of the worker for as
//! long as it lasted. The size of the socket's send buffer is left to the system, where Java fixes it at 128 KiB:
//! records of 1 MB are a third faster, with a quarter of the thread switches, and a long link is not held to 128 KiB in
//! a round trip.
//!
//! **A topic learns how large its batches may be** (`record::batch_limit`). A refusal as too large halves the limit,
//! what is queued is split before it is sent, and callers fill smaller batches. The limit grows again while batches
//! are full, because the topic's limit may have been raised. A batch refused because of a sequence gap waits for the
//! earlier batches, without a backoff.
//!
//! **Compression time does not cause timeouts**, up to a limit. A round in which compression took 5 ms sends what it
//! has and ends, so that answers and other brokers have their turn before the next batch; the broker behind the last
//! one is served first then. A request's time counts from its last byte written, and a write that goes on is waited
//! for. A worker adds slow compression time to `delivery.timeout.ms`, at most the same time again. A link thread runs
//! no round for 10 s after a slow batch: it must read its socket. If it meets one unexpectedly, the requests on its link
//! are waited for as much longer.
//!
//! **Each worker has a connection of its own to a broker, if the broker allows it.** A broker refuses a further one
//! above `max.connections.per.ip`, and the system without a free file descriptor. A worker that is refused one joins a
//! connection to the same address that another worker has (`connection::shared`), and leaves its partitions where they
//! are: a broker answers the requests of a connection in their order, so each answer belongs to the worker that asked
//! for the oldest. To the worker it is a link like any other, with its own limit of requests in flight. The metadata
//! thread joins likewise, and closes its own connection when a worker is refused one and there is none to join: records
//! come first. A connection that is shared ends for all when one of its workers finds it broken. A worker that leaves for
//! another reason, such as a new leader, leaves it to the others. A broker that throttles says so in one answer and reads
//! nothing from the whole connection meanwhile (KIP-219): whoever gets the answer tells the connection, which tells its
//! other users, and those that join. Rounds of workers do not nest, so this is taken in by a worker's own thread.
//!
//! **A write of which no byte was taken is no attempt.** Its batches go back into their places as they were, certainly
//! not written, and lose no retry; the link is given up. Java counts each disconnect as an attempt.
//!
//! **The metadata thread has a connection of its own**, if the broker allows it, and leaves a broker that does not
//! answer within two seconds (then four, ...), long before `request.timeout.ms`: a stopped broker must not stop
//! everybody's view of the cluster. It gives up a slow look-up or connection early only if it has another address. The
//! look-up continues, and the next attempt uses its answer.
//!
//! **Leader epochs are kept across an outage.** When every known broker has failed since one last answered, the
//! bootstrap addresses come first. Older metadata from a bootstrap broker is ignored for three seconds
//! (`metadata::policy::outdated`), because the first broker that is back may lag behind. After that it is accepted, because a
//! cluster that was restored from an older copy has nothing newer.
//!
//! **A topic that a broker cannot describe just now stays as it was.** Brokers that start answer with nearly any code.
//! Only an answer that denies the topic takes it out of use: it does not exist, its name is not legal, or this client
//! may not see it. The next write shows whether the known leader still leads.
//!
//! **A peer that closes the connection at ApiVersions 3** is asked in version 0 by the next connection, for five
//! minutes: some proxies do not know KIP-511. Where it closes that one, too, the version is not the reason, and 3 has
//! its turn again.
//!
//! **New metadata costs what it changes**, not what there is. Metadata snapshots share their topics, in 256 parts of
//! which only those with a change are copied (`metadata::topic_map`). Any two snapshots can be compared directly.
//! Callers keep the topics that did not change; a worker looks at the partitions of those that did and at those that
//! had no leader. With all of it made anew at each answer the first record to the 20,000th topic took 19 ms.
//!
//! **A topic that nobody uses is forgotten**, with its partitions and their sequences, when it was idle for
//! `metadata.max.idle.ms`, is out of the metadata, and no batch of it is anywhere; and so are partitions that a topic
//! has no more. The registry and the partitions' locks decide: a retired partition takes no record, and whoever has it
//! looks the topic up anew. The leader may still know the sequences. Were the topic used again from sequence 0 of the
//! same epoch, it could take a new batch for an old one and drop it. So a worker keeps one number for each producer id,
//! the highest epoch of a forgotten partition, and what begins later begins above it. If the epochs are used up, the
//! partition gets another producer id.
//!
//! # Wake-ups
//!
//! Waking a thread costs more than a hundred records. A sleeping worker publishes until when it sleeps
//! (`sync::Wakeup`); whoever has work publishes it first and wakes the worker only if it would be late. A worker that
//! has been told of an open batch will look within `linger.ms` anyway, so batches opened in between are not announced.
//! After a round that took full batches the worker *rests* for up to 150 us (at most `linger.ms`/8) without being
//! woken: more will come, and it takes all of it at once. Under load no caller ever wakes it, requests are larger, and
//! the time of day is read once a round and shared with the callers (`accumulator::worker_handle`): a record's timestamp
//! is at most a round old. Where batches wait for an answer to make room in flight, a round follows the answer and not
//! the rest: without that, and with five requests in flight on a quick link, the broker had nothing to do for most of
//! it, and `send_all` a third less speed.
//!
//! **Who brings an answer runs the round** (`sender::worker`). While a worker's thread sleeps, or rests with batches
//! that wait for an answer, its state lies ready; the link's thread that read an answer takes it, runs `run_once`
//! itself and puts it back, instead of waking a third thread to do so: `send().get()` takes a sixth less time. There is
//! still one who has the state at a time, and nothing in it can tell who. Callers never run rounds: `send` does no I/O.
//!
//! # Settings and names
//!
//! **The producer recovers when a name resolves late.** When `bootstrap.resolve.timeout.ms` is over and no host of
//! `bootstrap.servers` resolves, each call that needs the cluster fails at once and says so. Java's producer then
//! stays useless for good (KIP-909). Ours continues to resolve the names, and works once one resolves. No record is at
//! stake: none was taken before. The producer of a service that started while the name server was down need not be
//! restarted by hand, and whoever calls meanwhile learns why, without waiting for `max.block.ms`.
//!
//! **A settings file is refused as a whole or read as a whole.** What would change what the producer does and cannot be
//! done is refused, so that nobody relies on a setting that has no effect; one error lists all faults of a file, each
//! with its line. `build` lists what is missing and what conflicts in another error, without lines: settings in code
//! may add to a file. What belongs to another client of Kafka is accepted with a warning, as by Java, for files are
//! shared. Java reads files as Latin-1 and editors write UTF-8: a file that is UTF-8 is read so, any other one as Java
//! would.
//!
//! **Whether a producer is at its end is a fact of the producer**, and [`Error::is_fatal`](crate::Error::is_fatal)
//! tells it. A broker's error code does not: `CLUSTER_AUTHORIZATION_FAILED` ends a transaction's coordinator calls and
//! is the fault of one batch for an idempotent producer, which works again with the permission.
//!
//! # Order of locks
//!
//! On a caller's way: the sticky partitioner → a partition → the worker's channel; a partition → memory's line of
//! waiters; the sticky partitioner → the unavailable brokers (shared). With new metadata: topics (exclusive) → a
//! partition → memory's line of waiters; topics (exclusive) → the sticky partitioner. On a worker that reports a
//! broker: topics (shared) → the sticky partitioner. When topics are forgotten: topics (exclusive) → a partition, or a
//! worker's list of retired ones. A caller whose thread does not have a topic looks for it under the topics' lock
//! (shared), and takes no other meanwhile. The metadata cache has two locks: the one of publication is taken before all
//! others; under the one of its state the metadata thread takes topics (shared), to see which are used. A batch's
//! outcomes, a connection's control and the thread group's lock are taken under none of these and take none. No lock is held over user code, I/O, a log line
//! or a wait; wake-ups come after.
//!
//! # What a reader may trip over
//!
//! - A worker receives a batch's announcement before any chunk of that partition, because both go the same way.
//! - `take_open` refuses while a full batch of the partition is in the channel: that one comes first.
//! - A partition's number at its worker is never given to another, so late timers and answers of a forgotten partition
//!   match nothing.
//! - An answer is matched by topic name or, from Produce 13 on, by the topic id the request was sent with.
//! - A batch is settled by whoever drops it, so a worker that panics leaves no future waiting.
//! - `close` first refuses appends in every partition, then tells the workers: no record can slip in behind them.
//!
//! # How it is tested
//!
//! `sh tests/run.sh` runs all of it but the fuzz targets; `.ci/run` adds those for a minute.
//!
//! - **Real Kafka** (`tests/kafka`): clusters that the tests start; what was produced is read back by Kafka's own
//!   tools.
//! - **Chaos** (`tests/kafka/chaos`): three brokers behind proxies; brokers killed, stopped, restarted, leaders moved,
//!   links cut, hung, delayed, slowed, partitions added, limits lowered, while our producers and, beside them, Kafka's
//!   own work under the same faults. `CHAOS_SEED` replays one, `CHAOS_SECONDS=3600` makes it an hour.
//! - **Simulation** (`sender::tests::simulation`): callers, workers, metadata and a strict cluster under a clock set by
//!   hand; a worker runs only when its own deadline or a wake-up would make it. `SIMULATION_SEED` and
//!   `SIMULATION_SEEDS` choose histories: `SIMULATION_SEED=17 SIMULATION_SEEDS=1 cargo test --all-features --lib
//!   simulation`, with `SIMULATION_TRACE=1` for the tale. `tests/defects.rs` plants each of `tests/defects` in a copy
//!   of the source and demands that the simulation finds it: whoever changes the code that a defect changes brings the
//!   defect up to date.
//! - **The rules by name** (`tests/it`, on the mock cluster): `tests/it/origins.rs` tells which case of Java's and
//!   librdkafka's tests is where.
//! - **Fuzzing** (`tests/fuzz/run.sh [seconds [target]]`): every decoder of what a broker sends, and a whole worker fed
//!   with it, on stable Rust.
//!
//! # Layers
//!
//! `time`, `sync`, `threads`, `backoff`, `topic_partition` → `protocol` → `error` → `record` → `connection` →
//! `metadata` → `accumulator` → `sender` → `producer` → `mock`. A module uses those before it, never those behind it;
//! `tests/layers.rs` holds it.
