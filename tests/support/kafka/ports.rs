//! Ports for brokers on 127.0.0.1.

use std::collections::HashSet;
use std::fs;
use std::hash::{BuildHasher, RandomState};
use std::net::{Ipv4Addr, TcpListener};
use std::sync::{LazyLock, Mutex, PoisonError};

/// Ports on which no program listens and that this process has not used before.
///
/// They lie outside the range from which the kernel takes the local ports of outgoing connections: a broker that is
/// down for a while must find its port free when it returns. Another process may still take one before the broker
/// does, so a cluster that cannot bind is started again on other ports.
pub(crate) fn free_ports(count: usize) -> Vec<u16> {
    let mut given = GIVEN.lock().unwrap_or_else(PoisonError::into_inner);
    let (low, high) = candidate_range();
    let span = u64::from(high - low);
    let start = RandomState::new().hash_one(std::process::id()) % span;
    let candidates = (0..span).map(|step| low + ((start + step) % span) as u16);
    let ports: Vec<u16> = candidates
        .filter(|port| !given.contains(port) && is_free(*port))
        .take(count)
        .collect();
    assert_eq!(
        ports.len(),
        count,
        "no {count} free ports between {low} and {high}"
    );
    given.extend(&ports);
    ports
}

static GIVEN: LazyLock<Mutex<HashSet<u16>>> = LazyLock::new(Mutex::default);

fn is_free(port: u16) -> bool {
    TcpListener::bind((Ipv4Addr::LOCALHOST, port)).is_ok()
}

/// Below the kernel's ephemeral range, or above it where it starts low.
fn candidate_range() -> (u16, u16) {
    let (low, high) = ephemeral_range().unwrap_or((32768, 60999));
    if low > 12_000 {
        (10_000, low)
    } else {
        (high.min(64_000), u16::MAX)
    }
}

fn ephemeral_range() -> Option<(u16, u16)> {
    let text = fs::read_to_string("/proc/sys/net/ipv4/ip_local_port_range").ok()?;
    let mut bounds = text.split_whitespace().map(str::parse);
    Some((bounds.next()?.ok()?, bounds.next()?.ok()?))
}
