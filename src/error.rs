//! The one error type of the public API.

use std::borrow::Cow;
use std::error::Error as StdError;
use std::fmt::{self, Write as _};
use std::sync::Arc;

use crate::topic_partition::TopicPartition;

/// What went wrong, where, and whether the record can have reached the broker's log.
///
/// One pointer wide and cheap to clone: one failure of a batch is handed to every record in it. Ask
/// [`kind`](Error::kind) to tell failures apart, [`delivery`](Error::delivery) to learn whether sending again can
/// duplicate a record, and print it with `{}` for a sentence that names the topic-partition or the setting, the
/// broker's answer and what to do. [`source`](StdError::source) has the cause where there is one. No error ever holds a
/// password or a key.
#[derive(Clone)]
pub struct Error {
    inner: Arc<Inner>,
}

impl Error {
    /// The kind of failure.
    pub fn kind(&self) -> ErrorKind {
        self.inner.kind
    }

    /// Whether the record was written to the log, was not, or may have been.
    pub fn delivery(&self) -> Delivery {
        self.inner
            .delivery
            .unwrap_or_else(|| self.inner.kind.usual().delivery)
    }

    /// The topic and partition concerned. The partition is -1 where none had been chosen.
    pub fn topic_partition(&self) -> Option<&TopicPartition> {
        self.inner.topic_partition.as_ref()
    }

    /// The code of the broker's answer, as Kafka's protocol numbers them, where a broker's answer is the reason.
    pub fn broker_code(&self) -> Option<i16> {
        self.inner.broker.as_ref().map(|broker| broker.code)
    }

    /// The protocol's name of [`broker_code`](Self::broker_code), as `NOT_ENOUGH_REPLICAS`.
    pub fn broker_error_name(&self) -> Option<&str> {
        self.inner.broker.as_ref().map(|broker| &*broker.name)
    }

    /// The broker's own words, where it sent any.
    pub fn broker_message(&self) -> Option<&str> {
        self.inner.broker_message.as_deref()
    }

    /// Whether the same call may succeed later without a change to the record or the configuration. Sending a record
    /// again whose [`delivery`](Self::delivery) is [`Delivery::MaybeWritten`] can write it twice. Returns false if
    /// `delivery` is [`Delivery::Written`].
    pub fn is_retriable(&self) -> bool {
        self.inner
            .retriable
            .unwrap_or_else(|| self.inner.kind.usual().again == Again::Later)
    }

    /// Returns whether this producer can no longer send. Close it then and, where that makes sense, build another. A
    /// broker's error code alone never means this, because its effect depends on the request.
    pub fn is_fatal(&self) -> bool {
        self.inner.kind.usual().producer == Producer::IsOver
    }

    /// An error of `kind`; `message` says what happened, in lower case, without a full stop and without what the other
    /// parts say (topic-partition, broker's answer, delivery, advice), which are displayed behind it.
    pub(crate) fn new(kind: ErrorKind, message: impl Into<Cow<'static, str>>) -> Self {
        Self {
            inner: Arc::new(Inner {
                kind,
                message: message.into(),
                topic_partition: None,
                delivery: None,
                broker: None,
                broker_message: None,
                retriable: None,
                subject: None,
                advice: None,
                source: None,
            }),
        }
    }

    /// What every call says in a process that was forked off after the producer was made.
    pub(crate) fn of_another_process() -> Self {
        Self::new(
            ErrorKind::Closed,
            "the producer belongs to the process that this one was forked from",
        )
        .with_advice("fork before the first producer is built, and build one in each process")
    }

    pub(crate) fn with_topic_partition(mut self, topic_partition: TopicPartition) -> Self {
        self.inner_mut().topic_partition = Some(topic_partition);
        self
    }

    /// Overrides what is usual for the kind. `Written` also makes the error not retriable.
    pub(crate) fn with_delivery(mut self, delivery: Delivery) -> Self {
        let inner = self.inner_mut();
        inner.delivery = Some(delivery);
        if delivery == Delivery::Written {
            inner.retriable = Some(false);
        }
        self
    }

