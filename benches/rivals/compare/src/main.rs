//! Runs the jobs: the participants round robin, each in its own process, against the same broker, with equal settings. Prints a
//! table for each job and draws a chart of all.
//!
//! run.sh builds everything and calls this.

mod arguments;
mod brokers;
mod chart;
mod figures;
mod jobs;
mod participants;
mod payload;
mod process;
#[path = "../../../support/mod.rs"]
mod support;
mod table;

use std::process::{Command, ExitCode};
use std::time::Duration;

use arguments::Arguments;
use brokers::{Broker, Brokers};
use figures::{Counted, Figures, Measurement, Result};
use jobs::Job;
use participants::{Part, Participant};
use process::{Ran, Usage};

fn main() -> ExitCode {
    match Arguments::read().and_then(|arguments| run(&arguments)) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("{error}");
            ExitCode::FAILURE
        }
    }
}

fn run(arguments: &Arguments) -> std::result::Result<(), String> {
    let brokers = Brokers::new(
        arguments.broker(),
        &arguments.programs,
        &arguments.work,
        &arguments.kafka_libs,
    )?;
    let mut results = Vec::new();
    for job in &arguments.jobs {
        match Compared::prepare(arguments, &brokers, job).and_then(Compared::run) {
            Ok(result) => {
                table::print(&result);
                results.push(result);
            }
            Err(reason) => println!("\n{}: not run: {reason}", job.name),
        }
        // Written after each job, for a run that is ended early.
        chart::write(&arguments.work.join("chart.svg"), &results)?;
        table::write_json(&arguments.work.join("results.jsonl"), &results)?;
    }
    println!("\nchart: {}", arguments.work.join("chart.svg").display());
    Ok(())
}

/// One job, ready to be run.
struct Compared<'a> {
    arguments: &'a Arguments,
    job: &'a Job,
    topic: String,
    payload: std::path::PathBuf,
    broker: Broker,
    /// For those that are measured without TLS in a job with TLS.
    plaintext_broker: Option<Broker>,
}

impl<'a> Compared<'a> {
    fn prepare(
        arguments: &'a Arguments,
        brokers: &Brokers,
        job: &'a Job,
    ) -> std::result::Result<Self, String> {
        // The null broker gives a topic as many partitions as its name says.
        let topic = format!("rivals-{}", job.partitions());
        Ok(Self {
            payload: payload::file(&arguments.work, job.record_bytes(), job.data)?,
            broker: brokers.broker_for(job, &topic)?,
            plaintext_broker: brokers.broker_beside(job),
            arguments,
            job,
            topic,
        })
    }

    /// Runs all participants once with almost no records, then round robin with the load.
    fn run(mut self) -> std::result::Result<Result, String> {
        let taking_part: Vec<_> = self
            .arguments
            .participants
            .iter()
            .filter(|participant| participant.takes_part_in(self.job))
            .collect();
        let mut start_up = Vec::new();
        for participant in &taking_part {
            start_up.push(self.start_up(participant));
        }
        let mut measurements = Vec::new();
        for number in 1..=self.arguments.repetitions {
            for (participant, &start_up) in taking_part.iter().zip(&start_up) {
                let measurement = self.measure(participant, start_up);
                table::print_progress(self.job, participant.name, number, &measurement);
                measurements.push((participant.name, number, measurement));
            }
        }
        Ok(Result {
            job: self.job.clone(),
            measurements,
        })
    }

    /// Measures what the start and the end of `participant` use. Zero if it fails: then its measurements fail too.
    fn start_up(&mut self, participant: &Participant) -> Usage {
        if participant.missing.is_some() || !self.job.is_timed() {
            return Usage::default();
        }
        let ran = self.drive(participant, &[("records", "1".to_owned())]);
        ran.map_or(Usage::default(), |ran| ran.usage)
    }

    fn measure(&mut self, participant: &Participant, start_up: Usage) -> Measurement {
        if let Some(reason) = &participant.missing {
            return Measurement::Missing(reason.clone());
        }
        let end = match self.job.option("records") {
            Some(records) => ("records", records.to_owned()),
            None => ("seconds", self.arguments.seconds.to_string()),
        };
        let broker = self.broker_of(participant);
        let (cpu_before, seen_before) = (broker.cpu_time(), broker.seen());
        let ran = match self.drive(participant, &[end]) {
            Ok(ran) => ran,
            Err(reason) => return Measurement::Failed(reason),
        };
        if let Some(reason) = ran.report.get("not_available") {
            return Measurement::NotAvailable(
                reason.as_str().unwrap_or("no reason given").to_owned(),
            );
        }
        let broker = self.broker_of(participant);
        let broker_cpu = broker
            .cpu_time()
            .zip(cpu_before)
            .map(|(after, before)| after.saturating_sub(before));
        let counted = broker.seen().zip(seen_before);
        let counted = counted.map(|(after, before)| Counted {
            records: after.records - before.records,
            bytes: after.bytes - before.bytes,
        });
        let (broker_cpu, counted) = match participant.part {
            Part::Encrypts => (None, None),
            _ => (broker_cpu, counted),
        };
        let Some(figures) = Figures::new(self.job, &ran, start_up, broker_cpu, counted) else {
            return Measurement::Failed(format!("its report is incomplete: {}", ran.report));
        };
        let reported = figures.records + figures.warm_up;
        match counted {
            Some(counted) if counted.records != reported => Measurement::Failed(format!(
                "it reports {reported} records, but the broker counted {}",
                counted.records
            )),
            _ => Measurement::Done(figures),
        }
    }

    fn broker_of(&mut self, participant: &Participant) -> &mut Broker {
        match (participant.part, &mut self.plaintext_broker) {
            (Part::SendsPlaintext | Part::SendsBesideTls, Some(broker)) => broker,
            _ => &mut self.broker,
        }
    }

    fn drive(
        &mut self,
        participant: &Participant,
        end: &[(&str, String)],
    ) -> std::result::Result<Ran, String> {
        let mut command = Command::new(participant.program(&self.arguments.programs));
        let mut option = |name: &str, value: &str| {
            command.arg(format!("--{name}")).arg(value);
        };
        option("topic", &self.topic);
        option("payload", &self.payload.display().to_string());
        let broker = self.broker_of(participant);
        option("bootstrap", &broker.bootstrap);
        if let Some(process) = broker.process {
            option("broker-process", &process.to_string());
        }
        if let Some(authority) = &broker.tls_authority {
            option("tls-authority", &authority.display().to_string());
        }
        for (name, value) in &self.job.options {
            if *name != "records" {
                option(name, value);
            }
        }
        for (name, value) in participant.options {
            option(name, value);
        }
        for (name, value) in end {
            option(name, value);
        }
        let limit = Duration::from_secs_f64(self.arguments.seconds) + Duration::from_secs(120);
        process::run(command, limit)
    }
}
