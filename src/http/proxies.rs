//! Which proxies stand before the service, and what is known of a request that came through them.
//!
//! Anybody can write these headers. A proxy that is trusted is believed about who sent it the request; if that is a
//! trusted proxy too, so is that one, and so on: the client is the first one on this way back that is nobody's proxy.
//! Where a proxy says nothing that can be read, the way ends at it.
//!
//! nginx, Apache, Traefik, Caddy and most balancers write `X-Forwarded-*` and pass a client's own `Forwarded` on. So where
//! any of those is there, `Forwarded` is not looked at.

use std::{fmt, net::IpAddr, str::FromStr};

use axum::http::{HeaderMap, HeaderName, HeaderValue, header};
use ipnet::IpNet;
use serde::{Deserialize, Deserializer, Serialize, Serializer, de::Error as _};

use super::headers::forwarded::{Hop, authority, from_the_right, node, scheme};

const X_FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");
const X_FORWARDED_PROTO: HeaderName = HeaderName::from_static("x-forwarded-proto");
const X_FORWARDED_HOST: HeaderName = HeaderName::from_static("x-forwarded-host");

/// Who sent a request, and what for, as far as it is known.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Arrival {
    /// Address of the client.
    pub client: Option<IpAddr>,
    /// `http` or `https`, if a trusted proxy says by which the client came.
    pub scheme: Option<&'static str>,
    /// The authority that a trusted proxy says the client asked.
    pub host: Option<String>,
}

/// The proxies that are believed. None, unless they are set.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize, Serialize)]
#[serde(transparent)]
pub struct TrustedProxies(Vec<Network>);

impl TrustedProxies {
    /// How a request of this peer came.
    pub fn arrival(&self, peer: IpAddr, headers: &HeaderMap) -> Arrival {
        let peer = peer.to_canonical();
        if !self.trust(peer) {
            return Arrival { client: Some(peer), ..Arrival::default() };
        }
        let older = [X_FORWARDED_FOR, X_FORWARDED_PROTO, X_FORWARDED_HOST];
        match older.iter().any(|name| headers.contains_key(name)) {
            true => self.back(peer, x_forwarded(headers)),
            false => self.back(peer, elements(headers, header::FORWARDED).map(Hop::parse)),
        }
    }

    fn trust(&self, address: IpAddr) -> bool {
        self.0.iter().any(|network| network.0.contains(&address))
    }

    /// The way back, as long as whoever speaks is believed. What the outermost of them says of scheme and host holds: it
    /// is the one that the client asked.
    fn back(&self, peer: IpAddr, hops: impl Iterator<Item = Hop>) -> Arrival {
        let (mut client, mut arrival) = (peer, Arrival::default());
        for hop in hops {
            arrival.scheme = hop.scheme.or(arrival.scheme);
            arrival.host = hop.host.or(arrival.host);
            match hop.from {
                Some(from) => client = from,
                None => break,
            }
            if !self.trust(client) {
                break;
            }
        }
        Arrival { client: Some(client), ..arrival }
    }
}

impl FromIterator<Network> for TrustedProxies {
    fn from_iter<I: IntoIterator<Item = Network>>(networks: I) -> Self {
        Self(networks.into_iter().collect())
    }
}

/// Each hop with what stands at its place in the other two lists. A proxy that replaces them instead of adding to them
/// says the one thing that is known.
fn x_forwarded(headers: &HeaderMap) -> impl Iterator<Item = Hop> {
    let mut senders = elements(headers, X_FORWARDED_FOR);
    let mut schemes = elements(headers, X_FORWARDED_PROTO);
    let mut hosts = elements(headers, X_FORWARDED_HOST);
    std::iter::from_fn(move || {
        Some(Hop {
            from: senders.next().and_then(node),
            scheme: schemes.next().and_then(scheme),
            host: hosts.next().and_then(authority),
        })
    })
}

/// What of a line can be read from its right end: what a proxy adds is ASCII, whatever a client has put before it.
fn readable(line: &HeaderValue) -> &str {
    let bytes = line.as_bytes();
    let from = bytes.iter().rposition(|byte| !byte.is_ascii()).map_or(0, |at| at + 1);
    str::from_utf8(&bytes[from..]).unwrap_or_default()
}

/// The elements of all lines of a header, the last one first (RFC 9110 §5.3).
fn elements(headers: &HeaderMap, name: HeaderName) -> impl Iterator<Item = &str> {
    headers.get_all(name).iter().rev().flat_map(|line| from_the_right(readable(line)))
}

/// One address, or all that begin with the same bits.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Network(IpNet);

