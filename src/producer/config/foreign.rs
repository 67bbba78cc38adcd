//! Setting names that are not this producer's. Names of Kafka's other clients and of Java classes are accepted, because
//! programs share files. Names of brokers and of old producers are refused.

use std::fmt::Write as _;

/// The program that a setting belongs to. Java and this crate accept such a setting, and it has no effect.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Owner {
    Jvm,
    Kinit,
    BrokersTokenCheck,
    Consumer,
    Admin,
    Streams,
    Connect,
    SchemaRegistry,
    SpringSerializers,
    ConfluentInterceptors,
}

impl Owner {
    pub(super) const ALL: [Self; 10] = [
        Self::Jvm,
        Self::Kinit,
        Self::BrokersTokenCheck,
        Self::Consumer,
        Self::Admin,
        Self::Streams,
        Self::Connect,
        Self::SchemaRegistry,
        Self::SpringSerializers,
        Self::ConfluentInterceptors,
    ];

    /// Returns the owner of a name that the producer does not have. `None` if no known program has it.
    pub(super) fn of(name: &str) -> Option<Self> {
        // The longest prefix decides: `consumer.override.` is Connect's, although `consumer.` is the consumer's.
        let prefix = |owner: Self| {
            let prefixes = owner.prefixes().iter();
            prefixes
                .filter(|prefix| name.starts_with(**prefix) && name.len() > prefix.len())
                .map(|prefix| prefix.len())
                .max()
        };
        let by_name = Self::ALL
            .into_iter()
            .find(|owner| owner.names().contains(&name));
        by_name.or_else(|| {
            let by_prefix = Self::ALL
                .into_iter()
                .filter_map(|owner| Some((prefix(owner)?, owner)));
            by_prefix
                .max_by_key(|(length, _)| *length)
                .map(|(_, owner)| owner)
        })
    }

    /// The owner's name, which follows `settings of` in a message.
    pub(super) fn whose(self) -> &'static str {
        match self {
            Self::Jvm => "Java classes or a JVM",
            Self::Kinit => {
                "Java's renewal of Kerberos tickets (here the Kerberos library renews the tickets of a keytab, and a ticket \
                 cache is read again for each connection)"
            }
            Self::BrokersTokenCheck => "brokers that check tokens of OAUTHBEARER",
            Self::Consumer => "Kafka's consumer",
            Self::Admin => "Kafka's admin client",
            Self::Streams => "Kafka Streams",
            Self::Connect => "Kafka Connect",
            Self::SchemaRegistry => "the Schema Registry's serializers",
            Self::SpringSerializers => "Spring's serializers",
            Self::ConfluentInterceptors => "Confluent's interceptors",
        }
    }

    fn names(self) -> &'static [&'static str] {
        match self {
            Self::Jvm => JVM,
            Self::Kinit => KINIT,
            Self::BrokersTokenCheck => BROKERS_TOKEN_CHECK,
            Self::Consumer => CONSUMER,
            Self::Admin => ADMIN,
            Self::Streams => STREAMS,
            Self::Connect => CONNECT,
            Self::SchemaRegistry => SCHEMA_REGISTRY,
            Self::SpringSerializers | Self::ConfluentInterceptors => &[],
        }
    }

    fn prefixes(self) -> &'static [&'static str] {
        match self {
            Self::Jvm => &["metrics.context."],
            Self::Kinit => &[],
            Self::BrokersTokenCheck => &[],
            Self::Consumer => &["consumer."],
            Self::Admin => &["admin."],
            Self::Streams => &[
                "main.consumer.",
                "restore.consumer.",
                "global.consumer.",
                "topic.",
                "rack.aware.assignment.",
                "internal.streams.",
            ],
            Self::Connect => &[
                "admin.override.",
                "config.storage.",
                "consumer.override.",
                "errors.",
                "header.converter.",
                "internal.key.converter.",
                "internal.value.converter.",
                "key.converter.",
                "offset.storage.",
                "predicates.",
                "status.storage.",
                "topic.creation.",
                "transforms.",
                "value.converter.",
            ],
            Self::SchemaRegistry => &[
                "apicurio.",
                "avro.",
                "basic.auth.",
                "bearer.auth.",
                "json.",
                "schema.registry.",
            ],
            Self::SpringSerializers => &["spring.json."],
            Self::ConfluentInterceptors => &["confluent.monitoring.interceptor."],
        }
    }
}

