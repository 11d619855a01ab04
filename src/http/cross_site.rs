//! Whether a browser says that a page of another origin sends a request. Pure.
//!
//! Browsers add `Authorization: Basic` by themselves, whichever page made them send the request; the gate refuses to act
//! on that (`auth::Gate::admit`). Who is no browser says nothing here, and is believed: it had to be told the password.

use axum::http::{HeaderMap, HeaderName, header};

use super::cors::is_same;

const SEC_FETCH_SITE: HeaderName = HeaderName::from_static("sec-fetch-site");

/// The service's own origin, as far as it is known.
pub(super) enum Own<'a> {
    /// Scheme and authority, as they are set.
    Set(&'a str),
    /// The authority that was asked; a proxy may have taken the TLS off.
    Asked(Option<&'a str>),
}

/// Whether the request comes from a page of another origin.
///
/// `Sec-Fetch-Site` is the browser's own comparison (Fetch Metadata), and no page can set it. It is sent to https and
/// loopback only, so `Origin` has to do elsewhere (RFC 6454 §7.3): every browser sends it with every unsafe method.
pub(super) fn from_elsewhere(headers: &HeaderMap, own: &Own<'_>) -> bool {
    if headers.contains_key(SEC_FETCH_SITE) {
        return !headers.get_all(SEC_FETCH_SITE).iter().all(|site| site == "same-origin" || site == "none");
    }
    !headers.get_all(header::ORIGIN).iter().all(|origin| origin.to_str().is_ok_and(|origin| own.is(origin)))
}

impl Own<'_> {
    fn is(&self, origin: &str) -> bool {
        match self {
            Self::Set(url) => is_same(origin, &url.to_ascii_lowercase()),
            Self::Asked(None) => false,
            Self::Asked(Some(authority)) => ["http", "https"]
                .iter()
                .any(|scheme| is_same(origin, &format!("{scheme}://{}", authority.to_ascii_lowercase()))),
        }
    }
}

#[cfg(test)]
mod tests {
    use axum::http::HeaderValue;

    use super::*;

    fn headers(pairs: &[(&'static str, &'static str)]) -> HeaderMap {
        let pair = |(name, value): &(&'static str, &'static str)| {
            (HeaderName::from_static(name), HeaderValue::from_static(value))
        };
        pairs.iter().map(pair).collect()
    }

    #[test]
    fn what_a_browser_says() {
        const HERE: &str = "http://up.example:8080";
        for (pairs, elsewhere) in [
            (&[][..], false),
            (&[("sec-fetch-site", "same-origin")], false),
            (&[("sec-fetch-site", "none")], false),
            (&[("sec-fetch-site", "cross-site")], true),
            (&[("sec-fetch-site", "same-site")], true),
            (&[("sec-fetch-site", "")], true),
            (&[("sec-fetch-site", "something-new")], true),
            (&[("sec-fetch-site", "same-origin"), ("sec-fetch-site", "cross-site")], true),
            (&[("sec-fetch-site", "same-origin"), ("origin", "null")], false),
            (&[("sec-fetch-site", "cross-site"), ("origin", HERE)], true),
            (&[("origin", HERE)], false),
            (&[("origin", "https://up.example:8080")], false),
            (&[("origin", "http://up.example")], true),
            (&[("origin", "http://evil.example:8080")], true),
            (&[("origin", "http://up.example:8080.evil.example")], true),
            (&[("origin", "null")], true),
            (&[("origin", "")], true),
            (&[("origin", HERE), ("origin", "http://evil.example")], true),
        ] {
            let own = Own::Asked(Some("UP.example:8080"));
            assert_eq!(from_elsewhere(&headers(pairs), &own), elsewhere, "{pairs:?}");
        }
    }

    #[test]
    fn the_own_origin() {
        for (own, origin, elsewhere) in [
            (Own::Set("https://up.example"), "https://up.example", false),
            (Own::Set("https://UP.example:443"), "https://up.example", false),
            (Own::Set("https://up.example"), "http://up.example", true),
            (Own::Set("https://up.example"), "https://up.example:8443", true),
            (Own::Asked(Some("[::1]:8080")), "http://[::1]:8080", false),
            (Own::Asked(Some("up.example:80")), "http://up.example", false),
            (Own::Asked(Some("*.example")), "http://a.example", true),
            (Own::Asked(Some("")), "http://", true),
            (Own::Asked(None), "http://up.example", true),
        ] {
            let sent = HeaderMap::from_iter([(header::ORIGIN, HeaderValue::from_static(origin))]);
            assert_eq!(from_elsewhere(&sent, &own), elsewhere, "{origin}");
        }
    }
}
