//! What operators do to users and keys. The console and the command line come here, so each deed is written once.
//!
//! Promises: nothing without the proof of an [`Operator`]; every deed that changes something leaves an entry in the
//! trail, in the same transaction; a deed that the facts refuse leaves one too; a secret is returned once, to the one who
//! asked for it, and neither kept nor written down. Doing again what is done already changes nothing and is no failure.

use std::{sync::Arc, time::Duration};

use secrecy::{ExposeSecret as _, SecretString};

use super::{credentials, passwords, standing::Standing};
pub use crate::db::{KeptKey, Person, Search};
use crate::{
    db::{Change, Credentials, LOCAL_REALM, Operations, StoreError},
    domain::{
        Clock, EntryId, Timestamp, UserId, after, hex,
        keys::{self, ApiKey, KeyId},
        names::is_direction_override,
        operators::{Deed, Entry, Object, Operator},
        principal::{Scopes, User},
    },
};

/// Longest label, address or name, in characters.
const MAX_TEXT_CHARS: usize = 200;
/// Longest life of a key, and longest overlap of two.
const LONGEST_LIFE: Duration = Duration::from_secs(100 * 366 * 24 * 60 * 60);

/// Why a deed was not done.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum OperatorError {
    /// There is no such user or key.
    #[error("there is no such user or key")]
    NotFound,
    /// What was asked for does not make sense; says what would.
    #[error("{0}")]
    Invalid(String),
    /// It makes sense, but not as things stand.
    #[error("{0}")]
    Conflict(String),
    /// The database has no space left.
    #[error("no space left in the database")]
    Full,
    /// The database cannot answer now.
    #[error("unavailable: {0}")]
    Unavailable(String),
    /// A bug, or damage behind our back. The text is for logs only.
    #[error("internal: {0}")]
    Internal(String),
}

impl From<StoreError> for OperatorError {
    fn from(error: StoreError) -> Self {
        match error {
            StoreError::Full => Self::Full,
            StoreError::Unavailable(_) => Self::Unavailable(error.to_string()),
            StoreError::Conflict | StoreError::Corrupt { .. } | StoreError::Failed(_) => {
                Self::Internal(error.to_string())
            }
        }
    }
}

/// A local user to be made.
#[derive(Debug, Clone, Default)]
pub struct NewPerson {
    /// Name, unique among local users.
    pub username: String,
    /// Mail address.
    pub email: Option<String>,
    /// Full name.
    pub display_name: Option<String>,
    /// Whether the password admits as operator.
    pub admin: bool,
    /// The password, if there is to be one.
    pub password: Option<SecretString>,
}

/// A key to be made.
#[derive(Debug, Clone)]
pub struct NewKey {
    /// What to call it.
    pub label: String,
    /// What it is good for.
    pub scopes: Scopes,
    /// How long it is good; for ever if not said.
    pub life: Option<Duration>,
}

/// What operators do to users and keys. Cheap to clone.
#[derive(Clone)]
pub struct Operators {
    facts: Arc<dyn Operations>,
    credentials: Arc<dyn Credentials>,
    clock: Arc<dyn Clock>,
    pepper: Arc<SecretString>,
    /// Where this process remembers users.
    standing: Option<Arc<Standing>>,
}

impl Operators {
    /// Over these stores; keys are hashed under `pepper`.
    pub fn new(
        facts: Arc<dyn Operations>,
        credentials: Arc<dyn Credentials>,
        clock: Arc<dyn Clock>,
        pepper: SecretString,
    ) -> Self {
        Self { facts, credentials, clock, pepper: Arc::new(pepper), standing: None }
    }

    /// The same, whose deeds the gate of this process heeds at once.
    #[must_use]
    pub fn heeded_by(self, standing: Arc<Standing>) -> Self {
        Self { standing: Some(standing), ..self }
    }

    async fn apply(&self, change: Change<'_>, entry: &Entry) -> Result<bool, StoreError> {
        let changed = self.facts.apply(change, entry).await;
        // Also where nobody knows how the transaction ended.
        if let Some(standing) = &self.standing {
            standing.forget();
        }
        changed
    }

    /// The time by which keys are judged.
    pub fn now(&self) -> Timestamp {
        self.clock.now()
    }

    // ---- users ---------------------------------------------------------------------------------------------------------

