//! Who is asking, and how far their proof reaches.
//!
//! A [`Principal`] is made only by an authenticator that verified the proof at hand (or by the explicit choice to admit
//! anonymous uploads). "A user of that name exists" never makes one.

pub use super::limits::Limits;
use super::{Timestamp, UploadId, UserId, token::Token};

/// Who is asking.
#[derive(Debug, Clone)]
pub struct Principal {
    /// The local user, or nobody: an anonymous upload has no owner and is reached by its unguessable id alone.
    pub user: Option<User>,
    /// Which uploads the proof reaches.
    pub reach: Reach,
    /// Whether the proof may create an upload.
    pub may_create: bool,
    /// What the proof may be used for at all.
    pub scopes: Scopes,
    /// What the identity server allows this user.
    pub limits: Limits,
    /// The proof, if the uploads it creates are to be bound to it.
    pub binding: Option<Binding>,
    /// The upload token, if that was the proof.
    pub token: Option<Token>,
    /// What makes the proof good for one create, complete or cancel alone.
    pub nonce: Nonce,
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
    /// Upload tokens made under a lower one are over.
    pub epoch: u64,
}

/// Which uploads a proof reaches.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Reach {
    /// All that the user owns.
    Own,
    /// Only these, and only while the user owns them.
    Only(Vec<UploadId>),
}

/// A kind of deed that a proof may be good for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Scope {
    /// To begin uploads.
    Create,
    /// To see uploads and their content.
    Read,
    /// To add to uploads and complete them.
    Write,
    /// To cancel and remove uploads.
    Delete,
    /// To operate the service: every user's uploads, users and keys. Has to be asked for by name.
    Admin,
}

impl Scope {
    /// Every kind.
    pub const ALL: [Self; 5] = [Self::Create, Self::Read, Self::Write, Self::Delete, Self::Admin];

    /// Its public name.
    pub fn name(self) -> &'static str {
        match self {
            Self::Create => "upload:create",
            Self::Read => "upload:read",
            Self::Write => "upload:write",
            Self::Delete => "upload:delete",
            Self::Admin => "admin",
        }
    }

    /// The scope of that name.
    pub fn named(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|scope| scope.name() == name)
    }
}

/// A set of [`Scope`]s.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Scopes(u8);

impl Scopes {
    /// Everything that has to do with one's own uploads; not [`Scope::Admin`].
    pub const ALL: Self = Self(0b1111);
    /// None of them.
    pub const NONE: Self = Self(0);

    /// Whether `scope` is among them.
    pub fn contain(self, scope: Scope) -> bool {
        self.0 & 1 << scope as u8 != 0
    }

    /// Those but `scope`.
    #[must_use]
    pub fn without(self, scope: Scope) -> Self {
        Self(self.0 & !(1 << scope as u8))
    }

    /// As a number of four bits, whose meaning does not change.
    pub fn bits(self) -> u8 {
        self.0
    }

    /// The set of that number. `None`: there is a scope in it that this version does not know.
    pub fn of_bits(bits: u8) -> Option<Self> {
        (bits & !Self::ALL.0 == 0).then_some(Self(bits))
    }

    /// These and `scope`.
    #[must_use]
    pub fn and(self, scope: Scope) -> Self {
        Self(self.0 | 1 << scope as u8)
    }

    /// Their public names.
    pub fn names(self) -> Vec<&'static str> {
        Scope::ALL.into_iter().filter(|scope| self.contain(*scope)).map(Scope::name).collect()
    }
}

impl FromIterator<Scope> for Scopes {
    fn from_iter<I: IntoIterator<Item = Scope>>(scopes: I) -> Self {
        Self(scopes.into_iter().fold(0, |set, scope| set | 1 << scope as u8))
    }
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

/// What makes a proof good for one deed that begins or ends an upload, in whichever process it is done.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Nonce {
    /// Proofs of this kind have none.
    NotAsked,
    /// It has none, and is good for no such deed.
    Missing,
    /// It has one, to be spent together with the deed.
    Given(Spend),
}

/// Something that may be used once.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Spend {
    /// What is spent.
    pub proof: ProofHash,
    /// Until when that is remembered.
    pub until: Timestamp,
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
        Self::unbound(None, Scopes::ALL, Limits::default())
    }

    /// Somebody whose proof reaches whatever is theirs, as far as its scopes go, and is bound to nothing.
    pub fn unbound(user: Option<User>, scopes: Scopes, limits: Limits) -> Self {
        let may_create = scopes.contain(Scope::Create);
        let (binding, token, nonce) = (None, None, Nonce::NotAsked);
        Self { user, reach: Reach::Own, may_create, scopes, limits, binding, token, nonce }
    }

    /// Whose uploads this principal sees.
    pub fn owner(&self) -> Owner {
        self.user.as_ref().map_or(Owner::Nobody, |user| Owner::User(user.id))
    }

    /// The one upload that the proof was made for, if it is an upload token.
    pub fn only(&self) -> Option<UploadId> {
        self.token.map(|token| token.upload)
    }

    /// Whether the proof reaches this upload, if the user owns it.
    pub fn reaches(&self, id: UploadId) -> bool {
        match &self.reach {
            Reach::Own => true,
            Reach::Only(ids) => ids.contains(&id),
        }
    }
}
