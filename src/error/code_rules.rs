//! What this client makes of a broker's error code: the one table of it.
//!
//! [`ErrorCode`] itself, in the protocol layer, is only number, name and meaning. A rule is what follows from the code
//! here. Where it depends on the request, the rule has a part for each request; a request without such a part goes by
//! `kind` and `remedy`.

use super::ErrorKind;
use crate::protocol::ErrorCode;

/// What follows from an error code.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct CodeRule {
    /// The kind of the error that callers get.
    pub(crate) kind: ErrorKind,
    /// Whether to send the request again.
    pub(crate) remedy: Remedy,
    /// In the answer to Produce, for one partition.
    pub(crate) batch: BatchAnswer,
    /// In the answer to Metadata, for one topic.
    pub(crate) topic: TopicAnswer,
}

/// Whether the request can succeed when it is sent again. The same distinction as between Java's exceptions.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Remedy {
    /// Sending it again does not help.
    Fail,
    /// Send it again after a backoff (`RetriableException`).
    Retry,
    /// The metadata is outdated: refresh it, then send again (`InvalidMetadataException`).
    Refresh,
}

/// What a Produce answer's code says about the batch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum BatchAnswer {
    /// The leader did not write it.
    NotWritten,
    /// The leader did not write it: it has more bytes than the topic accepts. Several records are split.
    TooLarge,
    /// The leader did not write it: producer id, epoch and sequence do not follow what the leader has.
    OutOfSequence,
    /// The leader may have written it.
    MaybeWritten,
    /// The leader wrote it, but too few replicas have it.
    Appended,
    /// The leader wrote it in answer to an earlier attempt, and does not know the offset any more.
    Duplicate,
}

/// What a Metadata answer's code says about the topic.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum TopicAnswer {
    /// Nothing: the broker cannot describe the topic now. What is known of it stays valid.
    Unavailable,
    /// The topic does not exist. It may be created soon.
    Missing,
    /// This client cannot have the topic until the user chooses another name or gets a permission.
    Refused,
}

/// The request fails, nothing was written, and no other kind describes the error.
const FAIL: CodeRule = CodeRule {
    kind: ErrorKind::Broker,
    remedy: Remedy::Fail,
    batch: BatchAnswer::NotWritten,
    // Brokers that start answer with nearly any code, such as INVALID_REPLICATION_FACTOR while too few of them run.
    topic: TopicAnswer::Unavailable,
};

const RETRY: CodeRule = CodeRule {
    remedy: Remedy::Retry,
    ..FAIL
};

const REFRESH: CodeRule = CodeRule {
    remedy: Remedy::Refresh,
    ..FAIL
};

const AUTHENTICATION: CodeRule = CodeRule {
    kind: ErrorKind::Authentication,
    ..FAIL
};

const AUTHORIZATION: CodeRule = CodeRule {
    kind: ErrorKind::Authorization,
    ..FAIL
};

const INVALID_RECORD: CodeRule = CodeRule {
    kind: ErrorKind::InvalidRecord,
    ..FAIL
};

const OUT_OF_SEQUENCE: CodeRule = CodeRule {
    batch: BatchAnswer::OutOfSequence,
    ..FAIL
};

/// A code that a later version of Kafka introduced. Nobody here knows whether something was written first.
const UNKNOWN_CODE: CodeRule = CodeRule {
    batch: BatchAnswer::MaybeWritten,
    ..FAIL
};

impl CodeRule {
    /// Returns the rule of `code`, which is not [`ErrorCode::NONE`].
    pub(crate) fn of(code: ErrorCode) -> Self {
        debug_assert!(!code.is_none(), "success has no rule");
        Self::known(code).unwrap_or(UNKNOWN_CODE)
    }

