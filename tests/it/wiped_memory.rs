//! No copy of a secret stays in memory when the settings that had it are gone.

use std::fs::{self, File};
use std::hint::black_box;
use std::io::Read;
use std::os::unix::fs::FileExt as _;
use std::path::Path;

use kafka_producer::ProducerConfig;

/// A secret that no other part of the memory has: the text is made for one write, and wiped.
struct Hidden([u8; 24]);

const MASK: u8 = 0x5a;

/// How much memory is read at once.
const PIECE: usize = 1 << 20;

impl Hidden {
    fn new() -> Self {
        let mut bytes = [0; 24];
        let random = File::open("/dev/urandom").unwrap();
        random.take(24).read_exact(&mut bytes).unwrap();
        Self(bytes.map(|byte| (b'a' + byte % 26) ^ MASK))
    }

    /// Writes `before`, the secret and `after` to a file.
    fn write(&self, path: &Path, before: &str, after: &str) {
        let mut text = Vec::with_capacity(before.len() + self.0.len() + after.len());
        text.extend_from_slice(before.as_bytes());
        text.extend(self.0.iter().map(|byte| byte ^ MASK));
        text.extend_from_slice(after.as_bytes());
        fs::write(path, &text).unwrap();
        text.fill(0);
        black_box(&text);
    }

    /// Returns how often the secret is in the memory of this process.
    fn copies(&self) -> usize {
        let maps = fs::read_to_string("/proc/self/maps").unwrap();
        let memory = File::open("/proc/self/mem").unwrap();
        let ranges = maps.lines().filter_map(|line| {
            let mut words = line.split(' ');
            let (begin, end) = words.next()?.split_once('-')?;
            let is_writable = words.next()?.starts_with("rw");
            let number = |text| u64::from_str_radix(text, 16).ok();
            is_writable.then_some((number(begin)?, number(end)?))
        });
        let mut piece = vec![0; PIECE + self.0.len()];
        let piece_begins = piece.as_ptr() as u64;
        let piece_ends = piece_begins + piece.len() as u64;
        let mut found = 0;
        for (begin, end) in ranges {
            // Not the buffer itself: a copy in it would count.
            let parts = [(begin, end.min(piece_begins)), (begin.max(piece_ends), end)];
            for (begin, end) in parts {
                found += self.copies_in(&memory, begin, end, &mut piece);
            }
        }
        found
    }

    fn copies_in(&self, memory: &File, begin: u64, end: u64, piece: &mut [u8]) -> usize {
        let mut found = 0;
        for at in (begin..end).step_by(PIECE) {
            let wanted = (end - at).min(piece.len() as u64 - 1) as usize;
            // A mapping can be gone by now.
            let read = memory.read_at(&mut piece[..wanted], at).unwrap_or(0);
            found += self.count(&piece[..read]);
            // The buffer's memory is used again.
            piece.fill(0);
            black_box(&piece);
        }
        found
    }

    fn count(&self, mut bytes: &[u8]) -> usize {
        let first = self.0[0] ^ MASK;
        let is_here = |bytes: &[u8]| {
            let pairs = bytes.iter().zip(&self.0);
            bytes.len() >= self.0.len()
                && pairs.into_iter().all(|(one, other)| one ^ MASK == *other)
        };
        let mut found = 0;
        while let Some(at) = bytes.iter().position(|byte| *byte == first) {
            found += usize::from(is_here(&bytes[at..]));
            bytes = &bytes[at + 1..];
        }
        found
    }
}

#[test]
fn no_secret_of_a_settings_file_stays_in_memory() {
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR"));
    let path = folder.join(format!("wiped-{}.properties", std::process::id()));
    let secret = Hidden::new();
    let comments = "# a line of a file that has many of them\n".repeat(500);
    let before = format!("{comments}ssl.keystore.password=\\\n  ");
    secret.write(&path, &before, &format!("\\u0021\n{comments}"));
    assert_eq!(secret.copies(), 0, "the test itself keeps the secret");
    let config = ProducerConfig::from_properties_file(&path).unwrap();
    assert_eq!(secret.copies(), 1);
    drop(config);
    assert_eq!(secret.copies(), 0);

    // The same for a file that is refused.
    secret.write(&path, &before, "\nlinger.ms=x\n");
    assert!(ProducerConfig::from_properties_file(&path).is_err());
    assert_eq!(secret.copies(), 0);
    fs::remove_file(&path).unwrap();
}
