//! Measures the record layer: append, seal (header and CRC), and each codec, in batches of 16 KiB and 1 MiB.
//!
//! `cargo bench --features unstable-internals --bench record_batch`

use std::hint::black_box;
use std::time::{Duration, Instant};

use kafka_producer::CompressionType;
use kafka_producer::internals::{Batch, Codecs};

fn main() {
    for batch_bytes in [16 << 10, 1 << 20] {
        println!("batches of {} KiB", batch_bytes >> 10);
        appending(batch_bytes);
        sealing(batch_bytes);
        compressing(batch_bytes);
    }
}

fn appending(batch_bytes: usize) {
    let value = black_box(&[b'x'; 100][..]);
    for (name, key) in [
        ("100 bytes, no key", None),
        ("100 bytes, key of 10", Some(&b"0123456789"[..])),
    ] {
        let key: Option<&[u8]> = black_box(key);
        let mut buffer = Vec::with_capacity(batch_bytes);
        let timing = best_time(|| {
            let mut batch = Batch::new(std::mem::take(&mut buffer));
            while batch.append(TIMESTAMP_MS, key, value) {}
            let work = Work {
                records: batch.count(),
                bytes: batch.size(),
            };
            buffer = batch.into_parts().1;
            work
        });
        report(&format!("append {name}"), timing);
    }
}

fn sealing(batch_bytes: usize) {
    let batch = filled(batch_bytes);
    let records = batch.count();
    let (header, mut bytes) = batch.into_parts();
    let timing = best_time(|| {
        header.seal(black_box(&mut bytes));
        Work {
            records,
            bytes: bytes.len(),
        }
    });
    report("seal", timing);
}

fn compressing(batch_bytes: usize) {
    let batch = filled(batch_bytes);
    let mut codecs = Codecs::default();
    for codec in CompressionType::ALL
        .into_iter()
        .filter(|codec| codec.is_compiled_in())
    {
        let mut sealed_bytes = 0;
        let timing = best_time(|| {
            sealed_bytes = codecs
                .seal(black_box(&batch), codec)
                .expect("the codec works")
                .len();
            Work {
                records: batch.count(),
                bytes: batch.size(),
            }
        });
        report(
            &format!(
                "{codec} and seal, ratio {:.2}",
                batch.size() as f64 / sealed_bytes as f64
            ),
            timing,
        );
    }
}

/// A batch of log lines of about 100 bytes in JSON.
fn filled(batch_bytes: usize) -> Batch {
    let mut random = fastrand::Rng::with_seed(1);
    let mut batch = Batch::new(Vec::with_capacity(batch_bytes));
    loop {
        let level = ["debug", "info", "warn", "error"][random.usize(..4)];
        let (id, user, ms) = (random.u32(..), random.u16(..), random.f32());
        let line = format!(
            r#"{{"id":"{id:08x}","level":"{level}","user":{user},"path":"/api/v1/items/{}","took_ms":{ms}}}"#,
            user % 97
        );
        if !batch.append(TIMESTAMP_MS, None, line.as_bytes()) {
            return batch;
        }
    }
}

const TIMESTAMP_MS: i64 = 1_700_000_000_000;

/// The work of one run of a measured function.
struct Work {
    records: i32,
    bytes: usize,
}

struct Timing {
    ns_per_record: f64,
    mb_per_s: f64,
}

/// The best of five rounds of a tenth of a second: in the slower ones other programs used the machine.
fn best_time(mut run: impl FnMut() -> Work) -> Timing {
    let round = Duration::from_millis(100);
    let mut best = Timing {
        ns_per_record: f64::INFINITY,
        mb_per_s: 0.0,
    };
    for _ in 0..5 {
        let (mut records, mut bytes) = (0u64, 0u64);
        let start = Instant::now();
        while start.elapsed() < round {
            let work = run();
            records += work.records as u64;
            bytes += work.bytes as u64;
        }
        let seconds = start.elapsed().as_secs_f64();
        if seconds * 1e9 / (records as f64) < best.ns_per_record {
            best = Timing {
                ns_per_record: seconds * 1e9 / records as f64,
                mb_per_s: bytes as f64 / seconds / 1e6,
            };
        }
    }
    best
}

fn report(name: &str, timing: Timing) {
    println!(
        "  {name:<32} {:>8.1} ns/record {:>9.0} MB/s",
        timing.ns_per_record, timing.mb_per_s
    );
}
