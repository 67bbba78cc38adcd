//! The error of a caller whose wait for a topic, or for a partition of it, timed out.

use std::fmt::Write as _;

use super::cluster::Cluster;
use super::waiters::Wanted;
use crate::error::{Error, ErrorKind};

/// Returns the error, in Java's words, because users search the web for them. `cause` is the latest answer about the topic,
/// or why no broker answered.
pub(super) fn missing(wanted: Wanted<'_>, cluster: &Cluster, cause: Option<&Error>) -> Error {
    let Wanted {
        topic,
        partition,
        max_block,
    } = wanted;
    let ms = max_block.as_millis();
    let has_not_waited = max_block.is_zero();
    let (kind, mut message) = match (cluster.topics.get(topic), partition) {
        (Some(metadata), Some(partition)) => (
            ErrorKind::UnknownPartition,
            format!(
                "Partition {partition} of topic {topic} with partition count {} is not present in metadata{}",
                metadata.partitions.len(),
                match has_not_waited {
                    true => String::new(),
                    false => format!(" after {ms} ms"),
                }
            ),
        ),
        _ if has_not_waited => (
            ErrorKind::MetadataTimeout,
            format!("The metadata of topic {topic} is not known yet; it was requested"),
        ),
        _ => (
            ErrorKind::MetadataTimeout,
            format!("Topic {topic} not present in metadata after {ms} ms"),
        ),
    };
    let advise = |error: Error| match (kind, cause) {
        // The call did not wait, so a longer max.block.ms would not help it.
        (ErrorKind::MetadataTimeout, None) if has_not_waited => error.with_advice("try again soon"),
        (ErrorKind::MetadataTimeout, Some(_)) if has_not_waited => {
            error.with_advice("check bootstrap.servers and the brokers, and try again")
        }
        _ => error,
    };
    let Some(cause) = cause else {
        return advise(Error::new(kind, message));
    };
    // The message has the cause, too, for users who print only the error itself. The usual cause is a typo in an address.
    match cause.error_code() {
        Some(code) => {
            // The error itself displays the broker's answer.
            let _ = write!(message, " (last attempt: {})", cause.message());
            Error::new(kind, message)
                .with_source(cause.clone().without_advice())
                .with_broker_code(code)
                .with_advice_of(cause)
        }
        None => {
            let _ = write!(message, " (last attempt: {})", cause.summary());
            advise(Error::new(kind, message).with_source(cause.clone().without_advice()))
                .with_advice_of_attempt(cause)
        }
    }
}
