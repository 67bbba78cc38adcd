//! lz4: the frame format with independent blocks of 64 KiB and no optional field, as Kafka's `Lz4BlockOutputStream`
//! writes it for message format 2.

use std::io::{self, Read};

use lz4_flex::block::{CompressTable, compress_into_with_table, get_maximum_output_size};
use lz4_flex::frame::FrameDecoder;

/// Magic; version 1 with independent blocks; blocks up to 64 KiB; the second byte of the xxHash of those two.
const FRAME_HEADER: [u8; 7] = [0x04, 0x22, 0x4d, 0x18, 0x60, 0x40, 0x82];
const MAGIC_BYTES: usize = 4;
const BLOCK_BYTES: usize = 64 << 10;
/// The bit in the length of a block that is stored uncompressed.
const STORED_BIT: u32 = 1 << 31;
const END_MARK: [u8; 4] = [0; 4];

/// The compressor has one level: all values of `compression.lz4.level` act as the default one.
pub(super) struct Encoder {
    /// For blocks below 64 KiB: only half the memory has to be cleared.
    small: CompressTable,
    large: CompressTable,
    block: Vec<u8>,
}

impl Default for Encoder {
    fn default() -> Self {
        Self {
            small: CompressTable::small(),
            large: CompressTable::large(),
            block: Vec::new(),
        }
    }
}

impl Encoder {
    pub(super) fn encode(&mut self, input: &[u8], output: &mut Vec<u8>) -> io::Result<()> {
        self.block.resize(get_maximum_output_size(BLOCK_BYTES), 0);
        output.extend_from_slice(&FRAME_HEADER);
        for block in input.chunks(BLOCK_BYTES) {
            let table = if block.len() < BLOCK_BYTES - 1 {
                &mut self.small
            } else {
                &mut self.large
            };
            let length = compress_into_with_table(block, &mut self.block, table)
                .map_err(io::Error::other)?;
            if length < block.len() {
                output.extend_from_slice(&(length as u32).to_le_bytes());
                output.extend_from_slice(&self.block[..length]);
            } else {
                output.extend_from_slice(&(block.len() as u32 | STORED_BIT).to_le_bytes());
                output.extend_from_slice(block);
            }
        }
        output.extend_from_slice(&END_MARK);
        Ok(())
    }
}

/// Reads only the frame format, as Java does. The lz4 crate also reads the legacy format, and allocates its blocks of
/// 8 MiB before it has read one.
pub(super) fn decoder(input: &[u8]) -> io::Result<impl Read> {
    if !input.starts_with(&FRAME_HEADER[..MAGIC_BYTES]) {
        return Err(io::Error::new(
            io::ErrorKind::InvalidData,
            "the bytes are not an lz4 frame",
        ));
    }
    Ok(FrameDecoder::new(input))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn writes_the_frame_that_kafka_writes() {
        let mut output = Vec::new();
        Encoder::default().encode(b"abc", &mut output).unwrap();
        let stored_block = [3, 0, 0, 0x80, b'a', b'b', b'c'];
        assert_eq!(
            output,
            [&FRAME_HEADER[..], &stored_block, &END_MARK].concat()
        );
    }

    #[test]
    fn the_legacy_format_and_skippable_frames_are_refused() {
        for magic in [0x184c_2102_u32, 0x184d_2a50] {
            let mut bytes = magic.to_le_bytes().to_vec();
            bytes.extend([4, 0, 0, 0, 0x30, b'a', b'b', b'c']);
            assert!(decoder(&bytes).is_err(), "{magic:x}");
        }
        assert!(decoder(&[]).is_err());
    }

    #[test]
    fn its_header_is_that_of_the_crate_for_the_same_frame() {
        use lz4_flex::frame::{BlockSize, FrameEncoder, FrameInfo};
        use std::io::Write;
        let mut encoder = FrameEncoder::with_frame_info(
            FrameInfo::new().block_size(BlockSize::Max64KB),
            Vec::new(),
        );
        encoder.write_all(b"abc").unwrap();
        assert_eq!(encoder.finish().unwrap()[..7], FRAME_HEADER);
    }
}