impl FromStr for Network {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let shape = || format!("`{text}` is not an address or a network such as 10.0.0.0/8 or fd00::/8");
        let network = match text.parse::<IpAddr>() {
            Ok(address) => IpNet::from(address.to_canonical()),
            Err(_) => text.parse::<IpNet>().map_err(|_| shape())?,
        };
        if network.prefix_len() == 0 {
            return Err(format!("`{text}` is everybody, so that clients could say what they like"));
        }
        // Addresses are looked at in their short form, and would never be in such a network.
        if matches!(network.network(), IpAddr::V6(address) if address.to_ipv4_mapped().is_some()) {
            return Err(format!("`{text}` is a network of IPv4: write it as one"));
        }
        match network.trunc() == network {
            true => Ok(Self(network)),
            false => Err(format!("`{text}` has bits beyond its prefix: {} is meant?", network.trunc())),
        }
    }
}

impl fmt::Display for Network {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0.prefix_len() == self.0.max_prefix_len() {
            true => self.0.addr().fmt(f),
            false => self.0.fmt(f),
        }
    }
}

impl<'de> Deserialize<'de> for Network {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        String::deserialize(from)?.parse().map_err(D::Error::custom)
    }
}

impl Serialize for Network {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        to.collect_str(self)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    type Pairs = &'static [(&'static str, &'static str)];

    fn trusted() -> TrustedProxies {
        ["127.0.0.1", "10.0.0.0/8", "2001:db8:1::/48"]
            .map(|text| text.parse().expect("a network"))
            .into_iter()
            .collect()
    }

    fn headers(pairs: Pairs) -> HeaderMap {
        let mut headers = HeaderMap::new();
        for (name, value) in pairs {
            headers.append(*name, HeaderValue::from_bytes(value.as_bytes()).expect("a value"));
        }
        headers
    }

    /// Peer, headers; client, scheme, host.
    type Row = (&'static str, Pairs, &'static str, Option<&'static str>, Option<&'static str>);

    fn all_hold(rows: &[Row]) {
        for (peer, pairs, client, scheme, host) in rows {
            let arrival = trusted().arrival(peer.parse().expect("an address"), &headers(pairs));
            let expected = Arrival {
                client: Some(client.parse().expect("an address")),
                scheme: *scheme,
                host: host.map(str::to_owned),
            };
            assert_eq!(arrival, expected, "{peer} {pairs:?}");
        }
    }

    #[test]
    fn bytes_that_are_no_text_do_not_hide_what_a_proxy_adds() {
        let proxies: TrustedProxies = ["127.0.0.1".parse().expect("an address")].into_iter().collect();
        for (name, line) in [("x-forwarded-for", &b"\xe9, 192.0.2.5"[..]), ("forwarded", b"for=\xe9, for=192.0.2.5")] {
            let name = HeaderName::from_static(name);
            let headers = HeaderMap::from_iter([(name, HeaderValue::from_bytes(line).expect("opaque"))]);
            let arrival = proxies.arrival([127, 0, 0, 1].into(), &headers);
            assert_eq!(arrival.client, Some([192, 0, 2, 5].into()));
        }
    }

    #[test]
    fn who_is_no_proxy_is_the_client_whatever_it_says() {
        const SAID: Pairs =
            &[("x-forwarded-for", "192.0.2.1"), ("x-forwarded-proto", "https"), ("forwarded", "for=192.0.2.1")];
        all_hold(&[
            ("192.0.2.9", SAID, "192.0.2.9", None, None),
            ("127.0.0.2", SAID, "127.0.0.2", None, None),
            ("::ffff:192.0.2.9", SAID, "192.0.2.9", None, None),
            ("2001:db8:2::1", SAID, "2001:db8:2::1", None, None),
            ("127.0.0.1", &[], "127.0.0.1", None, None),
        ]);
        let nobody = TrustedProxies::default().arrival([127, 0, 0, 1].into(), &headers(SAID));
        assert_eq!(nobody, Arrival { client: Some([127, 0, 0, 1].into()), ..Arrival::default() });
    }

