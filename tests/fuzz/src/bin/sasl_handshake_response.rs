//! A SaslHandshake response.
#![no_main]

kafka_producer_fuzz::target!(sasl_handshake_response, 100, 64 << 10);
