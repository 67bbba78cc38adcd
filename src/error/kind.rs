//! The kinds of error, their numbers, and the usual properties of each kind.

/// Writes the enum, its numbers and [`ErrorKind::from_code`] from one list.
macro_rules! error_kinds {
    ($($(#[doc = $doc:literal])+ $kind:ident = $code:literal;)+) => {
        /// The kinds of [`Error`](crate::Error). Later versions may add kinds.
        ///
        /// Each kind has a number, [`code`](Self::code), which stays the same in all versions: programs can store it or
        /// pass it to other languages. The number of a kind that is removed is not used again.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        #[non_exhaustive]
        #[repr(i32)]
        pub enum ErrorKind {
            $(
                $(#[doc = $doc])+
                #[doc = concat!("\n\nNumber ", stringify!($code), ".")]
                $kind = $code,
            )+
        }

        impl ErrorKind {
            /// Returns the kind with this number; `None` if this version has no such kind.
            pub const fn from_code(code: i32) -> Option<Self> {
                match code {
                    $($code => Some(Self::$kind),)+
                    _ => None,
                }
            }

            #[cfg(test)]
            const ALL: &[Self] = &[$(Self::$kind,)+];
        }
    };
}

// 0 means no error. 22 to 26 are reserved for kinds that later versions need: purged record, failed transaction, fenced
// producer, forked process, busy producer. Any other new kind takes the number after the largest one here.
error_kinds! {
    /// A setting is unknown, of the wrong type, out of range, not supported or in conflict with another setting.
    Config = 1;
    /// An argument or a field of the record is not legal, such as a negative partition.
    InvalidArgument = 2;
    /// The record is larger than `max.request.size`, `buffer.memory` or the broker's own limit.
    RecordTooLarge = 3;
    /// The broker refused the record's contents, such as a timestamp too far in the future.
    InvalidRecord = 4;
    /// `buffer.memory` stayed full for `max.block.ms`, or was full and the call may not block.
    BufferExhausted = 5;
    /// The topic's metadata did not arrive within `max.block.ms`, or was not known yet and the call may not block.
    MetadataTimeout = 6;
    /// The record names a partition that the topic did not have within `max.block.ms`.
    UnknownPartition = 7;
    /// The topic's name is not legal, or the topic is one of Kafka's internal topics.
    InvalidTopic = 8;
    /// The broker refused this client's credentials.
    Authentication = 9;
    /// The broker knows this client, but does not permit what the client asked for.
    Authorization = 10;
    /// The record was not acknowledged within `delivery.timeout.ms`. Slow compression can extend this time to at most
    /// twice the value.
    DeliveryTimeout = 11;
    /// A broker answered with an error that no other kind describes: see [`Error::broker_code`](crate::Error::broker_code).
    Broker = 12;
    /// A connection could not be made, broke, or gave no answer in time, and no retry was left.
    Network = 13;
    /// The broker and this client have no version of a request in common.
    UnsupportedVersion = 14;
    /// A peer sent bytes that do not follow Kafka's protocol.
    Protocol = 15;
    /// Compressing a batch failed.
    Compression = 16;
    /// The producer is closed.
    Closed = 17;
    /// The producer was closed before the record was delivered.
    ForceClosed = 18;
    /// A `get`, `flush`, `close` or `build` reached its timeout. What it waited for continues.
    Timeout = 19;
    /// The operating system refused a thread or another resource.
    Resource = 20;
    /// A thread of the producer ended unexpectedly: a bug in this library.
    Internal = 21;
    /// A serializer failed.
    Serialization = 27;
    /// A partitioner failed or chose a partition that does not exist.
    Partitioner = 28;
    /// TLS failed: one side refuses the other's certificate, or both have no version or cipher suite in common, or only
    /// one side speaks TLS.
    Tls = 29;
}

/// Whether the record that an [`Error`](crate::Error) is about was written to the topic's log.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Delivery {
    /// Certainly not: sending the record again cannot duplicate it.
    NotWritten,
    /// The record was sent, and no answer says whether the leader wrote it.
    MaybeWritten,
    /// The leader wrote the record, but fewer replicas than `min.insync.replicas` had it: the broker's last answer was
    /// `NOT_ENOUGH_REPLICAS_AFTER_APPEND`, and no retry or no time was left. Consumers read the record as soon as enough
    /// replicas have it. The record is lost if another replica, which does not have it, becomes the leader first. Sending
    /// it again writes it twice unless it was lost.
    Written,
}

/// The usual properties of a kind. An error of the kind can override each of them except `producer`.
pub(super) struct Usual {
    pub(super) delivery: Delivery,
    pub(super) again: Again,
    pub(super) producer: Producer,
    pub(super) subject: Subject,
    pub(super) advice: &'static str,
}

/// Whether the same call may succeed later.
#[derive(PartialEq)]
pub(super) enum Again {
    Never,
    Later,
}

/// Whether the producer can send anything after the error.
#[derive(PartialEq)]
pub(super) enum Producer {
    Usable,
    Ended,
}

/// Whether the error is about a record. The message then states the delivery even if the error names no topic.
#[derive(Clone, Copy, PartialEq)]
pub(super) enum Subject {
    Record,
    Other,
}

impl ErrorKind {
    /// Returns the stable number of the kind, as listed above: never 0, and never used for another kind.
    pub const fn code(self) -> i32 {
        self as i32
    }

    /// The table of the usual properties of each kind.
    pub(super) fn usual(self) -> Usual {
        use Again::{Later, Never};
        use Delivery::{MaybeWritten, NotWritten};
        use Producer::{Ended, Usable};
        use Subject::{Other, Record};
        let (delivery, again, producer, subject, advice) = match self {
            Self::Config | Self::UnsupportedVersion => (NotWritten, Never, Usable, Other, ""),
            Self::InvalidArgument
            | Self::Serialization
            | Self::Partitioner
            | Self::RecordTooLarge
            | Self::InvalidRecord
            | Self::InvalidTopic
            | Self::Broker
            | Self::Compression => (NotWritten, Never, Usable, Record, ""),
            Self::BufferExhausted => {
                let advice = "send more slowly, or raise buffer.memory or max.block.ms";
                (NotWritten, Later, Usable, Record, advice)
            }
            Self::MetadataTimeout => {
                let advice =
                    "check bootstrap.servers and that the topic exists, or raise max.block.ms";
                (NotWritten, Later, Usable, Record, advice)
            }
            Self::UnknownPartition => {
                let advice = "check the topic's number of partitions";
                (NotWritten, Later, Usable, Record, advice)
            }
            Self::Authentication => (NotWritten, Never, Usable, Other, "check the credentials"),
            Self::Tls => (NotWritten, Never, Usable, Other, "check the settings ssl.*"),
            Self::Authorization => {
                let advice = "ask for the permission on the broker";
                (NotWritten, Never, Usable, Record, advice)
            }
            Self::DeliveryTimeout => {
                let advice = "check the brokers, or raise delivery.timeout.ms";
                (MaybeWritten, Later, Usable, Record, advice)
            }
            Self::Network => {
                let advice = "check the brokers and the network";
                (MaybeWritten, Later, Usable, Other, advice)
            }
            Self::Protocol => (MaybeWritten, Never, Usable, Other, ""),
            Self::Timeout => {
                let advice = "wait longer: the work goes on";
                (MaybeWritten, Later, Usable, Other, advice)
            }
            Self::Resource => (NotWritten, Later, Usable, Other, ""),
            Self::Closed => (NotWritten, Never, Ended, Record, "use a new producer"),
            Self::ForceClosed => (MaybeWritten, Never, Ended, Record, "use a new producer"),
            Self::Internal => (MaybeWritten, Never, Ended, Record, "please report it"),
        };
        Usual {
            delivery,
            again,
            producer,
            subject,
            advice,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Users' programs and files contain these numbers: a change breaks them.
    #[test]
    fn every_kind_keeps_its_number() {
        let numbers = [
            (ErrorKind::Config, 1),
            (ErrorKind::InvalidArgument, 2),
            (ErrorKind::RecordTooLarge, 3),
            (ErrorKind::InvalidRecord, 4),
            (ErrorKind::BufferExhausted, 5),
            (ErrorKind::MetadataTimeout, 6),
            (ErrorKind::UnknownPartition, 7),
            (ErrorKind::InvalidTopic, 8),
            (ErrorKind::Authentication, 9),
            (ErrorKind::Authorization, 10),
            (ErrorKind::DeliveryTimeout, 11),
            (ErrorKind::Broker, 12),
            (ErrorKind::Network, 13),
            (ErrorKind::UnsupportedVersion, 14),
            (ErrorKind::Protocol, 15),
            (ErrorKind::Compression, 16),
            (ErrorKind::Closed, 17),
            (ErrorKind::ForceClosed, 18),
            (ErrorKind::Timeout, 19),
            (ErrorKind::Resource, 20),
            (ErrorKind::Internal, 21),
            (ErrorKind::Serialization, 27),
            (ErrorKind::Partitioner, 28),
            (ErrorKind::Tls, 29),
        ];
        for (kind, number) in numbers {
            assert_eq!(kind.code(), number, "{kind:?}");
            assert_eq!(ErrorKind::from_code(number), Some(kind));
        }
        assert_eq!(
            ErrorKind::ALL,
            numbers.map(|(kind, _)| kind),
            "pin the number of a new kind here"
        );
        for number in [i32::MIN, -1, 0, 22, 26, 30, i32::MAX] {
            assert_eq!(ErrorKind::from_code(number), None, "{number}");
        }
    }
}
