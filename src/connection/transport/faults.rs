//! What a test makes of a half's calls to the system: signals interrupt them, and they transfer a few bytes only.

use std::io::{self, IoSlice};

#[derive(Default)]
pub(super) struct Faults {
    /// How many of the next calls a signal interrupts.
    pub(super) interruptions: u32,
    /// The most bytes of a call. `None` for no limit.
    pub(super) most_bytes: Option<usize>,
}

impl Faults {
    /// Returns the part of `slices` that the next call may write.
    pub(super) fn before_write<'a>(
        &mut self,
        slices: &'a [IoSlice<'_>],
    ) -> io::Result<Vec<IoSlice<'a>>> {
        self.interrupt()?;
        let mut left = self.most_bytes.unwrap_or(usize::MAX);
        let cut = slices.iter().map(|slice| {
            let length = slice.len().min(left);
            left -= length;
            IoSlice::new(&slice[..length])
        });
        Ok(cut.filter(|slice| !slice.is_empty()).collect())
    }

    /// Returns the part of `buffer` that the next call may fill.
    pub(super) fn before_read<'a>(&mut self, buffer: &'a mut [u8]) -> io::Result<&'a mut [u8]> {
        self.interrupt()?;
        let most = self.most_bytes.unwrap_or(usize::MAX).min(buffer.len());
        Ok(&mut buffer[..most])
    }

    fn interrupt(&mut self) -> io::Result<()> {
        match self.interruptions.checked_sub(1) {
            None => Ok(()),
            Some(left) => {
                self.interruptions = left;
                Err(io::ErrorKind::Interrupted.into())
            }
        }
    }
}
