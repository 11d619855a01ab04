//! Facts about users and the proofs they gave, in SQL that both engines read.
//!
//! Most requests come from a user who is known and unchanged, so provisioning looks first and writes only if something
//! is to be written. Two first sights of one user, or of two users with one name, meet in the table's uniqueness rules:
//! the loser looks again and finds what the winner wrote.

use async_trait::async_trait;

use super::{
    Account, Accounts, Profile, Standing, StoreError,
    dialect::Dialect,
    store::{Fields, Statement, Store},
};
use crate::domain::{
    Timestamp, UploadId, UserId, hex,
    principal::{ProofHash, User},
};

const TABLE: &str = "users";

/// How often provisioning looks again after it lost a race. Each loss means that another transaction has won.
const LOOKS: u32 = 8;

/// Selects whole users.
macro_rules! select {
    ($rest:literal) => {
        concat!(
            "SELECT id, realm, subject, username, email, display_name, groups_json, ",
            "disabled_by_idp, disabled_by_admin, token_epoch, last_event, revalidated, ",
            "(SELECT flushed FROM identity_realms WHERE identity_realms.realm = users.realm) AS flushed FROM users ",
            $rest
        )
    };
}

const FIND: &str = select!("WHERE id = $1");

const KNOWN: &str = select!("WHERE realm = $1 AND subject = $2");

const NAME_TAKEN: &str = "SELECT 1 FROM users WHERE realm = $1 AND username = $2 AND subject <> $3";

const CREATE: &str = "
    INSERT INTO users (id, realm, subject, username, email, display_name, groups_json, created, updated)
    VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $8)";

const CHANGE: &str = "
    UPDATE users SET username = $2, email = $3, display_name = $4, groups_json = $5, updated = $6 WHERE id = $1";

const SET_DISABLED: &str = "
    UPDATE users
    SET disabled_by_idp = $3, updated = $4, token_epoch = token_epoch + CASE WHEN $3 THEN 1 ELSE 0 END
    WHERE realm = $1 AND subject = $2 AND disabled_by_idp <> $3";

const RAISE_EPOCH: &str = "UPDATE users SET token_epoch = token_epoch + 1, updated = $2 WHERE id = $1";

const BOUND: &str = "SELECT upload_id, user_id FROM bindings WHERE proof = $1 AND user_id IS NOT NULL";

const SPEND: &str = "INSERT INTO spent_proofs (proof, until) VALUES ($1, $2) ON CONFLICT (proof) DO NOTHING";

const FORGET_SPENT: &str = "
    DELETE FROM spent_proofs WHERE proof IN (SELECT proof FROM spent_proofs WHERE until < $1 LIMIT $2)";

const LAST_EVENT: &str = "SELECT realm, events FROM identity_realms WHERE realm = $1";

const REVALIDATED: &str = "
    UPDATE users SET revalidated = $2 WHERE id = $1 AND (revalidated IS NULL OR revalidated <= $3)";

const BEAT: &str = "
    INSERT INTO probe (id, beats) VALUES (1, 1) ON CONFLICT (id) DO UPDATE SET beats = probe.beats + 1";

#[async_trait]
impl<DB: Dialect> Accounts for Store<DB> {
    async fn provision(&self, profile: &Profile, now: Timestamp) -> Result<Account, StoreError> {
        for _ in 0..LOOKS {
            let mut connection = self.read.acquire().await?;
            let seen = look::<DB>(&mut connection, profile).await?;
            drop(connection);
            if let Some(known) = seen.unchanged(profile) {
                return Ok(known.account());
            }
            match self.write_down(profile, now).await {
                Err(StoreError::Conflict) => {}
                done => return done,
            }
        }
        Err(StoreError::Unavailable("too many users are being created at once".to_owned()))
    }

    async fn find(&self, id: UserId) -> Result<Option<Account>, StoreError> {
        let row = sqlx::query(FIND).bind(id.to_string()).fetch_optional(&self.read).await?;
        row.map(|row| Known::read::<DB>(&row).map(Known::account)).transpose()
    }

