//! How this client reacts to a broker's error code: one table for all requests.
//!
//! [`ErrorCode`] itself, in the protocol layer, is number, name and meaning. A [`CodeRule`] is the reaction to a code.
//! `kind` and `remedy` hold for every request. If a code means something special in the response to one request, the rule
//! has a part for that request: `batch` for Produce, `topic` for Metadata. A further request whose codes need special
//! reactions gets a part too.

use super::ErrorKind;
use crate::protocol::ErrorCode;

/// The reaction to an error code.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct CodeRule {
    /// The kind of the error that callers get.
    pub(crate) kind: ErrorKind,
    /// Whether to send the request again.
    pub(crate) remedy: Remedy,
    /// In the response to Produce, for one partition.
    pub(crate) batch: BatchAnswer,
    /// In the response to Metadata, for one topic.
    pub(crate) topic: TopicAnswer,
}

/// Whether the request can succeed when it is sent again. Java makes the same distinction by exception classes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Remedy {
    /// Sending it again does not help.
    Fail,
    /// Send it again after a backoff (`RetriableException`).
    Retry,
    /// The metadata is outdated: refresh it, then send again (`InvalidMetadataException`).
    Refresh,
}

/// The meaning of a code in a Produce response for the batch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum BatchAnswer {
    /// The leader did not write the batch.
    NotWritten,
    /// The leader did not write the batch, because it is larger than the topic allows. A batch of several records can be
    /// split.
    TooLarge,
    /// The leader did not write the batch, because producer id, epoch and sequence do not follow those of the last batch
    /// that it knows.
    OutOfSequence,
    /// The leader may have written the batch.
    MaybeWritten,
    /// The leader wrote the batch, but fewer replicas than `min.insync.replicas` have it.
    Appended,
    /// The leader wrote the batch at an earlier attempt, and does not know its offset any more.
    Duplicate,
}

/// The meaning of a code in a Metadata response for the topic.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum TopicAnswer {
    /// The broker cannot describe the topic now. What the client knows about the topic stays valid.
    Unavailable,
    /// The topic does not exist. It may be created soon.
    Missing,
    /// This client cannot use the topic until the user chooses another name or gets a permission.
    Refused,
}

/// The rule of most codes: the request fails, and the leader wrote nothing.
const FAIL: CodeRule = CodeRule {
    kind: ErrorKind::Broker,
    remedy: Remedy::Fail,
    batch: BatchAnswer::NotWritten,
    // A cluster that starts answers with nearly any code, such as INVALID_REPLICATION_FACTOR while too few brokers run.
    topic: TopicAnswer::Unavailable,
};

/// The rule of a code that a later version of Kafka introduced: the leader may have written the batch first.
const UNKNOWN_CODE: CodeRule = CodeRule {
    batch: BatchAnswer::MaybeWritten,
    ..FAIL
};

/// Writes the function that looks a code up in the table.
///
/// A row: code, kind, remedy, and the parts that differ from those of [`FAIL`].
macro_rules! code_rules {
    ($($code:ident $kind:ident $remedy:ident $($part:ident: $answer:ident)*;)+) => {
        fn known_rule(code: ErrorCode) -> Option<CodeRule> {
            use BatchAnswer::*;
            use TopicAnswer::*;
            Some(match code {
                $(
                    ErrorCode::$code => CodeRule {
                        kind: ErrorKind::$kind,
                        remedy: Remedy::$remedy,
                        $($part: $answer,)*
                        ..FAIL
                    },
                )+
                _ => return None,
            })
        }
    };
}

