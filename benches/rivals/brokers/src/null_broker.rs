//! The null broker of the benchmarks as a program. It ends with its standard input.
//!
//! `null-broker --null-broker PARTITIONS count|verify`
//!
//! If the variable RIVALS_TLS_FOLDER names a folder, the broker speaks TLS, and writes the certificate of its authority to
//! `ca.pem` in this folder.

#[path = "../../../support/mod.rs"]
mod support;
mod tls;

use std::path::Path;
use std::sync::Arc;

use support::null_broker::{run_if_asked, run_with_if_asked};
use tls::TlsStream;

fn main() {
    match std::env::var_os("RIVALS_TLS_FOLDER") {
        Some(folder) => {
            let config = tls::server_config(Path::new(&folder)).expect("TLS can be set up");
            let config = Arc::new(config);
            run_with_if_asked(move |socket| TlsStream::accept(socket, &config).ok());
        }
        None => run_if_asked(),
    }
    eprintln!("null-broker --null-broker PARTITIONS count|verify");
    std::process::exit(2);
}
