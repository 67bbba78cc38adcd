//! Stores that are cut off, changed, or made to take long.

use proptest::prelude::*;

use super::*;

const FILES: [&str; 10] = [
    "several.jks",
    "openssl-quick.p12",
    "openssl-plain.p12",
    "openssl-plain-certificates.p12",
    "trust-plain.p12",
    "keystore.pem",
    "root-trusted.pem",
    "key-sec1-parameters.pem",
    "root.der",
    "keytool.jceks",
];

fn read_in_every_way(bytes: &[u8]) {
    let store = Secret::from(STORE);
    for password in [None, Some(&store)] {
        let _ = read_trust(bytes, password).map_err(|fault| told(&fault));
        let _ = read_keys(bytes, password, None).map_err(|fault| told(&fault));
    }
    let _ = read_keys(bytes, None, Some(&store)).map_err(|fault| told(&fault));
}

#[test]
fn stores_that_are_cut_off_anywhere_are_refused() {
    for name in FILES {
        let whole = file(name);
        for length in 0..whole.len() {
            let cut = &whole[..length];
            read_in_every_way(cut);
            if name.ends_with(".jks") || name.ends_with(".p12") {
                assert!(read_trust(cut, None).is_err(), "{length} bytes of {name}");
            }
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]

    #[test]
    fn changed_stores_harm_nobody(
        name in prop::sample::select(&FILES[..]),
        changes in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..8),
        cut in any::<prop::sample::Index>(),
        inserted in prop::collection::vec(any::<u8>(), 0..4),
    ) {
        let mut bytes = file(name);
        for (position, value) in changes {
            let position = position.index(bytes.len());
            bytes[position] = value;
        }
        let position = cut.index(bytes.len());
        bytes.splice(position..position, inserted);
        read_in_every_way(&bytes);
    }

    #[test]
    fn any_bytes_harm_nobody(
        beginning in prop::sample::select(vec![
            &b""[..],
            b"\xfe\xed\xfe\xed\0\0\0\x02\0\0\0",
            b"0\x80\x02\x01\x03",
            b"0\x82\x01\0\x02\x01\x03",
            b"-----BEGIN CERTIFICATE-----",
        ]),
        rest in prop::collection::vec(any::<u8>(), 0..300),
    ) {
        read_in_every_way(&[beginning, &rest[..]].concat());
    }
}

#[cfg(feature = "tls-stores")]
mod work {
    use std::time::{Duration, Instant};

    use base64::Engine as _;
    use cbc::cipher::block_padding::Pkcs7;
    use cbc::cipher::{BlockModeEncrypt as _, KeyIvInit as _};

    use super::*;
    use crate::tls::stores::fault::Found;
    use crate::tls::stores::pem_key;

    const DATA: &[u8] = &[0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 1, 7, 1];
    const ENCRYPTED_DATA: &[u8] = &[0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 1, 7, 6];
    const PBES2: &[u8] = &[0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 1, 5, 13];
    const PBKDF2: &[u8] = &[0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 1, 5, 12];
    const SCRYPT: &[u8] = &[0x2b, 6, 1, 4, 1, 0xda, 0x47, 4, 11];
    const AES_256: &[u8] = &[0x60, 0x86, 0x48, 1, 101, 3, 4, 1, 42];
    const PBE_3DES: &[u8] = &[0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 1, 12, 1, 3];

    fn element(tag: u8, parts: &[&[u8]]) -> Vec<u8> {
        let contents = parts.concat();
        let length = contents.len();
        let header = match length {
            0..0x80 => vec![tag, length as u8],
            0x80..0x1_0000 => vec![tag, 0x82, (length >> 8) as u8, length as u8],
            _ => [&[tag, 0x84][..], &(length as u32).to_be_bytes()].concat(),
        };
        [header, contents].concat()
    }

    fn sequence(parts: &[&[u8]]) -> Vec<u8> {
        element(der::SEQUENCE, parts)
    }

    fn number(value: u64) -> Vec<u8> {
        let bytes = value.to_be_bytes();
        let zeros = bytes.iter().take_while(|byte| **byte == 0).count().min(7);
        let sign: &[u8] = if bytes[zeros] >= 0x80 { &[0] } else { &[] };
        element(der::INTEGER, &[sign, &bytes[zeros..]])
    }

    fn octets(bytes: &[u8]) -> Vec<u8> {
        element(der::OCTETS, &[bytes])
    }

    fn id(bytes: &[u8]) -> Vec<u8> {
        element(der::OID, &[bytes])
    }

    fn pbes2(derivation: &[u8], parameters: &[&[u8]]) -> Vec<u8> {
        let derivation = sequence(&[&id(derivation), &sequence(parameters)]);
        let encryption = sequence(&[&id(AES_256), &octets(&[0; 16])]);
        sequence(&[&id(PBES2), &sequence(&[&derivation, &encryption])])
    }

