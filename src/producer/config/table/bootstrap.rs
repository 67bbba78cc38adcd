//! How the producer finds the cluster, and what the cluster calls it.

macro_rules! bootstrap {
    ($($before:tt)*) => {
        $crate::producer::config::table::next_group! {
            $($before)*

            /// Addresses of a few brokers, from which the producer learns all others: `host:port,host:port`, IPv6 addresses
            /// in brackets. Required. Duplicates are dropped. `build` resolves the names (to resolve them in the
            /// background, see `bootstrap.resolve.timeout.ms`). Each new connection resolves its name again.
            "bootstrap.servers", bootstrap_servers(impl Into<String>): String = addresses(),
                default "", range "host:port, separated by commas";

            /// 0: `build` resolves the names of `bootstrap.servers`, and fails if none resolves. If the name server does
            /// not answer for 5 s, `build` succeeds, and each new connection resolves its name. More than 0: `build`
            /// returns at once, and a thread resolves the names. If none resolves within this time, calls that need the
            /// cluster fail at once, and the thread keeps trying until a name resolves.
            "bootstrap.resolve.timeout.ms", bootstrap_resolve_timeout(Duration): Duration = millis(0, i64::MAX),
                default "0", range "0 or more";

            /// The name by which brokers know this client in their logs and quotas. Empty: `producer-` and a number.
            "client.id", client_id(impl Into<String>): String = text(),
                default "", range "up to 32767 bytes";

            /// What the producer does if a broker's name has several addresses: it tries all, one after the other.
            "client.dns.lookup", client_dns_lookup(ClientDnsLookup): ClientDnsLookup = choice(),
                default "use_all_dns_ips", range "use_all_dns_ips";
        }
    };
}

pub(crate) use bootstrap;
