//! Batches as brokers and consumers read them; compressed records may grow to a mebibyte,
//! and lz4 has two blocks of 4 MiB.
#![no_main]

kafka_producer_fuzz::target!(record_batch, 100, 12 << 20);
