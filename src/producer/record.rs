//! A record to send, and the metadata of a record that was delivered.

use std::borrow::Cow;
use std::fmt;
use std::ops::Deref;
use std::sync::Arc;

use crate::error::{Error, ErrorKind};
use crate::topic_partition::TopicPartition;

use super::headers::{Header, HeaderValue, Headers};

/// A record to send: a topic and a value; optionally a key, a partition, a timestamp and headers.
///
/// ```
/// use kafka_producer::ProducerRecord;
///
/// let record = ProducerRecord::new("orders", "two apples".to_owned())
///     .key("customer-7".to_owned())
///     .header("source", "web");
/// assert_eq!(record.topic.as_str(), "orders");
/// # let _: ProducerRecord<String, String> = record;
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct ProducerRecord<K, V> {
    /// The topic's name.
    pub topic: TopicName,
    /// The partition, from 0. `None`: the partitioner chooses.
    pub partition: Option<i32>,
    /// The timestamp in milliseconds since 1970. `None`: the time of sending.
    pub timestamp: Option<i64>,
    /// The key; `None` is null.
    pub key: Option<K>,
    /// The value; `None` is null.
    pub value: Option<V>,
    /// The headers.
    pub headers: Headers,
}

impl<K, V> ProducerRecord<K, V> {
    /// Makes a record with this value, without key and headers. The partitioner chooses its partition, and its timestamp
    /// is the time of sending. The topic is a `&'static str`, a `String`, an `Arc<str>` or a [`TopicName`].
    #[inline]
    pub fn new(topic: impl Into<TopicName>, value: V) -> Self {
        Self {
            value: Some(value),
            ..Self::tombstone(topic)
        }
    }

    /// Makes a record whose value is null. In a compacted topic it deletes the earlier records with its key.
    #[inline]
    pub fn tombstone(topic: impl Into<TopicName>) -> Self {
        Self {
            topic: topic.into(),
            partition: None,
            timestamp: None,
            key: None,
            value: None,
            headers: Headers::new(),
        }
    }

    /// Sets the key.
    #[must_use]
    pub fn key(mut self, key: K) -> Self {
        self.key = Some(key);
        self
    }

    /// Sets the partition, from 0. The partitioner is not called. A negative partition is refused when the record is sent.
    #[must_use]
    pub fn partition(mut self, partition: i32) -> Self {
        self.partition = Some(partition);
        self
    }

    /// Sets the timestamp, in milliseconds since 1970. A negative timestamp is refused when the record is sent. A topic
    /// with `message.timestamp.type=LogAppendTime` replaces it by the broker's time.
    #[must_use]
    pub fn timestamp(mut self, timestamp_ms: i64) -> Self {
        self.timestamp = Some(timestamp_ms);
        self
    }

    /// Adds a header after the others.
    #[must_use]
    pub fn header(
        mut self,
        key: impl Into<Cow<'static, str>>,
        value: impl Into<HeaderValue>,
    ) -> Self {
        self.headers.add(key, value);
        self
    }

    /// Adds headers after the others.
    #[must_use]
    pub fn headers<H: Into<Header>>(mut self, headers: impl IntoIterator<Item = H>) -> Self {
        self.headers.extend(headers);
        self
    }

    /// Refuses a negative partition or timestamp, which no broker accepts.
    #[inline]
    pub(crate) fn check(&self) -> Result<(), Error> {
        match (self.partition, self.timestamp) {
            (Some(partition), _) if partition < 0 => {
                Err(self.refused("partition", partition.into()))
            }
            (_, Some(timestamp)) if timestamp < 0 => Err(self.refused("timestamp", timestamp)),
            _ => Ok(()),
        }
    }

    #[cold]
    fn refused(&self, field: &str, number: i64) -> Error {
        Error::new(
            ErrorKind::InvalidArgument,
            format!("the record's {field} is {number}; it must not be negative"),
        )
        .with_topic(&*self.topic, None)
    }
}

/// A topic's name. Cheap to clone. Made without a copy from a `&'static str` or an `Arc<str>`.
#[derive(Clone)]
pub struct TopicName(Name);