    /// The table.
    fn known(code: ErrorCode) -> Option<Self> {
        type E = ErrorCode;
        Some(match code {
            // The leader has changed, or is not known. A record that was sent to a broker that does not lead its partition
            // is not written.
            E::UNKNOWN_TOPIC_OR_PARTITION => Self {
                topic: TopicAnswer::Missing,
                ..REFRESH
            },
            E::LEADER_NOT_AVAILABLE
            | E::NOT_LEADER_OR_FOLLOWER
            | E::REPLICA_NOT_AVAILABLE
            | E::LISTENER_NOT_FOUND
            | E::FENCED_LEADER_EPOCH
            | E::PREFERRED_LEADER_NOT_AVAILABLE
            | E::ELIGIBLE_LEADERS_NOT_AVAILABLE
            | E::ELECTION_NOT_NEEDED
            | E::UNKNOWN_TOPIC_ID
            | E::INCONSISTENT_TOPIC_ID => REFRESH,
            // The broker failed, perhaps after it wrote.
            E::NETWORK_EXCEPTION | E::KAFKA_STORAGE_ERROR => Self {
                batch: BatchAnswer::MaybeWritten,
                ..REFRESH
            },
            E::REQUEST_TIMED_OUT => Self {
                batch: BatchAnswer::MaybeWritten,
                ..RETRY
            },
            E::UNKNOWN_SERVER_ERROR => Self {
                batch: BatchAnswer::MaybeWritten,
                ..FAIL
            },
            E::NOT_ENOUGH_REPLICAS_AFTER_APPEND => Self {
                batch: BatchAnswer::Appended,
                ..RETRY
            },
            E::CORRUPT_MESSAGE
            | E::COORDINATOR_LOAD_IN_PROGRESS
            | E::COORDINATOR_NOT_AVAILABLE
            | E::NOT_COORDINATOR
            | E::NOT_ENOUGH_REPLICAS
            | E::NOT_CONTROLLER
            | E::CONCURRENT_TRANSACTIONS
            | E::FETCH_SESSION_ID_NOT_FOUND
            | E::INVALID_FETCH_SESSION_EPOCH
            | E::UNKNOWN_LEADER_EPOCH
            | E::OFFSET_NOT_AVAILABLE
            | E::UNSTABLE_OFFSET_COMMIT
            | E::THROTTLING_QUOTA_EXCEEDED
            | E::FETCH_SESSION_TOPIC_ID_ERROR
            | E::SHARE_SESSION_NOT_FOUND
            | E::INVALID_SHARE_SESSION_EPOCH
            | E::SHARE_SESSION_LIMIT_REACHED => RETRY,
            // The broker refuses the batch.
            E::MESSAGE_TOO_LARGE => Self {
                kind: ErrorKind::RecordTooLarge,
                batch: BatchAnswer::TooLarge,
                ..FAIL
            },
            E::RECORD_LIST_TOO_LARGE => Self {
                kind: ErrorKind::RecordTooLarge,
                ..FAIL
            },
            E::INVALID_TIMESTAMP | E::INVALID_RECORD => INVALID_RECORD,
            E::DUPLICATE_SEQUENCE_NUMBER => Self {
                batch: BatchAnswer::Duplicate,
                ..FAIL
            },
            E::OUT_OF_ORDER_SEQUENCE_NUMBER
            | E::INVALID_PRODUCER_EPOCH
            | E::UNKNOWN_PRODUCER_ID => OUT_OF_SEQUENCE,
            // The broker refuses the topic or the client.
            E::INVALID_TOPIC_EXCEPTION => Self {
                kind: ErrorKind::InvalidTopic,
                topic: TopicAnswer::Refused,
                ..FAIL
            },
            E::TOPIC_AUTHORIZATION_FAILED | E::CLUSTER_AUTHORIZATION_FAILED => Self {
                topic: TopicAnswer::Refused,
                ..AUTHORIZATION
            },
            E::GROUP_AUTHORIZATION_FAILED
            | E::TRANSACTIONAL_ID_AUTHORIZATION_FAILED
            | E::DELEGATION_TOKEN_AUTHORIZATION_FAILED => AUTHORIZATION,
            E::UNSUPPORTED_SASL_MECHANISM
            | E::ILLEGAL_SASL_STATE
            | E::SASL_AUTHENTICATION_FAILED => AUTHENTICATION,
            E::UNSUPPORTED_VERSION => Self {
                kind: ErrorKind::UnsupportedVersion,
                ..FAIL
            },
            // The request itself is wrong, or the code answers a request that a producer does not send.
            E::OFFSET_OUT_OF_RANGE
            | E::INVALID_FETCH_SIZE
            | E::BROKER_NOT_AVAILABLE
            | E::STALE_CONTROLLER_EPOCH
            | E::OFFSET_METADATA_TOO_LARGE
            | E::INVALID_REQUIRED_ACKS
            | E::ILLEGAL_GENERATION
            | E::INCONSISTENT_GROUP_PROTOCOL
            | E::INVALID_GROUP_ID
            | E::UNKNOWN_MEMBER_ID
            | E::INVALID_SESSION_TIMEOUT
            | E::REBALANCE_IN_PROGRESS
            | E::INVALID_COMMIT_OFFSET_SIZE
            | E::TOPIC_ALREADY_EXISTS
            | E::INVALID_PARTITIONS
            | E::INVALID_REPLICATION_FACTOR
            | E::INVALID_REPLICA_ASSIGNMENT
            | E::INVALID_CONFIG
            | E::INVALID_REQUEST
            | E::UNSUPPORTED_FOR_MESSAGE_FORMAT
            | E::POLICY_VIOLATION
            | E::INVALID_TXN_STATE
            | E::INVALID_PRODUCER_ID_MAPPING
            | E::INVALID_TRANSACTION_TIMEOUT
            | E::TRANSACTION_COORDINATOR_FENCED
            | E::SECURITY_DISABLED
            | E::OPERATION_NOT_ATTEMPTED
            | E::LOG_DIR_NOT_FOUND
            | E::REASSIGNMENT_IN_PROGRESS
            | E::DELEGATION_TOKEN_AUTH_DISABLED
            | E::DELEGATION_TOKEN_NOT_FOUND
            | E::DELEGATION_TOKEN_OWNER_MISMATCH
            | E::DELEGATION_TOKEN_REQUEST_NOT_ALLOWED
            | E::DELEGATION_TOKEN_EXPIRED
            | E::INVALID_PRINCIPAL_TYPE
            | E::NON_EMPTY_GROUP
            | E::GROUP_ID_NOT_FOUND
            | E::TOPIC_DELETION_DISABLED
            | E::UNSUPPORTED_COMPRESSION_TYPE
            | E::STALE_BROKER_EPOCH
            | E::MEMBER_ID_REQUIRED
            | E::GROUP_MAX_SIZE_REACHED
            | E::FENCED_INSTANCE_ID
            | E::NO_REASSIGNMENT_IN_PROGRESS
            | E::GROUP_SUBSCRIBED_TO_TOPIC
            | E::PRODUCER_FENCED
            | E::RESOURCE_NOT_FOUND
            | E::DUPLICATE_RESOURCE
            | E::UNACCEPTABLE_CREDENTIAL
            | E::INCONSISTENT_VOTER_SET
            | E::INVALID_UPDATE_VERSION
            | E::FEATURE_UPDATE_FAILED
            | E::PRINCIPAL_DESERIALIZATION_FAILURE
            | E::SNAPSHOT_NOT_FOUND
            | E::POSITION_OUT_OF_RANGE
            | E::DUPLICATE_BROKER_REGISTRATION
            | E::BROKER_ID_NOT_REGISTERED
            | E::INCONSISTENT_CLUSTER_ID
            | E::TRANSACTIONAL_ID_NOT_FOUND
            | E::INELIGIBLE_REPLICA
            | E::NEW_LEADER_ELECTED
            | E::OFFSET_MOVED_TO_TIERED_STORAGE
            | E::FENCED_MEMBER_EPOCH
            | E::UNRELEASED_INSTANCE_ID
            | E::UNSUPPORTED_ASSIGNOR
            | E::STALE_MEMBER_EPOCH
            | E::MISMATCHED_ENDPOINT_TYPE
            | E::UNSUPPORTED_ENDPOINT_TYPE
            | E::UNKNOWN_CONTROLLER_ID
            | E::UNKNOWN_SUBSCRIPTION_ID
            | E::TELEMETRY_TOO_LARGE
            | E::INVALID_REGISTRATION
            | E::TRANSACTION_ABORTABLE
            | E::INVALID_RECORD_STATE
            | E::FENCED_STATE_EPOCH
            | E::INVALID_VOTER_KEY
            | E::DUPLICATE_VOTER
            | E::VOTER_NOT_FOUND
            | E::INVALID_REGULAR_EXPRESSION
            | E::REBOOTSTRAP_REQUIRED
            | E::STREAMS_INVALID_TOPOLOGY
            | E::STREAMS_INVALID_TOPOLOGY_EPOCH
            | E::STREAMS_TOPOLOGY_FENCED => FAIL,
            _ => return None,
        })
    }
}

/// Where the rule says what the error itself does not.
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
        CodeRule::known(self).map_or(Remedy::Fail, |rule| rule.remedy)
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
            assert_eq!(CodeRule::known(code).is_some(), code.is_known(), "{code}");
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
    fn only_these_codes_leave_it_open_whether_a_batch_was_written() {
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