// The table, in the order of the codes.
code_rules! {
    UNKNOWN_SERVER_ERROR                  Broker             Fail    batch: MaybeWritten;
    OFFSET_OUT_OF_RANGE                   Broker             Fail;
    CORRUPT_MESSAGE                       Broker             Retry;
    UNKNOWN_TOPIC_OR_PARTITION            Broker             Refresh topic: Missing;
    INVALID_FETCH_SIZE                    Broker             Fail;
    LEADER_NOT_AVAILABLE                  Broker             Refresh;
    NOT_LEADER_OR_FOLLOWER                Broker             Refresh;
    REQUEST_TIMED_OUT                     Broker             Retry   batch: MaybeWritten;
    BROKER_NOT_AVAILABLE                  Broker             Fail;
    REPLICA_NOT_AVAILABLE                 Broker             Refresh;
    MESSAGE_TOO_LARGE                     RecordTooLarge     Fail    batch: TooLarge;
    STALE_CONTROLLER_EPOCH                Broker             Fail;
    OFFSET_METADATA_TOO_LARGE             Broker             Fail;
    NETWORK_EXCEPTION                     Broker             Refresh batch: MaybeWritten;
    COORDINATOR_LOAD_IN_PROGRESS          Broker             Retry;
    COORDINATOR_NOT_AVAILABLE             Broker             Retry;
    NOT_COORDINATOR                       Broker             Retry;
    INVALID_TOPIC_EXCEPTION               InvalidTopic       Fail    topic: Refused;
    RECORD_LIST_TOO_LARGE                 RecordTooLarge     Fail;
    NOT_ENOUGH_REPLICAS                   Broker             Retry;
    NOT_ENOUGH_REPLICAS_AFTER_APPEND      Broker             Retry   batch: Appended;
    INVALID_REQUIRED_ACKS                 Broker             Fail;
    ILLEGAL_GENERATION                    Broker             Fail;
    INCONSISTENT_GROUP_PROTOCOL           Broker             Fail;
    INVALID_GROUP_ID                      Broker             Fail;
    UNKNOWN_MEMBER_ID                     Broker             Fail;
    INVALID_SESSION_TIMEOUT               Broker             Fail;
    REBALANCE_IN_PROGRESS                 Broker             Fail;
    INVALID_COMMIT_OFFSET_SIZE            Broker             Fail;
    TOPIC_AUTHORIZATION_FAILED            Authorization      Fail    topic: Refused;
    GROUP_AUTHORIZATION_FAILED            Authorization      Fail;
    CLUSTER_AUTHORIZATION_FAILED          Authorization      Fail    topic: Refused;
    INVALID_TIMESTAMP                     InvalidRecord      Fail;
    UNSUPPORTED_SASL_MECHANISM            Authentication     Fail;
    ILLEGAL_SASL_STATE                    Authentication     Fail;
    UNSUPPORTED_VERSION                   UnsupportedVersion Fail;
    TOPIC_ALREADY_EXISTS                  Broker             Fail;
    INVALID_PARTITIONS                    Broker             Fail;
    INVALID_REPLICATION_FACTOR            Broker             Fail;
    INVALID_REPLICA_ASSIGNMENT            Broker             Fail;
    INVALID_CONFIG                        Broker             Fail;
    NOT_CONTROLLER                        Broker             Retry;
    INVALID_REQUEST                       Broker             Fail;
    UNSUPPORTED_FOR_MESSAGE_FORMAT        Broker             Fail;
    POLICY_VIOLATION                      Broker             Fail;
    OUT_OF_ORDER_SEQUENCE_NUMBER          Broker             Fail    batch: OutOfSequence;
    DUPLICATE_SEQUENCE_NUMBER             Broker             Fail    batch: Duplicate;
    INVALID_PRODUCER_EPOCH                Broker             Fail    batch: OutOfSequence;
    INVALID_TXN_STATE                     Broker             Fail;
    INVALID_PRODUCER_ID_MAPPING           Broker             Fail;
    INVALID_TRANSACTION_TIMEOUT           Broker             Fail;
    CONCURRENT_TRANSACTIONS               Broker             Retry;
    TRANSACTION_COORDINATOR_FENCED        Broker             Fail;
    TRANSACTIONAL_ID_AUTHORIZATION_FAILED Authorization      Fail;
    SECURITY_DISABLED                     Broker             Fail;
    OPERATION_NOT_ATTEMPTED               Broker             Fail;
    KAFKA_STORAGE_ERROR                   Broker             Refresh batch: MaybeWritten;
    LOG_DIR_NOT_FOUND                     Broker             Fail;
    SASL_AUTHENTICATION_FAILED            Authentication     Fail;
    UNKNOWN_PRODUCER_ID                   Broker             Fail    batch: OutOfSequence;
    REASSIGNMENT_IN_PROGRESS              Broker             Fail;
    DELEGATION_TOKEN_AUTH_DISABLED        Broker             Fail;
    DELEGATION_TOKEN_NOT_FOUND            Broker             Fail;
    DELEGATION_TOKEN_OWNER_MISMATCH       Broker             Fail;
    DELEGATION_TOKEN_REQUEST_NOT_ALLOWED  Broker             Fail;
    DELEGATION_TOKEN_AUTHORIZATION_FAILED Authorization      Fail;
    DELEGATION_TOKEN_EXPIRED              Broker             Fail;
    INVALID_PRINCIPAL_TYPE                Broker             Fail;
    NON_EMPTY_GROUP                       Broker             Fail;
    GROUP_ID_NOT_FOUND                    Broker             Fail;
    FETCH_SESSION_ID_NOT_FOUND            Broker             Retry;
    INVALID_FETCH_SESSION_EPOCH           Broker             Retry;
    LISTENER_NOT_FOUND                    Broker             Refresh;
    TOPIC_DELETION_DISABLED               Broker             Fail;
    FENCED_LEADER_EPOCH                   Broker             Refresh;
    UNKNOWN_LEADER_EPOCH                  Broker             Retry;
    UNSUPPORTED_COMPRESSION_TYPE          Broker             Fail;
    STALE_BROKER_EPOCH                    Broker             Fail;
    OFFSET_NOT_AVAILABLE                  Broker             Retry;
    MEMBER_ID_REQUIRED                    Broker             Fail;
    PREFERRED_LEADER_NOT_AVAILABLE        Broker             Refresh;
    GROUP_MAX_SIZE_REACHED                Broker             Fail;
    FENCED_INSTANCE_ID                    Broker             Fail;
    ELIGIBLE_LEADERS_NOT_AVAILABLE        Broker             Refresh;
    ELECTION_NOT_NEEDED                   Broker             Refresh;
    NO_REASSIGNMENT_IN_PROGRESS           Broker             Fail;
    GROUP_SUBSCRIBED_TO_TOPIC             Broker             Fail;
    INVALID_RECORD                        InvalidRecord      Fail;
    UNSTABLE_OFFSET_COMMIT                Broker             Retry;
    THROTTLING_QUOTA_EXCEEDED             Broker             Retry;
    PRODUCER_FENCED                       Broker             Fail;
    RESOURCE_NOT_FOUND                    Broker             Fail;
    DUPLICATE_RESOURCE                    Broker             Fail;
    UNACCEPTABLE_CREDENTIAL               Broker             Fail;
    INCONSISTENT_VOTER_SET                Broker             Fail;
    INVALID_UPDATE_VERSION                Broker             Fail;
    FEATURE_UPDATE_FAILED                 Broker             Fail;
    PRINCIPAL_DESERIALIZATION_FAILURE     Broker             Fail;
    SNAPSHOT_NOT_FOUND                    Broker             Fail;
    POSITION_OUT_OF_RANGE                 Broker             Fail;
    UNKNOWN_TOPIC_ID                      Broker             Refresh;
    DUPLICATE_BROKER_REGISTRATION         Broker             Fail;
    BROKER_ID_NOT_REGISTERED              Broker             Fail;
    INCONSISTENT_TOPIC_ID                 Broker             Refresh;
    INCONSISTENT_CLUSTER_ID               Broker             Fail;
    TRANSACTIONAL_ID_NOT_FOUND            Broker             Fail;
    FETCH_SESSION_TOPIC_ID_ERROR          Broker             Retry;
    INELIGIBLE_REPLICA                    Broker             Fail;
    NEW_LEADER_ELECTED                    Broker             Fail;
    OFFSET_MOVED_TO_TIERED_STORAGE        Broker             Fail;
    FENCED_MEMBER_EPOCH                   Broker             Fail;
    UNRELEASED_INSTANCE_ID                Broker             Fail;
    UNSUPPORTED_ASSIGNOR                  Broker             Fail;
    STALE_MEMBER_EPOCH                    Broker             Fail;
    MISMATCHED_ENDPOINT_TYPE              Broker             Fail;
    UNSUPPORTED_ENDPOINT_TYPE             Broker             Fail;
    UNKNOWN_CONTROLLER_ID                 Broker             Fail;
    UNKNOWN_SUBSCRIPTION_ID               Broker             Fail;
    TELEMETRY_TOO_LARGE                   Broker             Fail;
    INVALID_REGISTRATION                  Broker             Fail;
    TRANSACTION_ABORTABLE                 Broker             Fail;
    INVALID_RECORD_STATE                  Broker             Fail;
    SHARE_SESSION_NOT_FOUND               Broker             Retry;
    INVALID_SHARE_SESSION_EPOCH           Broker             Retry;
    FENCED_STATE_EPOCH                    Broker             Fail;
    INVALID_VOTER_KEY                     Broker             Fail;
    DUPLICATE_VOTER                       Broker             Fail;
    VOTER_NOT_FOUND                       Broker             Fail;
    INVALID_REGULAR_EXPRESSION            Broker             Fail;
    REBOOTSTRAP_REQUIRED                  Broker             Fail;
    STREAMS_INVALID_TOPOLOGY              Broker             Fail;
    STREAMS_INVALID_TOPOLOGY_EPOCH        Broker             Fail;
    STREAMS_TOPOLOGY_FENCED               Broker             Fail;
    SHARE_SESSION_LIMIT_REACHED           Broker             Retry;
}