#[derive(Clone)]
enum Name {
    Static(&'static str),
    Shared(Arc<str>),
}

impl TopicName {
    /// The name.
    #[inline]
    pub fn as_str(&self) -> &str {
        match &self.0 {
            Name::Static(name) => name,
            Name::Shared(name) => name,
        }
    }
}

/// Checks the brokers' rule for names: 1 to 249 of the characters `a-z A-Z 0-9 . _ -`, and not `.` or `..`.
pub(crate) fn check_topic_name(name: &str) -> Result<(), Error> {
    const LONGEST: usize = 249;
    let fault = match name {
        "" => "is empty",
        "." | ".." => {
            return Err(Error::new(
                ErrorKind::InvalidTopic,
                "a topic's name must not be \".\" or \"..\"",
            ));
        }
        _ if name.len() > LONGEST => "is longer than 249 characters",
        _ if !name
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || b"._-".contains(&byte)) =>
        {
            "has a character other than a-z, A-Z, 0-9, '.', '_' and '-'"
        }
        _ => return Ok(()),
    };
    let shown: String = name
        .chars()
        .take(LONGEST)
        .flat_map(char::escape_debug)
        .collect();
    Err(Error::new(
        ErrorKind::InvalidTopic,
        format!("the topic's name \"{shown}\" {fault}"),
    ))
}

impl From<&'static str> for TopicName {
    fn from(name: &'static str) -> Self {
        Self(Name::Static(name))
    }
}

impl From<String> for TopicName {
    fn from(name: String) -> Self {
        Self(Name::Shared(name.into()))
    }
}

impl From<Arc<str>> for TopicName {
    fn from(name: Arc<str>) -> Self {
        Self(Name::Shared(name))
    }
}

impl From<&TopicName> for TopicName {
    fn from(name: &TopicName) -> Self {
        name.clone()
    }
}

impl From<TopicName> for Arc<str> {
    fn from(name: TopicName) -> Self {
        match name.0 {
            Name::Static(name) => name.into(),
            Name::Shared(name) => name,
        }
    }
}

impl Deref for TopicName {
    type Target = str;

    fn deref(&self) -> &str {
        self.as_str()
    }
}

impl AsRef<str> for TopicName {
    fn as_ref(&self) -> &str {
        self.as_str()
    }
}

impl PartialEq for TopicName {
    fn eq(&self, other: &Self) -> bool {
        self.as_str() == other.as_str()
    }
}

impl Eq for TopicName {}

impl std::hash::Hash for TopicName {
    fn hash<H: std::hash::Hasher>(&self, state: &mut H) {
        self.as_str().hash(state);
    }
}

impl fmt::Debug for TopicName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(self.as_str(), f)
    }
}

impl fmt::Display for TopicName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self)
    }
}

/// The metadata of a record that was delivered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RecordMetadata {
    topic_partition: TopicPartition,
    offset: Option<i64>,
    timestamp: Option<i64>,
    serialized_key_size: Option<u32>,
    serialized_value_size: Option<u32>,
}

impl RecordMetadata {
    #[inline]
    pub(crate) fn new(
        topic_partition: TopicPartition,
        offset: Option<i64>,
        timestamp: Option<i64>,
        serialized_key_size: Option<u32>,
        serialized_value_size: Option<u32>,
    ) -> Self {
        Self {
            topic_partition,
            offset,
            timestamp,
            serialized_key_size,
            serialized_value_size,
        }
    }

    /// The topic's name.
    pub fn topic(&self) -> &str {
        self.topic_partition.topic()
    }

    /// The record's partition.
    pub fn partition(&self) -> i32 {
        self.topic_partition.partition()
    }

    /// Topic and partition.
    pub fn topic_partition(&self) -> &TopicPartition {
        &self.topic_partition
    }

    /// The record's offset in the partition's log. `None` with `acks=0`, and if the broker already had the batch but no
    /// longer knew its offset.
    pub fn offset(&self) -> Option<i64> {
        self.offset
    }

    /// The record's timestamp in milliseconds since 1970. It is the broker's if the topic has
    /// `message.timestamp.type=LogAppendTime`, otherwise the record's own.
    pub fn timestamp(&self) -> Option<i64> {
        self.timestamp
    }

