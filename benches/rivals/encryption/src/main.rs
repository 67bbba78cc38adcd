//! Encryption alone: encrypts as many bytes as records take in their batches, with AES-128-GCM in records of TLS, and sends
//! nothing. What TLS costs a producer beyond its plaintext cost is a multiple of this.
//!
//! The bytes are encrypted where they are, over and over: no copy, no allocation, and they are in the cache.

use std::process::ExitCode;
use std::time::{Duration, Instant};

use drive::{BoxError, End, Mode, NotAvailable, Options, Report};
use kafka_producer::internals::Batch;
use ring::aead::{AES_128_GCM, Aad, LessSafeKey, Nonce, UnboundKey};

fn main() -> ExitCode {
    drive::print(Options::from_arguments().and_then(|options| run(&options)))
}

fn run(options: &Options) -> Result<Report, BoxError> {
    if options.mode != Mode::Throughput || options.codec != "none" {
        return NotAvailable::because("encryption alone has one load");
    }
    let mut batches = Batches::new(options)?;
    let key = UnboundKey::new(&AES_128_GCM, &[7; 16]).map_err(|_| "no key")?;
    let mut cipher = Cipher {
        key: LessSafeKey::new(key),
        sequence: 0,
    };
    let started = Instant::now();
    let mut records = 0;
    while match options.end {
        End::Records(wanted) => records < wanted,
        End::Span(span) => started.elapsed() < span,
    } {
        for batch in &mut batches.all {
            for part in batch.chunks_mut(MOST_PLAINTEXT) {
                cipher.seal(part)?;
            }
        }
        records += batches.records;
    }
    Ok(Report {
        records,
        elapsed: started.elapsed().max(Duration::from_nanos(1)),
        ..Report::default()
    })
}

/// The plaintext of a record of TLS has this many bytes at most.
const MOST_PLAINTEXT: usize = 1 << 14;

/// A batch for each partition of a topic.
struct Batches {
    all: Vec<Vec<u8>>,
    records: u64,
}

impl Batches {
    fn new(options: &Options) -> Result<Self, BoxError> {
        const TIMESTAMP_MS: i64 = 1_700_000_000_000;
        const BATCH_OVERHEAD: usize = 128;
        let value = vec![b'x'; options.record_bytes];
        let bytes = options
            .batch_bytes
            .max(options.record_bytes + BATCH_OVERHEAD);
        let mut batches = Self {
            all: Vec::new(),
            records: 0,
        };
        for _ in 0..options.partitions.clamp(1, 32) {
            let mut batch = Batch::new(Vec::with_capacity(bytes));
            while batch.append(TIMESTAMP_MS, None, &value) {}
            batches.records += u64::try_from(batch.count())?;
            batches.all.push(batch.seal());
        }
        Ok(batches)
    }
}

struct Cipher {
    key: LessSafeKey,
    sequence: u64,
}

impl Cipher {
    fn seal(&mut self, part: &mut [u8]) -> Result<(), BoxError> {
        let mut nonce = [0; 12];
        nonce[4..].copy_from_slice(&self.sequence.to_be_bytes());
        self.sequence += 1;
        let length = (part.len() as u16).to_be_bytes();
        let header = Aad::from([23, 3, 3, length[0], length[1]]);
        let nonce = Nonce::assume_unique_for_key(nonce);
        let sealed = self.key.seal_in_place_separate_tag(nonce, header, part);
        let tag = sealed.map_err(|_| "not encrypted")?;
        std::hint::black_box(tag.as_ref());
        Ok(())
    }
}
