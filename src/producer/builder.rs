//! The builder of a producer.

use std::fmt;
use std::marker::PhantomData;
use std::sync::Arc;
use std::time::Duration;

use crate::error::Error;
use crate::record::compression::CompressionType;
#[cfg(feature = "tls-core")]
use crate::tls::{ClientKey, TrustMaterial};

use super::config::{
    Acks, ClientDnsLookup, MetadataRecoveryStrategy, PartitionerClass, ProducerConfig,
    SecurityProtocol, for_each_setting,
};
use super::partitioner::Partitioner;
#[cfg(feature = "tls-core")]
use super::serializer::BoxError;
use super::serializer::{DefaultSerializer, Serializer};

/// Collects the settings, serializers and partitioner of a producer with keys `K` and values `V`.
///
/// Keys and values of types that implement [`ToBytes`](crate::ToBytes) need no serializer.
#[must_use = "nothing is started before `build` is called"]
pub struct ProducerBuilder<K, V, KS = DefaultSerializer, VS = DefaultSerializer> {
    pub(crate) config: ProducerConfig,
    pub(crate) key_serializer: KS,
    pub(crate) value_serializer: VS,
    pub(crate) partitioner: Option<Arc<dyn Partitioner>>,
    records: PhantomData<fn(K, V)>,
}

impl<K, V> ProducerBuilder<K, V> {
    pub(crate) fn new() -> Self {
        Self {
            config: ProducerConfig::new(),
            key_serializer: DefaultSerializer,
            value_serializer: DefaultSerializer,
            partitioner: None,
            records: PhantomData,
        }
    }
}

impl<K, V, KS, VS> ProducerBuilder<K, V, KS, VS> {
    /// Replaces all settings by those of `config`, also those that earlier setters of this builder have set. Serializers and
    /// partitioner stay. Default: [`ProducerConfig::new`].
    pub fn config(mut self, config: ProducerConfig) -> Self {
        self.config = config;
        self
    }

    /// Sets the setting that Kafka calls `name` to the text `value`, in Java's units: milliseconds and bytes. Returns an error
    /// if the name is not known or the value is not legal: see [`ProducerConfig::set`].
    pub fn set(mut self, name: &str, value: &str) -> Result<Self, Error> {
        self.config.set(name, value)?;
        Ok(self)
    }

    /// Authenticates as `user` by PLAIN, which gives the broker the password itself. In Java: `sasl.mechanism=PLAIN`, and
    /// `PlainLoginModule` in `sasl.jaas.config`. Default: not set. See [`ProducerConfig::sasl_plain`].
    #[cfg(feature = "sasl")]
    pub fn sasl_plain(mut self, user: impl Into<String>, password: impl Into<String>) -> Self {
        self.config = self.config.sasl_plain(user, password);
        self
    }

    /// Authenticates as `user` by SCRAM-SHA-256, which does not send the password. In Java: `sasl.mechanism=SCRAM-SHA-256`,
    /// and `ScramLoginModule` in `sasl.jaas.config`. Default: not set. See [`ProducerConfig::sasl_scram_sha_256`].
    #[cfg(feature = "sasl")]
    pub fn sasl_scram_sha_256(
        mut self,
        user: impl Into<String>,
        password: impl Into<String>,
    ) -> Self {
        self.config = self.config.sasl_scram_sha_256(user, password);
        self
    }

    /// Authenticates as `user` by SCRAM-SHA-512, which does not send the password. In Java: `sasl.mechanism=SCRAM-SHA-512`,
    /// and `ScramLoginModule` in `sasl.jaas.config`. Default: not set. See [`ProducerConfig::sasl_scram_sha_512`].
    #[cfg(feature = "sasl")]
    pub fn sasl_scram_sha_512(
        mut self,
        user: impl Into<String>,
        password: impl Into<String>,
    ) -> Self {
        self.config = self.config.sasl_scram_sha_512(user, password);
        self
    }

    /// Authenticates by SCRAM-SHA-256 with a delegation token: its id, and its HMAC in base64. In Java:
    /// `sasl.mechanism=SCRAM-SHA-256`, and `ScramLoginModule` with `tokenauth=true` in `sasl.jaas.config`. Default: not set.
    /// See [`ProducerConfig::sasl_scram_sha_256_token`].
    #[cfg(feature = "sasl")]
    pub fn sasl_scram_sha_256_token(
        mut self,
        token_id: impl Into<String>,
        hmac: impl Into<String>,
    ) -> Self {
        self.config = self.config.sasl_scram_sha_256_token(token_id, hmac);
        self
    }

