//! The primitive types.

use proptest::prelude::*;

use super::config;
use crate::protocol::{Form, ProtocolError, Reader, Writer};

proptest! {
    #![proptest_config(config(256))]
    #[test]
    fn primitives_are_read_as_they_were_written(
        (b, c, e) in any::<(i16, i32, i64)>(),
        (f, id, flag) in any::<(u32, [u8; 16], bool)>(),
        text: Option<String>,
        items: Vec<i32>,
    ) {
        for form in [Form::Classic, Form::Flexible] {
            let mut out = Vec::new();
            out.put_i16(b);
            out.put_i32(c);
            out.put_i64(e);
            out.put_unsigned_varint(f);
            out.put_uuid(&id);
            out.put_boolean(flag);
            out.put_nullable_string(form, text.as_deref()).unwrap();
            out.put_array(form, &items, |out, item| { out.put_i32(*item); Ok(()) }).unwrap();
            out.put_length(form, Some(3)).unwrap();
            out.extend_from_slice(b"abc");
            out.put_length(form, None).unwrap();
            out.put_no_tagged_fields(form);

            let mut reader = Reader::new(&out);
            prop_assert_eq!(reader.i16(), Ok(b));
            prop_assert_eq!(reader.i32(), Ok(c));
            prop_assert_eq!(reader.i64(), Ok(e));
            prop_assert_eq!(reader.unsigned_varint(), Ok(f));
            prop_assert_eq!(reader.uuid(), Ok(id));
            prop_assert_eq!(reader.boolean(), Ok(flag));
            prop_assert_eq!(reader.nullable_string(form), Ok(text.as_deref()));
            prop_assert_eq!(reader.array(form, Reader::i32).unwrap(), items.clone());
            prop_assert_eq!(reader.nullable_bytes(form), Ok(Some(&b"abc"[..])));
            prop_assert_eq!(reader.nullable_bytes(form), Ok(None));
            prop_assert_eq!(reader.skip_tagged_fields(form), Ok(()));
            prop_assert_eq!(reader.finish(), Ok(()));
        }
    }
}

#[test]
fn varints_are_those_of_the_specification() {
    let cases: [(u32, &[u8]); 5] = [
        (0, &[0]),
        (127, &[0x7f]),
        (128, &[0x80, 1]),
        (300, &[0xac, 2]),
        (u32::MAX, &[0xff, 0xff, 0xff, 0xff, 0x0f]),
    ];
    for (value, bytes) in cases {
        let mut out = Vec::new();
        out.put_unsigned_varint(value);
        assert_eq!(out, bytes);
        assert_eq!(Reader::new(bytes).unsigned_varint(), Ok(value));
    }
}

#[test]
fn varints_with_too_many_bits_are_refused() {
    let too_long = Err(ProtocolError::VarintTooLong);
    assert_eq!(
        Reader::new(&[0xff, 0xff, 0xff, 0xff, 0x1f]).unsigned_varint(),
        too_long
    );
    assert_eq!(
        Reader::new(&[0x80, 0x80, 0x80, 0x80, 0x80, 0]).unsigned_varint(),
        too_long
    );
    let truncated = Err(ProtocolError::Truncated {
        needed: 1,
        remaining: 0,
    });
    assert_eq!(Reader::new(&[0x80]).unsigned_varint(), truncated);
}

#[test]
fn broken_strings_and_lengths_are_refused() {
    let classic = |bytes: &'static [u8]| Reader::new(bytes).nullable_string(Form::Classic);
    assert_eq!(classic(&[0xff, 0xff]), Ok(None));
    assert_eq!(
        classic(&[0xff, 0xfe]),
        Err(ProtocolError::NegativeLength(-2))
    );
    assert_eq!(classic(&[0, 1, 0xff]), Err(ProtocolError::InvalidUtf8));
    assert_eq!(
        classic(&[0, 2, b'a']),
        Err(ProtocolError::Truncated {
            needed: 2,
            remaining: 1
        })
    );
    assert_eq!(
        Reader::new(&[0xff, 0xff]).string(Form::Classic),
        Err(ProtocolError::UnexpectedNull)
    );
    assert_eq!(
        Reader::new(&[0]).string(Form::Flexible),
        Err(ProtocolError::UnexpectedNull)
    );
    let mut long = vec![0x81, 0x80, 0x02];
    long.resize(0x8003, b'a');
    let too_long = ProtocolError::LengthTooLarge {
        length: 0x8000,
        max: 0x7fff,
    };
    assert_eq!(Reader::new(&long).string(Form::Flexible), Err(too_long));
    assert_eq!(
        Reader::new(&[1, 2, 3]).finish(),
        Err(ProtocolError::TrailingBytes(3))
    );
}
