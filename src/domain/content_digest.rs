//! The field `Content-Digest` (RFC 9530 §2): what the bytes of a message hash to, by one or several algorithms.
//!
//! Every algorithm that is known here is checked; others are passed over, as the standard has it (§3). Only `sha-256` and
//! `sha-512` say that nobody exchanged the bytes: the older ones find accidents, and nothing else.

use sfv::{BareItem, Dictionary, FieldType as _, Item, KeyRef, ListEntry, Parser};

use super::digest::{Algorithm, Digest, Running};

/// The name under which the algorithm is registered (RFC 9530 §7.2).
pub fn registered(algorithm: Algorithm) -> &'static str {
    match algorithm {
        Algorithm::Md5 => "md5",
        Algorithm::Sha1 => "sha",
        Algorithm::Sha256 => "sha-256",
        Algorithm::Sha512 => "sha-512",
        // Not registered, so the field cannot name it, and no content's digest is of it.
        Algorithm::Crc32 => "crc32",
    }
}

/// The digests that the field names, of algorithms that are known; `None` if it is not such a field.
pub fn read(field: &str) -> Option<Vec<Digest>> {
    let members: Dictionary = Parser::new(field).parse().ok()?;
    if members.is_empty() {
        return None;
    }
    let mut digests = Vec::new();
    for (name, member) in members {
        let Some(algorithm) = known(name.as_str()) else { continue };
        let ListEntry::Item(Item { bare_item: BareItem::ByteSequence(value), .. }) = member else { return None };
        digests.push(Digest::from_bytes(algorithm, value)?);
    }
    Some(digests)
}

/// How much each digest is wanted by a field like `Want-Repr-Digest` (§4): from 0, which is not at all, to 10; of
/// algorithms that are known. `None` if it is not such a field.
pub fn weights(field: &str) -> Option<Vec<(Algorithm, u8)>> {
    let members: Dictionary = Parser::new(field).parse().ok()?;
    if members.is_empty() {
        return None;
    }
    let mut weights = Vec::new();
    for (name, member) in members {
        let ListEntry::Item(Item { bare_item: BareItem::Integer(weight), .. }) = member else { return None };
        let weight = u8::try_from(i64::from(weight)).ok().filter(|weight| *weight <= 10)?;
        weights.extend(known(name.as_str()).map(|algorithm| (algorithm, weight)));
    }
    Some(weights)
}

fn known(name: &str) -> Option<Algorithm> {
    Algorithm::ALL.into_iter().find(|algorithm| registered(*algorithm) == name)
}

/// Whether any of the digests holds against somebody who wants to exchange the bytes.
pub fn are_strong(digests: &[Digest]) -> bool {
    digests.iter().any(|digest| matches!(digest.algorithm, Algorithm::Sha256 | Algorithm::Sha512))
}

/// The field, or its like `Repr-Digest`, for this digest.
pub fn written(digest: &Digest) -> String {
    let name = KeyRef::from_str(registered(digest.algorithm)).expect("a name of ours").to_owned();
    let member = ListEntry::from(Item::new(digest.value.clone()));
    Dictionary::from_iter([(name, member)]).serialize().unwrap_or_default()
}

/// The field for these bytes, with `sha-256`.
pub fn of(bytes: &[u8]) -> String {
    let mut running = Running::new(Algorithm::Sha256);
    running.update(bytes);
    written(&running.finish())
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn examples_of_the_standard() {
        // RFC 9421 §B.2 and RFC 9530 §B.1.
        let body = br#"{"hello": "world"}"#;
        for (algorithm, field) in [
            (
                Algorithm::Sha512,
                "sha-512=:WZDPaVn/7XgHaAy8pmojAkGWoRx2UFChF41A2svX+TaPm+AbwAgBWnrIiYllu7BNNyealdVLvRwEmTHWXvJwew==:",
            ),
            (Algorithm::Sha256, "sha-256=:X48E9qOokqqrvdts8nOJRJN3OWDUoyWxBf7kbu9DBPE=:"),
        ] {
            let mut running = Running::new(algorithm);
            running.update(body);
            let [digest] = &read(field).expect("well-formed")[..] else { panic!("one digest") };
            assert!(digest.matches(&running.finish()), "{field}");
        }
        assert_eq!(of(body), "sha-256=:X48E9qOokqqrvdts8nOJRJN3OWDUoyWxBf7kbu9DBPE=:");
    }

    #[test]
    fn unknown_algorithms_are_passed_over_and_broken_values_are_not() {
        let md5 = "md5=:1B2M2Y8AsgTpgAmY7PhCfg==:";
        let digests = read(&format!("unixsum=5, {md5}, crc32c=:AAAAAA==:")).expect("well-formed");
        assert_eq!(digests.len(), 1);
        assert!(!are_strong(&digests) && are_strong(&read(&of(b"")).expect("our own")));
        assert_eq!(read("unixsum=5"), Some(vec![]));
        for field in ["", "=", "sha-256", "sha-256=1", "sha-256=:AA==:", "md5=\"x\"", "sha-256=:A:", "(", "sha-256=(1)"]
        {
            assert_eq!(read(field), None, "{field}");
        }
    }

    proptest! {
        #[test]
        fn never_panics(text in "\\PC{0,60}") {
            let _ = read(&text);
            let _ = read(&format!("sha-256=:{text}:"));
        }
    }
}