/// Explains why a setting of brokers or topics, or an old setting of producers, is refused. `None` for other names.
pub(super) fn refusal_of(name: &str) -> Option<String> {
    if BROKER.contains(&name)
        || BROKER_PREFIXES
            .iter()
            .any(|prefix| name.starts_with(prefix))
    {
        return Some("this is a broker or topic setting; a producer cannot set it".to_owned());
    }
    if let Some(text) = refusal_of_system_property(name.strip_prefix("-D").unwrap_or(name)) {
        return Some(text);
    }
    let (_, replacement) = OLD.iter().find(|(old, _)| *old == name)?;
    let mut text = "Kafka's producer no longer has it".to_owned();
    if !replacement.is_empty() {
        let _ = write!(text, ": {replacement} replaced it");
    }
    Some(text)
}

/// In Java, too, a file of settings cannot set a system property of the JVM.
fn refusal_of_system_property(name: &str) -> Option<String> {
    if JVM_OPTIONS.contains(&name) {
        return Some(
            "this variable has options for a JVM: leave it out, and set here what they set, such as sasl.jaas.config for \
             -Djava.security.auth.login.config"
                .to_owned(),
        );
    }
    let known = SYSTEM_PROPERTIES
        .iter()
        .find(|(property, _)| *property == name);
    let is_another = || {
        SYSTEM_PREFIXES
            .iter()
            .any(|prefix| name.starts_with(prefix))
    };
    let instead = match known {
        Some((_, instead)) => *instead,
        None if is_another() => "leave it out",
        None => return None,
    };
    Some(format!("this is a system property of a JVM: {instead}"))
}

/// Variables of Kafka's scripts and of a JVM.
const JVM_OPTIONS: &[&str] = &[
    "JAVA_OPTS",
    "JAVA_TOOL_OPTIONS",
    "JDK_JAVA_OPTIONS",
    "KAFKA_HEAP_OPTS",
    "KAFKA_JVM_PERFORMANCE_OPTS",
    "KAFKA_OPTS",
];

const SYSTEM_PREFIXES: &[&str] = &["java.", "javax.", "jdk.", "sun."];

const KRB5: &str = "the Kerberos library reads /etc/krb5.conf, or the file that the environment variable KRB5_CONFIG names";

/// System properties of a JVM that clients of Kafka need, each with what to do here.
const SYSTEM_PROPERTIES: &[(&str, &str)] = &[
    (
        "java.security.auth.login.config",
        "write the login module of its section KafkaClient into sasl.jaas.config",
    ),
    ("java.security.krb5.conf", KRB5),
    ("java.security.krb5.kdc", KRB5),
    ("java.security.krb5.realm", KRB5),
    (
        "javax.net.debug",
        "leave it out; the log has each failure of TLS",
    ),
    ("javax.net.ssl.keyStore", "set ssl.keystore.location"),
    (
        "javax.net.ssl.keyStorePassword",
        "set ssl.keystore.password",
    ),
    ("javax.net.ssl.keyStoreType", "set ssl.keystore.type"),
    ("javax.net.ssl.trustStore", "set ssl.truststore.location"),
    (
        "javax.net.ssl.trustStorePassword",
        "set ssl.truststore.password",
    ),
    ("javax.net.ssl.trustStoreType", "set ssl.truststore.type"),
    ("jdk.tls.client.protocols", "set ssl.enabled.protocols"),
    ("jdk.tls.client.cipherSuites", "set ssl.cipher.suites"),
    (
        "org.apache.kafka.automatic.config.providers",
        "leave it out; only Kafka's own config providers are there",
    ),
    (
        "org.apache.kafka.disallowed.login.modules",
        "leave it out; only the login modules of Kafka's clients are there",
    ),
    (
        "org.apache.kafka.sasl.oauthbearer.allowed.files",
        "leave it out; each file that a setting names is allowed",
    ),
    (
        "org.apache.kafka.sasl.oauthbearer.allowed.urls",
        "leave it out; each URL that a setting names is allowed",
    ),
    (
        "sun.security.krb5.debug",
        "leave it out; MIT's Kerberos library traces to the file that the environment variable KRB5_TRACE names",
    ),
];

/// Settings of Java's producer that concern only Java: its classes, its metrics and its TLS.
pub(super) const JVM: &[&str] = &[
    "key.serializer",
    "value.serializer",
    "auto.include.jmx.reporter",
    "metric.reporters",
    "metrics.num.samples",
    "metrics.recording.level",
    "metrics.sample.window.ms",
    "security.providers",
    "ssl.keymanager.algorithm",
    "ssl.provider",
    "ssl.secure.random.implementation",
    "ssl.trustmanager.algorithm",
];

/// Settings of Java's producer about how it renews tickets: by the program kinit.
pub(super) const KINIT: &[&str] = &[
    "sasl.kerberos.kinit.cmd",
    "sasl.kerberos.min.time.before.relogin",
    "sasl.kerberos.ticket.renew.jitter",
    "sasl.kerberos.ticket.renew.window.factor",
];

