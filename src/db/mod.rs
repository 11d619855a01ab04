//! Seam: where facts live.
//!
//! Traits speak in deeds; each deed is one transaction, and none is held while a body streams. Conflicts are answers
//! (compare-and-set), not errors. Every lookup of an upload carries an [`Owner`], or an operator's proof.

mod accounts;
mod changes;
mod creations;
mod credentials;
mod deed;
mod dialect;
mod events;
mod group;
mod joins;
mod operations;
mod step;
mod store;
mod together;
mod token_keys;
mod uploads;
mod usage;

use std::sync::Arc;

use async_trait::async_trait;
use secrecy::ExposeSecret as _;

use crate::domain::{
    Durability, Timestamp, UploadId, UserId,
    digest::Digest,
    events::Event,
    keys::{KeyHash, KeyId},
    limits::{Allowance, Usage},
    principal::{Binding, Owner, ProofHash, Scopes, Spend, User},
    ring::TokenKey,
    upload::{KeptDigest, Refusal, State, Upload},
};
pub use crate::domain::{profile::Profile, realms::LOCAL_REALM};
pub use creations::Creations;
use dialect::Dialect;
pub use operations::{Change, Operations, OwnedUpload, Person, Search};
use store::Store;

/// An open database. Cheap to clone.
#[derive(Clone)]
pub struct Stores {
    /// Facts about uploads.
    pub uploads: Arc<dyn Uploads>,
    /// Facts about users and the proofs they gave.
    pub accounts: Arc<dyn Accounts>,
    /// What users prove themselves with here.
    pub credentials: Arc<dyn Credentials>,
    /// What upload tokens are signed with.
    pub token_keys: Arc<dyn TokenKeys>,
    /// What the identity server told of its own accord.
    pub identity_events: Arc<dyn IdentityEvents>,
    /// Facts beyond one owner, and what operators did.
    pub operations: Arc<dyn Operations>,
    database: Arc<dyn Close>,
}

impl Stores {
    fn over<DB: Dialect>(store: Store<DB>) -> Self {
        let store = Arc::new(store);
        Self {
            uploads: store.clone(),
            accounts: store.clone(),
            credentials: store.clone(),
            token_keys: store.clone(),
            identity_events: store.clone(),
            operations: store.clone(),
            database: store,
        }
    }

    /// Waits for the deeds under way and closes every connection; later deeds answer [`StoreError::Unavailable`].
    pub async fn close(&self) {
        self.database.close().await;
    }
}

/// Hides which engine is closed.
#[async_trait]
trait Close: Send + Sync {
    async fn close(&self);
}

#[async_trait]
impl<DB: Dialect> Close for Store<DB> {
    async fn close(&self) {
        Store::close(self).await;
    }
}

/// Opens the database that `settings` names and brings its tables up to date.
///
/// # Errors
/// [`StoreError::Unavailable`] or [`StoreError::Failed`] with one sentence for the operator, without the password.
pub async fn connect(settings: &Settings, durability: Durability) -> Result<Stores, StoreError> {
    let url = settings.url.expose_secret();
    let most = settings.max_connections;
    match url.split_once(':') {
        Some(("sqlite", path)) => dialect::open_sqlite(path, most, durability).await.map(Stores::over),
        Some(("postgres" | "postgresql", _)) => dialect::open_postgres(url, most, durability).await.map(Stores::over),
        _ => Err(StoreError::Failed("the URL must begin with sqlite: or postgres://".to_owned())),
    }
}

