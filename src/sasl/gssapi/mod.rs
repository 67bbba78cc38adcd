//! GSSAPI with Kerberos (RFC 4752): the client proves its identity by a ticket of a KDC, and the broker proves its own.
//!
//! | to | see |
//! |---|---|
//! | call the system's library | [`library`] |
//! | wait for a KDC until a deadline | [`BlockingCalls`], as [`Gssapi`] uses them |
//! | exchange the messages | [`conversation`] |
//! | read the options of `Krb5LoginModule` | [`login`] |
//! | know what an error code means | [`meaning`] |
//! | say what happened, and what to change | [`fault`] |

mod conversation;
mod fault;
mod library;
mod login;
mod meaning;

use std::ffi::CString;
use std::fmt;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Instant;

use self::conversation::GssConversation;
use self::fault::{Subject, Tickets, not_loaded};
use self::library::{Credentials, Fault, Library, Name, SecurityContext, Step, c_text};
pub(crate) use self::login::Login;
use self::login::Source;
use self::meaning::is_expired;
use super::{Conversation, Mechanism, failed, misconfigured};
use crate::error::{Error, ErrorKind, advice_on_path, printable};
use crate::secret::{self, FileFault};
use crate::threads::{BlockingCalls, NoResult, Overlap};

/// The mechanism GSSAPI with the tickets of a client.
pub(crate) struct Gssapi {
    client: Arc<Client>,
    /// Those that may wait for a KDC. GSSAPI knows no deadline, and if a KDC does not answer, MIT's library waits 27 s for it.
    /// They run one after the other, so a silent KDC costs one thread, and no call finds the ticket cache half filled by
    /// another. One that ends too late is not in vain: it leaves its ticket in the cache, where the next connection finds it.
    calls: BlockingCalls<Result<Started, Error>>,
}

/// What gets tickets. The calls of the library share it with the mechanism.
struct Client {
    library: &'static Library,
    login: Login,
    /// For the tickets that a keytab gets.
    memory: TicketMemory,
}

impl Gssapi {
    /// Loads the library, and checks that the keytab can be read. Asks no KDC.
    pub(crate) fn new(login: Login) -> Result<Self, Error> {
        let library = Library::get().map_err(|reason| not_loaded(&reason))?;
        for source in login.sources() {
            if let Source::Keytab { file, .. } = source {
                check_keytab(file).map_err(|fault| {
                    misconfigured(fault)
                        .with_advice("set the option keyTab to the file of the keytab")
                })?;
            }
        }
        let client = Client {
            library,
            login,
            memory: TicketMemory::new(library),
        };
        Ok(Self {
            client: Arc::new(client),
            calls: BlockingCalls::new("kp-kerberos", Overlap::Queued),
        })
    }
}

impl Mechanism for Gssapi {
    fn name(&self) -> &'static str {
        "GSSAPI"
    }

    fn begin(&self, host: &str, deadline: Instant) -> Result<Box<dyn Conversation>, Error> {
        let host = principal_host(host)?;
        let client = Arc::clone(&self.client);
        let started = {
            let host = host.clone();
            self.calls.run(deadline, move || client.start(&host))
        };
        let started = started.map_err(|reason| self.no_result(&host, reason))??;
        let client = Arc::clone(&self.client);
        Ok(Box::new(GssConversation::new(
            started.context,
            started.first,
            started.subject,
            // The broker's key may be a new one, which the kept ticket does not fit.
            Box::new(move || client.memory.forget()),
        )))
    }

    fn close(&self) {
        self.calls.close();
    }
}

impl Gssapi {
    fn no_result(&self, host: &str, reason: NoResult) -> Error {
        let service = &self.client.login.service;
        match reason {
            NoResult::Late | NoResult::EarlierHang => Error::new(
                ErrorKind::Network,
                format!("Kerberos has no ticket for {service}/{host} in time: a KDC does not answer, or answers slowly"),
            )
            .with_advice(
                "check that the KDCs in krb5.conf run and that no firewall blocks their port 88; if they are slow, raise \
                 socket.connection.setup.timeout.ms",
            ),
            NoResult::Closed => Error::new(ErrorKind::Network, "the connection was given up"),
            NoResult::NotStarted(error) => {
                Error::new(ErrorKind::Resource, "the kerberos thread cannot be started").with_source(error)
            }
            NoResult::Panicked => Error::new(ErrorKind::Internal, "a call of Kerberos panicked"),
        }
    }
}

