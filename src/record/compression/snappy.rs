//! snappy in the framing of xerial's `SnappyOutputStream`, which Kafka calls snappy.

use std::io;

use byteorder::{BigEndian, ByteOrder};

/// Magic, version 1, compatible with version 1.
const STREAM_HEADER: [u8; 16] = [
    0x82, b'S', b'N', b'A', b'P', b'P', b'Y', 0, 0, 0, 0, 1, 0, 0, 0, 1,
];
const MAGIC_BYTES: usize = 8;
const BLOCK_BYTES: usize = 32 << 10;

pub(super) struct Encoder {
    snappy: snap::raw::Encoder,
    block: Vec<u8>,
}

impl Default for Encoder {
    fn default() -> Self {
        Self {
            snappy: snap::raw::Encoder::new(),
            block: Vec::new(),
        }
    }
}

impl Encoder {
    /// Writes blocks of 32 KiB, each behind its compressed length.
    pub(super) fn encode(&mut self, input: &[u8], output: &mut Vec<u8>) -> io::Result<()> {
        self.block
            .resize(snap::raw::max_compress_len(BLOCK_BYTES), 0);
        output.extend_from_slice(&STREAM_HEADER);
        for block in input.chunks(BLOCK_BYTES) {
            let length = self.snappy.compress(block, &mut self.block)?;
            output.extend_from_slice(&(length as u32).to_be_bytes());
            output.extend_from_slice(&self.block[..length]);
        }
        Ok(())
    }
}

/// Reads the framing, and also one raw block without framing, which some clients write. Returns `None` for more than
/// `max_output` bytes.
pub(super) fn decode(input: &[u8], max_output: usize) -> io::Result<Option<Vec<u8>>> {
    let mut output = Vec::new();
    if !input.starts_with(&STREAM_HEADER[..MAGIC_BYTES]) {
        return Ok(decode_block(input, &mut output, max_output)?.then_some(output));
    }
    let mut rest = input
        .get(STREAM_HEADER.len()..)
        .ok_or(io::ErrorKind::UnexpectedEof)?;
    while !rest.is_empty() {
        let (length, blocks) = rest
            .split_first_chunk::<4>()
            .ok_or(io::ErrorKind::UnexpectedEof)?;
        let length = BigEndian::read_u32(length) as usize;
        let block = blocks.get(..length).ok_or(io::ErrorKind::UnexpectedEof)?;
        if !decode_block(block, &mut output, max_output)? {
            return Ok(None);
        }
        rest = &blocks[length..];
    }
    Ok(Some(output))
}

/// Appends a block. Returns false, and allocates nothing, if its claimed length would exceed `max_output`.
fn decode_block(block: &[u8], output: &mut Vec<u8>, max_output: usize) -> io::Result<bool> {
    let length = snap::raw::decompress_len(block)?;
    let start = output.len();
    if length > max_output - start {
        return Ok(false);
    }
    output.resize(start + length, 0);
    snap::raw::Decoder::new().decompress(block, &mut output[start..])?;
    Ok(true)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn frames_blocks_of_32_kib_as_xerial_does() {
        let input = vec![b'x'; BLOCK_BYTES + 5];
        let mut output = Vec::new();
        Encoder::default().encode(&input, &mut output).unwrap();
        assert_eq!(output[..16], *b"\x82SNAPPY\0\0\0\0\x01\0\0\0\x01");
        let first = BigEndian::read_u32(&output[16..20]) as usize;
        let second = BigEndian::read_u32(&output[20 + first..]) as usize;
        assert_eq!(
            snap::raw::decompress_len(&output[20..][..first]).unwrap(),
            BLOCK_BYTES
        );
        assert_eq!(
            snap::raw::decompress_len(&output[24 + first..][..second]).unwrap(),
            5
        );
        assert_eq!(output.len(), 24 + first + second);
    }

    #[test]
    fn reads_one_raw_block_without_framing() {
        let raw = snap::raw::Encoder::new()
            .compress_vec(b"some records")
            .unwrap();
        assert_eq!(
            decode(&raw, 12).unwrap().as_deref(),
            Some(&b"some records"[..])
        );
        assert_eq!(decode(&raw, 11).unwrap(), None);
    }

    #[test]
    fn a_block_that_claims_four_gigabytes_allocates_nothing() {
        let claim = [0xff, 0xff, 0xff, 0xff, 0x0f, 0, 0];
        assert_eq!(decode(&claim, 1 << 20).unwrap(), None);
        let mut framed = STREAM_HEADER.to_vec();
        framed.extend_from_slice(&u32::MAX.to_be_bytes());
        framed.extend_from_slice(&claim);
        assert!(decode(&framed, 1 << 20).is_err());
    }
}
