//! What a driver says at its end: one line of JSON.

use std::process::ExitCode;
use std::time::Duration;

use serde_json::{Value, json};

use crate::{BoxError, Latencies, NotAvailable};

/// What came of a load. What the process used is measured from outside.
#[derive(Default)]
pub struct Report {
    pub records: u64,
    /// Records sent before those, which the run for the start-up cost sends too.
    pub warm_up: u64,
    pub elapsed: Duration,
    pub latencies: Latencies,
    /// Instead of `latencies`, from a program that has percentiles only: the 50th, 99th and 99.9th.
    pub percentiles_ms: Option<[f64; 3]>,
    /// Resident memory in KiB by the name of the moment.
    pub resident: Vec<(&'static str, u64)>,
}

/// Prints the report, or why there is none.
pub fn print(result: Result<Report, BoxError>) -> ExitCode {
    let (line, code) = match result {
        Ok(report) => (report.to_json(), ExitCode::SUCCESS),
        Err(error) => match error.downcast_ref::<NotAvailable>() {
            Some(reason) => (json!({ "not_available": reason.0 }), ExitCode::SUCCESS),
            None => (json!({ "error": error.to_string() }), ExitCode::FAILURE),
        },
    };
    println!("{line}");
    code
}

impl Report {
    fn to_json(&self) -> Value {
        let resident: serde_json::Map<_, _> = self
            .resident
            .iter()
            .map(|(moment, kib)| ((*moment).to_owned(), json!(kib)))
            .collect();
        let latency_ms = match self.percentiles_ms {
            Some([p50, p99, p999]) => json!({ "p50": p50, "p99": p99, "p999": p999 }),
            None => self.latencies.to_json(),
        };
        json!({
            "records": self.records,
            "warm_up": self.warm_up,
            "seconds": self.elapsed.as_secs_f64(),
            "latency_ms": latency_ms,
            "resident_kib": resident,
        })
    }
}
