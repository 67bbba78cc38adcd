//! The errors that a Metadata response has for topics that it does not describe.

use std::sync::Arc;

use crate::error::{CodeRule, Delivery, Error, TopicAnswer};
use crate::protocol::ErrorCode;

/// Returns the error of a topic that an answer does not describe.
pub(super) fn topic_error(name: &Arc<str>, code: ErrorCode) -> Error {
    let message = match code {
        ErrorCode::UNKNOWN_TOPIC_OR_PARTITION => "the topic does not exist",
        code if is_final(code) => "the broker refuses the topic to this client",
        _ => "the broker did not describe the topic",
    };
    let error = Error::answered(code, message);
    let error = match advice(code) {
        Some(advice) => error.with_advice(advice),
        None => error,
    };
    error
        .with_retriable(!is_final(code))
        .with_topic(Arc::clone(name), None)
        .with_delivery(Delivery::NotWritten)
}

/// Returns whether another request cannot help: the user has to choose another name or get a permission.
pub(super) fn is_final(code: ErrorCode) -> bool {
    CodeRule::of(code).topic == TopicAnswer::Refused
}

/// Returns whether the code means that this client has no such topic. With other codes the broker cannot describe the topic
/// at the moment.
pub(super) fn denies_topic(code: ErrorCode) -> bool {
    CodeRule::of(code).topic != TopicAnswer::Unavailable
}

/// What to do about a topic that the broker does not describe, if the usual advice for the error's kind does not fit.
fn advice(code: ErrorCode) -> Option<&'static str> {
    match code {
        ErrorCode::UNKNOWN_TOPIC_OR_PARTITION => {
            Some("create the topic, or let the brokers do it (auto.create.topics.enable)")
        }
        ErrorCode::TOPIC_AUTHORIZATION_FAILED | ErrorCode::CLUSTER_AUTHORIZATION_FAILED => {
            Some("ask for the permission to describe the topic and to write to it")
        }
        ErrorCode::INVALID_TOPIC_EXCEPTION => Some("choose another name for the topic"),
        ErrorCode::INVALID_REPLICATION_FACTOR => Some(
            "wait until enough brokers run for a new topic's replicas, or create the topic with fewer",
        ),
        ErrorCode::POLICY_VIOLATION => {
            Some("create the topic as the brokers' policy for new topics demands")
        }
        ErrorCode::LEADER_NOT_AVAILABLE => Some("wait until the topic has leaders"),
        _ => None,
    }
}
