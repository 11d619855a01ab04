//! Names for what must not be kept: a keyed hash, made with a secret that ends with the process.
//!
//! A dump of what is remembered under such names gives nothing away, and nobody outside can search for two inputs with
//! one name.

use hmac::{Hmac, KeyInit as _, Mac as _};
use sha2::Sha256;

/// Names some inputs in this process.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Key([u8; 32]);

/// Makes keys.
pub(super) struct Keys([u8; 32]);

impl Keys {
    /// Keys that no other such value makes.
    pub(super) fn new() -> Self {
        let mut secret = [0; 32];
        rand::fill(&mut secret);
        Self(secret)
    }

    /// The name of these inputs.
    pub(super) fn key(&self, inputs: &[&str]) -> Key {
        let mut mac = Hmac::<Sha256>::new_from_slice(&self.0).expect("HMAC takes a key of any length");
        length_prefixed(inputs, |bytes| mac.update(bytes));
        Key(mac.finalize().into_bytes().into())
    }
}

/// Feeds each input with its length before it, so that no byte can move from one input to its neighbour unnoticed.
pub(super) fn length_prefixed(inputs: &[&str], mut take: impl FnMut(&[u8])) {
    for input in inputs {
        take(&(input.len() as u64).to_be_bytes());
        take(input.as_bytes());
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn key(keys: &Keys, inputs: &[String]) -> Key {
        keys.key(&inputs.iter().map(String::as_str).collect::<Vec<_>>())
    }

    proptest! {
        #[test]
        fn any_changed_input_changes_the_key(inputs in proptest::collection::vec(".{0,6}", 6), other in proptest::collection::vec(".{0,6}", 6)) {
            let keys = Keys::new();
            prop_assert_eq!(key(&keys, &inputs) == key(&keys, &other), inputs == other);
        }

        #[test]
        fn a_byte_moved_to_its_neighbour_changes_the_key(inputs in proptest::collection::vec("[a-z]{1,6}", 6), at in 0usize..5) {
            let keys = Keys::new();
            let mut moved = inputs.clone();
            let last = moved[at].pop().expect("not empty");
            moved[at + 1].insert(0, last);
            prop_assert!(key(&keys, &inputs) != key(&keys, &moved));
        }
    }
}
