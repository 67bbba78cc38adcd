//! The one error type of the public API.

mod code_rules;
mod kind;
mod paths;

use std::borrow::Cow;
use std::error::Error as StdError;
use std::fmt::{self, Write as _};
use std::sync::Arc;

pub(crate) use self::code_rules::{BatchAnswer, CodeRule, Remedy, TopicAnswer};
use self::kind::{Again, Producer, Subject};
pub use self::kind::{Delivery, ErrorKind};
pub(crate) use self::paths::advice_on_path;
use crate::protocol::ErrorCode;
use crate::topic_partition::TopicPartition;

/// What went wrong, where, and whether the record may have been written to the topic's log.
///
/// An error is one pointer wide and cheap to clone: each record of a failed batch gets a clone. Ask
/// [`kind`](Error::kind) to distinguish failures and [`delivery`](Error::delivery) to learn whether sending again can
/// duplicate a record. `{}` prints a sentence that names the topic and partition or the setting, the broker's answer and
/// what to do. [`source`](StdError::source) returns the cause, if there is one. No error ever contains a password or a
/// key.
#[derive(Clone)]
pub struct Error {
    inner: Arc<Inner>,
}

#[derive(Clone)]
struct Inner {
    kind: ErrorKind,
    message: Cow<'static, str>,
    location: Option<Location>,
    delivery: Option<Delivery>,
    broker_code: Option<ErrorCode>,
    broker_message: Option<Box<str>>,
    retriable: Option<bool>,
    subject: Option<Subject>,
    attempt: Option<FailedAttempt>,
    advice: Option<Cow<'static, str>>,
    source: Option<Arc<dyn StdError + Send + Sync>>,
}

/// What a failed attempt to connect means for the callers that wait and for the next attempt. Without it, the kind decides.
#[derive(Clone, Copy, PartialEq)]
enum FailedAttempt {
    /// One side refuses the other. Callers are told at once, and the next attempt is made after a while.
    Refused,
    /// The peer accepts no connection for the moment. The next attempt is made after a while, and callers wait for it.
    PutOff,
}

/// The topic, and the partition if one was chosen, that an error is about.
#[derive(Clone)]
enum Location {
    Topic(Arc<str>),
    Partition(TopicPartition),
}

impl Error {
    /// Returns the kind of failure.
    pub fn kind(&self) -> ErrorKind {
        self.inner.kind
    }

    /// Returns whether the record was written to the log, was not written, or may have been written.
    pub fn delivery(&self) -> Delivery {
        self.inner
            .delivery
            .unwrap_or_else(|| self.inner.kind.usual().delivery)
    }

    /// Returns the topic that the error is about; `None` if it is about no topic.
    pub fn topic(&self) -> Option<&str> {
        match self.inner.location.as_ref()? {
            Location::Topic(topic) => Some(topic),
            Location::Partition(partition) => Some(partition.topic()),
        }
    }

    /// Returns the partition that the error is about; `None` if no partition was chosen yet.
    pub fn partition(&self) -> Option<i32> {
        self.topic_partition().map(TopicPartition::partition)
    }

    /// Returns topic and partition; `None` if no partition was chosen yet, even if the [`topic`](Self::topic) is known.
    pub fn topic_partition(&self) -> Option<&TopicPartition> {
        match self.inner.location.as_ref()? {
            Location::Topic(_) => None,
            Location::Partition(partition) => Some(partition),
        }
    }

    /// Returns the error code that a broker answered with, as Kafka's protocol numbers it; `None` if no broker's answer
    /// is the reason.
    pub fn broker_code(&self) -> Option<i16> {
        self.inner.broker_code.map(ErrorCode::code)
    }

    /// Returns the protocol's name of [`broker_code`](Self::broker_code), such as `NOT_ENOUGH_REPLICAS`.
    pub fn broker_error_name(&self) -> Option<&str> {
        self.inner.broker_code.map(ErrorCode::name)
    }

    /// Returns the broker's explanation, if it sent one.
    pub fn broker_message(&self) -> Option<&str> {
        self.inner.broker_message.as_deref()
    }

    /// Returns whether the same call may succeed later without a change to the record or the configuration. Sending a
    /// record again whose [`delivery`](Self::delivery) is [`Delivery::MaybeWritten`] can write it twice. Returns false if
    /// `delivery` is [`Delivery::Written`].
    pub fn is_retriable(&self) -> bool {
        self.inner
            .retriable
            .unwrap_or_else(|| self.inner.kind.usual().again == Again::Later)
    }

