//! The names of a producer's threads.

/// Returns the name of the thread with this role. The role comes before the client id, because Linux shows only the first 15
/// bytes of a name: `kp-sender-0`, `kp-link-0` and `kp-writer-0` differ there.
pub(crate) fn thread_name(role: &str, client_id: &str) -> String {
    // The system ends a name at a NUL, and the standard library panics if a name has one.
    format!("kp-{role} {client_id}").replace('\0', "")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_threads_of_a_worker_differ_in_the_bytes_that_linux_shows() {
        let shown = |role| thread_name(role, "client\0-id")[..15].to_owned();
        let names = ["sender-10", "link-10", "writer-10"].map(shown);
        assert_eq!(
            names,
            ["kp-sender-10 cl", "kp-link-10 clie", "kp-writer-10 cl"]
        );
    }
}
