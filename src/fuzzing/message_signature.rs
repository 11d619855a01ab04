//! `Signature-Input` and `Signature`: the profile of RFC 9421.

use std::collections::HashSet;

use sfv::Parser;

use super::{lines, pair, text};
use crate::domain::{
    Timestamp,
    message_signature::{Demands, MAX_BASE_BYTES, Message, NONCE_BYTES, Signed, TAG, Terms, read, sign, verify},
    signing,
};

const SECRET: &[u8] = b"S3CR3T";

/// A request, and what of it is to be changed.
#[derive(Clone, Default)]
struct Request {
    method: String,
    scheme: String,
    authority: String,
    path: String,
    query: Option<String>,
    fields: Vec<(String, String)>,
}

/// Lines: `r METHOD SCHEME AUTHORITY TARGET`, fields `h name=value`, and `d` if a digest is demanded. Then either the
/// fields as they are, `i Signature-Input` and `s Signature`; or what a client signs with, `k keyid`, `n nonce`, `t
/// created`, `c component`, and a change on the way, `x part=value`.
///
/// What is read covers all that is demanded, and its base has a line for each component and no other. What is signed is
/// read and verifies; after a change it verifies if, and only if, nothing that is covered was changed.
pub fn message_signature(data: &[u8]) {
    let (mut request, mut demands) = (Request::default(), Demands::default());
    let (mut input, mut signature) = (None, None);
    let (mut terms, mut change) = (None, None);
    let mut more = Vec::new();
    for (what, rest) in lines(data) {
        let line = text(rest);
        match (what, pair(rest)) {
            (b'r', _) => request.take(&line),
            (b'h', Some((name, value))) => request.fields.push((text(name).to_ascii_lowercase(), text(value))),
            (b'd', _) => demands.content_digest = true,
            (b'i', _) => input = Some(line),
            (b's', _) => signature = Some(line),
            (b'k', _) => terms = Some((line, Timestamp::UNIX_EPOCH, None)),
            (b'n', _) => terms.iter_mut().for_each(|terms| terms.2 = Some(line.clone())),
            (b't', _) => terms.iter_mut().for_each(|terms| terms.1 = seconds(&line).unwrap_or(terms.1)),
            (b'c', _) => more.push(line),
            (b'x', Some((part, value))) => change = Some((text(part), text(value))),
            _ => {}
        }
    }
    if let (Some(input), Some(signature)) = (input, signature) {
        as_they_are(&request.message(), &input, &signature, demands);
    }
    if let Some((keyid, created, nonce)) = terms {
        signed(&request, &Terms { keyid, created, nonce, more }, change);
    }
}

fn seconds(text: &str) -> Option<Timestamp> {
    Timestamp::from_second(text.parse().ok()?).ok()
}

impl Request {
    fn take(&mut self, line: &str) {
        let mut words = line.splitn(4, ' ').map(str::to_owned);
        let mut word = || words.next().unwrap_or_default();
        (self.method, self.scheme, self.authority) = (word(), word(), word());
        let target = word();
        self.query = target.split_once('?').map(|(_, query)| query.to_owned());
        self.path = target.split('?').next().unwrap_or_default().to_owned();
    }

    fn message(&self) -> Message<'_> {
        Message {
            method: &self.method,
            scheme: &self.scheme,
            authority: &self.authority,
            path: &self.path,
            query: self.query.as_deref(),
            fields: &self.fields,
        }
    }

    fn change(&mut self, part: &str, value: String) {
        match part {
            "@method" => self.method = value,
            "@scheme" => self.scheme = value,
            "@authority" => self.authority = value,
            "@path" => self.path = value,
            "@query" => self.query = Some(value),
            name => match self.fields.iter_mut().find(|(known, _)| known == name) {
                Some((_, old)) => *old = value,
                None => self.fields.push((name.to_owned(), value)),
            },
        }
    }

    /// What a component says, by the plainest rule (RFC 9421 §2).
    fn says(&self, component: &str) -> Option<String> {
        let own_port = if self.scheme == "https" { "443" } else { "80" };
        let authority = match self.authority.rsplit_once(':') {
            Some((host, port)) if port.is_empty() || port == own_port => host,
            _ => &self.authority,
        };
        let authority = authority.to_ascii_lowercase();
        let path = if self.path.is_empty() { "/" } else { &self.path };
        let query = self.query.as_ref().map(|query| format!("?{query}"));
        let some_query = query.clone().unwrap_or_default();
        let values: Vec<_> = self.fields.iter().filter(|(name, _)| name == component).map(|(_, value)| value).collect();
        let values: Vec<_> = values.into_iter().map(|value| value.trim_matches([' ', '\t'])).collect();
        Some(match component {
            "@method" => self.method.clone(),
            "@scheme" => self.scheme.clone(),
            "@authority" => authority,
            "@path" => path.to_owned(),
            "@query" => query.unwrap_or("?".to_owned()),
            "@request-target" => format!("{path}{some_query}"),
            "@target-uri" => format!("{}://{authority}{path}{some_query}", self.scheme),
            _ if values.is_empty() || component.starts_with('@') => return None,
            _ => values.join(", "),
        })
    }
}

