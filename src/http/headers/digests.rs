//! Digests of the whole content in a header: `Repr-Digest: md5=:…:` (RFC 9530 §3).

use axum::http::HeaderName;
use base64::{Engine as _, engine::general_purpose::STANDARD as BASE64};

use crate::domain::digest::{Algorithm, Digest};

/// RFC 9530 §3; the same for a file in pieces as for a whole one.
pub const REPR_DIGEST: HeaderName = HeaderName::from_static("repr-digest");

/// The algorithms under their names in RFC 9530's registry, in the order in which one of several is chosen: what the
/// doors keep comes first. The registry calls md5 unfit against an adversary, which it is not used for here.
const NAMES: [(&str, Algorithm); 3] =
    [("md5", Algorithm::Md5), ("sha-256", Algorithm::Sha256), ("sha", Algorithm::Sha1)];

/// A digest as one member of the header's list.
pub fn print(digest: &Digest) -> String {
    let name = NAMES.iter().find(|(_, algorithm)| *algorithm == digest.algorithm).map_or("", |(name, _)| *name);
    format!("{name}=:{}:", BASE64.encode(&digest.value))
}

/// The digest to compare with: the first of [`NAMES`] that is listed. `Some(None)`: only algorithms that are not known,
/// which a recipient may ignore (RFC 9530 §3). `None`: malformed, or a value that its algorithm does not make.
pub fn parse(header: &str) -> Option<Option<Digest>> {
    let members = header.split(',').map(member).collect::<Option<Vec<_>>>()?;
    let found = NAMES.iter().find_map(|(name, algorithm)| {
        // Of a key that is repeated the last counts (RFC 8941 §4.2.2).
        let value = members.iter().rev().find(|(key, _)| key == name)?;
        Some((*algorithm, value.1.clone()))
    });
    match found {
        None => Some(None),
        Some((algorithm, value)) if value.len() == algorithm.length() => Some(Some(Digest { algorithm, value })),
        Some(_) => None,
    }
}

/// A key and its byte sequence (RFC 8941 §3.3.5); parameters mean nothing here.
fn member(text: &str) -> Option<(&str, Vec<u8>)> {
    let (key, value) = text.trim_matches([' ', '\t']).split_once('=')?;
    let (value, _parameters) = value.strip_prefix(':')?.split_once(':')?;
    Some((key, BASE64.decode(value).ok()?))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn headers_and_what_is_compared() {
        let empty = Digest::from_hex(Algorithm::Md5, "d41d8cd98f00b204e9800998ecf8427e").expect("an md5");
        for (header, meant) in [
            ("md5=:1B2M2Y8AsgTpgAmY7PhCfg==:", Some(Some(&empty))),
            ("unixsum=:AAA=:, md5=:1B2M2Y8AsgTpgAmY7PhCfg==:;q=1", Some(Some(&empty))),
            ("md5=:AAAA:, md5=:1B2M2Y8AsgTpgAmY7PhCfg==:", Some(Some(&empty))),
            ("unixsum=:AAA=:", Some(None)),
            ("", None),
            ("md5", None),
            ("md5=1B2M2Y8AsgTpgAmY7PhCfg==", None),
            ("md5=:1B2M2Y8AsgTpgAmY7PhCfg==", None),
            ("md5=:AAAA:", None),
            ("md5=:!:", None),
        ] {
            assert_eq!(parse(header), meant.map(|meant| meant.cloned()), "{header}");
        }
    }

    proptest! {
        #[test]
        fn what_is_printed_is_read(value in proptest::collection::vec(any::<u8>(), 16)) {
            let digest = Digest { algorithm: Algorithm::Md5, value };
            prop_assert_eq!(parse(&print(&digest)), Some(Some(digest)));
        }

        #[test]
        fn never_panics(header in "[md5sha=:, ;Aé-]{0,40}") {
            let _ = parse(&header);
        }
    }
}
