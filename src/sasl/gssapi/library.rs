//! The GSSAPI library of the system, MIT's `libgssapi_krb5.so.2`, loaded when a producer asks for it. This file is all of
//! the crate that calls it. The types below keep what C cannot: each object is released once, and each text has its length.
//!
//! Nothing of it is needed to build this crate: the prototypes are written here, from RFC 2744 and MIT's headers. They have
//! not changed since 2012 (release 1.11, which brought `gss_acquire_cred_from`). Heimdal's library is not tried, because no
//! test runs with it. Apple's has another layout of its structures.
//!
//! **Threads.** MIT's library may be called by any number of threads. It keeps no state of a context, a name or credentials in
//! a thread, so they may move to another one. They are not used by two threads at once here. A `krb5_context` must not be
//! shared, so each function that needs one makes its own. The texts of an error belong to the thread in which the
//! call failed, so they are read right after it.
//!
//! **The library is never unloaded**: it registers functions that run when a thread ends.
#![allow(
    unsafe_code,
    reason = "a library of C is loaded while the program runs, and called"
)]

use std::ffi::{CStr, CString, c_char, c_int, c_void};
use std::mem::transmute;
use std::ptr::{null, null_mut};
use std::sync::OnceLock;

const FILE: &CStr = c"libgssapi_krb5.so.2";

/// `gss_buffer_desc`.
#[repr(C)]
struct Buffer {
    length: usize,
    value: *mut c_void,
}

/// `gss_OID_desc`.
#[repr(C)]
struct Oid {
    length: u32,
    elements: *const u8,
}

/// `gss_OID_set_desc`.
#[repr(C)]
struct OidSet {
    count: usize,
    elements: *const Oid,
}

/// `gss_key_value_element_desc`.
#[repr(C)]
struct KeyValue {
    key: *const c_char,
    value: *const c_char,
}

/// `gss_key_value_set_desc`.
#[repr(C)]
struct KeyValues {
    count: u32,
    elements: *const KeyValue,
}

/// A `gss_name_t`, `gss_cred_id_t`, `gss_ctx_id_t`, `krb5_context` or `krb5_ccache`.
type Handle = *mut c_void;

/// `GSS_KRB5_MECHANISM`, 1.2.840.113554.1.2.2.
const KERBEROS: &[u8] = b"\x2a\x86\x48\x86\xf7\x12\x01\x02\x02";
/// `GSS_KRB5_NT_PRINCIPAL_NAME`, 1.2.840.113554.1.2.2.1.
const PRINCIPAL_NAME: &[u8] = b"\x2a\x86\x48\x86\xf7\x12\x01\x02\x02\x01";

const GSS_C_INITIATE: c_int = 1;
const GSS_C_GSS_CODE: c_int = 1;
const GSS_C_MECH_CODE: c_int = 2;
const GSS_S_CONTINUE_NEEDED: u32 = 1;
const GSS_S_NO_CONTEXT: u32 = 8 << 16;
const GSS_S_FAILURE: u32 = 13 << 16;
/// The bits of a status that say that the call failed. The others inform.
const GSS_ERRORS: u32 = 0xffff_0000;

/// The peer proves its identity, too.
pub(super) const MUTUAL: u32 = 2;
/// Messages can be protected against changes.
pub(super) const INTEGRITY: u32 = 32;

/// Declares the functions that are called, and looks each of them up in the library.
macro_rules! functions {
    ($($name:ident: fn($($argument:ty),*) $(-> $result:ty)?;)*) => {
        struct Functions {
            $($name: unsafe extern "C" fn($($argument),*) $(-> $result)?,)*
        }

        impl Functions {
            /// Finds all functions in the loaded library. The error is the name of the first one that is missing.
            fn find(library: Handle) -> Result<Self, &'static str> {
                $(
                    let name = concat!(stringify!($name), "\0");
                    // SAFETY: `library` comes from dlopen and stays loaded; the name ends with a NUL.
                    let $name = unsafe { libc::dlsym(library, name.as_ptr().cast()) };
                    if $name.is_null() {
                        return Err(stringify!($name));
                    }
                )*
                Ok(Self {
                    $(
                        // SAFETY: the symbol is not null, and MIT's header declares it with this prototype.
                        $name: unsafe {
                            transmute::<*mut c_void, unsafe extern "C" fn($($argument),*) $(-> $result)?>($name)
                        },
                    )*
                })
            }
        }
    };
}

