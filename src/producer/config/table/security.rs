//! How a connection is protected.

macro_rules! security {
    ($($before:tt)*) => {
        $crate::producer::config::table::next_group! {
            $($before)*

            /// The protocol between client and brokers.
            "security.protocol", security_protocol(SecurityProtocol): SecurityProtocol = choice(),
                default "PLAINTEXT", range "PLAINTEXT";
        }
    };
}

pub(crate) use security;