    /// Users of every realm, newest first.
    ///
    /// # Errors
    /// A store's failure.
    pub async fn people(&self, by: &Operator, page: &Search<UserId>) -> Result<Vec<Person>, OperatorError> {
        Ok(self.facts.people(by, page).await?)
    }

    /// The user of that id.
    ///
    /// # Errors
    /// [`OperatorError::NotFound`], or a store's failure.
    pub async fn person(&self, by: &Operator, id: UserId) -> Result<Person, OperatorError> {
        self.facts.person(by, id).await?.ok_or(OperatorError::NotFound)
    }

    /// The local user of that name.
    ///
    /// # Errors
    /// [`OperatorError::NotFound`], or a store's failure.
    pub async fn named(&self, by: &Operator, username: &str) -> Result<Person, OperatorError> {
        let known = self.credentials.user(username).await?.ok_or(OperatorError::NotFound)?;
        self.person(by, known.account.user.id).await
    }

    /// Every local user, by name.
    ///
    /// # Errors
    /// A store's failure.
    pub async fn locals(&self, by: &Operator) -> Result<Vec<Person>, OperatorError> {
        let mut found = Vec::new();
        for known in self.credentials.users().await? {
            found.extend(self.facts.person(by, known.account.user.id).await?);
        }
        Ok(found)
    }

    /// Makes a local user.
    ///
    /// # Errors
    /// [`OperatorError::Invalid`], [`OperatorError::Conflict`] if the name is taken, or a store's failure.
    pub async fn add(&self, by: &Operator, new: NewPerson) -> Result<Person, OperatorError> {
        check_new(&new)?;
        let phc = match &new.password {
            Some(password) => Some(hashed(password.clone()).await?),
            None => None,
        };
        let user = User { id: UserId::new(), realm: LOCAL_REALM.to_owned(), username: new.username, epoch: 0 };
        let person = Person {
            user,
            email: new.email,
            display_name: new.display_name,
            admin: new.admin,
            disabled_by_idp: false,
            disabled_by_admin: false,
            has_password: phc.is_some(),
            created: self.now(),
        };
        let object = Object::user(Some(person.user.id), &person.user.username);
        let entry = Entry::new(by, Deed::UserAdd, object, person.created).saying(if person.admin {
            "may operate by password"
        } else {
            ""
        });
        match self.apply(Change::AddUser(&person, phc.as_deref()), &entry).await {
            Ok(_) => Ok(person),
            Err(StoreError::Conflict) => {
                let name = &person.user.username;
                let refused = Entry { object: Object::user(None, name), ..entry };
                self.refuse(refused, format!("there already is a local user {name:?}")).await
            }
            Err(error) => Err(error.into()),
        }
    }

    /// Refuses a user from the next request on, or admits again. Works on users of every realm.
    ///
    /// # Errors
    /// [`OperatorError::NotFound`], [`OperatorError::Conflict`] for operators who would lock themselves out, or a store's
    /// failure.
    pub async fn set_disabled(&self, by: &Operator, id: UserId, disabled: bool) -> Result<Person, OperatorError> {
        let deed = if disabled { Deed::UserDisable } else { Deed::UserEnable };
        let entry = self.about_user(by, deed, id).await?;
        if disabled && by.user() == Some(id) {
            return self.refuse(entry, "nobody can disable themselves; `chunkgate user disable` can").await;
        }
        self.apply(Change::SetDisabled(id, disabled), &entry).await?;
        self.person(by, id).await
    }

    /// Sets whether a local user's password admits as operator.
    ///
    /// # Errors
    /// [`OperatorError::NotFound`], or a store's failure.
    pub async fn set_admin(&self, by: &Operator, id: UserId, admin: bool) -> Result<Person, OperatorError> {
        let deed = if admin { Deed::UserPromote } else { Deed::UserDemote };
        let entry = self.about_user(by, deed, id).await?;
        self.apply(Change::SetAdmin(id, admin), &entry).await?;
        self.person(by, id).await
    }

    /// Sets a local user's password.
    ///
    /// # Errors
    /// [`OperatorError::NotFound`], [`OperatorError::Invalid`], or a store's failure.
    pub async fn set_password(
        &self,
        by: &Operator,
        id: UserId,
        password: SecretString,
    ) -> Result<Person, OperatorError> {
        let entry = self.about_user(by, Deed::UserPassword, id).await?;
        let phc = hashed(password).await?;
        self.apply(Change::SetPassword(id, &phc), &entry).await?;
        self.person(by, id).await
    }