// Of libgssapi_krb5, and of libkrb5, which it depends on: dlsym finds both.
functions! {
    gss_import_name: fn(*mut u32, *const Buffer, *const Oid, *mut Handle) -> u32;
    gss_release_name: fn(*mut u32, *mut Handle) -> u32;
    gss_acquire_cred_from: fn(*mut u32, Handle, u32, *const OidSet, c_int, *const KeyValues, *mut Handle, *mut c_void,
        *mut u32) -> u32;
    gss_release_cred: fn(*mut u32, *mut Handle) -> u32;
    gss_init_sec_context: fn(*mut u32, Handle, *mut Handle, Handle, *const Oid, u32, u32, *mut c_void, *const Buffer,
        *mut c_void, *mut Buffer, *mut u32, *mut u32) -> u32;
    gss_delete_sec_context: fn(*mut u32, *mut Handle, *mut Buffer) -> u32;
    gss_wrap: fn(*mut u32, Handle, c_int, u32, *const Buffer, *mut c_int, *mut Buffer) -> u32;
    gss_unwrap: fn(*mut u32, Handle, *const Buffer, *mut Buffer, *mut c_int, *mut u32) -> u32;
    gss_release_buffer: fn(*mut u32, *mut Buffer) -> u32;
    gss_display_status: fn(*mut u32, u32, c_int, *const Oid, *mut u32, *mut Buffer) -> u32;
    krb5_init_context: fn(*mut Handle) -> i32;
    krb5_free_context: fn(Handle);
    krb5_get_host_realm: fn(Handle, *const c_char, *mut *mut *mut c_char) -> i32;
    krb5_free_host_realm: fn(Handle, *const *mut c_char) -> i32;
    krb5_cc_resolve: fn(Handle, *const c_char, *mut Handle) -> i32;
    krb5_cc_destroy: fn(Handle, Handle) -> i32;
}

/// The loaded library.
pub(super) struct Library(Functions);

/// Why there is no library.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum NotLoaded {
    /// The system's loader says this.
    Missing(String),
    /// It lacks this function.
    TooOld(&'static str),
    /// The program is linked statically.
    StaticProgram,
}

/// Why a call failed: the two codes, and what the library says of them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Fault {
    pub(super) major: u32,
    /// Kerberos's own code. 0 if there is none.
    pub(super) minor: i32,
    pub(super) text: String,
}

