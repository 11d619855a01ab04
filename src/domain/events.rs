//! What an identity server tells of its own accord, and what follows from it. Pure.
//!
//! The service knows neither the keys nor the sessions of an identity server: an upload token does not tell which key it
//! was made with. So the end of a key is the end of all that its user has proved so far, and without a user, of all that
//! anybody of the realm has.

use std::time::Duration;

use super::{Timestamp, after, before};

/// How far an event's time may lie from the service's own, on either side.
pub const WINDOW: Duration = Duration::from_secs(300);
/// How long an event's id is remembered: for an identity server that tells it again after an outage.
pub const REMEMBERED: Duration = Duration::from_secs(24 * 60 * 60);
/// Longest id of an event, a user or a key, in bytes.
pub const MAX_ID_BYTES: usize = 255;

/// One event.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Event {
    /// Names it; the same id again is the same event.
    pub id: String,
    /// What happened.
    pub kind: Kind,
    /// Of which identity server.
    pub realm: String,
    /// To which user, by the identity server's id.
    pub subject: Option<String>,
    /// When it was told.
    pub at: Timestamp,
}

/// What happened.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// Something about the user changed.
    UserUpdated,
    /// The user may not act any more, for now.
    UserDisabled,
    /// The user may act again.
    UserEnabled,
    /// The user is gone for good.
    UserDeleted,
    /// A key is good no more.
    KeyRevoked,
    /// A session is over.
    SessionRevoked,
    /// Nothing of what was said of anybody is to be believed any more.
    RealmFlush,
}

impl Kind {
    /// Every kind.
    pub const ALL: [Self; 7] = [
        Self::UserUpdated,
        Self::UserDisabled,
        Self::UserEnabled,
        Self::UserDeleted,
        Self::KeyRevoked,
        Self::SessionRevoked,
        Self::RealmFlush,
    ];

    /// Its public name.
    pub fn name(self) -> &'static str {
        match self {
            Self::UserUpdated => "user.updated",
            Self::UserDisabled => "user.disabled",
            Self::UserEnabled => "user.enabled",
            Self::UserDeleted => "user.deleted",
            Self::KeyRevoked => "key.revoked",
            Self::SessionRevoked => "session.revoked",
            Self::RealmFlush => "realm.flush",
        }
    }

    /// The kind of that name.
    pub fn named(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| kind.name() == name)
    }

    /// Whether it makes sense of one user only.
    fn needs_user(self) -> bool {
        matches!(self, Self::UserUpdated | Self::UserDisabled | Self::UserEnabled | Self::UserDeleted)
    }
}

/// What follows from an event. That verdicts from before are asked for again follows from each.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Effect<'a> {
    /// For which user; `None`: for everybody of the realm.
    pub subject: Option<&'a str>,
    /// Whether the user is disabled from now on; `None`: as before.
    pub disabled: Option<bool>,
    /// Whether upload tokens from before are over.
    pub ends_tokens: bool,
    /// Whether signatures from before reach their uploads no more once their window has passed.
    pub ends_bindings: bool,
}

impl Event {
    /// What keeps the identity server of `realm` from being believed at `now`, if anything.
    pub fn flaw(&self, realm: &str, now: Timestamp) -> Option<&'static str> {
        let is_id = |id: &str| (1..=MAX_ID_BYTES).contains(&id.len()) && !id.contains(char::is_control);
        if !is_id(&self.id) {
            Some("id must be 1 to 255 bytes of text")
        } else if self.realm != realm {
            Some("realm is not the one of this identity server")
        } else if self.subject.as_deref().is_some_and(|subject| !is_id(subject)) {
            Some("user_id must be 1 to 255 bytes of text")
        } else if self.kind.needs_user() && self.subject.is_none() {
            Some("user_id is missing")
        } else if self.at < before(now, WINDOW) || self.at > after(now, WINDOW) {
            Some("at is further than 300 seconds from the service's clock")
        } else {
            None
        }
    }

    /// What follows from it.
    pub fn effect(&self) -> Effect<'_> {
        let of = |disabled, ends_tokens, ends_bindings| Effect {
            subject: self.subject.as_deref(),
            disabled,
            ends_tokens,
            ends_bindings,
        };
        match self.kind {
            Kind::UserUpdated => of(None, false, false),
            Kind::UserDisabled => of(Some(true), true, false),
            Kind::UserEnabled => of(Some(false), false, false),
            Kind::UserDeleted => of(Some(true), true, true),
            Kind::KeyRevoked | Kind::SessionRevoked => of(None, true, true),
            Kind::RealmFlush => Effect { subject: None, ..of(None, true, true) },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn event(kind: Kind, subject: Option<&str>) -> Event {
        let subject = subject.map(str::to_owned);
        Event { id: "e".into(), kind, realm: "r".into(), subject, at: Timestamp::UNIX_EPOCH }
    }

    #[test]
    fn what_follows() {
        for (kind, disabled, ends_tokens, ends_bindings) in [
            (Kind::UserUpdated, None, false, false),
            (Kind::UserDisabled, Some(true), true, false),
            (Kind::UserEnabled, Some(false), false, false),
            (Kind::UserDeleted, Some(true), true, true),
            (Kind::KeyRevoked, None, true, true),
            (Kind::SessionRevoked, None, true, true),
        ] {
            let effect = Effect { subject: Some("u"), disabled, ends_tokens, ends_bindings };
            assert_eq!(event(kind, Some("u")).effect(), effect, "{kind:?}");
        }
        for event in [event(Kind::RealmFlush, Some("u")), event(Kind::KeyRevoked, None)] {
            let everybody = Effect { subject: None, disabled: None, ends_tokens: true, ends_bindings: true };
            assert_eq!(event.effect(), everybody);
        }
    }

    #[test]
    fn what_is_not_believed() {
        let good = event(Kind::UserDisabled, Some("u"));
        let now = after(good.at, WINDOW);
        assert_eq!(good.flaw("r", now), None);
        assert_eq!(good.flaw("r", before(good.at, WINDOW)), None);
        assert!(good.flaw("r", after(now, Duration::from_micros(1))).is_some());
        assert!(good.flaw("r", before(good.at, WINDOW + Duration::from_micros(1))).is_some());
        assert!(good.flaw("another", now).is_some());
        for id in ["", "a\u{0}", &"x".repeat(256)] {
            assert!(Event { id: id.into(), ..good.clone() }.flaw("r", now).is_some());
            assert!(Event { subject: Some(id.into()), ..good.clone() }.flaw("r", now).is_some());
        }
        for kind in Kind::ALL {
            assert_eq!(event(kind, None).flaw("r", now).is_some(), kind.name().starts_with("user."), "{kind:?}");
            assert_eq!(Kind::named(kind.name()), Some(kind));
        }
    }
}
