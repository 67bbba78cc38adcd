//! The hash function for the names of topics.

use std::hash::Hasher;

/// A fast hash of short names: it multiplies and rotates eight bytes at a time. Names can be chosen so that their hashes
/// collide. That is no danger, because the program itself chooses the names of its topics.
#[derive(Default)]
pub(super) struct NameHasher(u64);

impl Hasher for NameHasher {
    fn write(&mut self, bytes: &[u8]) {
        for chunk in bytes.chunks(8) {
            let mut word = [0; 8];
            word[..chunk.len()].copy_from_slice(chunk);
            self.add(u64::from_le_bytes(word));
        }
    }

    fn write_u8(&mut self, byte: u8) {
        self.add(u64::from(byte));
    }

    fn finish(&self) -> u64 {
        // The hash map uses both the highest and the lowest bits.
        self.0 ^ (self.0 >> 32)
    }
}

impl NameHasher {
    fn add(&mut self, word: u64) {
        self.0 = (self.0.rotate_left(5) ^ word).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    }
}