    /// Returns whether this producer can no longer send. Then close it and, if that makes sense, build a new one. A
    /// broker's error code alone never means this, because its effect depends on the request.
    pub fn is_fatal(&self) -> bool {
        self.inner.kind.usual().producer == Producer::Ended
    }

    /// Makes an error of `kind`. `message` says what happened, in lower case, without a full stop. It leaves out what
    /// the other parts of the error say (topic and partition, broker's answer, delivery, advice): they are displayed
    /// after it.
    pub(crate) fn new(kind: ErrorKind, message: impl Into<Cow<'static, str>>) -> Self {
        Self {
            inner: Arc::new(Inner {
                kind,
                message: message.into(),
                location: None,
                delivery: None,
                broker_code: None,
                broker_message: None,
                retriable: None,
                subject: None,
                attempt: None,
                advice: None,
                source: None,
            }),
        }
    }

    /// Makes the error of a request that a broker answered with `code`, of the kind that [`CodeRule`] names.
    pub(crate) fn answered(code: ErrorCode, message: impl Into<Cow<'static, str>>) -> Self {
        Self::new(CodeRule::of(code).kind, message).with_broker_code(code)
    }

    /// Makes the error that every call returns in a process that was forked off after the producer was built.
    pub(crate) fn of_another_process() -> Self {
        Self::new(
            ErrorKind::Closed,
            "the producer belongs to the process that this one was forked from",
        )
        .with_advice("fork before the first producer is built, and build one in each process")
    }

    pub(crate) fn with_topic_partition(self, topic_partition: TopicPartition) -> Self {
        self.with_location(Location::Partition(topic_partition))
    }

    /// Sets the topic, and the partition if one was chosen.
    pub(crate) fn with_topic(self, topic: impl Into<Arc<str>>, partition: Option<i32>) -> Self {
        let topic = topic.into();
        match partition {
            Some(partition) => self.with_topic_partition(TopicPartition::new(topic, partition)),
            None => self.with_location(Location::Topic(topic)),
        }
    }

    /// Overrides the usual delivery of the kind. `Written` also makes the error not retriable.
    pub(crate) fn with_delivery(mut self, delivery: Delivery) -> Self {
        let inner = self.inner_mut();
        inner.delivery = Some(delivery);
        if delivery == Delivery::Written {
            inner.retriable = Some(false);
        }
        self
    }

    /// Adds the code of the broker's answer. The kind stays: see [`answered`](Self::answered).
    pub(crate) fn with_broker_code(mut self, code: ErrorCode) -> Self {
        self.inner_mut().broker_code = Some(code);
        self
    }

    pub(crate) fn with_broker_message(mut self, message: &str) -> Self {
        self.inner_mut().broker_message = Some(printable(message).into());
        self
    }

    /// Overrides whether errors of the kind are usually retriable.
    pub(crate) fn with_retriable(mut self, retriable: bool) -> Self {
        self.inner_mut().retriable = Some(retriable);
        self
    }

    /// Sets the advice. Overrides the usual advice of the kind; an empty text removes it.
    pub(crate) fn with_advice(mut self, advice: impl Into<Cow<'static, str>>) -> Self {
        self.inner_mut().advice = Some(advice.into());
        self
    }

    /// Removes the advice, for a cause whose report has it. A program that prints an error with its causes shows it once.
    pub(crate) fn without_advice(self) -> Self {
        self.with_advice("")
    }

    /// Sets the advice of `cause`, if it has any.
    pub(crate) fn with_advice_of(self, cause: &Error) -> Self {
        match cause.advice() {
            "" => self,
            advice => {
                let advice = advice.to_owned();
                self.with_advice(advice)
            }
        }
    }

    /// Sets the advice of a failed attempt, for an error that reports it as its cause. This is the advice that the cause or
    /// a cause of it has of its own, or the usual one of a refusal. Other usual advice (check the brokers) says less than
    /// that of the report.
    pub(crate) fn with_advice_of_attempt(self, cause: &Error) -> Self {
        match cause.advice_of_attempt() {
            None => self,
            Some(advice) => {
                let advice = advice.to_owned();
                self.with_advice(advice)
            }
        }
    }

    /// Returns the [`summary`](Self::summary) and the advice of a failed attempt, for a line of the log.
    pub(crate) fn report(&self) -> String {
        match self.advice_of_attempt() {
            Some(advice) => format!("{}; {advice}", self.summary()),
            None => self.summary(),
        }
    }

