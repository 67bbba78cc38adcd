use proptest::prelude::*;

use super::*;

const SALT: &str = "W22ZaJ0SNY7soEsUEjb6gQ==";
const NONCE: &str = "rOprNGfwEbeRWgbNEkqO";

/// Exchanges by the classes of Kafka 4.3.1 (`ScramFormatter`, `ScramMessages`): mechanism, password, whether it is a
/// delegation token, then the four messages.
const JAVA: &str = include_str!("java_exchanges.tsv");

fn scram(hash: Hash, user: &str, password: &str) -> Scram {
    Scram::new(hash, user, Secret::from(password), Identity::User).unwrap()
}

/// A conversation of RFC 7677's user that has sent its first message.
fn begun(scram: &Scram) -> ScramConversation {
    let mut conversation = scram.conversation(NONCE.to_owned());
    conversation.first().unwrap();
    conversation
}

fn text(message: &Message) -> &str {
    std::str::from_utf8(message.bytes()).unwrap()
}

fn sent(next: Next) -> String {
    match next {
        Next::Send(message) => text(&message).to_owned(),
        Next::Done => panic!("done"),
    }
}

/// What the client says to a first message of the broker that it refuses.
fn refusal(message: impl AsRef<[u8]>) -> String {
    let scram = scram(Hash::Sha256, "user", "pencil");
    let mut conversation = begun(&scram);
    let error = conversation.next(message.as_ref()).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Authentication);
    assert!(conversation.next(b"v=AAAA").is_err());
    error.to_string()
}

/// What becomes of the password `pencil` with RFC 7677's salt and iterations.
const SALTED: &str = "c4a49510323ab4f952cac1fa99441939e78ea74d6be81ddf7096e87513dc615d";

#[test]
fn neither_the_password_nor_what_the_salt_makes_of_it_is_shown() {
    let scram = scram(Hash::Sha256, "user", "pencil");
    let mut conversation = begun(&scram);
    let answer = format!("r={NONCE}%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0,s={SALT},i=4096");
    conversation.next(answer.as_bytes()).unwrap();
    conversation
        .next(b"v=6rriTRBi23WpRR/wtup+mMhUZUn/dB5nLTJRsjl95G4=")
        .unwrap();
    let latest = scram.0.latest.lock().clone().expect("it is kept");
    let salted = &latest.password[..];
    let hex: String = salted.iter().map(|byte| format!("{byte:02x}")).collect();
    assert_eq!(hex, SALTED);
    let numbers: Vec<_> = salted.iter().map(u8::to_string).collect();
    let refused = conversation.refused(Some("wrong: pencil"));
    for shown in [
        format!("{scram:?}"),
        format!("{scram:#?}"),
        format!("{refused} {refused:?}"),
    ] {
        for secret in ["pencil", &hex, &numbers.join(", "), &numbers.join(",\n")] {
            assert!(!shown.contains(secret), "{shown}");
        }
    }
}

#[test]
fn the_exchange_of_rfc_7677() {
    let scram = scram(Hash::Sha256, "user", "pencil");
    assert_eq!(scram.name(), "SCRAM-SHA-256");
    let mut conversation = scram.conversation(NONCE.to_owned());
    assert_eq!(
        text(&conversation.first().unwrap()),
        "n,,n=user,r=rOprNGfwEbeRWgbNEkqO"
    );
    let answer = format!("r={NONCE}%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0,s={SALT},i=4096");
    assert_eq!(
        sent(conversation.next(answer.as_bytes()).unwrap()),
        "c=biws,r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0,p=dHzbZapWIk4jUhN+Ute9ytag9zjfMHgsqmmiz7AndVQ="
    );
    let done = conversation.next(b"v=6rriTRBi23WpRR/wtup+mMhUZUn/dB5nLTJRsjl95G4=");
    assert!(matches!(done.unwrap(), Next::Done));
    assert!(conversation.next(b"").is_err());
}