    fn scrypt(cost: u64, block_size: u64, parallel: u64) -> Vec<u8> {
        pbes2(
            SCRYPT,
            &[
                &octets(b"salt"),
                &number(cost),
                &number(block_size),
                &number(parallel),
            ],
        )
    }

    fn pbkdf2(rounds: u64) -> Vec<u8> {
        pbes2(PBKDF2, &[&octets(b"salt"), &number(rounds)])
    }

    fn pbe_3des(rounds: u64) -> Vec<u8> {
        sequence(&[
            &id(PBE_3DES),
            &sequence(&[&octets(b"salt"), &number(rounds)]),
        ])
    }

    /// A store without a MAC.
    fn store_of(parts: &[&[u8]]) -> Vec<u8> {
        let safe = octets(&sequence(parts));
        sequence(&[
            &number(3),
            &sequence(&[&id(DATA), &element(der::TAGGED, &[&safe])]),
        ])
    }

    fn part(algorithm: &[u8], data: &[u8]) -> Vec<u8> {
        let info = sequence(&[&id(DATA), algorithm, &element(der::TAGGED_OCTETS, &[data])]);
        let data = sequence(&[&number(0), &info]);
        sequence(&[&id(ENCRYPTED_DATA), &element(der::TAGGED, &[&data])])
    }

    /// A store that no password opens.
    fn store(algorithm: &[u8]) -> Vec<u8> {
        store_of(&[&part(algorithm, &[0; 32])])
    }

    /// A part without entries, encrypted with the password.
    fn empty_part(rounds: u32) -> Vec<u8> {
        let key: [u8; 32] =
            pbkdf2::pbkdf2_hmac_array::<sha1::Sha1, 32>(STORE.as_bytes(), b"salt", rounds);
        let cipher = cbc::Encryptor::<aes::Aes256>::new(&key.into(), &[0; 16].into());
        let mut data = [0; 16];
        data[..2].copy_from_slice(&sequence(&[]));
        let data = cipher
            .encrypt_padded::<Pkcs7>(&mut data, 2)
            .expect("one block");
        part(&pbkdf2(rounds.into()), data)
    }

    fn pem(algorithm: &[u8]) -> Vec<u8> {
        let key = sequence(&[algorithm, &octets(&[0; 32])]);
        let text = base64::engine::general_purpose::STANDARD.encode(key);
        format!(
            "-----BEGIN ENCRYPTED PRIVATE KEY-----\n{text}\n-----END ENCRYPTED PRIVATE KEY-----\n"
        )
        .into()
    }

    fn too_costly(fault: &StoreFault) -> bool {
        matches!(fault, StoreFault::TooCostly(_))
    }

    #[test]
    fn work_without_measure_is_refused_before_it_begins() {
        for algorithm in [
            pbkdf2(1 << 31),
            pbkdf2(u64::MAX >> 1),
            pbe_3des(1 << 40),
            scrypt(1 << 30, 8, 1),
            scrypt(1 << 14, 1 << 20, 1),
            scrypt(2, 1, 1 << 30),
            scrypt(1 << 62, 1 << 62, 1 << 62),
        ] {
            let begun = Instant::now();
            let fault =
                read_trust(&store(&algorithm), Some(&STORE.into())).expect_err("too costly");
            assert!(too_costly(&fault), "{fault:?}");
            let fault = pem_key(&pem(&algorithm), Some(&KEY.into())).expect_err("too costly");
            assert!(too_costly(&fault), "{fault:?}");
            assert!(begun.elapsed() < Duration::from_secs(5));
        }
        assert_eq!(
            told(&pem_key(&pem(&pbkdf2(1 << 40)), Some(&KEY.into())).expect_err("too costly")),
            "the private key needs more work or memory to decrypt than is allowed => convert the key: openssl pkcs8 -topk8 \
             -v2 aes-256-cbc -in OLD -out NEW"
        );
    }

    #[test]
    fn numbers_that_make_no_sense_are_refused() {
        for algorithm in [
            pbkdf2(0),
            pbe_3des(0),
            scrypt(0, 8, 1),
            scrypt(3, 8, 1),
            scrypt(16, 0, 1),
            scrypt(16, 8, 0),
        ] {
            let fault = read_trust(&store(&algorithm), Some(&STORE.into())).expect_err("nonsense");
            assert!(matches!(fault, StoreFault::Damaged(..)), "{fault:?}");
            assert!(matches!(
                pem_key(&pem(&algorithm), Some(&KEY.into())),
                Err(StoreFault::BadKey(_))
            ));
        }
    }

