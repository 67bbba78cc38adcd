//! Bytes that no correct peer sends: every decoder returns a message or an error, and none panics.

use proptest::prelude::*;

use super::config;
use super::schema::Schema;
use crate::protocol::messages::*;
use crate::protocol::*;

proptest! {
    #![proptest_config(config(2000))]
    #[test]
    fn arbitrary_bytes_end_in_a_message_or_an_error(bytes in prop::collection::vec(any::<u8>(), 0..300), version in -1i16..16) {
        decode_all(version, &bytes);
    }

    /// Arbitrary bytes rarely get past the first length. A message with a few changed bytes reaches the inner fields.
    #[test]
    fn damaged_messages_end_in_a_message_or_an_error(
        seed: u64,
        damage in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..4),
        cut in any::<prop::sample::Index>(),
    ) {
        let mut random = fastrand::Rng::with_seed(seed);
        for (name, last) in [("ProduceResponse", 13), ("ProduceRequest", 13), ("MetadataResponse", 13), ("ApiVersionsResponse", 4)] {
            let schema = Schema::load(name);
            let version = random.i16(*schema.valid_versions.start()..=last);
            let mut bytes = schema.encode(&schema.random(version, &mut random), version, None);
            for (index, byte) in &damage {
                let index = index.index(bytes.len());
                bytes[index] = *byte;
            }
            decode_all(version, &bytes);
            bytes.truncate(cut.index(bytes.len()));
            decode_all(version, &bytes);
        }
    }
}

fn decode_all(version: i16, bytes: &[u8]) {
    let _ = ReceivedHeader::decode(&mut Reader::new(bytes));
    for api in ApiKey::ALL {
        let _ = decode_response_header(api, version, &mut Reader::new(bytes));
    }
    let _ = ApiVersionsResponse::decode(version, &mut Reader::new(bytes));
    let _ = MetadataResponse::decode(version, &mut Reader::new(bytes));
    let _ = ProduceResponse::decode(version, &mut Reader::new(bytes));
    let _ = InitProducerIdResponse::decode(version, &mut Reader::new(bytes));
    let _ = SaslHandshakeResponse::decode(version, &mut Reader::new(bytes));
    let _ = SaslAuthenticateResponse::decode(version, &mut Reader::new(bytes));
    let _ = SaslHandshakeRequest::decode(version, &mut Reader::new(bytes));
    let _ = SaslAuthenticateRequest::decode(version, &mut Reader::new(bytes));
    let _ = ApiVersionsRequest::decode(version, &mut Reader::new(bytes));
    let _ = MetadataRequest::decode(version, &mut Reader::new(bytes));
    let _ = ProduceRequest::decode(version, &mut Reader::new(bytes));
    let _ = InitProducerIdRequest::decode(version, &mut Reader::new(bytes));
}

#[test]
fn a_message_cut_short_is_an_error() {
    let mut random = fastrand::Rng::with_seed(1);
    let schema = Schema::load("MetadataResponse");
    for version in MetadataRequest::VERSIONS {
        let bytes = schema.encode(&schema.random(version, &mut random), version, None);
        for length in (0..bytes.len()).step_by(1 + bytes.len() / 400) {
            assert!(MetadataResponse::decode(version, &mut Reader::new(&bytes[..length])).is_err());
        }
    }
}

#[test]
fn lengths_beyond_the_frame_are_refused_without_an_allocation() {
    // Two thousand million elements of eighty bytes each would end the process.
    let array = [0x7f, 0xff, 0xff, 0xff, 0, 0];
    let decoded = Reader::new(&array).array(Form::Classic, |_| Ok([0u64; 10]));
    assert_eq!(
        decoded,
        Err(ProtocolError::LengthTooLarge {
            length: 0x7fff_ffff,
            max: 2
        })
    );
    let array = [0xff, 0xff, 0xff, 0xff, 0x0f, 0, 0];
    let decoded = Reader::new(&array).array(Form::Flexible, |_| Ok([0u64; 10]));
    assert_eq!(
        decoded,
        Err(ProtocolError::LengthTooLarge {
            length: 0xffff_fffe,
            max: 2
        })
    );
}

#[test]
fn memory_for_an_array_grows_with_the_elements_read() {
    let mut array = vec![0, 0, 0x27, 0x10];
    array.resize(4 + 10_000, 1);
    let mut largest = 0;
    let mut read = 0;
    let decoded = Reader::new(&array).array(Form::Classic, |reader| {
        read += 1;
        if read > 100 {
            Err(ProtocolError::UnexpectedNull)
        } else {
            reader.i8().map(|_| [0u64; 10])
        }
    });
    assert_eq!(decoded, Err(ProtocolError::UnexpectedNull));
    let decoded = Reader::new(&array).array(Form::Classic, |reader| {
        largest += 1;
        reader.i8().map(|byte| [byte; 80])
    });
    let decoded = decoded.unwrap();
    assert_eq!((decoded.len(), largest), (10_000, 10_000));
    assert!(decoded.capacity() < 2 * decoded.len() + 200);
}

#[test]
fn millions_of_promised_tagged_fields_end_with_the_bytes() {
    let fields = [0xff, 0xff, 0xff, 0xff, 0x0f, 1, 1, 9, 2, 0];
    let mut seen = Vec::new();
    let result = Reader::new(&fields).tagged_fields(Form::Flexible, |tag, reader| {
        seen.push((tag, reader.remaining()));
        Ok(())
    });
    assert_eq!(
        result,
        Err(ProtocolError::Truncated {
            needed: 1,
            remaining: 0
        })
    );
    assert_eq!(seen, [(1, 1), (2, 0)]);
}

#[test]
fn a_tagged_field_cannot_be_read_beyond_its_size() {
    let fields = [1, 0, 2, 0, 0, 0, 0];
    let result =
        Reader::new(&fields).tagged_fields(Form::Flexible, |_, reader| reader.i32().map(|_| ()));
    assert_eq!(
        result,
        Err(ProtocolError::Truncated {
            needed: 4,
            remaining: 2
        })
    );
}