/// The exchange of RFC 5802 with SHA-512. The proof and the signature were computed by `hashlib` and `hmac` of Python 3.11,
/// with the formulas of section 3.
#[test]
fn an_exchange_with_sha_512() {
    let scram = scram(Hash::Sha512, "user", "pencil");
    assert_eq!(scram.name(), "SCRAM-SHA-512");
    let mut conversation = scram.conversation("fyko+d2lbbFgONRv9qkxdawL".to_owned());
    conversation.first().unwrap();
    let nonce = "fyko+d2lbbFgONRv9qkxdawL3rfcNHYJY1ZVvWVs7j";
    let answer = format!("r={nonce},s=QSXCR+Q6sek8bf92,i=4096");
    let proof =
        "VdS8LkrURiej1tG6iX+fqCXQfUnBb//d9llXYaH+ylUbDwBUz9geyR9fC4TewskRUM2tlYSalhAT4Aay1Q5dTA==";
    let signature =
        "14PAAuavk9hxBEkgB0brDxUhvWu+N16meYk+qxVNFqchR8QPohM09Y4Z6WaTCuX4C6nqMB9KIJTDm6RpSM990g==";
    assert_eq!(
        sent(conversation.next(answer.as_bytes()).unwrap()),
        format!("c=biws,r={nonce},p={proof}")
    );
    let done = conversation.next(format!("v={signature}").as_bytes());
    assert!(matches!(done.unwrap(), Next::Done));
}

#[test]
fn every_message_is_javas() {
    for line in JAVA.lines() {
        let fields: Vec<_> = line.split('\t').collect();
        let [mechanism, password, is_token, first, salt, proof, signature] = fields[..] else {
            panic!("{line}");
        };
        let hash = if mechanism == "SCRAM-SHA-256" {
            Hash::Sha256
        } else {
            Hash::Sha512
        };
        let identity = if is_token == "true" {
            Identity::DelegationToken
        } else {
            Identity::User
        };
        let scram = Scram::new(hash, "us,er=1", Secret::from(password), identity).unwrap();
        let mut conversation = scram.conversation("clientnonce123".to_owned());
        assert_eq!(text(&conversation.first().unwrap()), first);
        assert_eq!(sent(conversation.next(salt.as_bytes()).unwrap()), proof);
        let done = conversation.next(signature.as_bytes());
        assert!(matches!(done.unwrap(), Next::Done), "{line}");
    }
}

/// The names of Java's `ScramFormatterTest`.
#[test]
fn names_are_escaped() {
    for (name, expected) in [
        ("user1", "user1"),
        ("123", "123"),
        ("1,2", "1=2C2"),
        ("user=A", "user=3DA"),
        ("user==B", "user=3D=3DB"),
        ("user,1", "user=2C1"),
        ("user 1", "user 1"),
        (",", "=2C"),
        ("=", "=3D"),
        (",=", "=2C=3D"),
        ("==", "=3D=3D"),
    ] {
        assert_eq!(escaped(name), expected);
    }
}

#[test]
fn takes_its_credentials_from_the_options_of_the_login_module() {
    const CLASS: &str = "org.apache.kafka.common.security.scram.ScramLoginModule";
    for (option, identity) in [
        ("", Identity::User),
        ("tokenauth=false", Identity::User),
        ("tokenauth=TRUE", Identity::DelegationToken),
        ("tokenauth=\"true\"", Identity::DelegationToken),
    ] {
        let jaas =
            Jaas::parse(&format!("{CLASS} required username=a password=b {option};")).unwrap();
        assert_eq!(
            Scram::from_jaas(Hash::Sha512, &jaas).unwrap().0.identity,
            identity
        );
    }
    let jaas = Jaas::parse(&format!("{CLASS} required username=a;")).unwrap();
    let error = Scram::from_jaas(Hash::Sha256, &jaas)
        .unwrap_err()
        .to_string();
    assert!(error.contains("no option password"), "{error}");
}

#[test]
fn credentials_that_no_broker_takes_are_refused_before_a_connection() {
    for (user, password, expected) in [
        ("jürgen", "hunter2", "holds a character outside ASCII"),
        ("a\0b", "hunter2", "or the character 0"),
        ("", "hunter2", "the user name for SASL is empty"),
        ("alice", "", "the password for SASL is empty"),
    ] {
        let error =
            Scram::new(Hash::Sha256, user, Secret::from(password), Identity::User).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Config);
        let shown = format!("{error} {error:?}");
        assert!(
            shown.contains(expected) && !shown.contains("hunter2"),
            "{shown}"
        );
    }
}

