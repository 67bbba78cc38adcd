//! The one table of the producer's settings.
//!
//! [`for_each_setting`] hands all rows to another macro: the configuration makes its fields, setters, parser and
//! checks of them, the builder its setters, the README its table. A row reads
//! `docs "property", setter(argument): field type = how to read it, default "text", range "text";`

/// Calls the macro `$callback` with every row of the table.
macro_rules! for_each_setting {
    ($callback:ident) => {
        $callback! {
            /// Addresses of a few brokers, which tell the producer about all others: `host:port,host:port`, IPv6 addresses
            /// in brackets. Required. Duplicates are dropped. `build` resolves the names (for later, see
            /// `bootstrap.resolve.timeout.ms`). Each new connection resolves its name again.
            "bootstrap.servers", bootstrap_servers(impl Into<String>): String = addresses(),
                default "", range "host:port, separated by commas";

            /// 0: `build` resolves the names of `bootstrap.servers`, and fails if none resolves; if the name server is
            /// silent for 5 s, `build` succeeds. More than 0: `build` returns at once and a thread resolves them for up
            /// to this time. After that, calls that need the cluster fail at once until a name resolves.
            "bootstrap.resolve.timeout.ms", bootstrap_resolve_timeout(Duration): Duration = millis(0, i64::MAX),
                default "0", range "0 or more";

            /// The name by which brokers know this client in their logs and quotas. Empty: `producer-` and a number.
            "client.id", client_id(impl Into<String>): String = text(),
                default "", range "up to 32767 bytes";

            /// What the producer does if a broker's name has several addresses: it tries all, one after the other.
            "client.dns.lookup", client_dns_lookup(ClientDnsLookup): ClientDnsLookup = choice(),
                default "use_all_dns_ips", range "use_all_dns_ips";

            /// The producer asks for metadata again when it is this old, even if nothing seems to have changed.
            "metadata.max.age.ms", metadata_max_age(Duration): Duration = millis(0, i64::MAX),
                default "300000", range "0 or more";

            /// If no record is sent to a topic for this long, the producer forgets the topic. A later record asks for it
            /// again.
            "metadata.max.idle.ms", metadata_max_idle(Duration): Duration = millis(5000, i64::MAX),
                default "300000", range "5000 or more";

            /// What to do when no known broker can be reached: start again from `bootstrap.servers`, or keep trying.
            "metadata.recovery.strategy",
                metadata_recovery_strategy(MetadataRecoveryStrategy): MetadataRecoveryStrategy = choice(),
                default "rebootstrap", range "rebootstrap, none";

            /// If no broker gives metadata for this long, the producer starts again from `bootstrap.servers`, even if it
            /// has not tried all known brokers. Only with the strategy `rebootstrap`.
            "metadata.recovery.rebootstrap.trigger.ms",
                metadata_recovery_rebootstrap_trigger(Duration): Duration = millis(0, i64::MAX),
                default "300000", range "0 or more";

            /// The largest size of a batch in bytes. With compression, its compressed size is estimated from the topic's
            /// earlier batches. A larger record gets a batch of its own; 0 turns batching off.
            "batch.size", batch_size(usize): usize = bytes(0, i32::MAX as i64),
                default "16384", range "0 to 2147483647";

            /// How long a batch that is not full waits for more records before it is sent.
            "linger.ms", linger(Duration): Duration = millis(0, i32::MAX as i64),
                default "5", range "0 to 2147483647";

            /// The largest record, uncompressed, and the largest request, in bytes.
            "max.request.size", max_request_size(usize): usize = bytes(0, i32::MAX as i64),
                default "1048576", range "0 to 2147483647";

            /// The bytes of memory for records that are not delivered yet. `send` waits while it is full. If there are
            /// several brokers, the records for one of them use at most three times the memory that is free, so a broker
            /// that accepts nothing leaves memory for the others.
            "buffer.memory", buffer_memory(usize): usize = bytes(0, i64::MAX),
                default "33554432", range "0 or more";

            /// How long `send` and `partitions_for` may wait, for metadata and memory together. 0: never.
            "max.block.ms", max_block(Duration): Duration = millis(0, i64::MAX),
                default "60000", range "0 or more";

            /// How batches are compressed. Each but `none` needs the Cargo feature of that name.
            "compression.type", compression(CompressionType): CompressionType = choice(),
                default "none", range "none, gzip, snappy, lz4, zstd";

            /// The level of gzip: 1 is fastest, 9 gives the smallest batches, -1 is gzip's default.
            "compression.gzip.level", compression_gzip_level(i32): i32 = gzip_level(),
                default "-1", range "-1 or 1 to 9";

            /// Accepted from Java's files, without effect: the built-in codec has one level. A value other than the default
            /// is logged as a warning.
            "compression.lz4.level", compression_lz4_level(i32): i32 = level(1, 17),
                default "9", range "1 to 17";

            /// The level of zstd: a higher level gives smaller batches and takes longer.
            "compression.zstd.level", compression_zstd_level(i32): i32 = level(-131_072, 22),
                default "3", range "-131072 to 22";

            /// The partitioner, which chooses the partition of a record without one. Empty: the default one, which uses
            /// the key's hash if there is a key, and is sticky and adaptive if not. Set others on the builder, as objects.
            "partitioner.class", partitioner_class(PartitionerClass): PartitionerClass = choice(),
                default "", range "empty, org.apache.kafka.clients.producer.RoundRobinPartitioner";

            /// Whether the default partitioner ignores keys, and treats all records like those without a key.
            "partitioner.ignore.keys", partitioner_ignore_keys(bool): bool = boolean(),
                default "false", range "true, false";

            /// Whether the default partitioner prefers partitions with short queues for records without a key.
            "partitioner.adaptive.partitioning.enable", partitioner_adaptive_partitioning(bool): bool = boolean(),
                default "true", range "true, false";

            /// Records without a key avoid a partition whose broker has accepted no data for this long. 0: only if it is
            /// unreachable or has not answered for 1 s. Only with adaptive partitioning.
            "partitioner.availability.timeout.ms",
                partitioner_availability_timeout(Option<Duration>): Option<Duration> = millis_or_zero(),
                default "0", range "0 or more";

            /// Which replicas must have a record before it counts as delivered: `0` none, `1` the leader, `all` (or `-1`)
            /// every replica in sync. Idempotence needs `all`.
            "acks", acks(Acks): Acks = choice(),
                default "all", range "all, -1, 0, 1";

            /// How often a batch is sent again after a temporary failure, within `delivery.timeout.ms`.
            /// Idempotence needs at least 1.
            "retries", retries(u32): u32 = count(0),
                default "2147483647", range "0 to 2147483647";

            /// The longest time from a batch's first record to its success or failure, with all retries. It must be at
            /// least `linger.ms` + `request.timeout.ms`; if it is not set, it is raised to that. Slow compression of other
            /// batches can extend this time, at most to twice the value.
            "delivery.timeout.ms", delivery_timeout(Duration): Duration = millis(0, i32::MAX as i64),
                default "120000", range "0 to 2147483647";

            /// How long the client waits for an answer after it wrote the whole request. Then it closes the connection. For
            /// metadata it asks another broker sooner.
            "request.timeout.ms", request_timeout(Duration): Duration = millis(0, i32::MAX as i64),
                default "30000", range "0 to 2147483647";

            /// How many requests without an answer a connection may have. Sender threads usually have one connection each
            /// to a broker. If the broker refuses another connection, they share one; the limit then applies to each
            /// thread separately. At most 5 with idempotence.
            "max.in.flight.requests.per.connection",
                max_in_flight_requests_per_connection(usize): usize = bytes(1, i32::MAX as i64),
                default "5", range "1 to 2147483647";

            /// With `true`, retries neither duplicate nor reorder records. Needs `acks=all`, `retries` of at least 1
            /// and at most 5 requests in flight. If this is not set and `acks` or `retries` rule it out, idempotence is
            /// off, with a warning.
            "enable.idempotence", enable_idempotence(bool): bool = boolean(),
                default "true", range "true, false";

            /// The wait before a batch's first retry. It doubles with each retry, with a jitter of 20 %, up to
            /// `retry.backoff.max.ms`.
            "retry.backoff.ms", retry_backoff(Duration): Duration = millis(0, i64::MAX),
                default "100", range "0 or more";

            /// The longest wait before a batch's retry.
            "retry.backoff.max.ms", retry_backoff_max(Duration): Duration = millis(0, i64::MAX),
                default "1000", range "0 or more";

            /// The wait before the first reconnect to a broker. It doubles with each failure, with a jitter of 20 %, up to
            /// `reconnect.backoff.max.ms`. Less than 20 ms counts as 20 ms.
            "reconnect.backoff.ms", reconnect_backoff(Duration): Duration = millis(0, i64::MAX),
                default "50", range "0 or more";

            /// The longest wait before a reconnect. If only `reconnect.backoff.ms` is set, equal to it. Less than 20 ms
            /// counts as 20 ms.
            "reconnect.backoff.max.ms", reconnect_backoff_max(Duration): Duration = millis(0, i64::MAX),
                default "1000", range "0 or more";

            /// How long a connection may take until it is ready for requests. This time doubles with each failure in a row.
            "socket.connection.setup.timeout.ms",
                socket_connection_setup_timeout(Duration): Duration = millis(0, i64::MAX),
                default "10000", range "0 or more";

            /// The upper limit of the time that a connection may take until it is ready.
            "socket.connection.setup.timeout.max.ms",
                socket_connection_setup_timeout_max(Duration): Duration = millis(0, i64::MAX),
                default "30000", range "0 or more";

            /// A connection without a request for this long is closed. Negative, or `None` in Rust: never.
            "connections.max.idle.ms",
                connections_max_idle(Option<Duration>): Option<Duration> = millis_or_negative(),
                default "540000", range "-1 or more";

            /// The socket's send buffer (`SO_SNDBUF`) in bytes. -1, or `None` in Rust: the system's choice, which it adapts
            /// to the connection; a fixed size limits the bytes in one round trip. Java's default is 131072.
            "send.buffer.bytes", send_buffer(Option<usize>): Option<usize> = socket_buffer(),
                default "-1", range "-1 to 2147483647";

            /// The socket's receive buffer (`SO_RCVBUF`) in bytes. -1, or `None` in Rust: the system's choice.
            "receive.buffer.bytes", receive_buffer(Option<usize>): Option<usize> = socket_buffer(),
                default "32768", range "-1 to 2147483647";

            /// The protocol between client and brokers.
            "security.protocol", security_protocol(SecurityProtocol): SecurityProtocol = choice(),
                default "PLAINTEXT", range "PLAINTEXT";

            /// How many threads batch and write records; each owns a share of the partitions. Java has no such setting.
            /// `auto`: one for every two cores, with compression one for each core, from 1 to 4.
            "sender.threads", sender_threads(usize): Option<usize> = threads(),
                default "auto", range "auto or 1 to 64";
        }
    };
}

pub(crate) use for_each_setting;