/// Java's producer has these settings, and only a broker's check of tokens uses them.
pub(super) const BROKERS_TOKEN_CHECK: &[&str] = &[
    "sasl.oauthbearer.allow.unverified.audience",
    "sasl.oauthbearer.allow.unverified.issuer",
    "sasl.oauthbearer.clock.skew.seconds",
    "sasl.oauthbearer.expected.audience",
    "sasl.oauthbearer.expected.issuer",
    "sasl.oauthbearer.jwks.endpoint.refresh.ms",
    "sasl.oauthbearer.jwks.endpoint.retry.backoff.max.ms",
    "sasl.oauthbearer.jwks.endpoint.retry.backoff.ms",
    "sasl.oauthbearer.jwks.endpoint.url",
];

const CONSUMER: &[&str] = &[
    "allow.auto.create.topics",
    "auto.commit.interval.ms",
    "auto.offset.reset",
    "check.crcs",
    "enable.auto.commit",
    "exclude.internal.topics",
    "fetch.max.bytes",
    "fetch.max.wait.ms",
    "fetch.min.bytes",
    "group.id",
    "group.instance.id",
    "group.protocol",
    "group.remote.assignor",
    "heartbeat.interval.ms",
    "internal.leave.group.on.close",
    "internal.throw.on.fetch.stable.offset.unsupported",
    "isolation.level",
    "key.deserializer",
    "max.partition.fetch.bytes",
    "max.poll.interval.ms",
    "max.poll.records",
    "partition.assignment.strategy",
    "session.timeout.ms",
    "share.acknowledgement.mode",
    "share.acquire.mode",
    "value.deserializer",
];

const ADMIN: &[&str] = &["bootstrap.controllers", "default.api.timeout.ms"];

const STREAMS: &[&str] = &[
    "acceptable.recovery.lag",
    "allow.os.group.write.access",
    "application.id",
    "application.server",
    "buffered.records.per.partition",
    "built.in.metrics.version",
    "cache.max.bytes.buffering",
    "commit.interval.ms",
    "default.client.supplier",
    "default.deserialization.exception.handler",
    "default.dsl.store",
    "default.key.serde",
    "default.list.key.serde.inner",
    "default.list.key.serde.type",
    "default.list.value.serde.inner",
    "default.list.value.serde.type",
    "default.production.exception.handler",
    "default.timestamp.extractor",
    "default.value.serde",
    "deserialization.exception.handler",
    "dsl.store.suppliers.class",
    "ensure.explicit.internal.resource.naming",
    "errors.dead.letter.queue.topic.name",
    "input.buffer.max.bytes",
    "key.serde",
    "log.summary.interval.ms",
    "max.task.idle.ms",
    "max.warmup.replicas",
    "num.standby.replicas",
    "num.stream.threads",
    "partition.grouper",
    "poll.ms",
    "probing.rebalance.interval.ms",
    "processing.exception.handler",
    "processing.exception.handler.global.enabled",
    "processing.guarantee",
    "processor.wrapper.class",
    "production.exception.handler",
    "repartition.purge.interval.ms",
    "replication.factor",
    "rocksdb.config.setter",
    "state.cleanup.delay.ms",
    "state.dir",
    "statestore.cache.max.bytes",
    "task.assignor.class",
    "task.timeout.ms",
    "timestamp.extractor",
    "topology.optimization",
    "upgrade.from",
    "value.serde",
    "window.size.ms",
    "windowed.inner.class.serde",
    "windowstore.changelog.additional.retention.ms",
];

const CONNECT: &[&str] = &[
    "access.control.allow.methods",
    "access.control.allow.origin",
    "admin.listeners",
    "admin.listeners.https.configs",
    "config.action.reload",
    "connect.protocol",
    "connector.class",
    "connector.client.config.override.policy",
    "exactly.once.source.support",
    "exactly.once.support",
    "header.converter",
    "inter.worker.key.generation.algorithm",
    "inter.worker.key.size",
    "inter.worker.key.ttl.ms",
    "inter.worker.signature.algorithm",
    "inter.worker.verification.algorithms",
    "internal.key.converter",
    "internal.value.converter",
    "key.converter",
    "offset.flush.interval.ms",
    "offset.flush.timeout.ms",
    "offsets.storage.topic",
    "plugin.discovery",
    "plugin.path",
    "predicates",
    "rebalance.timeout.ms",
    "response.http.headers.config",
    "rest.advertised.host.name",
    "rest.advertised.listener",
    "rest.advertised.port",
    "rest.extension.classes",
    "rest.host.name",
    "rest.port",
    "scheduled.rebalance.max.delay.ms",
    "task.shutdown.graceful.timeout.ms",
    "tasks.max",
    "tasks.max.enforce",
    "topic.tracking.allow.reset",
    "topic.tracking.enable",
    "topics",
    "topics.regex",
    "transaction.boundary",
    "transaction.boundary.interval.ms",
    "transforms",
    "value.converter",
    "worker.sync.timeout.ms",
    "worker.unsync.backoff.ms",
];