    fn advice_of_attempt(&self) -> Option<&str> {
        let own = self.inner.advice.as_deref();
        let own = own.filter(|advice| !advice.is_empty());
        let of_cause = || {
            let cause = self.source()?.downcast_ref::<Error>()?;
            cause.advice_of_attempt()
        };
        let usual = || self.is_refusal().then(|| self.advice());
        own.or_else(of_cause).or_else(usual)
    }

    pub(crate) fn with_source(
        mut self,
        source: impl Into<Box<dyn StdError + Send + Sync>>,
    ) -> Self {
        self.inner_mut().source = Some(Arc::from(source.into()));
        self
    }

    /// Marks the error as about no record: the displayed text then states no delivery.
    pub(crate) fn without_record(mut self) -> Self {
        self.inner_mut().subject = Some(Subject::Other);
        self
    }

    /// Appends the broker that the error concerns to the message, in parentheses: its id and address.
    pub(crate) fn with_broker(mut self, broker: impl fmt::Display) -> Self {
        let inner = self.inner_mut();
        inner.message = format!("{} ({broker})", inner.message).into();
        self
    }

    /// Puts `context` and a colon before the message. All else stays.
    pub(crate) fn in_context(mut self, context: impl fmt::Display) -> Self {
        let inner = self.inner_mut();
        inner.message = format!("{context}: {}", inner.message).into();
        self
    }

    /// Marks the error as a refusal whatever its kind is: the peer is certainly no broker.
    pub(crate) fn with_refusal(mut self) -> Self {
        self.inner_mut().attempt = Some(FailedAttempt::Refused);
        self
    }

    /// Marks the error as one that goes away by itself, and that a quick next attempt to connect would prolong: the peer
    /// limits how often clients connect.
    #[cfg(feature = "sasl")]
    pub(crate) fn with_put_off(mut self) -> Self {
        self.inner_mut().attempt = Some(FailedAttempt::PutOff);
        self
    }

    /// Returns whether one side of a new connection refuses the other: a certificate, a password or a token is not accepted,
    /// or the peer is certainly no broker. Such a failure lasts until the configuration of one side changes, so the threads
    /// that wait for the connection are told at once.
    pub(crate) fn is_refusal(&self) -> bool {
        match self.inner.attempt {
            Some(attempt) => attempt == FailedAttempt::Refused,
            None => matches!(self.kind(), ErrorKind::Authentication | ErrorKind::Tls),
        }
    }

    /// Returns whether the next attempt to connect is made after a second at least: after a refusal, and if the peer accepts no
    /// connection for the moment.
    pub(crate) fn delays_reconnect(&self) -> bool {
        self.is_refusal() || self.inner.attempt == Some(FailedAttempt::PutOff)
    }

    /// Returns what happened, without the broker's answer and the cause.
    pub(crate) fn message(&self) -> &str {
        &self.inner.message
    }

    /// Returns the code of the broker's answer, but not one of the cause.
    pub(crate) fn error_code(&self) -> Option<ErrorCode> {
        self.inner.broker_code
    }

