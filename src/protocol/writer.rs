//! Appends the protocol's primitive types to a vector of bytes.

use super::reader::MAX_STRING_LENGTH;
use super::{Form, ProtocolError};

type Result<T> = std::result::Result<T, ProtocolError>;

/// The methods that append primitive types to a `Vec<u8>`. The only error is a length that the format cannot express.
pub(crate) trait Writer {
    fn put_boolean(&mut self, value: bool);
    fn put_i16(&mut self, value: i16);
    fn put_i32(&mut self, value: i32);
    fn put_i64(&mut self, value: i64);
    fn put_uuid(&mut self, value: &[u8; 16]);
    fn put_unsigned_varint(&mut self, value: u32);
    fn put_string(&mut self, form: Form, value: &str) -> Result<()>;
    fn put_nullable_string(&mut self, form: Form, value: Option<&str>) -> Result<()>;
    /// Writes the length prefix of bytes or an array; `None` means null.
    fn put_length(&mut self, form: Form, length: Option<usize>) -> Result<()>;
    fn put_bytes(&mut self, form: Form, value: &[u8]) -> Result<()>;
    fn put_array<T>(
        &mut self,
        form: Form,
        elements: &[T],
        element: impl FnMut(&mut Self, &T) -> Result<()>,
    ) -> Result<()>;
    /// Writes an empty list of tagged fields, if the form has such lists.
    fn put_no_tagged_fields(&mut self, form: Form);
}

impl Writer for Vec<u8> {
    fn put_boolean(&mut self, value: bool) {
        self.push(u8::from(value));
    }

    fn put_i16(&mut self, value: i16) {
        self.extend_from_slice(&value.to_be_bytes());
    }

    fn put_i32(&mut self, value: i32) {
        self.extend_from_slice(&value.to_be_bytes());
    }

    fn put_i64(&mut self, value: i64) {
        self.extend_from_slice(&value.to_be_bytes());
    }

    fn put_uuid(&mut self, value: &[u8; 16]) {
        self.extend_from_slice(value);
    }

    fn put_unsigned_varint(&mut self, mut value: u32) {
        while value >= 0x80 {
            self.push(value as u8 | 0x80);
            value >>= 7;
        }
        self.push(value as u8);
    }

    fn put_string(&mut self, form: Form, value: &str) -> Result<()> {
        self.put_nullable_string(form, Some(value))
    }

    fn put_nullable_string(&mut self, form: Form, value: Option<&str>) -> Result<()> {
        let length = value.map_or(0, str::len);
        // In both forms a string has at most this length: readers refuse a longer one.
        let Ok(classic) = i16::try_from(length) else {
            return Err(ProtocolError::LengthTooLarge {
                length,
                max: MAX_STRING_LENGTH,
            });
        };
        match form {
            Form::Classic => self.put_i16(if value.is_some() { classic } else { -1 }),
            Form::Flexible => self.put_length(form, value.map(str::len))?,
        }
        self.extend_from_slice(value.unwrap_or_default().as_bytes());
        Ok(())
    }

    fn put_length(&mut self, form: Form, length: Option<usize>) -> Result<()> {
        let length = match length {
            None => -1,
            Some(length) => i32::try_from(length).map_err(|_| ProtocolError::LengthTooLarge {
                length,
                max: i32::MAX as usize,
            })?,
        };
        match form {
            Form::Classic => self.put_i32(length),
            Form::Flexible => self.put_unsigned_varint((i64::from(length) + 1) as u32),
        }
        Ok(())
    }

    fn put_bytes(&mut self, form: Form, value: &[u8]) -> Result<()> {
        self.put_length(form, Some(value.len()))?;
        self.extend_from_slice(value);
        Ok(())
    }

    fn put_array<T>(
        &mut self,
        form: Form,
        elements: &[T],
        mut element: impl FnMut(&mut Self, &T) -> Result<()>,
    ) -> Result<()> {
        self.put_length(form, Some(elements.len()))?;
        elements.iter().try_for_each(|value| element(self, value))
    }

    fn put_no_tagged_fields(&mut self, form: Form) {
        if form == Form::Flexible {
            self.push(0);
        }
    }
}

/// Collects the tagged fields of one structure. They are written after their count, in the order of their tags.
#[cfg(any(test, feature = "mock"))]
#[derive(Default)]
pub(crate) struct TaggedFields {
    count: u32,
    bytes: Vec<u8>,
}

#[cfg(any(test, feature = "mock"))]
impl TaggedFields {
    /// Adds a field. Tags must be added in ascending order.
    pub(crate) fn add(
        &mut self,
        tag: u32,
        value: impl FnOnce(&mut Vec<u8>) -> Result<()>,
    ) -> Result<()> {
        let mut bytes = Vec::new();
        value(&mut bytes)?;
        let size = u32::try_from(bytes.len()).map_err(|_| ProtocolError::LengthTooLarge {
            length: bytes.len(),
            max: u32::MAX as usize,
        })?;
        self.count += 1;
        self.bytes.put_unsigned_varint(tag);
        self.bytes.put_unsigned_varint(size);
        self.bytes.extend_from_slice(&bytes);
        Ok(())
    }

    pub(crate) fn write(&self, out: &mut Vec<u8>) {
        out.put_unsigned_varint(self.count);
        out.extend_from_slice(&self.bytes);
    }
}