    pub(crate) fn with_broker_code(
        mut self,
        code: i16,
        name: impl Into<Cow<'static, str>>,
    ) -> Self {
        self.inner_mut().broker = Some(BrokerError {
            code,
            name: name.into(),
        });
        self
    }

    pub(crate) fn with_broker_message(mut self, message: &str) -> Self {
        self.inner_mut().broker_message = Some(printable(message).into());
        self
    }

    /// Overrides what is usual for the kind.
    pub(crate) fn with_retriable(mut self, retriable: bool) -> Self {
        self.inner_mut().retriable = Some(retriable);
        self
    }

    /// What the reader should do, in place of what is usual for the kind. Empty: nothing is advised.
    pub(crate) fn with_advice(mut self, advice: impl Into<Cow<'static, str>>) -> Self {
        self.inner_mut().advice = Some(advice.into());
        self
    }

    /// Advises what `cause` advises, where it advises anything.
    pub(crate) fn with_advice_of(self, cause: &Error) -> Self {
        match cause.advice() {
            "" => self,
            advice => {
                let advice = advice.to_owned();
                self.with_advice(advice)
            }
        }
    }

    fn advice(&self) -> &str {
        let usual = self.inner.kind.usual().advice;
        self.inner.advice.as_deref().unwrap_or(usual)
    }

    pub(crate) fn with_source(
        mut self,
        source: impl Into<Box<dyn StdError + Send + Sync>>,
    ) -> Self {
        self.inner_mut().source = Some(Arc::from(source.into()));
        self
    }

    /// The call had no record: the message states no fate.
    pub(crate) fn without_record(mut self) -> Self {
        self.inner_mut().subject = Some(Subject::Other);
        self
    }

    /// What happened, without the broker's answer and the cause.
    pub(crate) fn message(&self) -> &str {
        &self.inner.message
    }

    /// Adds where it happened.
    pub(crate) fn with_place(mut self, place: impl fmt::Display) -> Self {
        let inner = self.inner_mut();
        inner.message = format!("{} ({place})", inner.message).into();
        self
    }

    /// What happened and why, down to the first cause, without places, fates and advice: for a part of another
    /// sentence.
    pub(crate) fn summary(&self) -> String {
        let mut text = String::from(&*self.inner.message);
        if let Some(BrokerError { code, name }) = &self.inner.broker {
            let _ = write!(text, ": the broker answered {name} ({code})");
        }
        match self.source() {
            None => text,
            Some(source) => match source.downcast_ref::<Error>() {
                Some(cause) => text + ": " + &cause.summary(),
                None => {
                    let _ = write!(text, ": {source}");
                    text
                }
            },
        }
    }

    /// The code of a broker's answer that this error has, or that its cause has.
    pub(crate) fn broker_answer(&self) -> Option<(i16, Cow<'static, str>)> {
        let broker = self.inner.broker.as_ref();
        broker.map(|broker| (broker.code, broker.name.clone()))
    }

    fn inner_mut(&mut self) -> &mut Inner {
        Arc::make_mut(&mut self.inner)
    }
}

/// A text from outside for a message or the log: without control characters, and not longer than a message should be.
pub(crate) fn printable(text: &str) -> String {
    const MOST_CHARS: usize = 1000;
    let mut shown = String::new();
    for (number, character) in text.chars().enumerate() {
        if number == MOST_CHARS {
            shown.push_str("...");
            break;
        }
        match character.is_control() {
            true => shown.extend(character.escape_default()),
            false => shown.push(character),
        }
    }
    shown
}