    /// Returns what happened and why, down to the first cause, as a part for another sentence: without topic, delivery
    /// and advice.
    pub(crate) fn summary(&self) -> String {
        let mut text = String::from(&*self.inner.message);
        if let Some(code) = self.inner.broker_code {
            let _ = write!(text, ": the broker answered {code}");
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

    pub(crate) fn advice(&self) -> &str {
        let usual = self.inner.kind.usual().advice;
        self.inner.advice.as_deref().unwrap_or(usual)
    }

    fn with_location(mut self, location: Location) -> Self {
        self.inner_mut().location = Some(location);
        self
    }

    fn inner_mut(&mut self) -> &mut Inner {
        Arc::make_mut(&mut self.inner)
    }
}

/// Returns a text from outside in a form for messages and log lines: control characters are escaped, and a long text is
/// cut.
pub(crate) fn printable(text: &str) -> String {
    // Of the result: an escaped character takes up to six bytes.
    const MOST_BYTES: usize = 1000;
    let mut shown = String::new();
    for character in text.chars() {
        if shown.len() >= MOST_BYTES {
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

/// What happened, the topic and partition, the broker's answer, the delivery of the record, what to do.
impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let inner = &*self.inner;
        f.write_str(&inner.message)?;
        match &inner.location {
            Some(Location::Topic(topic)) => write!(f, " (topic {topic})")?,
            Some(Location::Partition(topic_partition)) => write!(f, " ({topic_partition})")?,
            None => {}
        }
        if let Some(code) = inner.broker_code {
            write!(f, ": broker answered {code}")?;
        }
        if let Some(message) = &inner.broker_message {
            write!(f, ": {message}")?;
        }
        let subject = inner.subject.unwrap_or(inner.kind.usual().subject);
        if inner.location.is_some() || subject == Subject::Record {
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
        match &self.inner.location {
            Some(Location::Topic(topic)) => shown.field("topic", topic),
            Some(Location::Partition(partition)) => shown.field("topic_partition", partition),
            None => &mut shown,
        };
        if let Some(code) = self.inner.broker_code {
            shown
                .field("broker_code", &code.code())
                .field("broker_error_name", &code.name());
        }
        if let Some(message) = &self.inner.broker_message {
            shown.field("broker_message", message);
        }
        shown.field("delivery", &self.delivery());
        if let Some(source) = &self.inner.source {
            // As a sentence: the fields of the cause, its delivery above all, are not those of this error.
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
    fn displays_failure_location_reason_delivery_and_advice() {
        let error = Error::new(ErrorKind::Broker, "the broker refused the batch")
            .with_topic_partition(TopicPartition::new("orders", 3))
            .with_broker_code(ErrorCode::NOT_ENOUGH_REPLICAS)
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
        assert_eq!(
            (error.topic(), error.partition()),
            (Some("orders"), Some(3))
        );
        assert!(error.is_retriable() && !error.is_fatal());
    }

    #[test]
    fn a_brokers_message_is_shown_on_one_line_and_cut() {
        let message = format!("first\nsecond \u{1b}[31m{}", "x".repeat(100_000));
        let error = Error::new(ErrorKind::Broker, "refused").with_broker_message(&message);
        let shown = error.to_string();
        assert!(shown.contains("first\\nsecond \\u{1b}[31mxxx"), "{shown}");
        assert!(shown.len() < 1200 && !shown.contains('\n'));
        let escaped = printable(&"\u{1c}".repeat(1000));
        assert!(
            escaped.len() < 1010 && escaped.ends_with("..."),
            "{escaped}"
        );
    }

    #[test]
    fn names_only_the_topic_if_no_partition_was_chosen() {
        let error = Error::new(ErrorKind::InvalidTopic, "the topic's name is not legal")
            .with_topic("a b", None);
        assert_eq!(
            error.to_string(),
            "the topic's name is not legal (topic a b); not written"
        );
        assert_eq!((error.topic(), error.partition()), (Some("a b"), None));
        assert_eq!(error.topic_partition(), None);
    }

    #[test]
    fn an_error_about_no_record_states_no_delivery() {
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
    fn delivery_is_that_of_the_kind_unless_the_error_overrides_it() {
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
    fn a_report_of_a_failed_attempt_has_the_most_special_advice() {
        let advice = |cause: Error| {
            let report = Error::new(ErrorKind::DeliveryTimeout, "x").with_advice("usual");
            let report = report.with_advice_of_attempt(&cause);
            report.advice().to_owned()
        };
        let network = || Error::new(ErrorKind::Network, "broken");
        assert_eq!(advice(network()), "usual");
        assert_eq!(advice(network().with_advice("")), "usual");
        assert_eq!(
            advice(Error::new(ErrorKind::Authentication, "refused")),
            "check the credentials"
        );
        let special = network().with_advice("set security.protocol=SSL");
        assert_eq!(advice(special.clone()), "set security.protocol=SSL");
        assert_eq!(
            advice(network().with_source(special)),
            "set security.protocol=SSL"
        );
    }

    #[test]
    fn only_the_end_of_the_producer_is_fatal_and_no_broker_code_is() {
        for kind in [
            ErrorKind::Closed,
            ErrorKind::ForceClosed,
            ErrorKind::Internal,
        ] {
            let error = Error::new(kind, "x");
            assert!(error.is_fatal() && !error.is_retriable(), "{kind:?}");
        }
        for code in (i16::MIN..=i16::MAX).filter(|code| *code != 0) {
            let error = Error::answered(ErrorCode::from(code), "x");
            assert!(!error.is_fatal(), "{code}");
        }
    }

    #[test]
    fn a_clone_keeps_the_cause_and_later_changes_do_not_reach_it() {
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
