//! Batches, and the memory for them.

macro_rules! batching {
    ($($before:tt)*) => {
        $crate::producer::config::table::next_group! {
            $($before)*

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

            /// The bytes of memory for records that are not delivered yet. `send` waits while it is full. Once there were
            /// records for more than one broker, the records for one of them use at most three times the memory that is
            /// free. So a broker that accepts nothing does not take the memory of the others.
            "buffer.memory", buffer_memory(usize): usize = bytes(0, i64::MAX),
                default "33554432", range "0 or more";

            /// How long `send` and `partitions_for` may wait, for metadata and memory together. 0: never.
            "max.block.ms", max_block(Duration): Duration = millis(0, i64::MAX),
                default "60000", range "0 or more";
        }
    };
}

pub(crate) use batching;