    #[test]
    fn x_forwarded_is_read_from_the_right() {
        const FOR: &str = "x-forwarded-for";
        const PROTO: &str = "x-forwarded-proto";
        const HOST: &str = "x-forwarded-host";
        all_hold(&[
            ("127.0.0.1", &[(FOR, "192.0.2.1")], "192.0.2.1", None, None),
            ("::ffff:127.0.0.1", &[(FOR, "192.0.2.1")], "192.0.2.1", None, None),
            ("2001:db8:1::7", &[(FOR, "[2001:db8::5]:80")], "2001:db8::5", None, None),
            ("127.0.0.1", &[(FOR, "192.0.2.66, 192.0.2.1")], "192.0.2.1", None, None),
            ("127.0.0.1", &[(FOR, "192.0.2.66"), (FOR, "192.0.2.1")], "192.0.2.1", None, None),
            ("127.0.0.1", &[(FOR, "192.0.2.66, 192.0.2.1, 10.1.1.1")], "192.0.2.1", None, None),
            ("127.0.0.1", &[(FOR, "192.0.2.66, 192.0.2.1"), (FOR, "10.1.1.1, 10.1.1.2")], "192.0.2.1", None, None),
            ("127.0.0.1", &[(FOR, "10.1.1.1, 10.1.1.2")], "10.1.1.1", None, None),
            ("127.0.0.1", &[(FOR, "192.0.2.1, unknown, 10.1.1.2")], "10.1.1.2", None, None),
            ("127.0.0.1", &[(FOR, "192.0.2.1, 10.1.1.1:x")], "127.0.0.1", None, None),
            ("127.0.0.1", &[(FOR, "192.0.2.1,")], "127.0.0.1", None, None),
            ("127.0.0.1", &[(FOR, "192.0.2.1"), (FOR, "é")], "127.0.0.1", None, None),
            ("127.0.0.1", &[(FOR, "")], "127.0.0.1", None, None),
            (
                "127.0.0.1",
                &[(FOR, "192.0.2.1"), (PROTO, "https"), (HOST, "up.example")],
                "192.0.2.1",
                Some("https"),
                Some("up.example"),
            ),
            (
                "127.0.0.1",
                &[(PROTO, "HTTPS"), (HOST, "up.example:8443")],
                "127.0.0.1",
                Some("https"),
                Some("up.example:8443"),
            ),
            // The proxy adds to what a client has sent.
            (
                "127.0.0.1",
                &[(FOR, "9.9.9.9, 192.0.2.1"), (PROTO, "https, http"), (HOST, "evil.example, up.example")],
                "192.0.2.1",
                Some("http"),
                Some("up.example"),
            ),
            // Two proxies: each adds, or the outer one's is kept.
            (
                "127.0.0.1",
                &[(FOR, "192.0.2.1, 10.1.1.1"), (PROTO, "https, http"), (HOST, "up.example, inner")],
                "192.0.2.1",
                Some("https"),
                Some("up.example"),
            ),
            (
                "127.0.0.1",
                &[(FOR, "192.0.2.1, 10.1.1.1"), (PROTO, "https"), (HOST, "up.example")],
                "192.0.2.1",
                Some("https"),
                Some("up.example"),
            ),
            (
                "127.0.0.1",
                &[(FOR, "192.0.2.1"), (PROTO, "javascript"), (HOST, "up.example/x")],
                "192.0.2.1",
                None,
                None,
            ),
        ]);
    }

    #[test]
    fn forwarded_is_read_from_the_right_where_nothing_older_is_there() {
        const NAME: &str = "forwarded";
        all_hold(&[
            (
                "127.0.0.1",
                &[(NAME, "for=192.0.2.1;proto=https;host=up.example")],
                "192.0.2.1",
                Some("https"),
                Some("up.example"),
            ),
            ("127.0.0.1", &[(NAME, "for=9.9.9.9;host=evil.example, for=192.0.2.1")], "192.0.2.1", None, None),
            ("127.0.0.1", &[(NAME, "for=\", for=192.0.2.1")], "192.0.2.1", None, None),
            (
                "127.0.0.1",
                &[(NAME, "for=192.0.2.1;proto=https;host=up.example, for=\"10.1.1.1:80\";proto=http")],
                "192.0.2.1",
                Some("https"),
                Some("up.example"),
            ),
            (
                "127.0.0.1",
                &[(NAME, "for=192.0.2.1"), (NAME, "for=10.1.1.1;host=inner")],
                "192.0.2.1",
                None,
                Some("inner"),
            ),
            (
                "127.0.0.1",
                &[(NAME, "for=192.0.2.1;proto=https, for=_hidden;proto=http")],
                "127.0.0.1",
                Some("http"),
                None,
            ),
            ("127.0.0.1", &[(NAME, "for=192.0.2.1, for=unknown, for=10.1.1.1")], "10.1.1.1", None, None),
            ("127.0.0.1", &[(NAME, "for=192.0.2.1"), ("x-forwarded-for", "192.0.2.2")], "192.0.2.2", None, None),
            (
                "127.0.0.1",
                &[(NAME, "for=192.0.2.1;host=up.example"), ("x-forwarded-proto", "https")],
                "127.0.0.1",
                Some("https"),
                None,
            ),
        ]);
    }

    #[test]
    fn networks() {
        for text in ["10.0.0.0/8", "192.0.2.7", "::1", "fd00::/8", "2001:db8::/127"] {
            assert_eq!(text.parse::<Network>().expect(text).to_string(), text);
        }
        for text in [
            "10.0.0.1/8",
            "10.0.0.0/33",
            "0.0.0.0/0",
            "::/0",
            "localhost",
            "",
            "10.0.0.0/",
            "10.*",
            "::ffff:10.0.0.0/104",
        ] {
            assert!(text.parse::<Network>().is_err(), "{text}");
        }
        assert_eq!("::ffff:10.0.0.1".parse::<Network>().expect("an address").to_string(), "10.0.0.1");
    }
}
