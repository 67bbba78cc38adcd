use super::*;
use crate::tls::stores::pem::PemKey;
use crate::tls::stores::{pem_certificates, pem_key};

fn key(name: &str, password: Option<&str>) -> Result<PemKey, StoreFault> {
    pem_key(&file(name), password.map(Secret::from).as_ref())
}

/// As a settings file has it: each line break is a space.
fn in_one_line(text: &[u8]) -> Vec<u8> {
    text.iter()
        .map(|byte| if *byte == b'\n' { b' ' } else { *byte })
        .collect()
}

#[test]
fn plain_keys_of_each_form() {
    for (name, form) in [
        ("key-pkcs8.pem", "Pkcs8"),
        ("key-ed25519.pem", "Pkcs8"),
        ("key-pkcs1.pem", "Pkcs1"),
        ("key-sec1.pem", "Sec1"),
        ("key-sec1-parameters.pem", "Sec1"),
    ] {
        for text in [file(name), in_one_line(&file(name))] {
            let PemKey {
                key,
                password_unused,
            } = pem_key(&text, None).expect(name);
            let found = match *key {
                PrivateKeyDer::Pkcs8(_) => "Pkcs8",
                PrivateKeyDer::Pkcs1(_) => "Pkcs1",
                PrivateKeyDer::Sec1(_) => "Sec1",
                _ => "another",
            };
            assert_eq!((found, password_unused), (form, false), "{name}");
        }
    }
    assert!(is_leaf_key(
        &key("key-sec1-parameters.pem", None).expect("key").key
    ));
    assert!(
        key("key-pkcs8.pem", Some(KEY))
            .expect("key")
            .password_unused
    );
}

#[cfg(feature = "tls-stores")]
#[test]
fn encrypted_keys_of_each_scheme() {
    for name in [
        "key-aes128-sha1.pem",
        "key-aes192-sha384.pem",
        "key-aes256-sha224.pem",
        "key-aes256-sha256.pem",
        "key-aes256-sha512.pem",
        "key-3des.pem",
        "key-scrypt.pem",
        "key-pbe-3des.pem",
        "key-pbe-rc2.pem",
    ] {
        for text in [file(name), in_one_line(&file(name))] {
            let key = pem_key(&text, Some(&KEY.into())).expect(name);
            assert!(is_leaf_key(&key.key) && !key.password_unused, "{name}");
        }
        let wrong = key(name, Some("wrong")).expect_err(name);
        let expected = "the private key cannot be decrypted: the password of the key is wrong => check ssl.key.password";
        assert_eq!(told(&wrong), expected, "{name}");
        let missing = key(name, None).expect_err(name);
        assert_eq!(
            told(&missing),
            "the private key is encrypted, and no password is given => set ssl.key.password"
        );
    }
}

#[cfg(feature = "tls-stores")]
#[test]
fn unknown_encryption_is_named() {
    for (name, scheme) in [
        (
            "key-camellia.pem",
            "the cipher camellia256-cbc (1.2.392.200011.61.1.1.1.4)",
        ),
        (
            "key-pbe-md5-des.pem",
            "the encryption pbeWithMD5AndDES-CBC (1.2.840.113549.1.5.3)",
        ),
    ] {
        let fault = key(name, Some(KEY)).expect_err(name);
        let expected = format!(
            "the private key is protected by {scheme}, which is not supported => convert the key: openssl pkcs8 -topk8 -v2 \
             aes-256-cbc -in OLD -out NEW"
        );
        assert_eq!(told(&fault), expected);
    }
}

#[test]
fn keys_that_cannot_be_used_are_told_apart() {
    let told = |name| told(&key(name, Some(KEY)).expect_err(name));
    let traditional = "its private key is encrypted in OpenSSL's old form (Proc-Type: 4,ENCRYPTED), which is weak => convert \
                       the key: openssl pkcs8 -topk8 -v2 aes-256-cbc -in OLD -out NEW";
    assert_eq!(told("key-traditional.pem"), traditional);
    let inline = pem_key(&in_one_line(&file("key-traditional.pem")), None);
    assert_eq!(inline.expect_err("one line"), StoreFault::TraditionalKey);
    assert_eq!(
        told("key-dsa.pem"),
        "the private key is a DSA key, which TLS no longer uses => make an RSA or EC key, and a certificate for it"
    );
    assert_eq!(
        told("chain.pem"),
        "it has no private key; it has \"BEGIN CERTIFICATE\" => check that it is the right file"
    );
    let ssh = pem_key(
        b"-----BEGIN OPENSSH PRIVATE KEY-----\nAAAA\n-----END OPENSSH PRIVATE KEY-----",
        None,
    );
    assert_eq!(
        super::told(&ssh.expect_err("SSH")),
        "it has no private key; it has \"BEGIN OPENSSH PRIVATE KEY\" => TLS needs a key in PKCS#8, not a key of SSH"
    );
}

#[test]
fn certificates_in_the_order_of_the_text() {
    let text = file("chain.pem");
    let crlf = String::from_utf8(text.clone())
        .expect("text")
        .replace('\n', "\r\n");
    let escaped = String::from_utf8(text.clone())
        .expect("text")
        .replace('\n', "\\n");
    let unbroken = String::from_utf8(text.clone())
        .expect("text")
        .replace('\n', "");
    let spaced = [b"\n\n ", &text[..], b"\n\n\n"].concat();
    for text in [
        text.clone(),
        in_one_line(&text),
        crlf.into(),
        escaped.into(),
        unbroken.into(),
        spaced,
    ] {
        assert_eq!(pem_certificates(&text).expect("chain"), chain());
        let store = read_trust(&text, Some(&"not needed".into())).expect("chain");
        assert_eq!(store.certificates.len(), 3);
    }
}

