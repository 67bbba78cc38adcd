//! The errors a broker can answer with: one table of code, name, meaning and what a producer does about it.

use std::fmt;

/// A broker's error code, as the Kafka protocol numbers them.
///
/// Every number is legal: a code that a newer broker invented keeps its number, has the name
/// `UNKNOWN_ERROR_CODE` and is not retriable.
///
/// A code does not say whether the producer can go on: that depends on the request that it answers and on what the
/// producer was doing, and [`Error::is_fatal`](crate::Error::is_fatal) tells it.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Default)]
pub struct ErrorCode(i16);

impl ErrorCode {
    /// The number on the wire.
    pub const fn code(self) -> i16 {
        self.0
    }

    /// Whether this is [`ErrorCode::NONE`], success.
    pub const fn is_none(self) -> bool {
        self.0 == 0
    }

    /// The name as Kafka spells it, such as `UNKNOWN_TOPIC_OR_PARTITION`.
    pub fn name(self) -> &'static str {
        self.row().map_or("UNKNOWN_ERROR_CODE", |row| row.name)
    }

    /// One sentence on what the code means.
    pub fn message(self) -> &'static str {
        self.row().map_or(
            "the broker answered with an error code that this client does not know",
            |row| row.message,
        )
    }

    /// Whether the same request may succeed when it is sent again, as in Java's `RetriableException`.
    pub fn is_retriable(self) -> bool {
        matches!(self.remedy(), Remedy::Retry | Remedy::Refresh)
    }

    /// Whether the client's picture of the cluster is out of date and is to be fetched anew before a retry, as in Java's
    /// `InvalidMetadataException`. Implies [`is_retriable`](Self::is_retriable).
    pub fn is_metadata_stale(self) -> bool {
        matches!(self.remedy(), Remedy::Refresh)
    }

    /// Whether this client knows what the code means.
    pub(crate) fn is_known(self) -> bool {
        self.row().is_some()
    }

    fn remedy(self) -> Remedy {
        self.row().map_or(Remedy::Fail, |row| row.remedy)
    }

    fn row(self) -> Option<&'static Row> {
        let index = usize::try_from(i32::from(self.0) - i32::from(FIRST_CODE)).ok()?;
        TABLE.get(index).filter(|row| row.code == self.0)
    }
}

impl From<i16> for ErrorCode {
    fn from(code: i16) -> Self {
        Self(code)
    }
}

impl From<ErrorCode> for i16 {
    fn from(error: ErrorCode) -> Self {
        error.0
    }
}

/// The name and the number, such as `MESSAGE_TOO_LARGE (10)`.
impl fmt::Display for ErrorCode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} ({})", self.name(), self.0)
    }
}

impl fmt::Debug for ErrorCode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// What a producer does when a request, or its part for one partition, fails with a code.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Remedy {
    /// Give the failure to the caller. Some codes have rules of their own beyond the table: batches are split on
    /// `MESSAGE_TOO_LARGE`, sequences are judged on `OUT_OF_ORDER_SEQUENCE_NUMBER`.
    Fail,
    /// Send again after a backoff.
    Retry,
    /// Fetch metadata, then send again.
    Refresh,
}

struct Row {
    code: i16,
    name: &'static str,
    message: &'static str,
    remedy: Remedy,
}

/// Writes the table and a constant for each row. Rows are in the order of their codes without a gap: `row` indexes.
macro_rules! error_codes {
    ($($code:literal $name:ident $remedy:ident $message:literal;)*) => {
        impl ErrorCode {
            $(
                #[doc = concat!("Code ", stringify!($code), ": ", $message, ".")]
                pub const $name: ErrorCode = ErrorCode($code);
            )*
        }

        static TABLE: &[Row] = &[
            $(Row { code: $code, name: stringify!($name), message: $message, remedy: Remedy::$remedy },)*
        ];
    };
}

const FIRST_CODE: i16 = -1;

