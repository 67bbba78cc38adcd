//! AWS_MSK_IAM on a cluster that checks the signatures. The credentials are in environment variables, so each test has a
//! process of its own.

use kafka_producer::mock::{MockCluster, MockSasl, TokenVerdict};
use kafka_producer::{Error, ErrorKind};

use crate::support::{
    Builder, PATIENCE, SOON, builder_at, child, get_all, numbers, record, send_numbers, with_causes,
};

const VARIABLES: [(&str, &str); 5] = [
    ("AWS_ACCESS_KEY_ID", "AKIDEXAMPLE"),
    (
        "AWS_SECRET_ACCESS_KEY",
        "wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY",
    ),
    ("AWS_SESSION_TOKEN", "IQoJb3JpZ2luX2VjEA=="),
    ("AWS_REGION", "eu-central-1"),
    ("AWS_EC2_METADATA_DISABLED", "true"),
];

/// The settings in a file for Java's client.
const JAVA: &[(&str, &str)] = &[
    ("security.protocol", "SASL_PLAINTEXT"),
    ("sasl.mechanism", "AWS_MSK_IAM"),
    (
        "sasl.jaas.config",
        "software.amazon.msk.auth.iam.IAMLoginModule required;",
    ),
    (
        "sasl.client.callback.handler.class",
        "software.amazon.msk.auth.iam.IAMClientCallbackHandler",
    ),
];

/// MSK's tokens for OAUTHBEARER.
const TOKENS: &[(&str, &str)] = &[
    ("security.protocol", "SASL_PLAINTEXT"),
    ("sasl.mechanism", "OAUTHBEARER"),
    (
        "sasl.jaas.config",
        "org.apache.kafka.common.security.oauthbearer.OAuthBearerLoginModule required;",
    ),
    (
        "sasl.login.callback.handler.class",
        "software.amazon.msk.auth.iam.IAMOAuthBearerLoginCallbackHandler",
    ),
];

fn cluster(sasl: MockSasl) -> MockCluster {
    let cluster = MockCluster::builder().sasl(sasl).start().unwrap();
    cluster.create_topic("t", 1);
    cluster
}

fn builder(addresses: &str, settings: &[(&str, &str)]) -> Builder {
    settings
        .iter()
        .fold(builder_at(addresses), |builder, (name, value)| {
            builder.set(name, value).unwrap()
        })
}

#[test]
fn records_are_delivered_with_aws_credentials() {
    if let Some(addresses) = child::addresses() {
        for settings in [JAVA, &JAVA[..2]] {
            let producer = builder(&addresses, settings).build().unwrap();
            get_all(send_numbers(&producer, 0..100));
            producer.close(PATIENCE).unwrap();
        }
        return;
    }
    let cluster = cluster(MockSasl::new().aws_msk_iam(VARIABLES[0].1, VARIABLES[1].1));
    let test = "msk_iam::records_are_delivered_with_aws_credentials";
    child::run_with(test, &cluster.bootstrap_servers(), &VARIABLES);
    assert_eq!(numbers(&cluster).len(), 200);
    let requests = cluster.requests();
    assert_eq!(&*requests.last().unwrap().principal, "User:AKIDEXAMPLE");
}

#[test]
fn a_refused_key_is_told_at_once_with_what_to_check() {
    if let Some(addresses) = child::addresses() {
        let producer = builder(&addresses, JAVA).build().unwrap();
        let error = Error::from(producer.send(record(0, "x")).unwrap_err());
        let shown = with_causes(&error);
        assert_eq!(error.kind(), ErrorKind::Authentication, "{shown}");
        for part in [
            "the broker refused the AWS credentials from environment variables, signed for eu-central-1 at 20",
            "Access denied",
            "this machine's clock",
        ] {
            assert!(shown.contains(part), "{shown}");
        }
        assert!(
            VARIABLES[1..3]
                .iter()
                .all(|(_, secret)| !shown.contains(secret)),
            "{shown}"
        );
        producer.close(SOON).unwrap();
        return;
    }
    let cluster = cluster(MockSasl::new().aws_msk_iam(VARIABLES[0].1, "another key"));
    let test = "msk_iam::a_refused_key_is_told_at_once_with_what_to_check";
    child::run_with(test, &cluster.bootstrap_servers(), &VARIABLES);
}

#[test]
fn records_are_delivered_with_tokens_of_msk() {
    // The base64url of `https://kafka.eu-central-1.amazonaws.com/?Action=kafka-cluster%3AConnect&X-Amz-Algorith`.
    const BEGINNING: &str = "aHR0cHM6Ly9rYWZrYS5ldS1jZW50cmFsLTEuYW1hem9uYXdzLmNvbS8_QWN0aW9uPWthZmthLWNsdXN0ZXIlM0FDb25uZ\
        WN0JlgtQW16LUFsZ29yaXRo";
    if let Some(addresses) = child::addresses() {
        let producer = builder(&addresses, TOKENS).build().unwrap();
        get_all(send_numbers(&producer, 0..100));
        producer.close(PATIENCE).unwrap();
        return;
    }
    let check = |token: &kafka_producer::mock::ReceivedToken<'_>| match token
        .token()
        .starts_with(BEGINNING)
    {
        true => TokenVerdict::accept("alice"),
        false => TokenVerdict::refuse("invalid_token"),
    };
    let cluster = cluster(MockSasl::new().oauthbearer(check));
    let test = "msk_iam::records_are_delivered_with_tokens_of_msk";
    child::run_with(test, &cluster.bootstrap_servers(), &VARIABLES);
    assert_eq!(numbers(&cluster).len(), 100);
}
