//! What a test calls for the TLS of a running cluster.

use std::io;

use super::{BrokerCertificate, ClientAuth, ClusterTls, HandshakeFault, MockCertificate, MockTls};
use crate::mock::{MockCluster, MockClusterBuilder};

impl MockClusterBuilder {
    /// Makes all brokers use TLS: clients need `security.protocol=SSL`, or `SASL_SSL` if the cluster also uses SASL. By
    /// default the brokers do not use TLS. Needs the Cargo feature `mock-tls`.
    pub fn tls(mut self, tls: MockTls) -> Self {
        self.options.tls = Some(tls);
        self
    }
}

/// TLS. Needs the Cargo feature `mock-tls`. These methods panic if the cluster does not use TLS.
impl MockCluster {
    /// Returns the certificate of the cluster's authority in PEM, which the setting `ssl.truststore.certificates` takes.
    ///
    /// # Panics
    /// If the cluster does not use TLS.
    #[track_caller]
    pub fn ca_pem(&self) -> String {
        self.tls().state.lock().authority.pem()
    }

    /// Returns the certificate that the brokers use for new connections, in PEM.
    ///
    /// # Panics
    /// If the cluster does not use TLS.
    #[track_caller]
    pub fn broker_certificate_pem(&self) -> String {
        self.tls().broker_certificate().certificate_pem().to_owned()
    }

    /// Makes a client certificate of the cluster's authority, with a new key. Its subject is `CN=common_name`.
    ///
    /// # Errors
    /// If `common_name` cannot be in a certificate.
    ///
    /// # Panics
    /// If the cluster does not use TLS.
    #[track_caller]
    pub fn client_certificate(&self, common_name: &str) -> io::Result<MockCertificate> {
        let authority = self.tls().state.lock().authority.clone();
        authority.client_certificate(common_name)
    }

    /// Exchanges the brokers' certificate: new connections get the new one. Open connections stay. Clients cannot resume
    /// earlier TLS sessions.
    ///
    /// # Errors
    /// If a given certificate or its key cannot be read, or they do not belong together. The brokers then keep theirs.
    ///
    /// # Panics
    /// If the cluster does not use TLS.
    #[track_caller]
    pub fn set_broker_certificate(&self, certificate: BrokerCertificate) -> io::Result<()> {
        self.tls().change(|tls| tls.certificate = certificate)
    }

    /// Changes whether brokers ask clients for a certificate, on new connections.
    ///
    /// # Errors
    /// If the system has no random numbers for a new key.
    ///
    /// # Panics
    /// If the cluster does not use TLS.
    #[track_caller]
    pub fn set_client_auth(&self, client_auth: ClientAuth) -> io::Result<()> {
        self.tls().change(|tls| tls.client_auth = client_auth)
    }

    /// Makes a new certificate authority and, unless it was given, a new certificate of the brokers. On new connections
    /// clients must trust the new authority, and client certificates of the old one are refused.
    ///
    /// # Errors
    /// If the system has no random numbers for a new key.
    ///
    /// # Panics
    /// If the cluster does not use TLS.
    #[track_caller]
    pub fn renew_ca(&self) -> io::Result<()> {
        self.tls().renew_authority()
    }

    /// Applies `fault` to the next `times` TLS handshakes, at any broker. [`remove_all_hooks`](Self::remove_all_hooks) ends
    /// it.
    ///
    /// # Panics
    /// If the cluster does not use TLS.
    #[track_caller]
    pub fn fail_handshakes(&self, times: usize, fault: HandshakeFault) {
        self.tls().faults.add(times, fault);
    }

    #[track_caller]
    fn tls(&self) -> &ClusterTls {
        let tls = self.shared.tls.as_ref();
        tls.unwrap_or_else(|| panic!("the cluster does not use TLS"))
    }
}

impl ClusterTls {
    pub(in crate::mock) fn broker_certificate(&self) -> MockCertificate {
        self.state.lock().certificate.clone()
    }

    /// Removes the faults of handshakes.
    pub(in crate::mock) fn clear_faults(&self) {
        self.faults.clear();
    }
}
