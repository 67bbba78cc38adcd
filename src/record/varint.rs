//! Zig-zag variable-length integers, in which records encode their lengths and deltas: seven bits in a byte, the lowest
//! first.

/// The number of bytes that [`write_varint`] appends for `value`: 1 to 5.
#[inline]
pub(crate) fn size_of_varint(value: i32) -> usize {
    size_of_unsigned(zigzag(i64::from(value)))
}

/// The number of bytes that [`write_varlong`] appends for `value`: 1 to 10.
#[inline]
pub(crate) fn size_of_varlong(value: i64) -> usize {
    size_of_unsigned(zigzag(value))
}

/// The number of bytes of the varint of a length. The protocol bounds all lengths by `i32::MAX`.
#[inline]
pub(crate) fn size_of_length(length: usize) -> usize {
    size_of_unsigned(zigzag(length as i64))
}

/// Appends `value` as a varint.
#[inline]
pub(crate) fn write_varint(buffer: &mut Vec<u8>, value: i32) {
    write_unsigned(buffer, zigzag(i64::from(value)));
}

/// Appends `value` as a varlong. It differs from a varint only in its range: a varlong of 32 bits can be read as a varint.
#[inline]
pub(crate) fn write_varlong(buffer: &mut Vec<u8>, value: i64) {
    write_unsigned(buffer, zigzag(value));
}

/// Appends the varint of a length.
#[inline]
pub(crate) fn write_length(buffer: &mut Vec<u8>, length: usize) {
    write_unsigned(buffer, zigzag(length as i64));
}

/// Removes a varint from the front of `bytes`. `None` if it is truncated, too long, or exceeds 32 bits.
pub(crate) fn read_varint(bytes: &mut &[u8]) -> Option<i32> {
    let raw = u32::try_from(read_unsigned(bytes, 5)?).ok()?;
    Some((raw >> 1) as i32 ^ -((raw & 1) as i32))
}

/// Removes a varlong from the front of `bytes`. `None` if it is truncated, too long, or exceeds 64 bits.
pub(crate) fn read_varlong(bytes: &mut &[u8]) -> Option<i64> {
    let raw = read_unsigned(bytes, 10)?;
    Some((raw >> 1) as i64 ^ -((raw & 1) as i64))
}

/// Small magnitudes of either sign become small unsigned numbers: 0, -1, 1, -2 are 0, 1, 2, 3.
#[inline]
pub(crate) fn zigzag(value: i64) -> u64 {
    ((value << 1) ^ (value >> 63)) as u64
}

/// Numbers below this take at most two bytes, so that [`small_varint`] can encode them.
pub(crate) const SMALL: u64 = 1 << 14;

/// Encodes a zig-zag number below [`SMALL`]. Returns the bytes in a word, the lowest first, and their number: 1 or 2. For
/// larger numbers the result is meaningless. It has no branch, because the lengths of records would defeat branch
/// prediction.
#[inline(always)]
pub(crate) fn small_varint(raw: u64) -> (u64, usize) {
    let second = u64::from(raw >= 0x80);
    (
        (raw & 0x7f) | (second << 7) | ((raw >> 7) << 8),
        1 + second as usize,
    )
}

/// `ceil(bits / 7)`, with a multiplication instead of the division. Zero counts as one bit.
#[inline]
fn size_of_unsigned(raw: u64) -> usize {
    let bits = u64::BITS - (raw | 1).leading_zeros();
    ((bits * 9 + 64) >> 6) as usize
}

#[inline]
fn write_unsigned(buffer: &mut Vec<u8>, raw: u64) {
    if raw < 0x80 {
        buffer.push(raw as u8);
    } else if raw < SMALL {
        buffer.extend_from_slice(&[raw as u8 | 0x80, (raw >> 7) as u8]);
    } else {
        write_long(buffer, raw);
    }
}

