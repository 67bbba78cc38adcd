//! A cursor over received bytes. Every read is checked against the number of remaining bytes.

use byteorder::{BigEndian, ByteOrder};

use super::{Form, ProtocolError};

type Result<T> = std::result::Result<T, ProtocolError>;

/// Reads the protocol's primitive types from a slice. No read panics, and none allocates more than the slice can fill.
#[derive(Clone, Debug)]
pub(crate) struct Reader<'a> {
    rest: &'a [u8],
}

impl<'a> Reader<'a> {
    pub(crate) fn new(bytes: &'a [u8]) -> Self {
        Self { rest: bytes }
    }

    pub(crate) fn remaining(&self) -> usize {
        self.rest.len()
    }

    /// Returns the next `length` bytes.
    pub(crate) fn take(&mut self, length: usize) -> Result<&'a [u8]> {
        match self.rest.split_at_checked(length) {
            Some((taken, rest)) => {
                self.rest = rest;
                Ok(taken)
            }
            None => Err(ProtocolError::Truncated {
                needed: length,
                remaining: self.rest.len(),
            }),
        }
    }

    /// Returns an error if bytes follow the message. Used for requests and tests, where such bytes show a broken encoder.
    /// Not used for responses, as in Java: a broker may add bytes after the fields of a version.
    pub(crate) fn finish(&self) -> Result<()> {
        match self.remaining() {
            0 => Ok(()),
            count => Err(ProtocolError::TrailingBytes(count)),
        }
    }

    pub(crate) fn boolean(&mut self) -> Result<bool> {
        Ok(self.i8()? != 0)
    }

    pub(crate) fn i8(&mut self) -> Result<i8> {
        Ok(self.take(1)?[0] as i8)
    }

    pub(crate) fn i16(&mut self) -> Result<i16> {
        self.take(2).map(BigEndian::read_i16)
    }

    pub(crate) fn i32(&mut self) -> Result<i32> {
        self.take(4).map(BigEndian::read_i32)
    }

    pub(crate) fn i64(&mut self) -> Result<i64> {
        self.take(8).map(BigEndian::read_i64)
    }

    pub(crate) fn uuid(&mut self) -> Result<[u8; 16]> {
        let mut id = [0; 16];
        id.copy_from_slice(self.take(16)?);
        Ok(id)
    }

    /// Reads seven bits from each byte, the lowest first.
    pub(crate) fn unsigned_varint(&mut self) -> Result<u32> {
        let mut value = 0u64;
        for index in 0..5 {
            let byte = self.take(1)?[0];
            value |= u64::from(byte & 0x7f) << (7 * index);
            if byte & 0x80 == 0 {
                return u32::try_from(value).map_err(|_| ProtocolError::VarintTooLong);
            }
        }
        Err(ProtocolError::VarintTooLong)
    }

    pub(crate) fn string(&mut self, form: Form) -> Result<&'a str> {
        self.nullable_string(form)?
            .ok_or(ProtocolError::UnexpectedNull)
    }

    pub(crate) fn nullable_string(&mut self, form: Form) -> Result<Option<&'a str>> {
        let length = match form {
            Form::Classic => classic_length(i32::from(self.i16()?))?,
            Form::Flexible => self.flexible_length()?,
        };
        let Some(length) = length else {
            return Ok(None);
        };
        if length > MAX_STRING_LENGTH {
            return Err(ProtocolError::LengthTooLarge {
                length,
                max: MAX_STRING_LENGTH,
            });
        }
        let text =
            std::str::from_utf8(self.take(length)?).map_err(|_| ProtocolError::InvalidUtf8)?;
        Ok(Some(text))
    }

    pub(crate) fn bytes(&mut self, form: Form) -> Result<&'a [u8]> {
        self.nullable_bytes(form)?
            .ok_or(ProtocolError::UnexpectedNull)
    }

    pub(crate) fn nullable_bytes(&mut self, form: Form) -> Result<Option<&'a [u8]>> {
        let length = self.length(form)?;
        length.map(|length| self.take(length)).transpose()
    }

    pub(crate) fn array<T>(
        &mut self,
        form: Form,
        element: impl FnMut(&mut Self) -> Result<T>,
    ) -> Result<Vec<T>> {
        self.nullable_array(form, element)?
            .ok_or(ProtocolError::UnexpectedNull)
    }

    pub(crate) fn nullable_array<T>(
        &mut self,
        form: Form,
        mut element: impl FnMut(&mut Self) -> Result<T>,
    ) -> Result<Option<Vec<T>>> {
        let Some(length) = self.length(form)? else {
            return Ok(None);
        };
        // Every element takes at least one byte, so a length above the number of remaining bytes is wrong.
        if length > self.remaining() {
            return Err(ProtocolError::LengthTooLarge {
                length,
                max: self.remaining(),
            });
        }
        // Allocates at most as many bytes as the peer has sent, even if it announces a greater length.
        let mut elements = Vec::with_capacity(length.min(self.remaining() / size_of::<T>().max(1)));
        for _ in 0..length {
            elements.push(element(self)?);
        }
        Ok(Some(elements))
    }

    /// Reads the tagged fields at the end of a structure. The classic form has none. Calls `field` with each tag and a
    /// reader of its value; `field` ignores tags that it does not know.
    pub(crate) fn tagged_fields(
        &mut self,
        form: Form,
        mut field: impl FnMut(u32, &mut Reader<'a>) -> Result<()>,
    ) -> Result<()> {
        if form == Form::Classic {
            return Ok(());
        }
        for _ in 0..self.unsigned_varint()? {
            let tag = self.unsigned_varint()?;
            let size = self.unsigned_varint()? as usize;
            field(tag, &mut Reader::new(self.take(size)?))?;
        }
        Ok(())
    }

    pub(crate) fn skip_tagged_fields(&mut self, form: Form) -> Result<()> {
        self.tagged_fields(form, |_, _| Ok(()))
    }

    fn length(&mut self, form: Form) -> Result<Option<usize>> {
        match form {
            Form::Classic => classic_length(self.i32()?),
            Form::Flexible => self.flexible_length(),
        }
    }

    fn flexible_length(&mut self) -> Result<Option<usize>> {
        Ok(self
            .unsigned_varint()?
            .checked_sub(1)
            .map(|length| length as usize))
    }
}

fn classic_length(length: i32) -> Result<Option<usize>> {
    match length {
        -1 => Ok(None),
        _ => usize::try_from(length)
            .map(Some)
            .map_err(|_| ProtocolError::NegativeLength(length.into())),
    }
}

/// Kafka's limit for a string in either form.
pub(super) const MAX_STRING_LENGTH: usize = i16::MAX as usize;
