//! The signature base: what a signature signs, rebuilt from the request (RFC 9421 §2).

use std::borrow::Cow;

use sfv::InnerList;

use super::{Demands, Flaw, MAX_BASE_BYTES, malformed, serialized};
use crate::domain::content_digest;

/// A request as its signature sees it.
#[derive(Debug, Clone, Copy)]
pub struct Message<'a> {
    /// The method as sent.
    pub method: &'a str,
    /// `http` or `https`: how clients reach the service.
    pub scheme: &'a str,
    /// Host and port that clients ask for.
    pub authority: &'a str,
    /// The path as sent.
    pub path: &'a str,
    /// The query as sent, without its question mark; absent if there was none.
    pub query: Option<&'a str>,
    /// Names in lower case, and values, in the order they were sent.
    pub fields: &'a [(String, String)],
}

/// What a signature of `message` must cover: where it goes, and of its fields those that decide what is done with it.
///
/// A browser makes the boundary of a multipart form, and so that content type, after its page has signed.
pub fn demanded<'a>(message: &Message<'_>, demands: Demands) -> Vec<&'a str> {
    const FIELDS: [&str; 7] = [
        "content-range",
        "upload-offset",
        "upload-length",
        "upload-concat",
        "idempotency-key",
        "content-digest",
        "x-http-method-override",
    ];
    let mut names = vec!["@method", "@authority", "@path", "@query"];
    let digest = demands.content_digest && message.may_have_body();
    names.extend(FIELDS.into_iter().filter(|name| message.has(name) || (digest && *name == "content-digest")));
    if message.field("content-type").is_some_and(|value| !is_multipart(&value)) {
        names.push("content-type");
    }
    names
}

fn is_multipart(content_type: &str) -> bool {
    content_type.get(..10).is_some_and(|start| start.eq_ignore_ascii_case("multipart/"))
}

impl<'a> Message<'a> {
    /// Whether the request has the field.
    fn has(&self, name: &str) -> bool {
        self.fields.iter().any(|(known, _)| known == name)
    }

    /// Whether bytes may follow the head. HTTP/2 need not say.
    fn may_have_body(&self) -> bool {
        matches!(self.method, "POST" | "PUT" | "PATCH") && self.field("content-length").as_deref() != Some("0")
    }

    /// Whether the body, if there may be one, cannot be exchanged unnoticed.
    pub(super) fn is_digested(&self) -> bool {
        let named = || self.field("content-digest").and_then(|field| content_digest::read(&field));
        !self.may_have_body() || named().is_some_and(|digests| content_digest::are_strong(&digests))
    }

    /// The value of a field: its lines without surrounding whitespace, joined (RFC 9421 §2.1).
    fn field(&self, name: &str) -> Option<String> {
        let lines = self.fields.iter().filter(|(known, _)| known == name);
        let values: Vec<_> = lines.map(|(_, value)| value.trim_matches([' ', '\t'])).collect();
        (!values.is_empty()).then(|| values.join(", "))
    }

    /// The value of a component (RFC 9421 §2.2); `None` if the request does not have it, or we do not rebuild it.
    fn component(&self, name: &str) -> Option<Cow<'a, str>> {
        let path = if self.path.is_empty() { "/" } else { self.path };
        let query = || self.query.map_or(String::new(), |query| format!("?{query}"));
        Some(match name {
            "@method" => self.method.into(),
            "@scheme" => self.scheme.into(),
            "@authority" => self.authority().into(),
            "@path" => path.into(),
            // An absent query is signed as an empty one (RFC 9421 §2.2.7).
            "@query" => format!("?{}", self.query.unwrap_or_default()).into(),
            "@request-target" => format!("{path}{}", query()).into(),
            "@target-uri" => format!("{}://{}{path}{}", self.scheme, self.authority(), query()).into(),
            _ if name.starts_with('@') => return None,
            _ => self.field(name)?.into(),
        })
    }

    /// In lower case and without the scheme's own port (RFC 9421 §2.2.3).
    fn authority(&self) -> String {
        let authority = self.authority.to_ascii_lowercase();
        let port = if self.scheme == "https" { ":443" } else { ":80" };
        let bare = authority.strip_suffix(port).or_else(|| authority.strip_suffix(':'));
        bare.map(str::to_owned).unwrap_or(authority)
    }
}

/// One line a component, then the parameters (RFC 9421 §2.5).
pub(super) fn base(message: &Message<'_>, list: &InnerList, components: &[&str]) -> Result<String, Flaw> {
    let mut base = String::new();
    for name in components {
        let Some(value) = message.component(name) else {
            return malformed(format!("the signature covers {name}, which this request does not have"));
        };
        // A line break would begin a line of the client's making; other bytes have no one spelling here.
        if !value.bytes().all(|byte| byte == b'\t' || (b' '..=b'~').contains(&byte)) {
            return malformed(format!("the signature covers {name}, whose value is not plain ASCII"));
        }
        base.push_str(&format!("\"{name}\": {value}\n"));
    }
    base.push_str(&format!("\"@signature-params\": {}", serialized(list)?));
    match base.len() > MAX_BASE_BYTES {
        true => malformed(format!("the signature covers more than {MAX_BASE_BYTES} bytes")),
        false => Ok(base),
    }
}
