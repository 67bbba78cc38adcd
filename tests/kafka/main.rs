//! The producer against real Kafka clusters; what it wrote is read back with Kafka's own tools.
//!
//! Each group shares one cluster. Without Kafka or Java the tests are reported as ignored with the reason, or as failed
//! where the environment says `KAFKA_TESTS=required`; `KAFKA_TESTS=off` leaves them out.

#[path = "../support/mod.rs"]
mod support;

mod tools;

use std::env;
use std::process::ExitCode;

use support::kafka::{ClusterOptions, Install, KafkaCluster, KafkaVersion};
use support::suite::{Suite, Test, Unavailable};

fn main() -> ExitCode {
    let mut suite = Suite::from_args();
    let mut group = |name, options: &ClusterOptions, tests: Tests| {
        suite.group(name, || start(options), KafkaCluster::keep_folder, tests);
    };
    let one_broker = ClusterOptions::new(KafkaVersion::V4_3_1);
    group("tools", &one_broker, tools::TESTS);
    group(
        "tools_3",
        &ClusterOptions::new(KafkaVersion::V4_3_1).brokers(3),
        tools::TESTS,
    );
    group(
        "tools_39",
        &ClusterOptions::new(KafkaVersion::V3_9_1),
        tools::TESTS,
    );
    group(
        "tools_24",
        &ClusterOptions::new(KafkaVersion::V2_4_1),
        tools::TESTS,
    );
    suite.finish()
}

type Tests = &'static [Test<KafkaCluster>];

fn start(options: &ClusterOptions) -> Result<KafkaCluster, Unavailable> {
    if env::var("KAFKA_TESTS").is_ok_and(|value| value == "off") {
        return Err(Unavailable::Skipped("KAFKA_TESTS=off".to_owned()));
    }
    if let Err(missing) = Install::find(options.version()) {
        return Err(
            match env::var("KAFKA_TESTS").is_ok_and(|value| value == "required") {
                true => Unavailable::Failed(missing),
                false => Unavailable::Skipped(missing),
            },
        );
    }
    KafkaCluster::start(options).map_err(Unavailable::Failed)
}
