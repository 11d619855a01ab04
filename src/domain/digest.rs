//! Running digests that can be put down and taken up again.
//!
//! The state of a digest is saved in the same row as the offset it belongs to, so that completing an upload compares two
//! values and never reads the file again. The saved form carries a version: a state that cannot be read (another
//! version, a truncated column) is recomputed once from the bytes, never trusted.

use digest::{
    Digest as _,
    common::hazmat::{SerializableState, SerializedState},
};
use md5::Md5;
use serde::{Deserialize, Serialize};
use sha1::Sha1;
use sha2::{Sha256, Sha512};
use subtle::ConstantTimeEq as _;

/// First byte of every saved state. Raise it when the layout below changes or a digest crate changes its own.
const STATE_VERSION: u8 = 1;

/// Which digest of the whole content is kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Algorithm {
    /// RFC 1321; what the django clients send at completion. A checksum, not a proof of origin.
    Md5,
    /// FIPS 180-4; for tus checksums.
    Sha1,
    /// FIPS 180-4.
    Sha256,
    /// FIPS 180-4; for `Content-Digest`.
    Sha512,
    /// The CRC of zip and Ethernet (ISO 3309), most significant byte first; for the checksum of a chunk. It finds what
    /// lines do to bytes, and is never kept of a whole content.
    Crc32,
}

impl Algorithm {
    /// Every algorithm that a content's digest may be of.
    pub const ALL: [Self; 4] = [Self::Md5, Self::Sha1, Self::Sha256, Self::Sha512];

    /// The name used on the wire and in the database.
    pub fn name(self) -> &'static str {
        match self {
            Self::Md5 => "md5",
            Self::Sha1 => "sha1",
            Self::Sha256 => "sha256",
            Self::Sha512 => "sha512",
            Self::Crc32 => "crc32",
        }
    }

    /// The algorithm of that name, if it is one of ours.
    pub fn named(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|known| known.name() == name)
    }

    /// Length of a finished value in bytes.
    pub fn length(self) -> usize {
        match self {
            Self::Md5 => 16,
            Self::Sha1 => 20,
            Self::Sha256 => 32,
            Self::Sha512 => 64,
            Self::Crc32 => 4,
        }
    }

    fn tag(self) -> u8 {
        match self {
            Self::Md5 => 1,
            Self::Sha1 => 2,
            Self::Sha256 => 3,
            Self::Sha512 => 4,
            Self::Crc32 => 5,
        }
    }
}

/// What a client asks of the digest of the whole content.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Wanted {
    /// To be told it.
    Told(Algorithm),
    /// That the content be refused if it has another one.
    Equal(Digest),
}

impl Wanted {
    /// Which digest has to be kept up for it.
    pub fn algorithm(&self) -> Algorithm {
        match self {
            Self::Told(algorithm) => *algorithm,
            Self::Equal(digest) => digest.algorithm,
        }
    }

    /// The value that is expected, if one is.
    pub fn expected(self) -> Option<Digest> {
        match self {
            Self::Told(_) => None,
            Self::Equal(digest) => Some(digest),
        }
    }
}

/// A finished digest value with its algorithm. Compare with [`Digest::matches`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Digest {
    /// How the value was computed.
    pub algorithm: Algorithm,
    /// The raw value, as long as its algorithm makes it.
    pub value: Vec<u8>,
}

impl Digest {
    /// Reads a value in hexadecimal of either case; `None` unless it has exactly the algorithm's length.
    pub fn from_hex(algorithm: Algorithm, text: &str) -> Option<Self> {
        Self::from_bytes(algorithm, super::unhex(text)?)
    }

    /// Takes a raw value; `None` unless it has exactly the algorithm's length.
    pub fn from_bytes(algorithm: Algorithm, value: Vec<u8>) -> Option<Self> {
        (value.len() == algorithm.length()).then_some(Self { algorithm, value })
    }

    /// Lower-case hexadecimal of the value.
    pub fn to_hex(&self) -> String {
        super::hex(&self.value)
    }

    /// Compares in constant time. Values of different algorithms never match.
    pub fn matches(&self, other: &Self) -> bool {
        self.algorithm == other.algorithm && bool::from(self.value.ct_eq(&other.value))
    }
}

/// A digest over the bytes seen so far.
#[derive(Clone)]
pub enum Running {
    /// See [`Algorithm::Md5`].
    Md5(Md5),
    /// See [`Algorithm::Sha1`].
    Sha1(Sha1),
    /// See [`Algorithm::Sha256`].
    Sha256(Sha256),
    /// See [`Algorithm::Sha512`].
    Sha512(Sha512),
    /// See [`Algorithm::Crc32`].
    Crc32(crc32fast::Hasher),
}

impl Running {
    /// A digest that has seen nothing.
    pub fn new(algorithm: Algorithm) -> Self {
        match algorithm {
            Algorithm::Md5 => Self::Md5(Md5::new()),
            Algorithm::Sha1 => Self::Sha1(Sha1::new()),
            Algorithm::Sha256 => Self::Sha256(Sha256::new()),
            Algorithm::Sha512 => Self::Sha512(Sha512::new()),
            Algorithm::Crc32 => Self::Crc32(crc32fast::Hasher::new()),
        }
    }

