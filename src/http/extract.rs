//! From a request to what the gate wants to see.

use axum::http::{HeaderMap, Uri, header, request::Parts};

use crate::{
    auth::{Facts, Presented},
    http::{entrance::Entered, form::urlencoded},
};

/// Everything in which a credential may stand, as plain pairs. Values that are not UTF-8 are kept with replacement
/// characters, so that a malformed credential is refused instead of overlooked.
pub fn presented(parts: &Parts, entered: &Entered, form: Vec<(String, String)>) -> Presented {
    let text = |value: &[u8]| String::from_utf8_lossy(value).into_owned();
    let header =
        |(name, value): (&header::HeaderName, &header::HeaderValue)| (name.as_str().to_owned(), text(value.as_bytes()));
    Presented {
        headers: parts.headers.iter().map(header).collect(),
        query: urlencoded(parts.uri.query().unwrap_or_default().as_bytes()),
        form,
        request: facts(parts, entered),
        scheme: "http".to_owned(),
        raw_query: parts.uri.query().map(str::to_owned),
        cross_site: false,
        entrance: entered.entrance(),
    }
}

/// The authority that was asked. HTTP/2 carries it in the target (RFC 9113 §8.3.1), HTTP/1 in a header.
pub fn host<'a>(headers: &'a HeaderMap, target: &'a Uri) -> Option<&'a str> {
    let sent = headers.get(header::HOST).and_then(|host| host.to_str().ok());
    target.authority().map(|authority| authority.as_str()).or(sent)
}

fn facts(parts: &Parts, entered: &Entered) -> Facts {
    Facts {
        method: parts.method.to_string(),
        path: entered.path(&parts.uri).to_owned(),
        host: host(&parts.headers, &parts.uri).map(str::to_owned),
        client_ip: entered.arrival().client,
    }
}

#[cfg(test)]
mod tests {
    use axum::http::{HeaderValue, Request};

    use super::*;

    #[test]
    fn repetitions_stay_and_bad_bytes_do_not_vanish() {
        let request = Request::get("/a/b?api_key=k%20k&api_key=2")
            .header("X-Api-Key", "one")
            .header("X-Api-Key", HeaderValue::from_bytes(b"tw\xff").expect("opaque"))
            .header("Host", "example.org")
            .body(())
            .expect("a request");
        let presented = presented(&request.into_parts().0, &Entered::default(), vec![]);
        assert_eq!(
            presented.headers[..2],
            [("x-api-key".into(), "one".into()), ("x-api-key".into(), "tw\u{fffd}".into())]
        );
        assert_eq!(presented.query, [("api_key".into(), "k k".into()), ("api_key".into(), "2".into())]);
        assert_eq!((presented.request.path.as_str(), presented.request.host.as_deref()), ("/a/b", Some("example.org")));
    }
}
