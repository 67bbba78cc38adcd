//! How a connection is protected, and TLS.

macro_rules! security {
    ($($before:tt)*) => {
        $crate::producer::config::table::next_group! {
            $($before)*

            /// The protocol between client and brokers: `SSL` encrypts, `SASL_PLAINTEXT` authenticates, `SASL_SSL` does both.
            "security.protocol", security_protocol(SecurityProtocol): SecurityProtocol = choice(),
                default "PLAINTEXT", range "PLAINTEXT, SSL, SASL_PLAINTEXT, SASL_SSL";

            /// The file of the certificates that the client trusts: PEM, PKCS#12 or JKS. Empty: those that the system
            /// trusts. It is read again for each connection, so a change takes effect without a restart.
            "ssl.truststore.location" = text(), default "", range "a path";

            /// The password of the trust store.
            "ssl.truststore.password" = secret(), default "", range "any text";

            /// The format of the trust store. The contents decide; the log has a warning if they differ.
            "ssl.truststore.type" = text(), default "JKS", range "JKS, PKCS12, PEM";

            /// The certificates that the client trusts, in PEM.
            "ssl.truststore.certificates" = secret(), default "", range "PEM";

            /// The file of the client's certificate and key: PEM, PKCS#12 or JKS. It is read again for each connection.
            "ssl.keystore.location" = text(), default "", range "a path";

            /// The password of the key store.
            "ssl.keystore.password" = secret(), default "", range "any text";

            /// The format of the key store. The contents decide; the log has a warning if they differ.
            "ssl.keystore.type" = text(), default "JKS", range "JKS, PKCS12, PEM";

            /// The client's private key, in PEM.
            "ssl.keystore.key" = secret(), default "", range "PEM";

            /// The client's certificate in PEM, followed by those of its issuers.
            "ssl.keystore.certificate.chain" = secret(), default "", range "PEM";

            /// The password of the private key. Empty: that of the key store.
            "ssl.key.password" = secret(), default "", range "any text";

            /// Whether a broker's certificate must name the host of the connection: `https` for yes, empty for no.
            "ssl.endpoint.identification.algorithm" = host_check(), default "https", range "https, empty";

            /// The versions of TLS that may be used. Older ones than these two are left out.
            "ssl.enabled.protocols" = text(), default "TLSv1.2,TLSv1.3", range "TLSv1.2, TLSv1.3";

            /// `TLSv1.2` excludes TLS 1.3, as in Java.
            "ssl.protocol" = text(), default "TLSv1.3", range "TLSv1.3, TLSv1.2";

            /// The cipher suites that may be used. Empty: all that are secure.
            "ssl.cipher.suites" = text(), default "", range "names of suites";
        }
    };
}

pub(crate) use security;
