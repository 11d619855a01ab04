//! Origins: what may be listed, and what it admits. Pure.
//!
//! One parser reads both sides, the setting and the header, and it reads only what browsers write: lower-case, without
//! user, path, query, trailing dot or characters beyond ASCII. What it cannot read is admitted nowhere, and parts are
//! compared whole, so that nothing depends on where a text begins or ends.

use std::net::{Ipv4Addr, Ipv6Addr};

/// A listed origin: `scheme://host[:port]`, or the pattern `scheme://*.registrable.domain[:port]`, which admits every
/// host with exactly one label more, as a certificate for that name would.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Listed {
    origin: Origin,
    /// Whether the host is what follows the first label.
    wildcard: bool,
}

#[derive(Debug, Clone, PartialEq, Eq)]
struct Origin {
    scheme: String,
    host: Host,
    /// None if it is the scheme's own.
    port: Option<u16>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Host {
    Name(String),
    V4(Ipv4Addr),
    V6(Ipv6Addr),
}

const SHAPE: &str = "must be scheme://host or scheme://host:port, without a path or a slash at its end";
/// Below a country's domain these are registries: `co.uk`.
const REGISTRIES: [&str; 9] = ["ac", "co", "com", "edu", "go", "gov", "ne", "net", "org"];

impl Listed {
    /// Reads an entry of the list.
    ///
    /// # Errors
    /// Why it cannot be listed.
    pub fn parse(text: &str) -> Result<Self, String> {
        match text {
            "null" => {
                return Err("is sent by sandboxed frames and local files, whoever wrote them: never listed".into());
            }
            "*" => return Err("stands alone or not at all".into()),
            _ => {}
        }
        let Some((scheme, rest)) = text.split_once("://") else { return Err(SHAPE.into()) };
        let Some(rest) = rest.strip_prefix("*.") else {
            return Ok(Self { origin: Origin::parse(text)?, wildcard: false });
        };
        let origin = Origin::parse(&format!("{scheme}://{rest}"))?;
        match &origin.host {
            Host::Name(name) if is_registrable(name) => Ok(Self { origin, wildcard: true }),
            _ => Err("must name a domain that can be registered after `*.`, such as *.example.com".into()),
        }
    }

    /// Whether a request with this `Origin` is of it.
    pub fn admits(&self, sent: &str) -> bool {
        let Ok(mut sent) = Origin::parse(sent) else { return false };
        if self.wildcard {
            let Host::Name(name) = &sent.host else { return false };
            let Some((_, above)) = name.split_once('.') else { return false };
            sent.host = Host::Name(above.to_owned());
        }
        self.origin == sent
    }

    /// Whether its pages travel readable and changeable over a network.
    pub fn is_insecure(&self) -> bool {
        let local = match &self.origin.host {
            Host::Name(name) => name == "localhost" || name.ends_with(".localhost"),
            Host::V4(address) => address.is_loopback(),
            Host::V6(address) => address.is_loopback(),
        };
        self.origin.scheme == "http" && !local
    }
}

/// Whether two texts name one origin. What is none equals nothing.
pub fn is_same(one: &str, other: &str) -> bool {
    Origin::parse(one).is_ok_and(|one| Origin::parse(other) == Ok(one))
}

impl Origin {
    fn parse(text: &str) -> Result<Self, String> {
        if !text.is_ascii() {
            return Err("must be spelled as browsers send it: other alphabets in punycode (xn--…)".into());
        }
        if text.bytes().any(|byte| byte.is_ascii_uppercase()) {
            return Err(format!("must be lower-case, as browsers send it: {}", text.to_ascii_lowercase()));
        }
        let (scheme, authority) = text.split_once("://").ok_or(SHAPE)?;
        let scheme_byte = |byte: u8| byte.is_ascii_alphanumeric() || b"+-.".contains(&byte);
        if !scheme.starts_with(|c: char| c.is_ascii_alphabetic()) || !scheme.bytes().all(scheme_byte) {
            return Err(SHAPE.into());
        }
        let (host, port) = parts(authority)?;
        let own = match scheme {
            "http" => Some(80),
            "https" => Some(443),
            _ => None,
        };
        let port = port.map(read_port).transpose()?.filter(|port| Some(*port) != own);
        Ok(Self { scheme: scheme.to_owned(), host: Host::parse(host)?, port })
    }
}

/// Host and port; an IPv6 address has colons of its own.
fn parts(authority: &str) -> Result<(&str, Option<&str>), String> {
    let end = if authority.starts_with('[') { authority.find(']').ok_or(SHAPE)? + 1 } else { 0 };
    match authority[end..].find(':') {
        Some(colon) => Ok((&authority[..end + colon], Some(&authority[end + colon + 1..]))),
        None => Ok((authority, None)),
    }
}

fn read_port(text: &str) -> Result<u16, String> {
    let plain = text.bytes().all(|byte| byte.is_ascii_digit()) && !text.starts_with('0');
    text.parse().ok().filter(|_| plain).ok_or_else(|| "must have a port from 1 to 65535, or none".into())
}

impl Host {
    fn parse(text: &str) -> Result<Self, String> {
        if let Some(address) = text.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')) {
            return address.parse().map(Self::V6).map_err(|_| "must have an IPv6 address between the brackets".into());
        }
        let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-_".contains(&byte);
        let label = |label: &str| (1..=63).contains(&label.len()) && label.bytes().all(plain);
        if text.is_empty() || text.len() > 253 || !text.split('.').all(label) {
            return Err(SHAPE.into());
        }
        // Browsers read a name whose last label is a number as an address.
        let last = text.rsplit('.').next().unwrap_or_default();
        if last.bytes().all(|byte| byte.is_ascii_digit()) {
            return text.parse().map(Self::V4).map_err(|_| "must have four numbers as an IPv4 address".into());
        }
        Ok(Self::Name(text.to_owned()))
    }
}

