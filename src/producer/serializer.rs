//! How keys and values become bytes.

use std::borrow::Cow;
use std::error::Error as StdError;
use std::marker::PhantomData;
use std::sync::Arc;

use super::headers::Headers;

/// The error type of serializers and partitioners.
pub type BoxError = Box<dyn StdError + Send + Sync>;

/// Turns keys or values of type `T` into bytes.
///
/// Types that implement [`ToBytes`] (bytes, text, numbers, ...) need no serializer of yours. For other types give one to
/// the builder with [`key_serializer`](crate::ProducerBuilder::key_serializer) and
/// [`value_serializer`](crate::ProducerBuilder::value_serializer); [`serializer_fn`] makes one from a closure. A serializer
/// runs on the thread that sends, and several threads may call it at once.
#[diagnostic::on_unimplemented(
    message = "`{Self}` does not serialize `{T}`",
    note = "hand a serializer for `{T}` to `ProducerBuilder::key_serializer` or `value_serializer`; \
            `serializer_fn` makes one from a closure"
)]
pub trait Serializer<T: ?Sized>: Send + Sync {
    /// Returns the bytes of `value`, or `None` for null. The bytes are part of `value`, or the serializer writes them to
    /// `buffer`, which is empty at first and is reused for the next record. The serializer may change `headers`, the
    /// headers of the record. If the record is then refused, headers that were added are removed again, and other changes
    /// stay.
    ///
    /// # Errors
    /// The send fails with [`ErrorKind::Serialization`](crate::ErrorKind::Serialization), which has this error as its
    /// source.
    fn serialize<'a>(
        &self,
        topic: &str,
        headers: &mut Headers,
        value: &'a T,
        buffer: &'a mut Vec<u8>,
    ) -> Result<Option<&'a [u8]>, BoxError>;
}

/// Makes a serializer from a closure that writes the bytes of a value to the given empty vector:
///
/// ```
/// use kafka_producer::{Headers, serializer_fn};
///
/// struct Order { number: u64 }
///
/// let serializer = serializer_fn(|_topic: &str, _headers: &mut Headers, order: &Order, bytes: &mut Vec<u8>| {
///     bytes.extend(format!("order {}", order.number).into_bytes());
///     Ok(())
/// });
/// # let _: &dyn kafka_producer::Serializer<Order> = &serializer;
/// ```
pub fn serializer_fn<T, F>(write: F) -> SerializerFn<T, F>
where
    T: ?Sized,
    F: Fn(&str, &mut Headers, &T, &mut Vec<u8>) -> Result<(), BoxError> + Send + Sync,
{
    SerializerFn {
        write,
        value: PhantomData,
    }
}

/// A closure as a [`Serializer`]: see [`serializer_fn`].
pub struct SerializerFn<T: ?Sized, F> {
    write: F,
    value: PhantomData<fn(&T)>,
}

/// A type that has one conversion to bytes, which needs no settings and cannot fail. If you implement it for your own
/// type, a producer of that type needs no serializer.
///
/// Built in: bytes (`[u8]`, `Vec<u8>`, `[u8; N]`, `Box`, `Arc` and `Cow` of them) and text (`str`, `String`, ...) as
/// they are, without a copy; all integers and floats of a fixed width, big-endian, as Java's; `bool` as one byte, 0 or 1;
/// [`Uuid`] as its 16 bytes; `()` as null, and an `Option` as null or what it holds.
#[diagnostic::on_unimplemented(
    message = "`{Self}` has no built-in serializer",
    label = "kafka-producer does not know the bytes of `{Self}`",
    note = "hand a serializer to `ProducerBuilder::key_serializer` or `value_serializer` (`serializer_fn` makes one from \
            a closure), or implement `ToBytes` for your own type"
)]
pub trait ToBytes {
    /// Returns the bytes, or `None` for null. The bytes are part of `self`, or `to_bytes` writes them to `buffer`, which is
    /// empty.
    fn to_bytes<'a>(&'a self, buffer: &'a mut Vec<u8>) -> Option<&'a [u8]>;
}

/// The serializer of types that implement [`ToBytes`]. Builders have it by default.
#[derive(Clone, Copy, Debug, Default)]
pub struct DefaultSerializer;

/// A UUID: 16 bytes, most significant first. They are sent as they are. Java's `UUIDSerializer` sends 36 characters
/// instead, as [`UuidTextSerializer`] does.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Uuid(pub [u8; 16]);

/// Serializes a [`Uuid`] as Java's `UUIDSerializer` does: as text in the form
/// `123e4567-e89b-12d3-a456-426614174000`.
#[derive(Clone, Copy, Debug, Default)]
pub struct UuidTextSerializer;

impl<T: ToBytes + ?Sized> Serializer<T> for DefaultSerializer {
    fn serialize<'a>(
        &self,
        _topic: &str,
        _headers: &mut Headers,
        value: &'a T,
        buffer: &'a mut Vec<u8>,
    ) -> Result<Option<&'a [u8]>, BoxError> {
        Ok(value.to_bytes(buffer))
    }
}