    #[test]
    fn the_work_of_all_parts_counts_together() {
        let password = Secret::from(STORE);
        let fault = read_trust(&store(&pbkdf2(100_000)), Some(&password));
        assert_eq!(
            fault.expect_err("wrong password"),
            StoreFault::WrongStorePassword(Format::Pkcs12)
        );
        // Each part takes more than half of what a test may spend.
        let part = empty_part(150_000);
        let fault = read_trust(&store_of(&[&part]), Some(&password));
        assert_eq!(
            fault.expect_err("empty"),
            StoreFault::NoCertificate(Found::default())
        );
        let fault = read_trust(&store_of(&[&part, &part]), Some(&password));
        assert!(too_costly(&fault.expect_err("too costly")));
    }

    /// A plain entry of a store, whose id is 1.
    fn bag(kind: u8, value: &[u8]) -> Vec<u8> {
        const BAGS: &[u8] = &[0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 1, 12, 10, 1];
        const LOCAL_KEY_ID: &[u8] = &[0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 1, 9, 21];
        let local_id = element(der::SET, &[&octets(b"1")]);
        let attributes = element(der::SET, &[&sequence(&[&id(LOCAL_KEY_ID), &local_id])]);
        let kind = id(&[BAGS, &[kind]].concat());
        sequence(&[&kind, &element(der::TAGGED, &[value]), &attributes])
    }

    /// A store with `keys` keys that all have the chain leaf, middle, root.
    fn store_with_keys(keys: usize) -> Vec<u8> {
        const X509: &[u8] = &[0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 1, 9, 22, 1];
        let key = bag(1, &file("leaf.key.der"));
        let mut bags = key.repeat(keys);
        for certificate in chain() {
            let bytes = element(der::TAGGED, &[&octets(&certificate)]);
            bags.extend(bag(3, &sequence(&[&id(X509), &bytes])));
        }
        let content = element(der::TAGGED, &[&octets(&sequence(&[&bags]))]);
        store_of(&[&sequence(&[&id(DATA), &content])])
    }

    #[test]
    fn many_keys_with_one_chain_take_no_memory_without_measure() {
        let few = read_keys(&store_with_keys(3), None, None)
            .expect("three keys")
            .entries;
        assert!(few.iter().all(|entry| entry.chain.len() == 3));
        let many = store_with_keys(20_000);
        assert!(many.len() < crate::tls::stores::MAX_BYTES);
        let fault = read_keys(&many, None, None).expect_err("20 MB of chains");
        assert_eq!(
            told(&fault),
            "its keys have too many certificates together => make a store with the key of this client only"
        );
    }

    /// Gives the contents of a plain store a MAC as RFC 9579 defines it.
    fn with_pbmac1(name: &str, key_size: u64) -> Vec<u8> {
        const PBMAC1: &[u8] = &[0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 1, 5, 14];
        const HMAC_SHA256: &[u8] = &[0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 2, 9];
        let whole = file(name);
        let mut outer = Reader::new(&whole).sequence().expect("store");
        outer.number().expect("version");
        let info = outer.next().expect("contents");
        let mut content = Reader::new(info.contents);
        content.read(der::OID).expect("kind");
        let tagged = content.read(der::TAGGED).expect("contents");
        let safe = Reader::new(tagged).read(der::OCTETS).expect("contents");
        let key = pbkdf2::pbkdf2_hmac_array::<sha2::Sha256, 32>(STORE.as_bytes(), b"salt", 10);
        let mut mac =
            <hmac::Hmac<sha2::Sha256> as hmac::KeyInit>::new_from_slice(&key).expect("any key");
        hmac::Mac::update(&mut mac, safe);
        let mac = hmac::Mac::finalize(mac).into_bytes();
        let function = sequence(&[&id(HMAC_SHA256)]);
        let derivation = sequence(&[&octets(b"salt"), &number(10), &number(key_size), &function]);
        let derivation = sequence(&[&id(PBKDF2), &derivation]);
        let algorithm = sequence(&[&id(PBMAC1), &sequence(&[&derivation, &function])]);
        let digest = sequence(&[&algorithm, &octets(&mac)]);
        let mac = sequence(&[&digest, &octets(b"unused"), &number(1)]);
        sequence(&[&number(3), info.whole, &mac])
    }

    #[test]
    fn a_mac_by_pbkdf2() {
        let store = with_pbmac1("trust-plain.p12", 32);
        let read = |password: &str| read_trust(&store, Some(&password.into()));
        assert_eq!(read(STORE).expect("right password").certificates.len(), 2);
        let wrong = read("wrong").expect_err("wrong password");
        assert_eq!(wrong, StoreFault::WrongStorePassword(Format::Pkcs12));
        let short = with_pbmac1("trust-plain.p12", 1);
        let fault = read_trust(&short, Some(&STORE.into())).expect_err("a key of one byte");
        assert_eq!(fault, StoreFault::Damaged(Format::Pkcs12, "MAC"));
    }
}