fn as_they_are(message: &Message<'_>, input: &str, signature: &str, demands: Demands) {
    let Ok(signed) = read(message, input, signature, demands) else { return };
    let parameters = well_formed(&signed);
    for needed in needed(message, demands) {
        assert!(signed.base.contains(&format!("\"{needed}\": ")), "{needed} is not covered");
    }
    // The parameters in the base are the signer's: written as a field again, they make the same signature.
    let label = format!("again={parameters}");
    let value = format!("again=:{}:", signed.value_text());
    assert_eq!(read(message, &label, &value, demands), Ok(signed));
}

/// What every signature of the request must cover.
fn needed(message: &Message<'_>, demands: Demands) -> Vec<&'static str> {
    const IF_SENT: [&str; 7] = [
        "content-range",
        "upload-offset",
        "upload-length",
        "upload-concat",
        "idempotency-key",
        "content-digest",
        "x-http-method-override",
    ];
    let sent = |name: &str| message.fields.iter().find(|(known, _)| known == name).map(|(_, value)| value.trim());
    let mut needed = vec!["@method", "@authority", "@path", "@query"];
    needed.extend(IF_SENT.into_iter().filter(|name| sent(name).is_some()));
    // Its boundary is made by the browser, after its page has signed.
    let is_form = |value: &str| value.to_ascii_lowercase().starts_with("multipart/");
    needed.extend(sent("content-type").filter(|value| !is_form(value)).map(|_| "content-type"));
    let may_have_body = ["POST", "PUT", "PATCH"].contains(&message.method) && sent("content-length") != Some("0");
    needed.extend((demands.content_digest && may_have_body).then_some("content-digest"));
    needed
}

/// Checks what can be seen without the request; returns the parameters as they stand in the base.
fn well_formed(signed: &Signed) -> String {
    assert!(signed.base.len() <= MAX_BASE_BYTES && signed.value.len() == 32);
    assert!(signing::is_api_key(&signed.keyid), "a keyid that is no api_key");
    assert!(signed.nonce.iter().all(|nonce| NONCE_BYTES.contains(&nonce.len())));
    assert!(
        signed.base.bytes().all(|byte| matches!(byte, b'\n' | b'\t' | b' '..=b'~')),
        "bytes of the client's making"
    );
    let mut lines: Vec<&str> = signed.base.split('\n').collect();
    let last = lines.pop().unwrap_or_default();
    let parameters = last.strip_prefix("\"@signature-params\": ").expect("the last line").to_owned();
    assert!(parameters.contains(&format!(";tag=\"{TAG}\"")));
    let list: sfv::List = Parser::new(&parameters).parse().expect("a list");
    let [sfv::ListEntry::InnerList(list)] = &list[..] else { panic!("not one list: {parameters}") };
    assert_eq!(list.items.len(), lines.len(), "a line is missing, or is of the client's making");
    let mut seen = HashSet::new();
    for (item, line) in list.items.iter().zip(lines) {
        let name = item.bare_item.as_string().expect("a name").as_str();
        assert!(item.params.is_empty() && seen.insert(name), "{name} twice, or not as it is");
        assert!(line.starts_with(&format!("\"{name}\": ")), "{line} is not of {name}");
    }
    parameters
}

fn signed(request: &Request, terms: &Terms, change: Option<(String, String)>) {
    let message = request.message();
    let Ok((input, signature)) = sign(SECRET, &message, terms) else { return };
    let found = read(&message, &input, &signature, Demands::default());
    let nonce_fits = terms.nonce.iter().all(|nonce| NONCE_BYTES.contains(&nonce.len()));
    if !signing::is_api_key(&terms.keyid) || !nonce_fits {
        return assert!(found.is_err(), "{found:?}");
    }
    let found = found.expect("what was signed is read");
    well_formed(&found);
    assert_eq!((&found.keyid, &found.nonce, found.expires), (&terms.keyid, &terms.nonce, None));
    assert_eq!(found.created.as_second(), terms.created.as_second());
    assert!(verify(SECRET, &found.base, &found.value) && !verify(b"other", &found.base, &found.value));

    let Some((part, value)) = change else { return };
    let mut changed = request.clone();
    changed.change(&part, value);
    let Ok(after) = read(&changed.message(), &input, &signature, Demands::default()) else { return };
    let needed = needed(&message, Demands::default());
    let mut covered = needed.into_iter().chain(terms.more.iter().map(String::as_str));
    let unchanged = covered.all(|component| request.says(component) == changed.says(component));
    assert_eq!(verify(SECRET, &after.base, &after.value), unchanged, "{part} was changed");
}
