//! The primitive types by themselves.

use proptest::prelude::*;

use super::config;
use crate::protocol::{Form, ProtocolError, Reader, Writer};

proptest! {
    #![proptest_config(config(256))]
    #[test]
    fn primitives_come_back(
        (a, b, c, d, e) in any::<(i8, i16, i32, u32, i64)>(),
        (f, g, h, id, flag) in any::<(u32, i32, i64, [u8; 16], bool)>(),
        text: Option<String>,
        items: Vec<i32>,
    ) {
        for form in [Form::Classic, Form::Flexible] {
            let mut out = Vec::new();
            out.put_i8(a);
            out.put_i16(b);
            out.put_i32(c);
            out.put_u32(d);
            out.put_i64(e);
            out.put_unsigned_varint(f);
            out.put_varint(g);
            out.put_varlong(h);
            out.put_uuid(&id);
            out.put_boolean(flag);
            out.put_nullable_string(form, text.as_deref()).unwrap();
            out.put_array(form, &items, |out, item| { out.put_i32(*item); Ok(()) }).unwrap();
            out.put_length(form, Some(3)).unwrap();
            out.extend_from_slice(b"abc");
            out.put_length(form, None).unwrap();
            out.put_no_tagged_fields(form);

            let mut reader = Reader::new(&out);
            prop_assert_eq!(reader.i8(), Ok(a));
            prop_assert_eq!(reader.i16(), Ok(b));
            prop_assert_eq!(reader.i32(), Ok(c));
            prop_assert_eq!(reader.u32(), Ok(d));
            prop_assert_eq!(reader.i64(), Ok(e));
            prop_assert_eq!(reader.unsigned_varint(), Ok(f));
            prop_assert_eq!(reader.varint(), Ok(g));
            prop_assert_eq!(reader.varlong(), Ok(h));
            prop_assert_eq!(reader.uuid(), Ok(id));
            prop_assert_eq!(reader.boolean(), Ok(flag));
            prop_assert_eq!(reader.nullable_string(form), Ok(text.as_deref()));
            prop_assert_eq!(reader.array(form, Reader::i32).unwrap(), items.clone());
            prop_assert_eq!(reader.bytes(form), Ok(&b"abc"[..]));
            prop_assert_eq!(reader.nullable_bytes(form), Ok(None));
            prop_assert_eq!(reader.skip_tagged_fields(form), Ok(()));
            prop_assert_eq!(reader.finish(), Ok(()));
        }
    }
}

#[test]
fn varints_are_those_of_the_specification() {
    for (value, bytes) in [
        (0, &[0][..]),
        (127, &[0x7f]),
        (128, &[0x80, 1]),
        (300, &[0xac, 2]),
        (u32::MAX, &[0xff, 0xff, 0xff, 0xff, 0x0f]),
    ] {
        let mut out = Vec::new();
        out.put_unsigned_varint(value);
        assert_eq!(out, bytes);
    }
    for (value, bytes) in [
        (0, &[0][..]),
        (-1, &[1]),
        (1, &[2]),
        (-64, &[0x7f]),
        (64, &[0x80, 1]),
        (i32::MIN, &[0xff, 0xff, 0xff, 0xff, 0x0f]),
    ] {
        let mut out = Vec::new();
        out.put_varint(value);
        assert_eq!(out, bytes);
        out.clear();
        out.put_varlong(value.into());
        assert_eq!(out, bytes);
    }
    let mut out = Vec::new();
    out.put_varlong(i64::MIN);
    assert_eq!(
        out,
        [0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 1]
    );
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
    let mut bytes = [0xff; 10];
    bytes[9] = 2;
    assert_eq!(
        Reader::new(&bytes).varlong(),
        Err(ProtocolError::VarintTooLong)
    );
    assert_eq!(
        Reader::new(&[0x80; 11]).varlong(),
        Err(ProtocolError::VarintTooLong)
    );
    assert_eq!(
        Reader::new(&[0x80]).varint(),
        Err(ProtocolError::Truncated {
            needed: 1,
            remaining: 0
        })
    );
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
