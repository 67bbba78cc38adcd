//! A worker and brokers that answer anything.
#![no_main]

kafka_producer_fuzz::target!(worker, 200, 4 << 20);
