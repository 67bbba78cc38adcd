//! The values of records, in files that all drivers read: the same for all.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};

use crate::jobs::Data;

/// A file with values of `bytes` each, one on each line.
pub(crate) fn file(folder: &Path, bytes: usize, data: Data) -> Result<PathBuf, String> {
    let (name, values) = match data {
        Data::Letters => ("letters", vec!["x".repeat(bytes)]),
        Data::Json => ("json", json_values(bytes)),
    };
    let file = folder.join(format!("payload-{name}-{bytes}"));
    std::fs::write(&file, values.join("\n"))
        .map_err(|error| format!("{}: {error}", file.display()))?;
    Ok(file)
}

/// Orders with some fields that repeat and some that do not. The same in every run.
fn json_values(bytes: usize) -> Vec<String> {
    const VALUES: usize = 1000;
    let mut random = Random(88_172_645_463_325_252);
    (0..VALUES)
        .map(|_| {
            let mut value = String::new();
            while value.len() < bytes {
                order(&mut random, &mut value);
            }
            value.truncate(bytes);
            value
        })
        .collect()
}

fn order(random: &mut Random, out: &mut String) {
    const CITIES: [&str; 6] = ["Berlin", "Lisbon", "Nairobi", "Osaka", "Quito", "Toronto"];
    const STATES: [&str; 4] = ["created", "paid", "shipped", "returned"];
    let _ = write!(
        out,
        "{{\"order_id\":\"{:016x}\",\"customer\":{},\"city\":\"{}\",\"state\":\"{}\",\"amount\":{}.{:02},\"currency\":\"EUR\",\
         \"created_at\":\"2026-11-{:02}T{:02}:{:02}:{:02}Z\",\"items\":[{{\"sku\":\"SKU-{:05}\",\"count\":{}}}]}}",
        random.next(),
        random.below(1_000_000),
        CITIES[random.below(CITIES.len() as u64) as usize],
        STATES[random.below(STATES.len() as u64) as usize],
        random.below(900),
        random.below(100),
        1 + random.below(28),
        random.below(24),
        random.below(60),
        random.below(60),
        random.below(20_000),
        1 + random.below(9),
    );
}

/// Marsaglia's xorshift: no dependency, and the same numbers everywhere.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0
    }

    fn below(&mut self, limit: u64) -> u64 {
        self.next() % limit
    }
}