/// Facts about uploads.
///
/// Deeds that take a [`Spend`] do it and spend it, or neither; they fail with [`StoreError::Conflict`] if it was spent
/// before.
#[async_trait]
pub trait Uploads: Joins + Creations + Send + Sync + 'static {
    /// Records a new upload and, with it, that `binding`'s proof created it, if `allowance` has room for it beside the
    /// other uploads of its owner. Of any number that begin at once only so many do as there is room for.
    /// `Some`: there is none, and nothing changed.
    ///
    /// # Errors
    /// [`StoreError::Conflict`] if the binding is exclusive and its proof is already bound, if it is shared and its
    /// proof is bound exclusively, or if the id is taken.
    async fn insert(
        &self,
        upload: &Upload,
        binding: Option<Binding>,
        spend: Option<Spend>,
        allowance: &Allowance,
    ) -> Result<Option<Refusal>, StoreError>;

    /// What the uploads of `owner` take at `now`, but for `except`; of the bytes also those that began at `since` or later.
    async fn usage(
        &self,
        owner: UserId,
        except: UploadId,
        since: Timestamp,
        now: Timestamp,
    ) -> Result<Usage, StoreError>;

    /// The upload of that id, if `owner` owns it.
    async fn find(&self, id: UploadId, owner: Owner) -> Result<Option<Upload>, StoreError>;

    /// Whether any upload of that id is remembered, whoever owns it.
    async fn exists(&self, id: UploadId) -> Result<bool, StoreError>;

    /// The uploads of `owner`, newest first, without parts of others.
    async fn list(&self, owner: Owner, page: &Page) -> Result<Vec<Upload>, StoreError>;

    /// At most `limit` uploads of `owner` with this display name and, if it is given, this size, without parts of others:
    /// those marked as receiving before the others, and newest first among either.
    async fn named(
        &self,
        owner: Owner,
        filename: &str,
        size: Option<u64>,
        limit: u32,
    ) -> Result<Vec<Upload>, StoreError>;

    /// Moves the offset, and everything that belongs to it, if the upload is receiving and stands where `advance` says.
    /// A length that was fixed meanwhile is part of where it stands. `false`: it does not, or there is no room for it
    /// ([`Advance::within`]), and nothing changed.
    async fn advance(&self, id: UploadId, advance: &Advance) -> Result<bool, StoreError>;

    /// Moves the offset to the end and makes the upload complete, as [`Uploads::advance`] and [`Uploads::complete`] do one
    /// after the other, or does neither.
    async fn complete_with(&self, id: UploadId, last: &Advance, sum: Option<&Digest>) -> Result<bool, StoreError>;

    /// Makes a receiving upload complete if it stands at `offset`, and drops the digest's state (its algorithm stays
    /// known). `false`: it does not, and nothing changed.
    async fn complete(
        &self,
        id: UploadId,
        offset: u64,
        sum: Option<&Digest>,
        now: Timestamp,
        spend: Option<Spend>,
    ) -> Result<bool, StoreError>;

    /// Ends an upload in `state` ([`State::Cancelled`] or [`State::Expired`]) if it is in one of `from`; a receiving one
    /// expires only if its time ran out at `now`, for it may have been extended since it was looked at. Its `ended`
    /// becomes `now`, its placement stays until [`Uploads::content_gone`]. `false`: it is not, and nothing changed.
    async fn end(
        &self,
        id: UploadId,
        from: &[State],
        state: State,
        now: Timestamp,
        spend: Option<Spend>,
    ) -> Result<bool, StoreError>;

    /// Spends what may be used once on a deed that had already been done. `false`: it was spent before.
    async fn spend(&self, spend: Spend) -> Result<bool, StoreError>;

    /// Records that the bytes of a cancelled or expired upload are gone: placement and digest are cleared.
    async fn content_gone(&self, id: UploadId) -> Result<(), StoreError>;

    /// At most `limit` receiving uploads whose time ran out at `now`, but for parts of those that are receiving and for
    /// those whose parts have time left, and complete ones that ended before `completed_before`.
    async fn outlived(
        &self,
        now: Timestamp,
        completed_before: Option<Timestamp>,
        limit: u32,
    ) -> Result<Vec<Upload>, StoreError>;

    /// At most `limit` ended uploads (cancelled, expired) whose bytes are not yet recorded as gone.
    async fn to_collect(&self, limit: u32) -> Result<Vec<Upload>, StoreError>;

    /// Forgets at most `limit` cancelled and expired uploads that ended before `ended_before` and have no bytes, with
    /// their bindings. Returns how many.
    async fn forget(&self, ended_before: Timestamp, limit: u32) -> Result<u64, StoreError>;
}