/// The kinds of [`Error`]. More may come in later versions.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum ErrorKind {
    /// A setting is unknown, of the wrong type, out of range, at odds with another or not supported.
    Config,
    /// An argument or a record's field is not legal, as a negative partition.
    InvalidArgument,
    /// A serializer failed.
    Serialization,
    /// A partitioner failed or chose a partition that does not exist.
    Partitioner,
    /// The record is larger than `max.request.size`, `buffer.memory` or the broker's own limit.
    RecordTooLarge,
    /// The broker found fault with the record, as with a timestamp too far ahead.
    InvalidRecord,
    /// `buffer.memory` stayed full for `max.block.ms`, or was full where the call may not block.
    BufferExhausted,
    /// The topic's metadata did not arrive within `max.block.ms`, or was not there where the call may not block.
    MetadataTimeout,
    /// The record names a partition that the topic did not have within `max.block.ms`.
    UnknownPartition,
    /// The topic's name is not legal, or the topic is one of Kafka's own.
    InvalidTopic,
    /// The broker refused this client's identity.
    Authentication,
    /// This client's identity may not do what it asked.
    Authorization,
    /// The record was not acknowledged within `delivery.timeout.ms`; slow compression can extend this to at most twice
    /// as long.
    DeliveryTimeout,
    /// A broker answered with an error that no other kind describes: see [`Error::broker_code`].
    Broker,
    /// A connection could not be made, broke, or gave no answer in time, and no retry was left.
    Network,
    /// The broker and this client share no version of a request.
    UnsupportedVersion,
    /// A peer sent bytes that are not Kafka's protocol.
    Protocol,
    /// Compressing a batch failed.
    Compression,
    /// The producer is closed.
    Closed,
    /// The producer was closed before the record was delivered.
    ForceClosed,
    /// A `get`, `flush` or `close` ran out of the time it was given. What it waited for goes on.
    Timeout,
    /// The operating system refused a thread or another resource.
    Resource,
    /// A thread of the producer ended unexpectedly: a bug in this library.
    Internal,
}

/// Whether a record of which an [`Error`] tells was written to the topic's log.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Delivery {
    /// Certainly not: sending it again cannot duplicate it.
    NotWritten,
    /// It was sent, and no answer tells its fate.
    MaybeWritten,
    /// The leader wrote it, but fewer replicas than `min.insync.replicas` had it: the broker's last answer was
    /// `NOT_ENOUGH_REPLICAS_AFTER_APPEND`, and no retry or no time was left. Consumers read the record as soon as the
    /// replicas have it. It is lost if another replica, which does not have it, becomes the leader first. Sending it
    /// again writes it twice unless it was lost.
    Written,
}

#[derive(Clone)]
struct Inner {
    kind: ErrorKind,
    message: Cow<'static, str>,
    topic_partition: Option<TopicPartition>,
    delivery: Option<Delivery>,
    broker: Option<BrokerError>,
    broker_message: Option<Box<str>>,
    retriable: Option<bool>,
    subject: Option<Subject>,
    advice: Option<Cow<'static, str>>,
    source: Option<Arc<dyn StdError + Send + Sync>>,
}

#[derive(Clone)]
struct BrokerError {
    code: i16,
    name: Cow<'static, str>,
}

/// What is usual for a kind; an error of the kind can say otherwise.
struct Usual {
    delivery: Delivery,
    again: Again,
    producer: Producer,
    subject: Subject,
    advice: &'static str,
}

/// Whether the same call may succeed later.
#[derive(PartialEq)]
enum Again {
    Never,
    Later,
}

/// Whether the producer can send anything after it.
#[derive(PartialEq)]
enum Producer {
    GoesOn,
    IsOver,
}

/// Whether the message should state the record's fate, even if it names no topic.
#[derive(Clone, Copy, PartialEq)]
enum Subject {
    Record,
    Other,
}