    /// Authenticates by SCRAM-SHA-512 with a delegation token: its id, and its HMAC in base64. In Java:
    /// `sasl.mechanism=SCRAM-SHA-512`, and `ScramLoginModule` with `tokenauth=true` in `sasl.jaas.config`. Default: not set.
    /// See [`ProducerConfig::sasl_scram_sha_512_token`].
    #[cfg(feature = "sasl")]
    pub fn sasl_scram_sha_512_token(
        mut self,
        token_id: impl Into<String>,
        hmac: impl Into<String>,
    ) -> Self {
        self.config = self.config.sasl_scram_sha_512_token(token_id, hmac);
        self
    }

    /// Authenticates by Kerberos as `principal`, with its key in the file `keytab`. `service` is the first part of the
    /// brokers' principals, usually `kafka`. In Java: `sasl.mechanism=GSSAPI`, `sasl.kerberos.service.name`, and
    /// `Krb5LoginModule` with `useKeyTab=true`, `keyTab` and `principal` in `sasl.jaas.config`. Default: not set. See
    /// [`ProducerConfig::sasl_kerberos_keytab`].
    #[cfg(feature = "sasl-gssapi")]
    pub fn sasl_kerberos_keytab(
        mut self,
        service: impl Into<String>,
        principal: impl Into<String>,
        keytab: impl Into<std::path::PathBuf>,
    ) -> Self {
        self.config = self.config.sasl_kerberos_keytab(service, principal, keytab);
        self
    }

    /// Authenticates by Kerberos with the tickets of the default ticket cache, which `kinit` fills. `service` is the first
    /// part of the brokers' principals, usually `kafka`. In Java: `sasl.mechanism=GSSAPI`, `sasl.kerberos.service.name`, and
    /// `Krb5LoginModule` with `useTicketCache=true` in `sasl.jaas.config`. Default: not set. See
    /// [`ProducerConfig::sasl_kerberos_ticket_cache`].
    #[cfg(feature = "sasl-gssapi")]
    pub fn sasl_kerberos_ticket_cache(mut self, service: impl Into<String>) -> Self {
        self.config = self.config.sasl_kerberos_ticket_cache(service);
        self
    }

    /// Authenticates by OAUTHBEARER with tokens that code of yours supplies. In Java: `sasl.mechanism=OAUTHBEARER`, and a class
    /// of your own in `sasl.login.callback.handler.class`. Default: not set. See [`ProducerConfig::sasl_oauthbearer`].
    #[cfg(feature = "sasl")]
    pub fn sasl_oauthbearer(
        mut self,
        provider: impl crate::sasl::oauthbearer::TokenProvider + 'static,
    ) -> Self {
        self.config = self.config.sasl_oauthbearer(provider);
        self
    }

    /// Trusts these certificates. In Java: `ssl.truststore.*`. Default: what these settings name, or else the certificates
    /// that the system trusts. See [`ProducerConfig::tls_trust`].
    #[cfg(feature = "tls-core")]
    pub fn tls_trust(mut self, trust: TrustMaterial) -> Self {
        self.config = self.config.tls_trust(trust);
        self
    }

    /// Trusts the certificates that code of yours supplies for each connection. In Java: a class of your own in
    /// `ssl.engine.factory.class`. Default: as of [`tls_trust`](Self::tls_trust). See [`ProducerConfig::tls_trust_provider`].
    #[cfg(feature = "tls-core")]
    pub fn tls_trust_provider(
        mut self,
        provider: impl Fn() -> Result<TrustMaterial, BoxError> + Send + Sync + 'static,
    ) -> Self {
        self.config = self.config.tls_trust_provider(provider);
        self
    }

    /// Shows this client certificate to brokers that ask for one. In Java: `ssl.keystore.*` and `ssl.key.password`. Default:
    /// what these settings name, or else none. See [`ProducerConfig::tls_client_key`].
    #[cfg(feature = "tls-core")]
    pub fn tls_client_key(mut self, key: ClientKey) -> Self {
        self.config = self.config.tls_client_key(key);
        self
    }

    /// Shows the client certificate that code of yours supplies for each connection. In Java: a class of your own in
    /// `ssl.engine.factory.class`. Default: as of [`tls_client_key`](Self::tls_client_key). See
    /// [`ProducerConfig::tls_client_key_provider`].
    #[cfg(feature = "tls-core")]
    pub fn tls_client_key_provider(
        mut self,
        provider: impl Fn() -> Result<ClientKey, BoxError> + Send + Sync + 'static,
    ) -> Self {
        self.config = self.config.tls_client_key_provider(provider);
        self
    }

