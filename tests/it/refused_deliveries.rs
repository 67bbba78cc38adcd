//! Records that are accepted while the broker or the client refuses the other: how they end, and what other callers are told.

use std::error::Error as _;
use std::time::{Duration, Instant};

use kafka_producer::mock::{BrokerCertificate, Fault, MockApi, MockCluster, MockSasl, MockTls};
use kafka_producer::{Error, ErrorKind};

use crate::support::{
    Builder, PATIENCE, SOON, builder, deliver, eventually, record, values, with, with_causes,
};

/// A cluster, and how one side begins and ends to refuse the other.
struct Refusing {
    cluster: MockCluster,
    settings: Vec<(&'static str, String)>,
    kind: ErrorKind,
    /// A part of the refusal's message, and of its advice.
    told: [&'static str; 2],
    set: fn(&MockCluster, is_refused: bool),
}

fn each() -> [Refusing; 2] {
    let cluster = MockCluster::builder().tls(MockTls::generated()).start();
    let tls = cluster.unwrap();
    let sasl = MockSasl::new().plain("alice", "right");
    let sasl = MockCluster::builder().sasl(sasl).start().unwrap();
    let jaas = "org.apache.kafka.common.security.plain.PlainLoginModule required username=\"alice\" password=\"right\";";
    let refusing = [
        Refusing {
            settings: vec![
                ("security.protocol", "SSL".to_owned()),
                ("ssl.truststore.certificates", tls.ca_pem()),
            ],
            cluster: tls,
            kind: ErrorKind::Tls,
            told: ["expired on ", "renew the certificate"],
            set: |cluster, is_refused| {
                let certificate = match is_refused {
                    true => BrokerCertificate::Expired,
                    false => BrokerCertificate::Valid,
                };
                cluster.set_broker_certificate(certificate).unwrap();
            },
        },
        Refusing {
            settings: vec![
                ("security.protocol", "SASL_PLAINTEXT".to_owned()),
                ("sasl.mechanism", "PLAIN".to_owned()),
                ("sasl.jaas.config", jaas.to_owned()),
            ],
            cluster: sasl,
            kind: ErrorKind::Authentication,
            told: [
                "the broker refused the user name or the password",
                "check username and password",
            ],
            set: |cluster, is_refused| {
                let password = if is_refused { "other" } else { "right" };
                cluster.set_password("alice", password);
            },
        },
    ];
    for refusing in &refusing {
        refusing.cluster.create_topic("t", 1);
    }
    refusing
}

impl Refusing {
    fn builder(&self, idempotent: bool) -> Builder {
        let settings = self.settings.iter();
        let settings: Vec<_> = settings.map(|(name, value)| (*name, &**value)).collect();
        let idempotence = ("enable.idempotence", &*idempotent.to_string());
        with(with(builder(&self.cluster), &settings), &[idempotence])
    }

    #[track_caller]
    fn assert_told(&self, error: &Error) {
        let shown = error.to_string();
        assert_eq!(error.kind(), self.kind, "{shown}");
        for part in self.told {
            assert!(shown.contains(part), "{part}: {shown}");
        }
    }
}

#[test]
fn a_record_that_expires_under_a_refusal_has_it_as_its_cause() {
    for refusing in each() {
        for idempotent in [true, false] {
            for was_sent in [false, true] {
                refusing.assert_is_cause(idempotent, was_sent);
            }
        }
    }
}

impl Refusing {
    /// `was_sent`: the connection is lost with a request, so that another error precedes the refusal.
    fn assert_is_cause(&self, idempotent: bool, was_sent: bool) {
        let cluster = &self.cluster;
        let producer = self
            .builder(idempotent)
            .request_timeout(Duration::from_millis(500))
            .delivery_timeout(Duration::from_secs(1))
            .build()
            .unwrap();
        let before = cluster.end_offset("t", 0).unwrap();
        deliver(&producer, 0, "before").unwrap();
        (self.set)(cluster, true);
        match was_sent {
            true => drop(cluster.fail_next(MockApi::Produce, 1, Fault::Disconnect)),
            false => {
                cluster.disconnect(0);
                assert!(cluster.wait_until(SOON, |cluster| cluster.connections(0) == 0));
            }
        }
        let began = Instant::now();
        let error = producer.send(record(0, "expired")).unwrap();
        let error = error.get(PATIENCE).unwrap_err();
        assert!(began.elapsed() < SOON, "{:?}", began.elapsed());
        assert_eq!(error.kind(), ErrorKind::DeliveryTimeout, "{error}");
        let cause = error.source().expect("a cause").downcast_ref::<Error>();
        let cause = cause.unwrap_or_else(|| panic!("no error of ours: {}", with_causes(&error)));
        assert_eq!(cause.kind(), self.kind, "{cause}");
        assert!(cause.to_string().contains(self.told[0]), "{cause}");
        // Who prints only the error learns it, too, with the advice.
        for part in self.told {
            assert!(error.to_string().contains(part), "{part}: {error}");
        }
        (self.set)(cluster, false);
        deliver(&producer, 0, "after").unwrap();
        assert_eq!(values(cluster, 0)[before as usize..], ["before", "after"]);
    }
}

#[test]
fn partitions_for_is_told_of_a_refusal_at_once_and_works_when_it_is_over() {
    for refusing in each() {
        for idempotent in [true, false] {
            (refusing.set)(&refusing.cluster, true);
            let producer = refusing.builder(idempotent).build().unwrap();
            for _ in 0..2 {
                let began = Instant::now();
                let error = producer.partitions_for("t").unwrap_err();
                assert!(began.elapsed() < SOON, "{:?}: {error}", began.elapsed());
                refusing.assert_told(&error);
            }
            (refusing.set)(&refusing.cluster, false);
            eventually("the end of the refusal", || {
                producer.partitions_for("t").is_ok()
            });
            deliver(&producer, 0, "v").unwrap();
        }
    }
}
