//! A value with placeholders, and the pattern of names that a config provider may look up.
#![no_main]

kafka_producer_fuzz::target!(placeholders, 1000, 64 << 10);
