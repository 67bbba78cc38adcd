//! A properties file.
#![no_main]

kafka_producer_fuzz::target!(properties, 100, 256 << 10);
