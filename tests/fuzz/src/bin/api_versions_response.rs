//! The first answer on a connection.
#![no_main]

kafka_producer_fuzz::target!(api_versions_response, 100, 64 << 10);
