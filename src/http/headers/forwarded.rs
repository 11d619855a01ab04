//! What proxies say of those before them: the elements of `Forwarded` (RFC 7239), and the values of the older
//! `X-Forwarded-For`, `-Proto` and `-Host`.
//!
//! A line is taken apart from its right end. What a proxy adds stands there, and nothing that a client has put before it,
//! such as a quote that is never closed, may change how it is read.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use super::disposition::Parameters;

/// Longest name of a host (RFC 1035 §2.3.4), in bytes.
const MAX_HOST: usize = 255;

/// What one proxy says of the request as it received it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Hop {
    /// Who sent it.
    pub from: Option<IpAddr>,
    /// By `http` or `https`.
    pub scheme: Option<&'static str>,
    /// To which authority.
    pub host: Option<String>,
}

impl Hop {
    /// Of an element of `Forwarded`. What is ill-formed says nothing.
    pub fn parse(element: &str) -> Self {
        let pairs = Parameters::parse(element);
        let get = |name| pairs.as_ref().and_then(|pairs| pairs.get(name));
        Self {
            from: get("for").and_then(node),
            scheme: get("proto").and_then(scheme),
            host: get("host").and_then(authority),
        }
    }
}

/// The elements of a line, the last one first; commas in quotes part nothing.
pub fn from_the_right(line: &str) -> impl Iterator<Item = &str> {
    let mut rest = Some(line);
    std::iter::from_fn(move || {
        let line = rest?;
        let comma = last_comma(line);
        rest = comma.map(|at| &line[..at]);
        Some(comma.map_or(line, |at| &line[at + 1..]))
    })
}

fn last_comma(line: &str) -> Option<usize> {
    let mut quoted = false;
    for (at, byte) in line.bytes().enumerate().rev() {
        match byte {
            b'"' if !is_escaped(&line.as_bytes()[..at]) => quoted = !quoted,
            b',' if !quoted => return Some(at),
            _ => {}
        }
    }
    None
}

fn is_escaped(before: &[u8]) -> bool {
    before.iter().rev().take_while(|byte| **byte == b'\\').count() % 2 == 1
}

/// The address of a node (RFC 7239 §6), whatever port is said. `unknown` has none, nor has a name that hides one.
pub fn node(text: &str) -> Option<IpAddr> {
    let text = trimmed(text);
    // IPv6 stands without brackets in X-Forwarded-For.
    let address = text.parse().ok().or_else(|| before_port(text));
    address.map(|address: IpAddr| address.to_canonical())
}

fn before_port(text: &str) -> Option<IpAddr> {
    let (host, _) = parted(text).filter(|(_, port)| port.is_none_or(is_port))?;
    match host.strip_prefix('[').and_then(|host| host.strip_suffix(']')) {
        Some(host) => host.parse::<Ipv6Addr>().ok().map(IpAddr::from),
        None => host.parse::<Ipv4Addr>().ok().map(IpAddr::from),
    }
}

/// Digits, or a name that hides them (RFC 7239 §6.3).
fn is_port(text: &str) -> bool {
    match text.strip_prefix('_') {
        Some(hidden) => !hidden.is_empty() && hidden.bytes().all(|byte| is_plain(byte) || byte == b'_'),
        None => text.parse::<u16>().is_ok() && !text.starts_with('+'),
    }
}

/// `http` or `https`; nobody speaks anything else here.
pub fn scheme(text: &str) -> Option<&'static str> {
    ["http", "https"].into_iter().find(|known| trimmed(text).eq_ignore_ascii_case(known))
}

/// A host, with its port if one is said, as it can stand in a URL: clients are told it.
pub fn authority(text: &str) -> Option<String> {
    let text = trimmed(text);
    let (host, port) = parted(text)?;
    let is_host = match host.strip_prefix('[').and_then(|host| host.strip_suffix(']')) {
        Some(address) => address.parse::<Ipv6Addr>().is_ok(),
        None => is_name(host),
    };
    let is_number = port.is_none_or(|port| !port.starts_with('_') && is_port(port));
    (is_host && is_number).then(|| text.to_owned())
}

/// With the underscores of container networks.
fn is_name(host: &str) -> bool {
    (1..=MAX_HOST).contains(&host.len())
        && host.bytes().all(|byte| is_plain(byte) || byte == b'_')
        && host.bytes().any(|byte| byte.is_ascii_alphanumeric())
}

fn is_plain(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || byte == b'.' || byte == b'-'
}

/// Host, with its brackets, and port.
fn parted(text: &str) -> Option<(&str, Option<&str>)> {
    let end = if text.starts_with('[') { text.find(']')? + 1 } else { text.find(':').unwrap_or(text.len()) };
    match text.split_at(end) {
        (host, "") => Some((host, None)),
        (host, port) => Some((host, Some(port.strip_prefix(':')?))),
    }
}

