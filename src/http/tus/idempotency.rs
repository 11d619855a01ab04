//! The key under which an upload is made once, however often its client sends the request
//! (draft-ietf-httpapi-idempotency-key-header-07 §2).
//!
//! The draft has it as a string of structured fields, in quotes; clients and libraries that are older than its quotes send
//! the same bare, and mean the same key.

use axum::http::{HeaderMap, HeaderName};
use sfv::{BareItem, Item, Parser};

use super::wire::{Wire, once};
use crate::domain::creation::CreationKey;

const IDEMPOTENCY_KEY: HeaderName = HeaderName::from_static("idempotency-key");

/// The key, if one was sent.
pub(super) fn key(headers: &HeaderMap) -> Result<Option<CreationKey>, Wire> {
    const FAULT: &str = "Idempotency-Key must be one string of 1 to 255 visible ASCII characters, in quotes or without";
    let Some(sent) = once(headers, &IDEMPOTENCY_KEY, FAULT)? else { return Ok(None) };
    let text = if sent.starts_with('"') { quoted(sent) } else { bare(sent) };
    text.as_deref().and_then(CreationKey::new).map(Some).ok_or(Wire::Bad(FAULT))
}

/// Parameters are of no meaning here (RFC 9651 §3.3.1 leaves it to the field).
fn quoted(sent: &str) -> Option<String> {
    match Parser::new(sent).parse::<Item>().ok()?.bare_item {
        BareItem::String(text) => Some(text.as_str().to_owned()),
        _ => None,
    }
}

/// Whatever would be punctuation in a list of strings is no part of a key without quotes.
fn bare(sent: &str) -> Option<String> {
    (!sent.contains(['"', ',', ';', '\\'])).then(|| sent.to_owned())
}

#[cfg(test)]
mod tests {
    use axum::http::HeaderValue;
    use proptest::prelude::*;

    use super::*;

    fn read(lines: &[&str]) -> Result<Option<String>, Wire> {
        let mut headers = HeaderMap::new();
        for line in lines {
            headers.append(IDEMPOTENCY_KEY, HeaderValue::from_str(line).expect("a value"));
        }
        Ok(key(&headers)?.map(|key| key.as_str().to_owned()))
    }

    #[test]
    fn with_quotes_and_without_it_is_the_same_key() {
        let uuid = "8e03978e-40d5-43dd-bc93-6894a57f9324";
        for (sent, key) in [
            (uuid, uuid),
            (&*format!("\"{uuid}\""), uuid),
            ("7", "7"),
            ("aGk+/w==", "aGk+/w=="),
            (" a ", "a"),
            (r#""a\"b""#, "a\"b"),
            ("\"a, b\"", ""),
            ("\"a\";b", "a"),
        ] {
            let expected = (!key.is_empty()).then(|| Some(key.to_owned()));
            assert_eq!(read(&[sent]).ok(), expected, "{sent}");
        }
        assert_eq!(read(&[]).ok(), Some(None));
    }

    #[test]
    fn what_is_no_key_is_refused() {
        let long = "x".repeat(256);
        let quoted = format!("\"{long}\"");
        for sent in ["", "\"\"", "a b", "\"a b\"", "\"a", "a\"", "a,b", "\"a\", \"b\"", "a;b", &long, &quoted] {
            read(&[sent]).expect_err(sent);
        }
        read(&["a", "a"]).expect_err("twice");
    }

    proptest! {
        #[test]
        fn never_panics(sent in "\"?[ -~]{0,40}\"?") {
            let _ = read(&[&sent]);
        }
    }
}
