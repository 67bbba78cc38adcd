use proptest::prelude::*;
use serde_json::Value;

use super::*;

const PLAIN: &str = "org.apache.kafka.common.security.plain.PlainLoginModule";

/// What Kafka 4.3.1 on Java 17 makes of each text: `JaasContext.loadClientContext` with the text as `sasl.jaas.config`. The
/// cases of `JaasContextTest` are among them. An option without a name stands under `(null)`.
const JAVA: &str = include_str!("java_cases.jsonl");

fn password_of(text: &str) -> String {
    let jaas = Jaas::parse(&format!("{PLAIN} required {text}")).expect(text);
    jaas.option("password").expect(text).reveal().to_owned()
}

fn refusal(text: &str) -> String {
    let error = Jaas::parse(text).expect_err(text);
    assert_eq!(error.kind(), crate::ErrorKind::Config);
    error.to_string()
}

fn refusal_of_options(options: &str) -> String {
    refusal(&format!("{PLAIN} required {options}"))
}

#[test]
fn every_text_is_read_as_java_reads_it() {
    for line in JAVA.lines() {
        let case: Value = serde_json::from_str(line).unwrap();
        let text = case["text"].as_str().unwrap();
        match (Entry::read(text), case["error"].as_str()) {
            (Ok(entry), None) => check_options(&entry, &case),
            (Ok(entry), Some(error)) => {
                // Java's list of refused classes is `LoginModule`'s here.
                assert!(error.contains(" is not allowed"), "{text:?}: {error}");
                assert!(LoginModule::of(entry.class.reveal()).is_err());
            }
            (Err(ours), Some(javas)) => check_message(&ours.to_string(), javas, text),
            (Err(ours), None) => panic!("{text:?}: {ours}"),
        }
    }
}

fn check_options(entry: &Entry, case: &Value) {
    assert_eq!(
        entry.class.reveal(),
        case["class"].as_str().unwrap(),
        "{case}"
    );
    let mut expected = case["options"].as_object().unwrap().clone();
    expected.remove("(null)");
    let options: Vec<_> = entry
        .options
        .iter()
        .map(|(name, value)| (name.as_str(), value.reveal()))
        .collect();
    let expected: Vec<_> = expected
        .iter()
        .map(|(name, value)| (name.as_str(), value.as_str().unwrap()))
        .collect();
    assert_eq!(options, expected, "{case}");
}

/// The texts are the same, but for what stands in quotes, which may be hidden.
fn check_message(ours: &str, javas: &str, text: &str) {
    let javas = match javas {
        // Java refuses an empty class without a text.
        "null" => "Login module not specified in JAAS config",
        javas => javas,
    };
    let ours = ours.strip_prefix("sasl.jaas.config: ").unwrap();
    let same = match javas.split_once('\'') {
        None => ours.starts_with(javas),
        Some((before, rest)) => {
            let (_, after) = rest.rsplit_once('\'').unwrap();
            ours.starts_with(before) && ours.contains(&format!("'{after}"))
        }
    };
    assert!(same, "{text:?}: {ours} instead of {javas}");
}

#[test]
fn the_flag_and_the_key_are_named_where_they_are_no_secret() {
    let cases = [
        (
            format!("{PLAIN} mandatory username=bob;"),
            "sasl.jaas.config: Invalid login module control flag 'mandatory' in JAAS config",
        ),
        (
            "alice hunter2;".to_owned(),
            "sasl.jaas.config: Invalid login module control flag '[hidden]' in JAAS config",
        ),
        (
            format!("{PLAIN} required username;"),
            "sasl.jaas.config: Value not specified for key 'username' in JAAS config",
        ),
        (
            format!("{PLAIN} required password=a hunter2;"),
            "sasl.jaas.config: Value not specified for key '[hidden]' in JAAS config",
        ),
        (
            format!("{PLAIN} required password=a; hunter2 hunter3;"),
            "sasl.jaas.config: Invalid login module control flag '[hidden]' in JAAS config",
        ),
    ];
    for (text, expected) in cases {
        let shown = refusal(&text);
        assert!(shown.starts_with(expected), "{shown}");
    }
}