impl Library {
    /// Returns the library, which the first call loads. After a failure the next call tries again.
    pub(super) fn get() -> Result<&'static Self, NotLoaded> {
        static LOADED: OnceLock<Library> = OnceLock::new();
        if let Some(library) = LOADED.get() {
            return Ok(library);
        }
        let library = Self::load(FILE)?;
        Ok(LOADED.get_or_init(|| library))
    }

    fn load(file: &CStr) -> Result<Self, NotLoaded> {
        // The C libraries of such programs cannot load others, or load a second C library with them.
        if cfg!(target_feature = "crt-static") {
            return Err(NotLoaded::StaticProgram);
        }
        // SAFETY: the name ends with a NUL. Loading runs the library's own initialization, which has no requirements.
        let library = unsafe { libc::dlopen(file.as_ptr(), libc::RTLD_NOW | libc::RTLD_LOCAL) };
        if library.is_null() {
            // SAFETY: dlerror returns null, or a text that stays until this thread's next call of the loader.
            let text = unsafe {
                let text = libc::dlerror();
                (!text.is_null()).then(|| CStr::from_ptr(text).to_string_lossy().into_owned())
            };
            return Err(NotLoaded::Missing(text.unwrap_or_default()));
        }
        Functions::find(library)
            .map(Self)
            .map_err(NotLoaded::TooOld)
    }

    /// Makes a name of a principal's text, such as `kafka/broker@REALM`. An empty realm asks the client's KDC for the right
    /// one; without an `@` it is the default realm. No name is looked up.
    pub(super) fn import_principal(&'static self, principal: &str) -> Result<Name, Fault> {
        let mut name = null_mut();
        let text = input(principal.as_bytes());
        let kind = oid(PRINCIPAL_NAME);
        let mut minor = 0;
        // SAFETY: the inputs live until the call returns, which copies them.
        let major = unsafe { (self.0.gss_import_name)(&mut minor, &text, &kind, &mut name) };
        // From here on it is released, whatever the status is.
        let name = Name {
            library: self,
            handle: name,
        };
        self.check(major, minor)?;
        Ok(name)
    }

    /// Gets the credentials of `principal`, or of the principal of the ticket cache. `store` says where they are, in the names
    /// of MIT's credential store; without it, they are in the default ticket cache. May wait for a KDC.
    pub(super) fn acquire(
        &'static self,
        principal: Option<&Name>,
        store: &[(&CStr, &CStr)],
    ) -> Result<Credentials, Fault> {
        let elements = store.iter().map(|(key, value)| KeyValue {
            key: key.as_ptr(),
            value: value.as_ptr(),
        });
        let elements: Vec<_> = elements.collect();
        let store = KeyValues {
            count: elements.len() as u32,
            elements: elements.as_ptr(),
        };
        let store: *const KeyValues = match elements.is_empty() {
            true => null(),
            false => &store,
        };
        let kerberos = oid(KERBEROS);
        let mechanisms = OidSet {
            count: 1,
            elements: &kerberos,
        };
        let principal = principal.map_or(null_mut(), |name| name.handle);
        let (mut handle, mut minor) = (null_mut(), 0);
        // SAFETY: the inputs live until the call returns, which copies them. The last two nulls ask for neither the list of
        // mechanisms nor the lifetime.
        let major = unsafe {
            (self.0.gss_acquire_cred_from)(
                &mut minor,
                principal,
                0,
                &mechanisms,
                GSS_C_INITIATE,
                store,
                &mut handle,
                null_mut(),
                null_mut(),
            )
        };
        let credentials = Credentials {
            library: self,
            handle,
        };
        self.check(major, minor)?;
        Ok(credentials)
    }

    /// Returns the realm that krb5.conf names for `host`. It is empty if krb5.conf names none: the KDC of the client knows it.
    /// Looks nothing up, unless krb5.conf says `dns_lookup_realm`.
    pub(super) fn host_realm(&self, host: &CStr) -> Result<String, Fault> {
        self.with_context(|context| {
            let mut realms = null_mut();
            // SAFETY: the context is this call's own; the host ends with a NUL. The function sets `realms` if it returns 0.
            let code = unsafe { (self.0.krb5_get_host_realm)(context, host.as_ptr(), &mut realms) };
            if code != 0 {
                return Err(code);
            }
            if realms.is_null() {
                return Ok(String::new());
            }
            // SAFETY: `realms` is a list of texts that ends with a null pointer, and is released with the function for it.
            unsafe {
                let first = *realms;
                let realm = match first.is_null() {
                    true => String::new(),
                    false => CStr::from_ptr(first).to_string_lossy().into_owned(),
                };
                (self.0.krb5_free_host_realm)(context, realms.cast_const());
                Ok(realm)
            }
        })
    }

    /// Removes a ticket cache with all that is in it. No credentials may use it.
    pub(super) fn destroy_cache(&self, name: &CStr) -> Result<(), Fault> {
        self.with_context(|context| {
            let mut cache = null_mut();
            // SAFETY: the context is this call's own; the name ends with a NUL.
            let code = unsafe { (self.0.krb5_cc_resolve)(context, name.as_ptr(), &mut cache) };
            if code != 0 {
                return Err(code);
            }
            // SAFETY: the cache is open, and this call closes it, too.
            match unsafe { (self.0.krb5_cc_destroy)(context, cache) } {
                0 => Ok(()),
                code => Err(code),
            }
        })
    }

    fn with_context<T>(&self, call: impl FnOnce(Handle) -> Result<T, i32>) -> Result<T, Fault> {
        let mut context = null_mut();
        // SAFETY: the function sets `context` if it returns 0.
        let result = match unsafe { (self.0.krb5_init_context)(&mut context) } {
            0 => call(context),
            code => Err(code),
        };
        if !context.is_null() {
            // SAFETY: the context comes from krb5_init_context, and nothing uses it any more.
            unsafe { (self.0.krb5_free_context)(context) };
        }
        result.map_err(|code| self.fault(GSS_S_FAILURE, code as u32))
    }

    fn check(&self, major: u32, minor: u32) -> Result<(), Fault> {
        match major & GSS_ERRORS {
            0 => Ok(()),
            _ => Err(self.fault(major, minor)),
        }
    }

    fn fault(&self, major: u32, minor: u32) -> Fault {
        let text = match minor {
            0 => String::new(),
            _ => self.text(minor, GSS_C_MECH_CODE),
        };
        // A code of which the mechanism knows nothing is a success to it.
        let text = match &*text {
            "" | "Success" => self.text(major, GSS_C_GSS_CODE),
            _ => text,
        };
        Fault {
            major,
            // MIT's codes are negative numbers, which GSSAPI hands on as they are.
            minor: minor as i32,
            text,
        }
    }

    /// Returns what the library says of a status. It may be several texts.
    fn text(&self, status: u32, kind: c_int) -> String {
        const MOST_TEXTS: usize = 8;
        let kerberos = oid(KERBEROS);
        let (mut texts, mut next) = (Vec::new(), 0);
        for _ in 0..MOST_TEXTS {
            let (mut minor, mut text) = (0, Output::new(self));
            // SAFETY: all pointers are valid until the call returns.
            let major = unsafe {
                (self.0.gss_display_status)(
                    &mut minor,
                    status,
                    kind,
                    &kerberos,
                    &mut next,
                    &mut text.buffer,
                )
            };
            if major & GSS_ERRORS != 0 {
                break;
            }
            texts.push(String::from_utf8_lossy(text.bytes()).into_owned());
            if next == 0 {
                break;
            }
        }
        texts.join(": ")
    }
}

