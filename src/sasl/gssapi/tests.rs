use std::io::Write;
use std::time::Duration;

use super::*;
use crate::sasl::jaas::Jaas;

const CLASS: &str = "com.sun.security.auth.module.Krb5LoginModule";

fn login(options: &str) -> Login {
    let text = format!("{CLASS} required {options};");
    Login::from_jaas(&Jaas::parse(&text).unwrap(), "kafka").unwrap()
}

/// Returns the mechanism. `None` on a machine without the library, where nothing can be tested.
fn mechanism(options: &str) -> Option<Gssapi> {
    match Gssapi::new(login(options)) {
        Err(error) if error.to_string().contains("libgssapi_krb5") => None,
        made => Some(made.unwrap()),
    }
}

fn refused(gssapi: &Gssapi, host: &str) -> Error {
    let deadline = Instant::now() + Duration::from_secs(60);
    match gssapi.begin(host, deadline) {
        Ok(_) => panic!("a ticket from nowhere"),
        Err(error) => error,
    }
}

fn temporary_file(name: &str, contents: &[u8]) -> std::path::PathBuf {
    let name = format!("kafka-producer-gssapi-{}-{name}", std::process::id());
    let path = std::env::temp_dir().join(name);
    std::fs::File::create(&path)
        .unwrap()
        .write_all(contents)
        .unwrap();
    path
}

#[test]
fn a_ticket_cache_that_does_not_exist_is_named_with_what_to_do() {
    let Some(gssapi) = mechanism("useTicketCache=true ticketCache=\"/no/such/cache\"") else {
        return;
    };
    let error = refused(&gssapi, "broker.test");
    assert_eq!(error.kind(), ErrorKind::Authentication);
    let shown = error.to_string();
    assert!(
        shown.starts_with("there is no ticket in the ticket cache /no/such/cache (")
            && shown.contains("run kinit"),
        "{shown}"
    );
}

#[test]
fn a_keytab_that_cannot_be_read_is_refused_when_the_producer_is_built() {
    let with =
        |file: &str| format!("useKeyTab=true keyTab=\"{file}\" principal=\"alice@TEST.LOCAL\"");
    if mechanism("useTicketCache=true").is_none() {
        return;
    }
    for (file, expected) in [
        (
            "/no/such/keytab",
            "the keytab /no/such/keytab cannot be read: No such file or directory",
        ),
        ("/", "the keytab / is not a file"),
    ] {
        let error = Gssapi::new(login(&with(file))).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Config);
        let expected =
            format!("{expected} (os error 2); set the option keyTab to the file of the keytab");
        let shown = error.to_string();
        assert!(
            shown == expected || shown == expected.replace(" (os error 2)", ""),
            "{shown}"
        );
    }
}

#[test]
fn a_keytab_that_is_none_or_goes_away_is_told_at_the_connection() {
    let path = temporary_file("garbage", b"this is no keytab");
    let options = format!(
        "useKeyTab=true keyTab=\"{}\" principal=\"alice@TEST.LOCAL\"",
        path.display()
    );
    let gssapi = mechanism(&options);
    if let Some(gssapi) = &gssapi {
        let shown = refused(gssapi, "broker.test").to_string();
        assert!(
            shown.contains(&path.display().to_string()) && shown.contains("klist -kt"),
            "{shown}"
        );
    }
    std::fs::remove_file(&path).unwrap();
    if let Some(gssapi) = &gssapi {
        let error = refused(gssapi, "broker.test");
        assert_eq!(error.kind(), ErrorKind::Authentication);
        assert!(error.to_string().contains("cannot be read"), "{error}");
    }
}

#[test]
fn both_sources_are_tried_and_the_error_has_both_reasons() {
    let path = temporary_file("second", b"this is no keytab");
    let options = format!(
        "useTicketCache=true ticketCache=\"/no/such/cache\" useKeyTab=true keyTab=\"{}\" principal=\"alice@TEST.LOCAL\"",
        path.display()
    );
    if let Some(gssapi) = mechanism(&options) {
        let error = refused(&gssapi, "broker.test");
        assert!(
            error.to_string().contains(&path.display().to_string()),
            "{error}"
        );
        let earlier = std::error::Error::source(&error).unwrap().to_string();
        assert!(earlier.contains("/no/such/cache"), "{earlier}");
    }
    std::fs::remove_file(&path).unwrap();
}