/// Facts about uploads that are joined from parts.
#[async_trait]
pub trait Joins: Send + Sync + 'static {
    /// Records an upload that is joined from these parts, as [`Uploads::insert`] does, and with it that they are its.
    /// `false`: one of them is no part of the same owner that grows and belongs to nobody, and nothing changed.
    ///
    /// # Errors
    /// [`StoreError::Conflict`] as there, and if the owner has an upload of the same list.
    async fn insert_joined(
        &self,
        joined: &Upload,
        parts: &[UploadId],
        binding: Option<Binding>,
        spend: Option<Spend>,
    ) -> Result<bool, StoreError>;

    /// The upload of `owner` that was made of exactly these parts, whatever became of it or of them.
    async fn joined(&self, owner: Owner, parts: &[UploadId]) -> Result<Option<Upload>, StoreError>;

    /// The parts of an upload, in their order.
    async fn parts(&self, joined: &Upload) -> Result<Vec<Upload>, StoreError>;

    /// At most `limit` receiving uploads none of whose parts will grow after `now`, or one of whose parts is over.
    async fn to_join(&self, now: Timestamp, limit: u32) -> Result<Vec<Upload>, StoreError>;

    /// At most `limit` receiving parts of uploads that ended before `ended_before`.
    async fn left_over(&self, ended_before: Timestamp, limit: u32) -> Result<Vec<Upload>, StoreError>;
}

/// Facts about users and the proofs they gave.
#[async_trait]
pub trait Accounts: Send + Sync + 'static {
    /// The local user for an identity, and what it took: created at first sight, changed when the profile changed,
    /// untouched (no write) when nothing changed or the profile is older than the one that is known. The key is
    /// (realm, subject), never a name or an address. A username that another user of
    /// the realm holds is not taken over: a new user gets `name~xxxxxxxx` (start of its id), a known user keeps its name.
    async fn provision(&self, profile: &Profile, now: Timestamp) -> Result<(Account, Written), StoreError>;

    /// The user of that id.
    async fn find(&self, id: UserId) -> Result<Option<Account>, StoreError>;

    /// Whether there is a user for this identity.
    async fn knows(&self, realm: &str, subject: &str) -> Result<bool, StoreError>;

    /// Sets whether the identity server has disabled the user with this subject; unknown subjects are ignored. Disabling
    /// raises the user's epoch.
    async fn set_disabled(&self, realm: &str, subject: &str, disabled: bool, now: Timestamp) -> Result<(), StoreError>;

    /// The uploads that a proof created, with the user it proved: the owner at their creation.
    async fn bound(&self, proof: ProofHash) -> Result<Vec<(UploadId, UserId)>, StoreError>;

    /// Spends a proof that may be used once, and remembers it until `until`. `false`: it was spent before.
    async fn spend(&self, proof: ProofHash, until: Timestamp) -> Result<bool, StoreError>;

    /// Forgets at most `limit` spent proofs that need not be remembered at `now`. Returns how many.
    async fn forget_spent(&self, now: Timestamp, limit: u32) -> Result<u64, StoreError>;

    /// The number of the last event that the realm's identity server told; 0: none.
    async fn last_event(&self, realm: &str) -> Result<u64, StoreError>;

    /// Records that the identity server called the user active at `at`, unless it is recorded of a time after
    /// `unless_after`.
    async fn revalidated(&self, id: UserId, at: Timestamp, unless_after: Timestamp) -> Result<(), StoreError>;

    /// Proves that the database answers and can be written.
    async fn check(&self) -> Result<(), StoreError>;
}

/// What an identity server tells of its own accord.
#[async_trait]
pub trait IdentityEvents: Send + Sync + 'static {
    /// Records an event of the realm's identity server with all that follows from it. `false`: it was told before, and
    /// nothing changed.
    async fn hear(&self, realm: &str, event: &Event, now: Timestamp) -> Result<bool, StoreError>;

    /// Forgets at most `limit` ids of events that were heard before then. Returns how many.
    async fn forget_events(&self, heard_before: Timestamp, limit: u32) -> Result<u64, StoreError>;
}

