//! The one extractor: finds the credential in everything a request presents.
//!
//! Gateways that look in one place first and in the next place second have been fooled by requests that carry one
//! credential for each (the CVE-2025-31489 class), and gateways that take the first of two equal headers by requests that
//! carry both (CVE-2022-2385). So every place is read, every time: one kind of credential per request, one value per
//! part. The same value in two places is fine; two values, or one name twice in one place, are refused.
//!
//! What is deliberately not done: guessing. A credential that is incomplete or of a kind that is not enabled is refused
//! as such and never taken for "nothing presented". No message repeats a value.

use std::fmt;

use base64::{Engine as _, engine::general_purpose::STANDARD as BASE64};

use super::{AuthError, Method, Presented, Settings, passwords::MAX_PASSWORD_BYTES};
use crate::domain::{Timestamp, signing};

/// The one credential of a request, its form already checked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Credential {
    /// See [`SignatureV1`].
    Signature(SignatureV1),
    /// See [`KeyProof`].
    ApiKey(KeyProof),
    /// See [`PasswordProof`].
    Basic(PasswordProof),
}

impl Credential {
    /// Whether browsers send it by themselves, whichever page makes them send a request (RFC 7617 §2.2).
    pub fn is_sent_by_browsers(&self) -> bool {
        match self {
            Self::Basic(_) => true,
            Self::Signature(_) | Self::ApiKey(_) => false,
        }
    }
}

/// A user's name and one of the user's API keys.
#[derive(Clone, PartialEq, Eq)]
pub struct KeyProof {
    /// Whose key it is said to be.
    pub username: String,
    /// The key, in whatever form it was sent.
    pub api_key: String,
}

/// Nothing: the key is good for somebody else.
impl fmt::Debug for KeyProof {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("KeyProof").finish_non_exhaustive()
    }
}

/// A user's name and password.
#[derive(Clone, PartialEq, Eq)]
pub struct PasswordProof {
    /// Who it is said to be.
    pub username: String,
    /// The password.
    pub password: String,
}

/// Nothing; people type their password in the place of their name.
impl fmt::Debug for PasswordProof {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PasswordProof").finish_non_exhaustive()
    }
}

/// An `api_key` with a signed timestamp.
#[derive(Clone, PartialEq, Eq)]
pub struct SignatureV1 {
    /// Names the key.
    pub api_key: String,
    /// The timestamp exactly as sent: its text is what was signed.
    pub timestamp: String,
    /// The signature exactly as sent.
    pub signature: String,
    /// What the timestamp says.
    pub signed_at: Timestamp,
}

/// The time only: the triple is good for somebody else while its window is open.
impl fmt::Debug for SignatureV1 {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SignatureV1").field("signed_at", &self.signed_at).finish_non_exhaustive()
    }
}

/// Finds the one credential; `None` if nothing was presented.
///
/// # Errors
/// [`AuthError::Ambiguous`] or [`AuthError::Malformed`].
pub fn find(presented: &Presented, settings: &Settings) -> Result<Option<Credential>, AuthError> {
    let found = Found::collect(presented, settings)?;
    let enabled = |method, name| if settings.methods.contains(&method) { Ok(()) } else { Err(not_enabled(name)) };
    let credential = match found.kind()? {
        None => return Ok(None),
        Some(Kind::Signature) => enabled(Method::Signature, "signature").and_then(|()| found.signature())?,
        Some(Kind::ApiKey) => enabled(Method::ApiKey, "api_key").and_then(|()| found.api_key())?,
        Some(Kind::Basic) => enabled(Method::Basic, "basic").and_then(|()| found.basic())?,
        Some(Kind::Other(method)) => return Err(not_enabled(method)),
    };
    Ok(Some(credential))
}

/// Whether a form field of that name may be part of a credential. A door that finds one after it asked the gate has to
/// refuse the request: it was not looked at.
pub fn is_part(field: &str) -> bool {
    matches!(bare(&fold(field)), "api-key" | "timestamp" | "signature" | "username" | "signature-version")
}

