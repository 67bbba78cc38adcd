//! What a token server answers, and what a token says of itself.
#![no_main]

kafka_producer_fuzz::target!(token_response, 300, 256 << 10);
