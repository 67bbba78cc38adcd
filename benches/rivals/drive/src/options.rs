//! The command line that all drivers have in common.

use std::collections::HashMap;
use std::path::PathBuf;
use std::str::FromStr;
use std::time::Duration;

use crate::BoxError;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Acks {
    None,
    Leader,
    All,
}

/// How records get to partitions.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Spread {
    /// By the client's default partitioner.
    Default,
    /// One after the other.
    RoundRobin,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// As many records as the client takes.
    Throughput,
    /// So many a second.
    Paced,
    /// One record after the other, each waited for.
    Latency,
    /// As many records as the client takes while the broker is stopped.
    Outage,
    /// As throughput; then the client has nothing to do for a while.
    Burst,
}

#[derive(Clone, Copy, Debug, PartialEq)]
pub enum End {
    Records(u64),
    Span(Duration),
}

#[derive(Clone, Debug)]
pub struct Options {
    pub bootstrap: String,
    pub topic: String,
    pub record_bytes: usize,
    pub partitions: i32,
    pub threads: usize,
    pub acks: Acks,
    pub idempotence: bool,
    pub linger: Duration,
    pub batch_bytes: usize,
    pub buffer_bytes: usize,
    /// Requests on one connection.
    pub in_flight: usize,
    /// As in `compression.type`.
    pub codec: String,
    /// The number of keys in use; 0 for records without one.
    pub keys: usize,
    /// The number of headers on each record.
    pub headers: usize,
    pub callbacks: bool,
    pub spread: Spread,
    /// Of a client that has several ways to send, which.
    pub api: String,
    pub mode: Mode,
    /// Records a second, all threads together.
    pub rate: f64,
    pub end: End,
    /// Values of `record_bytes` each, one on each line.
    pub payload: PathBuf,
    /// Whom to stop for an outage.
    pub broker_process: u32,
    /// The certificate of the broker's authority, in PEM: the broker speaks TLS 1.3. `None` for plaintext.
    pub tls_authority: Option<PathBuf>,
}

impl Options {
    /// The settings for TLS by the names that Java has. Empty for plaintext.
    pub fn tls_properties(&self) -> Vec<(&'static str, String)> {
        let Some(authority) = &self.tls_authority else {
            return Vec::new();
        };
        vec![
            ("security.protocol", "SSL".to_owned()),
            ("ssl.enabled.protocols", "TLSv1.3".to_owned()),
            ("ssl.truststore.type", "PEM".to_owned()),
            ("ssl.truststore.location", authority.display().to_string()),
        ]
    }

    /// The settings not named have the values that most jobs use.
    pub fn from_arguments() -> Result<Self, BoxError> {
        let mut named = Named::read()?;
        let options = Self {
            bootstrap: named.take("bootstrap", None)?,
            topic: named.take("topic", None)?,
            record_bytes: named.take("record-bytes", Some("100"))?,
            partitions: named.take("partitions", Some("8"))?,
            threads: named.take("threads", Some("1"))?,
            acks: named.choose("acks", ACKS)?,
            idempotence: named.take("idempotence", Some("false"))?,
            linger: Duration::from_millis(named.take("linger-ms", Some("5"))?),
            batch_bytes: named.take("batch-bytes", Some("16384"))?,
            buffer_bytes: named.take("buffer-bytes", Some("33554432"))?,
            in_flight: named.take("in-flight", Some("5"))?,
            codec: named.take("codec", Some("none"))?,
            keys: named.take("keys", Some("0"))?,
            headers: named.take("headers", Some("0"))?,
            callbacks: named.take("callbacks", Some("false"))?,
            spread: named.choose("spread", SPREADS)?,
            api: named.take("api", Some("send"))?,
            mode: named.choose("mode", MODES)?,
            rate: named.take("rate", Some("1000"))?,
            end: named.end()?,
            payload: named.take("payload", None)?,
            broker_process: named.take("broker-process", Some("0"))?,
            tls_authority: named.take_path("tls-authority"),
        };
        named.must_be_empty()?;
        Ok(options)
    }
}

const ACKS: &[(&str, Acks)] = &[("1", Acks::Leader), ("0", Acks::None), ("all", Acks::All)];
const SPREADS: &[(&str, Spread)] = &[
    ("default", Spread::Default),
    ("round-robin", Spread::RoundRobin),
];
const MODES: &[(&str, Mode)] = &[
    ("throughput", Mode::Throughput),
    ("paced", Mode::Paced),
    ("latency", Mode::Latency),
    ("outage", Mode::Outage),
    ("burst", Mode::Burst),
];

/// Pairs of `--name value`.
struct Named(HashMap<String, String>);

impl Named {
    fn read() -> Result<Self, BoxError> {
        let mut arguments = std::env::args().skip(1);
        let mut named = HashMap::new();
        while let Some(name) = arguments.next() {
            let value = arguments.next();
            let (Some(name), Some(value)) = (name.strip_prefix("--"), value) else {
                return Err(format!("expected --name value, not {name}").into());
            };
            named.insert(name.to_owned(), value);
        }
        Ok(Self(named))
    }

    fn take<T: FromStr>(&mut self, name: &str, default: Option<&str>) -> Result<T, BoxError>
    where
        T::Err: std::fmt::Display,
    {
        let given = self.0.remove(name);
        let text = given
            .as_deref()
            .or(default)
            .ok_or_else(|| format!("--{name} is missing"))?;
        text.parse()
            .map_err(|error| format!("--{name} {text}: {error}").into())
    }

    fn take_path(&mut self, name: &str) -> Option<PathBuf> {
        self.0.remove(name).map(PathBuf::from)
    }

    /// One of `choices`; the first if none is named.
    fn choose<T: Copy>(&mut self, name: &str, choices: &[(&str, T)]) -> Result<T, BoxError> {
        let text: String = self.take(name, Some(choices[0].0))?;
        let choice = choices.iter().find(|(choice, _)| *choice == text);
        choice
            .map(|(_, choice)| *choice)
            .ok_or_else(|| format!("--{name} cannot be {text}").into())
    }

    fn end(&mut self) -> Result<End, BoxError> {
        if self.0.contains_key("records") {
            return Ok(End::Records(self.take("records", None)?));
        }
        let seconds = self.take("seconds", Some("5"))?;
        Ok(End::Span(Duration::try_from_secs_f64(seconds)?))
    }

    fn must_be_empty(&self) -> Result<(), BoxError> {
        match self.0.keys().next() {
            Some(name) => Err(format!("--{name} is no option of drivers").into()),
            None => Ok(()),
        }
    }
}
