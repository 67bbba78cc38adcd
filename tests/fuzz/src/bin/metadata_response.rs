//! Metadata: a broker's description of the cluster.
#![no_main]

kafka_producer_fuzz::target!(metadata_response, 200, 64 << 10);
