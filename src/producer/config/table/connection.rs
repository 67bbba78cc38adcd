//! Connections to brokers.

macro_rules! connection {
    ($($before:tt)*) => {
        $crate::producer::config::table::next_group! {
            $($before)*

            /// The wait before the first reconnect to a broker. It doubles with each failure, with a jitter of 20 %, up to
            /// `reconnect.backoff.max.ms`. Less than 20 ms counts as 20 ms.
            "reconnect.backoff.ms", reconnect_backoff(Duration): Duration = millis(0, i64::MAX),
                default "50", range "0 or more";

            /// The longest wait before a reconnect. If only `reconnect.backoff.ms` is set, equal to it. Less than 20 ms
            /// counts as 20 ms.
            "reconnect.backoff.max.ms", reconnect_backoff_max(Duration): Duration = millis(0, i64::MAX),
                default "1000", range "0 or more";

            /// How long a connection may take until it is ready for requests. This time doubles with each failure in a row.
            "socket.connection.setup.timeout.ms",
                socket_connection_setup_timeout(Duration): Duration = millis(0, i64::MAX),
                default "10000", range "0 or more";

            /// The upper limit of the time that a connection may take until it is ready.
            "socket.connection.setup.timeout.max.ms",
                socket_connection_setup_timeout_max(Duration): Duration = millis(0, i64::MAX),
                default "30000", range "0 or more";

            /// A connection without a request for this long is closed. Negative, or `None` in Rust: never.
            "connections.max.idle.ms",
                connections_max_idle(Option<Duration>): Option<Duration> = millis_or_negative(),
                default "540000", range "-1 or more";

            /// The socket's send buffer (`SO_SNDBUF`) in bytes. -1, or `None` in Rust: the system's choice, which it adapts
            /// to the connection; a fixed size limits the bytes in one round trip. Java's default is 131072.
            "send.buffer.bytes", send_buffer(Option<usize>): Option<usize> = socket_buffer(),
                default "-1", range "-1 to 2147483647";

            /// The socket's receive buffer (`SO_RCVBUF`) in bytes. -1, or `None` in Rust: the system's choice.
            "receive.buffer.bytes", receive_buffer(Option<usize>): Option<usize> = socket_buffer(),
                default "32768", range "-1 to 2147483647";
        }
    };
}

pub(crate) use connection;