/// Shows what is no secret: the service, the principal and the files.
impl fmt::Debug for Gssapi {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Gssapi")
            .field("login", &self.client.login)
            .finish_non_exhaustive()
    }
}

/// A context with its first step.
struct Started {
    context: SecurityContext,
    first: Step,
    subject: Subject,
}

impl Client {
    /// Gets a ticket for the broker at `host`, and makes the first message of it. May wait for a KDC.
    fn start(&self, host: &str) -> Result<Started, Error> {
        let mut earlier: Option<Error> = None;
        for source in self.login.sources() {
            let mut subject = self.subject(host, source);
            match self.start_with(source, &mut subject) {
                Ok((context, first)) => {
                    return Ok(Started {
                        context,
                        first,
                        subject,
                    });
                }
                Err(error) => {
                    earlier = Some(match earlier {
                        Some(earlier) => error.with_source(earlier),
                        None => error,
                    });
                }
            }
        }
        Err(earlier.unwrap_or_else(|| failed("there is no source of tickets")))
    }

    fn subject(&self, host: &str, source: Source<'_>) -> Subject {
        let tickets = match source {
            Source::Keytab { file, principal } => Tickets::Keytab {
                file: file.display().to_string(),
                principal: principal.to_owned(),
            },
            Source::Cache { name, principal } => Tickets::Cache {
                name: name.map(str::to_owned),
                principal: principal.map(str::to_owned),
            },
        };
        Subject {
            target: format!("{}/{host}", self.login.service),
            host: host.to_owned(),
            tickets,
        }
    }

    fn start_with(
        &self,
        source: Source<'_>,
        subject: &mut Subject,
    ) -> Result<(SecurityContext, Step), Error> {
        if let Source::Keytab { file, .. } = source {
            check_keytab(file)
                .map_err(|fault| failed(fault).with_advice("make the file readable again"))?;
        }
        let fault = |fault, subject: &Subject| subject.error(&fault);
        let host = c_text(&*subject.host).ok_or_else(|| failed("the host has the character 0"))?;
        let realm = self
            .library
            .host_realm(&host)
            .map_err(|error| fault(error, subject))?;
        // With an empty realm, the KDC of the client's realm says where the principal is.
        let principal = format!("{}@{realm}", subject.target);
        if !realm.is_empty() {
            subject.target.clone_from(&principal);
        }
        let is_keytab = matches!(source, Source::Keytab { .. });
        let mut begun = self.begin(source, &principal);
        if is_keytab && begun.as_ref().is_err_and(is_expired) {
            // If a KDC does not answer, the library keeps an expired ticket and reports that one. Without the ticket it reports
            // why there is no new one.
            self.memory.forget();
            begun = self.begin(source, &principal);
        }
        if is_keytab && begun.is_err() {
            self.memory.forget();
        }
        begun.map_err(|error| fault(error, subject))
    }

    /// Makes the first step of a context with the broker's `principal`.
    fn begin(&self, source: Source<'_>, principal: &str) -> Result<(SecurityContext, Step), Fault> {
        let target = self.library.import_principal(principal)?;
        let credentials = self.credentials(source)?;
        // The context needs no credentials after its first step, so the ticket cache is in use in this function only.
        SecurityContext::begin(&credentials, target)
    }

