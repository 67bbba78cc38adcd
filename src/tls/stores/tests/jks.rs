#![cfg(feature = "tls-stores")]

use super::*;
use crate::tls::stores::fault::Owner;

#[test]
fn a_key_has_its_own_password_or_the_one_of_the_store() {
    for (name, store, key) in [
        ("keytool.jks", Some(STORE), Some(KEY)),
        ("keytool.jks", None, Some(KEY)),
        ("one-password.jks", Some(STORE), None),
        ("one-password.jks", Some(STORE), Some(STORE)),
        ("unicode.jks", Some(UNICODE), None),
    ] {
        let [entry] = &keys(name, store, key).expect(name)[..] else {
            panic!("{name}: one entry");
        };
        assert!(is_leaf_key(&entry.key), "{name}");
        assert_eq!(
            (entry.alias.as_deref(), &entry.chain),
            (Some("client"), &chain()),
            "{name}"
        );
    }
}

#[test]
fn wrong_passwords_are_told_apart() {
    let told = |store, key| told(&keys("keytool.jks", store, key).expect_err("wrong"));
    let store = "the password of the JKS store is wrong, or the store was changed => check ssl.keystore.password: the \
                 password must open the store in keytool or openssl";
    let key = "the private key `client` cannot be decrypted: the password of the key is wrong => set ssl.key.password to the \
               key's own password; without it, that of ssl.keystore.password is used";
    assert_eq!(told(Some("wrong"), Some(KEY)), store);
    assert_eq!(told(Some(STORE), Some("wrong")), key);
    assert_eq!(told(Some(STORE), None), key);
    assert_eq!(
        told(None, None),
        "the private key `client` is encrypted, and no password is given => set ssl.key.password"
    );
    assert_eq!(
        told_of_trust(&trust("trust.jks", Some("wrong")).expect_err("wrong")),
        store.replace("keystore", "truststore")
    );
}

#[test]
fn trust_is_trusted_entries_and_the_leaves_of_keys() {
    let [leaf, _, root] = &chain()[..] else {
        panic!("three")
    };
    for password in [None, Some(STORE)] {
        let store = trust("trust.jks", password).expect("trust.jks");
        let mut found = entries(&store);
        found.sort_by_key(|(alias, _)| *alias);
        assert_eq!(found, [(Some("grüße"), &other()), (Some("root"), root)]);
        let store = trust("several.jks", password).expect("several.jks");
        let mut found = entries(&store);
        found.sort_by_key(|(alias, _)| *alias);
        assert_eq!(
            found,
            [
                (Some("authority"), root),
                (Some("client"), leaf),
                (Some("second"), &other())
            ]
        );
    }
}

#[test]
fn several_keys() {
    let mut store = keys("several.jks", Some(STORE), None).expect("several.jks");
    store.sort_by(|a, b| a.alias.cmp(&b.alias));
    let chains: Vec<_> = store
        .iter()
        .map(|entry| (entry.alias.as_deref(), entry.chain.clone()))
        .collect();
    assert_eq!(
        chains,
        [(Some("client"), chain()), (Some("second"), vec![other()])]
    );
    assert_eq!(
        scalar(store[1].key.secret_der()),
        scalar(&file("other.key.der"))
    );
    let fault = keys("trust.jks", Some(STORE), None).expect_err("no key");
    assert_eq!(
        told(&fault),
        "it has no private key => check that it is the right file"
    );
}

#[test]
fn a_key_with_another_password_does_not_keep_the_other_from_use() {
    for (password, alias, other) in [(None, "second", "client"), (Some(KEY), "client", "second")] {
        let keys = some_keys("two-passwords.jks", Some(STORE), password).expect("one key");
        let [entry] = &keys.entries[..] else {
            panic!("one key: {keys:?}");
        };
        assert_eq!(entry.alias.as_deref(), Some(alias));
        let owner = Owner::Key(Format::Jks, Some(other.to_owned()));
        assert_eq!(keys.faults, [StoreFault::WrongKeyPassword(owner)]);
    }
    let fault = some_keys("two-passwords.jks", Some(STORE), Some("wrong")).expect_err("no key");
    assert!(
        matches!(fault, StoreFault::WrongKeyPassword(_)),
        "{fault:?}"
    );
}

#[test]
fn every_change_is_noticed_with_the_password() {
    let store = file("keytool.jks");
    let password = Secret::from(STORE);
    for position in 0..store.len() {
        let mut changed = store.clone();
        changed[position] ^= 1;
        assert!(
            read_trust(&changed, Some(&password)).is_err(),
            "byte {position}"
        );
        // Without it nothing panics.
        let _ = read_trust(&changed, None);
        let _ = read_keys(&changed, None, Some(&KEY.into()));
    }
}

#[test]
fn counts_and_lengths_are_not_trusted() {
    let header = [0xfe, 0xed, 0xfe, 0xed, 0, 0, 0, 2];
    for rest in [
        &[0xff; 4][..],
        &[0xff; 100],
        &[
            0, 0, 0, 1, 0, 0, 0, 1, 0, 1, b'a', 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff, 0xff, 0xff,
        ],
        &[
            0, 0, 0, 1, 0, 0, 0, 1, 0, 1, b'a', 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff,
            0xff, 0xff,
        ],
    ] {
        let store = [&header, rest, &[0; 20]].concat();
        assert!(matches!(
            read_trust(&store, None),
            Err(StoreFault::Damaged(Format::Jks, _))
        ));
    }
    let empty = [&header[..], &[0; 24]].concat();
    assert_eq!(
        told(&read_trust(&empty, None).expect_err("empty")),
        "it has no certificate => check that it is the right file"
    );
    let cut = &file("keytool.jks")[..500];
    assert_eq!(
        told(&read_trust(cut, None).expect_err("cut")),
        "it is not a complete JKS store: error in its entries => write the whole file again; it may be half-written"
    );
}
