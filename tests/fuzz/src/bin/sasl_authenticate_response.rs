//! A SaslAuthenticate response.
#![no_main]

kafka_producer_fuzz::target!(sasl_authenticate_response, 100, 64 << 10);
