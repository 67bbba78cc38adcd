//! How long records took, as a histogram.

use std::time::{Duration, Instant};

use hdrhistogram::Histogram;

/// In microseconds, to three digits, up to a minute.
pub struct Latencies(Histogram<u64>);

impl Default for Latencies {
    fn default() -> Self {
        Self(Histogram::new_with_bounds(1, 60_000_000, 3).expect("sensible bounds"))
    }
}

impl Latencies {
    pub fn record(&mut self, latency: Duration) {
        self.0
            .saturating_record(u64::try_from(latency.as_micros()).unwrap_or(u64::MAX));
    }

    pub fn record_since(&mut self, due: Instant) {
        self.record(due.elapsed());
    }

    pub fn add(&mut self, other: &Self) {
        self.0.add(&other.0).expect("the same bounds");
    }

    /// In milliseconds; null if there are none.
    pub fn to_json(&self) -> serde_json::Value {
        if self.0.is_empty() {
            return serde_json::Value::Null;
        }
        let at = |quantile| self.0.value_at_quantile(quantile) as f64 / 1e3;
        serde_json::json!({
            "p50": at(0.5), "p99": at(0.99), "p999": at(0.999), "max": self.0.max() as f64 / 1e3
        })
    }
}