    /// Which digest this is.
    pub fn algorithm(&self) -> Algorithm {
        match self {
            Self::Md5(_) => Algorithm::Md5,
            Self::Sha1(_) => Algorithm::Sha1,
            Self::Sha256(_) => Algorithm::Sha256,
            Self::Sha512(_) => Algorithm::Sha512,
            Self::Crc32(_) => Algorithm::Crc32,
        }
    }

    /// Takes in the next bytes.
    pub fn update(&mut self, bytes: &[u8]) {
        match self {
            Self::Md5(state) => state.update(bytes),
            Self::Sha1(state) => state.update(bytes),
            Self::Sha256(state) => state.update(bytes),
            Self::Sha512(state) => state.update(bytes),
            Self::Crc32(state) => state.update(bytes),
        }
    }

    /// The digest of everything taken in.
    pub fn finish(self) -> Digest {
        let algorithm = self.algorithm();
        let value = match self {
            Self::Md5(state) => state.finalize().to_vec(),
            Self::Sha1(state) => state.finalize().to_vec(),
            Self::Sha256(state) => state.finalize().to_vec(),
            Self::Sha512(state) => state.finalize().to_vec(),
            Self::Crc32(state) => state.finalize().to_be_bytes().to_vec(),
        };
        Digest { algorithm, value }
    }

    /// The state as bytes: version, algorithm tag, then what the digest crate writes (at most 208 bytes).
    pub fn save(&self) -> Vec<u8> {
        let mut saved = vec![STATE_VERSION, self.algorithm().tag()];
        match self {
            Self::Md5(state) => saved.extend_from_slice(&state.serialize()),
            Self::Sha1(state) => saved.extend_from_slice(&state.serialize()),
            Self::Sha256(state) => saved.extend_from_slice(&state.serialize()),
            Self::Sha512(state) => saved.extend_from_slice(&state.serialize()),
            Self::Crc32(state) => saved.extend_from_slice(&state.clone().finalize().to_be_bytes()),
        }
        saved
    }

    /// Takes up a state written by [`Running::save`]; `None` if it is of another version, algorithm or length.
    pub fn restore(algorithm: Algorithm, saved: &[u8]) -> Option<Self> {
        let [STATE_VERSION, tag, state @ ..] = saved else { return None };
        if *tag != algorithm.tag() {
            return None;
        }
        match algorithm {
            Algorithm::Md5 => resume(state).map(Self::Md5),
            Algorithm::Sha1 => resume(state).map(Self::Sha1),
            Algorithm::Sha256 => resume(state).map(Self::Sha256),
            Algorithm::Sha512 => resume(state).map(Self::Sha512),
            Algorithm::Crc32 => {
                let sum = u32::from_be_bytes(state.try_into().ok()?);
                Some(Self::Crc32(crc32fast::Hasher::new_with_initial(sum)))
            }
        }
    }
}

fn resume<D: SerializableState>(state: &[u8]) -> Option<D> {
    let state = SerializedState::<D>::try_from(state).ok()?;
    D::deserialize(&state).ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn known_values() {
        let of = |algorithm| {
            let mut running = Running::new(algorithm);
            running.update(b"abc");
            running.finish().to_hex()
        };
        assert_eq!(of(Algorithm::Md5), "900150983cd24fb0d6963f7d28e17f72");
        assert_eq!(of(Algorithm::Sha1), "a9993e364706816aba3e25717850c26c9cd0d89d");
        assert_eq!(of(Algorithm::Sha256), "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
        let long = "ddaf35a193617abacc417349ae20413112e6fa4e89a97ea20a9eeee64b55d39a\
            2192992a274fc1a836ba3c23a3feebbd454d4423643ce80e2a9ac94fa54ca49f";
        assert_eq!(of(Algorithm::Sha512), long);
        assert_eq!(of(Algorithm::Crc32), "352441c2");
    }

    #[test]
    fn a_state_of_another_kind_is_not_read() {
        let saved = Running::new(Algorithm::Md5).save();
        assert!(Running::restore(Algorithm::Sha256, &saved).is_none());
        assert!(Running::restore(Algorithm::Md5, &saved[..saved.len() - 1]).is_none());
        assert!(Running::restore(Algorithm::Md5, &[]).is_none());
        let mut newer = saved;
        newer[0] += 1;
        assert!(Running::restore(Algorithm::Md5, &newer).is_none());
    }

    proptest! {
        #[test]
        fn put_down_and_taken_up_anywhere(bytes in proptest::collection::vec(any::<u8>(), 0..400), cut in 0usize..400) {
            let cut = cut.min(bytes.len());
            for algorithm in Algorithm::ALL.into_iter().chain([Algorithm::Crc32]) {
                let mut whole = Running::new(algorithm);
                whole.update(&bytes);
                let mut first = Running::new(algorithm);
                first.update(&bytes[..cut]);
                let mut second = Running::restore(algorithm, &first.save()).expect("own state");
                second.update(&bytes[cut..]);
                prop_assert!(whole.finish().matches(&second.finish()));
            }
        }

        #[test]
        fn arbitrary_states_never_panic(saved in proptest::collection::vec(any::<u8>(), 0..220)) {
            for algorithm in Algorithm::ALL.into_iter().chain([Algorithm::Crc32]) {
                let _ = Running::restore(algorithm, &saved);
            }
        }
    }
}
