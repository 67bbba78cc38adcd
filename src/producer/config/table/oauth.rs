//! OAUTHBEARER with tokens of a token server: what it is asked, and for how long. See also the group `sasl`.

macro_rules! oauth {
    ($($before:tt)*) => {
        $crate::producer::config::table::next_group! {
            $($before)*

            /// The name by which the token server knows the client. It takes precedence over the option `clientId` of
            /// `sasl.jaas.config`.
            "sasl.oauthbearer.client.credentials.client.id" = text(), default "", range "any text";

            /// The client's secret for the token server. It takes precedence over the option `clientSecret` of
            /// `sasl.jaas.config`.
            "sasl.oauthbearer.client.credentials.client.secret" = secret(), default "", range "any text";

            /// What the token is for, as the token server names it. It takes precedence over the option `scope` of
            /// `sasl.jaas.config`.
            "sasl.oauthbearer.scope" = text(), default "", range "any text";

            /// Whether the client's id, its secret and the scope are encoded as RFC 6749 says. Java does not do it by
            /// default, and some token servers do not decode them. Set it if they have other characters than letters,
            /// digits and `.-_*`, and the token server refuses them.
            "sasl.oauthbearer.header.urlencode" = boolean(), default "false", range "true, false";

            /// The Java class that selects how a token is requested: `ClientCredentialsJwtRetriever` (the client asks for
            /// itself), `JwtBearerJwtRetriever` (with an assertion), `FileJwtRetriever` (from a file), or `DefaultJwtRetriever`
            /// (the URL decides).
            "sasl.oauthbearer.jwt.retriever.class" = text(),
                default "org.apache.kafka.common.security.oauthbearer.DefaultJwtRetriever", range "a class of Kafka";

            /// The Java class that selects how a token is checked: `DefaultJwtValidator` or `ClientJwtValidator`. Both check
            /// the claims of a JSON web token; the broker checks the signature.
            "sasl.oauthbearer.jwt.validator.class" = text(),
                default "org.apache.kafka.common.security.oauthbearer.DefaultJwtValidator", range "a class of Kafka";

            /// The claim of a token that has its scope.
            "sasl.oauthbearer.scope.claim.name" = text(), default "scope", range "the name of a claim";

            /// The claim of a token that names the client.
            "sasl.oauthbearer.sub.claim.name" = text(), default "sub", range "the name of a claim";

            /// A file with an assertion, which is shown to the token server in place of the client's secret. It is read for
            /// each token.
            "sasl.oauthbearer.assertion.file" = text(), default "", range "a path";

            /// The algorithm by which an assertion is signed.
            "sasl.oauthbearer.assertion.algorithm" = text(), default "RS256", range "RS256, ES256";

            /// The file of the private key that signs an assertion, in PEM. It is read for each token.
            "sasl.oauthbearer.assertion.private.key.file" = text(), default "", range "a path";

            /// The password of the private key that signs an assertion.
            "sasl.oauthbearer.assertion.private.key.passphrase" = secret(), default "", range "any text";

            /// The claim `aud` of an assertion: usually the URL of the token server.
            "sasl.oauthbearer.assertion.claim.aud" = text(), default "", range "any text";

            /// The claim `iss` of an assertion: usually the client's id. If it is set, an assertion that is signed here is
            /// shown to the token server in place of the client's secret.
            "sasl.oauthbearer.assertion.claim.iss" = text(), default "", range "any text";

            /// The claim `sub` of an assertion: usually the client's id.
            "sasl.oauthbearer.assertion.claim.sub" = text(), default "", range "any text";

            /// For how many seconds an assertion is valid.
            "sasl.oauthbearer.assertion.claim.exp.seconds" = seconds(0, 86400), default "300", range "0 to 86400";

            /// How many seconds before its signature an assertion begins to be valid: the clock of the token server may be
            /// behind.
            "sasl.oauthbearer.assertion.claim.nbf.seconds" = seconds(0, 3600), default "60", range "0 to 3600";

            /// Whether an assertion has a unique id, the claim `jti`.
            "sasl.oauthbearer.assertion.claim.jti.include" = boolean(), default "false", range "true, false";

            /// A JSON file with further members of an assertion, in its members `header` and `payload`. It is read for each
            /// token.
            "sasl.oauthbearer.assertion.template.file" = text(), default "", range "a path";

            /// How long a connection to the token server may take. 0: until the attempt ends, a minute at most. Java has no
            /// limit by default.
            "sasl.login.connect.timeout.ms" = millis_or_zero(), default "10000", range "0 or more";

            /// How long the token server may be silent. 0: until the attempt ends, a minute at most. Java has no limit by
            /// default.
            "sasl.login.read.timeout.ms" = millis_or_zero(), default "10000", range "0 or more";

            /// The pause before a request to the token server is repeated, if the server cannot be reached or has no time.
            /// It doubles each time.
            "sasl.login.retry.backoff.ms" = millis(0, i64::MAX), default "100", range "0 or more";

            /// How long a request to the token server is repeated.
            "sasl.login.retry.backoff.max.ms" = millis(0, i64::MAX), default "10000", range "0 or more";
        }
    };
}

pub(crate) use oauth;
