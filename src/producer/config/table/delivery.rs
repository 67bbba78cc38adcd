//! What counts as delivered, and how failures are retried.

macro_rules! delivery {
    ($($before:tt)*) => {
        $crate::producer::config::table::next_group! {
            $($before)*

            /// Which replicas must have a record before it counts as delivered: `0` none, `1` the leader, `all` (or `-1`)
            /// every replica in sync. With `0` a record counts as delivered when it is in the socket. Idempotence needs
            /// `all`.
            "acks", acks(Acks): Acks = choice(),
                default "all", range "all, -1, 0, 1";

            /// How often a batch is sent again after a temporary failure, within `delivery.timeout.ms`.
            /// Idempotence needs at least 1.
            "retries", retries(u32): u32 = count(0),
                default "2147483647", range "0 to 2147483647";

            /// The longest time from a batch's first record to its success or failure, with all retries. It must be at
            /// least `linger.ms` + `request.timeout.ms`; if it is not set, it is raised to that. Slow compression of other
            /// batches can extend this time, at most to twice the value.
            "delivery.timeout.ms", delivery_timeout(Duration): Duration = millis(0, i32::MAX as i64),
                default "120000", range "0 to 2147483647";

            /// How long the client waits for an answer after it wrote the whole request. Then it closes the connection. For
            /// metadata it asks another broker sooner.
            "request.timeout.ms", request_timeout(Duration): Duration = millis(0, i32::MAX as i64),
                default "30000", range "0 to 2147483647";

            /// How many requests without an answer a connection may have. Sender threads usually have one connection each
            /// to a broker. If the broker refuses another connection, they share one; the limit then applies to each
            /// thread separately. At most 5 with idempotence.
            "max.in.flight.requests.per.connection",
                max_in_flight_requests_per_connection(usize): usize = bytes(1, i32::MAX as i64),
                default "5", range "1 to 2147483647";

            /// With `true`, retries neither duplicate nor reorder records. Needs `acks=all`, `retries` of at least 1
            /// and at most 5 requests in flight. If this is not set and `acks` or `retries` rule it out, idempotence is
            /// off, with a warning.
            "enable.idempotence", enable_idempotence(bool): bool = boolean(),
                default "true", range "true, false";

            /// The wait before a batch's first retry. It doubles with each retry, with a jitter of 20 %, up to
            /// `retry.backoff.max.ms`.
            "retry.backoff.ms", retry_backoff(Duration): Duration = millis(0, i64::MAX),
                default "100", range "0 or more";

            /// The longest wait before a batch's retry.
            "retry.backoff.max.ms", retry_backoff_max(Duration): Duration = millis(0, i64::MAX),
                default "1000", range "0 or more";
        }
    };
}

pub(crate) use delivery;
