#![cfg(feature = "tls-stores")]

use super::*;

#[test]
fn key_stores_of_keytool_and_openssl() {
    for name in [
        "keytool.p12",
        "keytool-legacy.p12",
        "openssl.p12",
        "openssl-legacy.p12",
        "openssl-3des.p12",
        "openssl-rc2-128.p12",
        "openssl-mac-sha512.p12",
        "openssl-no-mac.p12",
        "openssl-plain.p12",
        "openssl-quick.p12",
    ] {
        let [entry] = &keys(name, Some(STORE), None).expect(name)[..] else {
            panic!("{name}: one entry");
        };
        assert!(is_leaf_key(&entry.key), "{name}");
        assert_eq!(
            (entry.alias.as_deref(), &entry.chain),
            (Some("client"), &chain()),
            "{name}"
        );
        // Not the issuers: Java does not trust them either.
        let store = trust(name, Some(STORE)).expect(name);
        assert_eq!(
            entries(&store),
            [(store.certificates[0].alias.as_deref(), &chain()[0])],
            "{name}"
        );
    }
}

#[test]
fn several_entries() {
    let store = keys("several.p12", Some(STORE), None).expect("several.p12");
    let found: Vec<_> = store
        .iter()
        .map(|entry| (entry.alias.as_deref(), entry.chain.clone()))
        .collect();
    assert_eq!(
        found,
        [(Some("client"), chain()), (Some("second"), vec![other()])]
    );
    assert_eq!(
        scalar(store[1].key.secret_der()),
        scalar(&file("other.key.der"))
    );
    let store = trust("several.p12", Some(STORE)).expect("several.p12");
    let mut found: Vec<_> = entries(&store)
        .into_iter()
        .map(|(_, certificate)| certificate.clone())
        .collect();
    found.sort_by(|a, b| a.as_ref().cmp(b.as_ref()));
    let mut expected = vec![chain().remove(0), chain().remove(2), other()];
    expected.sort_by(|a, b| a.as_ref().cmp(b.as_ref()));
    assert_eq!(found, expected);
}

#[test]
fn trust_stores() {
    let root = &chain()[2];
    for name in ["trust.p12", "trust-legacy.p12"] {
        let store = trust(name, Some(STORE)).expect(name);
        let mut found = entries(&store);
        found.sort_by_key(|(alias, _)| *alias);
        assert_eq!(
            found,
            [(Some("Grüße"), &other()), (Some("root"), root)],
            "{name}"
        );
    }
    // The form of a JDK's own list: neither encryption nor MAC, so the password has no use.
    for password in [None, Some(STORE), Some("wrong")] {
        let store = trust("trust-plain.p12", password).expect("trust-plain.p12");
        let mut found = entries(&store);
        found.sort_by_key(|(alias, _)| *alias);
        assert_eq!(found, [(Some("other"), &other()), (Some("root"), root)]);
    }
}

#[test]
fn certificates_without_the_trust_attribute_of_java_are_trusted_where_there_is_no_key() {
    for (name, password) in [
        ("openssl-certificates.p12", Some(STORE)),
        ("openssl-plain-certificates.p12", None),
    ] {
        let store = trust(name, password).expect(name);
        let found: Vec<_> = entries(&store)
            .into_iter()
            .map(|(_, certificate)| certificate.clone())
            .collect();
        assert_eq!(found, chain(), "{name}");
    }
}

#[test]
fn empty_and_unicode_passwords() {
    for (name, password) in [
        ("empty-password.p12", ""),
        ("unicode.p12", UNICODE),
        ("unicode-legacy.p12", UNICODE),
    ] {
        let store = keys(name, Some(password), None).expect(name);
        assert!(is_leaf_key(&store[0].key), "{name}");
        assert_eq!(store[0].alias, None, "{name}");
    }
}

/// A settings file with an empty value gives no password.
#[test]
fn an_empty_password_need_not_be_given() {
    let store = keys("empty-password.p12", None, None).expect("the empty password");
    assert!(is_leaf_key(&store[0].key));
    let store = trust("empty-password.p12", None).expect("the empty password");
    assert_eq!(entries(&store), [(None, &chain()[0])]);
    let fault = keys("empty-password.p12", Some("wrong"), None).expect_err("a wrong password");
    assert_eq!(fault, StoreFault::WrongStorePassword(Format::Pkcs12));
}

