//! The null broker of the benchmarks as a program. It ends with its standard input.
//!
//! `null-broker --null-broker PARTITIONS count|verify`

#[path = "../../../support/mod.rs"]
mod support;

fn main() {
    support::null_broker::run_if_asked();
    eprintln!("null-broker --null-broker PARTITIONS count|verify");
    std::process::exit(2);
}