fn trimmed(text: &str) -> &str {
    text.trim_matches([' ', '\t'])
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn nodes() {
        for (text, address) in [
            ("192.0.2.60", Some("192.0.2.60")),
            (" 192.0.2.60\t", Some("192.0.2.60")),
            ("192.0.2.60:4711", Some("192.0.2.60")),
            ("192.0.2.60:_hidden", Some("192.0.2.60")),
            ("2001:db8::17", Some("2001:db8::17")),
            ("[2001:db8::17]", Some("2001:db8::17")),
            ("[2001:db8::17]:80", Some("2001:db8::17")),
            ("::ffff:192.0.2.60", Some("192.0.2.60")),
            ("[::ffff:192.0.2.60]:80", Some("192.0.2.60")),
            ("unknown", None),
            ("_hidden", None),
            ("", None),
            ("192.0.2.60:", None),
            ("192.0.2.60:65536", None),
            ("192.0.2.60:+80", None),
            ("192.0.2.60:80:80", None),
            ("192.0.2.060", None),
            ("192.0.2", None),
            ("[192.0.2.60]", None),
            ("[2001:db8::17", None),
            ("[2001:db8::17]80", None),
            ("fe80::1%eth0", None),
            ("\"192.0.2.60\"", None),
            ("up.example", None),
        ] {
            assert_eq!(node(text), address.map(|address| address.parse().expect("an address")), "{text}");
        }
    }

    #[test]
    fn authorities() {
        for text in ["up.example", "UP.example:8080", "a_b", "127.0.0.1:1", "[::1]", "[2001:db8::1]:443"] {
            assert_eq!(authority(text).as_deref(), Some(text));
        }
        let long = "a".repeat(256);
        for text in [
            "", ":80", "a:", "a:b", "a:70000", "a:_b", "a b", "a/b", "a@b", "a\"b", "a?b", "a#b", "a%41", "é", "[::1",
            "[a]", "..", "a,b", "<a>", "a\\b", &long,
        ] {
            assert_eq!(authority(text), None, "{text}");
        }
    }

    #[test]
    fn elements() {
        let from = |text: &str| Some(text.parse().expect("an address"));
        for (element, hop) in [
            ("for=192.0.2.60", Hop { from: from("192.0.2.60"), ..Hop::default() }),
            (
                " For=\"[2001:db8::17]:4711\";Proto=HTTPS;host=\"up.example:8443\";by=203.0.113.43",
                Hop { from: from("2001:db8::17"), scheme: Some("https"), host: Some("up.example:8443".into()) },
            ),
            ("proto=http;for=_hidden", Hop { scheme: Some("http"), ..Hop::default() }),
            ("for=unknown;host=up.example", Hop { host: Some("up.example".into()), ..Hop::default() }),
            ("for=192.0.2.60;proto=ftp;host=\"a/b\"", Hop { from: from("192.0.2.60"), ..Hop::default() }),
            ("for=192.0.2.60;for=192.0.2.61;proto=https", Hop::default()),
            ("for=\"192.0.2.60", Hop::default()),
            ("for", Hop::default()),
            ("", Hop::default()),
        ] {
            assert_eq!(Hop::parse(element), hop, "{element}");
        }
    }

    #[test]
    fn from_right_to_left() {
        for (line, elements) in [
            ("a", &["a"][..]),
            ("a, b,c", &["c", " b", "a"]),
            ("for=\"x,y\",for=b", &["for=b", "for=\"x,y\""]),
            ("for=\", for=b", &[" for=b", "for=\""]),
            ("for=\"a\\\",b\",for=\"\\\\\"", &["for=\"\\\\\"", "for=\"a\\\",b\""]),
            (",", &["", ""]),
            ("", &[""]),
        ] {
            assert_eq!(from_the_right(line).collect::<Vec<_>>(), elements, "{line}");
        }
    }

    proptest! {
        /// Whatever a client sends before it, what the proxy adds is read as it stands.
        #[test]
        fn nothing_before_it_changes_what_a_proxy_adds(before in "([a-z]{0,3}=?\"?[,;=\\\\\"' %é]{0,4}){0,8}|\\PC{0,60}") {
            let own = "for=\"[2001:db8::17]:80\";proto=https;host=up.example";
            let line = format!("{before}, {own}");
            let mut elements = from_the_right(&line);
            prop_assert_eq!(elements.next().map(Hop::parse), Some(Hop::parse(own)));
            prop_assert_eq!(from_the_right(&line).map(str::len).sum::<usize>() + from_the_right(&line).count(), line.len() + 1);
        }

        #[test]
        fn what_is_told_can_stand_in_a_url(text in "[a-z0-9.:\\[\\]_@/ -]{0,20}|\\PC{0,40}") {
            let _ = node(&text);
            if let Some(host) = authority(&text) {
                let url: hyper::Uri = format!("https://{host}/a").parse().expect("a URL");
                prop_assert_eq!(url.authority().map(|known| known.as_str()), Some(&*host));
                prop_assert_eq!(url.path(), "/a");
            }
        }
    }
}
