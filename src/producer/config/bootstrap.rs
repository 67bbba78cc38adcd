//! The addresses of `bootstrap.servers`.

use std::collections::HashSet;

use super::{Shown, hints};

/// One address of a broker. The host is a name or an IP address, without brackets.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct BootstrapAddress {
    pub(crate) host: String,
    pub(crate) port: u16,
}

/// Reads the addresses in their order and drops duplicates. The error is a sentence on the first fault.
pub(super) fn parse(text: &str) -> Result<Vec<BootstrapAddress>, String> {
    let text = text.trim();
    if text.is_empty() {
        return Err("bootstrap.servers is not set: give it host:port of a broker".to_owned());
    }
    if let Some(fault) = fault_of_the_whole(text) {
        return Err(refusal(text, fault));
    }
    let (mut addresses, mut seen) = (Vec::new(), HashSet::new());
    for address in text.split(',').map(str::trim) {
        let parsed = parse_address(address).map_err(|fault| refusal(address, fault))?;
        if seen.insert(parsed.clone()) {
            addresses.push(parsed);
        }
    }
    Ok(addresses)
}

fn refusal(text: &str, fault: &str) -> String {
    // No more quotes around a text that has some.
    let quote = match text.starts_with(['"', '\'']) || text.ends_with(['"', '\'']) {
        true => "",
        false => "\"",
    };
    let text = Shown::address(text);
    format!("bootstrap.servers: {quote}{text}{quote} {fault}")
}

fn fault_of_the_whole(text: &str) -> Option<&'static str> {
    if text.starts_with('[')
        && text.ends_with(']')
        && !text[1..].contains('[')
        && text.contains(',')
    {
        return Some(
            "is in brackets: write addresses with commas between them and nothing around them",
        );
    }
    let pieces = || text.split_whitespace();
    if !text.contains(',') && pieces().count() > 1 && pieces().all(|piece| piece.contains(':')) {
        return Some("has addresses with space between them: separate them with commas");
    }
    hints::fault_of_any_kind(text)
}

fn parse_address(address: &str) -> Result<BootstrapAddress, &'static str> {
    if address.is_empty() {
        return Err("is an empty address: there is a comma too many");
    }
    if let Some(fault) = hints::fault_of_any_kind(address) {
        return Err(fault);
    }
    if address.contains(';') {
        return Err("has a semicolon: separate addresses with commas");
    }
    let address = without_scheme(address)?;
    let (host, port) = match address.strip_prefix('[') {
        Some(rest) => bracketed(rest)?,
        None => address
            .rsplit_once(':')
            .ok_or("has no port: write host:port")?,
    };
    if host.is_empty() {
        return Err("has no host: write host:port");
    }
    if host.contains(':') && !address.starts_with('[') {
        return Err("has more than one colon: write an IPv6 address in brackets, as [::1]:9092");
    }
    if host.contains(|c: char| c.is_whitespace() || c.is_control() || "[]/@,\\".contains(c)) {
        return Err("has a character that no host name has");
    }
    Ok(BootstrapAddress {
        host: host.to_owned(),
        port: parse_port(port)?,
    })
}

/// A broker's `listeners` begin with a security protocol, and people copy addresses from there. A scheme must not be
/// dropped: the client would speak plaintext to a port of another protocol.
fn without_scheme(address: &str) -> Result<&str, &'static str> {
    let Some((scheme, rest)) = address.split_once("://") else {
        return Ok(address);
    };
    match scheme.to_ascii_uppercase().as_str() {
        "PLAINTEXT" => Ok(rest),
        "SSL" => Err("begins with a protocol: write host:port, and set security.protocol=SSL"),
        "SASL_PLAINTEXT" => {
            Err("begins with a protocol: write host:port, and set security.protocol=SASL_PLAINTEXT")
        }
        "SASL_SSL" => {
            Err("begins with a protocol: write host:port, and set security.protocol=SASL_SSL")
        }
        _ => Err("has a scheme that is none of Kafka's: write host:port"),
    }
}

/// Splits `::1]:9092`, the text after the opening bracket, into address and port.
fn bracketed(rest: &str) -> Result<(&str, &str), &'static str> {
    let (host, port) = rest.split_once(']').ok_or("has no closing bracket")?;
    let numeric = host.split('%').next().unwrap_or(host);
    if numeric.parse::<std::net::Ipv6Addr>().is_err() {
        return Err("has no IPv6 address between its brackets");
    }
    Ok((
        host,
        port.strip_prefix(':')
            .ok_or("has no port: write [address]:port")?,
    ))
}

