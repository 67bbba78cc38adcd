//! How this crate works, and why: the page to read before changing it. No code.
//!
//! # Where to find what
//!
//! | question | answer |
//! |---|---|
//! | How does `send` put a record into a batch? | `producer::intake`, then `accumulator::open_batch` |
//! | What decides when a partition's batch is sent? | `Sender::next` in `sender::reschedule` decides whether the batch is ready. `Sender::reschedule` moves the partition to the ready queue, and `sender::request` asks again when it fills a request. Then the link must have room (the limit in flight, a throttle, a write in progress, a session that ends): `has_room` in `sender::broker_link` |
//! | Which partitions are ready for which broker? | `sender::brokers`: each broker's ready queue |
//! | Who may raise an epoch, and when? | only `identity::epoch_per_partition`: its first comment lists the cases. The mechanism is in `identity::sequence` |
//! | Which thread asks for a producer id? | `identity::acquire`, on the metadata thread |
//! | What makes a transport and an authenticator of the settings? | `producer::config::security`, from the rows of `config::table::security` and `config::table::sasl` |
//! | Who encrypts and decrypts, and who makes the handshake? | `connection::transport::tls`: its `connect` wraps the socket in the two halves. `Dial::set_up_transport` in `connection::dial` calls it |
//! | Which certificates and keys does a new connection use? | `tls::client` reads the stores again (`tls::material`); `tls::stores` knows their formats; `tls::client_key` chooses the client's certificate |
//! | Why was a broker's certificate refused, or a handshake? | `tls::verifier` decides on a certificate and says why; for everything else, `tls::fault` |
//! | How are credentials got by HTTP? | `http`: a small client for servers that may be hostile |
//! | How does a client authenticate? | `connection::sasl` carries the messages of a `sasl::Mechanism`: `sasl::plain`, `sasl::scram`, `sasl::oauthbearer`, `sasl::gssapi`, `sasl::msk_iam`. `sasl::jaas` reads `sasl.jaas.config` |
//! | Where do AWS credentials come from, and when are they replaced? | `sasl::msk_iam`: its sources and its `provider` |
//! | How does Kerberos work, and where is its C library called? | `sasl::gssapi`; only `sasl::gssapi::library` calls it. What an error code means: `sasl::gssapi::meaning` |
//! | Which servers are certainly no brokers? | `connection::other_protocols` |
//! | Where does another mechanism go? | a `Mechanism` in `sasl`, and a line in `producer::config::mechanism` |
//! | Where do the tokens of OAUTHBEARER come from? | a `sasl::oauthbearer::TokenSource`, chosen by `producer::config::oauth`; `sasl::oauthbearer::refresh` keeps a valid one |
//! | How does a token server give a token? | `sasl::oauthbearer::oidc`, from the settings that `producer::config::oidc` reads |
//! | What happens after a refusal? | `Error::is_refusal`: `metadata::waiters` tells callers, and `accumulator::memory` those that wait for memory. `Error::delays_reconnect`: `before_reconnect` in `backoff` delays the next attempt |
//! | Where are settings refused that are not supported yet? | `producer::config::not_yet`; a mechanism: `producer::config::mechanism` |
//! | Where does a call go that may hang? | `threads::BlockingCalls` |
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
//! - **Identity** (of a producer): a producer id and an epoch.
//! - **Producer stamp**: the identity and the base sequence of a batch. A broker recognizes a batch by its stamp.
//! - **Position** (of a batch): its number in its partition and, if it is a part of a split batch, the index of its
//!   first record. Batches are written in the order of their positions.
//! - **Sequence gap**: the missing sequences of a batch that is certainly not in the log. Until a batch with these
//!   sequences arrives, the leader accepts no later batch of the same epoch.
//! - **Maybe written**: a batch was sent and no answer reported its outcome.
//! - **Given up**: a batch ended without success and is not sent again.
//! - **Identity era**: a number in the metadata snapshot. It rises when a producer id may belong to another producer
//!   from then on: a known topic is gone or was recreated, or the cluster is another one. It also rises when metadata
//!   older than the known one is accepted.
//! - **Sticky turn**: the time for which records without a key go to one partition.
//! - **Sticky slot**: one of a topic's sticky partitions, with the threads that use it. Threads with the same slot send
//!   to the same sticky partition. A topic uses several slots only while threads collide.
//! - **Refusal**: a failure of a new connection because one side does not accept the other's certificate, password or
//!   protocol. Its kind is `Tls` or `Authentication`, or `Protocol` if the peer is certainly another kind of server.
//! - **Pinned certificate**: a broker's certificate that is itself in the trust store that the user named.
//! - **Session**: the time for which a broker accepts a connection as authenticated (KIP-368).
//! - **Successor**: the link that replaces one whose session ends.
//! - **Release** (memory): to give reserved bytes of `buffer.memory` back to the budget. Allocated memory is *freed*.
//! - **Share**: the part of `buffer.memory` that records for one broker hold. Its limit depends on the free memory.
//! - **Pause** (of a worker): the up to 150 us that a busy worker waits to collect more batches.
//! - **Silent broker**: a broker that has owed an answer for a second.
//! - **Silence check**: a worker compares a silent broker with the leaders that the latest metadata names.
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
//! 2. **Handover.** A full batch goes over the worker's bounded crossbeam channel, as one message that holds a pointer.
//!    If the channel is full, the batch goes to a queue behind it, which the memory budget bounds. A batch that is not
//!    full stays open until it has lingered and can be sent. Then the worker takes it. So a slow broker gets fuller
//!    batches, not more of them.
//! 3. **`run_once`, on the worker** (`sender::run`): receive events, batches, metadata and timers; then serve each
//!    broker. A batch is compressed and sealed when it is first sent, and these bytes are kept: a retry sends the same
//!    ones. One Produce request carries at most one batch of each partition in the broker's ready queue, in order, up to
//!    `max.request.size`. All its batches have the same `acks`.
//! 4. **The socket** (`connection`). The worker writes fields and batches with one vectored call, without copying them
//!    together. Each connection has a thread, which also dialled it. That thread reads answers and hands their bytes to
//!    the worker, or runs the round that processes them.
//! 5. **The answer** (`sender::response`) decides what happens to each batch: it is written, failed, sent again or
//!    split. Each record gets its outcome exactly once. Then the batch's memory is released and its futures wake. A
//!    batch with callbacks goes to the delivery thread first: that thread releases the memory, runs the callbacks, and
//!    then wakes the futures.
//!
//! # Threads
//!
//! | thread | how many | does | blocks on |
//! |---|---|---|---|
//! | the caller's | any | serialize, choose a partition, encode | memory or metadata, within one `max.block.ms` |
//! | `kp-sender-N` | `sender.threads` | owns its partitions for life: batches, sequences, compression, requests, retries, expiry, writing | its wake-up ([below](#wake-ups)); a write, for a few ms |
//! | `kp-link-N` | one a connection | dials (look-up, TCP, TLS, ApiVersions, SASL), then reads frames; rounds of a worker that [sleeps](#wake-ups) | its socket; in a round, as `kp-sender-N` |
//! | `kp-login` | 0 or 1, with tokens of OAUTHBEARER | gets the first token when a connection needs it, and each next one ahead of time | the token source |
//! | `kp-writer-N` | one a connection that stalled | writes what the worker could not; rounds, as `kp-link-N` | its socket; in a round, as `kp-sender-N` |
//! | `kp-metadata` | 1 | metadata and producer ids, one blocking call after the other | its condition, its socket |
//! | `kp-delivery` | 0 or 1 | user callbacks | its channel |
//! | `kp-bootstrap` | 0 or 1 | with `bootstrap.resolve.timeout.ms`: resolves `bootstrap.servers` in the background until one host resolves | `kp-resolve`, its own pauses |
//! | `kp-resolve` | one a look-up, `http`'s included; up to 16 for all of `bootstrap.servers` | calls `getaddrinfo`, which has no timeout. Other threads stop waiting for the result after a while | the system |
//! | `kp-settings` | one a call of `build` | checks the settings, and reads the files that they name | the system |
//! | `kp-stores` | one a connection with TLS stores that can change | reads their files, asks code of the user for them, or looks whether the files of `SSL_CERT_FILE` have changed. The thread that dials waits for two seconds at most | the system, code of the user |
//! | `kp-kerberos` | 0 or 1, with Kerberos | calls of the Kerberos library that may ask a KDC | the KDC |
//! | `kp-aws` | up to 2, with AWS credentials | asks the sources of AWS for credentials; finds the region | files, endpoints of AWS |
//! | `kp-log` | 0 or 1 | hands the log lines of the producer's other threads to the program's logger, then ends | the logger |
//! | `kp-close` | 0 or 1 | closes the producer if `close` or the last drop ran on one of its own threads | as `close` |
//!
//! **The memory of a batch is released just before its callbacks run** (`accumulator::allowance`), so the callbacks,
//! and threads that they wait for, can send. Java releases the memory after the callbacks: if the buffer is full of
//! failed records and each callback sends its record again, each callback waits for `max.block.ms`. Batches queued for
//! the delivery thread keep their memory, so slow callbacks cannot use more than the budget. Threads that already wait
//! get released memory first, so a callback could find nothing left. Therefore a batch's callbacks may exceed the
//! budget by the batch's size, at most 64 KiB.
//!
//! **Calls on a producer never block one of that producer's own threads.** These threads run user code: callbacks, the
//! logger, and the destructors of what callbacks drop. A thread-local identifies each thread's producer (`threads`); a
//! batch's outcomes also name their producer. On one of the producer's own threads:
//!
//! - `send` is `try_send`, and `partitions_for` does not wait.
//! - `get` returns the outcome if there is one, otherwise an error.
//! - `flush` returns an error.
//! - `close` returns an error, and another thread closes the producer.
//! - The drop of the last clone returns, and another thread closes the producer within about 12 s.
//!
//! Calls on another producer block as usual.
//!
//! **The producer's threads hand log lines to `kp-log`**, at most 1000 at a time. A logger may block on a lock held by a
//! caller, and that caller may be waiting in `send` for the logging thread. A caller's thread calls the logger itself.
//!
//! **Calls that may block for any time have threads of their own** (`threads::BlockingCalls`): a read from a file system
//! that does not answer, a question to a KDC or a token server, code of the user. No call to the system ends them. So
//! `kp-settings`, `kp-stores`, `kp-kerberos`, `kp-aws` and `kp-login` run them, and the thread that needs the result waits
//! with its own deadline, or until `close`. What happens while a call hangs is a parameter: later ones wait in a queue
//! (Kerberos, which has one ticket cache), or share the call under way (tokens, AWS credentials), or are refused at once
//! (stores, whose last usable contents then serve, and `build` after 16 hanging ones). So the number of hanging threads is
//! bounded. Such a thread is the producer's own, for user code and log lines, but `close` does not wait for it: nothing
//! that is left to do needs the result. `close` ends what can be ended: pauses between attempts, and requests by HTTP, whose
//! sockets it shuts down. Rejected: waiting in `close` as for other threads. A mount that hangs would cost every `close` its
//! whole timeout.
//!
//! **A counter notices forks.** A forked process has the memory of the producer and none of its threads, and a lock
//! that one of them held is locked there for ever. A handler (`pthread_atfork`) counts forks. `send` detects a fork
//! with the check that detects a closed producer, before it takes any lock. Rejected: comparing process ids. That takes
//! a system call for each record. The child leaks what it drops of a producer: dropping it would close the parent's
//! connections.
//!
//! # Decisions: callers and memory
//!
//! **Callers encode.** The callers encode records into the batch itself, and the worker never touches a single record.
//! Rejected: a queue of records. It needs one more copy, and the worker alone would encode. The worker's part of a
//! record is its CRC, its compression and its write. The figures are in `benches/README.md`.
//!
//! **The path of nearly every record is short and straight** (the fast path, `producer::intake`). It needs no decision:
//! the thread knows the topic, and the partition's open batch has room for this record and for another one of the same
//! size. So the batch does not become full, and no worker must be woken. The fast path takes one lock, the partition's.
//! Everything else (metadata, memory, full batches, the end of a sticky turn) is the slow path. The fast path returns
//! its result in two registers. Rejected: a larger result. It goes through memory, and that took a third of the time.
//! `send_all` takes the fast path with up to 64 records at once, and takes the lock once for consecutive records of one
//! partition.
//!
//! **Threads that collide use different sticky partitions.** If all threads send to one sticky partition, its lock,
//! batch and reference counts travel between the cores. So a thread that repeatedly finds the lock taken uses another
//! sticky slot, with a sticky partition of its own, until it begins a batch there. A topic has at most min(cores,
//! partitions/2, 16) slots. Slots beyond the first are used only while most of the memory is free: with more batches
//! open, callers that wait for memory would wake each other more often. Each batch copies a short topic name, so that
//! threads do not share the name's reference count.
//!
//! **The memory budget bounds what goes to a worker.** A full batch is handed over under its partition's lock, so that
//! the order of batches is the order of their records. A handover must not block under this lock, and it cannot: if the
//! channel is full, the batch goes to a queue behind the channel (`accumulator::handover`). Each batch is charged at
//! least 1 KiB of `buffer.memory`, its messages included, so the budget bounds the queue. Rejected: a channel large
//! enough for the whole budget. A channel is allocated when it is made, and this one took 2.4 MB for each worker of an
//! idle producer at 32 MiB, and 18 MB at 1 GiB. Callers wait for memory in one place only, and hold no lock there.
//!
//! **Memory is counted by capacity**, when a batch is opened or grows, not for each record: buffer, structures,
//! callbacks. The memory that compression saves is released when the batch is sealed. The last holder of a sealed
//! batch's bytes releases their memory. That may be the network, long after the batch has failed: neither the bytes nor
//! their part of the budget are reused earlier (KAFKA-19012). A partition's buffer starts with the size of its latest
//! batch, so idle partitions hold little.
//!
//! **The callbacks of a batch are one list.** They are nearly always of one type, so the list is of that type
//! (`accumulator::callbacks`). From the first callback of another type on, a batch's callbacks are boxed. Rejected: a
//! box for each callback. The caller makes the box and the delivery thread frees it, and sending with callbacks was
//! half as fast as with futures. The worker hands over the completed batches of all partitions in one message, because
//! each message may wake the delivery thread.
//!
//! **When several brokers have records, the records for one of them use at most three times the free memory.** Without
//! this limit, a broker that accepts nothing would fill the budget and stop the threads that send to others. With a
//! share for each leader, such a broker stops only the threads that send to it, and records without a key avoid it. The
//! limit depends on the free memory, so it also holds for several such brokers. A caller waits first for room in its
//! share and then for the budget, so a full share does not hold up callers of other shares (`accumulator::memory`). A
//! batch counts for the broker that led its partition when the batch was opened.
//!
//! **Records without a key at once avoid a broker that accepts nothing**, and a partition that has lost its leader.
//! Java keeps the sticky partition until `batch.size` bytes went to it: if records are small, hundreds expire there
//! while other partitions work. In this producer a worker that finds a broker failing (`sender::availability`), or new
//! metadata that moves a leader, ends the sticky turns of those partitions. The fast path stays as it is. If all
//! brokers fail, all partitions are candidates.
//!
//! # Decisions: order and exactly once
//!
//! **A worker asks a policy for the identity of each batch** (`identity`). It asks before it sends a partition's next
//! batch, and the policy decides: send the batch, wait, or fail it. The worker reports the result of each batch. The
//! rules of this section are the policy of an idempotent producer (`identity::epoch_per_partition`). A transactional
//! policy, with one epoch for all partitions, would be another one.
//!
//! **Each partition has its own epoch.** A broker keeps producer epoch and sequences for each partition separately, so
//! without transactions a partition can recover alone. It raises its own epoch and starts over at sequence 0 in two
//! cases: a batch was given up (it failed for good, or expired), or the leader refused the sequence or epoch of the
//! earliest batch, which is certainly not written. A partition that begins gets an epoch above those of forgotten
//! partitions. Workers need not agree on anything.
//!
//! **A recreated topic gets another producer id.** If only the topic was deleted, a higher epoch would be enough. But
//! the whole cluster may have been wiped and started again under the same cluster id, for example one that a
//! container's settings give it. Such a cluster gives producer ids from the start again. Our producer id may then
//! belong to another producer, and the broker would take our records for duplicates of that producer's records. If
//! topics have no ids (brokers before 2.8), such a wipe cannot be noticed. So a metadata snapshot has an *identity
//! era*. It rises when an answer removes a known topic or describes it with another id, and with another cluster. A
//! partition begins only with a producer id of the current era. A batch that can be in the log of the deleted topic
//! fails as *maybe written*. A new metadata connection asks for all topics first, to notice a wipe.
//!
//! **A batch that can be in the log keeps its stamp.** When a partition starts over, only batches that are certainly
//! not written get new sequences: those that were refused, and those behind a refused one, which the sequence gap kept
//! out. A batch that is maybe written is sent again with its own stamp, by which the leader recognizes it. If the
//! leader neither recognizes the stamp nor proves by a gap that the batch is missing, our batch fails as *maybe
//! written*. Java's producer sends the batch with the new epoch, and can write it twice. If the topic was recreated
//! meanwhile, Java's batch can end in the new topic's log.
//!
//! **A batch refused because of a sequence gap waits for the earlier batches.** It is sent again without a backoff.
//!
//! **No new batch follows a retry that can be in the log.** A broker remembers the last five batches of a producer in a
//! partition. If new batches followed such a retry, the broker could forget the retried batch and report a gap.
//!
//! **One batch is in flight until the broker knows the identity.** A broker accepts the first batch of an unknown
//! producer id or epoch with any sequence. If two batches were in flight and the first was refused (too large, for
//! example), the second would be written before it; a test on a real broker showed this. So a partition has several
//! batches in flight, up to five, only if this leader, in this leader epoch, has acknowledged a batch of the identity
//! within the last minute. A new leader, or one that has heard nothing for long, may not know the producer.
//!
//! **A silent leader is abandoned when another one is named.** If a broker has owed an answer for a second, the
//! producer asks the cluster who leads the partitions whose answers are owed, and repeats the question at growing
//! intervals. If the broker's recent answers took seconds, the first question waits accordingly, at most 5 s: questions
//! only add to an overload. Batches for which the cluster names another leader go there, with their own stamps; the
//! producer waits for the others on the connection as usual. Java waits for `request.timeout.ms` (30 s) first. This
//! needs idempotence: without it, a batch whose answer is only late would be written twice. Without idempotence, later
//! batches go to the new leader at once, unless max in flight is 1. A broker that throttles is not silent during the
//! time that it asked for.
//!
//! **Nothing of one cluster is used in another.** A cluster that is wiped and created again at the same address gives
//! producer ids from the start again, so two producers can share one and lose records silently. An address can also
//! come to belong to another cluster. So the producer distinguishes clusters by their ids. A worker's connection asks
//! its broker for the id before it is used (`connection::cluster_check`), and each Metadata answer is checked. That is
//! one round trip for each connection, and none for a record. (`ApiVersions` 5, KIP-1242, costs the same, and few
//! brokers have it.) The metadata thread accepts a different cluster id only from a bootstrap address, and only if no
//! known broker answers or a broker asks the client to rebootstrap. So a list that names two clusters does not make the
//! producer switch back and forth. With `metadata.recovery.strategy=none`, the producer notices another cluster only if
//! a known broker's address is also in `bootstrap.servers`.
//!
//! When the cluster is replaced, everything starts from the beginning (`sender::replaced`): links, leader epochs, topic
//! ids, sequences, and the identity, which is valid only in the cluster that gave it. Batches that are certainly not
//! written go to the new cluster. Batches that are maybe written fail as *maybe written*, without idempotence too: the
//! new cluster does not recognize them, and the old one may still exist elsewhere and be read.
//!
//! # Decisions: brokers and connections
//!
//! **A connection is two halves over a transport.** One thread at a time sends, one receives, and neither waits for the
//! other. A request counts as written when the transport holds nothing of it any more. Closing only shuts the socket
//! down. There are two transports, plain TCP and TLS (`connection::transport`).
//!
//! **Writes block for a few milliseconds at most.** Then a writer thread, which only this connection has, writes the
//! rest of the request. A stopped broker costs its worker one such wait. A connection that keeps up never gets the
//! thread. Rejected: the worker retries the write in short slices. The slices took the worker's time from the other
//! brokers for as long as the stall lasted.
//!
//! **The system chooses the size of the socket's send buffer.** Java fixes it at 128 KiB. Without that limit, records
//! of 1 MB are a third faster, with a quarter of the thread switches, and a path with a high latency can carry more
//! than 128 KiB per round trip.
//!
//! **Each worker has a connection of its own to a broker, if the broker allows it.** A broker refuses a further
//! connection above `max.connections.per.ip`, and so does the system without a free file descriptor. A worker that is
//! refused a connection shares one that another worker has to the same address (`connection::shared`). Its partitions
//! stay with it. A broker answers the requests of a connection in their order, so each answer belongs to the worker
//! that sent the oldest unanswered request. To each worker the shared connection is a link like any other, with its own
//! limit of requests in flight. A shared connection ends for all workers when one of them finds it broken. A worker
//! that abandons the connection for another reason, such as a new leader, leaves it to the others.
//!
//! The metadata thread shares a connection in the same way. It closes its own one when a worker is refused a connection
//! and there is none to share: records come first.
//!
//! A broker that throttles reports it in one answer, and meanwhile reads nothing from the whole connection (KIP-219).
//! The worker that gets the answer notifies the connection, and the connection notifies its other users, and those that
//! share it later. The other worker's own thread handles this notice: the notifying thread is inside a round already,
//! and a round of one worker must not run inside another's.
//!
//! **A link whose session ends is replaced in time** (`sender::session`). A broker can limit how long an authentication
//! is valid (KIP-368). A second link is dialled while the first one serves, and takes over when no answer is owed on
//! the first. So no answer is lost, no batch overtakes another, and the broker is without requests for one round trip.
//! With `acks=0`, where no answer is owed, a batch on the second link can overtake one that the broker has not read
//! from the first.
//!
//! **If the transport accepted no byte of a request, its batches lose no retry.** They return to their positions as
//! they were, and are certainly not written. The link ends. Java counts each disconnect as an attempt.
//!
//! **The metadata thread has a connection of its own**, if the broker allows it. It tries another broker if one does
//! not answer within two seconds (then four, ...), long before `request.timeout.ms`: a stopped broker must not stop all
//! metadata. It abandons a slow look-up or connection early only if it has another address. An abandoned look-up
//! continues, and the next attempt uses its answer.
//!
//! **Leader epochs are kept across an outage.** If every known broker has failed after the last answer, the metadata
//! thread asks the bootstrap addresses first. For three seconds it ignores metadata from a bootstrap broker that is
//! older than the known metadata (`metadata::policy::outdated`), because the first broker that is back may be behind.
//! Then it accepts such metadata, because a cluster that was restored from an older copy has nothing newer.
//!
//! **A topic that a broker cannot describe at the moment stays as it was.** Brokers that start answer with nearly any
//! code. Only an answer that denies the topic, or that names another topic id, takes the topic out of use. An answer
//! denies it if the topic does not exist, if its name is not legal, or if this client may not see it. The next write
//! shows whether the known leader still leads.
//!
//! **If a peer closes the connection at ApiVersions 3**, the next connections ask in version 0, for five minutes: some
//! proxies do not know KIP-511. If the peer closes such a connection, too, the version is not the reason, and the next
//! connection asks in version 3 again.
//!
//! **The cost of new metadata depends on the number of changed topics**, not on the number of all topics. Metadata
//! snapshots share their topics, in 256 parts of which only those with a change are copied (`metadata::topic_map`). Any
//! two snapshots can be compared directly. Callers keep the topics that did not change. A worker reschedules the
//! partitions of changed topics and those without a leader, and all partitions if the set of brokers, the cluster or
//! the identity era changed. Rejected: each answer rebuilds the whole snapshot. With that, the first record to the
//! 20,000th topic took 19 ms.
//!
//! # Decisions: security
//!
//! **The two halves of a TLS connection share one state under a short lock** (`connection::transport::tls`). rustls keeps
//! the keys of both directions in one value. A thread holds the lock while it encrypts up to 256 KiB or decrypts what it
//! has read, and never during a call to the system that can block. So a broker that stops reading holds up no reader, and the other way
//! round. Encrypted bytes that the socket has not accepted belong to the request in progress, and its memory stays
//! reserved. Rejected: two independent halves, made of the keys that rustls can give out. Key updates, alerts and session
//! tickets concern both directions, and would be our code. Rejected: TLS in the kernel. It gets the same keys, needs a
//! kernel module that many hosts do not load, and `unsafe` calls.
//!
//! **The stores are read again for each connection, and compared by a hash of their contents** (`tls::client`). Files are
//! replaced by a rename, by a symbolic link or by a write in place, and the time of a file does not show all of these. To
//! read a few kilobytes costs little beside a handshake. Contents are parsed only if they are new. If they are not usable,
//! the last usable ones stay, because a file may be half-written when it is read. The log has one warning for each such
//! contents, and one for each connection while a file cannot be read at all. Another thread reads the files: a read from a
//! file system of the network may hang. One read at most hangs for each connection that was being made, and no other begins
//! until it ends. Code of the user that supplies certificates and keys runs on that thread, too, with the same limits.
//! Material that is given in code has no name of Kafka's. A setting that names another source is refused, because the user
//! would not see which one is in use. Without a trust store, the file and folders that `SSL_CERT_FILE` and `SSL_CERT_DIR`
//! name are looked at, not read (`tls::system`): they may have hundreds of certificates. The configuration of rustls, and
//! with it the sessions to resume, lasts until the stores change. So no session outlives the trust in the certificate for
//! which it was made.
//!
//! **ring is the default cryptography, and graviola the one without a C compiler** (`tls::provider`). If both are in the
//! build, ring is used: features of a dependency add up, and the older of the two should not be replaced unasked. Rejected:
//! aws-lc-rs. It needs a C compiler, too, and on some targets more tools. Rejected: rustls-rustcrypto. Its only release is an
//! old alpha, with an RSA that leaks its key by timing.
//!
//! **A pinned certificate needs no chain** (`tls::verifier`). Java accepts it, and many clusters have one self-signed
//! certificate for each broker, which rustls refuses: it is a CA's, or of version 1. So a pinned certificate is accepted
//! if its dates and its name are right. Without subjectAltName, the common name counts. The signature of the handshake is
//! checked as always, because it proves that the broker has the key. The certificates of the system pin nothing.
//!
//! **A refusal is told at once, and ends nothing.** It lasts until the settings of one side change. So if no other broker
//! answers, the callers that wait for metadata get the refusal and do not wait for `max.block.ms`. So do those that wait
//! for memory for a record of the broker: no memory comes back before the cause is mended. Each call is told of the next
//! refusal only, so a caller that tries again at once makes no more attempts than one that waits. Accepted records stay
//! queued until `delivery.timeout.ms`, and their error has the refusal as its cause. Java's idempotent producer must be
//! made again after such a failure; ours continues when the cause is mended. The next attempt is made after at least a
//! second, because brokers delay and limit such attempts. A broker that just closes the connection is no refusal, because
//! one at its connection limit does that, too. Nor is one of Amazon's brokers that gets too many connections: it answers with
//! the code of a wrong password, and only its text tells the difference (`sasl::temporary`). Callers wait then, and the next
//! attempt is made after at least a second, too.
//!
//! **The successor of a link handles the end of its session.** Java authenticates again on the same connection (KIP-368),
//! which meanwhile carries no request. A new connection authenticates as every other does, so there is one way to
//! authenticate, and the old connection serves until the new one is ready. The authenticator takes the end of a session
//! for 5 % earlier than the broker says, at most 10 s, counted from the time at which it sent its last message.
//!
//! **A thread of its own gets the tokens of OAUTHBEARER** (`kp-login`). It gets the next one when 80 % to 85 % of the
//! lifetime are over, as Java does. So no connection waits for a token server, and one that is down for a while is not noticed: the present
//! token serves, and the thread tries again after a second at first, then every ten. Connections wait for the thread with
//! their own deadline, so a provider that hangs delays neither `send` beyond `max.block.ms` nor the other threads. Java
//! gets the first token while it builds the producer. Here the first connection asks for it, so `build` does not wait for
//! another server, and a failure is told like every other refusal. A token in a file is read for each connection instead: it
//! is cheap, and a file that was exchanged early is used at once.
//!
//! **A peer cannot make the client work without limit before it is authenticated.** An answer has at most 1 MiB, a
//! mechanism at most 20 messages. SCRAM accepts 4096 to 1,000,000 iterations: with fewer, an attacker who pretends to be
//! the broker would find the password sooner. The result of the iterations is kept once the broker has proved that it knows
//! the password, so a reconnect does not repeat them.
//!
//! **The Kerberos library is loaded while the program runs** (`sasl::gssapi::library`). So one build of a program works with
//! and without Kerberos, the build needs neither C headers nor bindgen, and the error about a missing library can name the
//! package that brings it. The prototypes of its sixteen functions are written by hand, in one file, which has the only
//! `unsafe` code besides the counter of forks. Rejected: linking to it. A program would not start on a machine without it.
//!
//! **A KDC that does not answer costs one thread, which nothing waits for** (`sasl::gssapi`). GSSAPI has no deadline, and
//! MIT's library waits 27 s for one silent KDC, and longer for several. All calls that can ask a KDC are made before the first
//! message of a connection, on the thread `kp-kerberos`, one after the other. A dial waits for its call until its own
//! deadline, and `close` ends that wait. Then the call is left alone, and later dials queue behind it until their deadlines.
//! So `send` and `close` keep their limits, whatever the KDC does. Rejected: a thread for each call. With a silent KDC, the
//! threads of all dials would add up, and the calls share a ticket cache, which one call could find half filled by another.
//! The tickets of a keytab are in memory. They are dropped after a refusal, because the broker's key may be a new one.
//!
//! **The broker's Kerberos principal is taken literally**: service, host and realm. MIT's library would look the host up in
//! DNS, forwards and backwards, and many clusters work with Java only because Java does not. The realm of a host is what
//! krb5.conf says. Without that, the realm stays empty, and the client's KDC is asked for it.
//!
//! **Secrets are texts of their own type** (`secret`). `Debug` and `Display` of a `Secret` show `[hidden]`, and its bytes
//! are overwritten when it is dropped. Mechanisms and stores overwrite what they derive from it as far as the libraries
//! allow. An error shows an option of `sasl.jaas.config` only if its name is a known one: with a missing quote, a part of
//! the password stands where a name should be. A broker's text is dropped if it repeats the password.
//!
//! # Decisions: batches and topics
//!
//! **A topic learns how large its batches may be** (`record::batch_limit`). When a broker refuses a batch as too large,
//! the limit is halved, queued batches are split before they are sent, and callers fill smaller batches. The limit
//! grows again while batches are full, because the limit that the broker has for the topic may have been raised.
//!
//! **Compression time does not cause timeouts**, up to a limit. A round in which compression took 5 ms sends what it
//! has and ends, so that answers and other brokers are served before the next batch. The next round begins with the
//! broker behind the last one. A request's time counts from its last byte written, and a write in progress is waited
//! for. A worker adds slow compression time to `delivery.timeout.ms`, at most the same time again. A link thread runs
//! no round for 10 s after a slow batch: it must read its socket. If a batch that a link thread compresses turns out to
//! be slow, the requests on that link get that time in addition.
//!
//! **An unused topic is forgotten**, with its partitions and their sequences, if three things hold: it was idle for
//! `metadata.max.idle.ms`, it is no longer in the metadata, and no batch of it exists. Partitions that a topic no
//! longer has are forgotten, too. The lock of `accumulator::topics` and the locks of the partitions make this safe: a
//! retired partition accepts no record, and a caller that still has it looks the topic up again. The leader may still
//! know the sequences. If the topic was used again from sequence 0 of the same epoch, the leader could take a new batch
//! for an old one and drop it. So a worker keeps one number for each producer id, the highest epoch of a forgotten
//! partition, and later partitions begin above it. If no higher epoch is left, the partition gets another producer id.
//!
//! # Wake-ups
//!
//! Waking a thread costs more than a hundred records. A worker that goes to sleep publishes until when it sleeps
//! (`sync::Wakeup`). A thread with work for the worker publishes the work first, and wakes the worker only if it would
//! otherwise wake too late. A worker that has an announcement looks within `linger.ms` anyway, so batches that are
//! opened in between are not announced.
//!
//! After a round that took full batches the worker *pauses* for up to 150 us (at most `linger.ms`/8) and is not woken:
//! more batches will come, and it takes all of them at once. Under load no caller ever wakes the worker, and requests
//! are larger. The time of day is read once a round and shared with the callers (`accumulator::worker_handle`), so a
//! record's timestamp is at most a round old. If batches wait for an answer because the limit in flight is reached, the
//! pause ends with the answer. Rejected: pausing to the end in that case. With five requests in flight on a quick link,
//! the broker had nothing to do for most of the pause, and `send_all` was a third slower.
//!
//! **The thread that receives an answer runs the round** (`sender::worker`). The state of a worker is under the
//! worker's lock. This lock is free while the worker's thread sleeps, or pauses with batches that wait for an answer. A
//! link's thread that has read an answer then takes the lock and runs `run_once` itself, instead of waking the worker's
//! thread: `send().get()` takes a sixth less time. One thread holds the lock at a time, and nothing in the state
//! depends on which. Callers never run rounds: `send` does no I/O.
//!
//! # Settings and names
//!
//! **The producer recovers when a name resolves late.** When `bootstrap.resolve.timeout.ms` is over and no host of
//! `bootstrap.servers` resolves, each call that needs the cluster fails at once with an error that gives this reason.
//! Java's producer then stays useless for good (KIP-909). Ours continues to resolve the names, and works once one
//! resolves. No record is lost: none was accepted before. So the producer of a service that started while the name
//! server was down need not be restarted by hand. Until a name resolves, callers learn the reason without waiting for
//! `max.block.ms`.
//!
//! **A settings file is refused as a whole or read as a whole.** A setting that would change what the producer does,
//! and that this producer does not support, is refused, so that no user relies on a setting without an effect. One
//! error lists the first 20 faults of a file, each with its line, and the number of the others. `build` lists what is
//! missing and what conflicts in another error, without lines, because settings in code may add to a file. Settings
//! that belong to another client of Kafka are accepted with a warning, as by Java, because files are shared. Java reads
//! files as Latin-1, and editors write UTF-8. So a file that is valid UTF-8 is read as UTF-8, and any other file as
//! Latin-1.
//!
//! **Only the producer's own state makes an error fatal**, and [`Error::is_fatal`](crate::Error::is_fatal) reports it.
//! An error code of a broker does not. For example, without transactions `CLUSTER_AUTHORIZATION_FAILED` fails only its
//! batch, and the producer works again once the permission is granted.
//!
//! # Order of locks
//!
//! A thread that holds the lock on the left may take the locks on the right, and then those of their own rows:
//!
//! | held | may then take |
//! |---|---|
//! | publication of snapshots (in the metadata cache) | every other lock of this table |
//! | topics (exclusive), for new metadata | a partition; the sticky partitioner |
//! | topics (exclusive), to forget topics | a partition; a worker's list of retired partitions |
//! | topics (shared), on a worker that reports a broker or a partition without a leader | the sticky partitioner |
//! | topics (shared), on a caller whose thread does not have the topic | none |
//! | the sticky partitioner | a partition; the unavailable brokers (shared) |
//! | a partition | the worker's channel; memory's waiters; the pool of buffers; the wake-ups of all workers |
//! | the state of the metadata cache | topics (shared); the snapshot (shared); the producer id source |
//! | a batch's outcomes, a connection's control, the thread group | none, and none of these is held when they are taken |
//! | the state of a TLS connection, the configuration of `tls::client`, the salted password of SCRAM, the AWS credentials | none, and none of these is held when they are taken |
//!
//! - The thread that writes to a connection owns its send half, so no lock of a connection is held for a write.
//! - A round holds no lock: the lock of a worker gives out the worker's sender, and is free again at once.
//! - No lock is held over user code, I/O, a log line or a wait.
//! - Threads wake others after they have released their locks. There is one exception: the alarm of
//!   `accumulator::memory` wakes the workers under a partition's lock, and takes only the lock of each wake-up.
//!
//! # Not obvious
//!
//! - A worker receives the announcement of a batch before any full batch of the same partition, because both go through
//!   the same channel.
//! - `take_open` takes nothing while a full batch of the partition is in the channel, because that batch is earlier.
//! - A worker never uses the id of a forgotten partition again, so late timers and answers of that partition match
//!   nothing.
//! - An answer is matched by topic name or, from Produce 13 on, by the topic id with which the request was sent.
//! - Dropping a batch completes it, so a worker that panics leaves no future waiting.
//! - `close` first makes every partition refuse appends, then notifies the workers, so no record comes after the
//!   notice.
//!
//! # How it is tested
//!
//! `sh tests/run.sh` runs all tests but the fuzz targets; `.ci/run` also fuzzes for a minute.
//!
//! - **Real Kafka** (`tests/kafka`): clusters that the tests start; what was produced is read back by Kafka's own tools.
//!   `tests/kafka/rotation.rs` exchanges stores, certificates and passwords on both sides under load, and
//!   `tests/kafka/authorization.rs` lets rules refuse a topic while another one is sent to.
//! - **Chaos** (`tests/kafka/chaos`): three brokers behind proxies. Our producers and Kafka's own work side by side
//!   while brokers are killed, stopped and restarted, leaders moved, links cut, hung, delayed and slowed, partitions
//!   added, and limits lowered. `CHAOS_SEED` replays one run, and `CHAOS_SECONDS=3600` makes a run last an hour. A second
//!   cluster has sessions of five seconds: there the load comes in by TLS and SASL.
//! - **Simulation** (`sender::tests::simulation`): callers, workers, metadata and a strict cluster under a clock set by
//!   hand; a worker runs only when its own deadline or a wake-up would make it. `SIMULATION_SEED` and
//!   `SIMULATION_SEEDS` choose histories: `SIMULATION_SEED=17 SIMULATION_SEEDS=1 cargo test --all-features --lib
//!   simulation`, with `SIMULATION_TRACE=1` for a log of what happens. `tests/defects.rs` plants each of
//!   `tests/defects` in a copy of the source and requires that the simulation finds it. If you change code that a
//!   planted defect patches, update the defect.
//! - **One scripted network** (`sender::scripted`) serves the worker's unit tests, the simulation and the fuzz target.
//!   Each of them decides in its own script what happens.
//! - **Behaviour, one rule a test** (`tests/it`, on the mock cluster): `tests/it/origins.rs` lists for each case of
//!   Java's and librdkafka's tests where ours is, and `tests/it/security_origins.rs` does for TLS and SASL.
//!   `tests/it/handshakes.rs` lets a peer go wrong at each step of a handshake, and `tests/it/cut_handshakes.rs` after each
//!   number of bytes. `tests/it/secret_kinds.rs` has one table of all kinds of secrets: a new kind gets a row.
//!   `tests/data/properties` has settings files as people have them, each with what becomes of it.
//! - **Fuzzing** (`tests/fuzz/run.sh [seconds [target]]`): every decoder of what a broker sends, and a whole worker fed
//!   with it, on stable Rust.
//!
//! # Layers
//!
//! `time`, `sync`, `threads`, `backoff`, `topic_partition`, `secret` → `protocol` → `error` → `tls` → `http` → `sasl` →
//! `record` → `connection` → `metadata` → `identity` → `accumulator` → `sender` → `producer` → `mock` → `internals`. A
//! module uses only modules before it (the first six also each other). `tests/layers.rs` checks it, and
//! `tests/shape.rs` checks the sizes of files and functions.
