//! Frames: every request and response is a 4-byte length, followed by that many bytes.

use super::ProtocolError;

/// Returns the length of the frame that `prefix` announces, if it is from 0 to `max` bytes.
pub(crate) fn frame_length(prefix: [u8; 4], max: usize) -> Result<usize, ProtocolError> {
    let length = i32::from_be_bytes(prefix);
    let Ok(length) = usize::try_from(length) else {
        return Err(ProtocolError::NegativeLength(length.into()));
    };
    if length > max {
        return Err(ProtocolError::LengthTooLarge { length, max });
    }
    Ok(length)
}

/// Appends a frame whose contents `write` appends. `write` returns the number of bytes of the frame that are not in `out`:
/// the caller sends them in between, and the frame's length counts them. Leaves `out` unchanged after an error.
pub(crate) fn put_frame(
    out: &mut Vec<u8>,
    write: impl FnOnce(&mut Vec<u8>) -> Result<usize, ProtocolError>,
) -> Result<(), ProtocolError> {
    let start = out.len();
    out.extend_from_slice(&[0; PREFIX_LENGTH]);
    let length = write(out).and_then(|elsewhere| {
        let length = (out.len() - start - PREFIX_LENGTH).saturating_add(elsewhere);
        i32::try_from(length).map_err(|_| ProtocolError::LengthTooLarge {
            length,
            max: i32::MAX as usize,
        })
    });
    match length {
        Ok(length) => {
            out[start..start + PREFIX_LENGTH].copy_from_slice(&length.to_be_bytes());
            Ok(())
        }
        Err(error) => {
            out.truncate(start);
            Err(error)
        }
    }
}

const PREFIX_LENGTH: usize = 4;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn frame_length_is_refused_below_zero_and_above_the_limit() {
        assert_eq!(frame_length([0, 0, 0, 0], 10), Ok(0));
        assert_eq!(frame_length([0, 0, 0, 10], 10), Ok(10));
        assert_eq!(
            frame_length([0, 0, 0, 11], 10),
            Err(ProtocolError::LengthTooLarge {
                length: 11,
                max: 10
            })
        );
        assert_eq!(
            frame_length([0xff; 4], 10),
            Err(ProtocolError::NegativeLength(-1))
        );
        assert_eq!(
            frame_length([0x80, 0, 0, 0], usize::MAX),
            Err(ProtocolError::NegativeLength(-0x8000_0000))
        );
    }

    #[test]
    fn a_frame_that_cannot_be_written_leaves_nothing_behind() {
        let mut out = b"before".to_vec();
        let written = put_frame(&mut out, |out| {
            out.extend_from_slice(b"half");
            Err(ProtocolError::UnexpectedNull)
        });
        assert_eq!(written, Err(ProtocolError::UnexpectedNull));
        assert!(put_frame(&mut out, |_| Ok(i32::MAX as usize + 1)).is_err());
        assert_eq!(out, b"before");
    }
}
