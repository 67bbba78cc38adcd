//! One attempt: the brokers that it asks, one after the other, and what it asks them.

use std::collections::{HashSet, VecDeque};

use super::decision::{PendingRequests, Scope};
use crate::connection::Endpoint;
use crate::error::{Error, ErrorKind};

/// An attempt to get answers to what was requested when it began.
pub(super) struct Attempt {
    pending: PendingRequests,
    /// The brokers to ask after the current one.
    candidates: VecDeque<Endpoint>,
    current: Option<Current>,
    /// The addresses at which a new connection failed.
    failed: HashSet<Endpoint>,
    last_error: Option<Error>,
    is_incomplete: bool,
}

/// The broker that is being asked.
struct Current {
    endpoint: Endpoint,
    is_new_connection: bool,
    /// Whether there are other brokers to ask.
    has_others: bool,
    step: Step,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Step {
    Connect,
    AskMetadata(Scope),
    MakeCall,
}

impl Attempt {
    pub(super) fn new(pending: PendingRequests, candidates: Vec<Endpoint>) -> Self {
        Self {
            pending,
            candidates: candidates.into(),
            current: None,
            failed: HashSet::new(),
            last_error: None,
            is_incomplete: false,
        }
    }

    pub(super) fn pending(&self) -> PendingRequests {
        self.pending
    }

    /// Whether something has to be asked again.
    pub(super) fn is_incomplete(&self) -> bool {
        self.is_incomplete
    }

    /// The broker that is being asked.
    pub(super) fn asked(&self) -> Option<&Endpoint> {
        self.current.as_ref().map(|current| &current.endpoint)
    }

    pub(super) fn step(&self) -> Option<Step> {
        self.current.as_ref().map(|current| current.step)
    }

    /// Whether there are other brokers to ask.
    pub(super) fn has_others(&self) -> bool {
        self.current
            .as_ref()
            .is_some_and(|current| current.has_others)
    }

    pub(super) fn has_candidates(&self) -> bool {
        !self.candidates.is_empty()
    }

    /// Selects the next broker, unless one is being asked or no candidate remains. The thread asks it without a new
    /// connection if it is `connected` to it.
    pub(super) fn select_next(&mut self, connected: Option<&Endpoint>, is_rebootstrap: bool) {
        if self.current.is_some() {
            return;
        }
        let Some(endpoint) = self.candidates.pop_front() else {
            return;
        };
        let is_new_connection = connected != Some(&endpoint);
        self.current = Some(Current {
            is_new_connection,
            has_others: self.has_candidates() || !self.failed.is_empty(),
            step: match is_new_connection {
                true => Step::Connect,
                false => self.first_request(is_rebootstrap),
            },
            endpoint,
        });
    }

    /// Notes that the thread has connected. The first request is for all topics if `asks_all` is true.
    pub(super) fn note_connection(&mut self, asks_all: bool) {
        self.set_step(self.first_request(asks_all));
    }

    fn first_request(&self, asks_all: bool) -> Step {
        if self.pending.refresh || asks_all {
            Step::AskMetadata(Scope::TopicsInUse)
        } else if self.pending.topics {
            Step::AskMetadata(Scope::RequestedTopics)
        } else {
            Step::MakeCall
        }
    }

    /// Notes that the broker has described topics. Returns whether the attempt is complete: no call is due, or it may not
    /// be made.
    pub(super) fn note_metadata(&mut self, is_incomplete: bool, may_call: bool) -> bool {
        self.is_incomplete |= is_incomplete;
        let makes_call = self.pending.call && may_call;
        if makes_call {
            self.set_step(Step::MakeCall);
        }
        !makes_call
    }

    /// Notes that the broker has answered the call.
    pub(super) fn note_call(&mut self, is_incomplete: bool) {
        self.is_incomplete |= is_incomplete;
    }

    fn set_step(&mut self, step: Step) {
        if let Some(current) = &mut self.current {
            current.step = step;
        }
    }

    /// Notes that the broker that was asked failed. Returns its address.
    pub(super) fn fail(&mut self, error: Error) -> Option<Endpoint> {
        let current = self.current.take()?;
        // Another broker that cannot be reached does not hide that one refuses this client.
        let weight = |error: &Error| (error.is_refusal(), error.delays_reconnect());
        if self.last_error.as_ref().map(weight) <= Some(weight(&error)) {
            self.last_error = Some(error);
        }
        // If an old connection ends, a new one to the same address can still succeed.
        if current.is_new_connection {
            self.failed.insert(current.endpoint.clone());
        }
        Some(current.endpoint)
    }

    /// Replaces the remaining candidates by those of these brokers that have not failed.
    pub(super) fn replace_candidates(&mut self, candidates: Vec<Endpoint>) {
        self.candidates = candidates.into();
        self.candidates.retain(|other| !self.failed.contains(other));
    }

    pub(super) fn add_candidate(&mut self, endpoint: Endpoint) {
        self.candidates.push_back(endpoint);
    }

    /// Whether the next attempt must not follow soon: a broker refuses this client, or accepts no connection for the moment.
    pub(super) fn is_delayed(&self) -> bool {
        self.last_error
            .as_ref()
            .is_some_and(Error::delays_reconnect)
    }

    /// Why the attempt failed.
    pub(super) fn into_error(self) -> Error {
        self.last_error
            .unwrap_or_else(|| Error::new(ErrorKind::Network, "no broker is known"))
    }
}