#[test]
fn text_around_and_headers_are_skipped() {
    for name in ["root-with-text.pem", "root-trusted.pem"] {
        assert_eq!(pem_certificates(&file(name)).expect(name), chain()[2..]);
    }
    let text = String::from_utf8(file("other.pem")).expect("text");
    let (begin, rest) = text.split_once('\n').expect("lines");
    let text =
        format!("M\u{fc}ll\n-----BEGIN\n----- \n{begin}\nX-Header: of some kind\n\n{rest}end");
    assert_eq!(
        pem_certificates(text.as_bytes()).expect("headers"),
        [other()]
    );
    let latin1 = [b"\xfc\n", text.as_bytes()].concat();
    assert_eq!(pem_certificates(&latin1).expect("Latin-1"), [other()]);
}

#[test]
fn a_key_store_is_one_key_and_its_chain() {
    let [entry] = &keys("keystore.pem", None, None).expect("keystore.pem")[..] else {
        panic!("one entry");
    };
    assert!(is_leaf_key(&entry.key) && entry.alias.is_none() && !entry.password_unused);
    assert_eq!(entry.chain, chain());
    let told = |bytes: &[u8]| told(&read_keys(bytes, None, None).expect_err("unusable"));
    let two = [file("keystore.pem"), file("key-pkcs8.pem")].concat();
    assert_eq!(
        told(&two),
        "it has 2 private keys, and one is needed => leave only the key of the first certificate"
    );
    assert_eq!(
        told(&file("key-pkcs8.pem")),
        "it has no certificate for its private key => add the certificate that was issued for the key, and those of its issuers"
    );
}

#[cfg(feature = "tls-stores")]
#[test]
fn a_key_store_with_an_encrypted_key() {
    let store = keys("keystore-encrypted.pem", None, Some(KEY)).expect("keystore-encrypted.pem");
    assert!(is_leaf_key(&store[0].key) && store[0].chain == chain());
    let fault = keys("keystore-encrypted.pem", Some(KEY), None).expect_err("no key password");
    assert_eq!(
        told(&fault),
        "the private key is encrypted, and no password is given => set ssl.key.password"
    );
}

#[test]
fn what_is_no_certificate_is_told() {
    let told = |bytes: &[u8]| told(&read_trust(bytes, None).expect_err("no certificate"));
    assert_eq!(
        told(&file("request.pem")),
        "it has no certificate; it has \"BEGIN CERTIFICATE REQUEST\" => let an authority make a certificate of the request"
    );
    assert_eq!(
        told(&file("chain.p7.pem")),
        "it has no certificate; it has \"BEGIN PKCS7\" => take the certificates out: openssl pkcs7 -print_certs -in OLD -out NEW"
    );
    let text = String::from_utf8(file("other.pem")).expect("text");
    assert_eq!(
        told(format!("\n{}", text.replace("M", "?")).as_bytes()),
        "the block \"BEGIN CERTIFICATE\" in line 2 has text that is not base64 => write the text again"
    );
    assert_eq!(
        told(text.replace("-----END", "").as_bytes()),
        "the block \"BEGIN CERTIFICATE\" in line 1 has no \"END CERTIFICATE\" => write the whole text again; it may be \
         half-written"
    );
    let two = format!("{text}{}", text.replace("MIIB", "AAAA"));
    assert_eq!(
        told(two.as_bytes()),
        format!(
            "the block \"BEGIN CERTIFICATE\" in line {} is not a certificate => write the text again",
            1 + text.lines().count()
        )
    );
}

/// What people give in place of PEM in `ssl.keystore.key` and its like.
#[test]
fn a_path_or_bare_base64_in_place_of_pem_is_recognised() {
    let body: String = {
        let text = String::from_utf8(file("key-pkcs8.pem")).expect("text");
        text.lines().filter(|line| !line.starts_with('-')).collect()
    };
    for path in [
        "/etc/kafka/client.key",
        "/etc/kafka/secret",
        "client.pem",
        "C:\\kafka\\client",
        "C:kafkaclient.key",
        "file:/etc/kafka/x",
        "~/x",
    ] {
        let key = pem_key(path.as_bytes(), None).expect_err(path);
        assert_eq!(
            told(&key),
            "it looks like a path, and the text of PEM is needed => ssl.keystore.location takes a path, with \
             ssl.keystore.type=PEM, of one file with the key and its certificates",
            "{path}"
        );
        let certificates = pem_certificates(path.as_bytes()).expect_err(path);
        assert_eq!(
            told_of_trust(&certificates),
            "it looks like a path, and the text of PEM is needed => ssl.truststore.location takes a path, with \
             ssl.truststore.type=PEM",
            "{path}"
        );
    }
    for text in [body.clone(), format!("/{}", &body[1..])] {
        let bare = pem_key(text.as_bytes(), None).expect_err("base64");
        assert_eq!(
            told(&bare),
            "it is base64 without a line of BEGIN => if it is the body of PEM, write its lines of BEGIN and END around it; if \
             not, decode it (base64 -d)"
        );
    }
    for text in ["hello", "a word", "changeit"] {
        let none = pem_key(text.as_bytes(), None).expect_err(text);
        assert_eq!(
            told(&none),
            "it has no private key => check that it is the right file"
        );
    }
}
