//! Sends ten records, prints where each was written, and reads them back. It uses a cluster embedded in this program or,
//! with `--bootstrap-server host:port`, a real one, which must have the topic `quickstart` or create topics
//! automatically. `--command-config FILE` adds the settings of a file, such as those of TLS and SASL. The records of such a
//! cluster are not read back.
//!
//! `cargo run --example quickstart --features mock`

use std::error::Error;
use std::io::{Write, stderr, stdout};
use std::process::ExitCode;
use std::time::Duration;

use kafka_producer::{KafkaProducer, ProducerRecord};

#[path = "support/read_back.rs"]
mod read_back;
use read_back::Log;

const TOPIC: &str = "quickstart";
const PATIENCE: Duration = Duration::from_secs(30);

fn main() -> ExitCode {
    match run() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            let _ = writeln!(stderr(), "quickstart: {error}");
            ExitCode::FAILURE
        }
    }
}

fn run() -> Result<(), Box<dyn Error>> {
    let log = Log::of_program(TOPIC)?;
    // Unlike `println!` this does not panic if its reader is gone: `quickstart | head -n 1`.
    let mut out = stdout().lock();
    let producer = KafkaProducer::<String, String>::builder()
        .config(log.config())
        .max_block(Duration::from_secs(10)) // instead of 60 s: a wrong address is reported sooner
        .build()?;
    let mut futures = Vec::new();
    for number in 0..10 {
        let record = ProducerRecord::new(TOPIC, format!("order {number}"));
        futures.push(producer.send(record.key(format!("customer {}", number % 4)))?);
    }
    let mut positions = Vec::new();
    for future in futures {
        let metadata = future.get(PATIENCE)?;
        let (partition, offset) = (metadata.partition(), metadata.offset().ok_or("no offset")?);
        writeln!(
            out,
            "delivered to {TOPIC}, partition {partition}, offset {offset}"
        )?;
        positions.push((partition, offset));
    }
    producer.close(PATIENCE)?;

    if !log.is_readable() {
        writeln!(
            out,
            "{} records delivered; this program does not read back with TLS or SASL",
            positions.len()
        )?;
        return Ok(());
    }
    for &(partition, offset) in &positions {
        let (key, value) = log.read(TOPIC, partition, offset)?;
        writeln!(
            out,
            "read back from partition {partition}, offset {offset}: {key} -> {value}"
        )?;
    }
    writeln!(out, "{} records delivered and read back", positions.len())?;
    Ok(())
}