/// Local users ([`LOCAL_REALM`]), their passwords and their API keys, for those who judge them; what changes them is a deed
/// of operators ([`Operations`]). What is kept of either cannot be used.
#[async_trait]
pub trait Credentials: Send + Sync + 'static {
    /// The local user of that name.
    async fn user(&self, username: &str) -> Result<Option<LocalUser>, StoreError>;

    /// Every local user, by name.
    async fn users(&self) -> Result<Vec<LocalUser>, StoreError>;

    /// The key of that id with its owner.
    async fn key(&self, id: KeyId) -> Result<Option<(KeptKey, Account)>, StoreError>;

    /// The keys of a user, oldest first.
    async fn keys(&self, of: UserId) -> Result<Vec<KeptKey>, StoreError>;

    /// Records that a key was used, unless it is recorded of a time since `unless_since`.
    async fn touch_key(&self, id: KeyId, now: Timestamp, unless_since: Timestamp) -> Result<(), StoreError>;
}

/// The keys that sign upload tokens. One ring for every node on the database.
#[async_trait]
pub trait TokenKeys: Send + Sync + 'static {
    /// Every key, by number.
    async fn ring(&self) -> Result<Vec<TokenKey>, StoreError>;

    /// Adds a key to the ring. `false`: another node was first, there is a key of that number.
    async fn publish(&self, key: &TokenKey) -> Result<bool, StoreError>;

    /// Forgets the keys below `number`. Returns how many.
    async fn forget_below(&self, number: u32) -> Result<u64, StoreError>;
}

/// A local user.
#[derive(Clone, PartialEq, Eq)]
pub struct LocalUser {
    /// User, and whether disabled.
    pub account: Account,
    /// Mail address.
    pub email: Option<String>,
    /// Full name.
    pub display_name: Option<String>,
    /// When it was made.
    pub created: Timestamp,
    /// The hash of the password, a PHC string; absent: no password admits.
    pub phc: Option<String>,
    /// Whether the password admits as operator.
    pub admin: bool,
}

/// Without the hash.
impl std::fmt::Debug for LocalUser {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("LocalUser").field("account", &self.account).finish_non_exhaustive()
    }
}

/// An API key as it is kept.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KeptKey {
    /// Its name, which stands in its text.
    pub id: KeyId,
    /// Whose it is.
    pub user: UserId,
    /// What its text is compared with.
    pub hash: KeyHash,
    /// What the operator calls it.
    pub label: String,
    /// What it is good for.
    pub scopes: Scopes,
    /// When it was made.
    pub created: Timestamp,
    /// Until when it is good.
    pub expires: Option<Timestamp>,
    /// When it was last used, to within some minutes.
    pub last_used: Option<Timestamp>,
    /// Since when it is revoked.
    pub revoked: Option<Timestamp>,
    /// Which key follows it.
    pub replaced_by: Option<KeyId>,
    /// Until when it is good beside the key that follows it.
    pub overlap_until: Option<Timestamp>,
}

impl KeptKey {
    /// Whether the key is good at `now`.
    pub fn is_good(&self, now: Timestamp) -> bool {
        let before = |end: Option<Timestamp>| end.is_none_or(|end| now < end);
        self.revoked.is_none() && before(self.expires) && before(self.overlap_until)
    }

    /// Where the key stands at `now`, in a word.
    pub fn state(&self, now: Timestamp) -> &'static str {
        match (self.revoked, self.is_good(now), self.replaced_by) {
            (Some(_), ..) => "revoked",
            (None, false, None) => "expired",
            (None, false, Some(_)) => "replaced",
            (None, true, Some(_)) => "overlap",
            (None, true, None) => "active",
        }
    }
}

/// One move of an offset.
#[derive(Debug, Clone)]
pub struct Advance {
    /// Where the upload must stand, in bytes.
    pub from: u64,
    /// Where it stands afterwards.
    pub to: u64,
    /// Where the chunk began that this is a part of.
    pub tail_start: u64,
    /// Total length as known from now on.
    pub size: Option<u64>,
    /// Digest state over the first `to` bytes.
    pub digest: Option<KeptDigest>,
    /// Until when bytes are accepted from now on.
    pub expires: Timestamp,
    /// The owner, and what its uploads may take together with this move.
    pub within: Option<(UserId, Allowance)>,
    /// When this happened.
    pub now: Timestamp,
}

