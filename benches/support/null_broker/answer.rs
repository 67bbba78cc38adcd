//! Writes answers, in Kafka's old and its flexible encoding.

#[derive(Default)]
pub(super) struct Answer(pub(super) Vec<u8>);

impl Answer {
    pub(super) fn i8(&mut self, value: i8) {
        self.0.extend_from_slice(&value.to_be_bytes());
    }

    pub(super) fn i16(&mut self, value: i16) {
        self.0.extend_from_slice(&value.to_be_bytes());
    }

    pub(super) fn i32(&mut self, value: i32) {
        self.0.extend_from_slice(&value.to_be_bytes());
    }

    pub(super) fn i64(&mut self, value: i64) {
        self.0.extend_from_slice(&value.to_be_bytes());
    }

    pub(super) fn length(&mut self, length: usize, flexible: bool) {
        if flexible {
            self.compact(length + 1)
        } else {
            self.i32(length as i32)
        }
    }

    pub(super) fn string(&mut self, bytes: &[u8], flexible: bool) {
        if flexible {
            self.compact(bytes.len() + 1)
        } else {
            self.i16(bytes.len() as i16)
        }
        self.0.extend_from_slice(bytes);
    }

    pub(super) fn null_string(&mut self, flexible: bool) {
        if flexible {
            self.compact(0)
        } else {
            self.i16(-1)
        }
    }

    pub(super) fn no_tags(&mut self, flexible: bool) {
        if flexible {
            self.compact(0)
        }
    }

    fn compact(&mut self, mut value: usize) {
        while value >= 0x80 {
            self.0.push(value as u8 | 0x80);
            value >>= 7;
        }
        self.0.push(value as u8);
    }
}
