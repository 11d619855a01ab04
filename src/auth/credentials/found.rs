//! Every place of a request in which a part of a credential may stand, read every time.

use super::Kind;
use crate::auth::{AuthError, Presented, Settings};

/// Every part of a credential that stands anywhere in the request.
#[derive(Default)]
pub(super) struct Found<'a> {
    pub(super) username: Option<&'a str>,
    pub(super) api_key: Option<&'a str>,
    pub(super) timestamp: Option<&'a str>,
    pub(super) signature: Option<&'a str>,
    /// `X-Signature-Version`, with which a client asks for a particular scheme.
    pub(super) version: Option<&'a str>,
    pub(super) authorization: Option<&'a str>,
    pub(super) upload_token: Option<&'a str>,
    signature_input: Option<&'a str>,
}

impl<'a> Found<'a> {
    pub(super) fn collect(presented: &'a Presented, settings: &Settings) -> Result<Self, AuthError> {
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
    pub(super) fn kind(&self) -> Result<Option<Kind>, AuthError> {
        let message_signature = self.signature_input.is_some();
        // RFC 9421 carries its value in `Signature` as well, so there the field is not a part of a triple.
        let triple = self.has_triple_parts();
        let key_only = self.api_key.is_some() && self.username.is_some() && !triple;
        let kinds = [
            self.authorization.map(authorization_kind),
            self.upload_token.map(|_| Kind::Token),
            message_signature.then_some(Kind::SignatureV2),
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

    pub(super) fn has_triple_parts(&self) -> bool {
        self.timestamp.is_some() || (self.signature.is_some() && self.signature_input.is_none())
    }
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

fn authorization_kind(value: &str) -> Kind {
    let scheme = value.split_ascii_whitespace().next().unwrap_or_default();
    let known = [("Basic", Kind::Basic), ("ApiKey", Kind::ApiKey), ("Bearer", Kind::Other("bearer"))];
    let other = Kind::Other("this Authorization scheme's");
    known.into_iter().find(|(name, _)| name.eq_ignore_ascii_case(scheme)).map_or(other, |(_, kind)| kind)
}

/// Lower case, with `-` for `_`.
pub(super) fn fold(name: &str) -> String {
    name.to_ascii_lowercase().replace('_', "-")
}

/// A folded name without the `x-` that some proxies need and others add.
pub(super) fn bare(folded: &str) -> &str {
    folded.strip_prefix("x-").unwrap_or(folded)
}