/// As far as it shows without the list of public suffixes: two labels, and not a country's registry.
fn is_registrable(name: &str) -> bool {
    match name.split('.').collect::<Vec<_>>().as_slice() {
        [] | [_] => false,
        [second, top] => top.len() != 2 || !REGISTRIES.contains(second),
        _ => true,
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn admits(listed: &str, sent: &str) -> bool {
        Listed::parse(listed).expect("can be listed").admits(sent)
    }

    #[test]
    fn what_a_listed_origin_admits() {
        for (listed, sent) in [
            ("https://example.com", "https://example.com"),
            ("https://example.com:443", "https://example.com"),
            ("https://example.com", "https://example.com:443"),
            ("http://localhost:80", "http://localhost"),
            ("http://localhost:3000", "http://localhost:3000"),
            ("http://127.0.0.1:8080", "http://127.0.0.1:8080"),
            ("http://[::1]:8080", "http://[::1]:8080"),
            ("https://[2001:db8::1]", "https://[2001:db8::1]"),
            ("https://xn--bcher-kva.example", "https://xn--bcher-kva.example"),
            ("capacitor://localhost", "capacitor://localhost"),
            ("https://*.example.com", "https://a.example.com"),
            ("https://*.example.com", "https://xn--bcher-kva.example.com"),
            ("https://*.example.com:8443", "https://a.example.com:8443"),
            ("https://*.eu.example.com", "https://a.eu.example.com"),
        ] {
            assert!(admits(listed, sent), "{listed} {sent}");
        }
    }

    #[test]
    fn what_it_does_not() {
        let exact = "https://example.com";
        for sent in [
            "http://example.com",
            "https://example.com:8443",
            "https://example.com:80",
            "https://example.com:0443",
            "https://example.com:",
            "https://a.example.com",
            "https://example.com.evil.org",
            "https://example.comevil.org",
            "https://evilexample.com",
            "https://example.com@evil.org",
            "https://user@example.com",
            "https://example.com.",
            "https://example.com/",
            "https://example.com?",
            "https://example.com#",
            "https://example.com\\",
            "https://example.com%2eevil.org",
            "https://example.com https://example.com",
            "https://example.com,https://evil.org",
            " https://example.com",
            "https://Example.com",
            "HTTPS://example.com",
            "https://еxample.com",
            "https://xn--xample-2of.com",
            "https:example.com",
            "//example.com",
            "example.com",
            "null",
            "*",
            "",
        ] {
            assert!(!admits(exact, sent), "{sent}");
        }
        let pattern = "https://*.example.com";
        for sent in [
            "https://example.com",
            "https://evilexample.com",
            "https://.example.com",
            "https://*.example.com",
            "https://a.b.example.com",
            "https://a.example.com.evil.org",
            "https://a.example.com:8443",
            "http://a.example.com",
            "https://a.example.org",
            "https://A.example.com",
            "https://a.example.com.",
            "https://evil.org#.example.com",
            "https://evil.org/.example.com",
            "https://evil@a.example.com",
        ] {
            assert!(!admits(pattern, sent), "{sent}");
        }
        assert!(!admits("http://[::1]", "http://[::2]") && !admits("http://[::1]", "http://[::1]:8080"));
        assert!(
            !admits("http://127.0.0.1", "http://127.0.0.1.evil.org") && !admits("http://127.0.0.1", "http://127.1")
        );
    }

    #[test]
    fn what_cannot_be_listed() {
        for text in [
            "",
            "*",
            "null",
            "example.com",
            "https://",
            "https://Example.com",
            "https://example.com/",
            "https://example.com/path",
            "https://example.com.",
            "https://user@example.com",
            "https://bücher.example",
            "https://example.com:0",
            "https://example.com:65536",
            "https://example.com:+80",
            "https://1.2.3",
            "https://[::1",
            "https://[::g]",
            "https://[::1]x",
            "*://example.com",
            "https://*",
            "https://*:443",
            "https://*.com",
            "https://*.co.uk",
            "https://*.localhost",
            "https://*.10.0.0.1",
            "https://*example.com",
            "https://a.*.example.com",
            "https://*.*.example.com",
            "https://*.example.*",
            "https://example.com:*",
        ] {
            assert!(Listed::parse(text).is_err(), "{text}");
        }
    }

    #[test]
    fn what_is_insecure() {
        for (text, insecure) in [
            ("http://example.com", true),
            ("http://*.example.com", true),
            ("http://localhost.example.com", true),
            ("http://10.0.0.1", true),
            ("https://example.com", false),
            ("http://localhost:3000", false),
            ("http://app.localhost", false),
            ("http://127.0.0.2", false),
            ("http://[::1]:3000", false),
        ] {
            assert_eq!(Listed::parse(text).expect("can be listed").is_insecure(), insecure, "{text}");
        }
    }

    fn host() -> impl Strategy<Value = String> {
        "[a-z0-9]([a-z0-9-]{0,8}[a-z0-9])?(\\.[a-z]{2,8}){0,3}".prop_filter("a name", |name| {
            !name.rsplit('.').next().is_some_and(|last| last.bytes().all(|byte| byte.is_ascii_digit()))
        })
    }

    fn origin() -> impl Strategy<Value = (String, String, u16)> {
        (prop_oneof![Just("http".to_owned()), Just("https".to_owned())], host(), 1_u16..)
    }

    proptest! {
        #[test]
        fn nothing_panics(listed in "(https?://)?(\\*\\.)?[a-z.:\\[\\]*@0-9/ é]{0,20}|.*", sent in ".*") {
            if let Ok(listed) = Listed::parse(&listed) {
                let _ = (listed.admits(&sent), listed.is_insecure());
            }
        }

        #[test]
        fn a_listed_origin_admits_itself((scheme, host, port) in origin()) {
            for text in [format!("{scheme}://{host}"), format!("{scheme}://{host}:{port}")] {
                prop_assert!(admits(&text, &text));
            }
        }

        #[test]
        fn whatever_can_be_listed_exactly_admits_itself(text in "https?://[a-z0-9.:\\[\\]_-]{1,20}") {
            if let Ok(listed) = Listed::parse(&text) {
                prop_assert!(listed.admits(&text));
            }
        }

        #[test]
        fn any_change_is_another_origin((scheme, host, port) in origin(), (other_scheme, other_host, other_port) in origin()) {
            let listed = Listed::parse(&format!("{scheme}://{host}:{port}")).expect("can be listed");
            for (sent, same) in [
                (format!("{other_scheme}://{host}:{port}"), other_scheme == scheme),
                (format!("{scheme}://{other_host}:{port}"), other_host == host),
                (format!("{scheme}://{host}:{other_port}"), other_port == port),
            ] {
                prop_assert_eq!(listed.admits(&sent), same, "{}", sent);
            }
        }

        #[test]
        fn text_around_it_is_another_origin((scheme, host, _) in origin(), more in "[a-z.@:/-]{1,8}") {
            let listed = Listed::parse(&format!("{scheme}://{host}")).expect("can be listed");
            let (behind, before) = (format!("{scheme}://{host}{more}"), format!("{scheme}://{more}{host}"));
            prop_assert!(!listed.admits(&behind) && !listed.admits(&before));
        }

        #[test]
        fn a_pattern_ends_at_a_dot(label in "[a-z0-9-]{1,10}", more in "[a-z0-9.-]{1,10}") {
            let pattern = Listed::parse("https://*.example.com").expect("can be listed");
            let below = format!("https://{label}.example.com");
            prop_assert!(pattern.admits(&below));
            let dotted = more.strip_suffix('.').is_some_and(|label| !label.is_empty() && !label.contains('.'));
            prop_assert_eq!(pattern.admits(&format!("https://{more}example.com")), dotted);
        }
    }
}
