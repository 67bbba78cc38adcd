//! Sends ten records, prints where each was written, and reads them back: on a cluster embedded in this program, or with
//! `--bootstrap-server host:port` on a real one.
//!
//! `cargo run --example quickstart --features mock`

use std::error::Error;
use std::time::Duration;

use kafka_producer::mock::MockCluster;
use kafka_producer::{KafkaProducer, ProducerRecord};

#[path = "support/read_back.rs"]
mod read_back;
use read_back::Log;

const TOPIC: &str = "quickstart";
const PATIENCE: Duration = Duration::from_secs(30);

fn main() -> Result<(), Box<dyn Error>> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let (servers, log) = match arguments.as_slice() {
        [] => {
            let mock = MockCluster::start(3)?;
            mock.create_topic(TOPIC, 3);
            (mock.bootstrap_servers(), Log::Mock(mock))
        }
        [option, servers] if option == "--bootstrap-server" => {
            (servers.clone(), Log::Real(servers.clone()))
        }
        _ => return Err("usage: quickstart [--bootstrap-server host:port]".into()),
    };

    let producer = KafkaProducer::<String, String>::builder()
        .bootstrap_servers(servers)
        .build()?;
    let mut futures = Vec::new();
    for number in 0..10 {
        let record = ProducerRecord::new(TOPIC, format!("order {number}"));
        futures.push(producer.send(record.key(format!("customer {}", number % 4)))?);
    }
    let mut places = Vec::new();
    for future in futures {
        let metadata = future.get(PATIENCE)?;
        let (partition, offset) = (metadata.partition(), metadata.offset().ok_or("no offset")?);
        println!("delivered to {TOPIC}, partition {partition}, offset {offset}");
        places.push((partition, offset));
    }
    producer.close(PATIENCE)?;

    for &(partition, offset) in &places {
        let (key, value) = log.read(TOPIC, partition, offset)?;
        println!("read back from partition {partition}, offset {offset}: {key} -> {value}");
    }
    println!("{} records delivered and read back", places.len());
    Ok(())
}