/// The refusal of a kind of credential that this service does not accept.
pub(super) fn not_enabled(method: &str) -> AuthError {
    AuthError::Malformed(format!("{method} authentication is not enabled here"))
}

/// A kind of credential.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Signature,
    ApiKey,
    Basic,
    /// A kind that is known to be one, and not accepted.
    Other(&'static str),
}

/// Every part of a credential that stands anywhere in the request.
#[derive(Default)]
struct Found<'a> {
    username: Option<&'a str>,
    api_key: Option<&'a str>,
    timestamp: Option<&'a str>,
    signature: Option<&'a str>,
    /// `X-Signature-Version`, with which a client asks for a particular scheme.
    version: Option<&'a str>,
    authorization: Option<&'a str>,
    upload_token: Option<&'a str>,
    signature_input: Option<&'a str>,
}

impl<'a> Found<'a> {
    fn collect(presented: &'a Presented, settings: &Settings) -> Result<Self, AuthError> {
        let mut found = Self::default();
        found.take(&presented.headers, Place::Header)?;
        found.take(&presented.form, Place::Form)?;
        if settings.query_credentials {
            found.take(&presented.query, Place::Query)?;
        } else if presented.query.iter().any(|(name, _)| matches!(bare(&fold(name)), "api-key" | "signature")) {
            // Ignoring them would silently admit on what stands elsewhere. A `timestamp` alone is no credential: pages
            // add one to get around caches.
            let why = "credentials in the query string are not accepted here; send them as headers or form fields";
            return Err(AuthError::Malformed(why.into()));
        }
        Ok(found)
    }

    /// Takes in one place. A name counts as repeated in its folded spelling, because proxies and frameworks make
    /// `api_key`, `api-key` and `API-Key` the same; `X-Api-Key` beside `api_key` is a second place.
    fn take(&mut self, pairs: &'a [(String, String)], place: Place) -> Result<(), AuthError> {
        let mut seen: Vec<String> = Vec::new();
        for (name, value) in pairs {
            let folded = fold(name);
            let Some((slot, title)) = self.slot(bare(&folded), place) else { continue };
            let other = slot.is_some_and(|known| known != value);
            *slot = Some(value);
            if other {
                return Err(AuthError::Ambiguous(format!("{title} has two different values")));
            }
            if seen.contains(&folded) {
                return Err(AuthError::Ambiguous(format!("{title} stands twice in the {}", place.title())));
            }
            seen.push(folded);
        }
        Ok(())
    }

    fn slot(&mut self, name: &str, place: Place) -> Option<(&mut Option<&'a str>, &'static str)> {
        Some(match (name, place) {
            ("api-key", _) => (&mut self.api_key, "api_key"),
            ("timestamp", _) => (&mut self.timestamp, "timestamp"),
            ("signature", _) => (&mut self.signature, "signature"),
            ("username", _) => (&mut self.username, "username"),
            ("signature-version", _) => (&mut self.version, "signature_version"),
            ("authorization", Place::Header) => (&mut self.authorization, "Authorization"),
            ("upload-token", Place::Header) => (&mut self.upload_token, "Upload-Token"),
            ("signature-input", Place::Header) => (&mut self.signature_input, "Signature-Input"),
            _ => return None,
        })
    }

