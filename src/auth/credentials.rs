//! The one extractor: finds the credential in everything a request presents.
//!
//! Gateways that look in one place first and in the next place second have been fooled by requests that carry one
//! credential for each (the CVE-2025-31489 class), and gateways that take the first of two equal headers by requests that
//! carry both (CVE-2022-2385). So every place is read, every time: one kind of credential per request, one value per
//! part. The same value in two places is fine; two values, or one name twice in one place, are refused.
//!
//! What is deliberately not done: guessing. A credential that is incomplete or of a kind that is not enabled is refused
//! as such and never taken for "nothing presented". No message repeats a value.

mod found;
mod read;

use std::fmt;

use self::found::{Found, bare, fold};
use super::{AuthError, Method, Presented, Scheme, Settings};
use crate::domain::{Timestamp, message_signature::Signed};

/// The one credential of a request, its form already checked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Credential {
    /// See [`SignatureV1`].
    Signature(SignatureV1),
    /// A signed request.
    SignatureV2(Box<Signed>),
    /// See [`KeyProof`].
    ApiKey(KeyProof),
    /// See [`PasswordProof`].
    Basic(PasswordProof),
    /// See [`TokenProof`].
    Token(TokenProof),
}

impl Credential {
    /// The key by whose beginning a realm may be told. A password and a token have none.
    pub fn key(&self) -> Option<&str> {
        match self {
            Self::Signature(proof) => Some(&proof.api_key),
            Self::SignatureV2(signed) => Some(&signed.keyid),
            Self::ApiKey(proof) => Some(&proof.api_key),
            Self::Basic(_) | Self::Token(_) => None,
        }
    }

    /// Whether browsers send it by themselves, whichever page makes them send a request (RFC 7617 §2.2).
    pub fn is_sent_by_browsers(&self) -> bool {
        match self {
            Self::Basic(_) => true,
            Self::Signature(_) | Self::SignatureV2(_) | Self::ApiKey(_) | Self::Token(_) => false,
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

/// An upload token, in whatever form it was sent: what is none is as wrong as one that was tampered with.
#[derive(Clone, PartialEq, Eq)]
pub struct TokenProof {
    /// The text.
    pub text: String,
}

/// Nothing: whoever has the text has the upload.
impl fmt::Debug for TokenProof {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TokenProof").finish_non_exhaustive()
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
        Some(Kind::Signature | Kind::SignatureV2) if !settings.methods.contains(&Method::Signature) => {
            return Err(not_enabled("signature"));
        }
        Some(Kind::Signature) if settings.signature.min_scheme > Scheme::V1 => {
            return Err(AuthError::SchemeNotAllowed);
        }
        Some(Kind::Signature) => found.signature()?,
        Some(Kind::SignatureV2) => found.signature_v2(presented, settings.signature.content_digest)?,
        Some(Kind::ApiKey) => enabled(Method::ApiKey, "api_key").and_then(|()| found.api_key())?,
        Some(Kind::Basic) => enabled(Method::Basic, "basic").and_then(|()| found.basic())?,
        // Accepted always: there is none that this service did not give.
        Some(Kind::Token) => found.upload_token()?,
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
    SignatureV2,
    ApiKey,
    Basic,
    Token,
    /// A kind that is known to be one, and not accepted.
    Other(&'static str),
}

/// Whether the text may be a user's name: 1 to 255 bytes without colon and control characters.
pub fn is_username(text: &str) -> bool {
    (1..=255).contains(&text.len()) && !text.chars().any(|c| c == ':' || c.is_control())
}

#[cfg(test)]
mod tests;
