//! Wire grammars of single headers: pure, total, strict where bytes are at stake and tolerant where only looks are.
//!
//! A grammar takes text and answers with a value; it never reads a request, and what a value means for an upload is
//! decided elsewhere.

use axum::http::HeaderName;

pub mod dates;
pub mod disposition;
pub mod forwarded;
pub mod metadata;
pub mod ranges;
pub mod validators;

/// Digests of the whole content (RFC 9530 §3); the same for a file in pieces as for a whole one.
pub const REPR_DIGEST: HeaderName = HeaderName::from_static("repr-digest");