#[test]
fn wrong_and_missing_passwords() {
    let wrong = "the password of the PKCS#12 store is wrong, or the store was changed => check ssl.truststore.password: \
                 the password must open the store in keytool or openssl";
    for name in [
        "keytool.p12",
        "openssl-legacy.p12",
        "openssl-no-mac.p12",
        "trust.p12",
    ] {
        assert_eq!(
            told_of_trust(&trust(name, Some("wrong")).expect_err(name)),
            wrong,
            "{name}"
        );
        assert_eq!(
            told_of_trust(&trust(name, Some("")).expect_err(name)),
            wrong,
            "{name}"
        );
        assert_eq!(
            told_of_trust(&trust(name, None).expect_err(name)),
            "it is an encrypted PKCS#12 store, and no password is given => set ssl.truststore.password to the password \
             that opens the store in keytool or openssl"
        );
    }
    assert_eq!(
        told(&keys("keytool.p12", None, None).expect_err("none")),
        "it is an encrypted PKCS#12 store, and no password is given => set ssl.keystore.password to the password that opens \
         the store in keytool or openssl"
    );
    assert_eq!(
        told(&keys("keytool.p12", Some(STORE), Some("wrong")).expect_err("wrong key password")),
        "the private key `client` cannot be decrypted: the password of the key is wrong => check ssl.key.password; keytool \
         gives the key of a PKCS#12 store the store's password, and without ssl.key.password, that of ssl.keystore.password \
         is used"
    );
    let unused = keys("openssl-plain.p12", None, Some("unused")).expect("not encrypted");
    assert!(unused[0].password_unused);
}

#[test]
fn what_is_not_supported_is_named() {
    let fault = keys("openssl-rc4.p12", Some(STORE), None).expect_err("RC4");
    assert_eq!(
        told(&fault),
        "the PKCS#12 store is protected by the encryption pbeWithSHAAnd128BitRC4 (1.2.840.113549.1.12.1.1), which is not \
         supported => convert the store: keytool -importkeystore -srckeystore OLD -srcstoretype PKCS12 -destkeystore NEW \
         -deststoretype PKCS12"
    );
    let none = "it has no private key => check that it is the right file";
    assert_eq!(
        told(&keys("trust.p12", Some(STORE), None).expect_err("no key")),
        none
    );
    assert_eq!(
        told(&keys("secret-key.p12", Some(STORE), None).expect_err("no key")),
        none
    );
    let fault = trust("secret-key.p12", Some(STORE)).expect_err("no certificate");
    assert_eq!(
        told(&fault),
        "it has no certificate => check that it is the right file"
    );
}

#[test]
fn indefinite_lengths_and_octet_strings_in_pieces() {
    let store = as_ber(&file("openssl-quick.p12"));
    let keys = read_keys(&store, Some(&STORE.into()), None).expect("BER");
    let [entry] = &keys.entries[..] else {
        panic!("one entry");
    };
    assert!(is_leaf_key(&entry.key) && entry.chain == chain());
}

/// Encodes again as some tools do: constructed elements without a length, long octet strings in pieces.
fn as_ber(bytes: &[u8]) -> Vec<u8> {
    let mut reader = Reader::new(bytes);
    let mut out = Vec::new();
    while !reader.is_empty() {
        let element = reader.next().expect("DER");
        if element.tag & 0x20 != 0 {
            out.extend([element.tag, 0x80]);
            out.extend(as_ber(element.contents));
            out.extend([0, 0]);
        } else if element.tag == der::OCTETS && element.contents.len() > 100 {
            out.extend([element.tag | 0x20, 0x80]);
            for piece in element.contents.chunks(100) {
                out.extend([der::OCTETS, piece.len() as u8]);
                out.extend(piece);
            }
            out.extend([0, 0]);
        } else {
            out.extend(element.whole);
        }
    }
    out
}
