//! A producer id.
#![no_main]

kafka_producer_fuzz::target!(init_producer_id_response, 100, 64 << 10);
