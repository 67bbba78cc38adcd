//! What a broker says in SCRAM.
#![no_main]

kafka_producer_fuzz::target!(scram_messages, 100, 64 << 10);
