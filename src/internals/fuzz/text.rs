//! Targets for a user's own files and keys: properties, and the choice of a partition by key.

use super::Input;
use crate::producer::providers::{Lookup, Pattern, Piece, Placeholder, fill, pieces};
use crate::{ProducerConfig, partition_for_key};

/// Input: the text of a properties file. It is accepted or refused; an accepted text is accepted again.
pub fn properties(data: &[u8]) {
    // Longer names take milliseconds: each is compared with every known name.
    let Ok(text) = std::str::from_utf8(&data[..data.len().min(512)]) else {
        return;
    };
    let mut config = ProducerConfig::new();
    if config.load_properties(text).is_ok() {
        assert!(config.load_properties(text).is_ok());
    }
}

/// Input: the length of a pattern, the pattern, then a value with placeholders. The pattern is read or refused. The pieces
/// of the value are the whole value, and each placeholder is looked up once.
pub fn placeholders(data: &[u8]) {
    let mut input = Input(data);
    let length = input.below(256);
    let pattern = String::from_utf8_lossy(input.bytes(length));
    let value = String::from_utf8_lossy(input.bytes(usize::MAX));
    let pattern = Pattern::new(&pattern);
    let (mut whole, mut expected) = (String::new(), String::new());
    let mut is_refused = false;
    for piece in pieces(&value) {
        match piece {
            Piece::Text(text) => {
                whole += text;
                expected += text;
            }
            Piece::Placeholder(placeholder) => {
                whole += placeholder.written;
                match found(&placeholder, &pattern) {
                    Lookup::Value(value) => expected += value.reveal(),
                    Lookup::NoProvider => expected += placeholder.written,
                    Lookup::Fault(_) | Lookup::FaultOfHiddenKey(_) => is_refused = true,
                }
            }
        }
    }
    assert_eq!(whole, value);
    match fill(&value, |placeholder| found(placeholder, &pattern)) {
        Ok(filled) => assert!(!is_refused && filled.text.reveal() == expected),
        Err(_) => assert!(is_refused),
    }
}

/// The provider `p` has what the pattern matches. There is a provider `q`, which has nothing.
fn found(placeholder: &Placeholder<'_>, pattern: &Result<Pattern, String>) -> Lookup {
    match (placeholder.provider, pattern) {
        ("p", Ok(pattern)) if pattern.matches(placeholder.key) => Lookup::Value("${p:k}".into()),
        ("p" | "q", _) => Lookup::Fault("it is missing".to_owned()),
        _ => Lookup::NoProvider,
    }
}

/// Input: the number of partitions, then a key. The chosen partition is the one that Java's producer chooses.
pub fn partitioner(data: &[u8]) {
    let mut input = Input(data);
    let partitions = 1 + usize::from(input.i16().unsigned_abs());
    let key = input.bytes(usize::MAX);
    let expected = (murmur2(key) & 0x7fff_ffff) as usize % partitions;
    assert_eq!(partition_for_key(key, partitions) as usize, expected);
}

/// A simple implementation of 32-bit MurmurHash2 with Java's seed, to compare with.
fn murmur2(data: &[u8]) -> u32 {
    const FACTOR: u32 = 0x5bd1_e995;
    let mut hash = 0x9747_b28c_u32 ^ data.len() as u32;
    let mut words = data.chunks_exact(4);
    for word in &mut words {
        let mut word = (0..4).fold(0, |sum, byte| sum | (u32::from(word[byte]) << (8 * byte)));
        word = word.wrapping_mul(FACTOR);
        word ^= word >> 24;
        hash = hash.wrapping_mul(FACTOR) ^ word.wrapping_mul(FACTOR);
    }
    let tail = words.remainder();
    for (index, byte) in tail.iter().enumerate() {
        hash ^= u32::from(*byte) << (8 * index);
    }
    if !tail.is_empty() {
        hash = hash.wrapping_mul(FACTOR);
    }
    hash ^= hash >> 13;
    hash = hash.wrapping_mul(FACTOR);
    hash ^ (hash >> 15)
}

pub(super) fn properties_seeds() -> Vec<Vec<u8>> {
    let files = [
        "bootstrap.servers=localhost:9092,[::1]:9093\nacks=all\nlinger.ms = 5\n",
        "# comment\n! another\ncompression.type : zstd\ncompression.zstd.level=3\nclient.id=\\u00e9\\t\\\n  more\n",
        "enable.idempotence=true\nmax.in.flight.requests.per.connection=5\nretries=2147483647\nbuffer.memory=33554432\n",
        "delivery.timeout.ms=120000\nrequest.timeout.ms=30000\nmax.block.ms=60000\nbatch.size=16384\n",
        "key.serializer=org.apache.kafka.common.serialization.StringSerializer\nsecurity.protocol=PLAINTEXT\n",
        "send.buffer.bytes=-1\nreceive.buffer.bytes=32768\nmetadata.max.age.ms=300000\nclient.dns.lookup=use_all_dns_ips\n",
    ];
    files.map(|file| file.as_bytes().to_vec()).to_vec()
}

pub(super) fn placeholders_seeds() -> Vec<Vec<u8>> {
    [
        &b"\x02.*user=\"${p:user}\" password=\"${p:/run/secrets:password}\";"[..],
        b"\x11KAFKA_[A-Z_\\d]+$${p:KAFKA_1}${p::KAFKA_A} ${r:a:b:c} ${p:${p:x}}",
        b"\x15^(a|[^b-d]*|(?:\\.)?)+$${p:a}${foo} ${p:eee",
        b"\x01(${q:k}",
        b"\0$$ ${ } ${:} ${::} ${p:}",
    ]
    .map(<[u8]>::to_vec)
    .to_vec()
}

pub(super) fn partitioner_seeds() -> Vec<Vec<u8>> {
    [
        &b"\0\0"[..],
        b"\0\x07key",
        b"\x7f\x7fa longer key",
        b"\x80\0\xff\xfe\xfd",
    ]
    .map(<[u8]>::to_vec)
    .to_vec()
}
