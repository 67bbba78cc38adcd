//! The command line. run.sh adds where things are.

use std::path::PathBuf;

use crate::brokers::Kind;
use crate::jobs::{self, Job};
use crate::participants::{Participant, participants};

pub(crate) struct Arguments {
    pub(crate) jobs: Vec<Job>,
    pub(crate) participants: Vec<Participant>,
    pub(crate) seconds: f64,
    pub(crate) repetitions: usize,
    broker: String,
    /// Where the programs are.
    pub(crate) programs: PathBuf,
    /// Where to write.
    pub(crate) work: PathBuf,
    /// Kafka's jars.
    pub(crate) kafka_libs: PathBuf,
}

const USAGE: &str = "sh benches/rivals/run.sh [--jobs a,b,c | --quick | --list] [--only ours,java] [--seconds 5] [--repetitions 2]
    [--broker null|real|host:port]
  --jobs   names of jobs or of groups of them, or growth, or all (the default)
  --quick  a choice of jobs that takes some minutes
  --list   only print the names
  --only   leave out participants whose names do not begin like this";

impl Arguments {
    pub(crate) fn read() -> Result<Self, String> {
        let mut given = Given::default();
        given.read(std::env::args().skip(1))?;
        let missing = match &given.missing {
            Some(file) => std::fs::read_to_string(file).map_err(|error| error.to_string())?,
            None => String::new(),
        };
        if given.list {
            for job in jobs::all() {
                println!("{:<12} {}", job.group, job.name);
            }
            std::process::exit(0);
        }
        Ok(Self {
            jobs: given.select_jobs()?,
            participants: participants(&given.only, &missing),
            seconds: given.seconds.unwrap_or(if given.quick { 2.0 } else { 5.0 }),
            repetitions: given.repetitions.unwrap_or(2),
            broker: given.broker.unwrap_or_else(|| "null".to_owned()),
            programs: given.programs.ok_or("--programs is missing")?,
            work: given.work.ok_or("--work is missing")?,
            kafka_libs: given.kafka_libs.unwrap_or_default(),
        })
    }

    pub(crate) fn broker(&self) -> Kind {
        Kind::parse(&self.broker)
    }
}

#[derive(Default)]
struct Given {
    jobs: Vec<String>,
    only: Vec<String>,
    quick: bool,
    list: bool,
    seconds: Option<f64>,
    repetitions: Option<usize>,
    broker: Option<String>,
    missing: Option<PathBuf>,
    programs: Option<PathBuf>,
    work: Option<PathBuf>,
    kafka_libs: Option<PathBuf>,
}

impl Given {
    fn read(&mut self, mut arguments: impl Iterator<Item = String>) -> Result<(), String> {
        while let Some(name) = arguments.next() {
            match name.as_str() {
                "--quick" => self.quick = true,
                "--list" => self.list = true,
                "--help" => {
                    println!("{USAGE}");
                    std::process::exit(0);
                }
                _ => {
                    let value = arguments.next().ok_or(USAGE)?;
                    self.take(&name, &value)?;
                }
            }
        }
        Ok(())
    }

    fn take(&mut self, name: &str, value: &str) -> Result<(), String> {
        let words = || {
            value
                .split(',')
                .map(|word| word.trim().to_owned())
                .collect()
        };
        let not_a_number = |_| format!("{name} {value}: not a number");
        match name {
            "--jobs" => self.jobs = words(),
            "--only" => self.only = words(),
            "--seconds" => self.seconds = Some(value.parse().map_err(not_a_number)?),
            "--repetitions" => {
                let repetitions = value.parse();
                self.repetitions =
                    Some(repetitions.map_err(|_| format!("{name} {value}: not a number"))?);
            }
            "--broker" => self.broker = Some(value.to_owned()),
            "--missing" => self.missing = Some(value.into()),
            "--programs" => self.programs = Some(value.into()),
            "--work" => self.work = Some(value.into()),
            "--kafka-libs" => self.kafka_libs = Some(value.into()),
            _ => return Err(format!("{name} is unknown\n{USAGE}")),
        }
        Ok(())
    }

    fn select_jobs(&self) -> Result<Vec<Job>, String> {
        let all = jobs::all();
        for word in &self.jobs {
            if !all.iter().any(|job| job.is_selected_by(word)) {
                return Err(format!("there is no job {word}; --list prints them"));
            }
        }
        let is_wanted = |job: &Job| match (self.jobs.is_empty(), self.quick) {
            (true, quick) => !quick || job.quick,
            (false, _) => self.jobs.iter().any(|word| job.is_selected_by(word)),
        };
        Ok(all.into_iter().filter(is_wanted).collect())
    }
}
