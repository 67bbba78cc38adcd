//! A JAAS text.
#![no_main]

kafka_producer_fuzz::target!(jaas, 200, 64 << 10);
