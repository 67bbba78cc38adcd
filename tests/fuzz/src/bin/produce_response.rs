//! Produce: the outcomes of batches.
#![no_main]

kafka_producer_fuzz::target!(produce_response, 200, 64 << 10);