impl<T, F> Serializer<T> for SerializerFn<T, F>
where
    T: ?Sized,
    F: Fn(&str, &mut Headers, &T, &mut Vec<u8>) -> Result<(), BoxError> + Send + Sync,
{
    fn serialize<'a>(
        &self,
        topic: &str,
        headers: &mut Headers,
        value: &'a T,
        buffer: &'a mut Vec<u8>,
    ) -> Result<Option<&'a [u8]>, BoxError> {
        (self.write)(topic, headers, value, buffer)?;
        Ok(Some(buffer))
    }
}

impl<T: ?Sized, S: Serializer<T> + ?Sized> Serializer<T> for Arc<S> {
    fn serialize<'a>(
        &self,
        topic: &str,
        headers: &mut Headers,
        value: &'a T,
        buffer: &'a mut Vec<u8>,
    ) -> Result<Option<&'a [u8]>, BoxError> {
        (**self).serialize(topic, headers, value, buffer)
    }
}

impl<T: ?Sized, S: Serializer<T> + ?Sized> Serializer<T> for Box<S> {
    fn serialize<'a>(
        &self,
        topic: &str,
        headers: &mut Headers,
        value: &'a T,
        buffer: &'a mut Vec<u8>,
    ) -> Result<Option<&'a [u8]>, BoxError> {
        (**self).serialize(topic, headers, value, buffer)
    }
}

impl Serializer<Uuid> for UuidTextSerializer {
    fn serialize<'a>(
        &self,
        _topic: &str,
        _headers: &mut Headers,
        value: &'a Uuid,
        buffer: &'a mut Vec<u8>,
    ) -> Result<Option<&'a [u8]>, BoxError> {
        const DIGITS: &[u8; 16] = b"0123456789abcdef";
        for (index, byte) in value.0.iter().enumerate() {
            if matches!(index, 4 | 6 | 8 | 10) {
                buffer.push(b'-');
            }
            buffer.push(DIGITS[usize::from(byte >> 4)]);
            buffer.push(DIGITS[usize::from(byte & 15)]);
        }
        Ok(Some(buffer))
    }
}

impl ToBytes for [u8] {
    fn to_bytes<'a>(&'a self, _buffer: &'a mut Vec<u8>) -> Option<&'a [u8]> {
        Some(self)
    }
}

impl ToBytes for Vec<u8> {
    fn to_bytes<'a>(&'a self, _buffer: &'a mut Vec<u8>) -> Option<&'a [u8]> {
        Some(self)
    }
}

impl<const N: usize> ToBytes for [u8; N] {
    fn to_bytes<'a>(&'a self, _buffer: &'a mut Vec<u8>) -> Option<&'a [u8]> {
        Some(self)
    }
}

impl ToBytes for str {
    fn to_bytes<'a>(&'a self, _buffer: &'a mut Vec<u8>) -> Option<&'a [u8]> {
        Some(self.as_bytes())
    }
}

impl ToBytes for String {
    fn to_bytes<'a>(&'a self, _buffer: &'a mut Vec<u8>) -> Option<&'a [u8]> {
        Some(self.as_bytes())
    }
}

impl ToBytes for Uuid {
    fn to_bytes<'a>(&'a self, _buffer: &'a mut Vec<u8>) -> Option<&'a [u8]> {
        Some(&self.0)
    }
}

impl ToBytes for () {
    fn to_bytes<'a>(&'a self, _buffer: &'a mut Vec<u8>) -> Option<&'a [u8]> {
        None
    }
}

impl ToBytes for bool {
    fn to_bytes<'a>(&'a self, _buffer: &'a mut Vec<u8>) -> Option<&'a [u8]> {
        Some(if *self { &[1] } else { &[0] })
    }
}

impl<T: ToBytes> ToBytes for Option<T> {
    fn to_bytes<'a>(&'a self, buffer: &'a mut Vec<u8>) -> Option<&'a [u8]> {
        self.as_ref()?.to_bytes(buffer)
    }
}

impl<T: ToBytes + ?Sized> ToBytes for &T {
    fn to_bytes<'a>(&'a self, buffer: &'a mut Vec<u8>) -> Option<&'a [u8]> {
        (**self).to_bytes(buffer)
    }
}

impl<T: ToBytes + ?Sized> ToBytes for Box<T> {
    fn to_bytes<'a>(&'a self, buffer: &'a mut Vec<u8>) -> Option<&'a [u8]> {
        (**self).to_bytes(buffer)
    }
}

impl<T: ToBytes + ?Sized> ToBytes for Arc<T> {
    fn to_bytes<'a>(&'a self, buffer: &'a mut Vec<u8>) -> Option<&'a [u8]> {
        (**self).to_bytes(buffer)
    }
}

impl<T: ToBytes + ToOwned + ?Sized> ToBytes for Cow<'_, T> {
    fn to_bytes<'a>(&'a self, buffer: &'a mut Vec<u8>) -> Option<&'a [u8]> {
        (**self).to_bytes(buffer)
    }
}

macro_rules! big_endian {
    ($($number:ty)+) => {
        $(
            impl ToBytes for $number {
                fn to_bytes<'a>(&'a self, buffer: &'a mut Vec<u8>) -> Option<&'a [u8]> {
                    buffer.extend_from_slice(&self.to_be_bytes());
                    Some(buffer)
                }
            }
        )+
    };
}

