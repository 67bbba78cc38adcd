//! Settings files as users have them: what the producer accepts, and what it logs about them.

use kafka_producer::ProducerConfig;

use crate::support::logger::Lines;

/// Writes the file, reads it, and returns the result and what was logged meanwhile.
fn load(
    name: &str,
    content: &[u8],
) -> (Result<ProducerConfig, kafka_producer::Error>, Vec<String>) {
    let directory = std::env::temp_dir().join(format!("kafka-producer-{}", std::process::id()));
    std::fs::create_dir_all(&directory).unwrap();
    let path = directory.join(name);
    std::fs::write(&path, content).unwrap();
    let lines = Lines::about(&path.display().to_string());
    let result = ProducerConfig::from_properties_file(&path);
    let _ = std::fs::remove_file(&path);
    let file = format!("{}: ", path.display());
    let logged = lines.so_far().into_iter();
    let logged = logged.map(|line| line.replace(&file, "")).collect();
    (result, logged)
}

#[test]
fn settings_of_other_clients_are_accepted_with_one_warning_for_each_client() {
    let (config, logged) = load(
        "shared.properties",
        b"bootstrap.servers=a:1\ngroup.id=g\nkey.serializer=x\nsession.timeout.ms=45000\nacks=1\n\
          application.id=a\nschema.registry.url=http://hunter2@b\nvalue.serializer=x\n",
    );
    assert_eq!(config.unwrap().get("acks").as_deref(), Some("1"));
    assert_eq!(
        logged,
        [
            "settings of Java classes or a JVM have no effect on this producer: key.serializer, value.serializer",
            "settings of Kafka's consumer have no effect on this producer: group.id, session.timeout.ms",
            "settings of Kafka Streams have no effect on this producer: application.id",
            "settings of the Schema Registry's serializers have no effect on this producer: schema.registry.url",
        ]
    );
}

#[test]
fn a_latin1_file_is_read_as_java_reads_it_and_its_line_is_logged() {
    let (config, logged) = load(
        "latin1.properties",
        b"bootstrap.servers=a:1\nclient.id=caf\xe9\n",
    );
    assert_eq!(
        config.unwrap().get("client.id").as_deref(),
        Some("caf\u{e9}")
    );
    assert_eq!(
        logged,
        ["line 2 is not UTF-8: the file is read as Latin-1, as Java reads it"]
    );
}

#[test]
fn repeated_names_and_placeholders_are_logged() {
    let (config, logged) = load(
        "repeated.properties",
        b"linger.ms=x\nclient.id=${HOSTNAME}\nlinger.ms=7\n",
    );
    assert_eq!(config.unwrap().get("linger.ms").as_deref(), Some("7"));
    assert_eq!(
        logged,
        [
            "client.id: the placeholder is kept as part of the value; nothing fills it in: write the value itself, or \
             ${PROVIDER:KEY} with a provider that config.providers lists",
            "linger.ms is set in line 1 and again in line 3; the last one counts",
        ]
    );
}

#[test]
fn a_quoted_text_keeps_its_quotes_as_in_java_and_is_logged() {
    let (config, logged) = load("quoted.properties", b"client.id=\"me\"\n");
    assert_eq!(config.unwrap().get("client.id").as_deref(), Some("\"me\""));
    assert_eq!(
        logged,
        ["client.id: the quotes are kept as part of the value"]
    );
}

#[test]
fn a_refused_file_is_reported_by_its_error_alone() {
    let (config, logged) = load(
        "refused.properties",
        b"group.id=g\nlinger.ms=5ms\ntransactional.id=hunter2\nacks=2\n",
    );
    let error = config.unwrap_err().to_string();
    assert!(
        error.ends_with(
            "refused.properties: 3 faults:\n  \
             line 2: linger.ms=5ms is not a whole number: write 5 (range: 0 to 2147483647)\n  \
             line 3: transactional.id is not supported yet: this version has no transactions; leave it out; without transactions, \
             idempotence still keeps each partition in order and free of duplicates\n  \
             line 4: acks=2 is not a legal value (values: all, -1, 0, 1)"
        ),
        "{error}"
    );
    assert!(logged.is_empty(), "{logged:?}");
}
