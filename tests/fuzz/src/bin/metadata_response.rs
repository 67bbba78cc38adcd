//! The cluster as a broker tells of it.
#![no_main]

kafka_producer_fuzz::target!(metadata_response, 200, 64 << 10);