    /// The one kind presented. A `username` is a part of a credential only beside a bare `api_key`: forms have fields of
    /// that name for reasons of their own.
    fn kind(&self) -> Result<Option<Kind>, AuthError> {
        let message_signature = self.signature_input.is_some();
        // RFC 9421 carries its value in `Signature` as well, so there the field is not a part of a triple.
        let triple = self.has_triple_parts();
        let key_only = self.api_key.is_some() && self.username.is_some() && !triple;
        let kinds = [
            self.authorization.map(authorization_kind),
            self.upload_token.map(|_| Kind::Other("upload token")),
            message_signature.then_some(Kind::Other("HTTP message signature")),
            key_only.then_some(Kind::ApiKey),
            (triple || (self.api_key.is_some() && !key_only)).then_some(Kind::Signature),
        ];
        let mut present = kinds.into_iter().flatten();
        let first = present.next();
        // A key may stand in `Authorization` and in its own places; whether it is the same is seen when it is read.
        match present.all(|kind| Some(kind) == first && kind == Kind::ApiKey) {
            false => Err(AuthError::Ambiguous("more than one kind of credential".into())),
            true => Ok(first),
        }
    }

    fn api_key(&self) -> Result<Credential, AuthError> {
        let apart = self.username.zip(self.api_key).filter(|_| !self.has_triple_parts());
        let together = match self.authorization.map(authorization_value) {
            Some(value) => Some(value.split_once(':').ok_or_else(|| AuthError::Malformed(KEY_FORM.into()))?),
            None => None,
        };
        let (username, api_key) = match (apart, together) {
            (Some(one), Some(other)) if one != other => {
                return Err(AuthError::Ambiguous("api_key has two different values".into()));
            }
            (Some(pair), _) | (None, Some(pair)) => pair,
            (None, None) => return malformed(KEY_FORM),
        };
        if !is_username(username) || !signing::is_api_key(api_key) {
            return malformed("api_key needs a username of up to 255 bytes and 1 to 256 visible ASCII characters");
        }
        Ok(Credential::ApiKey(KeyProof { username: username.to_owned(), api_key: api_key.to_owned() }))
    }

    fn has_triple_parts(&self) -> bool {
        self.timestamp.is_some() || (self.signature.is_some() && self.signature_input.is_none())
    }

    fn basic(&self) -> Result<Credential, AuthError> {
        const FORM: &str = "Authorization: Basic must carry base64 of USER:PASSWORD in UTF-8";
        let wrong = || AuthError::Malformed(FORM.into());
        let value = self.authorization.map(authorization_value).ok_or_else(wrong)?;
        let text = String::from_utf8(BASE64.decode(value).map_err(|_| wrong())?).map_err(|_| wrong())?;
        let (username, password) = text.split_once(':').ok_or_else(wrong)?;
        let plain = !password.is_empty() && !password.chars().any(char::is_control);
        if !is_username(username) || !plain || password.len() > MAX_PASSWORD_BYTES {
            return Err(wrong());
        }
        Ok(Credential::Basic(PasswordProof { username: username.to_owned(), password: password.to_owned() }))
    }

    fn signature(&self) -> Result<Credential, AuthError> {
        // A request marked for a newer scheme is never judged by the older, weaker one (signature stripping).
        if self.version.is_some_and(|version| !matches!(version, "1" | "v1")) {
            return Err(not_enabled("this version of signature"));
        }
        let parts = [("api_key", self.api_key), ("timestamp", self.timestamp), ("signature", self.signature)];
        let missing: Vec<_> = parts.iter().filter(|(_, value)| value.is_none()).map(|(name, _)| *name).collect();
        let (Some(api_key), Some(timestamp), Some(signature)) = (self.api_key, self.timestamp, self.signature) else {
            return Err(AuthError::Malformed(format!("missing: {}", missing.join(", "))));
        };
        if !signing::is_api_key(api_key) {
            return malformed("api_key must be 1 to 256 visible ASCII characters");
        }
        if !signing::is_signature(signature) {
            return malformed("signature must be 16 to 512 characters of hexadecimal or base64");
        }
        let Some(signed_at) = signing::parse_timestamp(timestamp) else {
            return malformed("timestamp must be unix seconds (10 digits), milliseconds (13 digits) or RFC 3339");
        };
        let owned = str::to_owned;
        Ok(Credential::Signature(SignatureV1 {
            api_key: owned(api_key),
            timestamp: owned(timestamp),
            signature: owned(signature),
            signed_at,
        }))
    }
}