#[test]
fn a_closed_mechanism_and_a_deadline_end_the_wait() {
    let Some(gssapi) = mechanism("useTicketCache=true ticketCache=\"/no/such/cache\"") else {
        return;
    };
    let (release, hold) = crate::sync::channel::bounded::<()>(0);
    let soon = || Instant::now() + Duration::from_millis(10);
    let hangs = move || {
        let _ = hold.recv();
        Err(failed("a call of the test"))
    };
    assert!(gssapi.calls.run(soon(), hangs).is_err());
    let late = gssapi.begin("broker.test", soon()).err().unwrap();
    assert_eq!(late.kind(), ErrorKind::Network);
    assert!(
        late.to_string().starts_with(
            "Kerberos has no ticket for kafka/broker.test in time: a KDC does not answer"
        ),
        "{late}"
    );
    gssapi.close();
    let closed = refused(&gssapi, "broker.test");
    assert!(closed.to_string().contains("given up"), "{closed}");
    drop(release);
}

#[test]
fn the_host_of_a_principal_is_in_lower_case_and_cannot_change_its_realm() {
    for (host, expected) in [
        ("Broker1.Example.COM.", "broker1.example.com"),
        ("localhost", "localhost"),
        ("10.0.0.7", "10.0.0.7"),
        ("::1", "::1"),
    ] {
        assert_eq!(principal_host(host).unwrap(), expected);
    }
    for host in [
        "",
        ".",
        "a@OTHER.REALM",
        "a/b",
        "a\\b",
        "a b",
        "a\0b",
        &"x".repeat(300),
    ] {
        let error = principal_host(host).unwrap_err();
        assert!(
            error
                .to_string()
                .contains("cannot be a part of a Kerberos principal"),
            "{error}"
        );
    }
}

#[test]
fn a_ticket_cache_without_a_type_is_a_file_and_types_may_be_in_lower_case() {
    for (name, expected) in [
        ("/tmp/krb5cc_0", "FILE:/tmp/krb5cc_0"),
        ("FILE:/tmp/krb5cc_0", "FILE:/tmp/krb5cc_0"),
        ("file:/tmp/krb5cc_0", "FILE:/tmp/krb5cc_0"),
        ("KCM:0", "KCM:0"),
        ("Keyring:persistent:0", "KEYRING:persistent:0"),
        ("relative", "FILE:relative"),
        ("/odd:name", "FILE:/odd:name"),
    ] {
        assert_eq!(cache_name(name).to_str().unwrap(), expected);
    }
}

#[test]
fn debug_shows_where_the_tickets_come_from() {
    let Some(gssapi) = mechanism("useTicketCache=true ticketCache=\"/no/such/cache\"") else {
        return;
    };
    let shown = format!("{gssapi:?}");
    assert!(
        shown.contains("kafka") && shown.contains("/no/such/cache"),
        "{shown}"
    );
}

#[test]
fn a_missing_library_names_the_packages_that_bring_it() {
    let error = not_loaded(&library::NotLoaded::Missing(
        "libgssapi_krb5.so.2: cannot open".to_owned(),
    ));
    assert_eq!(error.kind(), ErrorKind::Config);
    let shown = error.to_string();
    for part in [
        "(libgssapi_krb5.so.2: cannot open)",
        "libgssapi-krb5-2 on Debian",
        "krb5-libs on RHEL, Fedora and Alpine",
    ] {
        assert!(shown.contains(part), "{shown}");
    }
    let old = not_loaded(&library::NotLoaded::TooOld("gss_acquire_cred_from")).to_string();
    assert!(old.contains("has no gss_acquire_cred_from"), "{old}");
}