    async fn set_disabled(&self, realm: &str, subject: &str, disabled: bool, now: Timestamp) -> Result<(), StoreError> {
        let query = sqlx::query(SET_DISABLED)
            .bind(realm.to_owned())
            .bind(subject.to_owned())
            .bind(disabled)
            .bind(now.as_microsecond());
        self.change(query).await.map(drop)
    }

    async fn raise_epoch(&self, id: UserId, now: Timestamp) -> Result<bool, StoreError> {
        let query = sqlx::query(RAISE_EPOCH).bind(id.to_string()).bind(now.as_microsecond());
        Ok(self.change(query).await? == 1)
    }

    async fn bound(&self, proof: ProofHash) -> Result<Vec<(UploadId, UserId)>, StoreError> {
        let rows = sqlx::query(BOUND).bind(hex(&proof.0)).fetch_all(&self.read).await?;
        let pair = |row: &DB::Row| {
            let row = Fields::<DB>::of(row, "bindings", "upload_id")?;
            Ok((row.parsed("upload_id")?, row.parsed("user_id")?))
        };
        rows.iter().map(pair).collect()
    }

    async fn spend(&self, proof: ProofHash, until: Timestamp) -> Result<bool, StoreError> {
        let query = sqlx::query(SPEND).bind(hex(&proof.0)).bind(until.as_microsecond());
        Ok(self.change(query).await? == 1)
    }

    async fn forget_spent(&self, now: Timestamp, limit: u32) -> Result<u64, StoreError> {
        self.change(sqlx::query(FORGET_SPENT).bind(now.as_microsecond()).bind(i64::from(limit))).await
    }

    async fn last_event(&self, realm: &str) -> Result<u64, StoreError> {
        let row = sqlx::query(LAST_EVENT).bind(realm.to_owned()).fetch_optional(&self.read).await?;
        row.map_or(Ok(0), |row| Fields::<DB>::of(&row, "identity_realms", "realm")?.count("events"))
    }

    async fn revalidated(&self, id: UserId, at: Timestamp, unless_after: Timestamp) -> Result<(), StoreError> {
        let query = sqlx::query(REVALIDATED).bind(id.to_string()).bind(at.as_microsecond());
        self.change(query.bind(unless_after.as_microsecond())).await.map(drop)
    }

    async fn check(&self) -> Result<(), StoreError> {
        // A write that is committed: an open database on a full or read-only disk still answers questions.
        self.change(sqlx::query(BEAT)).await.map(drop)
    }
}

impl<DB: Dialect> Store<DB> {
    /// Looks again inside a transaction and writes what the profile says.
    async fn write_down(&self, profile: &Profile, now: Timestamp) -> Result<Account, StoreError> {
        let mut tx = self.begin().await?;
        let Seen { known, name_taken } = look::<DB>(&mut tx, profile).await?;
        let (known, statement) = match known {
            None => {
                let known = Known::new(profile, name_taken);
                let create = create(&known, now);
                (known, create)
            }
            Some(known) => {
                let facts = known.facts.updated(profile, name_taken);
                if facts == known.facts {
                    return Ok(known.account());
                }
                let known = Known { facts, ..known };
                let change = change(&known, now);
                (known, change)
            }
        };
        statement.execute(&mut *tx).await?;
        tx.commit().await?;
        Ok(known.account())
    }
}

/// What a profile may change.
#[derive(PartialEq, Eq)]
struct Facts {
    username: String,
    email: Option<String>,
    display_name: Option<String>,
    groups_json: Option<String>,
}

/// A row of `users`.
struct Known {
    id: UserId,
    realm: String,
    subject: String,
    facts: Facts,
    disabled: bool,
    epoch: u64,
    standing: Standing,
}

/// What the database knows of a profile's user.
struct Seen {
    known: Option<Known>,
    /// Whether another user has the profile's name.
    name_taken: bool,
}

impl Seen {
    /// The user, if there is nothing to write.
    fn unchanged(self, profile: &Profile) -> Option<Known> {
        self.known.filter(|known| known.facts.updated(profile, self.name_taken) == known.facts)
    }
}

