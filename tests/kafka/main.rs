//! The producer against real Kafka clusters; what it wrote is read back with Kafka's own tools.
//!
//! The tests of a group share one cluster. Without Kafka or Java they are reported as ignored, with the reason, or as failed
//! if the environment says `KAFKA_TESTS=required`. `KAFKA_TESTS=off` skips them.

#[path = "../support/mod.rs"]
mod support;

mod authorization;
mod chaos;
mod compatibility;
mod credentials;
mod delegation_tokens;
mod delivery;
mod faults;
mod forms;
#[cfg(feature = "sasl-gssapi")]
mod kerberos;
mod limits;
mod load;
#[cfg(feature = "sasl-oidc")]
mod oidc;
mod outages;
mod producing;
mod programs;
mod refusals;
mod rotation;
mod secure;
mod sessions;
mod tools;
mod wiped;

use std::env;
use std::process::ExitCode;

use support::kafka::{ClusterOptions, Install, KafkaCluster, KafkaVersion, Listener};
use support::suite::{Suite, Test, Unavailable};

fn main() -> ExitCode {
    #[cfg(feature = "sasl-gssapi")]
    if let Some(ended) = kerberos::run_child() {
        return ended;
    }
    run_tests()
}

fn run_tests() -> ExitCode {
    let mut suite = Suite::from_args();
    let mut group = |options: &ClusterOptions, modules: &[(&str, Tests)]| {
        suite.group(|| start(options), KafkaCluster::keep_folder, modules);
    };
    let one = ClusterOptions::new;
    group(
        &one(KafkaVersion::V4_3_1),
        &[
            ("tools", tools::TESTS),
            ("delivery", delivery::TESTS),
            ("outages", outages::TESTS_OF_ONE_BROKER),
            ("limits", limits::TESTS),
        ],
    );
    group(
        &one(KafkaVersion::V4_3_1)
            .brokers(3)
            .property(AUTO_CREATE, "true"),
        &[
            ("tools", tools::TESTS_OF_THREE_BROKERS),
            ("programs", programs::TESTS),
            ("faults", faults::TESTS),
            ("outages", outages::TESTS_OF_THREE_BROKERS),
        ],
    );
    group(&one(KafkaVersion::V4_3_1), &[("wiped", wiped::TESTS)]);
    group(
        &one(KafkaVersion::V3_9_1).property(AUTO_CREATE, "true"),
        &[("kafka_3_9_1", compatibility::TESTS)],
    );
    group(
        &one(KafkaVersion::V2_4_1).property(AUTO_CREATE, "true"),
        &[("kafka_2_4_1", compatibility::TESTS)],
    );
    secure_groups(&mut group);
    chaos_groups(&mut group);
    suite.group(
        || Ok(()),
        |()| (),
        &[
            ("proxy", chaos::PROXY_TESTS),
            ("verdict", chaos::VERDICT_TESTS),
        ],
    );
    suite.group(
        credentials::start,
        |_| (),
        &[("credentials", credentials::TESTS)],
    );
    suite.finish()
}

/// Starts a group's cluster and runs its tests.
type Group<'a> = &'a mut dyn FnMut(&ClusterOptions, &[(&str, Tests)]);

fn secure_groups(group: Group<'_>) {
    let one = ClusterOptions::new;
    group(
        &one(KafkaVersion::V4_3_1).secure(&Listener::COMMON),
        &[
            ("secure", secure::TESTS),
            ("authorization", authorization::TESTS),
            ("refusals", refusals::TESTS),
            ("forms", forms::TESTS),
            ("sessions", sessions::TESTS),
            ("delegation_tokens", delegation_tokens::TESTS),
            #[cfg(feature = "sasl-oidc")]
            ("oidc", oidc::TESTS),
        ],
    );
    group(&rotation::cluster(), &[("rotation", rotation::TESTS)]);
    group(
        &one(KafkaVersion::V4_3_1)
            .secure(&Listener::KERBEROS)
            .property("listener.name.krbtls.connections.max.reauth.ms", "5000"),
        &[
            ("kerberos", secure::TESTS_WITH_KERBEROS),
            #[cfg(feature = "sasl-gssapi")]
            ("kerberos", kerberos::TESTS),
        ],
    );
    group(
        &one(KafkaVersion::V3_9_1).secure(&secure::OLD_LISTENERS),
        &[("secure_3_9_1", secure::TESTS_OF_OLD_BROKERS)],
    );
    group(
        &one(KafkaVersion::V2_4_1).secure(&secure::OLD_LISTENERS),
        &[
            ("secure_2_4_1", secure::TESTS_OF_OLD_BROKERS),
            ("authorization_2_4_1", authorization::TESTS),
        ],
    );
}

fn chaos_groups(group: Group<'_>) {
    let cluster = || {
        ClusterOptions::new(KafkaVersion::V4_3_1)
            .brokers(3)
            .behind_proxies()
            .property("unclean.leader.election.enable", "false")
    };
    group(&cluster(), &[("chaos", chaos::TESTS)]);
    group(
        &cluster().secure(&[Listener::ReauthPlaintext, Listener::ReauthSsl]),
        &[("storm_of_sessions", chaos::TESTS_OF_SESSIONS)],
    );
}

type Tests = &'static [Test<KafkaCluster>];

const AUTO_CREATE: &str = "auto.create.topics.enable";

fn start(options: &ClusterOptions) -> Result<KafkaCluster, Unavailable> {
    if env::var("KAFKA_TESTS").is_ok_and(|value| value == "off") {
        return Err(Unavailable::Skipped("KAFKA_TESTS=off".to_owned()));
    }
    Install::find(options.version())
        .and_then(|_| options.find_tools())
        .map_err(unavailable)?;
    KafkaCluster::start(options).map_err(Unavailable::Failed)
}

/// A machine without what a test needs is a failure only if the environment says so.
fn unavailable(missing: String) -> Unavailable {
    match env::var("KAFKA_TESTS").is_ok_and(|value| value == "required") {
        true => Unavailable::Failed(missing),
        false => Unavailable::Skipped(missing),
    }
}
