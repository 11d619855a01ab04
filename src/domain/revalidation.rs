//! How long what the identity server said of a user carries an upload. Pure.
//!
//! Uploads go on for hours under a token or an old signature, without a question. So the user is asked about again now
//! and then. When that is due and the identity server cannot be asked, uploads in work go on for a while: a client that is
//! refused for an outage which is not its fault would have to be told apart from one that may not go on.

use std::time::Duration;

use super::{Timestamp, after};

/// How long a question that got no answer is not asked again.
pub const PAUSE: Duration = Duration::from_secs(10);

/// How often a user is asked about, and how long it may be overdue.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rule {
    /// How long an answer carries.
    pub every: Duration,
    /// How much longer it carries while there is no other.
    pub stale: Duration,
}

/// What to do before a user goes on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Due {
    /// Nothing.
    Not,
    /// Ask.
    Ask,
    /// Nothing for now: it was asked in vain a moment ago.
    Pause,
}

impl Rule {
    /// What to do at `now` about a user whom the identity server called active at `active`, and about whom it was asked
    /// in vain at `in_vain`.
    pub fn due(self, active: Option<Timestamp>, in_vain: Option<Timestamp>, now: Timestamp) -> Due {
        if active.is_some_and(|active| now < after(active, self.every)) {
            Due::Not
        } else if in_vain.is_some_and(|in_vain| now < after(in_vain, PAUSE)) {
            Due::Pause
        } else {
            Due::Ask
        }
    }

    /// Whether the user goes on at `now` although it is due and there is no answer.
    pub fn carries(self, active: Option<Timestamp>, now: Timestamp) -> bool {
        active.is_some_and(|active| now < after(after(active, self.every), self.stale))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_table() {
        let at = |second| Timestamp::from_second(second).expect("a time");
        let rule = Rule { every: Duration::from_secs(900), stale: Duration::from_secs(600) };
        for (active, in_vain, now, due, carries) in [
            (Some(0), None, 0, Due::Not, true),
            (Some(0), None, 899, Due::Not, true),
            (Some(0), None, 900, Due::Ask, true),
            (Some(0), Some(900), 909, Due::Pause, true),
            (Some(0), Some(900), 910, Due::Ask, true),
            (Some(0), None, 1499, Due::Ask, true),
            (Some(0), None, 1500, Due::Ask, false),
            (Some(0), Some(1495), 1500, Due::Pause, false),
            // Asked in vain by this node, answered to another.
            (Some(905), Some(904), 906, Due::Not, true),
            // A clock that was set back, or another node's that is ahead.
            (Some(100), None, 50, Due::Not, true),
            // Never asked about.
            (None, None, 0, Due::Ask, false),
            (None, Some(0), 9, Due::Pause, false),
        ] {
            let (active, in_vain) = (active.map(at), in_vain.map(at));
            let found = (rule.due(active, in_vain, at(now)), rule.carries(active, at(now)));
            assert_eq!(found, (due, carries), "{active:?} {in_vain:?} {now}");
        }
        let strict = Rule { stale: Duration::ZERO, ..rule };
        assert!(strict.carries(Some(at(0)), at(899)) && !strict.carries(Some(at(0)), at(900)));
    }
}
