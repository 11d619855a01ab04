//! The origins that are listed, and the one that a browser sends.

use std::{net::Ipv6Addr, time::Duration};

use axum::http::{HeaderMap, HeaderValue, header};

use super::{lines, text};
use crate::{
    domain::realms::Entrance,
    http::cors::{Cors, Listed, Settings, is_same},
};

/// Lines: `l ORIGIN` lists one, `o ORIGIN` is sent, `n` switches credentials off.
///
/// What is granted is in the list by comparing texts; what is in the list word for word is granted; `null`, a second
/// `Origin` and what is no origin are granted nothing.
pub fn origins(data: &[u8]) {
    let mut settings = Settings {
        allowed_origins: Vec::new(),
        allowed_methods: Vec::new(),
        allowed_headers: Vec::new(),
        allow_credentials: true,
        expose_headers: Vec::new(),
        max_age: Duration::ZERO,
    };
    let mut sent = HeaderMap::new();
    for (what, rest) in lines(data) {
        match (what, HeaderValue::from_bytes(rest)) {
            (b'l', _) => settings.allowed_origins.push(text(rest)),
            (b'o', Ok(origin)) => _ = sent.append(header::ORIGIN, origin),
            (b'n', _) => settings.allow_credentials = false,
            _ => {}
        }
    }
    let texts: Vec<&str> = sent.get_all(header::ORIGIN).iter().filter_map(|origin| origin.to_str().ok()).collect();
    if let Ok(cors) = Cors::new(&settings) {
        judge(&cors, &settings, &sent, &texts);
    }
    for (one, other) in settings.allowed_origins.iter().zip(texts) {
        alike(one, other);
    }
}

fn judge(cors: &Cors, settings: &Settings, sent: &HeaderMap, texts: &[&str]) {
    let granted = cors.grants_credentials(Entrance::Common, sent);
    assert!(!granted || settings.allow_credentials && sent.len() == 1 && texts.len() == 1);
    let [origin] = texts else { return };
    let listed = |listed: &String| in_words(listed, origin);
    assert!(!granted || settings.allowed_origins.iter().any(listed), "{origin} is not listed");
    let exactly = settings.allowed_origins.iter().any(|listed| listed == origin && !listed.contains('*'));
    assert!(granted || !exactly || !settings.allow_credentials || sent.len() > 1, "{origin} is listed");
}

fn alike(one: &str, other: &str) {
    assert_eq!(is_same(one, other), is_same(other, one));
    assert!(!is_same(one, other) || in_words(one, other), "{one} is not {other}");
    let Ok(listed) = Listed::parse(one) else { return };
    assert!(!listed.admits(other) || in_words(one, other), "{one} does not list {other}");
    assert!(!other.contains(['*', '@', '/', '?', '#', '\\', ',', ' ']) || !listed.admits(&format!("https://{other}")));
    assert!(!listed.admits("null") && !listed.admits(&format!("{other}.")) && !listed.admits(&format!("{other}/")));
}

/// Whether an entry of the list means the origin, by their texts: without the scheme's own port they are equal, or one
/// label stands where the entry has an asterisk.
fn in_words(listed: &str, sent: &str) -> bool {
    let (listed, sent) = (without_own_port(listed), without_own_port(sent));
    match listed.split_once("://*.") {
        None => listed == sent || same_address(&listed, &sent),
        Some((scheme, domain)) => {
            let label =
                sent.strip_prefix(&format!("{scheme}://")).and_then(|rest| rest.strip_suffix(&format!(".{domain}")));
            label.is_some_and(|label| {
                !label.is_empty() && !label.contains(|c: char| !c.is_ascii_alphanumeric() && !"-_".contains(c))
            })
        }
    }
}

fn without_own_port(origin: &str) -> String {
    let own = if origin.starts_with("https:") { ":443" } else { ":80" };
    let known = origin.starts_with("https:") || origin.starts_with("http:");
    origin.strip_suffix(own).filter(|_| known).unwrap_or(origin).to_owned()
}

/// IPv6 addresses alone have several spellings.
fn same_address(one: &str, other: &str) -> bool {
    let apart = |text: &str| {
        let (before, rest) = text.split_once('[')?;
        let (address, after) = rest.split_once(']')?;
        Some((before.to_owned(), address.parse::<Ipv6Addr>().ok()?, after.to_owned()))
    };
    apart(one).is_some_and(|one| apart(other) == Some(one))
}