fn malformed<T>(why: &str) -> Result<T, AuthError> {
    Err(AuthError::Malformed(why.into()))
}

/// Where a part of a credential stands.
#[derive(Clone, Copy)]
enum Place {
    Header,
    Query,
    Form,
}

impl Place {
    fn title(self) -> &'static str {
        match self {
            Self::Header => "headers",
            Self::Query => "query",
            Self::Form => "form",
        }
    }
}

const KEY_FORM: &str = "Authorization: ApiKey must carry USER:KEY";

/// Whether the text may be a user's name: 1 to 255 bytes without colon and control characters.
pub fn is_username(text: &str) -> bool {
    (1..=255).contains(&text.len()) && !text.chars().any(|c| c == ':' || c.is_control())
}

fn authorization_kind(value: &str) -> Kind {
    let scheme = value.split_ascii_whitespace().next().unwrap_or_default();
    let known = [("Basic", Kind::Basic), ("ApiKey", Kind::ApiKey), ("Bearer", Kind::Other("bearer"))];
    let other = Kind::Other("this Authorization scheme's");
    known.into_iter().find(|(name, _)| name.eq_ignore_ascii_case(scheme)).map_or(other, |(_, kind)| kind)
}

/// What follows the scheme and its spaces.
fn authorization_value(value: &str) -> &str {
    value.trim().split_once([' ', '\t']).map_or("", |(_, rest)| rest.trim_start())
}

/// Lower case, with `-` for `_`.
fn fold(name: &str) -> String {
    name.to_ascii_lowercase().replace('_', "-")
}