/// First messages of a hostile broker, and what the refusal says. The names in braces stand for the constants.
const HOSTILE: &[(&str, &str)] = &[
    ("r={NONCE}", "has no salt"),
    ("r={NONCE}x,s={SALT}", "has no iteration count"),
    ("r={NONCE}x,s={SALT},i=", "is not a list of names"),
    ("r={NONCE}x,i=4096,s={SALT}", "has no salt"),
    ("s={SALT},r={NONCE}x,i=4096", "has no nonce"),
    (
        "r={NONCE},s={SALT},i=4096",
        "adds nothing to this client's nonce",
    ),
    (
        "r=x{NONCE},s={SALT},i=4096",
        "does not answer this client's message",
    ),
    (
        "r={NONCE} x,s={SALT},i=4096",
        "characters that a nonce cannot have",
    ),
    (
        "r={NONCE}é,s={SALT},i=4096",
        "characters that a nonce cannot have",
    ),
    ("r={NONCE}x,s=,i=4096", "is not a list of names"),
    ("r={NONCE}x,s=QUI,i=4096", "a salt that is not base64"),
    ("r={NONCE}x,s=????,i=4096", "a salt that is not base64"),
    (
        "r={NONCE}x,s={SALT},i=4095",
        "the broker asks for 4095 iterations of SCRAM, less",
    ),
    (
        "r={NONCE}x,s={SALT},i=0",
        "the broker asks for 0 iterations of SCRAM, less",
    ),
    (
        "r={NONCE}x,s={SALT},i=1000001",
        "for 1000001 iterations of SCRAM, more",
    ),
    (
        "r={NONCE}x,s={SALT},i=4294967296",
        "for 4294967296 iterations of SCRAM, more",
    ),
    (
        "r={NONCE}x,s={SALT},i=-4096",
        "an iteration count that is no number",
    ),
    (
        "r={NONCE}x,s={SALT},i=+4096",
        "an iteration count that is no number",
    ),
    ("r={NONCE}x,s={SALT},i=4096,", "is not a list of names"),
    ("r={NONCE}x,s={SALT},i=4096,1=2", "is not a list of names"),
    ("r={NONCE}x,s={SALT},i=4096,x=a\0", "is not a list of names"),
    (
        "m=x,r={NONCE}x,s={SALT},i=4096",
        "demands an extension of SCRAM",
    ),
    (
        "r={NONCE}x,s={SALT},i=4096,m=x",
        "demands an extension of SCRAM",
    ),
    (
        "e=unknown-user",
        "the broker ended SCRAM with the error unknown-user; check the user name",
    ),
];

#[test]
fn a_hostile_first_message_is_refused() {
    let long = "A".repeat(1368);
    let constants = |text: &str| text.replace("{NONCE}", NONCE).replace("{SALT}", SALT);
    let short = HOSTILE
        .iter()
        .map(|(message, expected)| (constants(message), *expected));
    let cases = [
        (String::new(), "is not a list of names with values"),
        ("x".repeat(8193), "has 8193 bytes"),
        (
            format!("r={},s={SALT},i=4096", &NONCE[..19]),
            "does not answer this client's message",
        ),
        (
            format!("r={NONCE}x,s={long},i=4096"),
            "has a salt of 1026 bytes",
        ),
        (
            format!("r={NONCE}x,s={SALT},i={}", "9".repeat(1000)),
            "for 99999999999999999999 iterations",
        ),
    ];
    for (message, expected) in cases.into_iter().chain(short) {
        let shown = refusal(&message);
        assert!(
            shown.contains(expected) && shown.len() < 400,
            "{message}: {shown}"
        );
    }
    assert!(refusal(b"r=\xff,s=QUI=,i=4096").contains("is not UTF-8"));
}

#[test]
fn extensions_are_signed_and_otherwise_ignored() {
    let scram = scram(Hash::Sha256, "user", "pencil");
    let signed_with = |extensions: &str| {
        let mut conversation = begun(&scram);
        let answer = format!("r={NONCE}x,s={SALT},i=4096{extensions}");
        sent(conversation.next(answer.as_bytes()).unwrap())
    };
    let without = signed_with("");
    assert_ne!(signed_with(",x=y"), without);
    assert_ne!(signed_with(",x=é=ü,future=1"), signed_with(",x=y"));
    // The digits are signed as they came.
    let mut conversation = begun(&scram);
    let answer = format!("r={NONCE}x,s={SALT},i=04096");
    assert_ne!(sent(conversation.next(answer.as_bytes()).unwrap()), without);
}

