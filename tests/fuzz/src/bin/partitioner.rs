//! The partition of a key.
#![no_main]

kafka_producer_fuzz::target!(partitioner, 1, 1 << 10);