#[test]
fn the_advice_names_the_value_that_breaks_off() {
    let cases = [
        (
            "password=ab@cd;",
            "quote the value, as in password=\"...\": the value of password has no quotes and breaks off",
        ),
        ("password=1abc;", "quote the value, as in password=\"...\""),
        ("password=ab==;", "quote the value, as in password=\"...\""),
        (
            "username=bob password=a/b;",
            "the value of password has no quotes and breaks off at a slash",
        ),
        (
            "password=a;b username=bob;",
            "the value of password has no quotes and breaks off at a semicolon",
        ),
        (
            "username=bob, password=abc;",
            "separate options by blanks: a comma follows the value of username",
        ),
        (
            "password=\"a\"b\" username=\"bob\";",
            "write \\\" for a quote inside the value of password",
        ),
        (
            "password=\"abc\nb;",
            "close the quote of the value of password",
        ),
        (
            "password=\"abc\";;",
            "keep one login module, which ends at its semicolon, and nothing behind it",
        ),
        ("password=;", "options as name=\"value\""),
    ];
    for (options, expected) in cases {
        let shown = refusal_of_options(options);
        assert!(shown.contains(expected), "{options}: {shown}");
    }
}

#[test]
fn a_missing_semicolon_is_told_with_how_a_file_continues_a_value() {
    for options in [
        "username=\"bob\" password=\"abc\"",
        "username=\u{201c}bob\u{201d} password=\u{201c}abc\u{201d}",
        "",
    ] {
        assert_eq!(
            refusal_of_options(options),
            "sasl.jaas.config: JAAS config entry not terminated by semi-colon; add a semicolon at the end; in a .properties \
             file, a backslash at the end of a line continues the value in the next one"
        );
    }
}

#[test]
fn a_section_of_a_jaas_file_is_told_to_be_more_than_its_entry() {
    let entry = format!("{PLAIN} required username=\"bob\" password=\"hunter2\";");
    for text in [
        format!("KafkaClient {{ {entry} }};"),
        format!("KafkaClient{{\n{entry}\n}};\n"),
        format!("{{ {entry} }}"),
        format!("{entry} }};"),
    ] {
        let shown = refusal(&text);
        assert!(
            shown.ends_with(
                "; write only the entry that is inside the braces, up to its semicolon: a section such as KafkaClient { ... }; \
                 is for a JAAS file"
            ),
            "{shown}"
        );
    }
}

#[test]
fn quotes_around_the_whole_value_are_told_without_a_word_of_it() {
    let entry = |quote: char| {
        format!("{PLAIN} required username={quote}bob{quote} password={quote}hunter2{quote};")
    };
    for text in [
        format!("\"{}\"", entry('"')),
        format!("'{}'", entry('"')),
        format!("\"{}\"", entry('\'')),
        format!("\"{}", entry('"')),
        format!("\"{PLAIN} required password=\"hunter2\";\""),
        format!("\u{201c}{}\u{201d}", entry('"')),
        format!("\u{201e}{}", entry('"')),
        format!("\u{2018}{}\u{2019}", entry('\'')),
    ] {
        let shown = refusal(&text);
        assert!(
            shown.ends_with(
                "; remove the quotes around the whole value: it begins with the class of a login module"
            ),
            "{text}: {shown}"
        );
        assert!(
            !shown.contains("hunter2") && !shown.contains("bob"),
            "{shown}"
        );
    }
    // As in Java, the class alone may be in quotes.
    assert!(Jaas::parse(&format!("\"{PLAIN}\" required username=bob;")).is_ok());
}