    /// The number of bytes of the serialized key, uncompressed; `None` for a null key.
    pub fn serialized_key_size(&self) -> Option<usize> {
        self.serialized_key_size.map(|size| size as usize)
    }

    /// The number of bytes of the serialized value, uncompressed; `None` for a null value.
    pub fn serialized_value_size(&self) -> Option<usize> {
        self.serialized_value_size.map(|size| size as usize)
    }
}

/// `topic-partition@offset`, as Java writes it; `topic-partition` if the offset is not known.
impl fmt::Display for RecordMetadata {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.topic_partition.fmt(f)?;
        match self.offset {
            Some(offset) => write!(f, "@{offset}"),
            None => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_record_has_what_it_was_given_and_nothing_else() {
        let plain: ProducerRecord<String, &str> = ProducerRecord::new("t", "v");
        assert_eq!((plain.topic.as_str(), plain.value), ("t", Some("v")));
        assert_eq!(
            (plain.partition, plain.timestamp, &plain.key),
            (None, None, &None)
        );
        assert!(plain.headers.is_empty());

        let full = plain
            .key("k".to_owned())
            .partition(3)
            .timestamp(7)
            .header("a", "1")
            .headers([("b", "2")]);
        assert_eq!(full.key.as_deref(), Some("k"));
        assert_eq!(
            (full.partition, full.timestamp, full.value),
            (Some(3), Some(7), Some("v"))
        );
        assert_eq!(full.headers, [("a", "1"), ("b", "2")].into_iter().collect());
        assert!(full.check().is_ok());
    }

    #[test]
    fn a_tombstone_has_no_value() {
        let record: ProducerRecord<&str, &str> =
            ProducerRecord::tombstone(String::from("t")).key("k");
        assert_eq!((record.key, record.value), (Some("k"), None));
    }

    #[test]
    fn negative_partitions_and_timestamps_are_refused_by_name() {
        let record = || ProducerRecord::<(), &str>::new("t", "v");
        for (record, expected) in [
            (record().partition(-1), "the record's partition is -1"),
            (
                record().timestamp(i64::MIN),
                "the record's timestamp is -9223372036854775808",
            ),
        ] {
            let error = record.check().unwrap_err();
            assert_eq!(error.kind(), ErrorKind::InvalidArgument);
            assert!(error.to_string().starts_with(expected), "{error}");
        }
        assert!(record().partition(0).timestamp(0).check().is_ok());
    }

    #[test]
    fn topic_names_of_any_origin_are_equal_and_clones_share_the_text() {
        let shared: Arc<str> = "t".into();
        let names: [TopicName; 3] = ["t".into(), String::from("t").into(), shared.clone().into()];
        assert!(
            names
                .iter()
                .all(|name| name == &names[0] && name.to_string() == "t")
        );
        assert!(Arc::ptr_eq(&Arc::from(names[2].clone()), &shared));
    }

    #[test]
    fn topic_names_follow_kafkas_rule() {
        for legal in ["a", "A-z_0.9", "...", &"x".repeat(249)] {
            assert!(check_topic_name(legal).is_ok(), "{legal}");
        }
        for illegal in [
            "",
            ".",
            "..",
            "a b",
            "a/b",
            "é",
            "a\n",
            &"x".repeat(250),
            &"\u{1}".repeat(100_000),
        ] {
            let error = check_topic_name(illegal).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::InvalidTopic);
            assert!(error.to_string().len() < 2500 && !error.to_string().contains('\n'));
        }
    }

    #[test]
    fn metadata_displays_topic_partition_and_offset() {
        let topic_partition = TopicPartition::new("t", 3);
        let known = RecordMetadata::new(topic_partition.clone(), Some(17), Some(5), None, Some(2));
        assert_eq!(known.to_string(), "t-3@17");
        assert_eq!(
            (known.serialized_key_size(), known.serialized_value_size()),
            (None, Some(2))
        );
        assert_eq!(
            RecordMetadata::new(topic_partition, None, None, None, None).to_string(),
            "t-3"
        );
    }
}
