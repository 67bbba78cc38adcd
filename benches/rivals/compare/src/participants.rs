//! Who takes part, and with which program.

use std::path::{Path, PathBuf};

use crate::jobs::Job;

#[derive(Clone, Debug)]
pub(crate) struct Participant {
    pub(crate) name: &'static str,
    program: &'static str,
    /// Over and above the job's options.
    pub(crate) options: Options,
    pub(crate) part: Part,
    /// Why it does not take part, if so.
    pub(crate) missing: Option<String>,
}

/// What a participant does in a job.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Part {
    /// Sends to the job's broker.
    Sends,
    /// Sends to a broker without TLS, whatever the job says.
    SendsPlaintext,
    /// As `SendsPlaintext`, and takes part in jobs with TLS only.
    SendsBesideTls,
    /// Encrypts, sends nothing, and takes part in jobs with TLS only.
    Encrypts,
}

/// Names and values.
type Options = &'static [(&'static str, &'static str)];

const ALL: &[(&str, &str, Options, Part)] = &[
    ("floor", "floor", &[], Part::SendsPlaintext),
    ("encryption", "encryption", &[], Part::Encrypts),
    ("ours", "ours", &[], Part::Sends),
    ("ours, plaintext", "ours", &[], Part::SendsBesideTls),
    (
        "ours, send_all",
        "ours",
        &[("api", "send_all")],
        Part::Sends,
    ),
    (
        "ours, send_all, plaintext",
        "ours",
        &[("api", "send_all")],
        Part::SendsBesideTls,
    ),
    (
        "ours, callbacks",
        "ours",
        &[("callbacks", "true")],
        Part::Sends,
    ),
    ("librdkafka", "librdkafka", &[], Part::Sends),
    ("java", "java", &[], Part::Sends),
    ("franz-go", "franz-go", &[], Part::Sends),
    ("confluent-kafka", "confluent-kafka", &[], Part::Sends),
    ("krafka", "krafka", &[], Part::Sends),
];

/// All of them, or those whose name begins with one of `only`. What run.sh could not build stands in `missing`, a line each:
/// the program's name, a blank, the reason.
pub(crate) fn participants(only: &[String], missing: &str) -> Vec<Participant> {
    let reason = |program: &str| {
        let lines = missing.lines().filter_map(|line| line.split_once(' '));
        let mut reasons = lines.filter(|(name, _)| *name == program);
        reasons.next().map(|(_, reason)| reason.to_owned())
    };
    let is_wanted = |name: &str| only.is_empty() || only.iter().any(|only| name.starts_with(only));
    ALL.iter()
        .filter(|(name, ..)| is_wanted(name))
        .map(|&(name, program, options, part)| Participant {
            name,
            program,
            options,
            part,
            missing: reason(program),
        })
        .collect()
}

impl Participant {
    pub(crate) fn program(&self, folder: &Path) -> PathBuf {
        folder.join(self.program)
    }

    /// The ways to send of ours that differ from plain `send` only where something is sent.
    pub(crate) fn takes_part_in(&self, job: &Job) -> bool {
        if matches!(self.part, Part::SendsBesideTls | Part::Encrypts) && !job.tls {
            return false;
        }
        let mode = job.option("mode").unwrap_or("throughput");
        match self.name {
            "ours, send_all" | "ours, send_all, plaintext" => {
                mode == "throughput" && job.name != "callbacks"
            }
            "ours, callbacks" => {
                matches!(mode, "paced" | "latency" | "outage") && job.name != "idle"
            }
            _ => true,
        }
    }
}
