//! What a test calls for the SASL of a running cluster.

use std::sync::Arc;

use super::MockSasl;
use crate::mock::{MockCluster, MockClusterBuilder};

impl MockClusterBuilder {
    /// Makes all brokers demand that clients authenticate: clients need `security.protocol=SASL_PLAINTEXT`, or `SASL_SSL`
    /// if the cluster also uses TLS. By default clients cannot authenticate.
    pub fn sasl(mut self, sasl: MockSasl) -> Self {
        self.options.sasl = Some(sasl);
        self
    }
}

/// SASL. To refuse clients, to close their connections or to delay them while they authenticate, apply a
/// [`Fault`](crate::mock::Fault) to [`MockApi::SaslHandshake`](crate::mock::MockApi::SaslHandshake) or
/// [`MockApi::SaslAuthenticate`](crate::mock::MockApi::SaslAuthenticate).
impl MockCluster {
    /// Replaces mechanisms, users, tokens and session lifetime, for authentications that begin after this call.
    /// Authenticated connections stay. If the cluster did not use SASL, new connections must authenticate.
    pub fn set_sasl(&self, sasl: MockSasl) {
        *self.shared.sasl.lock() = Some(Arc::new(sasl));
    }

    /// Refuses the next `count` authentications with `text`, whatever the credentials are. MSK's brokers do so with
    /// `[<id>]: Too many connects` if clients connect too often.
    pub fn refuse_authentications(&self, count: usize, text: &str) {
        let texts = std::iter::repeat_n(text.to_owned(), count);
        self.shared.sasl_refusals.lock().extend(texts);
    }

    /// Changes the password of a user in each mechanism that has the user, for authentications that begin after this call.
    /// Authenticated connections stay.
    ///
    /// # Panics
    /// If no mechanism has such a user with a password, or the cluster does not use SASL.
    #[track_caller]
    pub fn set_password(&self, user: &str, password: &str) {
        let changed = self.shared.sasl.lock().as_mut().is_some_and(|sasl| {
            let mut new = MockSasl::clone(sasl);
            let is_known = new.change_password(user, password);
            *sasl = Arc::new(new);
            is_known
        });
        assert!(changed, "there is no user {user} with a password");
    }
}
