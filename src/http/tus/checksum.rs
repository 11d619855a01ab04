//! The checksum extension: a body that is held against `Upload-Checksum` while the core reads it.
//!
//! In a header the checksum is known beforehand; in a trailer (checksum-trailer) it comes after the bytes and names its
//! algorithm only then, so that every algorithm is kept up meanwhile. A body that does not have it fails at its end, and
//! nothing of it is admitted.

use axum::{
    body::Body,
    http::{HeaderMap, HeaderName, header},
};
use base64::{Engine as _, engine::general_purpose::STANDARD as BASE64};

use crate::{
    domain::digest::{Algorithm, Digest, Running},
    http::digested::{Check, Held},
    uploads::BodyError,
};

/// The algorithms that are offered, in the order in which they are.
pub(super) const ALGORITHMS: [Algorithm; 5] =
    [Algorithm::Sha1, Algorithm::Md5, Algorithm::Crc32, Algorithm::Sha256, Algorithm::Sha512];

const UPLOAD_CHECKSUM: HeaderName = HeaderName::from_static("upload-checksum");

/// The header or trailer is not a checksum of an algorithm that is offered.
#[derive(Debug)]
pub(super) struct Unreadable;

/// `body`, held against the checksum that the request carries or announces; `None`: it does neither.
pub(super) fn checked(headers: &HeaderMap, body: Body) -> Result<(Body, bool), Unreadable> {
    let expected = match expected(headers)? {
        Some(digest) => Expected::Known(digest),
        None if is_announced(headers) => Expected::Announced,
        None => return Ok((body, false)),
    };
    let running = match &expected {
        Expected::Known(digest) => vec![Running::new(digest.algorithm)],
        Expected::Announced => ALGORITHMS.into_iter().map(Running::new).collect(),
    };
    Ok((Body::new(Held::new(body, Checked { expected, running })), true))
}

/// `sha1 Kq5sNclPz7QV2+lfQIuc6R7oRu0=`
fn expected(headers: &HeaderMap) -> Result<Option<Digest>, Unreadable> {
    let mut values = headers.get_all(UPLOAD_CHECKSUM).iter();
    let Some(value) = values.next() else { return Ok(None) };
    let read = || {
        let (name, value) = value.to_str().ok()?.trim().split_once(' ')?;
        let algorithm = ALGORITHMS.into_iter().find(|known| known.name() == name)?;
        Digest::from_bytes(algorithm, BASE64.decode(value.trim()).ok()?)
    };
    match (read(), values.next()) {
        (Some(digest), None) => Ok(Some(digest)),
        _ => Err(Unreadable),
    }
}

/// Whether `Trailer` says that a checksum follows the body (RFC 9110 §6.6.2).
fn is_announced(headers: &HeaderMap) -> bool {
    let lines = headers.get_all(header::TRAILER).iter().filter_map(|line| line.to_str().ok());
    lines.flat_map(|line| line.split(',')).any(|name| name.trim().eq_ignore_ascii_case(UPLOAD_CHECKSUM.as_str()))
}

enum Expected {
    Known(Digest),
    Announced,
}

struct Checked {
    expected: Expected,
    running: Vec<Running>,
}

impl Check for Checked {
    fn flaw(&self) -> Option<BodyError> {
        None
    }

    fn update(&mut self, bytes: &[u8]) {
        self.running.iter_mut().for_each(|running| running.update(bytes));
    }

    fn verdict(self, trailers: Option<&HeaderMap>) -> Result<(), BodyError> {
        let late = || BodyError::Malformed("the trailer Upload-Checksum is not a checksum that is offered".into());
        let expected = match self.expected {
            Expected::Known(digest) => digest,
            Expected::Announced => trailers.and_then(|trailers| expected(trailers).ok().flatten()).ok_or_else(late)?,
        };
        let running = self.running.into_iter().find(|running| running.algorithm() == expected.algorithm);
        match expected.matches(&running.ok_or_else(late)?.finish()) {
            true => Ok(()),
            false => Err(BodyError::WrongDigest { algorithm: expected.algorithm }),
        }
    }
}