fn write_long(buffer: &mut Vec<u8>, mut raw: u64) {
    let mut bytes = [0; 10];
    let mut length = 0;
    while raw >= 0x80 {
        bytes[length] = raw as u8 | 0x80;
        raw >>= 7;
        length += 1;
    }
    bytes[length] = raw as u8;
    buffer.extend_from_slice(&bytes[..=length]);
}

fn read_unsigned(bytes: &mut &[u8], longest: usize) -> Option<u64> {
    let mut raw = 0u64;
    for (index, &byte) in bytes.iter().take(longest).enumerate() {
        let bits = u64::from(byte & 0x7f);
        let shifted = bits << (7 * index);
        // The tenth byte of a 64-bit number has only one bit.
        if shifted >> (7 * index) != bits {
            return None;
        }
        raw |= shifted;
        if byte & 0x80 == 0 {
            *bytes = &bytes[index + 1..];
            return Some(raw);
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn encoded(value: i64) -> Vec<u8> {
        let mut buffer = Vec::new();
        write_varlong(&mut buffer, value);
        buffer
    }

    #[test]
    fn writes_the_bytes_of_the_zig_zag_format() {
        for (value, expected) in [
            (0, &[0x00][..]),
            (-1, &[0x01]),
            (1, &[0x02]),
            (63, &[0x7e]),
            (-64, &[0x7f]),
            (64, &[0x80, 0x01]),
            (-65, &[0x81, 0x01]),
            (8191, &[0xfe, 0x7f]),
            (-8192, &[0xff, 0x7f]),
            (8192, &[0x80, 0x80, 0x01]),
            (i64::from(i32::MAX), &[0xfe, 0xff, 0xff, 0xff, 0x0f]),
            (i64::from(i32::MIN), &[0xff, 0xff, 0xff, 0xff, 0x0f]),
            (
                i64::MAX,
                &[0xfe, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x01],
            ),
            (
                i64::MIN,
                &[0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x01],
            ),
        ] {
            assert_eq!(encoded(value), expected, "{value}");
        }
    }

    #[test]
    fn refuses_a_number_that_is_truncated_or_too_long() {
        for bytes in [
            &[][..],
            &[0x80],
            &[0xff; 4],
            &[0xff; 5],
            &[0xff; 11],
            &[0xff, 0xff, 0xff, 0xff, 0x1f],
        ] {
            assert_eq!(read_varint(&mut &*bytes), None, "{bytes:?}");
        }
        for bytes in [&[][..], &[0x80; 9], &[0xff; 10], &[0xff; 11]] {
            assert_eq!(read_varlong(&mut &*bytes), None, "{bytes:?}");
        }
        let mut eleven_bits_in_the_tenth_byte = [0x80; 10];
        eleven_bits_in_the_tenth_byte[9] = 0x02;
        assert_eq!(read_varlong(&mut &eleven_bits_in_the_tenth_byte[..]), None);
    }

    proptest! {
        #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

        #[test]
        fn reads_back_what_it_wrote_and_knows_its_size(value: i64, shift in 0u32..64, trailer: u8) {
            let value = value >> shift;
            let mut bytes = encoded(value);
            prop_assert_eq!(bytes.len(), size_of_varlong(value));
            let raw = zigzag(value);
            if raw < SMALL {
                let (word, size) = small_varint(raw);
                prop_assert_eq!(&word.to_le_bytes()[..size], &bytes[..]);
            }
            if let Ok(small) = i32::try_from(value) {
                prop_assert_eq!(size_of_varint(small), bytes.len());
                prop_assert_eq!(read_varint(&mut &bytes[..]), Some(small));
            } else {
                prop_assert_eq!(read_varint(&mut &bytes[..]), None);
            }
            bytes.push(trailer);
            let mut rest = &bytes[..];
            prop_assert_eq!(read_varlong(&mut rest), Some(value));
            prop_assert_eq!(rest, &[trailer][..]);
        }
    }
}
