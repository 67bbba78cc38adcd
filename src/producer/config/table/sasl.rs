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

            /// Java's class for the client's part of a mechanism. AWS_MSK_IAM and OAUTHBEARER accept their own classes, which
            /// change nothing.
            "sasl.client.callback.handler.class" = text(), default "", range "a class of Java";

            /// The first part of the brokers' Kerberos principals: `kafka` if they are `kafka/host@REALM`. The option
            /// `serviceName` in `sasl.jaas.config` is the same.
            "sasl.kerberos.service.name" = text(), default "", range "a name";

            /// The Java class that selects the source of the tokens of OAUTHBEARER. Kafka's `OAuthBearerLoginCallbackHandler`:
            /// the URL in `sasl.oauthbearer.token.endpoint.url`. Amazon's `IAMOAuthBearerLoginCallbackHandler`: tokens made
            /// with AWS credentials. Empty: tokens without a signature, for tests.
            "sasl.login.callback.handler.class" = text(), default "", range "a class of Kafka";

            /// The source of the tokens of OAUTHBEARER: `https://host/path` is the token endpoint of a token server (Cargo
            /// feature `sasl-oidc`), `file:///folder/file` a file with one token, which is read for each connection.
            "sasl.oauthbearer.token.endpoint.url" = text(), default "", range "a URL";

            /// The part of a token's lifetime after which the next one is fetched.
            "sasl.login.refresh.window.factor" = decimal(0.5, 1.0), default "0.8", range "0.5 to 1.0";

            /// The largest part of a token's lifetime that is added to `sasl.login.refresh.window.factor` at random.
            "sasl.login.refresh.window.jitter" = decimal(0.0, 0.25), default "0.05", range "0.0 to 0.25";

            /// The shortest time in seconds from one token to the next. Tokens that last no longer than this and
            /// `sasl.login.refresh.buffer.seconds` together ignore it.
            "sasl.login.refresh.min.period.seconds" = seconds(0, 900), default "60", range "0 to 900";

            /// The next token is fetched at least this many seconds before the end of the present one. Tokens that last no
            /// longer than this and `sasl.login.refresh.min.period.seconds` together ignore it.
            "sasl.login.refresh.buffer.seconds" = seconds(0, 3600), default "300", range "0 to 3600";
        }
    };
}

pub(crate) use sasl;
