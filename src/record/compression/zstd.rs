//! zstd: standard frames (RFC 8878).

use std::io::{self, Cursor, Read};

use zstd::bulk::Compressor;

#[derive(Default)]
pub(super) struct Encoder {
    /// The level of the context, and the context.
    context: Option<(i32, Compressor<'static>)>,
}

impl Encoder {
    pub(super) fn encode(
        &mut self,
        level: i32,
        input: &[u8],
        output: &mut Vec<u8>,
    ) -> io::Result<()> {
        let level = level.clamp(-131_072, 22);
        let context = match &mut self.context {
            Some((of, context)) if *of == level => context,
            other => &mut other.insert((level, Compressor::new(level)?)).1,
        };
        output.reserve(zstd::zstd_safe::compress_bound(input.len()));
        let mut behind = Cursor::new(&mut *output);
        behind.set_position(behind.get_ref().len() as u64);
        context.compress_to_buffer(input, &mut behind)?;
        Ok(())
    }
}

/// Reads all frames. The library limits the window to 128 MiB.
pub(super) fn decoder(input: &[u8]) -> io::Result<impl Read> {
    zstd::stream::read::Decoder::with_buffer(input)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn appends_a_frame_behind_the_earlier_output() {
        let mut output = b"header".to_vec();
        Encoder::default()
            .encode(3, &[0; 1000], &mut output)
            .unwrap();
        assert_eq!(output[..10], *b"header\x28\xb5\x2f\xfd");
        assert!(output.len() < 100);
    }
}