#[test]
fn a_quote_behind_the_semicolon_is_told_as_something_behind_the_entry() {
    let shown = refusal_of_options("password=\"abc\";\"");
    assert!(
        shown.ends_with(
            "; keep one login module, which ends at its semicolon, and nothing behind it; a semicolon that belongs to a value \
             needs quotes around the value"
        ),
        "{shown}"
    );
}

#[test]
fn typographic_quotes_that_cut_a_value_are_told() {
    for (open, close) in [
        ('\u{201c}', '\u{201d}'),
        ('\u{201e}', '\u{201c}'),
        ('\u{2018}', '\u{2019}'),
        ('\u{201a}', '\u{2018}'),
    ] {
        for value in ["hunter 2", "hunter@2", "hunter;2", "hunter/2"] {
            let shown = refusal_of_options(&format!("password={open}{value}{close} username=bob;"));
            assert!(
                shown.ends_with(
                    "; write straight quotes, as in password=\"...\": the value of password begins with a typographic quote, \
                     which Java reads as a letter"
                ),
                "{value}: {shown}"
            );
            assert!(!shown.contains("hunter"), "{shown}");
        }
    }
}

#[test]
fn typographic_quotes_that_become_a_part_of_a_value_are_warned_of() {
    let options = "username=\"b\" password=\u{201c}hunter2\u{201d};";
    assert_eq!(password_of(options), "\u{201c}hunter2\u{201d}");
    let jaas = Jaas::parse(&format!("{PLAIN} required {options}")).unwrap();
    assert_eq!(
        jaas.warnings(),
        [
            "sasl.jaas.config: the value of password begins with a typographic quote, which is kept as part of it; write it as \
             password=\"...\""
        ]
    );
    let inside = "password=\"\u{201c}hunter2\u{201d}\";";
    let jaas = Jaas::parse(&format!("{PLAIN} required {inside}")).unwrap();
    assert!(jaas.warnings().is_empty());
}

/// In Java a slash outside of quotes begins a comment to the end of the line.
#[test]
fn a_path_without_quotes_is_told_as_the_beginning_of_a_comment() {
    for options in [
        "keyTab=/etc/x.keytab;",
        "useKeyTab=true keyTab=/etc/x.keytab principal=\"a@B\";",
        "keyTab= /etc/x.keytab\nprincipal=\"a@B\";",
    ] {
        let shown = refusal_of_options(options);
        assert!(
            shown.ends_with(
                "; quote the value, as in keyTab=\"...\": the value of keyTab has no quotes and begins with a slash, which \
                 begins a comment there"
            ),
            "{options}: {shown}"
        );
    }
    assert!(Jaas::parse(&format!("{PLAIN} required password=/* x */\"abc\";")).is_ok());
}

#[test]
fn a_value_that_is_probably_cut_is_warned_of() {
    let warnings = |options: &str| {
        Jaas::parse(&format!("{PLAIN} required {options}"))
            .unwrap()
            .warnings()
            .join("\n")
    };
    assert!(
        warnings("password=abc//def\n;")
            .contains("the value of password may be shorter than meant")
    );
    assert!(
        warnings("password=\"abc\n;").contains("the value of password may be shorter than meant")
    );
    for options in [
        "password=abc;",
        "password=abc ;\n",
        "password=\"a//b;c\"; // end",
        "password=\"abc\"/* */;",
    ] {
        assert_eq!(warnings(options), "", "{options}");
    }
}

#[test]
fn an_event_hubs_connection_string_needs_quotes() {
    let string =
        "Endpoint=sb://x.servicebus.windows.net/;SharedAccessKeyName=k;SharedAccessKey=ab+/c=";
    assert_eq!(
        password_of(&format!(
            "username=\"$ConnectionString\" password=\"{string}\";"
        )),
        string
    );
    let shown = refusal_of_options(&format!(
        "username=\"$ConnectionString\" password={string};"
    ));
    assert!(
        shown.contains("quote the value, as in password=\"...\""),
        "{shown}"
    );
}

