//! What a broker says to a token of OAUTHBEARER.
#![no_main]

kafka_producer_fuzz::target!(oauthbearer_failure, 100, 64 << 10);