#[test]
fn a_broker_that_does_not_prove_itself_is_refused() {
    let scram = scram(Hash::Sha256, "user", "pencil");
    let answer = format!("r={NONCE}%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0,s={SALT},i=4096");
    for (message, expected) in [
        (
            &b"v=7rriTRBi23WpRR/wtup+mMhUZUn/dB5nLTJRsjl95G4="[..],
            "its SCRAM signature is wrong",
        ),
        (
            b"v=6rriTRBi23WpRR/wtup+mMhUZUn/dB5nLTJRsjl95A==",
            "its SCRAM signature is wrong",
        ),
        (
            b"v=6rriTRBi23WpRR/wtup+mMhUZUn/dB5nLTJRsjl95G4",
            "a signature that is not base64",
        ),
        (b"v=", "is not a list of names"),
        (b"", "is not a list of names"),
        (b"r=x", "has no signature"),
        (b"v=\xff", "is not UTF-8"),
        (b"m=1,v=AAAA", "demands an extension"),
        (b"v=AAAA,m=1", "demands an extension"),
        (b"v=AAAA,", "is not a list of names"),
        (
            b"e=invalid-proof",
            "the error invalid-proof; check the password",
        ),
        (
            b"e=x\n\x1b[1m,y=z",
            "the error x\\n\\u{1b}[1m; look for the reason",
        ),
    ] {
        let mut conversation = begun(&scram);
        conversation.next(answer.as_bytes()).unwrap();
        let error = conversation.next(message).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Authentication);
        assert!(error.to_string().contains(expected), "{error}");
        assert!(scram.0.latest.lock().is_none());
    }
}

#[test]
fn a_connection_that_is_made_again_costs_no_iterations() {
    let scram = scram(Hash::Sha256, "user", "pencil");
    let authenticate = || {
        let mut conversation = begun(&scram);
        let answer = format!("r={NONCE}%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0,s={SALT},i=4096");
        conversation.next(answer.as_bytes()).unwrap();
        conversation
            .next(b"v=6rriTRBi23WpRR/wtup+mMhUZUn/dB5nLTJRsjl95G4=")
            .unwrap();
        scram.0.latest.lock().clone().unwrap()
    };
    let latest = authenticate();
    assert!(Arc::ptr_eq(&latest, &authenticate()));
    let salted = scram.0.salted(latest.salt.clone(), 4096);
    assert!(Arc::ptr_eq(&latest, &salted));
    assert!(!Arc::ptr_eq(
        &latest,
        &scram.0.salted(latest.salt.clone(), 4097)
    ));
    assert!(!Arc::ptr_eq(&latest, &scram.0.salted(vec![1], 4096)));
}

#[test]
fn a_refused_password_that_looks_like_a_placeholder_is_told_and_not_shown() {
    let scram = scram(Hash::Sha256, "user", "${env:HUNTER2}");
    let mut conversation = begun(&scram);
    let answer = format!("r={NONCE}x,s={SALT},i=4096");
    conversation.next(answer.as_bytes()).unwrap();
    let shown = conversation.refused(None).to_string();
    assert_eq!(
        shown,
        "the broker refused the password in SCRAM-SHA-256; check the password; the password looks like a placeholder, such as \
         ${PROVIDER:KEY}, that was not filled in: list the provider in config.providers, or give the password itself"
    );
}

#[test]
fn a_refusal_says_whether_name_or_password_was_wrong() {
    let scram = scram(Hash::Sha256, "user", "pencil");
    let mut conversation = begun(&scram);
    let name = conversation.refused(Some("vague")).to_string();
    assert!(
        name.starts_with(
            "the broker refused the user name in SCRAM-SHA-256: vague; check the user name"
        ),
        "{name}"
    );
    let answer = format!("r={NONCE}x,s={SALT},i=4096");
    conversation.next(answer.as_bytes()).unwrap();
    let password = conversation.refused(Some("vague")).to_string();
    assert!(password.starts_with(
        "the broker refused the password in SCRAM-SHA-256: vague; check the password"
    ));
    assert_eq!(
        conversation.refused(Some("it is pencil")).broker_message(),
        None
    );

    let token = Scram::new(
        Hash::Sha256,
        "id",
        Secret::from("hmac"),
        Identity::DelegationToken,
    )
    .unwrap();
    let refused = begun(&token).refused(None).to_string();
    assert!(
        refused.contains("the id of the delegation token"),
        "{refused}"
    );
}

#[test]
fn nonces_differ_and_nothing_shows_the_password() {
    let (one, other) = (random_nonce().unwrap(), random_nonce().unwrap());
    assert_ne!(one, other);
    assert!(one.len() == 32 && one.bytes().all(|byte| byte.is_ascii_alphanumeric()));
    let scram = scram(Hash::Sha256, "user", "pencil");
    let shown = format!("{scram:?}");
    assert!(
        !shown.contains("pencil") && !shown.contains("user"),
        "{shown}"
    );
}

proptest! {
    #[test]
    fn no_message_panics(message in any::<Vec<u8>>(), rest in "[ -~]{0,30}") {
        let scram = scram(Hash::Sha256, "user", "pencil");
        let _ = begun(&scram).next(&message);
        let _ = begun(&scram).next(format!("r={NONCE}{rest}").as_bytes());
        let _ = server_signature(&message);
        let _ = server_signature(rest.as_bytes());
    }
}
