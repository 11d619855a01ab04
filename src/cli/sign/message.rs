//! Scheme v2: signs a whole request that somebody else, curl for instance, will send.

use reqwest::Url;
use secrecy::ExposeSecret as _;

use super::{Format, SignArgs};
use crate::domain::{
    Timestamp, content_digest,
    message_signature::{self, Message, Terms},
};

/// The headers to send besides those that the arguments name.
pub(super) fn signed(args: &SignArgs, created: Timestamp) -> Result<String, String> {
    let request = &args.request;
    let url = url(request.url.as_deref().unwrap_or_default())?;
    let mut fields = request.headers.iter().map(|text| field(text)).collect::<Result<Vec<_>, _>>()?;
    let digest = match &request.body {
        Some(path) => Some(content_digest::of(
            &std::fs::read(path).map_err(|error| format!("--body {}: {error}", path.display()))?,
        )),
        None => None,
    };
    fields.extend(digest.iter().map(|digest| ("content-digest".to_owned(), digest.clone())));
    let terms = Terms {
        keyid: args.api_key.clone(),
        created,
        nonce: Some(request.nonce.clone().unwrap_or_else(|| uuid::Uuid::new_v4().simple().to_string())),
        more: fields.iter().map(|(name, _)| name.clone()).collect(),
    };
    let message = Message {
        method: request.method.as_deref().unwrap_or("GET"),
        scheme: url.scheme(),
        authority: &authority(&url),
        path: url.path(),
        query: url.query(),
        fields: &fields,
    };
    let secret = args.secret.expose_secret().as_bytes();
    let (input, signature) = message_signature::sign(secret, &message, &terms).map_err(|flaw| flaw.to_string())?;
    printed(args.format, digest, input, signature)
}

fn url(text: &str) -> Result<Url, String> {
    let wrong = || "--url must be the whole URL of the request, as https://files.example/api/v1/uploads".to_owned();
    let url = Url::parse(text).map_err(|_| wrong())?;
    match matches!(url.scheme(), "http" | "https") && url.has_host() {
        true => Ok(url),
        false => Err(wrong()),
    }
}

/// Host and port; without a port that goes without saying, as clients send it.
fn authority(url: &Url) -> String {
    let host = url.host_str().unwrap_or_default();
    url.port().map_or_else(|| host.to_owned(), |port| format!("{host}:{port}"))
}

fn field(text: &str) -> Result<(String, String), String> {
    let (name, value) = text.split_once(':').ok_or("--header must look like 'Content-Range: bytes 0-9/10'")?;
    Ok((name.trim().to_ascii_lowercase(), value.trim().to_owned()))
}

fn printed(format: Format, digest: Option<String>, input: String, signature: String) -> Result<String, String> {
    let digest = digest.map(|digest| ("Content-Digest", digest));
    let headers: Vec<_> = digest.into_iter().chain([("Signature-Input", input), ("Signature", signature)]).collect();
    match format {
        Format::Headers => {
            Ok(headers.iter().map(|(name, value)| format!("{name}: {value}")).collect::<Vec<_>>().join("\n"))
        }
        Format::Json => {
            let members = headers.into_iter().map(|(name, value)| (name.to_owned(), value.into()));
            Ok(serde_json::Value::Object(members.collect()).to_string())
        }
        Format::Query => Err("a v2 signature stands in headers alone; use --format headers or json".into()),
    }
}

#[cfg(test)]
mod tests {
    use super::super::{RequestArgs, Scheme};
    use super::*;

    fn args(format: Format, request: RequestArgs) -> SignArgs {
        let (api_key, secret) = ("demo-key".into(), "demo-secret".into());
        SignArgs { api_key, secret, timestamp: None, scheme: Scheme::V2, format, request }
    }

    fn request(url: &str) -> RequestArgs {
        RequestArgs { url: Some(url.into()), nonce: Some("nonce-01".into()), ..RequestArgs::default() }
    }

    #[test]
    fn what_is_printed_can_be_read() {
        let headers = vec!["Content-Range:bytes 0-9/10".into()];
        let request = RequestArgs { method: Some("POST".into()), headers, ..request("http://LOCALHOST:8080/a?b=1") };
        let json = signed(&args(Format::Json, request), Timestamp::UNIX_EPOCH).expect("good arguments");
        let json: serde_json::Value = serde_json::from_str(&json).expect("JSON");
        let text = |name: &str| json[name].as_str().unwrap_or_default().to_owned();
        let fields = [("content-range".to_owned(), "bytes 0-9/10".to_owned())];
        let sent = Message {
            method: "POST",
            scheme: "http",
            authority: "localhost:8080",
            path: "/a",
            query: Some("b=1"),
            fields: &fields,
        };
        let read = message_signature::read(&sent, &text("Signature-Input"), &text("Signature"), Default::default());
        let read = read.expect("of the profile");
        assert!(message_signature::verify(b"demo-secret", &read.base, &read.value));
        assert_eq!(read.nonce.as_deref(), Some("nonce-01"));
    }

    #[test]
    fn what_cannot_be_signed() {
        let sign = |format, request| signed(&args(format, request), Timestamp::UNIX_EPOCH);
        assert!(sign(Format::Query, request("http://a/")).is_err());
        assert!(sign(Format::Json, request("/a")).is_err());
        assert!(sign(Format::Json, request("ftp://a/")).is_err());
        assert!(sign(Format::Json, RequestArgs { headers: vec!["x".into()], ..request("http://a/") }).is_err());
        let body = Some("/nowhere/at-all".into());
        assert!(sign(Format::Json, RequestArgs { body, ..request("http://a/") }).is_err());
    }
}