    // ---- keys ----------------------------------------------------------------------------------------------------------

    /// The keys of a user, oldest first.
    ///
    /// # Errors
    /// [`OperatorError::NotFound`], or a store's failure.
    pub async fn keys(&self, by: &Operator, of: UserId) -> Result<Vec<KeptKey>, OperatorError> {
        self.person(by, of).await?;
        Ok(self.credentials.keys(of).await?)
    }

    /// The key of that id, and its owner's name.
    ///
    /// # Errors
    /// [`OperatorError::NotFound`], or a store's failure.
    pub async fn key(&self, _: &Operator, id: KeyId) -> Result<(KeptKey, String), OperatorError> {
        let (kept, owner) = self.credentials.key(id).await?.ok_or(OperatorError::NotFound)?;
        Ok((kept, owner.user.username))
    }

    /// Makes a key for a local user. What is returned first is shown once, and never known again.
    ///
    /// # Errors
    /// [`OperatorError::NotFound`], [`OperatorError::Invalid`], [`OperatorError::Conflict`], or a store's failure.
    pub async fn create_key(&self, by: &Operator, of: UserId, new: NewKey) -> Result<(ApiKey, KeptKey), OperatorError> {
        check_text("label", &new.label)?;
        let life = new.life.map(|life| check_life("a key's life", life)).transpose()?;
        if new.scopes.names().is_empty() {
            return Err(OperatorError::Invalid("a key needs a scope, or it is good for nothing".into()));
        }
        let owner = self.person(by, of).await?.user;
        let now = self.now();
        let (key, kept) = self.minted(of, new.label, new.scopes, life.map(|life| after(now, life)))?;
        let entry = Entry::new(by, Deed::KeyCreate, Object::key(kept.id, &owner.username), now);
        let entry = entry.saying(kept.scopes.names().join(" "));
        if owner.realm != LOCAL_REALM {
            let why = "users of an identity server have their keys there; only local users have them here";
            return self.refuse(Entry { object: Object::user(Some(of), &owner.username), ..entry }, why).await;
        }
        self.apply(Change::AddKey(&kept), &entry).await?;
        Ok((key, kept))
    }

    /// Makes the key that follows another, with its scopes and as long a life; the old one stays good for `overlap`.
    /// Returns the new key, what is kept of it, and until when the old one is good.
    ///
    /// # Errors
    /// [`OperatorError::NotFound`], [`OperatorError::Invalid`], [`OperatorError::Conflict`] if the key is no longer good or
    /// already rotated, or a store's failure.
    pub async fn rotate_key(
        &self,
        by: &Operator,
        id: KeyId,
        overlap: Duration,
    ) -> Result<(ApiKey, KeptKey, Timestamp), OperatorError> {
        let overlap = check_overlap(overlap)?;
        let (old, owner) = self.key(by, id).await?;
        let now = self.now();
        let life = old.expires.and_then(|end| Duration::try_from(end.duration_since(old.created)).ok());
        let (key, kept) = self.minted(old.user, old.label.clone(), old.scopes, life.map(|life| after(now, life)))?;
        // A key whose own end is nearer does not live longer for having been followed.
        let ends = after(now, overlap);
        let until = old.expires.map_or(ends, |end| end.min(ends));
        let entry = Entry::new(by, Deed::KeyRotate, Object::key(id, &owner), now);
        let entry = entry.saying(format!("followed by {}", kept.id));
        if !old.is_good(now) || !self.apply(Change::RotateKey(id, &kept, until), &entry).await? {
            return self
                .refuse(entry, format!("the key {id} is no longer good or already rotated; create a new one"))
                .await;
        }
        Ok((key, kept, until))
    }

    /// Refuses a key from the next request on, for good.
    ///
    /// # Errors
    /// [`OperatorError::NotFound`], or a store's failure.
    pub async fn revoke_key(&self, by: &Operator, id: KeyId) -> Result<(KeptKey, String), OperatorError> {
        let (_, owner) = self.key(by, id).await?;
        let entry = Entry::new(by, Deed::KeyRevoke, Object::key(id, &owner), self.now());
        self.apply(Change::RevokeKey(id), &entry).await?;
        self.key(by, id).await
    }

    // ---- the trail -----------------------------------------------------------------------------------------------------

