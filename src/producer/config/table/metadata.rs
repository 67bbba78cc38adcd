//! How the producer keeps its knowledge of the cluster up to date.

macro_rules! metadata {
    ($($before:tt)*) => {
        $crate::producer::config::table::next_group! {
            $($before)*

            /// The producer asks for metadata again when it is this old, even if nothing seems to have changed. Less than
            /// 100 ms counts as 100 ms.
            "metadata.max.age.ms", metadata_max_age(Duration): Duration = millis(0, i64::MAX),
                default "300000", range "0 or more";

            /// If no record is sent to a topic for this long, the producer forgets the topic at the next refresh, unless the
            /// topic still has a batch to deliver. A later record asks for the topic again.
            "metadata.max.idle.ms", metadata_max_idle(Duration): Duration = millis(5000, i64::MAX),
                default "300000", range "5000 or more";

            /// What to do when no known broker can be reached: start again from `bootstrap.servers`, or keep trying.
            "metadata.recovery.strategy",
                metadata_recovery_strategy(MetadataRecoveryStrategy): MetadataRecoveryStrategy = choice(),
                default "rebootstrap", range "rebootstrap, none";

            /// If no broker gives metadata for this long, the producer starts again from `bootstrap.servers`, even if it
            /// has not tried all known brokers. Only with the strategy `rebootstrap`.
            "metadata.recovery.rebootstrap.trigger.ms",
                metadata_recovery_rebootstrap_trigger(Duration): Duration = millis(0, i64::MAX),
                default "300000", range "0 or more";
        }
    };
}

pub(crate) use metadata;