/// Which part of a list is wanted.
#[derive(Debug, Clone)]
pub struct Page {
    /// Only uploads in this state, as of `now`.
    pub state: Option<State>,
    /// Only uploads that come after this one in the order of the list: its creation and id.
    pub after: Option<(Timestamp, UploadId)>,
    /// At most this many.
    pub limit: u32,
    /// The time at which expiry is judged.
    pub now: Timestamp,
}

/// What provisioning wrote.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Written {
    /// A new user.
    Created,
    /// Changes of the profile.
    Updated,
    /// Nothing.
    Unchanged,
}

/// A local user with what decides about admission.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Account {
    /// The user.
    pub user: User,
    /// The identity server's id of the user.
    pub subject: String,
    /// Disabled by the identity server or by an operator.
    pub disabled: bool,
    /// How the user stands with the identity server.
    pub standing: Standing,
}

/// How a user stands with the identity server. Of a local user it says nothing.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Standing {
    /// The number of the last event that concerned the user. What was asked for before it is not to be believed.
    pub last_event: u64,
    /// When the identity server last called the user active, to within the time that the writing of it is spared.
    pub revalidated: Option<Timestamp>,
}

/// What went wrong in the database.
#[derive(Debug, Clone, thiserror::Error)]
pub enum StoreError {
    /// A uniqueness rule said no; nothing changed.
    #[error("conflict")]
    Conflict,
    /// The database has no space left; nothing changed.
    #[error("no space left in the database")]
    Full,
    /// The database cannot answer now (busy, unreachable); trying again may help.
    #[error("the database is unavailable: {0}")]
    Unavailable(String),
    /// A row does not make sense.
    #[error("corrupt {table}.{column} of {id}")]
    Corrupt {
        /// The table.
        table: &'static str,
        /// The column.
        column: &'static str,
        /// The row's id.
        id: String,
    },
    /// Anything else.
    #[error("database: {0}")]
    Failed(String),
}

/// Section `database` of the configuration.
#[derive(Debug, Clone, serde::Deserialize, serde::Serialize)]
#[serde(default, deny_unknown_fields)]
pub struct Settings {
    /// `sqlite:PATH` (made if it does not exist) or `postgres://…`. May hold a password: printed without it.
    #[serde(serialize_with = "redact")]
    pub url: secrecy::SecretString,
    /// Connections to PostgreSQL at most, or readers of SQLite.
    pub max_connections: u32,
}

impl Settings {
    /// Whether the URL names a database. Opens nothing, and repeats no password.
    ///
    /// # Errors
    /// What it must be.
    pub fn check(&self) -> Result<(), String> {
        let url = self.url.expose_secret();
        match url.split_once(':') {
            Some(("sqlite", path)) => dialect::sqlite_path(path).map(|_| ()),
            Some(("postgres" | "postgresql", _)) => dialect::postgres_options(url).map(|_| ()),
            _ => Err("must be sqlite:PATH or postgres://USER:PASSWORD@HOST/NAME".into()),
        }
    }
}

impl Default for Settings {
    fn default() -> Self {
        Self { url: "sqlite:chunkgate-data/chunkgate.db".into(), max_connections: 8 }
    }
}

/// The URL with its password hidden: beside the user, and in the query, where PostgreSQL's clients take one too.
fn redact<S: serde::Serializer>(url: &secrecy::SecretString, to: S) -> Result<S::Ok, S::Error> {
    let url = url.expose_secret();
    let Some((scheme, rest)) = url.split_once("://") else { return to.serialize_str(url) };
    let (place, query) = rest.split_once('?').map_or((rest, ""), |(place, _)| (place, "?…"));
    match place.rsplit_once('@') {
        Some((user, place)) => {
            let user = user.split(':').next().unwrap_or_default();
            to.collect_str(&format_args!("{scheme}://{user}:…@{place}{query}"))
        }
        None => to.collect_str(&format_args!("{scheme}://{place}{query}")),
    }
}