big_endian!(u8 i8 u16 i16 u32 i32 u64 i64 u128 i128 f32 f64);

#[cfg(test)]
mod tests {
    use super::*;

    fn bytes<T: ?Sized>(serializer: &impl Serializer<T>, value: &T) -> Option<Vec<u8>> {
        let mut buffer = Vec::new();
        let bytes = serializer
            .serialize("t", &mut Headers::new(), value, &mut buffer)
            .unwrap();
        bytes.map(<[u8]>::to_vec)
    }

    fn default_bytes<T: ToBytes + ?Sized>(value: &T) -> Option<Vec<u8>> {
        bytes(&DefaultSerializer, value)
    }

    #[test]
    fn bytes_and_text_are_sent_as_they_are() {
        let expected = Some(b"abc".to_vec());
        assert_eq!(default_bytes(&b"abc"[..]), expected);
        assert_eq!(default_bytes(b"abc"), expected);
        assert_eq!(default_bytes(&b"abc".to_vec()), expected);
        assert_eq!(default_bytes(&Box::<[u8]>::from(*b"abc")), expected);
        assert_eq!(default_bytes(&Arc::<[u8]>::from(*b"abc")), expected);
        assert_eq!(default_bytes(&Cow::Borrowed(&b"abc"[..])), expected);
        assert_eq!(default_bytes("abc"), expected);
        assert_eq!(default_bytes(&"abc"), expected);
        assert_eq!(default_bytes(&String::from("abc")), expected);
        assert_eq!(default_bytes(&Arc::<str>::from("abc")), expected);
        assert_eq!(default_bytes(&Cow::Borrowed("abc")), expected);
        assert_eq!(default_bytes(""), Some(vec![]));
    }

    #[test]
    fn text_is_not_copied() {
        let text = String::from("abc");
        let mut buffer = Vec::new();
        let sent = text.to_bytes(&mut buffer).unwrap().as_ptr();
        assert_eq!(sent, text.as_ptr());
        assert_eq!(buffer.capacity(), 0);
    }

    /// The bytes that Java's Short-, Integer-, Long-, Float- and DoubleSerializer make of the same numbers.
    #[test]
    fn numbers_are_big_endian() {
        assert_eq!(default_bytes(&0x0102_i16), Some(vec![1, 2]));
        assert_eq!(default_bytes(&-2_i32), Some(vec![0xff, 0xff, 0xff, 0xfe]));
        assert_eq!(
            default_bytes(&0x0102_0304_0506_0708_i64),
            Some(vec![1, 2, 3, 4, 5, 6, 7, 8])
        );
        assert_eq!(default_bytes(&1.5_f32), Some(vec![0x3f, 0xc0, 0, 0]));
        assert_eq!(
            default_bytes(&-2.0_f64),
            Some(vec![0xc0, 0, 0, 0, 0, 0, 0, 0])
        );
        assert_eq!(default_bytes(&200_u8), Some(vec![200]));
        assert_eq!(default_bytes(&1_u128).map(|bytes| bytes.len()), Some(16));
    }

    #[test]
    fn bool_is_one_byte_and_nothing_is_null() {
        assert_eq!(default_bytes(&true), Some(vec![1]));
        assert_eq!(default_bytes(&false), Some(vec![0]));
        assert_eq!(default_bytes(&()), None);
        assert_eq!(default_bytes(&None::<i32>), None);
        assert_eq!(default_bytes(&Some("x")), Some(b"x".to_vec()));
    }

    #[test]
    fn uuids_are_16_bytes_or_javas_text() {
        let uuid = Uuid(0x123e4567_e89b_12d3_a456_426614174000_u128.to_be_bytes());
        assert_eq!(default_bytes(&uuid), Some(uuid.0.to_vec()));
        assert_eq!(
            bytes(&UuidTextSerializer, &uuid),
            Some(b"123e4567-e89b-12d3-a456-426614174000".to_vec())
        );
    }

    #[test]
    fn closures_see_topic_and_headers_and_may_fail() {
        let serializer = serializer_fn(
            |topic: &str, headers: &mut Headers, value: &i32, bytes: &mut Vec<u8>| {
                headers.add("content-type", "text/plain");
                bytes.extend(format!("{topic}:{value}").into_bytes());
                if *value < 0 {
                    Err("negative".into())
                } else {
                    Ok(())
                }
            },
        );
        let shared: Arc<dyn Serializer<i32>> = Arc::new(serializer);
        let (mut headers, mut buffer) = (Headers::new(), Vec::new());
        let sent = shared
            .serialize("t", &mut headers, &7, &mut buffer)
            .unwrap();
        assert_eq!(sent, Some(&b"t:7"[..]));
        assert_eq!(
            headers
                .last("content-type")
                .and_then(|header| header.value()),
            Some(&b"text/plain"[..])
        );
        let failed = shared
            .serialize("t", &mut headers, &-1, &mut Vec::new())
            .unwrap_err();
        assert_eq!(failed.to_string(), "negative");
    }
}
