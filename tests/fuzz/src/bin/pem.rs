//! Certificates and keys in PEM.
#![no_main]

kafka_producer_fuzz::target!(pem, 100, 4 << 20);
