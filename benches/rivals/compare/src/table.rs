//! The figures as text.

use std::fmt::Write as _;
use std::path::Path;

use serde_json::json;

use crate::figures::{Figures, Measurement, Result, Row};
use crate::jobs::Job;

pub(crate) fn print_progress(job: &Job, name: &str, number: usize, measurement: &Measurement) {
    let what = match measurement {
        Measurement::Done(figures) => format!(
            "{:.3} M records/s, {:.4} us CPU a record",
            figures.records_per_second / 1e6,
            figures.cpu_us_per_record
        ),
        Measurement::Missing(reason) => format!("missing: {reason}"),
        Measurement::NotAvailable(reason) => format!("n/a: {reason}"),
        Measurement::Failed(reason) => format!("FAILED: {reason}"),
    };
    eprintln!("{} repetition {number}, {name}: {what}", job.name);
}

/// A column: its heading in two lines, its width and its content.
type Column = (&'static str, &'static str, usize, fn(&Row<'_>) -> String);

const COLUMNS: &[Column] = &[
    ("", "records/s", 11, |row| {
        number(row.mean(|f| Some(f.records_per_second)), 0)
    }),
    ("of", "floor", 7, |row| {
        number(row.of_floor(|f| Some(f.records_per_second)), 3)
    }),
    ("", "MB/s", 8, |row| {
        number(row.mean(|f| Some(f.megabytes_per_second)), 1)
    }),
    ("CPU us", "a record", 9, |row| {
        number(row.mean(|f| Some(f.cpu_us_per_record)), 4)
    }),
    ("of", "floor", 7, |row| {
        number(row.of_floor(|f| Some(f.cpu_us_per_record)), 1)
    }),
    ("% of", "a core", 7, |row| {
        number(row.mean(|f| Some(f.core_percent)), 1)
    }),
    ("peak", "RSS MB", 7, |row| {
        number(row.mean(|f| Some(f.peak_rss_megabytes)), 0)
    }),
    ("switches/s", "voluntary", 10, |row| {
        number(row.mean(|f| Some(f.voluntary_switches_per_second)), 0)
    }),
    ("in-", "voluntary", 10, |row| {
        number(row.mean(|f| Some(f.involuntary_switches_per_second)), 0)
    }),
    ("broker", "CPU us", 8, |row| {
        number(row.mean(|f| f.broker_cpu_us_per_record), 4)
    }),
    ("wire", "bytes", 8, |row| {
        number(row.mean(|f| f.wire_bytes_per_record), 1)
    }),
];

/// In jobs with TLS.
const TLS_COLUMN: Column = ("TLS, of", "encrypt.", 8, |row| number(row.tls_cost(), 2));

const LATENCY_COLUMNS: &[Column] = &[
    ("ms", "p50", 8, |row| {
        number(row.mean(|f| Some(f.latency_ms?.p50)), 3)
    }),
    ("of", "floor", 7, |row| {
        number(row.of_floor(|f| Some(f.latency_ms?.p50)), 2)
    }),
    ("ms", "p99", 8, |row| {
        number(row.mean(|f| Some(f.latency_ms?.p99)), 3)
    }),
    ("of", "floor", 7, |row| {
        number(row.of_floor(|f| Some(f.latency_ms?.p99)), 2)
    }),
    ("ms", "p99.9", 8, |row| {
        number(row.mean(|f| Some(f.latency_ms?.p999)), 3)
    }),
    ("of", "floor", 7, |row| {
        number(row.of_floor(|f| Some(f.latency_ms?.p999)), 2)
    }),
];

/// Prints the means of the measurements.
pub(crate) fn print(result: &Result) {
    let rows = result.rows();
    let has_latency = |row: &Row<'_>| row.done.iter().any(|(f, _)| f.latency_ms.is_some());
    let mut columns = COLUMNS.to_vec();
    if result.job.tls {
        columns.push(TLS_COLUMN);
    }
    if rows.iter().any(has_latency) {
        columns.extend(LATENCY_COLUMNS);
    }
    println!("\n{}: {}", result.job.name, describe(&result.job));
    for heading in [|c: &Column| c.0, |c: &Column| c.1] {
        let mut line = format!("{:<25}", "");
        for column in &columns {
            let _ = write!(line, " {:>1$}", heading(column), column.2);
        }
        println!("{}", line.trim_end());
    }
    for row in &rows {
        println!("{}", line(row, &columns));
    }
}

fn line(row: &Row<'_>, columns: &[Column]) -> String {
    let mut line = format!("{:<25}", row.name);
    if !row.done.is_empty() {
        for (_, _, width, text) in columns {
            let _ = write!(line, " {:>width$}", text(row));
        }
    }
    if let Some(complaint) = &row.complaint {
        let _ = write!(line, " {complaint}");
    }
    for (figures, _) in &row.done {
        line.push_str(&memory(figures));
    }
    line
}

/// The memory that a driver reports at several moments, if it reports more than the moment before its load.
fn memory(figures: &Figures) -> String {
    let at = |moment: &str| figures.resident.get(moment).and_then(|kib| kib.as_f64());
    let megabytes = |kib: f64| kib * 1024.0 / 1e6;
    let mut text = String::new();
    if let (Some(before), Some(held), Some(records)) =
        (at("before"), at("held"), at("held_records"))
    {
        let more = megabytes(held - before);
        let each = more * 1e6 / records;
        let _ = write!(
            text,
            "\n{:>16} {records:.0} records held in {more:.0} MB more than before, {each:.0} bytes each",
            ""
        );
    }
    if let (Some(before), Some(after)) = (at("before"), at("after")) {
        let (before, after) = (megabytes(before), megabytes(after));
        let _ = write!(
            text,
            "\n{:>16} {before:.0} MB before, {after:.0} MB after",
            ""
        );
    }
    text
}

fn number(figure: Option<f64>, digits: usize) -> String {
    let figure = figure.filter(|figure| figure.is_finite());
    figure.map_or_else(|| "-".to_owned(), |figure| format!("{figure:.digits$}"))
}

fn describe(job: &Job) -> String {
    let mut words: Vec<_> = job
        .options
        .iter()
        .map(|(name, value)| format!("{name}={value}"))
        .collect();
    if job.tls {
        words.push("TLS 1.3, TLS_AES_128_GCM_SHA256".to_owned());
    }
    if job.round_trip_ms > 0 {
        words.push(format!("round trip {} ms", job.round_trip_ms));
    }
    if words.is_empty() {
        "the drivers' defaults".to_owned()
    } else {
        words.join(" ")
    }
}

/// Writes one line for each measurement, for use by other programs.
pub(crate) fn write_json(file: &Path, results: &[Result]) -> std::result::Result<(), String> {
    let mut text = String::new();
    for result in results {
        for (name, number, measurement) in &result.measurements {
            let (outcome, figures) = match measurement {
                Measurement::Done(figures) => ("done".to_owned(), figures.to_json()),
                Measurement::Missing(reason) => (format!("missing: {reason}"), json!(null)),
                Measurement::NotAvailable(reason) => (format!("n/a: {reason}"), json!(null)),
                Measurement::Failed(reason) => (format!("failed: {reason}"), json!(null)),
            };
            let line = json!({
                "job": result.job.name, "participant": name, "repetition": number, "outcome": outcome, "figures": figures,
            });
            let _ = writeln!(text, "{line}");
        }
    }
    std::fs::write(file, text).map_err(|error| format!("{}: {error}", file.display()))
}