error_codes! {
    -1 UNKNOWN_SERVER_ERROR Fail "the broker met an error that it did not expect";
    0 NONE Fail "success";
    1 OFFSET_OUT_OF_RANGE Fail "the offset asked for lies outside the partition's log";
    2 CORRUPT_MESSAGE Retry "a batch arrived damaged: its checksum, size or contents are wrong";
    3 UNKNOWN_TOPIC_OR_PARTITION Refresh "the broker has no such topic or partition";
    4 INVALID_FETCH_SIZE Fail "the fetch size is not valid";
    5 LEADER_NOT_AVAILABLE Refresh "the partition has no leader now, an election is under way";
    6 NOT_LEADER_OR_FOLLOWER Refresh "the broker does not lead the partition, or holds no copy of it";
    7 REQUEST_TIMED_OUT Retry "the broker could not finish the request in time";
    8 BROKER_NOT_AVAILABLE Fail "the broker is not available";
    9 REPLICA_NOT_AVAILABLE Refresh "the copy of the partition is not available on this broker";
    10 MESSAGE_TOO_LARGE Fail "a batch is larger than the broker or the topic accepts";
    11 STALE_CONTROLLER_EPOCH Fail "the controller has moved to another broker";
    12 OFFSET_METADATA_TOO_LARGE Fail "the metadata string committed beside an offset is too long";
    13 NETWORK_EXCEPTION Refresh "the connection ended before an answer came";
    14 COORDINATOR_LOAD_IN_PROGRESS Retry "the coordinator is still loading its state";
    15 COORDINATOR_NOT_AVAILABLE Retry "no coordinator is available now";
    16 NOT_COORDINATOR Retry "the broker is not the coordinator asked for";
    17 INVALID_TOPIC_EXCEPTION Fail "the topic's name is not valid, or the topic does not allow the operation";
    18 RECORD_LIST_TOO_LARGE Fail "the batches are larger than a segment of the partition's log";
    19 NOT_ENOUGH_REPLICAS Retry "fewer replicas are in sync than min.insync.replicas asks for; nothing was written";
    20 NOT_ENOUGH_REPLICAS_AFTER_APPEND Retry "the batch was written, but to fewer replicas than min.insync.replicas asks for";
    21 INVALID_REQUIRED_ACKS Fail "acks is none of 0, 1 and -1";
    22 ILLEGAL_GENERATION Fail "the group's generation id is not the current one";
    23 INCONSISTENT_GROUP_PROTOCOL Fail "the member's protocols do not fit those of the group";
    24 INVALID_GROUP_ID Fail "the group id is not valid";
    25 UNKNOWN_MEMBER_ID Fail "the coordinator does not know the group's member";
    26 INVALID_SESSION_TIMEOUT Fail "the session timeout lies outside the range that the broker allows";
    27 REBALANCE_IN_PROGRESS Fail "the group is rebalancing";
    28 INVALID_COMMIT_OFFSET_SIZE Fail "the committed offset's data are too large";
    29 TOPIC_AUTHORIZATION_FAILED Fail "the principal may not use the topic in this way";
    30 GROUP_AUTHORIZATION_FAILED Fail "the principal may not use the group in this way";
    31 CLUSTER_AUTHORIZATION_FAILED Fail "the principal may not do this on the cluster";
    32 INVALID_TIMESTAMP Fail "a record's timestamp lies outside the range that the topic accepts";
    33 UNSUPPORTED_SASL_MECHANISM Fail "the broker does not offer the SASL mechanism";
    34 ILLEGAL_SASL_STATE Fail "the request does not fit the state of the SASL exchange";
    35 UNSUPPORTED_VERSION Fail "the broker does not speak this version of the request";
    36 TOPIC_ALREADY_EXISTS Fail "a topic of this name exists";
    37 INVALID_PARTITIONS Fail "the number of partitions is not valid";
    38 INVALID_REPLICATION_FACTOR Fail "the replication factor is below one or above the number of brokers";
    39 INVALID_REPLICA_ASSIGNMENT Fail "the assignment of replicas is not valid";
    40 INVALID_CONFIG Fail "a configuration is not valid";
    41 NOT_CONTROLLER Retry "the broker is not the cluster's controller";
    42 INVALID_REQUEST Fail "the broker could not make sense of the request";
    43 UNSUPPORTED_FOR_MESSAGE_FORMAT Fail "the topic's message format on the broker does not allow the request";
    44 POLICY_VIOLATION Fail "the request breaks a policy configured on the broker";
    45 OUT_OF_ORDER_SEQUENCE_NUMBER Fail "the batch's sequence number does not follow the last one the broker has";
    46 DUPLICATE_SEQUENCE_NUMBER Fail "the broker has written a batch of this sequence number before";
    47 INVALID_PRODUCER_EPOCH Fail "the producer's epoch is older than the one the broker has";
    48 INVALID_TXN_STATE Fail "the operation does not fit the transaction's state";
    49 INVALID_PRODUCER_ID_MAPPING Fail "the producer id does not belong to the transactional id";
    50 INVALID_TRANSACTION_TIMEOUT Fail "the transaction timeout is above the broker's transaction.max.timeout.ms";
    51 CONCURRENT_TRANSACTIONS Retry "another operation on the same transaction is under way";
    52 TRANSACTION_COORDINATOR_FENCED Fail "the transaction's coordinator has been replaced";
    53 TRANSACTIONAL_ID_AUTHORIZATION_FAILED Fail "the principal may not use the transactional id";
    54 SECURITY_DISABLED Fail "the broker has its security features switched off";
    55 OPERATION_NOT_ATTEMPTED Fail "the broker did not try this part because another part of the request failed";
    56 KAFKA_STORAGE_ERROR Refresh "the broker's disk failed";
    57 LOG_DIR_NOT_FOUND Fail "the broker has no such log directory";
    58 SASL_AUTHENTICATION_FAILED Fail "the broker refused the credentials";
    59 UNKNOWN_PRODUCER_ID Fail "the broker remembers nothing of the producer id";
    60 REASSIGNMENT_IN_PROGRESS Fail "partitions are being reassigned";
    61 DELEGATION_TOKEN_AUTH_DISABLED Fail "delegation tokens are not enabled";
    62 DELEGATION_TOKEN_NOT_FOUND Fail "the broker knows no such delegation token";
    63 DELEGATION_TOKEN_OWNER_MISMATCH Fail "the principal neither owns nor may renew the delegation token";
    64 DELEGATION_TOKEN_REQUEST_NOT_ALLOWED Fail "delegation tokens cannot be asked for over this channel";
    65 DELEGATION_TOKEN_AUTHORIZATION_FAILED Fail "the principal may not use the delegation token in this way";
    66 DELEGATION_TOKEN_EXPIRED Fail "the delegation token has expired";
    67 INVALID_PRINCIPAL_TYPE Fail "the broker does not support this type of principal";
    68 NON_EMPTY_GROUP Fail "the group still has members";
    69 GROUP_ID_NOT_FOUND Fail "the coordinator knows no such group";
    70 FETCH_SESSION_ID_NOT_FOUND Retry "the broker knows no such fetch session";
    71 INVALID_FETCH_SESSION_EPOCH Retry "the fetch session's epoch is not the expected one";
    72 LISTENER_NOT_FOUND Refresh "the leader has no listener of the name that the request came in on";
    73 TOPIC_DELETION_DISABLED Fail "the broker does not delete topics";
    74 FENCED_LEADER_EPOCH Refresh "the leader epoch in the request is older than the broker's";
    75 UNKNOWN_LEADER_EPOCH Retry "the leader epoch in the request is newer than the broker's";
    76 UNSUPPORTED_COMPRESSION_TYPE Fail "the compression type is not allowed here";
    77 STALE_BROKER_EPOCH Fail "the broker has registered anew since";
    78 OFFSET_NOT_AVAILABLE Retry "a new leader does not know its high watermark yet";
    79 MEMBER_ID_REQUIRED Fail "the member has to rejoin with the member id it was given";
    80 PREFERRED_LEADER_NOT_AVAILABLE Refresh "the partition's preferred leader is not available";
    81 GROUP_MAX_SIZE_REACHED Fail "the group takes no more members";
    82 FENCED_INSTANCE_ID Fail "another member has registered under the same group.instance.id";
    83 ELIGIBLE_LEADERS_NOT_AVAILABLE Refresh "no replica that could lead the partition is available";
    84 ELECTION_NOT_NEEDED Refresh "the partition needs no election";
    85 NO_REASSIGNMENT_IN_PROGRESS Fail "no reassignment of the partition is under way";
    86 GROUP_SUBSCRIBED_TO_TOPIC Fail "the group is subscribed to the topic, so that its offsets cannot be deleted";
    87 INVALID_RECORD Fail "the broker refused a record's contents";
    88 UNSTABLE_OFFSET_COMMIT Retry "a transaction has not decided on the offsets yet";
    89 THROTTLING_QUOTA_EXCEEDED Retry "the quota for this operation is used up";
    90 PRODUCER_FENCED Fail "a newer producer has taken over the transactional id";
    91 RESOURCE_NOT_FOUND Fail "the request names a resource that does not exist";
    92 DUPLICATE_RESOURCE Fail "the request names a resource twice";
    93 UNACCEPTABLE_CREDENTIAL Fail "the credentials asked for are not acceptable";
    94 INCONSISTENT_VOTER_SET Fail "sender or receiver is not among the expected voters";
    95 INVALID_UPDATE_VERSION Fail "the version to update to is not valid";
    96 FEATURE_UPDATE_FAILED Fail "the finalized features could not be updated";
    97 PRINCIPAL_DESERIALIZATION_FAILURE Fail "the principal of a forwarded request could not be read";
    98 SNAPSHOT_NOT_FOUND Fail "there is no such snapshot";
    99 POSITION_OUT_OF_RANGE Fail "the position lies outside the snapshot";
    100 UNKNOWN_TOPIC_ID Refresh "the broker has no topic of this id";
    101 DUPLICATE_BROKER_REGISTRATION Fail "the broker id is in use";
    102 BROKER_ID_NOT_REGISTERED Fail "no broker of this id is registered";
    103 INCONSISTENT_TOPIC_ID Refresh "the topic id in the request is not that of the partition's log";
    104 INCONSISTENT_CLUSTER_ID Fail "the cluster id in the request is not that of the broker";
    105 TRANSACTIONAL_ID_NOT_FOUND Fail "the coordinator knows no such transactional id";
    106 FETCH_SESSION_TOPIC_ID_ERROR Retry "the fetch session mixes topics with and without ids";
    107 INELIGIBLE_REPLICA Fail "a replica of the new in-sync set may not be in it";
    108 NEW_LEADER_ELECTED Fail "the partition was altered, and its leader has changed";
    109 OFFSET_MOVED_TO_TIERED_STORAGE Fail "the offset has moved to tiered storage";
    110 FENCED_MEMBER_EPOCH Fail "the coordinator has fenced the member's epoch";
    111 UNRELEASED_INSTANCE_ID Fail "the instance id is still held by another member";
    112 UNSUPPORTED_ASSIGNOR Fail "the group does not support the assignor";
    113 STALE_MEMBER_EPOCH Fail "the member's epoch is out of date";
    114 MISMATCHED_ENDPOINT_TYPE Fail "the request went to an endpoint of the wrong type";
    115 UNSUPPORTED_ENDPOINT_TYPE Fail "the type of endpoint is not supported";
    116 UNKNOWN_CONTROLLER_ID Fail "no controller of this id is known";
    117 UNKNOWN_SUBSCRIPTION_ID Fail "the telemetry subscription's id is not valid or out of date";
    118 TELEMETRY_TOO_LARGE Fail "the telemetry is larger than the broker accepts";
    119 INVALID_REGISTRATION Fail "the controller refuses the broker's registration";
    120 TRANSACTION_ABORTABLE Fail "the transaction met an error and has to be aborted";
    121 INVALID_RECORD_STATE Fail "the record's state does not allow the acknowledgement";
    122 SHARE_SESSION_NOT_FOUND Retry "the broker knows no such share session";
    123 INVALID_SHARE_SESSION_EPOCH Retry "the share session's epoch is not the expected one";
    124 FENCED_STATE_EPOCH Fail "the share group's state epoch is not the coordinator's";
    125 INVALID_VOTER_KEY Fail "the voter's key is not that of the receiving replica";
    126 DUPLICATE_VOTER Fail "the voter is in the set of voters already";
    127 VOTER_NOT_FOUND Fail "the voter is not in the set of voters";
    128 INVALID_REGULAR_EXPRESSION Fail "the regular expression is not valid";
    129 REBOOTSTRAP_REQUIRED Fail "the client is to begin again from its bootstrap servers";
    130 STREAMS_INVALID_TOPOLOGY Fail "the streams topology is not valid";
    131 STREAMS_INVALID_TOPOLOGY_EPOCH Fail "the streams topology's epoch is not valid";
    132 STREAMS_TOPOLOGY_FENCED Fail "the streams topology's epoch is out of date";
    133 SHARE_SESSION_LIMIT_REACHED Retry "the broker takes no more share sessions";
}

