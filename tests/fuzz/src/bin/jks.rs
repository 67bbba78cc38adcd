//! A JKS store.
#![no_main]

kafka_producer_fuzz::target!(jks, 100, 4 << 20);
