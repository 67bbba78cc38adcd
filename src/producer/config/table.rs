//! The one table of the producer's settings.
//!
//! [`for_each_setting`] hands all rows to another macro: the configuration makes its fields, setters, parser and
//! checks of them, the builder its setters, the README its table. A row reads
//! `docs "property", setter(argument): field type = how to read it, default "text", range "text";`

/// Calls the macro `$callback` with every row of the table.
macro_rules! for_each_setting {
    ($callback:ident) => {
        $callback! {
            /// Addresses of a few brokers to find the others by: `host:port,host:port`, IPv6 addresses in brackets.
            /// Required. Duplicates are dropped. Names are looked up when the producer is built (or later: see
            /// `bootstrap.resolve.timeout.ms`), of which at least one must have an address, and again for each connection.
            "bootstrap.servers", bootstrap_servers(impl Into<String>): String = addresses(),
                default "", range "host:port, separated by commas";

            /// How long names of `bootstrap.servers` that do not exist yet are looked up behind `build`. 0: `build` looks
            /// them up and fails if none has an address. When the time is over, calls that need the cluster fail at once
            /// until a name can be looked up; then the producer works. Java's fails for good.
            "bootstrap.resolve.timeout.ms", bootstrap_resolve_timeout(Duration): Duration = millis(0, i64::MAX),
                default "0", range "0 or more";

            /// The name by which brokers know this client in their logs and quotas. Empty: `producer-` and a number.
            "client.id", client_id(impl Into<String>): String = text(),
                default "", range "up to 32767 bytes";

            /// What becomes of a broker's name with several addresses: all are tried, one after the other.
            "client.dns.lookup", client_dns_lookup(ClientDnsLookup): ClientDnsLookup = choice(),
                default "use_all_dns_ips", range "use_all_dns_ips";

            /// How old metadata may grow before it is asked for again, changes or none.
            "metadata.max.age.ms", metadata_max_age(Duration): Duration = millis(0, i64::MAX),
                default "300000", range "0 or more";

            /// After how long without a record a topic is no longer asked for.
            "metadata.max.idle.ms", metadata_max_idle(Duration): Duration = millis(5000, i64::MAX),
                default "300000", range "5000 or more";

            /// What to do when no known broker can be reached: begin anew from `bootstrap.servers`, or keep trying.
            "metadata.recovery.strategy",
                metadata_recovery_strategy(MetadataRecoveryStrategy): MetadataRecoveryStrategy = choice(),
                default "rebootstrap", range "rebootstrap, none";

            /// After how long without an answer about the cluster to begin anew from `bootstrap.servers`, whether or
            /// not all known brokers were tried. Part of the strategy `rebootstrap`.
            "metadata.recovery.rebootstrap.trigger.ms",
                metadata_recovery_rebootstrap_trigger(Duration): Duration = millis(0, i64::MAX),
                default "300000", range "0 or more";

            /// How many bytes a batch gathers at most, compressed as the topic's batches so far let expect. A larger
            /// record gets a batch of its own; 0 turns batching off.
            "batch.size", batch_size(usize): usize = bytes(0, i32::MAX as i64),
                default "16384", range "0 to 2147483647";

            /// How long a batch that is not full waits for more records before it is sent.
            "linger.ms", linger(Duration): Duration = millis(0, i32::MAX as i64),
                default "5", range "0 to 2147483647";

            /// The largest record, uncompressed, and the largest request, in bytes.
            "max.request.size", max_request_size(usize): usize = bytes(0, i32::MAX as i64),
                default "1048576", range "0 to 2147483647";

            /// The bytes of memory for records that are not delivered yet. `send` waits while it is full. Records for one
            /// broker hold at most three times what is free, once there were records for another: brokers that take
            /// nothing leave room for the others.
            "buffer.memory", buffer_memory(usize): usize = bytes(0, i64::MAX),
                default "33554432", range "0 or more";

            /// How long `send` and `partitions_for` may wait, for metadata and memory together. 0: never.
            "max.block.ms", max_block(Duration): Duration = millis(0, i64::MAX),
                default "60000", range "0 or more";

            /// How batches are compressed. Each but `none` needs the Cargo feature of that name.
            "compression.type", compression(CompressionType): CompressionType = choice(),
                default "none", range "none, gzip, snappy, lz4, zstd";

            /// How hard gzip tries: 1 is fastest, 9 smallest, -1 its own choice.
            "compression.gzip.level", compression_gzip_level(i32): i32 = gzip_level(),
                default "-1", range "-1 or 1 to 9";

            /// Known for Java's files. The codec built in has one level: another value than the default is warned about.
            "compression.lz4.level", compression_lz4_level(i32): i32 = level(1, 17),
                default "9", range "1 to 17";

            /// How hard zstd tries: the higher, the smaller and slower.
            "compression.zstd.level", compression_zstd_level(i32): i32 = level(-131_072, 22),
                default "3", range "-131072 to 22";

            /// Which partitioner chooses the partition of a record that names none. Empty: the default one, by the
            /// key's hash where there is a key, else sticky and adaptive. Others are handed to the builder as objects.
            "partitioner.class", partitioner_class(PartitionerClass): PartitionerClass = choice(),
                default "", range "empty, org.apache.kafka.clients.producer.RoundRobinPartitioner";

            /// Whether the default partitioner treats records with a key like those without.
            "partitioner.ignore.keys", partitioner_ignore_keys(bool): bool = boolean(),
                default "false", range "true, false";

            /// Whether the default partitioner gives records without a key to partitions with short queues.
            "partitioner.adaptive.partitioning.enable", partitioner_adaptive_partitioning(bool): bool = boolean(),
                default "true", range "true, false";

            /// A partition whose broker had something to take for this long, and took nothing, gets no record without a key.
            /// 0: only where the broker cannot be reached, or has owed an answer for a second. A part of adaptive
            /// partitioning: without it, without effect.
            "partitioner.availability.timeout.ms",
                partitioner_availability_timeout(Option<Duration>): Option<Duration> = millis_or_zero(),
                default "0", range "0 or more";

            /// Who must have a record before it counts as delivered: `0` nobody, `1` the leader, `all` (or `-1`) every
            /// replica in sync. Idempotence needs `all`.
            "acks", acks(Acks): Acks = choice(),
                default "all", range "all, -1, 0, 1";

            /// How often a batch is sent again after a failure that may pass, within `delivery.timeout.ms`.
            /// Idempotence needs at least 1.
            "retries", retries(u32): u32 = count(0),
                default "2147483647", range "0 to 2147483647";

            /// The longest time from a batch's first record to its success or failure, retries and all. At least
            /// `linger.ms` + `request.timeout.ms`, to which an unset value is raised. Time that slow compression of other
            /// batches takes does not count, up to as long again.
            "delivery.timeout.ms", delivery_timeout(Duration): Duration = millis(0, i32::MAX as i64),
                default "120000", range "0 to 2147483647";

            /// How long a broker has to answer a request, from its last byte written, before the connection is given up. For metadata another broker
            /// is asked sooner.
            "request.timeout.ms", request_timeout(Duration): Duration = millis(0, i32::MAX as i64),
                default "30000", range "0 to 2147483647";

            /// How many requests are sent on a connection ahead of their answers. Each of `sender.threads` has its own
            /// connection to a broker and counts for itself where they share one, since the broker allows no further. At
            /// most 5 with idempotence.
            "max.in.flight.requests.per.connection",
                max_in_flight_requests_per_connection(usize): usize = bytes(1, i32::MAX as i64),
                default "5", range "1 to 2147483647";

            /// Whether retries can neither duplicate nor reorder records. Needs `acks=all`, `retries` of at least 1
            /// and at most 5 requests in flight; where only the first two are set otherwise and this is not set,
            /// idempotence is off.
            "enable.idempotence", enable_idempotence(bool): bool = boolean(),
                default "true", range "true, false";

            /// The wait before a batch is first sent again. It doubles, with a jitter of 20 %, and never exceeds `retry.backoff.max.ms`.
            "retry.backoff.ms", retry_backoff(Duration): Duration = millis(0, i64::MAX),
                default "100", range "0 or more";

            /// The longest wait before a batch is sent again.
            "retry.backoff.max.ms", retry_backoff_max(Duration): Duration = millis(0, i64::MAX),
                default "1000", range "0 or more";

            /// The wait before a broker is first connected to again. It doubles, with a jitter of 20 %, and
            /// never exceeds `reconnect.backoff.max.ms`. Less than 20 ms counts as 20 ms.
            "reconnect.backoff.ms", reconnect_backoff(Duration): Duration = millis(0, i64::MAX),
                default "50", range "0 or more";

            /// The longest wait before a broker is connected to again. Where only `reconnect.backoff.ms` is set, equal to
            /// it. Less than 20 ms counts as 20 ms.
            "reconnect.backoff.max.ms", reconnect_backoff_max(Duration): Duration = millis(0, i64::MAX),
                default "1000", range "0 or more";

            /// How long a connection may take to be ready for requests. It doubles with each failure in a row.
            "socket.connection.setup.timeout.ms",
                socket_connection_setup_timeout(Duration): Duration = millis(0, i64::MAX),
                default "10000", range "0 or more";

            /// The most that the time for making a connection grows to.
            "socket.connection.setup.timeout.max.ms",
                socket_connection_setup_timeout_max(Duration): Duration = millis(0, i64::MAX),
                default "30000", range "0 or more";

            /// After how long without a request a connection is closed. Negative, or none in Rust: never.
            "connections.max.idle.ms",
                connections_max_idle(Option<Duration>): Option<Duration> = millis_or_negative(),
                default "540000", range "-1 or more";

            /// The socket's send buffer (`SO_SNDBUF`) in bytes. -1, or none in Rust: the system's choice, which grows with what
            /// the link holds; a fixed size bounds what is sent in a round trip. Java's default is 131072.
            "send.buffer.bytes", send_buffer(Option<usize>): Option<usize> = socket_buffer(),
                default "-1", range "-1 to 2147483647";

            /// The socket's receive buffer (`SO_RCVBUF`) in bytes. -1, or none in Rust: the system's choice.
            "receive.buffer.bytes", receive_buffer(Option<usize>): Option<usize> = socket_buffer(),
                default "32768", range "-1 to 2147483647";

            /// How the client speaks to brokers.
            "security.protocol", security_protocol(SecurityProtocol): SecurityProtocol = choice(),
                default "PLAINTEXT", range "PLAINTEXT";

            /// How many threads batch and write records; each owns a share of the partitions. Not a setting of Java's.
            /// `auto`: one for every two cores, with compression one for each, from 1 to 4.
            "sender.threads", sender_threads(usize): Option<usize> = threads(),
                default "auto", range "auto or 1 to 64";
        }
    };
}

pub(crate) use for_each_setting;
