//! The figures as a chart: for each job bars, then, for jobs along an axis, how the cost a record grows.

use std::fmt::Write as _;
use std::path::Path;

use crate::figures::{Result, Row};
use crate::jobs::Job;

const WIDTH: f64 = 900.0;
const BAR: f64 = 16.0;
const PANEL_HEAD: f64 = 30.0;
const GROWTH_HEIGHT: f64 = 320.0;

pub(crate) fn write(file: &Path, results: &[Result]) -> std::result::Result<(), String> {
    let mut body = String::new();
    let mut y = 10.0;
    for result in results {
        y = bars(&mut body, result, y);
    }
    for axis in axes(results) {
        y = growth(&mut body, results, axis, y);
    }
    let svg = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"{WIDTH}\" height=\"{y}\" font-family=\"sans-serif\" \
         font-size=\"12\"><rect width=\"100%\" height=\"100%\" fill=\"white\"/>\n{body}</svg>\n"
    );
    std::fs::write(file, svg).map_err(|error| format!("{}: {error}", file.display()))
}

/// The figure that matters in a job, and what it is called.
fn main_figure(job: &Job, row: &Row<'_>) -> (&'static str, Option<f64>) {
    match job.option("mode") {
        Some("paced") => ("% of a core", row.mean(|f| Some(f.core_percent))),
        Some("latency") => ("p99 in ms", row.mean(|f| Some(f.latency_ms?.p99))),
        Some("outage" | "burst") => ("peak RSS in MB", row.mean(|f| Some(f.peak_rss_megabytes))),
        _ => (
            "M records/s",
            row.mean(|f| Some(f.records_per_second / 1e6)),
        ),
    }
}

/// One job's panel. Returns where the next one begins.
fn bars(out: &mut String, result: &Result, top: f64) -> f64 {
    let rows = result.rows();
    let figures: Vec<_> = rows
        .iter()
        .map(|row| main_figure(&result.job, row))
        .collect();
    let largest = figures
        .iter()
        .filter_map(|(_, figure)| *figure)
        .fold(0.0, f64::max);
    let unit = figures.first().map_or("", |(unit, _)| unit);
    text(
        out,
        10.0,
        top + 18.0,
        &format!("{}: {unit}", result.job.name),
        "font-weight=\"bold\"",
    );
    let mut y = top + PANEL_HEAD;
    for (row, (_, figure)) in rows.iter().zip(&figures) {
        text(out, 140.0, y + 12.0, row.name, "text-anchor=\"end\"");
        if let Some(figure) = figure.filter(|figure| figure.is_finite()) {
            let length = 600.0 * figure / largest.max(f64::MIN_POSITIVE);
            let _ = writeln!(
                out,
                "<rect x=\"150\" y=\"{y}\" width=\"{length:.1}\" height=\"{}\" fill=\"{}\"/>",
                BAR - 3.0,
                color(row.name)
            );
            text(out, 156.0 + length, y + 11.0, &format!("{figure:.3}"), "");
        }
        if let (Some(complaint), None) = (&row.complaint, figure) {
            text(out, 150.0, y + 11.0, complaint, "fill=\"#777\"");
        }
        y += BAR;
    }
    y + 14.0
}

fn axes(results: &[Result]) -> Vec<&'static str> {
    let mut axes = Vec::new();
    for point in results.iter().flat_map(|result| &result.job.points) {
        let has_several = results
            .iter()
            .filter(|result| {
                result
                    .job
                    .points
                    .iter()
                    .any(|other| other.axis == point.axis)
            })
            .count()
            > 1;
        if has_several && !axes.contains(&point.axis) {
            axes.push(point.axis);
        }
    }
    axes
}

/// One participant's cost a record along an axis.
struct Line {
    name: &'static str,
    points: Vec<(f64, f64)>,
}

fn lines(results: &[Result], axis: &str) -> Vec<Line> {
    let mut lines: Vec<Line> = Vec::new();
    for result in results {
        let Some(point) = result.job.points.iter().find(|point| point.axis == axis) else {
            continue;
        };
        for row in result.rows() {
            let Some(cost) = row
                .mean(|f| Some(f.cpu_us_per_record))
                .filter(|cost| *cost > 0.0)
            else {
                continue;
            };
            match lines.iter_mut().find(|line| line.name == row.name) {
                Some(line) => line.points.push((point.x, cost)),
                None => lines.push(Line {
                    name: row.name,
                    points: vec![(point.x, cost)],
                }),
            }
        }
    }
    lines
}

/// CPU time a record along `axis`, both scales logarithmic.
fn growth(out: &mut String, results: &[Result], axis: &str, top: f64) -> f64 {
    let lines = lines(results, axis);
    let all = || lines.iter().flat_map(|line| &line.points);
    let bounds = |values: &mut dyn Iterator<Item = f64>| {
        values.fold((f64::MAX, f64::MIN_POSITIVE), |(low, high), value| {
            (low.min(value), high.max(value))
        })
    };
    let (x_low, x_high) = bounds(&mut all().map(|point| point.0));
    let (y_low, y_high) = bounds(&mut all().map(|point| point.1));
    let scale = |value: f64, low: f64, high: f64| (value / low).ln() / (high / low).ln().max(1e-9);
    let x_of = |x: f64| 80.0 + 600.0 * scale(x, x_low, x_high);
    let y_of =
        |y: f64| top + GROWTH_HEIGHT - 40.0 - (GROWTH_HEIGHT - 90.0) * scale(y, y_low, y_high);
    let title = format!("CPU us a record by {axis}");
    text(out, 10.0, top + 18.0, &title, "font-weight=\"bold\"");
    for y in [y_low, y_high] {
        text(
            out,
            70.0,
            y_of(y) + 4.0,
            &format!("{y:.3}"),
            "text-anchor=\"end\"",
        );
    }
    let mut marks: Vec<_> = all().map(|point| point.0).collect();
    marks.sort_by(f64::total_cmp);
    marks.dedup();
    for x in marks {
        text(
            out,
            x_of(x),
            top + GROWTH_HEIGHT - 15.0,
            &format!("{x}"),
            "text-anchor=\"middle\"",
        );
    }
    for (number, line) in lines.iter().enumerate() {
        let points: Vec<_> = line
            .points
            .iter()
            .map(|&(x, y)| format!("{:.1},{:.1}", x_of(x), y_of(y)))
            .collect();
        let color = color(line.name);
        let _ = writeln!(
            out,
            "<polyline points=\"{}\" fill=\"none\" stroke=\"{color}\" stroke-width=\"2\"/>",
            points.join(" ")
        );
        let style = format!("fill=\"{color}\"");
        text(
            out,
            710.0,
            top + 50.0 + 16.0 * number as f64,
            line.name,
            &style,
        );
    }
    top + GROWTH_HEIGHT
}

fn color(name: &str) -> &'static str {
    match name {
        "floor" => "#999999",
        "ours" => "#d62728",
        "ours, send_all" => "#ff7f0e",
        "ours, callbacks" => "#e377c2",
        "librdkafka" => "#1f77b4",
        "java" => "#8c564b",
        "franz-go" => "#17becf",
        "confluent-kafka" => "#2ca02c",
        _ => "#9467bd",
    }
}

fn text(out: &mut String, x: f64, y: f64, content: &str, style: &str) {
    let content: String = content.chars().take(110).collect();
    let content = content.replace('&', "&amp;").replace('<', "&lt;");
    let _ = writeln!(
        out,
        "<text x=\"{x:.1}\" y=\"{y:.1}\" {style}>{content}</text>"
    );
}