impl ErrorKind {
    /// The one table of what follows from a kind: one that is new has to be entered.
    fn usual(self) -> Usual {
        use Again::{Later, Never};
        use Delivery::{MaybeWritten, NotWritten};
        use Producer::{GoesOn, IsOver};
        use Subject::{Other, Record};
        let (delivery, again, producer, subject, advice) = match self {
            Self::Config => (NotWritten, Never, GoesOn, Other, ""),
            Self::InvalidArgument
            | Self::Serialization
            | Self::Partitioner
            | Self::RecordTooLarge
            | Self::InvalidRecord
            | Self::InvalidTopic
            | Self::Broker
            | Self::Compression => (NotWritten, Never, GoesOn, Record, ""),
            Self::BufferExhausted => {
                let advice = "send more slowly, or raise buffer.memory or max.block.ms";
                (NotWritten, Later, GoesOn, Record, advice)
            }
            Self::MetadataTimeout => {
                let advice =
                    "check bootstrap.servers and that the topic exists, or raise max.block.ms";
                (NotWritten, Later, GoesOn, Record, advice)
            }
            Self::UnknownPartition => {
                let advice = "check the topic's number of partitions";
                (NotWritten, Later, GoesOn, Record, advice)
            }
            Self::Authentication => (NotWritten, Never, GoesOn, Other, "check the credentials"),
            Self::Authorization => {
                let advice = "ask for the permission on the broker";
                (NotWritten, Never, GoesOn, Record, advice)
            }
            Self::DeliveryTimeout => {
                let advice = "check the brokers, or raise delivery.timeout.ms";
                (MaybeWritten, Later, GoesOn, Record, advice)
            }
            Self::Network => {
                let advice = "check the brokers and the network";
                (MaybeWritten, Later, GoesOn, Other, advice)
            }
            Self::UnsupportedVersion => (NotWritten, Never, GoesOn, Other, ""),
            Self::Protocol => (MaybeWritten, Never, GoesOn, Other, ""),
            Self::Timeout => {
                let advice = "wait longer: the work goes on";
                (MaybeWritten, Later, GoesOn, Other, advice)
            }
            Self::Resource => (NotWritten, Later, GoesOn, Other, ""),
            Self::Closed => (NotWritten, Never, IsOver, Record, "use a new producer"),
            Self::ForceClosed => (MaybeWritten, Never, IsOver, Record, "use a new producer"),
            Self::Internal => (MaybeWritten, Never, IsOver, Record, "please report it"),
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

/// What happened, to which topic-partition, the broker's answer, the record's fate, what to do.
impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let inner = &*self.inner;
        f.write_str(&inner.message)?;
        match &inner.topic_partition {
            Some(topic_partition) if topic_partition.partition() < 0 => {
                write!(f, " (topic {})", topic_partition.topic())?;
            }
            Some(topic_partition) => write!(f, " ({topic_partition})")?,
            None => {}
        }
        if let Some(BrokerError { code, name }) = &inner.broker {
            write!(f, ": broker answered {name} ({code})")?;
        }
        if let Some(message) = &inner.broker_message {
            write!(f, ": {message}")?;
        }
        let subject = inner.subject.unwrap_or(inner.kind.usual().subject);
        if inner.topic_partition.is_some() || subject == Subject::Record {
            f.write_str(match self.delivery() {
                Delivery::NotWritten => "; not written",
                Delivery::MaybeWritten => "; maybe written",
                Delivery::Written => "; written",
            })?;
        }
        match self.advice() {
            "" => Ok(()),
            advice => write!(f, "; {advice}"),
        }
    }
}

impl fmt::Debug for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut shown = f.debug_struct("Error");
        shown
            .field("kind", &self.inner.kind)
            .field("message", &self.inner.message);
        if let Some(topic_partition) = &self.inner.topic_partition {
            shown.field("topic_partition", topic_partition);
        }
        if let Some(broker) = &self.inner.broker {
            shown
                .field("broker_code", &broker.code)
                .field("broker_error_name", &broker.name);
        }
        if let Some(message) = &self.inner.broker_message {
            shown.field("broker_message", message);
        }
        shown.field("delivery", &self.delivery());
        if let Some(source) = &self.inner.source {
            // In its own words: its fields, the fate above all, are not this error's.
            shown.field("source", &format_args!("{source}"));
        }
        shown.finish()
    }
}

