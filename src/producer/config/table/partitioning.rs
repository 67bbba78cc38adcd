//! How a record without a partition gets one.

macro_rules! partitioning {
    ($($before:tt)*) => {
        $crate::producer::config::table::next_group! {
            $($before)*

            /// The partitioner, which chooses the partition of a record without one. Empty: the default one, which uses
            /// the key's hash if there is a key, and is sticky and adaptive if not. Set your own with the builder's `partitioner`.
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
        }
    };
}

pub(crate) use partitioning;
