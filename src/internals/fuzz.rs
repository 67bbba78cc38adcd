//! The functions that the fuzz targets in `tests/fuzz` call with the bytes of a hostile broker. Nothing panics. A decoded
//! message stays the same when it is encoded and decoded again. A worker that gets invalid answers still gives every record
//! an outcome.
//!
//! Built with `--cfg fuzzing`, and into the unit tests, which run the seeds.

mod batches;
mod frames;
#[cfg(feature = "sasl-oidc")]
mod oidc;
mod responses;
#[cfg(feature = "sasl")]
mod sasl;
#[cfg(feature = "tls-core")]
mod stores;
mod text;
mod worker;

pub use batches::{compressed, record_batch};
pub use frames::frames;
#[cfg(feature = "sasl-oidc")]
pub use oidc::{http_response, token_response};
pub use responses::{
    api_versions_response, init_producer_id_response, metadata_response, produce_response,
    sasl_authenticate_response, sasl_handshake_response,
};
#[cfg(feature = "sasl-msk-iam")]
pub use sasl::msk_iam_answer;
#[cfg(feature = "sasl")]
pub use sasl::{jaas, oauthbearer_failure, scram_messages};
#[cfg(feature = "tls-core")]
pub use stores::{jks, pem, pkcs12};
pub use text::{partitioner, placeholders, properties};
pub use worker::worker;

/// A target's name, the target, and its first inputs.
type Target = (&'static str, fn(&[u8]), fn() -> Vec<Vec<u8>>);

const TARGETS: &[Target] = &[
    (
        "api_versions_response",
        api_versions_response,
        responses::api_versions_seeds,
    ),
    ("compressed", compressed, batches::compressed_seeds),
    ("frames", frames, frames::seeds),
    (
        "init_producer_id_response",
        init_producer_id_response,
        responses::init_producer_id_seeds,
    ),
    #[cfg(feature = "sasl-oidc")]
    ("http_response", http_response, oidc::http_seeds),
    #[cfg(feature = "sasl")]
    ("jaas", jaas, sasl::jaas_seeds),
    #[cfg(feature = "tls-core")]
    ("jks", jks, stores::jks_seeds),
    (
        "metadata_response",
        metadata_response,
        responses::metadata_seeds,
    ),
    #[cfg(feature = "sasl-msk-iam")]
    ("msk_iam_answer", msk_iam_answer, sasl::msk_iam_seeds),
    #[cfg(feature = "sasl")]
    (
        "oauthbearer_failure",
        oauthbearer_failure,
        sasl::oauthbearer_seeds,
    ),
    ("partitioner", partitioner, text::partitioner_seeds),
    ("placeholders", placeholders, text::placeholders_seeds),
    #[cfg(feature = "tls-core")]
    ("pem", pem, stores::pem_seeds),
    #[cfg(feature = "tls-core")]
    ("pkcs12", pkcs12, stores::pkcs12_seeds),
    (
        "produce_response",
        produce_response,
        responses::produce_seeds,
    ),
    ("properties", properties, text::properties_seeds),
    ("record_batch", record_batch, batches::record_batch_seeds),
    (
        "sasl_authenticate_response",
        sasl_authenticate_response,
        responses::sasl_authenticate_seeds,
    ),
    (
        "sasl_handshake_response",
        sasl_handshake_response,
        responses::sasl_handshake_seeds,
    ),
    #[cfg(feature = "sasl")]
    ("scram_messages", scram_messages, sasl::scram_seeds),
    #[cfg(feature = "sasl-oidc")]
    ("token_response", token_response, oidc::token_seeds),
    ("worker", worker, worker::seeds),
];

/// Returns the first inputs of a target: valid ones, from this crate's own encoders.
pub fn seeds(target: &str) -> Vec<Vec<u8>> {
    let target = TARGETS.iter().find(|(name, ..)| *name == target);
    target.map_or_else(Vec::new, |(_, _, seeds)| seeds())
}

/// Reads the input byte by byte. Returns zeros after its end.
struct Input<'a>(&'a [u8]);

impl<'a> Input<'a> {
    fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    fn byte(&mut self) -> u8 {
        match self.0.split_first() {
            Some((byte, rest)) => {
                self.0 = rest;
                *byte
            }
            None => 0,
        }
    }

    /// A number below `limit`, which is at most 256.
    fn below(&mut self, limit: usize) -> usize {
        usize::from(self.byte()) % limit
    }

    fn i16(&mut self) -> i16 {
        i16::from_be_bytes([self.byte(), self.byte()])
    }

    fn i32(&mut self) -> i32 {
        i32::from_be_bytes([self.byte(), self.byte(), self.byte(), self.byte()])
    }

    /// At most `length` bytes.
    fn bytes(&mut self, length: usize) -> &'a [u8] {
        let (bytes, rest) = self.0.split_at(length.min(self.0.len()));
        self.0 = rest;
        bytes
    }
}

#[cfg(test)]
mod tests {
    #[test]
    fn every_seed_passes_its_target_and_so_do_its_beginnings() {
        for (name, target, seeds) in super::TARGETS {
            let seeds = seeds();
            assert!(!seeds.is_empty(), "{name}");
            for seed in seeds {
                for length in (0..seed.len()).step_by(1 + seed.len() / 50) {
                    target(&seed[..length]);
                }
                target(&seed);
            }
        }
    }
}
