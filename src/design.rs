//! How this crate works, and why: the page to read before changing it. No code.
//!
//! # Where to find what
//!
//! | question | answer |
//! |---|---|
//! | How does `send` put a record into a batch? | `producer::intake`, then `accumulator::open_batch` |
//! | What decides when a partition's batch is sent? | `Sender::next` in `sender::reschedule`. `Sender::reschedule` applies it, and `sender::request` asks again when it fills a request |
//! | Which partitions are ready for which broker? | `sender::brokers`: each broker's ready queue |
//! | Who may raise an epoch, and when? | `identity::epoch_per_partition`, and nothing else |
//! | Which thread asks for a producer id? | `identity::acquire`, on the metadata thread |
//! | Where does TLS go? | another variant of the two halves in `connection::transport`; `Dial::run` in `connection::dial` makes it |
//! | Where does SASL go? | another `Authenticator` (`connection::authentication`); `Dial::run` calls it after version negotiation |
//! | Where are TLS and SASL settings refused today, and where would they go? | `producer::config::not_yet`; `config::table::security`, then `config::parts` |
//! | How is a broker's answer processed? | `sender::response`; what an error code means: `error::code_rules` |
//! | Which broker is asked for metadata, and when? | `metadata::policy` |
//! | Where does a new setting go? | a row in `producer::config::table`, a line in `producer::config::parts` |
//! | Which settings could differ by topic? | `accumulator::topic_config` (today all topics have the same) |
//! | How does a producer start, close, or end after a panic? | `engine::start`, `engine::close`, `engine::panics` in `producer` |
//!
//! # Glossary
//!
//! Kafka's own terms have Kafka's meaning. These are ours:
//!
//! - **Worker**: a `kp-sender-N` thread and what it owns. A partition belongs to one worker for its whole life.
//! - **Round**: one call of `Sender::run_once`. Only one thread runs a worker's rounds at a time.
//! - **Open batch**: the batch of a partition to which callers append. A *full* batch accepts no more records and is
//!   handed to the worker.
//! - **Announcement**: the message that notifies a worker that a partition has an open batch.
//! - **Ready queue**: the partitions that have a batch to send to a broker, in the order in which they are served.
//! - **Link**: one worker's use of a connection to a broker. Several links share a connection only if the broker or the
//!   system refuses further ones.
//! - **Producer stamp**: producer id, epoch and base sequence of a batch. A broker recognizes a batch by it.
//! - **Sequence gap**: a batch that is certainly not in the log. While the leader waits for it, it accepts no later batch
//!   of the same epoch.
//! - **Maybe written**: a batch was sent and no answer reported its outcome.
//! - **Identity era**: a number that rises when the cluster may have given our producer id to another producer, or when
//!   metadata older than the known one is accepted.
//! - **Sticky turn**: the time for which records without a key go to one partition.
//! - **Sticky slot**: the holder of one sticky partition of a topic. Threads with the same slot send to the same sticky
//!   partition. A topic has several slots only while threads collide.
//! - **Successor**: the link that replaces one whose session ends.
//! - **Release** (memory): to give reserved bytes of `buffer.memory` back to the budget. Allocated memory is *freed*.
//! - **Share**: the part of `buffer.memory` that records for one broker hold. Its limit depends on the free memory.
//! - **Pause** (of a worker): the up to 150 us that a busy worker waits to collect more batches.
//! - **Silent broker**: a broker that has owed an answer for a second.
//! - **Metadata snapshot**: the cluster as the latest metadata describes it; the type is `Cluster`.
//! - **Attempt** (of the metadata thread): to ask one broker after the other until one has answered all that is
//!   requested.
//! - **Rebootstrap**: to search for the cluster again from `bootstrap.servers`.
//! - **Code rule**: what this client does after an error code of a broker.
//! - **Script** (in tests): what a scripted network does when a worker connects, writes or closes.
//!
//! # The path of a record
//!
//! 1. **`send`, on the caller's thread** (`producer::kafka_producer`, `producer::intake`). The record is checked and
//!    serialized, without a copy if key and value are bytes already. Its topic is looked up, nearly always among the few
//!    that the thread keeps. A partition is chosen. The record is encoded, in its final wire form, into the partition's
//!    open batch (`accumulator::open_batch`). A record is copied once on its way to the socket. The caller gets a
//!    [`Future`](crate::Future): a reference to the batch's block of outcomes and an index in it.
//! 2. **Handover.** A full batch goes over the worker's bounded crossbeam channel, as one message of a pointer. If the
//!    channel is full, the batch goes to a queue behind it, which the memory budget bounds. A batch that is not full
//!    stays open and the worker takes it when it has lingered, or later, when it can be sent: a slow broker gets fuller
//!    batches, not more of them.
//! 3. **`run_once`, on the worker** (`sender::run`): receive events, batches, metadata and timers; then serve each
//!    broker. A batch is compressed and sealed when it is first sent, and these bytes are kept: a retry sends the same
//!    ones. One Produce request carries at most one batch of each partition in the broker's ready queue, in order, up to
//!    `max.request.size`. All its batches have the same `acks`.
//! 4. **The socket** (`connection`). The worker writes fields and batches with one vectored call, without copying them
//!    together. Each connection has a thread, which also made it. That thread reads answers and hands their bytes to the
//!    worker, or runs the round that processes them.
//! 5. **The answer** (`sender::response`) decides what happens to each batch: it is written, failed, sent again or split.
//!    Each record gets its outcome exactly once. Then memory is released and futures wake. A batch with callbacks goes
//!    to the delivery thread. There its memory is released, its callbacks run, and then its futures wake.
//!
//! # Threads
//!
//! | thread | how many | does | blocks on |
//! |---|---|---|---|
//! | the caller's | any | serialize, choose a partition, encode | memory or metadata, within one `max.block.ms` |
//! | `kp-sender-N` | `sender.threads` | owns its partitions for life: batches, sequences, compression, requests, retries, expiry, writing | its wake-up ([below](#wake-ups)); a write, for a few ms |
//! | `kp-link-N` | one a connection | dials (look-up, TCP, ApiVersions), then reads frames; rounds of a worker that [sleeps](#wake-ups) | its socket; as the worker |
//! | `kp-writer-N` | one a connection that stalled | writes what the worker could not; rounds, as `kp-link-N` | its socket; as the worker |
//! | `kp-metadata` | 1 | metadata and producer ids, one blocking call after the other | its condition, its socket |
//! | `kp-delivery` | 0 or 1 | user callbacks | its channel |
//! | `kp-bootstrap` | 0 or 1 | with `bootstrap.resolve.timeout.ms`: resolves `bootstrap.servers` in the background until one host resolves | `kp-resolve`, a pause |
//! | `kp-resolve` | one a look-up; up to 16 for all of `bootstrap.servers` | `getaddrinfo`, which has no timeout; may be left behind | the system |
//! | `kp-log` | 0 or 1 | hands the log lines of the producer's other threads to the program's logger, then ends | the logger |
//! | `kp-close` | 0 or 1 | closes the producer if `close` or the last drop ran on one of its own threads | as `close` |
//!
//! **The memory of a batch is released just before its callbacks run** (`accumulator::allowance`), so the callbacks, and
//! threads that they wait for, can send. Java releases it after the callbacks. If the buffer is full of failed records and
//! each callback sends its record again, each callback then waits for `max.block.ms`. Batches queued for the delivery
//! thread keep their memory, so slow callbacks cannot use more than the budget. Threads already waiting get released
//! memory first. So a batch's callbacks may exceed the budget by the batch's size, at most 64 KiB.
//!
//! **A producer's own threads never wait for it.** They run user code: callbacks, the logger, and what callbacks drop. A
//! thread-local identifies each thread's producer (`threads`); a batch's outcomes also name their producer. On one of the
//! producer's own threads `send` is `try_send`, `partitions_for` does not wait, `flush` returns an error, `get` returns
//! an error unless the outcome is there, `close` returns an error and another thread closes the producer, and so it does
//! for the last drop, within about 12 s. Calls on another producer block as usual.
//!
//! **The producer's threads hand log lines to `kp-log`**, at most 1000 at a time. A logger may block on a lock held by a
//! caller, and that caller may be waiting in `send` for the logging thread. A caller's thread calls the logger itself.
//!
//! **A fork is noticed by a counter.** A forked process has the memory of the producer and none of its threads, and a
//! lock that one of them held is locked there for ever. A handler (`pthread_atfork`) counts forks. `send` detects a fork
//! with the check that detects a closed producer, before any lock. A process id would be a system call for each record.
//! The child leaks what it drops of a producer: dropping it would close the parent's connections.
//!
//! # Decisions: callers and memory
//!
//! **Callers encode.** The callers encode records into the batch itself, and the worker never touches a single record.
//! That is one copy less than a queue of records, and all callers share the encoding. The worker's part of a record is
//! its CRC, its compression and its write. The figures are in `benches/README.md`.
//!
//! **The path of nearly every record is short and straight** (the fast path, `producer::intake`). It needs no decision:
//! the thread knows the topic, and the partition's open batch has room for two such records. It takes one lock, the
//! partition's. Everything else (metadata, memory, full batches, the end of a sticky turn) is the slow path. The fast
//! path returns its result in two registers. Larger results went through memory and took a third of the time. `send_all`
//! takes the fast path with up to 64 records at once, and the lock once for neighbours in a partition.
//!
//! **Threads that collide use different sticky partitions.** All threads send to a topic's one sticky partition, so its
//! lock, batch and reference counts travel between the cores. A thread that repeatedly finds the lock taken uses another
//! sticky slot, with a sticky partition of its own, until it begins a batch there. There are no more slots than cores,
//! half of the partitions, or 16, and only while most of the memory is free: with more batches open, callers that wait
//! for memory would wake each other more often. Each batch copies a short topic name, so that threads do not share its
//! reference count.
//!
//! **The memory budget bounds what goes to a worker.** A full batch is handed over under its partition's lock, so that
//! the order of batches is the order of their records. A handover must not block there, and it cannot: if the channel is
//! full, the batch goes to a queue behind it (`accumulator::handover`), and every batch is charged at least 1 KiB of
//! `buffer.memory`, its messages included. A channel for the whole budget, which is allocated when it is made, took 2.4
//! MB of an idle producer for each worker at 32 MiB, and 18 MB at 1 GiB. Callers wait for memory in one place only, and
//! hold no lock there.
//!
//! **Memory is counted by capacity**, when a batch is opened or grows, not for each record: buffer, structures,
//! callbacks. The memory that compression saves is released when the batch is sealed. A sealed batch's memory is released
//! by the last holder of its bytes, which may be the network long after the batch has failed: neither bytes nor budget
//! are reused before (KAFKA-19012). A partition's buffer starts with the size of its latest batch, so idle partitions
//! hold little.
//!
//! **The callbacks of a batch are one list**, not a box each. They are nearly always of one type, so the list is of that
//! type (`accumulator::callbacks`). A box for each, made by the caller and freed by the delivery thread, made sending
//! with callbacks half as fast as with futures. From the first callback of another type on, a batch's callbacks are
//! boxed. The worker hands over the completed batches of all partitions in one message, because the message may wake the
//! delivery thread.
//!
//! **When several brokers have records, the records for one of them use at most three times the free memory.** Otherwise
//! a broker that accepts nothing would fill the budget and stop the threads that send to others. With a share for each
//! leader it stops only those that send to it, and records without a key avoid it. The limit follows what is free, so it
//! also holds for several such brokers. A caller waits first for room in its share and then for the budget, so a full
//! share does not hold up callers of other shares (`accumulator::memory`). A batch counts for the broker that led its
//! partition when the batch was opened.
//!
//! **Records without a key leave a broker that accepts nothing at once**, and a partition that has lost its leader. Java
//! keeps the sticky partition until `batch.size` bytes went to it: if records are small, hundreds expire there while
//! other partitions work. A worker that finds a broker failing (`sender::availability`), and new metadata that moves a
//! leader, end the sticky turns of those partitions; the fast path does not change. If all brokers fail, all partitions
//! are candidates.
//!
//! # Decisions: order and exactly once
//!
//! **A worker asks a policy for the identity of each batch** (`identity`). It asks before it sends a partition's next
//! batch: send it, wait, or fail it. It reports the result of each batch. The rules of this section are the policy of an
//! idempotent producer (`identity::epoch_per_partition`). A transactional policy, with one epoch for all partitions,
//! would be another one.
//!
//! **Each partition has its own epoch.** A broker keeps producer epoch and sequences for each partition separately, so
//! without transactions a partition can recover alone: after a batch that failed for good, expired, or met an
//! out-of-order sequence, it raises its own epoch and starts over at sequence 0. Workers need not agree on anything.
//!
//! **A recreated topic gets another producer id.** A higher epoch would be enough if only the topic was deleted. But the
//! cluster may have been wiped and started again with the cluster id that a container's settings give it. Such a cluster
//! gives producer ids from the start again. Our producer id may then belong to another producer, and the broker would
//! take our records for duplicates of that producer's records. If topics have no ids (brokers before 2.8), such a wipe
//! cannot be noticed. So a metadata snapshot has an *identity era*. It rises when a known topic is gone or has another
//! id, and with another cluster. A partition begins only with a producer id of the current era, and a batch that can be
//! in the log of the deleted topic fails as *maybe written*. A new metadata connection asks for all topics first, to
//! notice a wipe.
//!
//! **A batch that can be in the log keeps its stamp.** When a partition starts over, batches that are certainly not
//! written get new sequences: those that were refused, and those behind a refused one, which the sequence gap kept out. A
//! batch that is maybe written is sent again with its own stamp, by which the leader recognizes it. If the leader knows
//! neither stamp nor gap, the batch fails as *maybe written*. Java sends it with the new epoch and can write it twice. If
//! the topic was recreated meanwhile, such a batch can end in the new topic's log.
//!
//! **A batch refused because of a sequence gap waits for the earlier batches**, without a backoff.
//!
//! **No new batch follows a retry that can be in the log.** A broker remembers the last five batches of a producer in a
//! partition. If new ones followed such a retry, the broker could forget the batch and report a gap.
//!
//! **One batch is in flight until the broker knows the identity.** A broker accepts the first batch of an unknown
//! producer id or epoch with any sequence. If two were in flight and the first was refused (too large, for example), the
//! second would be written before it; a test on a real broker showed it. So up to five batches of a partition are in
//! flight only after the first batch of the identity was acknowledged, by this leader in this epoch, and within the last
//! minute: a new leader, or one that has heard nothing for long, may not know the producer.
//!
//! **A silent leader is abandoned when another one is named.** If a broker has owed an answer for a second, the producer
//! asks the cluster who leads the partitions whose answers are owed, at growing intervals (the silence check). A broker
//! that needs seconds for every write gets them, up to 5 s, before the first question: questions only add to an overload.
//! Batches for which the cluster names another leader go there, with their own stamps; the producer waits for the others
//! on the connection as usual. Java waits for `request.timeout.ms` (30 s) first. This needs idempotence: without it, a
//! batch whose answer is only late would be written twice. Without idempotence, later batches go to the new leader at
//! once, unless max in flight is 1. A broker that throttles is not silent during the time that it asked for.
//!
//! **Nothing of one cluster is used in another.** A cluster that is wiped and created again at the same address gives
//! producer ids from the start again, so two producers came to share one and lost records silently. An address can also
//! come to belong to another cluster. So the producer distinguishes clusters by their ids. A worker's connection asks its
//! broker for the id before it is used (`connection::cluster_check`), and each Metadata answer is checked: one round trip
//! a connection, none a record. (`ApiVersions` 5, KIP-1242, costs the same, and few brokers have it.) The metadata thread
//! accepts a different cluster id only from a bootstrap address, and only if no known broker answers or a broker asks the
//! client to rebootstrap. A list that names two clusters does not make the producer switch back and forth. With
//! `metadata.recovery.strategy=none`, the producer notices only if a known broker's address is also in
//! `bootstrap.servers`. When the cluster is replaced, everything starts from the beginning (`sender::replaced`): links,
//! leader epochs, topic ids, sequences, and the identity, which is valid only in the cluster that gave it. Batches that
//! are certainly not written go to the new cluster. Batches that are maybe written fail as *maybe written*, without
//! idempotence too: the new cluster does not recognize them, and the old one may still exist elsewhere and be read.
//!
//! # Decisions: brokers and connections
//!
//! **A connection is two halves over a transport.** One thread at a time sends, one receives, and neither waits for the
//! other. A request counts as written when the transport holds nothing of it any more. Closing only shuts the socket
//! down. A TLS transport is another variant beside the plain one (`connection::transport`).
//!
//! **Writes block for a few milliseconds at most.** Then the rest of the request goes to a writer thread of that
//! connection alone. A stopped broker costs its worker one such wait; a link that keeps up never has the thread. Sending
//! again and again in small time slices cost the other brokers a share of the worker for as long as it lasted. The size
//! of the socket's send buffer is left to the system, where Java fixes it at 128 KiB: records of 1 MB are a third faster,
//! with a quarter of the thread switches, and a long link is not held to 128 KiB in a round trip.
//!
//! **Each worker has a connection of its own to a broker, if the broker allows it.** A broker refuses a further one above
//! `max.connections.per.ip`, and so does the system without a free file descriptor. A worker that is refused one shares a
//! connection to the same address that another worker has (`connection::shared`), and leaves its partitions where they
//! are: a broker answers the requests of a connection in their order, so each answer belongs to the worker that sent the
//! oldest one. To the worker it is a link like any other, with its own limit of requests in flight. The metadata thread
//! shares likewise, and closes its own connection when a worker is refused one and there is none to share: records come
//! first. A shared connection ends for all when one of its workers finds it broken. A worker that abandons it for another
//! reason, such as a new leader, leaves it to the others. A broker that throttles reports it in one answer and reads
//! nothing from the whole connection meanwhile (KIP-219): the worker that gets the answer notifies the connection, which
//! notifies its other users, and those that share it later. Rounds of workers do not nest, so a worker's own thread
//! processes this.
//!
//! **A link whose session ends is replaced in time** (`sender::session`). A broker can limit how long an authentication
//! is valid (KIP-368). A second link is dialled while the first one serves, and takes over when the first owes no answer.
//! So no answer is lost, no batch overtakes another, and the broker is without requests for one round trip. With
//! `acks=0`, where no answer is owed, a batch on the second link can overtake one that the broker has not read from the
//! first.
//!
//! **If the transport accepted no byte of a request, its batches lose no retry.** They return to their positions as they
//! were, certainly not written; the link ends. Java counts each disconnect as an attempt.
//!
//! **The metadata thread has a connection of its own**, if the broker allows it, and tries another broker if one does not
//! answer within two seconds (then four, ...), long before `request.timeout.ms`: a stopped broker must not stop all
//! metadata. It abandons a slow look-up or connection early only if it has another address. The look-up continues, and
//! the next attempt uses its answer.
//!
//! **Leader epochs are kept across an outage.** When every known broker has failed since one last answered, the bootstrap
//! addresses come first. Older metadata from a bootstrap broker is ignored for three seconds
//! (`metadata::policy::outdated`), because the first broker that is back may be behind. After that it is accepted,
//! because a cluster that was restored from an older copy has nothing newer.
//!
//! **A topic that a broker cannot describe at the moment stays as it was.** Brokers that start answer with nearly any
//! code. Only an answer that denies the topic takes it out of use: it does not exist, its name is not legal, or this
//! client may not see it. The next write shows whether the known leader still leads.
//!
//! **If a peer closes the connection at ApiVersions 3**, the next connections ask in version 0, for five minutes: some
//! proxies do not know KIP-511. If it closes that one, too, the version is not the reason, and the next connection asks
//! in version 3 again.
//!
//! **New metadata costs what it changes**, not what there is. Metadata snapshots share their topics, in 256 parts of
//! which only those with a change are copied (`metadata::topic_map`). Any two snapshots can be compared directly. Callers
//! keep the topics that did not change. A worker reschedules the partitions of changed topics and those without a leader,
//! and all partitions if the set of brokers, the cluster or the identity era changed. When each answer rebuilt the whole
//! snapshot, the first record to the 20,000th topic took 19 ms.
//!
//! # Decisions: batches and topics
//!
//! **A topic learns how large its batches may be** (`record::batch_limit`). A refusal as too large halves the limit,
//! queued batches are split before they are sent, and callers fill smaller batches. The limit grows again while batches
//! are full, because the topic's limit may have been raised.
//!
//! **Compression time does not cause timeouts**, up to a limit. A round in which compression took 5 ms sends what it has
//! and ends, so that answers and other brokers are served before the next batch; the next round begins with the broker
//! behind the last one. A request's time counts from its last byte written, and a write in progress is waited for. A
//! worker adds slow compression time to `delivery.timeout.ms`, at most the same time again. A link thread runs no round
//! for 10 s after a slow batch: it must read its socket. If it meets one unexpectedly, the requests on its link get as
//! much more time.
//!
//! **A topic that is not used is forgotten**, with its partitions and their sequences, when it was idle for
//! `metadata.max.idle.ms`, is no longer in the metadata, and no batch of it exists; and so are partitions that a topic no
//! longer has. The registry and the partitions' locks decide: a retired partition accepts no record, and a caller that
//! has it looks the topic up again. The leader may still know the sequences. If the topic was used again from sequence 0
//! of the same epoch, the leader could take a new batch for an old one and drop it. So a worker keeps one number for each
//! producer id, the highest epoch of a forgotten partition, and later partitions begin above it. If the epochs are used
//! up, the partition gets another producer id.
//!
//! # Wake-ups
//!
//! Waking a thread costs more than a hundred records. A sleeping worker publishes until when it sleeps (`sync::Wakeup`).
//! A thread with work for it publishes the work first and wakes the worker only if it would be late. A worker that has an
//! announcement will look within `linger.ms` anyway, so batches opened in between are not announced. After a round that
//! took full batches the worker *pauses* for up to 150 us (at most `linger.ms`/8) without being woken: more will come,
//! and it takes all of it at once. Under load no caller ever wakes it, requests are larger, and the time of day is read
//! once a round and shared with the callers (`accumulator::worker_handle`): a record's timestamp is at most a round old.
//! If batches wait for an answer because the limit in flight is reached, the next round follows the answer and not the
//! pause: without that, and with five requests in flight on a quick link, the broker had nothing to do for most of the
//! pause, and `send_all` was a third slower.
//!
//! **The thread that receives an answer runs the round** (`sender::worker`). While a worker's thread sleeps, or pauses
//! with batches that wait for an answer, its lock is free. The link's thread that read an answer takes the lock and runs
//! `run_once` itself, instead of waking a third thread to do so: `send().get()` takes a sixth less time. One thread holds
//! the lock at a time, and nothing in the state depends on which. Callers never run rounds: `send` does no I/O.
//!
//! # Settings and names
//!
//! **The producer recovers when a name resolves late.** When `bootstrap.resolve.timeout.ms` is over and no host of
//! `bootstrap.servers` resolves, each call that needs the cluster fails at once with an error that gives this reason.
//! Java's producer then stays useless for good (KIP-909). Ours continues to resolve the names, and works once one
//! resolves. No record is at stake: none was accepted before. The producer of a service that started while the name
//! server was down need not be restarted by hand, and callers learn the reason meanwhile, without waiting for
//! `max.block.ms`.
//!
//! **A settings file is refused as a whole or read as a whole.** A setting that would change what the producer does and
//! cannot be served is refused, so that no user relies on a setting that has no effect. One error lists the first 20
//! faults of a file, each with its line, and the number of the others. `build` lists what is missing and what conflicts
//! in another error, without lines: settings in code may add to a file. Settings that belong to another client of Kafka
//! are accepted with a warning, as by Java, because files are shared. Java reads files as Latin-1 and editors write
//! UTF-8: a file that is valid UTF-8 is read so, any other one as Java would.
//!
//! **Only the producer's own state makes an error fatal**, and [`Error::is_fatal`](crate::Error::is_fatal) reports it. A
//! broker's error code does not: `CLUSTER_AUTHORIZATION_FAILED` ends a transaction's coordinator calls and is the fault
//! of one batch for an idempotent producer, which works again with the permission.
//!
//! # Order of locks
//!
//! On a caller's path: the sticky partitioner → a partition → the worker's channel; a partition → the lock of memory's
//! waiters; the sticky partitioner → the unavailable brokers (shared). With new metadata: topics (exclusive) → a
//! partition → the lock of memory's waiters; topics (exclusive) → the sticky partitioner. On a worker that reports a
//! broker: topics (shared) → the sticky partitioner. When topics are forgotten: topics (exclusive) → a partition, or a
//! worker's list of retired ones. A caller whose thread does not have a topic looks for it under the topics' lock
//! (shared), and takes no other meanwhile. The metadata cache has two locks: the one of publication is taken before all
//! others; under the one of its state the metadata thread takes topics and the snapshot (both shared), and the lock of
//! the producer id source. No lock of a connection is held for a write: the thread that writes owns the send half. A
//! batch's outcomes, a connection's control, the producer id source and the thread group's lock are taken under none of
//! these and take none. No lock is held over user code, I/O, a log line or a wait. Wake-ups come after the locks, with
//! one exception: the alarm of `accumulator::memory` wakes the workers under a partition's lock, and takes only the lock
//! of each wake-up.
//!
//! # Not obvious
//!
//! - A worker receives the announcement of a batch before any full batch of that partition, because both go through the
//!   same channel.
//! - `take_open` refuses while a full batch of the partition is in the channel: that one comes first.
//! - A partition's id at its worker is never given to another, so late timers and answers of a forgotten partition match
//!   nothing.
//! - An answer is matched by topic name or, from Produce 13 on, by the topic id with which the request was sent.
//! - Dropping a batch completes it, so a worker that panics leaves no future waiting.
//! - `close` first refuses appends in every partition, then notifies the workers: no record can slip in behind them.
//!
//! # How it is tested
//!
//! `sh tests/run.sh` runs all of it but the fuzz targets; `.ci/run` adds those for a minute.
//!
//! - **Real Kafka** (`tests/kafka`): clusters that the tests start; what was produced is read back by Kafka's own tools.
//! - **Chaos** (`tests/kafka/chaos`): three brokers behind proxies; brokers killed, stopped, restarted, leaders moved,
//!   links cut, hung, delayed, slowed, partitions added, limits lowered, while our producers and, beside them, Kafka's
//!   own work under the same faults. `CHAOS_SEED` replays one, `CHAOS_SECONDS=3600` makes it an hour.
//! - **Simulation** (`sender::tests::simulation`): callers, workers, metadata and a strict cluster under a clock set by
//!   hand; a worker runs only when its own deadline or a wake-up would make it. `SIMULATION_SEED` and `SIMULATION_SEEDS`
//!   choose histories: `SIMULATION_SEED=17 SIMULATION_SEEDS=1 cargo test --all-features --lib simulation`, with
//!   `SIMULATION_TRACE=1` for a log of what happens. `tests/defects.rs` plants each of `tests/defects` in a copy of the
//!   source and requires that the simulation finds it: a change of code that a defect changes must bring the defect up to
//!   date.
//! - **One scripted network** (`sender::scripted`) serves the worker's unit tests, the simulation and the fuzz target.
//!   Each of them decides in its own script what happens.
//! - **Behaviour, one rule a test** (`tests/it`, on the mock cluster): `tests/it/origins.rs` lists which case of Java's
//!   and librdkafka's tests is where.
//! - **Fuzzing** (`tests/fuzz/run.sh [seconds [target]]`): every decoder of what a broker sends, and a whole worker fed
//!   with it, on stable Rust.
//!
//! # Layers
//!
//! `time`, `sync`, `threads`, `backoff`, `topic_partition` → `protocol` → `error` → `record` → `connection` → `metadata`
//! → `identity` → `accumulator` → `sender` → `producer` → `mock` → `internals`. A module uses only modules before it (the
//! first five also each other). `tests/layers.rs` checks it, and `tests/shape.rs` checks the sizes of files and
//! functions.
