//! What codecs make of bytes; they may grow to a mebibyte,
//! and lz4 has two blocks of 4 MiB.
#![no_main]

kafka_producer_fuzz::target!(compressed, 100, 12 << 20);
