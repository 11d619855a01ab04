//! Each kind of credential, read from its parts and its form checked.

use base64::{Engine as _, engine::general_purpose::STANDARD as BASE64};

use super::{Credential, KeyProof, PasswordProof, SignatureV1, TokenProof, found::Found, is_username, not_enabled};
use crate::{
    auth::{AuthError, ContentDigest, Presented, passwords::MAX_PASSWORD_BYTES},
    domain::{
        message_signature::{self, Demands, Flaw, Message},
        signing,
    },
};

const KEY_FORM: &str = "Authorization: ApiKey must carry USER:KEY";

impl Found<'_> {
    pub(super) fn api_key(&self) -> Result<Credential, AuthError> {
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

    pub(super) fn basic(&self) -> Result<Credential, AuthError> {
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

    pub(super) fn upload_token(&self) -> Result<Credential, AuthError> {
        let text = self.upload_token.ok_or(AuthError::Missing)?.to_owned();
        Ok(Credential::Token(TokenProof { text }))
    }

    pub(super) fn signature(&self) -> Result<Credential, AuthError> {
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

impl Found<'_> {
    /// Both fields stand in headers alone, under their own names: libraries write them.
    pub(super) fn signature_v2(&self, presented: &Presented, digest: ContentDigest) -> Result<Credential, AuthError> {
        if self.version.is_some_and(|version| !matches!(version, "2" | "v2")) {
            return Err(not_enabled("this version of signature"));
        }
        let header = |name| presented.headers.iter().find(|(known, _)| known == name).map(|(_, value)| value.as_str());
        let (Some(input), Some(value)) = (header("signature-input"), header("signature")) else {
            return malformed("missing: Signature-Input or Signature");
        };
        let message = Message {
            method: &presented.request.method,
            scheme: &presented.scheme,
            authority: presented.request.host.as_deref().unwrap_or_default(),
            path: &presented.request.path,
            query: presented.raw_query.as_deref(),
            fields: &presented.headers,
        };
        let demands = Demands { content_digest: digest == ContentDigest::Required };
        match message_signature::read(&message, input, value, demands) {
            Ok(signed) => Ok(Credential::SignatureV2(Box::new(signed))),
            Err(Flaw::Malformed(why)) => Err(AuthError::Malformed(why)),
            Err(Flaw::Ambiguous(why)) => Err(AuthError::Ambiguous(why)),
        }
    }
}

/// What follows the scheme and its spaces.
fn authorization_value(value: &str) -> &str {
    value.trim().split_once([' ', '\t']).map_or("", |(_, rest)| rest.trim_start())
}

fn malformed<T>(why: &str) -> Result<T, AuthError> {
    Err(AuthError::Malformed(why.into()))
}