#[cfg(test)]
mod tests {
    use super::*;
    use kafka_protocol::ResponseError;

    #[test]
    fn rows_stand_where_their_code_is_looked_up() {
        for (code, row) in (FIRST_CODE..).zip(TABLE) {
            assert_eq!(row.code, code, "{}", row.name);
        }
    }

    #[test]
    fn names_and_retries_agree_with_the_kafka_protocol_crate() {
        for row in TABLE.iter().filter(|row| row.code != 0) {
            let theirs = ResponseError::try_from_code(row.code).unwrap();
            assert!(!matches!(theirs, ResponseError::Unknown(_)), "{}", row.name);
            assert_eq!(camel_case(row.name), theirs.to_string());
            // Java's ConcurrentTransactionsException has become retriable since the crate's table was made.
            if row.code != 51 {
                assert_eq!(
                    ErrorCode(row.code).is_retriable(),
                    theirs.is_retriable(),
                    "{}",
                    row.name
                );
            }
        }
        let first_unknown = FIRST_CODE + i16::try_from(TABLE.len()).unwrap();
        assert!(matches!(
            ResponseError::try_from_code(first_unknown),
            Some(ResponseError::Unknown(_))
        ));
    }

    #[test]
    fn every_number_is_an_error_code() {
        for code in i16::MIN..=i16::MAX {
            let error = ErrorCode::from(code);
            assert_eq!(i16::from(error), code);
            assert!(!error.name().is_empty() && !error.message().is_empty());
            assert!(!error.is_metadata_stale() || error.is_retriable());
        }
        assert_eq!(ErrorCode::from(134).to_string(), "UNKNOWN_ERROR_CODE (134)");
        assert!(!ErrorCode::from(i16::MIN).is_retriable());
    }

    #[test]
    fn remedies_are_those_of_the_java_producer() {
        for retry in [2, 7, 19, 20, 75, 89, 14, 15, 16, 51] {
            let error = ErrorCode::from(retry);
            assert!(
                error.is_retriable() && !error.is_metadata_stale(),
                "{error}"
            );
        }
        for refresh in [3, 5, 6, 9, 13, 56, 72, 74, 100, 103] {
            assert!(ErrorCode::from(refresh).is_metadata_stale(), "{refresh}");
        }
        for fail in [
            -1, 10, 17, 18, 21, 29, 31, 32, 35, 42, 44, 45, 46, 47, 49, 53, 59, 76, 87, 90, 105,
            120,
        ] {
            let error = ErrorCode::from(fail);
            assert!(!error.is_retriable(), "{error}");
        }
    }

    fn camel_case(name: &str) -> String {
        let word = |word: &str| format!("{}{}", &word[..1], word[1..].to_lowercase());
        name.split('_').map(word).collect()
    }
}
