//! What came of a turn.

use std::time::Duration;

use serde_json::{Value, json};

use crate::jobs::Job;
use crate::process::{Ran, Usage};

/// All turns of a job, in the order in which they were run: who, which turn, what came of it.
pub(crate) struct Result {
    pub(crate) job: Job,
    pub(crate) turns: Vec<(&'static str, usize, Turn)>,
}

pub(crate) enum Turn {
    Done(Figures),
    /// It could not be built.
    Missing(String),
    /// It cannot do this.
    NotAvailable(String),
    Failed(String),
}

/// What the broker counted of a turn.
#[derive(Clone, Copy)]
pub(crate) struct Counted {
    pub(crate) records: u64,
    /// Of batches as they came, compressed or not.
    pub(crate) bytes: u64,
}

#[derive(Clone, Debug, Default)]
pub(crate) struct Figures {
    pub(crate) records: u64,
    /// Sent before these and not counted in any other figure.
    pub(crate) warm_up: u64,
    pub(crate) records_per_second: f64,
    pub(crate) megabytes_per_second: f64,
    /// User and system time of the driver, without its start and end.
    pub(crate) cpu_us_per_record: f64,
    /// The same, as a share of one core, while it ran.
    pub(crate) core_percent: f64,
    pub(crate) broker_cpu_us_per_record: Option<f64>,
    /// What a record takes in its batch on the wire, header and all.
    pub(crate) wire_bytes_per_record: Option<f64>,
    pub(crate) peak_rss_megabytes: f64,
    pub(crate) voluntary_switches_per_second: f64,
    pub(crate) involuntary_switches_per_second: f64,
    pub(crate) latency_ms: Option<LatencyMs>,
    pub(crate) resident: Value,
}

#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct LatencyMs {
    pub(crate) p50: f64,
    pub(crate) p99: f64,
    pub(crate) p999: f64,
}

impl Figures {
    /// None if the driver's report lacks something.
    pub(crate) fn new(
        job: &Job,
        ran: &Ran,
        start_up: Usage,
        broker_cpu: Option<Duration>,
        counted: Option<Counted>,
    ) -> Option<Self> {
        let records = ran
            .said
            .get("records")?
            .as_u64()
            .filter(|&count| count > 0)?;
        let warm_up = ran.said.get("warm_up").and_then(Value::as_u64).unwrap_or(0);
        let seconds = ran.said.get("seconds")?.as_f64()?;
        // A start that cost more than the whole run says nothing of the rest: no figure, and not a perfect one.
        let cpu = ran.usage.cpu.checked_sub(start_up.cpu);
        let cpu = cpu.map_or(f64::NAN, |cpu| cpu.as_secs_f64());
        let switches = |all: u64, at_start: u64| {
            let more = all.checked_sub(at_start);
            more.map_or(f64::NAN, |more| more as f64 / seconds)
        };
        let per_second = records as f64 / seconds;
        Some(Self {
            records,
            warm_up,
            records_per_second: per_second,
            megabytes_per_second: per_second * job.record_bytes() as f64 / 1e6,
            cpu_us_per_record: cpu * 1e6 / records as f64,
            core_percent: cpu / seconds * 100.0,
            broker_cpu_us_per_record: broker_cpu
                .map(|cpu| cpu.as_secs_f64() * 1e6 / (records + warm_up) as f64),
            wire_bytes_per_record: counted
                .map(|counted| counted.bytes as f64 / counted.records as f64),
            peak_rss_megabytes: ran.usage.peak_rss_bytes as f64 / 1e6,
            voluntary_switches_per_second: switches(
                ran.usage.voluntary_switches,
                start_up.voluntary_switches,
            ),
            involuntary_switches_per_second: switches(
                ran.usage.involuntary_switches,
                start_up.involuntary_switches,
            ),
            latency_ms: LatencyMs::read(ran.said.get("latency_ms")?),
            resident: ran.said.get("resident_kib").cloned().unwrap_or_default(),
        })
    }

    pub(crate) fn to_json(&self) -> Value {
        json!({
            "records": self.records,
            "records_per_second": self.records_per_second,
            "megabytes_per_second": self.megabytes_per_second,
            "cpu_us_per_record": self.cpu_us_per_record,
            "core_percent": self.core_percent,
            "broker_cpu_us_per_record": self.broker_cpu_us_per_record,
            "wire_bytes_per_record": self.wire_bytes_per_record,
            "peak_rss_megabytes": self.peak_rss_megabytes,
            "voluntary_switches_per_second": self.voluntary_switches_per_second,
            "involuntary_switches_per_second": self.involuntary_switches_per_second,
            "latency_ms": self.latency_ms.map(|ms| json!({"p50": ms.p50, "p99": ms.p99, "p999": ms.p999})),
            "resident_kib": self.resident,
        })
    }
}

impl LatencyMs {
    fn read(said: &Value) -> Option<Self> {
        let at = |name| said.get(name)?.as_f64();
        Some(Self {
            p50: at("p50")?,
            p99: at("p99")?,
            p999: at("p999")?,
        })
    }
}

/// One participant's turns, taken together.
pub(crate) struct Row<'a> {
    pub(crate) name: &'static str,
    /// Of each turn that was done, its figures and those of the floor's turn beside it.
    pub(crate) done: Vec<(&'a Figures, Option<&'a Figures>)>,
    /// Why a turn has no figures.
    pub(crate) complaint: Option<String>,
}

impl Result {
    pub(crate) fn rows(&self) -> Vec<Row<'_>> {
        let mut rows: Vec<Row<'_>> = Vec::new();
        for (name, number, turn) in &self.turns {
            let index = rows.iter().position(|row| row.name == *name);
            let index = index.unwrap_or_else(|| {
                rows.push(Row {
                    name,
                    done: Vec::new(),
                    complaint: None,
                });
                rows.len() - 1
            });
            match turn {
                Turn::Done(figures) => rows[index].done.push((figures, self.floor_in(*number))),
                Turn::Missing(reason) => rows[index].complaint = Some(format!("missing: {reason}")),
                Turn::NotAvailable(reason) => {
                    rows[index].complaint = Some(format!("n/a: {reason}"))
                }
                Turn::Failed(reason) => rows[index].complaint = Some(format!("FAILED: {reason}")),
            }
        }
        rows
    }

    fn floor_in(&self, number: usize) -> Option<&Figures> {
        self.turns.iter().find_map(|(name, of, turn)| match turn {
            Turn::Done(figures) if *name == "floor" && *of == number => Some(figures),
            _ => None,
        })
    }
}

impl Row<'_> {
    /// The mean of the turns; none if there were none, or one of them has no such figure.
    pub(crate) fn mean(&self, figure: impl Fn(&Figures) -> Option<f64>) -> Option<f64> {
        mean(self.done.iter().map(|(figures, _)| figure(figures)))
    }

    /// The mean of the turns' ratios to the floor's turn beside them.
    pub(crate) fn of_floor(&self, figure: impl Fn(&Figures) -> Option<f64>) -> Option<f64> {
        mean(self.done.iter().map(|(figures, floor)| {
            let ratio = figure(figures)? / figure((*floor)?)?;
            ratio.is_finite().then_some(ratio)
        }))
    }
}

fn mean(figures: impl ExactSizeIterator<Item = Option<f64>>) -> Option<f64> {
    let count = figures.len();
    let sum: f64 = figures.sum::<Option<f64>>()?;
    (count > 0).then(|| sum / count as f64)
}