/// The name of a principal.
pub(super) struct Name {
    library: &'static Library,
    handle: Handle,
}

impl Drop for Name {
    fn drop(&mut self) {
        let mut minor = 0;
        // SAFETY: the handle is null, which is ignored, or a name that nothing uses any more.
        unsafe { (self.library.0.gss_release_name)(&mut minor, &mut self.handle) };
    }
}

/// The client's tickets, or a way to get them.
pub(super) struct Credentials {
    library: &'static Library,
    handle: Handle,
}

impl Drop for Credentials {
    fn drop(&mut self) {
        let mut minor = 0;
        // SAFETY: the handle is null, which is ignored, or credentials that nothing uses any more.
        unsafe { (self.library.0.gss_release_cred)(&mut minor, &mut self.handle) };
    }
}

/// The client's side of a security context, which the messages between client and broker establish.
pub(super) struct SecurityContext {
    target: Name,
    handle: Handle,
}

// SAFETY: MIT keeps nothing of a context or a name in a thread, and no second thread uses them at the same time: they are
// not `Sync`, and each function takes `&mut self`.
unsafe impl Send for SecurityContext {}

/// What a step of the establishment yields.
pub(super) struct Step {
    /// The message to the peer, empty if there is none.
    pub(super) token: Vec<u8>,
    pub(super) is_complete: bool,
    /// What the context can do, such as [`MUTUAL`]. Final once it is complete.
    pub(super) flags: u32,
}

impl SecurityContext {
    /// Begins a context with the service `target`. Returns it with its first step. May wait for a KDC.
    pub(super) fn begin(credentials: &Credentials, target: Name) -> Result<(Self, Step), Fault> {
        let mut context = Self {
            target,
            handle: null_mut(),
        };
        let step = context.advance(credentials.handle, None)?;
        Ok((context, step))
    }

    /// Takes the peer's message. Waits for nothing: MIT uses neither credentials nor a KDC after the first step.
    pub(super) fn step(&mut self, token: &[u8]) -> Result<Step, Fault> {
        if self.handle.is_null() {
            // A step would begin another context.
            return Err(self.target.library.fault(GSS_S_NO_CONTEXT, 0));
        }
        self.advance(null_mut(), Some(token))
    }

