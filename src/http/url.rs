//! The URL of a server.

use std::fmt;

/// A longer URL is refused.
const MOST_BYTES: usize = 8 << 10;

/// An `http` or `https` URL. `Display` and `Debug` leave out the query, which may hold a secret.
#[derive(Clone, PartialEq, Eq)]
pub(crate) struct Url {
    is_https: bool,
    /// A name or an address, without the brackets of IPv6.
    host: String,
    port: u16,
    path: String,
    /// With its question mark.
    query: String,
}

impl Url {
    /// Reads a URL. An error is a phrase that follows the name of a setting and repeats nothing of the text.
    pub(crate) fn parse(text: &str) -> Result<Self, &'static str> {
        let text = text.trim();
        if text.len() > MOST_BYTES {
            return Err("is too long for a URL");
        }
        if !text.bytes().all(|byte| (0x21..=0x7e).contains(&byte)) {
            return Err(
                "has a character that no URL can have: write others than printable ASCII as %XX, and the host in its \
                 form that begins with xn--",
            );
        }
        let (is_https, rest) = match text.split_once("://") {
            Some((scheme, rest)) if scheme.eq_ignore_ascii_case("https") => (true, rest),
            Some((scheme, rest)) if scheme.eq_ignore_ascii_case("http") => (false, rest),
            _ => return Err("does not begin with https:// or http://"),
        };
        let rest = rest.split('#').next().unwrap_or(rest);
        let (authority, target) = rest.split_at(rest.find(['/', '?']).unwrap_or(rest.len()));
        if authority.contains('@') {
            return Err("has a user name before its host, which is not supported: remove it");
        }
        let (host, port) = host_and_port(authority)?;
        let (path, query) = target.split_at(target.find('?').unwrap_or(target.len()));
        Ok(Self {
            is_https,
            host: host.to_owned(),
            port: port.unwrap_or(if is_https { 443 } else { 80 }),
            path: if path.is_empty() { "/" } else { path }.to_owned(),
            query: query.to_owned(),
        })
    }

    pub(crate) fn is_https(&self) -> bool {
        self.is_https
    }

    pub(crate) fn host(&self) -> &str {
        &self.host
    }

    pub(crate) fn port(&self) -> u16 {
        self.port
    }

    /// Returns the value of the header `Host`.
    pub(crate) fn authority(&self) -> String {
        let is_usual = self.port == if self.is_https { 443 } else { 80 };
        let port = if is_usual {
            String::new()
        } else {
            format!(":{}", self.port)
        };
        match self.host.contains(':') {
            true => format!("[{}]{port}", self.host),
            false => format!("{}{port}", self.host),
        }
    }

    /// Returns the path and the query.
    pub(crate) fn target(&self) -> String {
        format!("{}{}", self.path, self.query)
    }
}

fn host_and_port(authority: &str) -> Result<(&str, Option<u16>), &'static str> {
    let (host, port) = match authority.strip_prefix('[') {
        Some(rest) => rest
            .split_once(']')
            .filter(|(host, _)| host.parse::<std::net::Ipv6Addr>().is_ok())
            .ok_or("has an IPv6 address that is none")?,
        None => authority.split_at(authority.find(':').unwrap_or(authority.len())),
    };
    let is_part = |byte: u8| byte.is_ascii_alphanumeric() || b".-_:".contains(&byte);
    if host.is_empty() || !host.bytes().all(is_part) {
        return Err("has no host name or address");
    }
    let port = match port.strip_prefix(':') {
        // An empty port is the usual one (RFC 3986, 3.2.3).
        Some("") => None,
        Some(digits) if digits.bytes().all(|byte| byte.is_ascii_digit()) => {
            let port = digits.parse().ok().filter(|port: &u16| *port > 0);
            Some(port.ok_or("has a port that is none")?)
        }
        None if port.is_empty() => None,
        _ => return Err("has a port that is none"),
    };
    Ok((host, port))
}

impl fmt::Display for Url {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let scheme = if self.is_https { "https" } else { "http" };
        write!(f, "{scheme}://{}{}", self.authority(), self.path)
    }
}

impl fmt::Debug for Url {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Url({self})")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn host_port_path_and_query_are_told_apart() {
        for (text, host, port, authority, target) in [
            (
                "https://a.example.com",
                "a.example.com",
                443,
                "a.example.com",
                "/",
            ),
            ("HTTP://a/token", "a", 80, "a", "/token"),
            ("http://a:8080/t/u?x=/y#z", "a", 8080, "a:8080", "/t/u?x=/y"),
            ("https://[::1]:443?q", "::1", 443, "[::1]", "/?q"),
            (
                " http://169.254.169.254/ ",
                "169.254.169.254",
                80,
                "169.254.169.254",
                "/",
            ),
            ("https://a:80/", "a", 80, "a:80", "/"),
            ("https://a:/b", "a", 443, "a", "/b"),
        ] {
            let url = Url::parse(text).unwrap();
            assert_eq!((url.host(), url.port()), (host, port), "{text}");
            assert_eq!(
                (&*url.authority(), &*url.target()),
                (authority, target),
                "{text}"
            );
        }
        let url = Url::parse("https://a/t?secret").unwrap();
        assert_eq!(format!("{url} {url:?}"), "https://a/t Url(https://a/t)");
    }

    #[test]
    fn what_is_no_url_is_refused_with_a_phrase() {
        for (text, phrase) in [
            ("", "does not begin with"),
            ("ftp://a", "does not begin with"),
            ("a/token", "does not begin with"),
            ("https://", "no host"),
            ("https:///token", "no host"),
            ("https://a b/", "a character"),
            ("https://a\r\nX: y/", "a character"),
            ("https://\u{e4}.de/", "a character"),
            ("https://u:hunter2@a/", "a user name"),
            ("https://a:x/", "a port"),
            ("https://a:0/", "a port"),
            ("https://a:65536/", "a port"),
            ("https://a:+1/", "a port"),
            ("https://[::1/", "an IPv6"),
            ("https://[::1]x/", "a port"),
            ("https://a%41/", "no host"),
        ] {
            let fault = Url::parse(text).unwrap_err();
            assert!(fault.contains(phrase), "{text}: {fault}");
        }
        assert!(Url::parse(&format!("http://a/{}", "x".repeat(9000))).is_err());
    }
}
