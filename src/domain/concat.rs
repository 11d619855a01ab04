//! Uploads that are joined from parts, and every rule about them.
//!
//! A part is an upload that will never be a file of its own: it takes bytes like any other, and stays until the upload
//! that it belongs to has them. A joined upload takes no bytes from anybody; it is complete when the bytes of all its
//! parts stand in it one after another. It may be made before they are all there. A part belongs to one joined upload,
//! to that one for ever, and stands in it once.

use super::{
    Timestamp, UploadId,
    digest::{Algorithm, Running},
    upload::{Placement, State, Upload},
};

/// Most parts of one upload.
pub const MOST_PARTS: usize = 1024;

/// What an upload is among those that are joined; most are neither.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Role {
    /// A part.
    Part {
        /// Of which upload, once that was made.
        of: Option<UploadId>,
    },
    /// Joined from parts.
    Joined {
        /// The list of its parts in its client's words, given back as they came.
        listed: String,
        /// How many there are.
        parts: u64,
    },
}

/// How far the parts of an upload are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Gathered {
    /// Bytes are missing.
    Waiting {
        /// The length of all together, if every part's is known.
        size: Option<u64>,
    },
    /// Every byte is there.
    Ready {
        /// The length of all together.
        size: u64,
    },
    /// It can never be joined: a part is over.
    Broken,
}

/// A piece of a part that is to be joined.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Slice {
    /// Where the part is.
    pub placement: Placement,
    /// First byte of the piece.
    pub from: u64,
    /// Its length in bytes.
    pub length: u64,
}

impl Upload {
    /// Whether it is a part.
    pub fn is_part(&self) -> bool {
        matches!(self.role, Some(Role::Part { .. }))
    }

    /// Whether it is joined from parts.
    pub fn is_joined(&self) -> bool {
        matches!(self.role, Some(Role::Joined { .. }))
    }

    /// Of which upload it is a part, if its own last byte is there.
    pub fn fills(&self) -> Option<UploadId> {
        match self.role {
            Some(Role::Part { of }) if self.is_full() => of,
            _ => None,
        }
    }

    /// Whether it is a part that takes no more bytes, and that nobody removed.
    pub fn is_full_part(&self) -> bool {
        self.is_part() && self.is_full()
    }

    /// Whether every byte is there and nobody removed them. Its time does not matter: the bytes were acknowledged.
    fn is_full(&self) -> bool {
        self.state == State::Receiving && self.size == Some(self.offset)
    }
}

/// How far these parts are, which should be `expected`, at `now`.
pub fn gathered(parts: &[Upload], expected: u64, now: Timestamp) -> Gathered {
    // Of fewer than there were, the others were forgotten, after they were over.
    let is_over = |part: &Upload| !part.is_full() && part.state_at(now) != State::Receiving;
    if parts.len() as u64 != expected || parts.iter().any(is_over) {
        return Gathered::Broken;
    }
    let size = parts.iter().try_fold(0u64, |sum, part| part.size.map(|size| sum.saturating_add(size)));
    match size.filter(|_| parts.iter().all(Upload::is_full)) {
        Some(size) => Gathered::Ready { size },
        None => Gathered::Waiting { size },
    }
}

/// The pieces of full `parts` that follow the first `at` bytes of all together, `most` bytes at most.
pub fn slices(parts: &[Upload], mut at: u64, mut most: u64) -> Vec<Slice> {
    let mut slices = Vec::new();
    for part in parts {
        let from = at.min(part.offset);
        let length = most.min(part.offset - from);
        if let Some(placement) = part.placement.clone().filter(|_| length > 0) {
            slices.push(Slice { placement, from, length });
        }
        (at, most) = (at - from, most - length);
    }
    slices
}

/// The same for the same parts in the same order, and for no others.
pub fn key(parts: &[UploadId]) -> String {
    let mut running = Running::new(Algorithm::Sha256);
    parts.iter().for_each(|id| running.update(id.simple().as_bytes()));
    running.finish().to_hex()
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use proptest::prelude::*;

    use super::*;
    use crate::domain::{after, upload::tests::receiving};

    fn part(offset: u64, size: Option<u64>) -> Upload {
        let placement = Some(Placement(format!("{offset}")));
        Upload { placement, role: Some(Role::Part { of: None }), ..receiving(offset, size) }
    }

    #[test]
    fn parts_are_waited_for_until_all_are_there_or_one_is_over() {
        let now = Timestamp::UNIX_EPOCH;
        let (full, half, open) = (part(5, Some(5)), part(2, Some(4)), part(2, None));
        let of =
            |parts: &[&Upload], now| gathered(&parts.iter().map(|part| (*part).clone()).collect::<Vec<_>>(), 2, now);
        assert_eq!(of(&[&full, &full], now), Gathered::Ready { size: 10 });
        assert_eq!(of(&[&full, &half], now), Gathered::Waiting { size: Some(9) });
        assert_eq!(of(&[&full, &open], now), Gathered::Waiting { size: None });
        assert_eq!(of(&[&full], now), Gathered::Broken);
        let late = after(now, Duration::from_secs(60));
        assert_eq!(of(&[&full, &full], late), Gathered::Ready { size: 10 }, "no byte of it is missing");
        assert_eq!(of(&[&full, &half], late), Gathered::Broken);
        let cancelled = Upload { state: State::Cancelled, ..full.clone() };
        assert_eq!(of(&[&full, &cancelled], now), Gathered::Broken);
        assert_eq!(gathered(&[], 0, now), Gathered::Ready { size: 0 });
    }

    #[test]
    fn only_the_same_parts_in_the_same_order_have_the_same_key() {
        let [one, other] = [UploadId::new(), UploadId::new()];
        assert_eq!(key(&[one, other]), key(&[one, other]));
        assert!(key(&[one, other]) != key(&[other, one]) && key(&[one]) != key(&[one, one]));
    }

    proptest! {
        #[test]
        fn step_by_step_every_byte_is_joined_once(
            sizes in proptest::collection::vec(0u64..50, 0..8),
            most in 1u64..60,
        ) {
            let parts: Vec<_> = sizes.iter().map(|size| part(*size, Some(*size))).collect();
            let whole: Vec<_> = sizes.iter().flat_map(|size| (0..*size).map(move |at| (size.to_string(), at))).collect();
            let mut joined = Vec::new();
            while joined.len() < whole.len() {
                let step = slices(&parts, joined.len() as u64, most);
                prop_assert!(!step.is_empty() && step.iter().map(|slice| slice.length).sum::<u64>() <= most);
                for Slice { placement, from, length } in step {
                    joined.extend((from..from + length).map(|at| (placement.0.clone(), at)));
                }
            }
            prop_assert_eq!(joined, whole);
        }
    }
}
