//! Entity tags and the conditions that compare them (RFC 9110 §8.8.3 and §13.1).

/// Whether `If-None-Match` names `etag` (quoted, strong), so that 304 is the answer. The comparison is the weak one that
/// RFC 9110 §13.1.2 demands: a proxy that compresses makes a tag weak, and the content is still the same.
pub fn none_match_names(header: &str, etag: &str) -> bool {
    header.trim() == "*" || tags(header).any(|tag| tag.strip_prefix("W/").unwrap_or(tag) == etag)
}

/// Whether `If-Range` lets a range be answered: only the very same strong tag does (RFC 9110 §13.1.5). A date does not,
/// because none is promised to be exact.
pub fn if_range_holds(header: &str, etag: &str) -> bool {
    header.trim() == etag
}

/// The tags of a list; what is no tag ends it.
fn tags(list: &str) -> impl Iterator<Item = &str> {
    let mut rest = list;
    std::iter::from_fn(move || {
        rest = rest.trim_start_matches([',', ' ', '\t']);
        let opening = if rest.starts_with("W/\"") { 3 } else { usize::from(rest.starts_with('"')) };
        let closing = rest.get(opening..).filter(|_| opening > 0)?.find('"')?;
        let (tag, after) = rest.split_at(opening + closing + 1);
        rest = after;
        Some(tag)
    })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn conditions() {
        for (header, named) in [
            ("\"a\"", true),
            ("W/\"a\"", true),
            ("\"b\", \"a,\"  ,W/\"a\"", true),
            ("*", true),
            ("\"b\"", false),
            ("\"b,\"a\"", false),
            ("a", false),
            ("\"a", false),
            ("", false),
        ] {
            assert_eq!(none_match_names(header, "\"a\""), named, "{header}");
        }
        assert!(if_range_holds("\"a\"", "\"a\""));
        for header in ["W/\"a\"", "\"b\"", "a", "", "Sun, 22 Nov 2026 10:11:32 GMT"] {
            assert!(!if_range_holds(header, "\"a\""), "{header}");
        }
    }

    proptest! {
        #[test]
        fn never_panics(header in "[W/\",a é*]{0,30}") {
            let _ = none_match_names(&header, "\"a\"");
        }
    }
}