async fn look<DB: Dialect>(connection: &mut DB::Connection, profile: &Profile) -> Result<Seen, StoreError> {
    let query = sqlx::query(KNOWN).bind(profile.realm.clone()).bind(profile.subject.clone());
    let row = query.fetch_optional(&mut *connection).await?;
    let known = row.map(|row| Known::read::<DB>(&row)).transpose()?;
    let keeps_name = known.as_ref().is_some_and(|known| known.facts.username == profile.username);
    let name_taken = !keeps_name && {
        let query = sqlx::query(NAME_TAKEN).bind(profile.realm.clone()).bind(profile.username.clone());
        query.bind(profile.subject.clone()).fetch_optional(&mut *connection).await?.is_some()
    };
    Ok(Seen { known, name_taken })
}

fn create<DB: Dialect>(known: &Known, now: Timestamp) -> Statement<'static, DB> {
    sqlx::query(CREATE)
        .bind(known.id.to_string())
        .bind(known.realm.clone())
        .bind(known.subject.clone())
        .bind(known.facts.username.clone())
        .bind(known.facts.email.clone())
        .bind(known.facts.display_name.clone())
        .bind(known.facts.groups_json.clone())
        .bind(now.as_microsecond())
}

fn change<DB: Dialect>(known: &Known, now: Timestamp) -> Statement<'static, DB> {
    sqlx::query(CHANGE)
        .bind(known.id.to_string())
        .bind(known.facts.username.clone())
        .bind(known.facts.email.clone())
        .bind(known.facts.display_name.clone())
        .bind(known.facts.groups_json.clone())
        .bind(now.as_microsecond())
}

impl Facts {
    /// These facts as `profile` would have them; what it does not say stays.
    fn updated(&self, profile: &Profile, name_taken: bool) -> Self {
        let told = |new: &Option<String>, old: &Option<String>| new.clone().or_else(|| old.clone());
        Self {
            username: if name_taken { self.username.clone() } else { profile.username.clone() },
            email: told(&profile.email, &self.email),
            display_name: told(&profile.display_name, &self.display_name),
            groups_json: told(&profile.groups.as_deref().map(groups_json), &self.groups_json),
        }
    }
}

impl Known {
    /// A user seen for the first time.
    fn new(profile: &Profile, name_taken: bool) -> Self {
        let id = UserId::new();
        let username = match name_taken {
            true => format!("{}~{}", profile.username, &id.simple()[..8]),
            false => profile.username.clone(),
        };
        let facts = Facts { username, email: None, display_name: None, groups_json: None }.updated(profile, true);
        Self {
            id,
            realm: profile.realm.clone(),
            subject: profile.subject.clone(),
            facts,
            disabled: false,
            epoch: 0,
            standing: Standing::default(),
        }
    }

    fn read<DB: Dialect>(row: &DB::Row) -> Result<Self, StoreError> {
        let row = Fields::<DB>::of(row, TABLE, "id")?;
        let facts = Facts {
            username: row.get("username")?,
            email: row.get("email")?,
            display_name: row.get("display_name")?,
            groups_json: row.get("groups_json")?,
        };
        let disabled = row.get::<bool>("disabled_by_idp")? || row.get::<bool>("disabled_by_admin")?;
        let (realm, subject) = (row.get("realm")?, row.get("subject")?);
        let last_event = row.count("last_event")?.max(row.maybe_count("flushed")?.unwrap_or_default());
        let standing = Standing { last_event, revalidated: row.maybe_time("revalidated")? };
        Ok(Self { id: row.parsed("id")?, realm, subject, facts, disabled, epoch: row.count("token_epoch")?, standing })
    }

    fn account(self) -> Account {
        let user = User { id: self.id, realm: self.realm, username: self.facts.username, epoch: self.epoch };
        Account { user, subject: self.subject, disabled: self.disabled, standing: self.standing }
    }
}

/// Groups as the table spells them: without order or repetition, so that the same groups are the same text.
fn groups_json(groups: &[String]) -> String {
    let set: std::collections::BTreeSet<_> = groups.iter().collect();
    serde_json::to_string(&set).expect("a list of texts is always JSON")
}
