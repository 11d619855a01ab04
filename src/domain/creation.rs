//! A creation that happens once, however often its client sends it.
//!
//! Whoever lost the answer to a request that began an upload cannot know whether it did. A key that the client made up for
//! the creation tells the second request from the beginning of another upload. It is a name and no proof: it is looked up
//! among the uploads of its owner, and reaches nothing that the proof at hand does not reach.

/// What a client calls one creation.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct CreationKey(String);

/// A creation under a key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Creation {
    /// The key.
    pub key: CreationKey,
    /// What was said of the upload, as a hash: the same key is good for the same words only.
    pub said: String,
}

impl CreationKey {
    /// Longest key in bytes.
    pub const LONGEST: usize = 255;

    /// A key of visible ASCII characters. `None`: it has others, or too many, or none.
    pub fn new(text: &str) -> Option<Self> {
        let is_visible = text.bytes().all(|byte| byte.is_ascii_graphic());
        (is_visible && (1..=Self::LONGEST).contains(&text.len())).then(|| Self(text.to_owned()))
    }

    /// As it was sent.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_is_short_and_visible() {
        let longest = "x".repeat(CreationKey::LONGEST);
        for good in ["a", "8e03978e-40d5-43dd-bc93-6894a57f9324", "~!\"\\", &longest] {
            assert_eq!(CreationKey::new(good).as_ref().map(CreationKey::as_str), Some(good));
        }
        for bad in ["", " ", "a b", "a\t", "\u{7f}", "é", &(longest + "x")] {
            assert_eq!(CreationKey::new(bad), None, "{bad}");
        }
    }
}