    fn advance(&mut self, credentials: Handle, token: Option<&[u8]>) -> Result<Step, Fault> {
        let library = self.target.library;
        let token = token.map(input);
        let token = token
            .as_ref()
            .map_or(null(), |token| token as *const Buffer);
        let kerberos = oid(KERBEROS);
        let (mut minor, mut flags, mut output) = (0, 0, Output::new(library));
        // SAFETY: the inputs live until the call returns, which copies what it keeps. The context is null before the first
        // step only, as the function requires.
        let major = unsafe {
            (library.0.gss_init_sec_context)(
                &mut minor,
                credentials,
                &mut self.handle,
                self.target.handle,
                &kerberos,
                MUTUAL | INTEGRITY,
                0,
                null_mut(),
                token,
                null_mut(),
                &mut output.buffer,
                &mut flags,
                null_mut(),
            )
        };
        library.check(major, minor)?;
        Ok(Step {
            token: output.bytes().to_vec(),
            is_complete: major & GSS_S_CONTINUE_NEEDED == 0,
            flags,
        })
    }

    /// Returns the contents of a message that the peer protected.
    pub(super) fn unwrap(&mut self, message: &[u8]) -> Result<Vec<u8>, Fault> {
        let library = self.target.library;
        let message = input(message);
        let (mut minor, mut contents) = (0, Output::new(library));
        // SAFETY: the pointers are valid until the call returns. A context that is null is an error, not a fault.
        let major = unsafe {
            (library.0.gss_unwrap)(
                &mut minor,
                self.handle,
                &message,
                &mut contents.buffer,
                null_mut(),
                null_mut(),
            )
        };
        library.check(major, minor)?;
        Ok(contents.bytes().to_vec())
    }

    /// Protects a message against changes, without encrypting it.
    pub(super) fn wrap(&mut self, message: &[u8]) -> Result<Vec<u8>, Fault> {
        let library = self.target.library;
        let message = input(message);
        let (mut minor, mut protected) = (0, Output::new(library));
        // SAFETY: as in `unwrap`. The zeros ask for no encryption and the usual protection.
        let major = unsafe {
            (library.0.gss_wrap)(
                &mut minor,
                self.handle,
                0,
                0,
                &message,
                null_mut(),
                &mut protected.buffer,
            )
        };
        library.check(major, minor)?;
        Ok(protected.bytes().to_vec())
    }
}

impl Drop for SecurityContext {
    fn drop(&mut self) {
        if !self.handle.is_null() {
            let mut minor = 0;
            // SAFETY: the handle is a context that nothing uses any more. Null asks for no message to the peer.
            unsafe {
                (self.target.library.0.gss_delete_sec_context)(
                    &mut minor,
                    &mut self.handle,
                    null_mut(),
                );
            }
        }
    }
}

/// Bytes that the library allocated, and that it releases.
struct Output<'a> {
    library: &'a Library,
    buffer: Buffer,
}

impl<'a> Output<'a> {
    fn new(library: &'a Library) -> Self {
        let buffer = Buffer {
            length: 0,
            value: null_mut(),
        };
        Self { library, buffer }
    }

    fn bytes(&self) -> &[u8] {
        if self.buffer.value.is_null() {
            return &[];
        }
        // SAFETY: the library wrote this many bytes there, and they stay until the buffer is released.
        unsafe { std::slice::from_raw_parts(self.buffer.value.cast(), self.buffer.length) }
    }
}

impl Drop for Output<'_> {
    fn drop(&mut self) {
        let mut minor = 0;
        // SAFETY: the buffer is empty, which is ignored, or was filled by the library.
        unsafe { (self.library.0.gss_release_buffer)(&mut minor, &mut self.buffer) };
    }
}

/// Bytes for the library, which reads them only.
fn input(bytes: &[u8]) -> Buffer {
    Buffer {
        length: bytes.len(),
        value: bytes.as_ptr().cast_mut().cast(),
    }
}

fn oid(bytes: &'static [u8]) -> Oid {
    Oid {
        length: bytes.len() as u32,
        elements: bytes.as_ptr(),
    }
}

/// Returns a text for C. `None` if it has a NUL.
pub(super) fn c_text(text: impl Into<Vec<u8>>) -> Option<CString> {
    CString::new(text).ok()
}

#[cfg(test)]
mod tests;
