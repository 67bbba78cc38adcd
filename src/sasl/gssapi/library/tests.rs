//! Calls of the library that need no KDC. On a machine without the library they test nothing.

use std::ffi::c_long;

use super::*;

fn library() -> Option<&'static Library> {
    let library = Library::get();
    if let Err(reason) = &library {
        println!("not tested: {reason:?}");
    }
    library.ok()
}

fn fault<T>(result: Result<T, Fault>) -> Fault {
    match result {
        Ok(_) => panic!("no fault"),
        Err(fault) => fault,
    }
}

#[test]
fn a_library_that_is_missing_or_lacks_a_function_is_told_apart() {
    let Err(NotLoaded::Missing(text)) = Library::load(c"libgssapi_krb5.so.of.no.system") else {
        panic!("not missing");
    };
    assert!(text.contains("libgssapi_krb5.so.of.no.system"), "{text}");
    if cfg!(target_env = "gnu") {
        let other = Library::load(c"libc.so.6");
        assert!(matches!(other, Err(NotLoaded::TooOld("gss_import_name"))));
    }
}

/// Returns the text of a code. GSSAPI has the texts of those codes only that it has returned.
fn message(code: c_long) -> String {
    // SAFETY: the library is loaded; com_err.h declares the function, which returns a text that ends with a NUL and stays.
    unsafe {
        let library = libc::dlopen(FILE.as_ptr(), libc::RTLD_NOW);
        let function = libc::dlsym(library, c"error_message".as_ptr());
        assert!(!function.is_null());
        let function =
            transmute::<*mut c_void, unsafe extern "C" fn(c_long) -> *const c_char>(function);
        CStr::from_ptr(function(code))
            .to_string_lossy()
            .into_owned()
    }
}

/// The numbers in `fault` are those of the library.
#[test]
fn each_code_has_the_text_by_which_its_meaning_was_chosen() {
    let Some(library) = library() else { return };
    for (code, text) in [
        (-1_765_328_384 + 6, "Client not found in Kerberos database"),
        (-1_765_328_384 + 7, "Server not found in Kerberos database"),
        (-1_765_328_384 + 18, "credentials have been revoked"),
        (-1_765_328_384 + 24, "Preauthentication failed"),
        (-1_765_328_384 + 32, "Ticket expired"),
        (-1_765_328_384 + 37, "Clock skew too great"),
        (-1_765_328_384 + 148, "Clock skew too great in KDC reply"),
        (-1_765_328_384 + 154, "Cannot find KDC for requested realm"),
        (
            -1_765_328_384 + 156,
            "Cannot contact any KDC for requested realm",
        ),
        (-1_765_328_384 + 181, "Key table entry not found"),
        (-1_765_328_384 + 195, "redentials cache"),
        (-1_765_328_384 + 199, "Bad format in credentials cache"),
        (-1_765_328_384 + 224, "does not specify default realm"),
        (-1_765_328_384 + 235, "Bad format in keytab"),
        (39_756_032, "does not match desired name"),
        (39_756_032 + 1, "No principal in keytab matches"),
        (39_756_032 + 2, "has no TGT"),
        (39_756_032 + 12, "Credential cache is empty"),
    ] {
        let known = message(code);
        assert!(known.contains(text), "{code}: {known}");
    }
    let fault = library.fault(GSS_S_NO_CONTEXT, 0);
    assert!(!fault.text.is_empty());
}

#[test]
fn credentials_that_do_not_exist_are_a_fault() {
    let Some(library) = library() else { return };
    let cache = c"FILE:/no/such/folder/cache";
    let no_cache = fault(library.acquire(None, &[(c"ccache", cache)]));
    assert_eq!(no_cache.minor, -1_765_328_384 + 195);
    assert!(no_cache.text.contains("credentials cache"), "{no_cache:?}");
    let alice = library.import_principal("alice@TEST.LOCAL").unwrap();
    let keytab = [
        (c"client_keytab", c"FILE:/no/such/keytab"),
        (c"ccache", c"MEMORY:library-tests"),
    ];
    fault(library.acquire(Some(&alice), &keytab));
    fault(library.acquire(None, &[(c"ccache", c"OTHER:type")]));
    library.destroy_cache(c"MEMORY:library-tests").ok();
}

#[test]
fn a_name_is_taken_as_it_is_or_refused() {
    let Some(library) = library() else { return };
    for name in [
        "kafka/broker.test@TEST.LOCAL",
        "kafka/broker.test@",
        "alice@TEST.LOCAL",
    ] {
        library.import_principal(name).unwrap();
    }
    let refused = library.import_principal("a@b@c").and_then(|name| {
        let store = [(c"ccache", c"MEMORY:library-tests-names")];
        library.acquire(Some(&name), &store)
    });
    fault(refused);
}

#[test]
fn the_realm_of_a_host_is_that_of_the_configuration_or_empty() {
    let Some(library) = library() else { return };
    let realm = library.host_realm(c"broker.of.no.realm.invalid").unwrap();
    assert!(!realm.contains('@'), "{realm}");
}

#[test]
fn a_context_that_has_not_begun_ends_with_a_fault() {
    let Some(library) = library() else { return };
    let target = library
        .import_principal("kafka/broker.test@TEST.LOCAL")
        .unwrap();
    let mut context = SecurityContext {
        target,
        handle: null_mut(),
    };
    assert_eq!(fault(context.step(b"token")).major, GSS_S_NO_CONTEXT);
    fault(context.wrap(b"message"));
    fault(context.unwrap(b"message"));
    let sent = std::thread::spawn(move || drop(context));
    sent.join().unwrap();
}
