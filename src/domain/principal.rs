//! Who is asking, and how far their proof reaches.
//!
//! A [`Principal`] is made only by an authenticator that verified the proof at hand (or by the explicit choice to admit
//! anonymous uploads). "A user of that name exists" never makes one.

use super::{UploadId, UserId};

/// Who is asking.
#[derive(Debug, Clone)]
pub struct Principal {
    /// The local user, or nobody: an anonymous upload has no owner and is reached by its unguessable id alone.
    pub user: Option<User>,
    /// Which uploads the proof reaches.
    pub reach: Reach,
    /// Whether the proof may create an upload.
    pub may_create: bool,
    /// What the identity server allows this user.
    pub limits: Limits,
    /// The proof, if the uploads it creates are to be bound to it.
    pub binding: Option<Binding>,
}

/// The part of a local user that a request needs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct User {
    /// The local id, owner of uploads.
    pub id: UserId,
    /// The identity server that vouches for the user.
    pub realm: String,
    /// The name to show. Never a key: names change and are recycled.
    pub username: String,
}

/// Which uploads a proof reaches.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Reach {
    /// All that the user owns.
    Own,
    /// Only these, and only while the user owns them.
    Only(Vec<UploadId>),
}

/// What the identity server allows a user. `None`: no limit beyond the service's own.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Limits {
    /// Largest file, in bytes.
    pub max_file_bytes: Option<u64>,
}

/// Hash of a proof: names it without keeping it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct ProofHash(pub [u8; 32]);

/// Ties the uploads that a proof creates to that proof.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Binding {
    /// Which proof.
    pub proof: ProofHash,
    /// Whether the proof may create one upload only.
    pub exclusive: bool,
}

/// Whose uploads a lookup sees. Every lookup carries one, so that "not yours" and "not there" are one answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Owner {
    /// The uploads of this user.
    User(UserId),
    /// The uploads of nobody.
    Nobody,
}

impl Owner {
    /// The owner's user id, if there is an owner.
    pub fn user_id(self) -> Option<UserId> {
        match self {
            Self::User(id) => Some(id),
            Self::Nobody => None,
        }
    }
}

impl Principal {
    /// Nobody in particular. Sees and makes uploads without an owner.
    pub fn anonymous() -> Self {
        Self { user: None, reach: Reach::Own, may_create: true, limits: Limits::default(), binding: None }
    }

    /// Whose uploads this principal sees.
    pub fn owner(&self) -> Owner {
        self.user.as_ref().map_or(Owner::Nobody, |user| Owner::User(user.id))
    }

    /// Whether the proof reaches this upload, if the user owns it.
    pub fn reaches(&self, id: UploadId) -> bool {
        match &self.reach {
            Reach::Own => true,
            Reach::Only(ids) => ids.contains(&id),
        }
    }
}
