//! What a client wants of the whole content's digest: told in the head that begins the upload, kept up with the offset, and
//! held against the content where the last byte arrives, without reading it again.
//!
//! `Repr-Digest` (RFC 9530 §3) says what it will be, `Want-Repr-Digest` (§4) asks to be told it. A page that can set
//! metadata alone says `checksum`, with an algorithm's name and hexadecimal digits as ownCloud's clients do.

use axum::http::{HeaderMap, HeaderName};

use super::wire::{Wire, once};
use crate::{
    domain::{
        content_digest,
        digest::{Algorithm, Digest, Wanted},
    },
    http::headers::{REPR_DIGEST, metadata::Metadata},
};

const WANT_REPR_DIGEST: HeaderName = HeaderName::from_static("want-repr-digest");
const CHECKSUM: &str = "checksum";

/// Of several digests one is kept up: the first of these.
const PREFERRED: [Algorithm; 4] = [Algorithm::Sha256, Algorithm::Sha512, Algorithm::Sha1, Algorithm::Md5];

/// What is wanted, if anything is. Algorithms that are not known here are passed over.
pub(super) fn wanted(headers: &HeaderMap, metadata: &Metadata) -> Result<Option<Wanted>, Wire> {
    let expected = match expected(headers)? {
        None => checksum(metadata)?,
        expected => expected,
    };
    match expected {
        Some(expected) => Ok(Some(Wanted::Equal(expected))),
        None => Ok(asked(headers)?.map(Wanted::Told)),
    }
}

fn expected(headers: &HeaderMap) -> Result<Option<Digest>, Wire> {
    const FAULT: &str = "Repr-Digest must be one dictionary of digests (RFC 9530)";
    let Some(field) = once(headers, &REPR_DIGEST, FAULT)? else { return Ok(None) };
    let digests = content_digest::read(field).ok_or(Wire::Bad(FAULT))?;
    let place = |digest: &Digest| PREFERRED.iter().position(|algorithm| *algorithm == digest.algorithm);
    Ok(digests.into_iter().min_by_key(place))
}

fn asked(headers: &HeaderMap) -> Result<Option<Algorithm>, Wire> {
    const FAULT: &str = "Want-Repr-Digest must be one dictionary of weights from 0 to 10 (RFC 9530)";
    let Some(field) = once(headers, &WANT_REPR_DIGEST, FAULT)? else { return Ok(None) };
    let weights = content_digest::weights(field).ok_or(Wire::Bad(FAULT))?;
    let weight = |algorithm| weights.iter().find(|(known, _)| *known == algorithm).map_or(0, |(_, weight)| *weight);
    // Of equals the last is taken.
    Ok(PREFERRED
        .into_iter()
        .rev()
        .filter(|algorithm| weight(*algorithm) > 0)
        .max_by_key(|algorithm| weight(*algorithm)))
}

/// The words of others under that key are metadata and nothing else.
fn checksum(metadata: &Metadata) -> Result<Option<Digest>, Wire> {
    let Some(text) = metadata.text(&[CHECKSUM]) else { return Ok(None) };
    let Some((name, value)) = text.split_once(' ') else { return Ok(None) };
    let Some(algorithm) = Algorithm::named(&name.to_ascii_lowercase()) else { return Ok(None) };
    let digest = Digest::from_hex(algorithm, value.trim());
    digest.map(Some).ok_or(Wire::Bad("checksum in Upload-Metadata is an algorithm and its value in hexadecimal"))
}

#[cfg(test)]
mod tests {
    use axum::http::HeaderValue;

    use super::*;

    const MD5: &str = "md5=:XrY7u+Ae7tCTyyK7j1rNww==:";
    const SHA256: &str = "sha-256=:X48E9qOokqqrvdts8nOJRJN3OWDUoyWxBf7kbu9DBPE=:";

    fn read(headers: &[(HeaderName, &str)], metadata: &str) -> Result<Option<Wanted>, Wire> {
        let mut map = HeaderMap::new();
        for (name, value) in headers {
            map.append(name, HeaderValue::from_str(value).expect("a value"));
        }
        wanted(&map, &Metadata::parse(metadata).unwrap_or_default())
    }

    fn algorithm(headers: &[(HeaderName, &str)]) -> Option<Algorithm> {
        read(headers, "").expect("well-formed").map(|wanted| wanted.algorithm())
    }

    #[test]
    fn of_several_digests_the_strongest_is_expected_and_the_weightiest_is_told() {
        assert_eq!(algorithm(&[]), None);
        assert_eq!(algorithm(&[(REPR_DIGEST, &format!("{MD5}, {SHA256}"))]), Some(Algorithm::Sha256));
        assert_eq!(algorithm(&[(REPR_DIGEST, "unixsum=:AAA=:")]), None);
        for (field, asked) in [
            ("sha-256=10", Some(Algorithm::Sha256)),
            ("sha-512=3, sha-256=3, md5=1", Some(Algorithm::Sha256)),
            ("sha-256=3, md5=10", Some(Algorithm::Md5)),
            ("sha-256=0", None),
            ("unixsum=9", None),
        ] {
            assert_eq!(algorithm(&[(WANT_REPR_DIGEST, field)]), asked, "{field}");
        }
        let both = read(&[(WANT_REPR_DIGEST, "md5=10"), (REPR_DIGEST, SHA256)], "").expect("well-formed");
        assert!(matches!(both, Some(Wanted::Equal(digest)) if digest.algorithm == Algorithm::Sha256));
    }

    #[test]
    fn metadata_can_name_it_too() {
        // sha1 0a0a9f2a6772942557ab5355d76af442f8f65e01
        let named =
            read(&[], "checksum U0hBMSAwYTBhOWYyYTY3NzI5NDI1NTdhYjUzNTVkNzZhZjQ0MmY4ZjY1ZTAx").expect("well-formed");
        assert!(matches!(named, Some(Wanted::Equal(digest)) if digest.algorithm == Algorithm::Sha1));
        // "adler32 0a0b0c0d", "yes", ""
        for others in ["checksum YWRsZXIzMiAwYTBiMGMwZA==", "checksum eWVz", "checksum"] {
            assert_eq!(read(&[], others).expect("no word of ours"), None, "{others}");
        }
        // "md5 0a"
        read(&[], "checksum bWQ1IDBh").expect_err("no md5");
    }

    #[test]
    fn what_cannot_be_read_is_refused() {
        for (name, field) in [
            (REPR_DIGEST, ""),
            (REPR_DIGEST, "sha-256=1"),
            (REPR_DIGEST, "sha-256=:AAA=:"),
            (WANT_REPR_DIGEST, "sha-256=11"),
            (WANT_REPR_DIGEST, "sha-256=-1"),
            (WANT_REPR_DIGEST, "sha-256"),
            (WANT_REPR_DIGEST, "="),
        ] {
            read(&[(name, field)], "").expect_err(field);
        }
        read(&[(REPR_DIGEST, SHA256), (REPR_DIGEST, SHA256)], "").expect_err("twice");
    }
}
