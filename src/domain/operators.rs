//! Operators: the proof that one asks, and what is written down of what one did.
//!
//! The trail says when, who, which deed, on what and how it ended. No secret is ever part of it.

use super::{
    Timestamp, UploadId, UserId,
    keys::KeyId,
    principal::{Principal, Reach, Scope, User},
};

/// Proof that an operator asks. What reaches beyond one's own uploads takes one, so it cannot be called without.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Operator(Option<User>);

impl Operator {
    /// The operator that a proof makes: one of a known user, with [`Scope::Admin`], and not bound to certain uploads.
    pub fn of(principal: &Principal) -> Option<Self> {
        let proven = principal.scopes.contain(Scope::Admin) && principal.reach == Reach::Own;
        principal.user.clone().filter(|_| proven).map(|user| Self(Some(user)))
    }

    /// Whoever runs a command beside the service, with the database itself in hand.
    pub fn of_the_shell() -> Self {
        Self(None)
    }

    /// The user; none for the shell.
    pub fn user(&self) -> Option<UserId> {
        self.0.as_ref().map(|user| user.id)
    }

    /// What to call the operator.
    pub fn name(&self) -> &str {
        self.0.as_ref().map_or("cli", |user| &user.username)
    }
}

/// Defines names that are the same in the database, on the wire and on the page.
macro_rules! named {
    ($(#[$doc:meta])* $kind:ident { $($variant:ident $name:literal $what:literal,)* }) => {
        $(#[$doc])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq)]
        pub enum $kind {
            $(#[doc = $what] $variant,)*
        }

        impl $kind {
            /// Its public name.
            pub fn name(self) -> &'static str {
                match self { $(Self::$variant => $name,)* }
            }

            /// The one of that name.
            pub fn named(name: &str) -> Option<Self> {
                match name { $($name => Some(Self::$variant),)* _ => None }
            }
        }
    };
}

named! {
    /// What an operator may do.
    Deed {
        UserAdd "user.add" "A local user was made.",
        UserDisable "user.disable" "A user is refused from now on.",
        UserEnable "user.enable" "A user is admitted again.",
        UserPromote "user.promote" "A user's password admits as operator.",
        UserDemote "user.demote" "A user's password no longer admits as operator.",
        UserPassword "user.password" "A user has a new password.",
        KeyCreate "key.create" "A key was made.",
        KeyRotate "key.rotate" "A key is followed by another.",
        KeyRevoke "key.revoke" "A key is refused from now on.",
        UploadCancel "upload.cancel" "An upload was cancelled.",
        UploadExpire "upload.expire" "An upload's time was ended.",
    }
}

named! {
    /// How a deed ended.
    Outcome {
        Done "done" "It was done.",
        Refused "refused" "It could not be done; nothing changed.",
    }
}

/// On what a deed was done: its kind, its id, and what it was called at that time.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Object {
    /// `user`, `key` or `upload`.
    pub kind: String,
    /// Its id; empty where there is none, as of a user who was not made.
    pub id: String,
    /// Its name.
    pub name: String,
}

impl Object {
    /// A user.
    pub fn user(id: Option<UserId>, username: &str) -> Self {
        Self { kind: "user".into(), id: id.map(|id| id.to_string()).unwrap_or_default(), name: username.into() }
    }

    /// A key of a user.
    pub fn key(id: KeyId, username: &str) -> Self {
        Self { kind: "key".into(), id: id.to_string(), name: username.into() }
    }

    /// An upload.
    pub fn upload(id: UploadId, filename: &str) -> Self {
        Self { kind: "upload".into(), id: id.to_string(), name: filename.into() }
    }
}

/// One line of the trail.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// Its name.
    pub id: super::EntryId,
    /// When.
    pub at: Timestamp,
    /// What the operator was called.
    pub operator: String,
    /// Which user that was; none for the shell.
    pub operator_id: Option<UserId>,
    /// What was done.
    pub deed: Deed,
    /// On what.
    pub object: Object,
    /// How it ended.
    pub outcome: Outcome,
    /// A word more where it matters: the scopes of a key, why it was refused.
    pub detail: String,
}

impl Entry {
    /// What `by` does now.
    pub fn new(by: &Operator, deed: Deed, object: Object, at: Timestamp) -> Self {
        Self {
            id: super::EntryId::new(),
            at,
            operator: by.name().to_owned(),
            operator_id: by.user(),
            deed,
            object,
            outcome: Outcome::Done,
            detail: String::new(),
        }
    }

    /// With a word more.
    #[must_use]
    pub fn saying(self, detail: impl Into<String>) -> Self {
        Self { detail: detail.into(), ..self }
    }

    /// The same, refused.
    #[must_use]
    pub fn refused(self, why: impl Into<String>) -> Self {
        Self { outcome: Outcome::Refused, ..self.saying(why) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::principal::{Limits, Nonce, Scopes};

    #[test]
    fn only_the_scope_of_a_known_user_makes_an_operator() {
        let user = User { id: UserId::new(), realm: "local".into(), username: "ann".into(), epoch: 0 };
        let scopes = Scopes::ALL.and(Scope::Admin);
        let admin = Principal {
            user: Some(user.clone()),
            reach: Reach::Own,
            may_create: true,
            scopes,
            limits: Limits::default(),
            binding: None,
            token: None,
            nonce: Nonce::NotAsked,
        };
        let operator = Operator::of(&admin).expect("an operator");
        assert_eq!((operator.name(), operator.user()), ("ann", Some(user.id)));
        let nobody = Principal { user: None, ..admin.clone() };
        let ordinary = Principal { scopes: Scopes::ALL, ..admin.clone() };
        let bound = Principal { reach: Reach::Only(vec![]), ..admin };
        for other in [nobody, ordinary, bound, Principal::anonymous()] {
            assert_eq!(Operator::of(&other), None);
        }
    }
}
