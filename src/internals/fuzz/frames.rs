//! Target for the frame reader: a stream that comes in pieces of any size, is interrupted and ends anywhere.

use std::io::{self, Read};

use super::Input;
use crate::connection::frames::FrameReader;

/// Input: the size limit of a frame, the sizes of the pieces, then the stream.
pub fn frames(data: &[u8]) {
    let mut input = Input(data);
    let max_bytes = 1usize << input.below(28);
    let mut sizes = [0; 8];
    sizes.fill_with(|| input.byte());
    let bytes = input.bytes(usize::MAX);

    let mut reader = FrameReader::default();
    reader.limit(max_bytes);
    let mut stream = Pieces {
        rest: bytes,
        sizes: sizes.iter().cycle(),
        is_interrupted: false,
    };
    let mut expected = Expected(bytes);
    loop {
        match (reader.next(&mut stream), expected.next(max_bytes)) {
            (Ok(frame), Some(expected)) => assert_eq!(frame, expected),
            (Err(_), None) => return,
            (frame, expected) => panic!("{frame:?} was read, but the stream has {expected:?}"),
        }
    }
}

/// A simple implementation of frames, to compare with.
struct Expected<'a>(&'a [u8]);

impl<'a> Expected<'a> {
    fn next(&mut self, max_bytes: usize) -> Option<&'a [u8]> {
        let (prefix, rest) = self.0.split_first_chunk()?;
        let length = usize::try_from(i32::from_be_bytes(*prefix)).ok()?;
        let frame = rest.get(..length).filter(|_| length <= max_bytes)?;
        self.0 = &rest[length..];
        Some(frame)
    }
}

struct Pieces<'a, I> {
    rest: &'a [u8],
    sizes: I,
    is_interrupted: bool,
}

impl<'b, I: Iterator<Item = &'b u8>> Read for Pieces<'_, I> {
    /// A piece of size 0 interrupts the read, once, as a signal does. A piece of size 255 fills the buffer.
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let size = match self.sizes.next() {
            Some(0) if !self.is_interrupted => {
                self.is_interrupted = true;
                return Err(io::ErrorKind::Interrupted.into());
            }
            Some(0) => 1,
            Some(255) | None => usize::MAX,
            Some(size) => usize::from(*size),
        };
        self.is_interrupted = false;
        let length = size.min(buffer.len()).min(self.rest.len());
        let (piece, rest) = self.rest.split_at(length);
        buffer[..length].copy_from_slice(piece);
        self.rest = rest;
        Ok(length)
    }
}

pub(super) fn seeds() -> Vec<Vec<u8>> {
    let mut stream = Vec::new();
    for length in [3u32, 0, 300, 2_000] {
        stream.extend(length.to_be_bytes());
        stream.resize(stream.len() + length as usize, length as u8);
    }
    let with = |max: u8, sizes: [u8; 8], stream: &[u8]| [&[max][..], &sizes, stream].concat();
    vec![
        with(24, [255; 8], &stream),
        with(24, [1, 0, 2, 3, 5, 0, 0, 200], &stream),
        with(8, [7; 8], &stream),
        with(27, [4; 8], &i32::MAX.to_be_bytes()),
        with(27, [4; 8], &(-2i32).to_be_bytes()),
        with(27, [255; 8], &90_000_000u32.to_be_bytes()),
    ]
}