    fn credentials(&self, source: Source<'_>) -> Result<Credentials, Fault> {
        let name = |principal: Option<&str>| -> Result<Option<Name>, Fault> {
            principal
                .map(|principal| self.library.import_principal(principal))
                .transpose()
        };
        match source {
            Source::Keytab { file, principal } => {
                self.memory.clear_if_forgotten();
                let keytab = keytab_name(file);
                let store = [
                    (c"client_keytab", &*keytab),
                    (c"ccache", &*self.memory.name),
                ];
                self.library
                    .acquire(name(Some(principal))?.as_ref(), &store)
            }
            Source::Cache {
                name: cache,
                principal,
            } => {
                let cache = cache.map(cache_name);
                let store = cache.as_deref().map(|cache| (c"ccache", cache));
                self.library
                    .acquire(name(principal)?.as_ref(), store.as_slice())
            }
        }
    }
}

/// The tickets that a keytab got, in a ticket cache of this process. The library renews them with the keytab when half of
/// their time is over.
struct TicketMemory {
    library: &'static Library,
    name: CString,
    /// Whether the tickets are not to be used again.
    is_forgotten: AtomicBool,
}

impl TicketMemory {
    fn new(library: &'static Library) -> Self {
        static COUNT: AtomicU64 = AtomicU64::new(0);
        let number = COUNT.fetch_add(1, Ordering::Relaxed);
        Self {
            library,
            name: c_text(format!("MEMORY:kafka-producer-{number}")).unwrap_or_default(),
            is_forgotten: AtomicBool::new(false),
        }
    }

    /// Makes the next call get new tickets.
    fn forget(&self) {
        self.is_forgotten.store(true, Ordering::Relaxed);
    }

    /// Removes the tickets that [`forget`](Self::forget) meant. Calls run one after the other, so none uses them.
    fn clear_if_forgotten(&self) {
        if self.is_forgotten.swap(false, Ordering::Relaxed) {
            self.destroy();
        }
    }

    fn destroy(&self) {
        // It fails if there is no such cache, or no memory: then there is nothing to do.
        let _ = self.library.destroy_cache(&self.name);
    }
}

impl Drop for TicketMemory {
    fn drop(&mut self) {
        self.destroy();
    }
}

/// Returns the fault of a keytab that cannot be read. The library would only say that it has no key.
fn check_keytab(file: &Path) -> Result<(), String> {
    let shown = printable(&file.display().to_string());
    match secret::open_file(file) {
        Ok(_) => Ok(()),
        Err(FileFault::Unreadable(error)) => {
            let advice = advice_on_path(file, &error).map(|advice| format!("; {advice}"));
            Err(format!(
                "the keytab {shown} cannot be read: {error}{}",
                advice.unwrap_or_default()
            ))
        }
        Err(_) => Err(format!("the keytab {shown} is not a file")),
    }
}

/// Returns the library's name of a keytab file.
fn keytab_name(file: &Path) -> CString {
    use std::os::unix::ffi::OsStrExt;
    let name = [b"FILE:", file.as_os_str().as_bytes()].concat();
    c_text(name).unwrap_or_default()
}

/// Returns the library's name of a ticket cache, which may be a file without its type. The library knows its types in upper case
/// only; Java accepts `file:`, too.
fn cache_name(name: &str) -> CString {
    let is_type =
        |kind: &str| kind.len() > 1 && kind.bytes().all(|byte| byte.is_ascii_alphanumeric());
    let name = match name.split_once(':').filter(|(kind, _)| is_type(kind)) {
        Some((kind, rest)) => format!("{}:{rest}", kind.to_ascii_uppercase()),
        None => format!("FILE:{name}"),
    };
    c_text(name).unwrap_or_default()
}

/// Returns the host as a principal has it: in lower case and without the dot at the end. It comes from the settings or from
/// a broker.
fn principal_host(host: &str) -> Result<String, Error> {
    let host = host.strip_suffix('.').unwrap_or(host).to_ascii_lowercase();
    let is_legal = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.:".contains(&byte);
    match !host.is_empty() && host.len() <= 255 && host.bytes().all(is_legal) {
        true => Ok(host),
        false => Err(failed(format!(
            "the host {} cannot be a part of a Kerberos principal",
            printable(&host)
        ))
        .with_advice("check bootstrap.servers and the broker's advertised.listeners")),
    }
}

#[cfg(test)]
mod tests;
