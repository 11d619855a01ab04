//! The ring of keys that sign upload tokens: which one signs, when the next one comes, when an old one may go.
//!
//! A key is published before it signs, so that every node knows it by the time a token of it comes in, and is kept until
//! nothing it signed can be alive. Keys are numbered without gaps: two nodes that make the next key at the same moment
//! meet in its number, and one of them has it.

use std::{fmt, time::Duration};

use super::{Timestamp, after, token::LONGEST_LIFE};

/// How long a key is known before it signs. Nodes read the ring every minute.
pub const AHEAD: Duration = Duration::from_secs(10 * 60);
/// How much longer than needed a key is kept: for nodes that are late to hear of the next one, and for clocks that differ.
const SLACK: Duration = Duration::from_secs(60 * 60);

/// A key that signs upload tokens.
#[derive(Clone, PartialEq, Eq)]
pub struct TokenKey {
    /// Its number, which stands in the tokens. The first is 1.
    pub number: u32,
    /// The key itself.
    pub secret: [u8; 32],
    /// From when on it signs, until the next one does.
    pub signs_from: Timestamp,
}

/// Without the key itself.
impl fmt::Debug for TokenKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TokenKey").field("number", &self.number).field("signs_from", &self.signs_from).finish()
    }
}

/// The keys that there are.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Ring {
    /// By number.
    keys: Vec<TokenKey>,
}

/// A key that is to be made.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Due {
    /// Its number.
    pub number: u32,
    /// From when on it signs.
    pub signs_from: Timestamp,
}

impl Ring {
    /// A ring of these keys.
    pub fn new(mut keys: Vec<TokenKey>) -> Self {
        keys.sort_by_key(|key| key.number);
        Self { keys }
    }

    /// The key of that number.
    pub fn key(&self, number: u32) -> Option<&TokenKey> {
        self.keys.iter().find(|key| key.number == number)
    }

    /// The key that signs at `now`: the last one whose time has come. Of a ring whose first key was made by a node with a
    /// faster clock it is the first. `None`: the ring is empty.
    pub fn signing(&self, now: Timestamp) -> Option<&TokenKey> {
        self.keys.iter().rev().find(|key| key.signs_from <= now).or(self.keys.first())
    }

    /// The key that is to be made at `now`, if each signs for `every`. The first one signs at once.
    pub fn due(&self, now: Timestamp, every: Duration) -> Option<Due> {
        match self.keys.last() {
            None => Some(Due { number: 1, signs_from: now }),
            Some(last) if after(last.signs_from, every) <= after(now, AHEAD) => {
                Some(Due { number: last.number.checked_add(1)?, signs_from: after(now, AHEAD) })
            }
            Some(_) => None,
        }
    }

    /// The number below which nothing that a key signed can be alive at `now`.
    pub fn outlived(&self, now: Timestamp) -> Option<u32> {
        let long_ago = |key: &&TokenKey| after(after(key.signs_from, LONGEST_LIFE), SLACK) <= now;
        let number = self.keys.iter().rev().find(long_ago)?.number;
        self.keys.first().is_some_and(|first| first.number < number).then_some(number)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const DAY: u64 = 24 * 60 * 60;
    const EVERY: Duration = Duration::from_secs(DAY);

    fn at(second: u64) -> Timestamp {
        after(Timestamp::UNIX_EPOCH, Duration::from_secs(second))
    }

    fn ring(signing_from: &[u64]) -> Ring {
        let key = |(number, from): (u32, &u64)| TokenKey { number, secret: [0; 32], signs_from: at(*from) };
        Ring::new((1..).zip(signing_from).map(key).collect())
    }

    #[test]
    fn the_last_whose_time_has_come_signs() {
        let signing = |ring: &Ring, now| ring.signing(at(now)).map(|key| key.number);
        assert_eq!(signing(&ring(&[]), 0), None);
        assert_eq!(signing(&ring(&[5]), 0), Some(1));
        assert_eq!(signing(&ring(&[0, DAY]), DAY - 1), Some(1));
        assert_eq!(signing(&ring(&[0, DAY]), DAY), Some(2));
    }

    #[test]
    fn the_next_is_known_before_it_signs() {
        let ahead = AHEAD.as_secs();
        assert_eq!(ring(&[]).due(at(9), EVERY), Some(Due { number: 1, signs_from: at(9) }));
        assert_eq!(ring(&[0]).due(at(DAY - ahead - 1), EVERY), None);
        assert_eq!(ring(&[0]).due(at(DAY - ahead), EVERY), Some(Due { number: 2, signs_from: at(DAY) }));
        assert_eq!(ring(&[0, DAY]).due(at(DAY - ahead), EVERY), None, "once");
        // After a long rest every node must hear of it first, too.
        assert_eq!(ring(&[0]).due(at(9 * DAY), EVERY), Some(Due { number: 2, signs_from: at(9 * DAY + ahead) }));
    }

    #[test]
    fn an_old_key_goes_when_nothing_of_it_is_alive() {
        let keys = ring(&[0, DAY, 2 * DAY]);
        assert_eq!(keys.outlived(at(DAY + DAY + 3599)), None);
        assert_eq!(keys.outlived(at(DAY + DAY + 3600)), Some(2));
        assert_eq!(keys.outlived(at(9 * DAY)), Some(3));
        assert_eq!(ring(&[0]).outlived(at(9 * DAY)), None, "the one that signs stays");
    }

    proptest! {
        #[test]
        fn whatever_is_alive_can_be_verified(every in 3600u64..9 * DAY, steps in proptest::collection::vec(60u64..2 * DAY, 1..60)) {
            let (mut now, mut ring) = (0, Ring::default());
            let mut signed: Vec<(u32, u64)> = Vec::new();
            for step in steps {
                if let Some(due) = ring.due(at(now), Duration::from_secs(every)) {
                    let key = TokenKey { number: due.number, secret: [0; 32], signs_from: due.signs_from };
                    ring = Ring::new([ring.keys, vec![key]].concat());
                }
                if let Some(below) = ring.outlived(at(now)) {
                    ring.keys.retain(|key| key.number >= below);
                }
                signed.push((ring.signing(at(now)).expect("a key").number, now + LONGEST_LIFE.as_secs()));
                now += step;
                for (number, expires) in &signed {
                    prop_assert!(*expires <= now || ring.key(*number).is_some());
                }
            }
        }
    }
}
