//! The errors that a broker can answer with: one table of code, name and meaning.

use std::fmt;

/// A broker's error code, as the Kafka protocol numbers them.
///
/// Every number is legal. A code that a later version of Kafka introduced keeps its number, has the name
/// `UNKNOWN_ERROR_CODE` and is not retriable.
///
/// A code alone does not say whether the producer can continue: that depends on the request and on what the producer was
/// doing. [`Error::is_fatal`](crate::Error::is_fatal) returns it.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Default)]
pub struct ErrorCode(i16);

impl ErrorCode {
    /// Returns the number on the wire.
    pub const fn code(self) -> i16 {
        self.0
    }

    /// Returns whether this is [`ErrorCode::NONE`], success.
    pub const fn is_none(self) -> bool {
        self.0 == 0
    }

    /// Returns the name as Kafka spells it, such as `UNKNOWN_TOPIC_OR_PARTITION`.
    pub fn name(self) -> &'static str {
        self.row().map_or("UNKNOWN_ERROR_CODE", |row| row.name)
    }

    /// Returns one sentence that says what the code means.
    pub fn message(self) -> &'static str {
        self.row().map_or(
            "the broker answered with an error code that this client does not know",
            |row| row.message,
        )
    }

    /// Returns whether this client knows what the code means.
    #[cfg(test)]
    pub(crate) fn is_known(self) -> bool {
        self.row().is_some()
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

struct Row {
    code: i16,
    name: &'static str,
    message: &'static str,
}

/// Writes the table, and a constant for each row. The rows are in the order of their codes and leave out no code: `row`
/// finds one by its index.
macro_rules! error_codes {
    ($($code:literal $name:ident $message:literal;)*) => {
        impl ErrorCode {
            $(
                #[doc = concat!("Code ", stringify!($code), ": ", $message, ".")]
                pub const $name: ErrorCode = ErrorCode($code);
            )*
        }

        static TABLE: &[Row] = &[
            $(Row { code: $code, name: stringify!($name), message: $message },)*
        ];
    };
}

const FIRST_CODE: i16 = -1;

error_codes! {
    -1 UNKNOWN_SERVER_ERROR "the broker met an unexpected error";
    0 NONE "success";
    1 OFFSET_OUT_OF_RANGE "the offset asked for lies outside the partition's log";
    2 CORRUPT_MESSAGE "a batch arrived damaged: its checksum, size or contents are wrong";
    3 UNKNOWN_TOPIC_OR_PARTITION "the broker has no such topic or partition";
    4 INVALID_FETCH_SIZE "the fetch size is not valid";
    5 LEADER_NOT_AVAILABLE "the partition has no leader now, an election is in progress";
    6 NOT_LEADER_OR_FOLLOWER "the broker does not lead the partition, or holds no copy of it";
    7 REQUEST_TIMED_OUT "the broker could not finish the request in time";
    8 BROKER_NOT_AVAILABLE "the broker is not available";
    9 REPLICA_NOT_AVAILABLE "the copy of the partition is not available on this broker";
    10 MESSAGE_TOO_LARGE "a batch is larger than the broker or the topic accepts";
    11 STALE_CONTROLLER_EPOCH "the controller has moved to another broker";
    12 OFFSET_METADATA_TOO_LARGE "the metadata string committed beside an offset is too long";
    13 NETWORK_EXCEPTION "the connection ended before an answer came";
    14 COORDINATOR_LOAD_IN_PROGRESS "the coordinator is still loading its state";
    15 COORDINATOR_NOT_AVAILABLE "no coordinator is available now";
    16 NOT_COORDINATOR "the broker is not the coordinator asked for";
    17 INVALID_TOPIC_EXCEPTION "the topic's name is not valid, or the topic does not allow the operation";
    18 RECORD_LIST_TOO_LARGE "the batches are larger than a segment of the partition's log";
    19 NOT_ENOUGH_REPLICAS "fewer replicas are in sync than min.insync.replicas asks for; nothing was written";
    20 NOT_ENOUGH_REPLICAS_AFTER_APPEND "the batch was written, but to fewer replicas than min.insync.replicas asks for";
    21 INVALID_REQUIRED_ACKS "acks is neither 0, 1 nor -1";
    22 ILLEGAL_GENERATION "the group's generation id is not the current one";
    23 INCONSISTENT_GROUP_PROTOCOL "the member's protocols do not fit those of the group";
    24 INVALID_GROUP_ID "the group id is not valid";
    25 UNKNOWN_MEMBER_ID "the coordinator does not know the group's member";
    26 INVALID_SESSION_TIMEOUT "the session timeout lies outside the range that the broker allows";
    27 REBALANCE_IN_PROGRESS "the group is rebalancing";
    28 INVALID_COMMIT_OFFSET_SIZE "the committed offset's data are too large";
    29 TOPIC_AUTHORIZATION_FAILED "the principal may not use the topic in this way";
    30 GROUP_AUTHORIZATION_FAILED "the principal may not use the group in this way";
    31 CLUSTER_AUTHORIZATION_FAILED "the principal may not do this on the cluster";
    32 INVALID_TIMESTAMP "a record's timestamp lies outside the range that the topic accepts";
    33 UNSUPPORTED_SASL_MECHANISM "the broker does not offer the SASL mechanism";
    34 ILLEGAL_SASL_STATE "the request does not fit the state of the SASL exchange";
    35 UNSUPPORTED_VERSION "the broker does not speak this version of the request";
    36 TOPIC_ALREADY_EXISTS "a topic of this name exists";
    37 INVALID_PARTITIONS "the number of partitions is not valid";
    38 INVALID_REPLICATION_FACTOR "the replication factor is below one or above the number of brokers";
    39 INVALID_REPLICA_ASSIGNMENT "the assignment of replicas is not valid";
    40 INVALID_CONFIG "a configuration is not valid";
    41 NOT_CONTROLLER "the broker is not the cluster's controller";
    42 INVALID_REQUEST "the broker could not understand the request";
    43 UNSUPPORTED_FOR_MESSAGE_FORMAT "the topic's message format on the broker does not allow the request";
    44 POLICY_VIOLATION "the request breaks a policy configured on the broker";
    45 OUT_OF_ORDER_SEQUENCE_NUMBER "the batch's sequence number does not follow the last one the broker has";
    46 DUPLICATE_SEQUENCE_NUMBER "the broker has written a batch of this sequence number before";
    47 INVALID_PRODUCER_EPOCH "the producer's epoch is older than the one the broker has";
    48 INVALID_TXN_STATE "the operation does not fit the transaction's state";
    49 INVALID_PRODUCER_ID_MAPPING "the producer id does not belong to the transactional id";
    50 INVALID_TRANSACTION_TIMEOUT "the transaction timeout is above the broker's transaction.max.timeout.ms";
    51 CONCURRENT_TRANSACTIONS "another operation on the same transaction is in progress";
    52 TRANSACTION_COORDINATOR_FENCED "the transaction's coordinator has been replaced";
    53 TRANSACTIONAL_ID_AUTHORIZATION_FAILED "the principal may not use the transactional id";
    54 SECURITY_DISABLED "the broker has its security features switched off";
    55 OPERATION_NOT_ATTEMPTED "the broker did not try this part because another part of the request failed";
    56 KAFKA_STORAGE_ERROR "the broker's disk failed";
    57 LOG_DIR_NOT_FOUND "the broker has no such log directory";
    58 SASL_AUTHENTICATION_FAILED "the broker refused the credentials";
    59 UNKNOWN_PRODUCER_ID "the broker has no record of the producer id";
    60 REASSIGNMENT_IN_PROGRESS "partitions are being reassigned";
    61 DELEGATION_TOKEN_AUTH_DISABLED "delegation tokens are not enabled";
    62 DELEGATION_TOKEN_NOT_FOUND "the broker knows no such delegation token";
    63 DELEGATION_TOKEN_OWNER_MISMATCH "the principal neither owns nor may renew the delegation token";
    64 DELEGATION_TOKEN_REQUEST_NOT_ALLOWED "delegation tokens cannot be asked for over this channel";
    65 DELEGATION_TOKEN_AUTHORIZATION_FAILED "the principal may not use the delegation token in this way";
    66 DELEGATION_TOKEN_EXPIRED "the delegation token has expired";
    67 INVALID_PRINCIPAL_TYPE "the broker does not support this type of principal";
    68 NON_EMPTY_GROUP "the group still has members";
    69 GROUP_ID_NOT_FOUND "the coordinator knows no such group";
    70 FETCH_SESSION_ID_NOT_FOUND "the broker knows no such fetch session";
    71 INVALID_FETCH_SESSION_EPOCH "the fetch session's epoch is not the expected one";
    72 LISTENER_NOT_FOUND "the leader has no listener of the name that the request came in on";
    73 TOPIC_DELETION_DISABLED "the broker does not delete topics";
    74 FENCED_LEADER_EPOCH "the leader epoch in the request is older than the broker's";
    75 UNKNOWN_LEADER_EPOCH "the leader epoch in the request is newer than the broker's";
    76 UNSUPPORTED_COMPRESSION_TYPE "the compression type is not allowed here";
    77 STALE_BROKER_EPOCH "the broker has registered again since";
    78 OFFSET_NOT_AVAILABLE "a new leader does not know its high watermark yet";
    79 MEMBER_ID_REQUIRED "the member has to rejoin with the member id it was given";
    80 PREFERRED_LEADER_NOT_AVAILABLE "the partition's preferred leader is not available";
    81 GROUP_MAX_SIZE_REACHED "the group takes no more members";
    82 FENCED_INSTANCE_ID "another member has registered under the same group.instance.id";
    83 ELIGIBLE_LEADERS_NOT_AVAILABLE "no replica that could lead the partition is available";
    84 ELECTION_NOT_NEEDED "the partition needs no election";
    85 NO_REASSIGNMENT_IN_PROGRESS "no reassignment of the partition is in progress";
    86 GROUP_SUBSCRIBED_TO_TOPIC "the group is subscribed to the topic, so that its offsets cannot be deleted";
    87 INVALID_RECORD "the broker refused a record's contents";
    88 UNSTABLE_OFFSET_COMMIT "a transaction has not decided on the offsets yet";
    89 THROTTLING_QUOTA_EXCEEDED "the quota for this operation is used up";
    90 PRODUCER_FENCED "a newer producer has taken over the transactional id";
    91 RESOURCE_NOT_FOUND "the request names a resource that does not exist";
    92 DUPLICATE_RESOURCE "the request names a resource twice";
    93 UNACCEPTABLE_CREDENTIAL "the credentials asked for are not acceptable";
    94 INCONSISTENT_VOTER_SET "sender or receiver is not among the expected voters";
    95 INVALID_UPDATE_VERSION "the version to update to is not valid";
    96 FEATURE_UPDATE_FAILED "the finalized features could not be updated";
    97 PRINCIPAL_DESERIALIZATION_FAILURE "the principal of a forwarded request could not be read";
    98 SNAPSHOT_NOT_FOUND "there is no such snapshot";
    99 POSITION_OUT_OF_RANGE "the position lies outside the snapshot";
    100 UNKNOWN_TOPIC_ID "the broker has no topic of this id";
    101 DUPLICATE_BROKER_REGISTRATION "the broker id is in use";
    102 BROKER_ID_NOT_REGISTERED "no broker of this id is registered";
    103 INCONSISTENT_TOPIC_ID "the topic id in the request is not that of the partition's log";
    104 INCONSISTENT_CLUSTER_ID "the cluster id in the request is not that of the broker";
    105 TRANSACTIONAL_ID_NOT_FOUND "the coordinator knows no such transactional id";
    106 FETCH_SESSION_TOPIC_ID_ERROR "the fetch session mixes topics with and without ids";
    107 INELIGIBLE_REPLICA "a replica of the new in-sync set may not be in it";
    108 NEW_LEADER_ELECTED "the partition was altered, and its leader has changed";
    109 OFFSET_MOVED_TO_TIERED_STORAGE "the offset has moved to tiered storage";
    110 FENCED_MEMBER_EPOCH "the coordinator has fenced the member's epoch";
    111 UNRELEASED_INSTANCE_ID "the instance id is still held by another member";
    112 UNSUPPORTED_ASSIGNOR "the group does not support the assignor";
    113 STALE_MEMBER_EPOCH "the member's epoch is out of date";
    114 MISMATCHED_ENDPOINT_TYPE "the request went to an endpoint of the wrong type";
    115 UNSUPPORTED_ENDPOINT_TYPE "the type of endpoint is not supported";
    116 UNKNOWN_CONTROLLER_ID "no controller of this id is known";
    117 UNKNOWN_SUBSCRIPTION_ID "the telemetry subscription's id is not valid or out of date";
    118 TELEMETRY_TOO_LARGE "the telemetry is larger than the broker accepts";
    119 INVALID_REGISTRATION "the controller refuses the broker's registration";
    120 TRANSACTION_ABORTABLE "the transaction met an error and has to be aborted";
    121 INVALID_RECORD_STATE "the record's state does not allow the acknowledgement";
    122 SHARE_SESSION_NOT_FOUND "the broker knows no such share session";
    123 INVALID_SHARE_SESSION_EPOCH "the share session's epoch is not the expected one";
    124 FENCED_STATE_EPOCH "the share group's state epoch is not the coordinator's";
    125 INVALID_VOTER_KEY "the voter's key is not that of the receiving replica";
    126 DUPLICATE_VOTER "the voter is in the set of voters already";
    127 VOTER_NOT_FOUND "the voter is not in the set of voters";
    128 INVALID_REGULAR_EXPRESSION "the regular expression is not valid";
    129 REBOOTSTRAP_REQUIRED "the client has to start again from its bootstrap servers";
    130 STREAMS_INVALID_TOPOLOGY "the streams topology is not valid";
    131 STREAMS_INVALID_TOPOLOGY_EPOCH "the streams topology's epoch is not valid";
    132 STREAMS_TOPOLOGY_FENCED "the streams topology's epoch is out of date";
    133 SHARE_SESSION_LIMIT_REACHED "the broker takes no more share sessions";
}

#[cfg(test)]
mod tests {
    use super::*;
    use kafka_protocol::ResponseError;

    #[test]
    fn each_row_is_at_the_index_of_its_code() {
        for (code, row) in (FIRST_CODE..).zip(TABLE) {
            assert_eq!(row.code, code, "{}", row.name);
        }
    }

    #[test]
    fn names_are_those_of_the_kafka_protocol_crate() {
        for row in TABLE.iter().filter(|row| row.code != 0) {
            let theirs = ResponseError::try_from_code(row.code).unwrap();
            assert!(!matches!(theirs, ResponseError::Unknown(_)), "{}", row.name);
            assert_eq!(camel_case(row.name), theirs.to_string());
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
        }
        assert_eq!(ErrorCode::from(134).to_string(), "UNKNOWN_ERROR_CODE (134)");
    }

    fn camel_case(name: &str) -> String {
        let word = |word: &str| format!("{}{}", &word[..1], word[1..].to_lowercase());
        name.split('_').map(word).collect()
    }
}
