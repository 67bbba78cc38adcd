//! What a server answers by HTTP.
#![no_main]

kafka_producer_fuzz::target!(http_response, 100, 64 << 10);
