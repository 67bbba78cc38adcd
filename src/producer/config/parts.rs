//! Makes the small configuration of each layer from the settings.

use std::sync::Arc;
use std::time::Instant;

use crate::accumulator::topic_config::TopicConfig;
use crate::backoff::ExponentialBackoff;
use crate::connection::resolve::Resolver;
use crate::connection::{ConnectionConfig, Endpoint};
use crate::metadata::refresh::RefreshConfig;
use crate::producer::bootstrap::BootstrapConfig;
use crate::record::compression::Compression;
use crate::sender::SenderConfig;
use crate::time::deadline_after;

use super::{MetadataRecoveryStrategy, ValidatedConfig};

impl ValidatedConfig {
    /// For every topic.
    pub(crate) fn topic_config(&self) -> TopicConfig {
        TopicConfig {
            acks: self.acks.code(),
            linger: self.linger,
            batch_size: self.batch_size.max(1),
            max_batch_bytes: self.max_request_size,
            compression: Compression {
                codec: self.compression,
                level: self.compression_level(),
            },
            delivery_timeout: self.delivery_timeout,
        }
    }

    /// For the worker with this index.
    pub(crate) fn sender_config(&self, index: usize) -> SenderConfig {
        SenderConfig {
            index,
            client_id: self.client_id.as_str().into(),
            idempotence: self.enable_idempotence,
            max_request_size: self.max_request_size,
            max_in_flight: self.max_in_flight_requests_per_connection,
            request_timeout: self.request_timeout,
            retries: self.retries,
            retry_backoff: self.exponential_retry_backoff(),
            reconnect_backoff: self.exponential_reconnect_backoff(),
            connections_max_idle: self.connections_max_idle,
            // As in Java, a part of adaptive partitioning.
            availability_timeout: self
                .partitioner_availability_timeout
                .filter(|_| self.partitioner_adaptive_partitioning),
            topics: self.topic_config(),
        }
    }

    /// For every connection to a broker.
    pub(crate) fn connection_config(&self) -> ConnectionConfig {
        ConnectionConfig {
            client_id: self.client_id.as_str().into(),
            send_buffer: self.send_buffer,
            receive_buffer: self.receive_buffer,
            setup_timeout: self.socket_connection_setup_timeout,
            setup_timeout_max: self.socket_connection_setup_timeout_max,
            authenticator: Arc::clone(&self.protection.authenticator),
            encryption: self.protection.encryption.clone(),
            first_versions: Arc::default(),
            resolver: Arc::new(Resolver::new(Arc::clone(&self.names))),
        }
    }

    /// For the metadata thread.
    pub(crate) fn refresh_config(&self) -> RefreshConfig {
        RefreshConfig {
            bootstrap: self.bootstrap_endpoints(),
            rebootstrap: match self.metadata_recovery_strategy {
                MetadataRecoveryStrategy::Rebootstrap => {
                    Some(self.metadata_recovery_rebootstrap_trigger)
                }
                MetadataRecoveryStrategy::None => None,
            },
            max_age: self.metadata_max_age,
            max_idle: self.metadata_max_idle,
            request_timeout: self.request_timeout,
            retry_backoff: self.exponential_retry_backoff(),
            reconnect_backoff: self.exponential_reconnect_backoff(),
            connections_max_idle: self.connections_max_idle,
            bootstrap_resolve_deadline: deadline_after(
                Instant::now(),
                self.bootstrap_resolve_timeout,
            ),
        }
    }

    /// For the look-up of `bootstrap.servers`.
    pub(crate) fn bootstrap_config(&self) -> BootstrapConfig {
        BootstrapConfig {
            endpoints: self.bootstrap_endpoints(),
            names: Arc::clone(&self.names),
            resolve_timeout: self.bootstrap_resolve_timeout,
            backoff: self.exponential_reconnect_backoff(),
        }
    }

    fn bootstrap_endpoints(&self) -> Vec<Endpoint> {
        let addresses = self.bootstrap_addresses.iter();
        addresses
            .map(|address| Endpoint {
                host: address.host.as_str().into(),
                port: address.port,
            })
            .collect()
    }

    /// The wait before a batch's retry, and before a request for metadata or a producer id is repeated.
    pub(crate) fn exponential_retry_backoff(&self) -> ExponentialBackoff {
        ExponentialBackoff::new(self.retry_backoff, self.retry_backoff_max)
    }

    /// The wait before a reconnect, of the metadata thread and of the workers, and between two look-ups of the bootstrap
    /// addresses. It has a lower limit, because each attempt costs a connection, a thread and a log line.
    fn exponential_reconnect_backoff(&self) -> ExponentialBackoff {
        ExponentialBackoff::new(self.reconnect_backoff, self.reconnect_backoff_max).with_floor()
    }
}