const SCHEMA_REGISTRY: &[&str] = &[
    "auto.register.schemas",
    "context.name.strategy",
    "id.compatibility.strict",
    "key.schema.id.serializer",
    "key.subject.name.strategy",
    "latest.cache.size",
    "latest.cache.ttl.sec",
    "latest.compatibility.strict",
    "max.schemas.per.subject",
    "normalize.schemas",
    "propagate.schema.tags",
    "proxy.host",
    "proxy.port",
    "reference.lookup.only",
    "reference.subject.name.strategy",
    "schema.format",
    "schema.reflection",
    "skip.known.types",
    "specific.avro.key.type",
    "specific.avro.reader",
    "specific.avro.value.type",
    "specific.protobuf.key.type",
    "specific.protobuf.value.type",
    "use.latest.version",
    "use.latest.with.metadata",
    "use.schema.id",
    "value.schema.id.serializer",
    "value.subject.name.strategy",
];

/// Settings of brokers and topics. They are refused, because a user who sets them here expects an effect.
const BROKER: &[&str] = &[
    "advertised.listeners",
    "authorizer.class.name",
    "auto.create.topics.enable",
    "broker.id",
    "broker.rack",
    "cleanup.policy",
    "default.replication.factor",
    "delete.topic.enable",
    "inter.broker.protocol.version",
    "listeners",
    "max.message.bytes",
    "message.timestamp.type",
    "min.insync.replicas",
    "node.id",
    "num.io.threads",
    "num.network.threads",
    "num.partitions",
    "process.roles",
    "retention.bytes",
    "retention.ms",
    "segment.bytes",
    "sasl.enabled.mechanisms",
    "security.inter.broker.protocol",
    "segment.ms",
    "ssl.client.auth",
    "super.users",
    "unclean.leader.election.enable",
    "zookeeper.connect",
];

const BROKER_PREFIXES: &[&str] = &[
    "controller.",
    "group.coordinator.",
    "listener.",
    "log.",
    "offsets.topic.",
    "socket.request.",
    "transaction.state.log.",
    "zookeeper.",
];

/// Names that Kafka's producers had once, each with the name that replaced it. The second is empty if there is no
/// replacement.
const OLD: &[(&str, &str)] = &[
    ("block.on.buffer.full", "max.block.ms"),
    ("broker.list", "bootstrap.servers"),
    ("compressed.topics", "compression.type"),
    ("internal.auto.downgrade.txn.commit", ""),
    ("metadata.fetch.timeout.ms", "max.block.ms"),
    ("producer.type", ""),
    ("queue.enqueue.timeout.ms", "max.block.ms"),
    ("serializer.class", ""),
    ("timeout.ms", "request.timeout.ms"),
    ("zk.connect", "bootstrap.servers"),
];

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;
    use crate::producer::config::ROWS;

    #[test]
    fn every_name_has_one_owner_and_is_not_in_the_table() {
        let mut seen = HashSet::new();
        let all = Owner::ALL.iter().flat_map(|owner| owner.names());
        let others = BROKER.iter().chain(OLD.iter().map(|(name, _)| name));
        let others = others.chain(JVM_OPTIONS);
        let others = others.chain(SYSTEM_PROPERTIES.iter().map(|(name, _)| name));
        for name in all.chain(others) {
            assert!(seen.insert(*name), "{name}");
            assert!(!ROWS.iter().any(|row| row.property == *name), "{name}");
        }
    }

    #[test]
    fn owners_are_known_by_name_or_by_the_longest_prefix() {
        for (name, owner) in [
            ("group.id", Some(Owner::Consumer)),
            ("default.api.timeout.ms", Some(Owner::Admin)),
            ("application.id", Some(Owner::Streams)),
            ("key.converter", Some(Owner::Connect)),
            ("key.converter.schemas.enable", Some(Owner::Connect)),
            ("schema.registry.url", Some(Owner::SchemaRegistry)),
            ("basic.auth.user.info", Some(Owner::SchemaRegistry)),
            ("consumer.group.id", Some(Owner::Consumer)),
            ("consumer.override.group.id", Some(Owner::Connect)),
            ("main.consumer.group.id", Some(Owner::Streams)),
            ("topic.creation.groups", Some(Owner::Connect)),
            (
                "spring.json.add.type.headers",
                Some(Owner::SpringSerializers),
            ),
            ("metrics.context.app", Some(Owner::Jvm)),
            ("sasl.kerberos.kinit.cmd", Some(Owner::Kinit)),
            ("consumer.", None),
            ("producer.acks", None),
            ("min.insync.replicas", None),
        ] {
            assert_eq!(Owner::of(name), owner, "{name}");
        }
    }
}