fn parse_port(port: &str) -> Result<u16, &'static str> {
    if port.is_empty() {
        return Err("has no port: write host:port");
    }
    if !port.bytes().all(|digit| digit.is_ascii_digit()) {
        return Err("has a port that is not a number");
    }
    match port.parse() {
        Ok(port) if port > 0 => Ok(port),
        _ => Err("has a port outside 1 to 65535"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn addresses(text: &str) -> Vec<(String, u16)> {
        parse(text)
            .unwrap()
            .into_iter()
            .map(|address| (address.host, address.port))
            .collect()
    }

    #[test]
    fn addresses_keep_their_order_and_duplicates_are_dropped() {
        assert_eq!(
            addresses(" b:2 ,a:1,b:2,b:3"),
            [
                ("b".to_owned(), 2),
                ("a".to_owned(), 1),
                ("b".to_owned(), 3)
            ]
        );
    }

    #[test]
    fn ipv6_stands_in_brackets() {
        assert_eq!(addresses("[::1]:9092"), [("::1".to_owned(), 9092)]);
        assert_eq!(
            addresses("[fe80::1%eth0]:9092"),
            [("fe80::1%eth0".to_owned(), 9092)]
        );
        assert_eq!(
            addresses("127.0.0.1:9092"),
            [("127.0.0.1".to_owned(), 9092)]
        );
    }

    #[test]
    fn the_scheme_plaintext_is_skipped() {
        for address in ["PLAINTEXT://broker:9092", "plaintext://broker:9092"] {
            assert_eq!(addresses(address), [("broker".to_owned(), 9092)]);
        }
    }

    #[test]
    fn a_bad_address_is_refused_by_name() {
        for (text, fault) in [
            ("", "bootstrap.servers is not set"),
            ("  ", "bootstrap.servers is not set"),
            (
                "a:1,",
                "\"\" is an empty address: there is a comma too many",
            ),
            (",a:1", "\"\" is an empty address"),
            ("localhost", "\"localhost\" has no port"),
            ("localhost:", "\"localhost:\" has no port"),
            (":9092", "\":9092\" has no host"),
            ("a:0", "\"a:0\" has a port outside 1 to 65535"),
            ("a:70000", "\"a:70000\" has a port outside 1 to 65535"),
            ("a:99999999999999999999", "has a port outside 1 to 65535"),
            ("a:+1", "\"a:+1\" has a port that is not a number"),
            ("a:-1", "has a port that is not a number"),
            ("::1:9092", "\"::1:9092\" has more than one colon"),
            ("[::1:9092", "has no closing bracket"),
            ("[::1]", "has no port: write [address]:port"),
            (
                "[localhost]:9092",
                "has no IPv6 address between its brackets",
            ),
            ("[]:9092", "has no IPv6 address between its brackets"),
            (
                "a b:9092",
                "\"a b:9092\" has a character that no host name has",
            ),
            ("a:1;b:2", "separate addresses with commas"),
            ("SSL://b:1", "\"SSL://b:1\" begins with a protocol: write"),
            ("SASL_SSL://b:1", "set security.protocol=SASL_SSL"),
            (
                "a:1,sasl_plaintext://b:1",
                "security.protocol=SASL_PLAINTEXT",
            ),
            ("http://b:1", "has a scheme that is none of Kafka's"),
            ("://b:1", "has a scheme that is none of Kafka's"),
            ("PLAINTEXT://", "has no port"),
            ("PLAINTEXT://SSL://b:1", "has more than one colon"),
            ("a:1, ,b:2", "\"\" is an empty address"),
            ("\"a:1,b:2\"", "is in quotes: write it without them"),
            ("'a:1'", "is in quotes"),
            ("\"a:1\",\"b:2\"", "is in quotes"),
            ("a:1,\"b:2\"", "is in quotes"),
            ("a:1,\"b:2\",c:3", ": \"b:2\" is in quotes"),
            ("[\"a:1\",\"b:2\"]", "is in brackets"),
            ("[a:1, b:2]", "is in brackets"),
            ("a:1 b:2", "separate them with commas"),
            ("${env:BS}", "\"${env:BS}\" has a placeholder in it"),
            ("broker:${PORT}", "has a placeholder in it"),
            ("a:1,{{ BROKER }}:9092", "has a placeholder in it"),
            ("user:hunter2@b:9092", "\"...\" has"),
            ("a:1some.name=hunter2", "\"a:1some.name...\" has"),
        ] {
            let error = parse(text).expect_err(text);
            assert!(error.contains(fault), "{text}: {error}");
        }
    }

    /// Comparing each address with all others took more than a minute.
    #[test]
    fn a_very_long_list_is_read_soon() {
        let text: Vec<_> = (0..100_000).map(|n| format!("a{n}:1")).collect();
        let start = std::time::Instant::now();
        assert_eq!(addresses(&text.join(",")).len(), 100_000);
        assert!(start.elapsed() < std::time::Duration::from_secs(20));
    }
}
