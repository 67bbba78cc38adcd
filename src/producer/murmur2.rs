//! The hash that maps a key to a partition: murmur2 as in Java's client, so that both choose the same partition for a key.

/// The partition that Java's producer chooses for `key` in a topic with this many partitions; 0 if `partitions` is 0. A
/// [`Partitioner`](crate::Partitioner) that handles only some keys by a rule of its own can use this for the others.
pub fn partition_for_key(key: &[u8], partitions: usize) -> i32 {
    // Java's `toPositive` clears the sign bit, which is defined for -2^31, too.
    let positive = (murmur2(key) & 0x7fff_ffff) as usize;
    (positive.checked_rem(partitions)).map_or(0, |partition| partition as i32)
}

/// The 32-bit MurmurHash2 with Kafka's seed.
pub(crate) fn murmur2(data: &[u8]) -> u32 {
    const SEED: u32 = 0x9747_b28c;
    const MULTIPLIER: u32 = 0x5bd1_e995;

    let (words, tail) = data.split_at(data.len() - data.len() % 4);
    let mut hash = SEED ^ data.len() as u32;
    for word in words.chunks_exact(4) {
        let mut k =
            u32::from_le_bytes([word[0], word[1], word[2], word[3]]).wrapping_mul(MULTIPLIER);
        k = (k ^ (k >> 24)).wrapping_mul(MULTIPLIER);
        hash = hash.wrapping_mul(MULTIPLIER) ^ k;
    }
    if !tail.is_empty() {
        for (index, byte) in tail.iter().enumerate() {
            hash ^= u32::from(*byte) << (8 * index);
        }
        hash = hash.wrapping_mul(MULTIPLIER);
    }
    hash = (hash ^ (hash >> 13)).wrapping_mul(MULTIPLIER);
    hash ^ (hash >> 15)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The pairs of Kafka's `UtilsTest.testMurmur2`.
    #[test]
    fn hash_is_javas_on_its_published_vectors() {
        for (key, hash) in [
            ("21", -973932308),
            ("foobar", -790332482),
            ("a-little-bit-long-string", -985981536),
            ("a-little-bit-longer-string", -1486304829),
            (
                "lkjh234lh9fiuh90y23oiuhsafujhadof229phr9h19h89h8",
                -58897971,
            ),
            ("abc", 479470107),
        ] {
            assert_eq!(murmur2(key.as_bytes()) as i32, hash, "{key}");
        }
    }

    /// librdkafka's test 0048 has these from Java's partitioner, for topics with 7 and 17 partitions.
    #[test]
    fn keys_go_where_javas_partitioner_puts_them() {
        for (key, positive) in [
            ("", 0x106e_08d9),
            ("23456", 0x058d_780f),
            (
                "this is another string with more length to it perhaps",
                0x4f77_03da,
            ),
            ("hejsan", 0x5ec1_9395),
        ] {
            for partitions in [1, 7, 17] {
                let expected = positive % partitions;
                assert_eq!(
                    partition_for_key(key.as_bytes(), partitions as usize),
                    expected,
                    "{key}"
                );
            }
        }
    }

    #[test]
    fn a_key_of_any_length_has_a_partition_and_without_partitions_it_is_zero() {
        for length in 0..70 {
            let key = vec![0xff; length];
            assert!((0..3).contains(&partition_for_key(&key, 3)));
            assert_eq!(partition_for_key(&key, 0), 0);
        }
    }
}