impl StdError for Error {
    fn source(&self) -> Option<&(dyn StdError + 'static)> {
        self.inner
            .source
            .as_deref()
            .map(|source| source as &(dyn StdError + 'static))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn is_one_pointer_wide_and_shared_between_threads() {
        fn is_send_and_sync<T: Send + Sync + 'static>() {}
        is_send_and_sync::<Error>();
        assert_eq!(size_of::<Error>(), size_of::<usize>());
        assert_eq!(size_of::<Result<(), Error>>(), size_of::<usize>());
    }

    #[test]
    fn says_what_happened_where_why_the_fate_and_what_to_do() {
        let error = Error::new(ErrorKind::Broker, "the broker refused the batch")
            .with_topic_partition(TopicPartition::new("orders", 3))
            .with_broker_code(19, "NOT_ENOUGH_REPLICAS")
            .with_broker_message("1 of 2 in sync")
            .with_retriable(true)
            .with_advice("wait for the replicas");
        assert_eq!(
            error.to_string(),
            "the broker refused the batch (orders-3): broker answered NOT_ENOUGH_REPLICAS (19): 1 of 2 in sync; \
             not written; wait for the replicas"
        );
        assert_eq!(error.broker_code(), Some(19));
        assert_eq!(error.broker_error_name(), Some("NOT_ENOUGH_REPLICAS"));
        assert_eq!(error.broker_message(), Some("1 of 2 in sync"));
        assert_eq!(
            error.topic_partition(),
            Some(&TopicPartition::new("orders", 3))
        );
        assert!(error.is_retriable() && !error.is_fatal());
    }

    #[test]
    fn a_brokers_words_are_shown_on_one_line_and_cut() {
        let words = format!("first\nsecond \u{1b}[31m{}", "x".repeat(100_000));
        let error = Error::new(ErrorKind::Broker, "refused").with_broker_message(&words);
        let shown = error.to_string();
        assert!(shown.contains("first\\nsecond \\u{1b}[31mxxx"), "{shown}");
        assert!(shown.len() < 1200 && !shown.contains('\n'));
    }

    #[test]
    fn names_only_the_topic_where_no_partition_was_chosen() {
        let error = Error::new(ErrorKind::InvalidTopic, "the topic's name is not legal")
            .with_topic_partition(TopicPartition::new("a b", -1));
        assert_eq!(
            error.to_string(),
            "the topic's name is not legal (topic a b); not written"
        );
    }

    #[test]
    fn what_is_of_no_record_says_nothing_of_a_fate() {
        let error = Error::new(ErrorKind::Config, "linger.ms must not be negative");
        assert_eq!(error.to_string(), "linger.ms must not be negative");
        let error = Error::new(ErrorKind::Network, "connection refused");
        assert_eq!(
            error.to_string(),
            "connection refused; check the brokers and the network"
        );
        let error = error.with_topic_partition(TopicPartition::new("t", 0));
        assert!(error.to_string().contains("; maybe written;"));
    }

    #[test]
    fn fate_is_unknown_where_the_batch_may_have_been_sent_unless_told_otherwise() {
        for (kind, delivery) in [
            (ErrorKind::DeliveryTimeout, Delivery::MaybeWritten),
            (ErrorKind::Timeout, Delivery::MaybeWritten),
            (ErrorKind::ForceClosed, Delivery::MaybeWritten),
            (ErrorKind::BufferExhausted, Delivery::NotWritten),
            (ErrorKind::Closed, Delivery::NotWritten),
        ] {
            assert_eq!(Error::new(kind, "x").delivery(), delivery, "{kind:?}");
        }
        let never_sent =
            Error::new(ErrorKind::DeliveryTimeout, "x").with_delivery(Delivery::NotWritten);
        assert_eq!(never_sent.delivery(), Delivery::NotWritten);
    }

    #[test]
    fn only_a_producer_that_is_over_is_fatal_whatever_a_broker_answers() {
        for kind in [
            ErrorKind::Closed,
            ErrorKind::ForceClosed,
            ErrorKind::Internal,
        ] {
            let error = Error::new(kind, "x");
            assert!(error.is_fatal() && !error.is_retriable(), "{kind:?}");
        }
        for code in i16::MIN..=i16::MAX {
            let error = Error::new(ErrorKind::Broker, "x").with_broker_code(code, "ANY");
            assert!(!error.is_fatal(), "{code}");
        }
    }

    #[test]
    fn a_clone_keeps_the_cause_and_is_not_changed_by_later_additions() {
        let original = Error::new(ErrorKind::Network, "connection to broker 1 lost")
            .with_source(std::io::Error::from(std::io::ErrorKind::ConnectionReset));
        let changed = original.clone().with_retriable(false);
        assert!(original.is_retriable() && !changed.is_retriable());
        for error in [original, changed] {
            let source = error.source().expect("a cause");
            assert!(source.downcast_ref::<std::io::Error>().is_some());
        }
    }
}
