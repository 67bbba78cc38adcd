//! The stream that frames are cut from.
#![no_main]

kafka_producer_fuzz::target!(frames, 8, 128 << 10);
