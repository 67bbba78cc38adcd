//! The results of one measurement.

use std::time::Duration;

use serde_json::{Value, json};

use crate::jobs::Job;
use crate::process::{Ran, Usage};

/// All measurements of a job, in the order in which they were made: the participant, the repetition, the result.
pub(crate) struct Result {
    pub(crate) job: Job,
    pub(crate) measurements: Vec<(&'static str, usize, Measurement)>,
}

pub(crate) enum Measurement {
    Done(Figures),
    /// It could not be built.
    Missing(String),
    /// It cannot do this.
    NotAvailable(String),
    Failed(String),
}

/// What the broker counted during a measurement.
#[derive(Clone, Copy)]
pub(crate) struct Counted {
    pub(crate) records: u64,
    /// The bytes of the batches on the wire: compressed, if the job compresses.
    pub(crate) bytes: u64,
}

#[derive(Clone, Debug, Default)]
pub(crate) struct Figures {
    pub(crate) records: u64,
    /// The records sent before the load. No other figure counts them.
    pub(crate) warm_up: u64,
    pub(crate) records_per_second: f64,
    pub(crate) megabytes_per_second: f64,
    /// User and system time of the driver, without its start and end.
    pub(crate) cpu_us_per_record: f64,
    /// The same, as a share of one core, while it ran.
    pub(crate) core_percent: f64,
    pub(crate) broker_cpu_us_per_record: Option<f64>,
    /// The bytes of a record on the wire, with its share of the batch's header.
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
    /// Returns `None` if the driver's report is incomplete.
    pub(crate) fn new(
        job: &Job,
        ran: &Ran,
        start_up: Usage,
        broker_cpu: Option<Duration>,
        counted: Option<Counted>,
    ) -> Option<Self> {
        let records = ran
            .report
            .get("records")?
            .as_u64()
            .filter(|&count| count > 0)?;
        let warm_up = ran
            .report
            .get("warm_up")
            .and_then(Value::as_u64)
            .unwrap_or(0);
        let seconds = ran.report.get("seconds")?.as_f64()?;
        // If the start cost more than the whole run, the difference means nothing: then there is no figure.
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
            latency_ms: LatencyMs::read(ran.report.get("latency_ms")?),
            resident: ran.report.get("resident_kib").cloned().unwrap_or_default(),
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
    fn read(report: &Value) -> Option<Self> {
        let at = |name| report.get(name)?.as_f64();
        Some(Self {
            p50: at("p50")?,
            p99: at("p99")?,
            p999: at("p999")?,
        })
    }
}

/// All measurements of one participant.
pub(crate) struct Row<'a> {
    pub(crate) name: &'static str,
    /// The figures of each complete measurement, with those of the floor in the same repetition.
    pub(crate) done: Vec<(&'a Figures, Option<&'a Figures>)>,
    /// Why a measurement has no figures.
    pub(crate) complaint: Option<String>,
    /// In each repetition, the CPU time a record beyond that of the same participant in plaintext, as a multiple of that of
    /// encryption alone. Empty if these were not measured.
    pub(crate) tls_costs: Vec<f64>,
}

impl Result {
    pub(crate) fn rows(&self) -> Vec<Row<'_>> {
        let mut rows: Vec<Row<'_>> = Vec::new();
        for (name, number, measurement) in &self.measurements {
            let index = rows.iter().position(|row| row.name == *name);
            let index = index.unwrap_or_else(|| {
                rows.push(Row {
                    name,
                    done: Vec::new(),
                    complaint: None,
                    tls_costs: Vec::new(),
                });
                rows.len() - 1
            });
            match measurement {
                Measurement::Done(figures) => {
                    let row = &mut rows[index];
                    row.done
                        .push((figures, self.in_repetition("floor", *number)));
                    row.tls_costs.extend(self.tls_cost(name, figures, *number));
                }
                Measurement::Missing(reason) => {
                    rows[index].complaint = Some(format!("missing: {reason}"))
                }
                Measurement::NotAvailable(reason) => {
                    rows[index].complaint = Some(format!("n/a: {reason}"))
                }
                Measurement::Failed(reason) => {
                    rows[index].complaint = Some(format!("FAILED: {reason}"))
                }
            }
        }
        rows
    }

    fn in_repetition(&self, wanted: &str, number: usize) -> Option<&Figures> {
        self.measurements
            .iter()
            .find_map(|(name, of, measurement)| match measurement {
                Measurement::Done(figures) if *name == wanted && *of == number => Some(figures),
                _ => None,
            })
    }

    fn tls_cost(&self, name: &str, figures: &Figures, number: usize) -> Option<f64> {
        let plaintext = self.in_repetition(&format!("{name}, plaintext"), number)?;
        let encryption = self.in_repetition("encryption", number)?;
        let more = figures.cpu_us_per_record - plaintext.cpu_us_per_record;
        Some(more / encryption.cpu_us_per_record)
    }
}

impl Row<'_> {
    /// The mean of the measurements. `None` if there is no measurement, or if one of them has no such figure.
    pub(crate) fn mean(&self, figure: impl Fn(&Figures) -> Option<f64>) -> Option<f64> {
        mean(self.done.iter().map(|(figures, _)| figure(figures)))
    }

    pub(crate) fn tls_cost(&self) -> Option<f64> {
        mean(self.tls_costs.iter().map(|cost| Some(*cost)))
    }

    /// The mean of the ratios to the floor in the same repetition.
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