/// A folded name without the `x-` that some proxies need and others add.
fn bare(folded: &str) -> &str {
    folded.strip_prefix("x-").unwrap_or(folded)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const SIGNATURE: &str = "e79878a0dfdf6c69a40c41dd4c202e09480e0d8e94c2aab57dbba4c78ee20c46";
    const TRIPLE: [(&str, &str); 3] = [("api_key", "demo-key"), ("timestamp", "1700000000"), ("signature", SIGNATURE)];

    fn pairs(from: &[(&str, &str)]) -> Vec<(String, String)> {
        from.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()
    }

    fn read(headers: &[(&str, &str)], query: &[(&str, &str)], form: &[(&str, &str)]) -> Result<bool, AuthError> {
        let presented =
            Presented { headers: pairs(headers), query: pairs(query), form: pairs(form), ..Presented::default() };
        find(&presented, &Settings { query_credentials: true, ..Settings::default() }).map(|found| found.is_some())
    }

    fn ambiguous(outcome: &Result<bool, AuthError>) -> bool {
        matches!(outcome, Err(AuthError::Ambiguous(_)))
    }

    fn why(outcome: Result<bool, AuthError>) -> String {
        match outcome {
            Err(AuthError::Malformed(why)) => why,
            other => format!("not malformed: {other:?}"),
        }
    }

    #[test]
    fn a_triple_may_stand_in_any_place() {
        assert_eq!(read(&[], &[], &[]), Ok(false));
        assert_eq!(read(&TRIPLE, &[], &[]), Ok(true));
        assert_eq!(read(&[], &TRIPLE, &[]), Ok(true));
        assert_eq!(read(&[], &[], &TRIPLE), Ok(true));
        assert_eq!(read(&TRIPLE, &TRIPLE, &TRIPLE), Ok(true));
        assert_eq!(read(&TRIPLE[..1], &TRIPLE[1..2], &TRIPLE[2..]), Ok(true));
        assert_eq!(read(&[("host", "a"), ("cookie", "b")], &[("page", "1")], &[("username", "ann")]), Ok(false));
    }

    #[test]
    fn an_alias_is_a_second_place_and_a_spelling_is_not() {
        let with = |name, value| read(&[TRIPLE[0], TRIPLE[1], TRIPLE[2], (name, value)], &[], &[]);
        assert_eq!(with("x-api-key", "demo-key"), Ok(true));
        assert!(ambiguous(&with("x-api-key", "other")));
        assert!(ambiguous(&with("api-key", "demo-key")));
        assert!(ambiguous(&with("API_KEY", "demo-key")));
        assert!(ambiguous(&with("authorization", "Basic YTpi")));
        assert!(ambiguous(&with("upload-token", "t")));
        assert!(ambiguous(&with("signature-input", "sig1=()")));
        assert_eq!(with("username", "ann"), Ok(true));
    }

    #[test]
    fn refusals_say_what_is_wrong() {
        assert_eq!(why(read(&TRIPLE[..1], &[], &[])), "missing: timestamp, signature");
        assert_eq!(why(read(&[], &[], &TRIPLE[2..])), "missing: api_key, timestamp");
        for (headers, part) in [
            (vec![("authorization", "Basic YTpi")], "basic authentication is not enabled"),
            (vec![("authorization", "ApiKey a:b")], "api_key authentication is not enabled"),
            (vec![("authorization", "")], "is not enabled"),
            (vec![("authorization", "Nonsense x")], "is not enabled"),
            (vec![("username", "ann"), ("api_key", "k")], "api_key authentication is not enabled"),
            (vec![("upload-token", "t")], "upload token authentication is not enabled"),
            (vec![("signature", "sig1=:aa:"), ("signature-input", "sig1=()")], "message signature"),
            (vec![TRIPLE[0], TRIPLE[1], TRIPLE[2], ("x-signature-version", "2")], "not enabled"),
            (vec![("api_key", ""), TRIPLE[1], TRIPLE[2]], "api_key must be"),
            (vec![TRIPLE[0], ("timestamp", "now"), TRIPLE[2]], "timestamp must be"),
            (vec![TRIPLE[0], TRIPLE[1], ("signature", "short")], "signature must be"),
        ] {
            let why = why(read(&headers, &[], &[]));
            assert!(why.contains(part), "{headers:?}: {why}");
        }
    }

    #[test]
    fn query_credentials_are_refused_when_off() {
        let ask = |query: &[(&str, &str)]| {
            let presented = Presented { query: pairs(query), headers: pairs(&TRIPLE), ..Presented::default() };
            find(&presented, &Settings::default()).map(|found| found.is_some())
        };
        assert!(why(ask(&TRIPLE)).contains("query"));
        assert!(why(ask(&[("X-Signature", "a")])).contains("query"));
        assert_eq!(ask(&[("timestamp", "1")]), Ok(true));
    }

    #[test]
    fn a_method_that_is_off_is_refused() {
        let settings = Settings { methods: Vec::new(), anonymous: true, ..Settings::default() };
        let presented = Presented { headers: pairs(&TRIPLE), ..Presented::default() };
        assert!(matches!(find(&presented, &settings), Err(AuthError::Malformed(_))));
    }

    #[test]
    fn nothing_secret_is_printed() {
        let presented = Presented { headers: pairs(&TRIPLE), ..Presented::default() };
        let found = find(&presented, &Settings::default());
        let printed = format!("{presented:?} {found:?}");
        assert!(!printed.contains("demo-key") && !printed.contains(SIGNATURE), "{printed}");
    }

    fn local(headers: &[(&str, &str)]) -> Result<Option<Credential>, AuthError> {
        let methods = vec![Method::ApiKey, Method::Basic];
        let presented = Presented { headers: pairs(headers), ..Presented::default() };
        find(&presented, &Settings { methods, ..Settings::default() })
    }

    #[test]
    fn a_key_is_read_from_both_of_its_forms() {
        let expected = KeyProof { username: "ann".into(), api_key: "k:1".into() };
        let together = ("authorization", "APIKEY \t ann:k:1");
        let apart = [("username", "ann"), ("api_key", "k:1")];
        for headers in [&[together][..], &apart, &[together, apart[0], apart[1]], &[together, ("username", "bob")]] {
            assert_eq!(local(headers), Ok(Some(Credential::ApiKey(expected.clone()))), "{headers:?}");
        }
        for headers in [
            &[together, ("api_key", "k:1")][..],
            &[together, apart[0], ("api_key", "k:2")],
            &[together, ("timestamp", "1700000000")],
            &[("authorization", "Basic YW5uOms="), apart[0], apart[1]],
        ] {
            assert!(matches!(local(headers), Err(AuthError::Ambiguous(_))), "{headers:?}");
        }
        for header in ["ApiKey", "ApiKey ann", "ApiKey :k", "ApiKey ann:", "ApiKey ann:k k"] {
            assert!(matches!(local(&[("authorization", header)]), Err(AuthError::Malformed(_))), "{header}");
        }
    }

    #[test]
    fn names_keys_and_passwords_are_not_printed() {
        for headers in [[("authorization", "ApiKey ann:k1")], [("authorization", "Basic YW5uOmsx")]] {
            let printed = format!("{:?}", local(&headers));
            assert!(
                printed.starts_with("Ok(Some(") && !printed.contains("ann") && !printed.contains("k1"),
                "{printed}"
            );
        }
    }

    fn anything() -> impl Strategy<Value = Vec<(String, String)>> {
        let name = prop_oneof![
            "(x-|X_)?(api|API)[-_](key|Key)",
            "(x-)?(timestamp|signature|username|authorization|upload-token|signature-input)",
            "\\PC{0,12}",
        ];
        proptest::collection::vec((name, "\\PC{0,20}"), 0..5)
    }

    proptest! {
        #[test]
        fn never_panics(headers in anything(), query in anything(), form in anything(), on: bool) {
            let presented = Presented { headers, query, form, ..Presented::default() };
            let methods = vec![Method::Signature, Method::ApiKey, Method::Basic];
            let _ = find(&presented, &Settings { query_credentials: on, methods, ..Settings::default() });
        }

        #[test]
        fn a_password_is_read_as_it_was_written(username in "[^:\\p{C}]{1,20}", password in "[^\\p{C}]{1,20}") {
            let header = format!("bAsIc {}", BASE64.encode(format!("{username}:{password}")));
            let found = local(&[("authorization", &header)]);
            prop_assert_eq!(found, Ok(Some(Credential::Basic(PasswordProof { username, password }))));
        }

        #[test]
        fn two_places_with_different_values_refuse(part in 0usize..3, first in 0usize..4, second in 0usize..4, to in "[a-z]{16,20}") {
            prop_assume!(first != second);
            let mut places = [vec![], vec![], vec![], vec![]];
            places[first] = TRIPLE.to_vec();
            places[second] = vec![(TRIPLE[part].0, to.as_str())];
            // The fourth place: headers under their `X-` names.
            let aliased: Vec<_> = places[3].iter().map(|(n, v)| (format!("X-{}", n.replace('_', "-")), *v)).collect();
            let mut headers = places[0].clone();
            headers.extend(aliased.iter().map(|(n, v)| (n.as_str(), *v)));
            prop_assert!(ambiguous(&read(&headers, &places[1], &places[2])));
        }

        #[test]
        fn spellings_of_a_header_behave_alike(x in "(|x-|X-|x_)", dash in "[-_]", upper: u16, value in "[a-z]{0,3}") {
            let spelled: String = format!("{x}api{dash}key").chars().enumerate()
                .map(|(at, c)| if upper >> at & 1 == 1 { c.to_ascii_uppercase() } else { c }).collect();
            let plain = read(&[("api_key", &value), TRIPLE[1], TRIPLE[2]], &[], &[]);
            prop_assert_eq!(read(&[(&spelled, &value), TRIPLE[1], TRIPLE[2]], &[], &[]), plain);
        }
    }
}