    /// What operators did, newest first.
    ///
    /// # Errors
    /// A store's failure.
    pub async fn trail(&self, by: &Operator, page: &Search<EntryId>) -> Result<Vec<Entry>, OperatorError> {
        Ok(self.facts.entries(by, page).await?)
    }

    /// An entry about a user who is there; of passwords and marks only local users have any.
    async fn about_user(&self, by: &Operator, deed: Deed, id: UserId) -> Result<Entry, OperatorError> {
        let user = self.person(by, id).await?.user;
        let entry = Entry::new(by, deed, Object::user(Some(id), &user.username), self.now());
        if user.realm != LOCAL_REALM && !matches!(deed, Deed::UserDisable | Deed::UserEnable) {
            return self.refuse(entry, "only local users have passwords here").await;
        }
        Ok(entry)
    }

    /// Writes down that a deed was refused.
    async fn refuse<T>(&self, entry: Entry, why: impl Into<String>) -> Result<T, OperatorError> {
        let why = why.into();
        self.facts.note(&entry.refused(why.clone())).await?;
        Err(OperatorError::Conflict(why))
    }

    /// A new key, and what is kept of it.
    fn minted(
        &self,
        user: UserId,
        label: String,
        scopes: Scopes,
        expires: Option<Timestamp>,
    ) -> Result<(ApiKey, KeptKey), OperatorError> {
        let pepper = self.pepper.expose_secret().as_bytes();
        if pepper.len() < keys::MIN_PEPPER_BYTES {
            let least = keys::MIN_PEPPER_BYTES;
            let why = format!("auth.pepper must be a secret of at least {least} bytes, for API keys");
            return Err(OperatorError::Conflict(why));
        }
        let (mut id, mut secret) = ([0; 8], [0; 32]);
        rand::fill(&mut id);
        rand::fill(&mut secret);
        let key = ApiKey::new(id, secret);
        let (id, hash, created) = (key.id(), key.hash(pepper), self.now());
        let (last_used, revoked, replaced_by, overlap_until) = (None, None, None, None);
        let kept =
            KeptKey { id, user, hash, label, scopes, created, expires, last_used, revoked, replaced_by, overlap_until };
        Ok((key, kept))
    }
}

/// A password that nobody chose: 128 random bits.
pub fn random_password() -> SecretString {
    let mut bytes = [0; 16];
    rand::fill(&mut bytes);
    hex(&bytes).into()
}

/// Checks and hashes a password, off the async threads.
async fn hashed(password: SecretString) -> Result<String, OperatorError> {
    passwords::check(password.expose_secret()).map_err(OperatorError::Invalid)?;
    let work = tokio::task::spawn_blocking(move || passwords::hash(password.expose_secret()));
    work.await.map_err(|panic| OperatorError::Internal(panic.to_string()))
}

fn check_new(new: &NewPerson) -> Result<(), OperatorError> {
    // Stricter than who may sign in: what is made here should look like what it is, in the console and in the trail.
    let name = &new.username;
    let misleads = name.trim() != name || name.chars().any(is_direction_override);
    if !credentials::is_username(name) || misleads {
        let why = "the name must have 1 to 255 bytes, without colon, control characters and direction marks, and without \
                   blanks at its ends";
        return Err(OperatorError::Invalid(why.into()));
    }
    check_text("email", new.email.as_deref().unwrap_or_default())?;
    check_text("display_name", new.display_name.as_deref().unwrap_or_default())
}

fn check_text(name: &str, text: &str) -> Result<(), OperatorError> {
    if text.chars().count() > MAX_TEXT_CHARS || text.chars().any(char::is_control) {
        let why = format!("{name} must have at most {MAX_TEXT_CHARS} characters, and no control characters");
        return Err(OperatorError::Invalid(why));
    }
    Ok(())
}

fn check_life(name: &str, life: Duration) -> Result<Duration, OperatorError> {
    match life.is_zero() || life > LONGEST_LIFE {
        true => Err(OperatorError::Invalid(format!("{name} must be longer than nothing and at most 100 years"))),
        false => Ok(life),
    }
}

fn check_overlap(overlap: Duration) -> Result<Duration, OperatorError> {
    match overlap > LONGEST_LIFE {
        true => Err(OperatorError::Invalid("the overlap must be at most 100 years".into())),
        false => Ok(overlap),
    }
}
