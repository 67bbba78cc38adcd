//! Where the cases of Java's tests of TLS and SASL are found here. `it` is this program, `kafka` the tests against real
//! brokers, `unit` the tests beside the code. A case without a test here says why it does not apply.
//!
//! # SaslAuthenticatorTest
//!
//! | case | here |
//! |---|---|
//! | testValidSaslPlainOverSsl, testValidSaslPlainOverPlaintext, testValidSaslScramSha256, testValidSaslScramMechanisms, testMultipleServerMechanisms, testClientDynamicJaasConfiguration | `it::secure::records_are_delivered_with_each_mechanism_with_and_without_tls`, `kafka::secure::a_producer_comes_in_through_each_listener` |
//! | testValidSaslOauthBearerMechanism, testValidSaslOauthBearerMechanismWithoutServerTokens | `it::tokens::the_settings_of_java_make_tokens_without_a_signature`, `kafka::secure::a_producer_comes_in_through_each_listener` |
//! | testMechanismPluggability, testPrincipalBuiltOncePerAuthentication | none: classes of the broker |
//! | testInvalidPasswordSaslPlain, testInvalidUsernameSaslPlain | `kafka::refusals::a_wrong_user_or_password_is_told_at_once`, `it::secure::records_wait_while_the_password_is_wrong` |
//! | testMissingUsernameSaslPlain, testMissingPasswordSaslPlain | `unit::sasl::plain::empty_credentials_*`, `unit::sasl::plain::takes_its_credentials_*` |
//! | testInvalidPasswordSaslScram, testUnknownUserSaslScram | `unit::sasl::scram::a_refusal_says_whether_name_or_password_was_wrong`, `kafka::refusals::a_wrong_user_or_password_is_told_at_once` |
//! | testUserCredentialsUnavailableForScramMechanism | `it::secure_refusals::a_user_that_only_the_other_scram_mechanism_has_is_refused` |
//! | testScramUsernameWithSpecialCharacters | `unit::sasl::scram::names_are_escaped`, `it::secure::records_are_delivered_with_each_mechanism_*` |
//! | testInsufficientScopeSaslOauthBearerMechanism | `unit::sasl::oauthbearer::a_failure_is_answered_and_told` |
//! | testClientExceptionDoesNotContainSensitiveData | `it::secret_kinds::no_run_with_any_kind_of_secret_prints_it`, `it::secrets::nothing_that_is_printed_has_a_secret` |
//! | testTokenAuthenticationOverSaslScram | `kafka::delegation_tokens::a_delegation_token_authenticates_its_owner`, `it::secure::records_are_delivered_with_each_mechanism_*` |
//! | testRepeatedValidSaslPlainOverSsl | `kafka::sessions::links_are_replaced_before_their_sessions_end_and_no_record_notices`, which uses PLAIN over TLS |
//! | testTokenReauthenticationOverSaslScram | `kafka::delegation_tokens::a_delegation_token_authenticates_its_owner`, whose token authenticates each new connection, and `it::secure::records_are_delivered_across_the_ends_of_sessions`: what a session needs of a mechanism is the same for each |
//! | testUnauthenticatedApiVersionsRequestOverPlaintextHandshakeVersion0 and 1, testUnauthenticatedApiVersionsRequestOverSslHandshakeVersion0 and 1 | `unit::mock::tests::sasl::a_client_that_authenticates_itself_*`; version 0 of SaslHandshake does not apply: every broker from 1.0 on has version 1 |
//! | testApiVersionsRequestWithServerUnsupportedVersion | `it::versions::an_older_api_versions_is_used_if_the_newest_is_refused` |
//! | testSaslUnsupportedClientVersions, testInvalidApiVersionsRequest, testValidApiVersionsRequest, testInvalidApiVersionsRequestSequence | none: what a broker does with requests that this client does not send |
//! | testSaslHandshakeRequestWithUnsupportedVersion, testForBrokenSaslHandshakeVersionBump | `it::secure_refusals::a_broker_without_sasl_as_this_client_needs_it_is_told` |
//! | testInvalidSaslPacket | `it::handshakes::each_step_of_sasl_may_go_wrong` |
//! | testPacketSizeTooBig, testSaslAuthenticationMaxReceiveSize | `it::secure_refusals::a_message_that_no_broker_accepts_is_not_sent`, `it::long_messages`, `unit::connection::frames::before_the_handshake_nothing_large_is_read` |
//! | testDisallowedKafkaRequestsBeforeAuthentication | `kafka::refusals::each_wrong_door_is_named`, `unit::mock::tests::sasl::other_requests_before_the_handshake_close_the_connection` |
//! | testCorrelationId | `unit::connection::exchange::each_request_has_the_next_correlation_id` |
//! | testConvertListOffsetResponseToSaslHandshakeResponse | `unit::connection::exchange::an_answer_to_another_request_is_an_error_that_names_both`, `unit::connection::exchange::an_answer_that_ends_too_soon_is_a_protocol_error` |
//! | the 16 cases oldSasl...WithoutSaslAuthenticateHeader and ...Failure | none: only brokers before 1.0 take tokens without SaslAuthenticate |
//! | testInvalidLoginModule | `unit::sasl::jaas::a_module_that_does_not_fit_the_mechanism_is_named_with_the_way_out` |
//! | testClientAuthenticateCallbackHandler, testServerAuthenticateCallbackHandler, testAuthenticateCallbackHandlerMechanisms, testClientLoginOverride, testServerLoginOverride, testClientLoginCallbackOverride, testServerLoginCallbackOverride | none: classes of a JVM, whose settings are refused |
//! | testDisabledMechanism, testInvalidMechanism | `it::secure_refusals::a_disabled_mechanism_is_told_with_those_that_are_enabled`, `kafka::secure::a_disabled_mechanism_is_told_with_those_that_are_enabled` |
//! | testServerDynamicJaasConfiguration, testJaasConfigurationForListener | none: settings of the broker |
//! | testSslClientAuthDisabledForSaslSslListener, ...Requested..., ...Required..., ...RequestedOverridden..., ...RequiredOverridden... | `kafka::forms::a_client_certificate_is_shown_before_sasl_if_the_broker_asks` |
//! | testCannotReauthenticateWithDifferentPrincipal, testCannotReauthenticateWithDifferentMechanism, testCannotReauthenticateAgainFasterThanOneSecond | none: a connection never authenticates itself again, another one replaces it (`worker::sessions`) |
//! | testReauthenticateWithLargeReauthValue | `unit::connection::sasl::a_session_without_end_or_with_one_that_no_clock_has_is_not_replaced` |
//! | testServerSidePendingSendDuringReauthentication | `worker::sessions::nothing_goes_on_the_second_link_until_the_first_owes_no_answer` |
//!
//! # SslTransportLayerTest, SslTransportTls12Tls13Test
//!
//! | case | here |
//! |---|---|
//! | testValidEndpointIdentificationSanDns, testValidEndpointIdentificationSanIp | `kafka::forms::an_address_in_a_certificate_is_checked`, `it::secure::records_are_delivered_over_tls`, `kafka::secure::a_producer_comes_in_through_each_listener` |
//! | testValidEndpointIdentificationCN | `kafka::refusals::each_fault_of_a_brokers_certificate_has_its_sentence`: refused, because rustls reads no common name |
//! | testEndpointIdentificationNoReverseLookup, testInvalidEndpointIdentification | `it::secure_refusals::each_fault_of_a_brokers_certificate_is_told_until_it_is_mended` |
//! | testEndpointIdentificationDisabled | `kafka::refusals::the_name_in_a_certificate_is_not_checked_if_the_user_says_so` |
//! | testClientEndpointNotValidated, testListenerConfigOverride | none: what a broker checks |
//! | testClientAuthenticationRequiredValidProvided, ...UntrustedProvided, ...NotProvided | `it::secure::records_are_delivered_with_a_client_certificate_and_not_without`, `kafka::refusals::a_client_without_an_accepted_certificate_is_told_so` |
//! | testClientAuthenticationDisabledUntrustedProvided, ...NotProvided, testClientAuthenticationRequestedValidProvided, ...NotProvided | `it::secure_refusals::a_client_certificate_is_shown_if_the_broker_asks_and_trusts_its_issuer` |
//! | testDsaKeyPair | `unit::tls::stores::tests::pem::keys_that_cannot_be_used_are_told_apart`: refused, because rustls has no DSA |
//! | testECKeyPair, testPemFiles, testPemFilesWithoutClientKeyPassword, testPemFilesWithoutServerKeyPassword | `kafka::forms::every_form_of_a_key_opens_the_door_or_is_told_apart`, `kafka::forms::brokers_with_keys_and_chains_of_each_kind_are_accepted`, `kafka::refusals::every_store_that_people_have_opens_the_door` |
//! | testInvalidTruststorePassword, testInvalidKeystorePassword, testInvalidKeyPassword, testNullTruststorePassword | `unit::tls::stores::tests::jks::wrong_passwords_are_told_apart`, `unit::tls::stores::tests::pkcs12::wrong_and_missing_passwords` |
//! | testInvalidSecureRandomImplementation | `it::property_files::each_property_file_has_its_outcome`: the setting means a JVM only |
//! | testTlsDefaults, testUnsupportedCiphers, testCiphersSuiteForTls12FailsForTls13, testCiphersSuiteFailForServerTls12ClientTls13, testCiphersSuiteForTls13, testCiphersSuiteForTls12 | `it::secure_refusals::versions_and_cipher_suites_of_both_sides_must_agree`, `unit::tls::settings::suites_have_javas_and_openssls_names` |
//! | testNetReadBufferResize, testNetWriteBufferResize, testApplicationBufferResize, testSelectorPollReadSize, testGatheringWrite, testScatteringRead | `unit::connection::transport::tls::writes_of_any_size_arrive_whole_however_they_are_cut`, `unit::connection::transport::tls::both_halves_work_at_once` |
//! | testIOExceptionsDuringHandshakeRead, testIOExceptionsDuringHandshakeWrite, testUngracefulRemoteCloseDuringHandshakeRead, ...Write, testGracefulRemoteCloseDuringHandshakeRead, ...Write | `it::cut_handshakes::a_peer_that_leaves_after_any_number_of_bytes_is_asked_again`, `it::handshakes::each_step_of_tls_may_go_wrong`, `unit::connection::transport::tls::a_handshake_that_the_peer_leaves_is_no_refusal` |
//! | testPeerNotifiedOfHandshakeFailure | `unit::connection::transport::tls::a_peer_that_is_refused_is_told_why` |
//! | testPeerNotifiedOfHandshakeFailureWithClientSideDelay | `kafka::refusals::a_client_without_an_accepted_certificate_is_told_so`: with TLS 1.3 a broker refuses when the client's part is over, and the reason arrives behind that |
//! | testCloseSsl, testClosePlaintext, testSSLEngineCloseInboundInvokedOnClose | `unit::connection::transport::tls::an_end_tells_the_peer_*`, `unit::connection::transport::tls::the_end_of_a_stream_is_the_same_with_and_without_notice` |
//! | testHandshakeUnwrapContinuesUnwrappingOnNeedUnwrapAfterAllBytesRead | `unit::connection::transport::tls::a_handshake_goes_on_after_signals_and_with_few_bytes_at_once` |
//! | testNetworkThreadTimeRecorded, testServerRequestMetrics | none: metrics |
//! | testServerKeystoreDynamicUpdate, testServerKeystoreDynamicUpdateWithNewSubjectAltName, testServerTruststoreDynamicUpdate, testInterBrokerSslConfigValidation, testInterBrokerSslConfigValidationFailure | none: stores of the broker. A client's: `it::secure::records_are_delivered_after_the_trust_store_was_exchanged`, `kafka::rotation::stores_and_certificates_are_exchanged_under_load`, `kafka::sessions::a_trust_store_is_exchanged_while_the_producer_runs` |
//! | testCustomClientSslEngineFactory, testCustomServerSslEngineFactory, testCustomClientAndServerSslEngineFactory, testInvalidSslEngineFactory | none: classes of a JVM, whose setting is refused |
//!
//! # DefaultSslEngineFactoryTest
//!
//! | case | here |
//! |---|---|
//! | testPemTrustStoreConfigWithOneCert, testPemTrustStoreConfigWithMultipleCerts | `unit::tls::stores::tests::pem::certificates_in_the_order_of_the_text` |
//! | testPemKeyStoreConfigNoPassword, testPemKeyStoreConfigWithKeyPassword | `unit::tls::stores::tests::pem::plain_keys_of_each_form`, `unit::tls::stores::tests::pem::encrypted_keys_of_each_scheme` |
//! | testPemKeyStoreConfigTrailingNewLines, testPemKeyStoreConfigLeadingNewLines, testPemKeyStoreConfigCarriageReturnLineFeed | `unit::tls::stores::tests::pem::certificates_in_the_order_of_the_text` |
//! | testPemTrustStoreFile, testPemKeyStoreFileNoKeyPassword, testPemKeyStoreFileKeyPassword | `unit::tls::material::every_format_makes_a_client`, `unit::tls::stores::tests::pem::a_key_store_with_an_encrypted_key` |
//!
//! # JaasContextTest, ScramFormatterTest, OAuthBearerClientInitialResponseTest
//!
//! | case | here |
//! |---|---|
//! | all of JaasContextTest that read a text | `unit::sasl::jaas::every_text_is_read_as_java_reads_it` |
//! | rfc7677Example, saslName | `unit::sasl::scram::the_exchange_of_rfc_7677`, `unit::sasl::scram::names_are_escaped` |
//! | testBuildServerResponseToClientResponse, testRfc7688Example and the others | `unit::sasl::oauthbearer::message` |

use crate::origins::{exists, tests_named_in};

#[test]
fn every_test_that_the_table_names_exists() {
    let names = tests_named_in(include_str!("security_origins.rs"));
    assert!(names.len() > 50, "{} names", names.len());
    let missing: Vec<_> = names.into_iter().filter(|name| !exists(name)).collect();
    assert!(missing.is_empty(), "{missing:#?}");
}

/// A case has a test, or a reason.
#[test]
fn every_case_of_the_table_has_a_test_or_a_reason() {
    let rows = include_str!("security_origins.rs")
        .lines()
        .filter_map(|line| line.strip_prefix("//! | "))
        .filter(|row| !row.starts_with("case |"));
    let without: Vec<_> = rows
        .filter(|row| {
            let here = row.split(" | ").nth(1).unwrap_or_default();
            let has_test = tests_named_in(&format!("//! {here}"))
                .iter()
                .any(|name| exists(name));
            !has_test && !here.starts_with("none: ")
        })
        .collect();
    assert!(without.is_empty(), "{without:#?}");
}