impl CodeRule {
    /// Returns the rule of `code`, which is not [`ErrorCode::NONE`].
    pub(crate) fn of(code: ErrorCode) -> Self {
        debug_assert!(!code.is_none(), "success has no rule");
        known_rule(code).unwrap_or(UNKNOWN_CODE)
    }
}

/// The public questions that the table answers.
impl ErrorCode {
    /// Returns whether the same request may succeed when it is sent again, as with Java's `RetriableException`.
    pub fn is_retriable(self) -> bool {
        self.remedy() != Remedy::Fail
    }

    /// Returns whether the client's metadata is outdated and has to be refreshed before a retry, as with Java's
    /// `InvalidMetadataException`. Implies [`is_retriable`](Self::is_retriable).
    pub fn is_metadata_stale(self) -> bool {
        self.remedy() == Remedy::Refresh
    }

    fn remedy(self) -> Remedy {
        known_rule(self).map_or(Remedy::Fail, |rule| rule.remedy)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use kafka_protocol::ResponseError;

    fn every_code() -> impl Iterator<Item = ErrorCode> {
        (i16::MIN..=i16::MAX).map(ErrorCode::from)
    }

    #[test]
    fn every_known_code_has_a_rule_and_no_other() {
        for code in every_code().filter(|code| !code.is_none()) {
            assert_eq!(known_rule(code).is_some(), code.is_known(), "{code}");
        }
    }

    #[test]
    fn a_code_of_a_later_kafka_fails_its_batch_which_may_be_written() {
        for code in [-2, 134, 999, i16::MIN, i16::MAX].map(ErrorCode::from) {
            let rule = CodeRule::of(code);
            assert_eq!(rule.kind, ErrorKind::Broker);
            assert_eq!(rule.batch, BatchAnswer::MaybeWritten);
            assert_eq!(rule.topic, TopicAnswer::Unavailable);
            assert!(!code.is_retriable(), "{code}");
        }
    }

    #[test]
    fn retriable_codes_are_those_of_the_kafka_protocol_crate() {
        for code in every_code().filter(|code| code.is_known() && !code.is_none()) {
            let theirs = ResponseError::try_from_code(code.code()).unwrap();
            // Java's ConcurrentTransactionsException has become retriable since that crate's table was made.
            if code != ErrorCode::CONCURRENT_TRANSACTIONS {
                assert_eq!(code.is_retriable(), theirs.is_retriable(), "{code}");
            }
            assert!(!code.is_metadata_stale() || code.is_retriable());
        }
        assert!(!ErrorCode::NONE.is_retriable());
    }

    #[test]
    fn remedies_are_those_of_the_java_producer() {
        for retry in [2, 7, 19, 20, 75, 89, 14, 15, 16, 51] {
            assert_eq!(CodeRule::of(retry.into()).remedy, Remedy::Retry, "{retry}");
        }
        for refresh in [3, 5, 6, 9, 13, 56, 72, 74, 100, 103] {
            let rule = CodeRule::of(refresh.into());
            assert_eq!(rule.remedy, Remedy::Refresh, "{refresh}");
        }
        for fail in [
            -1, 10, 17, 18, 21, 29, 31, 32, 35, 42, 44, 45, 46, 47, 49, 53, 59, 76, 87, 90, 105,
            120,
        ] {
            assert_eq!(CodeRule::of(fail.into()).remedy, Remedy::Fail, "{fail}");
        }
    }

    #[test]
    fn only_these_codes_mean_a_maybe_written_batch() {
        let may_be_written = |code: &ErrorCode| {
            let batch = CodeRule::of(*code).batch;
            matches!(batch, BatchAnswer::MaybeWritten | BatchAnswer::Appended)
        };
        let codes: Vec<i16> = every_code()
            .filter(|code| code.is_known() && !code.is_none())
            .filter(may_be_written)
            .map(ErrorCode::code)
            .collect();
        assert_eq!(codes, [-1, 7, 13, 20, 56]);
    }
}