#[test]
fn nothing_shows_an_option() {
    let text = format!("{PLAIN} required username=\"bob\" password=\"hunter2\" hunter3=hunter4;");
    let jaas = Jaas::parse(&text).unwrap();
    assert!(!format!("{jaas:?}").contains("hunter"), "{jaas:?}");
    assert_eq!(jaas.options().count(), 3);
    assert!(jaas.option("user").is_none());
}

#[test]
fn a_module_that_does_not_fit_the_mechanism_is_named_with_the_way_out() {
    let parse = |class: &str| Jaas::parse(&format!("{class} required;")).unwrap();
    let plain = parse(PLAIN);
    let scram = parse("kafkashaded.org.apache.kafka.common.security.scram.ScramLoginModule");
    for (jaas, mechanism) in [
        (&plain, "PLAIN"),
        (&scram, "PLAIN"),
        (&scram, "SCRAM-SHA-256"),
        (&scram, "SCRAM-SHA-512"),
    ] {
        assert!(jaas.check_mechanism(Some(mechanism)).is_ok());
    }
    assert!(
        parse("com.sun.security.auth.module.Krb5LoginModule")
            .check_mechanism(None)
            .is_ok()
    );
    let cases = [
        (
            plain.check_mechanism(None),
            "sasl.mechanism is not set, so it is GSSAPI, and sasl.jaas.config names PlainLoginModule; set \
             sasl.mechanism=PLAIN",
        ),
        (
            plain.check_mechanism(Some("SCRAM-SHA-512")),
            "sasl.mechanism is SCRAM-SHA-512, and sasl.jaas.config names PlainLoginModule; set sasl.mechanism=PLAIN, or \
             name the login module of SCRAM-SHA-512",
        ),
    ];
    for (result, expected) in cases {
        assert_eq!(result.unwrap_err().to_string(), expected);
    }
}

#[test]
fn a_huge_text_is_refused() {
    let text = format!("{PLAIN} required a=\"{}\";", "x".repeat(MOST_BYTES));
    assert!(refusal(&text).contains("at most 1048576 are read"));
    // Deeply nested comments end the stack of Java.
    let text = format!("{}{PLAIN} required a=b;", "/**/".repeat(100_000));
    assert!(Jaas::parse(&text).is_ok());
}

/// The text in quotes, escaped.
fn quoted(value: &str, quote: char) -> String {
    let mut text = String::from(quote);
    for character in value.chars() {
        match character {
            '\n' => text.push_str("\\n"),
            '\r' => text.push_str("\\r"),
            '\\' => text.push_str("\\\\"),
            other if other == quote => text.extend(['\\', quote]),
            other => text.push(other),
        }
    }
    text.push(quote);
    text
}

proptest! {
    #[test]
    fn a_quoted_value_comes_back(value in any::<String>(), double in any::<bool>()) {
        let quote = if double { '"' } else { '\'' };
        prop_assert_eq!(password_of(&format!("password={};", quoted(&value, quote))), value);
    }

    #[test]
    fn no_text_panics_and_no_refusal_shows_a_value(
        text in r#"[a-c1 ="'\\/*;,.\n-]{0,40}"#,
        quoted in any::<bool>(),
    ) {
        let secret = "xyzzy";
        let value = if quoted { format!("\"{secret}\"") } else { secret.to_owned() };
        for text in [
            format!("{PLAIN} required password={value}{text}"),
            format!("{PLAIN} required password={text}{value};"),
            format!("{PLAIN} required {text} password={value};"),
        ] {
            let shown = match Jaas::parse(&text) {
                Ok(jaas) => format!("{jaas:?} {:?}", jaas.warnings()),
                Err(error) => format!("{error} {error:?}"),
            };
            prop_assert!(!shown.contains(secret), "{}: {}", text, shown);
        }
    }

    #[test]
    fn any_text_is_read_or_refused(text in any::<String>()) {
        let _ = Jaas::parse(&text);
    }
}