    /// Serializes keys with `serializer`. In Java: `key.serializer`. Default: types that implement
    /// [`ToBytes`](crate::ToBytes) need none.
    pub fn key_serializer<S: Serializer<K> + 'static>(
        self,
        serializer: S,
    ) -> ProducerBuilder<K, V, S, VS> {
        ProducerBuilder {
            config: self.config,
            key_serializer: serializer,
            value_serializer: self.value_serializer,
            partitioner: self.partitioner,
            records: PhantomData,
        }
    }

    /// Serializes values with `serializer`. In Java: `value.serializer`. Default: types that implement
    /// [`ToBytes`](crate::ToBytes) need none.
    pub fn value_serializer<S: Serializer<V> + 'static>(
        self,
        serializer: S,
    ) -> ProducerBuilder<K, V, KS, S> {
        ProducerBuilder {
            config: self.config,
            key_serializer: self.key_serializer,
            value_serializer: serializer,
            partitioner: self.partitioner,
            records: PhantomData,
        }
    }

    /// Chooses partitions with `partitioner`. Then `partitioner.class` and the settings of the default partitioner have no
    /// effect. In Java: a class of your own in `partitioner.class`. Default: the partitioner that `partitioner.class` names.
    pub fn partitioner(mut self, partitioner: impl Partitioner + 'static) -> Self {
        self.partitioner = Some(Arc::new(partitioner));
        self
    }
}

macro_rules! define_builder_setters {
    ($(
        $(#[doc = $doc:literal])+
        $property:literal $(, $setter:ident($argument:ty): $type:ty)? = $kind:expr,
            default $default:literal, range $range:literal;
    )+) => {
        /// The settings, each by its type.
        impl<K, V, KS, VS> ProducerBuilder<K, V, KS, VS> {
            $( define_builder_setter! {
                { $(#[doc = $doc])+ } $property, $default, $range $(, $setter($argument))?
            } )+
        }
    };
}

/// The typed setter of a row, if it has one.
macro_rules! define_builder_setter {
    ({ $($docs:tt)+ } $property:literal, $default:literal, $range:literal, $setter:ident($argument:ty)) => {
        $($docs)+
        ///
        #[doc = concat!("Kafka's `", $property, "`. Default: `", $default, "`. Range: ", $range, ".")]
        pub fn $setter(mut self, value: $argument) -> Self {
            self.config = self.config.$setter(value);
            self
        }
    };
    ({ $($docs:tt)+ } $property:literal, $default:literal, $range:literal) => {};
}

for_each_setting!(define_builder_setters);

/// Shows the settings, as [`ProducerConfig`] does.
impl<K, V, KS, VS> fmt::Debug for ProducerBuilder<K, V, KS, VS> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ProducerBuilder")
            .field("config", &self.config)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::producer::{Headers, RoundRobinPartitioner, serializer_fn};

    struct Order;

    #[test]
    fn settings_reach_the_configuration_by_type_and_by_name() {
        let builder = ProducerBuilder::<String, Vec<u8>>::new()
            .bootstrap_servers("localhost:9092")
            .acks(Acks::Leader)
            .linger(Duration::from_millis(7))
            .set("batch.size", "100")
            .unwrap()
            .partitioner(RoundRobinPartitioner::new());
        let get = |name| builder.config.get(name);
        assert_eq!(get("bootstrap.servers").as_deref(), Some("localhost:9092"));
        assert_eq!(get("acks").as_deref(), Some("1"));
        assert_eq!(get("linger.ms").as_deref(), Some("7"));
        assert_eq!(get("batch.size").as_deref(), Some("100"));
        assert!(builder.partitioner.is_some());
        assert!(builder.set("linger.mss", "7").is_err());
    }

    #[test]
    fn any_type_can_have_a_serializer_of_its_own() {
        fn builds<K, V, KS: Serializer<K>, VS: Serializer<V>>(_: &ProducerBuilder<K, V, KS, VS>) {}
        let serializer =
            serializer_fn(|_: &str, _: &mut Headers, _: &Order, _: &mut Vec<u8>| Ok(()));
        builds(&ProducerBuilder::<i64, Order>::new().value_serializer(serializer));
        builds(&ProducerBuilder::<String, Option<String>>::new());
    }
}
