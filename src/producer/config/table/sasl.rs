//! SASL: how a client proves its identity.

macro_rules! sasl {
    ($($before:tt)*) => {
        $crate::producer::config::table::next_group! {
            $($before)*

            /// The mechanism by which the client proves its identity.
            "sasl.mechanism" = text(), default "GSSAPI",
                range "PLAIN, SCRAM-SHA-256, SCRAM-SHA-512, OAUTHBEARER, GSSAPI, AWS_MSK_IAM";

            /// The credentials, as in Java's files: the name of a login module and its options.
            "sasl.jaas.config" = secret(), default "", range "a login module";

            /// Java's class for the client's part of a mechanism. AWS_MSK_IAM accepts its own class, which changes nothing.
            "sasl.client.callback.handler.class" = text(), default "", range "a class of Java";

            /// The first part of the brokers' Kerberos principals: `kafka` if they are `kafka/host@REALM`. The option
            /// `serviceName` in `sasl.jaas.config` is the same.
            "sasl.kerberos.service.name" = text(), default "", range "a name";
        }
    };
}

pub(crate) use sasl;
