//! Names into addresses.

use std::io;
use std::net::{SocketAddr, ToSocketAddrs};

/// The addresses of `host` as the system tells them now; each with `port`. Blocks for as long as the system likes.
pub(super) fn look_up(host: &str, port: u16) -> io::Result<Vec<SocketAddr>> {
    #[cfg(feature = "unstable-internals")]
    if let Some(addresses) = names::known(host) {
        let with_port = |address| SocketAddr::new(address, port);
        return Ok(addresses.into_iter().map(with_port).collect());
    }
    Ok((host, port).to_socket_addrs()?.collect())
}

/// Names that tests give out, as no test can change what a name server says.
#[cfg(feature = "unstable-internals")]
pub(crate) mod names {
    use std::collections::HashMap;
    use std::net::IpAddr;

    use crate::sync::Mutex;

    static NAMES: Mutex<Option<HashMap<String, Vec<IpAddr>>>> = Mutex::new(None);

    /// From now on `host` has these addresses, in the whole process.
    pub(crate) fn set(host: &str, addresses: &[IpAddr]) {
        let mut names = NAMES.lock();
        let names = names.get_or_insert_default();
        names.insert(host.to_owned(), addresses.to_vec());
    }

    pub(super) fn known(host: &str) -> Option<Vec<IpAddr>> {
        NAMES.lock().as_ref()?.get(host).cloned()
    }
}
