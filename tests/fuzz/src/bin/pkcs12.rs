//! A PKCS#12 store.
#![no_main]

kafka_producer_fuzz::target!(pkcs12, 100, 4 << 20);
