//! Delegation tokens: a user's token, made by Kafka's own tool, authenticates a producer in place of the user's password.

use std::time::Duration;

use kafka_producer::{Error, ErrorKind};

use crate::Tests;
use crate::producing::{outcome, producer_of, record};
use crate::refusals::{Settings, assert_refused, pair, with};
use crate::support::kafka::{KafkaCluster, Listener, Mechanism, poll};

/// For a cluster with every listener of [`Listener::COMMON`].
pub(crate) const TESTS: Tests = &[
    (
        "a_delegation_token_authenticates_its_owner",
        a_delegation_token_authenticates_its_owner,
    ),
    (
        "a_wrong_hmac_and_a_token_that_was_ended_have_their_sentences",
        a_wrong_hmac_and_a_token_that_was_ended_have_their_sentences,
    ),
];

/// A client's settings with a token in place of the password.
fn settings(
    kafka: &KafkaCluster,
    listener: Listener,
    mechanism: Mechanism,
    (id, hmac): (&str, &str),
) -> Settings {
    let module = "org.apache.kafka.common.security.scram.ScramLoginModule";
    let jaas = format!(r#"{module} required username="{id}" password="{hmac}" tokenauth="true";"#);
    let settings = kafka.settings(listener, Some(mechanism));
    with(settings, [pair("sasl.jaas.config", jaas)])
}

/// Sends a record to a topic that exists.
fn send(settings: &Settings, topic: &str) -> Result<(), Error> {
    let producer = producer_of(settings).expect("a producer");
    outcome(&producer, record(topic, "a value")).map(drop)
}

/// Brokers learn of a new token a moment after it was created. Until then they refuse it.
fn send_when_known(settings: &Settings, topic: &str) {
    let mut latest = None;
    let sent = poll(Duration::from_secs(30), || match send(settings, topic) {
        Ok(()) => Some(()),
        Err(error) => {
            latest = Some(error);
            None
        }
    });
    assert!(sent.is_some(), "{latest:?}");
}

fn a_delegation_token_authenticates_its_owner(kafka: &KafkaCluster) {
    let topic = "delegation-token-owner";
    kafka.create_topic(topic, 1, 1, &[]);
    let (id, hmac) = kafka.delegation_token();
    for listener in [Listener::SaslPlaintext, Listener::SaslSsl] {
        for mechanism in [Mechanism::ScramSha256, Mechanism::ScramSha512] {
            let settings = settings(kafka, listener, mechanism, (&id, &hmac));
            send_when_known(&settings, topic);
        }
    }
}

fn a_wrong_hmac_and_a_token_that_was_ended_have_their_sentences(kafka: &KafkaCluster) {
    let topic = "delegation-token-ended";
    kafka.create_topic(topic, 1, 1, &[]);
    let (id, hmac) = kafka.delegation_token();
    let with_token = |token| {
        settings(
            kafka,
            Listener::SaslPlaintext,
            Mechanism::ScramSha512,
            token,
        )
    };
    send_when_known(&with_token((&id, &hmac)), topic);
    let (_, other) = kafka.delegation_token();
    assert_refused(
        &with_token((&id, &other)),
        ErrorKind::Authentication,
        &[
            "the broker refused the delegation token in SCRAM-SHA-512",
            "check password, which is the token's HMAC",
        ],
    );
    kafka.expire_delegation_token(&hmac);
    // Brokers learn of it a moment later.
    let refused = poll(Duration::from_secs(30), || {
        send(&with_token((&id, &hmac)), topic).err()
    });
    assert!(refused.is_some(), "the token still works");
    assert_refused(
        &with_token((&id, &hmac)),
        ErrorKind::Authentication,
        &[
            "the broker refused the id of the delegation token in SCRAM-SHA-512",
            "that the token has not expired",
        ],
    );
}
