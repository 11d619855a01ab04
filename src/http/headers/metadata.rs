//! `Upload-Metadata` of tus: what a client says about its upload, in pairs of a key and a value in base64.

use std::collections::HashSet;

use base64::{Engine as _, engine::general_purpose::STANDARD as BASE64};

/// Longest value that is kept, in bytes.
const MAX_BYTES: usize = 16 * 1024;

/// The pairs of `filename d29ybGQ=,is_confidential`, in their order. A value may be absent.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Metadata(Vec<(String, Vec<u8>)>);

impl Metadata {
    /// Reads the header's value; `None` if it is malformed, too long, or names a key twice.
    pub fn parse(text: &str) -> Option<Self> {
        let mut pairs: Vec<(String, Vec<u8>)> = Vec::new();
        let mut known = HashSet::new();
        if text.len() > MAX_BYTES {
            return None;
        }
        for pair in text.split(',').map(str::trim) {
            let (key, value) = pair.split_once(' ').unwrap_or((pair, ""));
            let proper = !key.is_empty() && key.bytes().all(|byte| byte.is_ascii_graphic());
            if !proper || !known.insert(key) {
                return None;
            }
            pairs.push((key.to_owned(), BASE64.decode(value.trim()).ok()?));
        }
        Some(Self(pairs))
    }

    /// The text under the first of `keys` that is there.
    pub fn text(&self, keys: &[&str]) -> Option<String> {
        let found = keys.iter().find_map(|key| self.0.iter().find(|(known, _)| known == key));
        found.map(|(_, value)| String::from_utf8_lossy(value).into_owned()).filter(|text| !text.is_empty())
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn pairs_are_read_and_nothing_else() {
        let read =
            Metadata::parse("filename d29ybGRfZG9taW5hdGlvbl9wbGFuLnBkZg==,is_confidential, empty ").expect("pairs");
        assert_eq!(read.text(&["name", "filename"]).as_deref(), Some("world_domination_plan.pdf"));
        assert_eq!(read.text(&["is_confidential"]), None);
        for wrong in ["", ",", "a YQ==,", "a YQ==,a YQ==", "a Y", "a YQ== YQ==", "\u{e9} YQ==", "a\tb", " "] {
            assert_eq!(Metadata::parse(wrong), None, "{wrong:?}");
        }
        assert_eq!(Metadata::parse(&format!("a {}", "A".repeat(MAX_BYTES))), None);
    }

    proptest! {
        #[test]
        fn what_is_written_is_read(pairs in prop::collection::btree_map("[!-+\\--~]{1,8}", any::<Vec<u8>>(), 1..5)) {
            let written: Vec<_> = pairs.iter().map(|(key, value)| format!("{key} {}", BASE64.encode(value))).collect();
            let read = Metadata::parse(&written.join(",")).expect("pairs");
            prop_assert_eq!(read.0, pairs.into_iter().collect::<Vec<_>>());
        }

        #[test]
        fn nothing_panics(text in ".*") {
            let _ = Metadata::parse(&text);
        }
    }
}
