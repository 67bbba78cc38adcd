//! The records that are sent, the same for every client.

use std::sync::Arc;
use std::time::Instant;

use crate::BoxError;
use crate::options::{Options, Spread};

/// A record to be sent.
pub struct Outgoing {
    /// Shared and never freed, for clients that take a reference of either kind; the others copy it.
    pub value: &'static Arc<[u8]>,
    pub key: Option<&'static Arc<[u8]>>,
    pub headers: &'static [(&'static str, &'static [u8])],
    /// None: the client is to choose.
    pub partition: Option<i32>,
    /// When it should have been sent, if its latency is to be told.
    pub due: Option<Instant>,
}

/// Makes one thread's records.
#[derive(Clone)]
pub struct Records {
    values: &'static [Arc<[u8]>],
    keys: &'static [Arc<[u8]>],
    headers: &'static [(&'static str, &'static [u8])],
    partitions: Option<i32>,
    next: usize,
}

impl Records {
    pub fn new(options: &Options) -> Result<Self, BoxError> {
        let payload = std::fs::read(&options.payload)?;
        let values: Vec<Arc<[u8]>> = payload
            .split(|&byte| byte == b'\n')
            .filter(|value| !value.is_empty())
            .map(Arc::from)
            .collect();
        if values.is_empty()
            || values
                .iter()
                .any(|value| value.len() != options.record_bytes)
        {
            let size = options.record_bytes;
            return Err(format!("the payload's lines are not of {size} bytes each").into());
        }
        let keys = (0..options.keys).map(|key| format!("key-{key:06}").into_bytes().into());
        let keys: Vec<_> = keys.collect();
        Ok(Self {
            values: values.leak(),
            keys: keys.leak(),
            headers: HEADERS
                .get(..options.headers)
                .ok_or_else(|| format!("there are {} headers at most", HEADERS.len()))?,
            partitions: (options.spread == Spread::RoundRobin).then_some(options.partitions),
            next: 0,
        })
    }

    /// The same records, begun at another place for each thread.
    pub fn of_thread(&self, thread: usize) -> Self {
        Self {
            next: thread * 31,
            ..self.clone()
        }
    }

    #[expect(
        clippy::should_implement_trait,
        reason = "it has no end, and a loop over it would not end"
    )]
    pub fn next(&mut self) -> Outgoing {
        let number = self.next;
        self.next = number.wrapping_add(1);
        let pick = |from: &'_ [Arc<[u8]>]| match from.len() {
            0 => None,
            1 => Some(0),
            count => Some(number % count),
        };
        Outgoing {
            value: &self.values[pick(self.values).unwrap_or(0)],
            key: pick(self.keys).map(|key| &self.keys[key]),
            headers: self.headers,
            partition: self
                .partitions
                .map(|count| (number % count as usize) as i32),
            due: None,
        }
    }

    pub fn next_due(&mut self, due: Instant) -> Outgoing {
        Outgoing {
            due: Some(due),
            ..self.next()
        }
    }
}

const HEADERS: &[(&str, &[u8])] = &[
    ("trace-id", b"4bf92f3577b34da6a3ce929d0e0e4736"),
    ("source", b"benchmark"),
    ("content-type", b"application/json"),
    ("schema", b"17"),
];
