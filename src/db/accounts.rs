//! Facts about users and the proofs they gave, in SQL that both engines read.
//!
//! Most requests come from a user who is known and unchanged, so provisioning looks first and writes only if something
//! is to be written. Two first sights of one user, or of two users with one name, meet in the table's uniqueness rules:
//! the loser looks again and finds what the winner wrote.

use std::collections::BTreeSet;

use async_trait::async_trait;

use super::{
    Account, Accounts, Profile, Standing, StoreError, Written,
    dialect::Dialect,
    step::Step,
    store::{Fields, Statement, Store, hold},
};
use crate::domain::{
    Timestamp, UploadId, UserId, hex,
    principal::{ProofHash, Spend, User},
    profile::{Known, Version},
};

const TABLE: &str = "users";

/// How often provisioning looks again after it lost a race. Each loss means that another transaction has won.
const LOOKS: u32 = 8;

/// Selects whole users.
macro_rules! select {
    ($rest:literal) => {
        concat!(
            "SELECT id, realm, subject, username, email, display_name, groups_json, profile_version, ",
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
    INSERT INTO users (id, realm, subject, username, email, display_name, groups_json, profile_version,
        created, updated)
    VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $9)";

const CHANGE: &str = "
    UPDATE users SET username = $2, email = $3, display_name = $4, groups_json = $5, profile_version = $6, updated = $7
    WHERE id = $1";

const SET_DISABLED: &str = "
    UPDATE users
    SET disabled_by_idp = $3, updated = $4, token_epoch = token_epoch + CASE WHEN $3 THEN 1 ELSE 0 END
    WHERE realm = $1 AND subject = $2 AND disabled_by_idp <> $3";

pub(super) const RAISE_EPOCH: &str = "UPDATE users SET token_epoch = token_epoch + 1, updated = $2 WHERE id = $1";

const BOUND: &str = "SELECT upload_id, user_id FROM bindings WHERE proof = $1 AND user_id IS NOT NULL";

pub(super) const SPEND: &str = "INSERT INTO spent_proofs (proof, until) VALUES ($1, $2) ON CONFLICT (proof) DO NOTHING";

const FORGET_SPENT: &str = "
    DELETE FROM spent_proofs WHERE proof IN (SELECT proof FROM spent_proofs WHERE until < $1 LIMIT $2)";

const LAST_EVENT: &str = "SELECT realm, events FROM identity_realms WHERE realm = $1";

const REVALIDATED: &str = "
    UPDATE users SET revalidated = $2 WHERE id = $1 AND (revalidated IS NULL OR revalidated <= $3)";

const BEAT: &str = "
    INSERT INTO probe (id, beats) VALUES (1, 1) ON CONFLICT (id) DO UPDATE SET beats = probe.beats + 1";

#[async_trait]
impl<DB: Dialect> Accounts for Store<DB> {
    async fn provision(&self, profile: &Profile, now: Timestamp) -> Result<(Account, Written), StoreError> {
        for _ in 0..LOOKS {
            let mut connection = self.read.acquire().await?;
            let seen = look::<DB>(&mut connection, profile).await?;
            drop(connection);
            if let Some(known) = seen.unchanged(profile) {
                return Ok((known.account(), Written::Unchanged));
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
        row.map(|row| Row::read::<DB>(&row).map(Row::account)).transpose()
    }

    async fn knows(&self, realm: &str, subject: &str) -> Result<bool, StoreError> {
        let query = sqlx::query(KNOWN).bind(realm.to_owned()).bind(subject.to_owned());
        Ok(query.fetch_optional(&self.read).await?.is_some())
    }

    async fn set_disabled(&self, realm: &str, subject: &str, disabled: bool, now: Timestamp) -> Result<(), StoreError> {
        let query = sqlx::query(SET_DISABLED)
            .bind(realm.to_owned())
            .bind(subject.to_owned())
            .bind(disabled)
            .bind(now.as_microsecond());
        self.change(query).await.map(drop)
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
        Ok(self.change(spend(Spend { proof, until }).statement()).await? == 1)
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

/// Changes one row, or none if it was spent before.
pub(super) fn spend(spend: Spend) -> Step {
    Step::new(SPEND).bind(hex(&spend.proof.0)).bind(spend.until.as_microsecond())
}

impl<DB: Dialect> Store<DB> {
    /// Looks again inside a transaction and writes what the profile says.
    async fn write_down(&self, profile: &Profile, now: Timestamp) -> Result<(Account, Written), StoreError> {
        let mut tx = self.begin().await?;
        // Or two profiles that arrive at once would both be held against the one that stood before them.
        hold(&mut tx, format!("profile {} {}", profile.realm, profile.subject)).await?;
        let Seen { known, name_taken } = look::<DB>(&mut tx, profile).await?;
        let (known, statement, written) = match known {
            None => {
                let known = Row::new(profile, name_taken);
                let create = create(&known, now);
                (known, create, Written::Created)
            }
            Some(known) => {
                let facts = known.facts.told(profile, name_taken);
                if facts == known.facts {
                    return Ok((known.account(), Written::Unchanged));
                }
                let known = Row { facts, ..known };
                let change = change(&known, now);
                (known, change, Written::Updated)
            }
        };
        statement.execute(&mut *tx).await?;
        tx.commit().await?;
        Ok((known.account(), written))
    }
}

/// A row of `users`.
struct Row {
    id: UserId,
    realm: String,
    subject: String,
    facts: Known,
    disabled: bool,
    epoch: u64,
    standing: Standing,
}

/// What the database knows of a profile's user.
struct Seen {
    known: Option<Row>,
    /// Whether another user has the profile's name.
    name_taken: bool,
}

impl Seen {
    /// The user, if there is nothing to write.
    fn unchanged(self, profile: &Profile) -> Option<Row> {
        self.known.filter(|known| known.facts.told(profile, self.name_taken) == known.facts)
    }
}

async fn look<DB: Dialect>(connection: &mut DB::Connection, profile: &Profile) -> Result<Seen, StoreError> {
    let query = sqlx::query(KNOWN).bind(profile.realm.clone()).bind(profile.subject.clone());
    let row = query.fetch_optional(&mut *connection).await?;
    let known = row.map(|row| Row::read::<DB>(&row)).transpose()?;
    let keeps_name = known.as_ref().is_some_and(|known| known.facts.username == profile.username);
    let name_taken = !keeps_name && {
        let query = sqlx::query(NAME_TAKEN).bind(profile.realm.clone()).bind(profile.username.clone());
        query.bind(profile.subject.clone()).fetch_optional(&mut *connection).await?.is_some()
    };
    Ok(Seen { known, name_taken })
}

fn create<DB: Dialect>(known: &Row, now: Timestamp) -> Statement<'static, DB> {
    sqlx::query(CREATE)
        .bind(known.id.to_string())
        .bind(known.realm.clone())
        .bind(known.subject.clone())
        .bind(known.facts.username.clone())
        .bind(known.facts.email.clone())
        .bind(known.facts.display_name.clone())
        .bind(known.facts.groups.as_ref().map(groups_json))
        .bind(known.facts.version.map(|version| version.0))
        .bind(now.as_microsecond())
}

fn change<DB: Dialect>(known: &Row, now: Timestamp) -> Statement<'static, DB> {
    sqlx::query(CHANGE)
        .bind(known.id.to_string())
        .bind(known.facts.username.clone())
        .bind(known.facts.email.clone())
        .bind(known.facts.display_name.clone())
        .bind(known.facts.groups.as_ref().map(groups_json))
        .bind(known.facts.version.map(|version| version.0))
        .bind(now.as_microsecond())
}

impl Row {
    /// A user seen for the first time.
    fn new(profile: &Profile, name_taken: bool) -> Self {
        let id = UserId::new();
        let username = match name_taken {
            true => format!("{}~{}", profile.username, &id.simple()[..8]),
            false => profile.username.clone(),
        };
        let facts = Known { username, ..Known::default() }.told(profile, true);
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
        let facts = Known {
            username: row.get("username")?,
            email: row.get("email")?,
            display_name: row.get("display_name")?,
            groups: groups(&row)?,
            version: row.get::<Option<i64>>("profile_version")?.map(Version),
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

/// Groups as the table spells them.
fn groups_json(groups: &BTreeSet<String>) -> String {
    serde_json::to_string(groups).expect("a list of texts is always JSON")
}

fn groups<DB: Dialect>(row: &Fields<'_, DB>) -> Result<Option<BTreeSet<String>>, StoreError> {
    let Some(text) = row.get::<Option<String>>("groups_json")? else { return Ok(None) };
    serde_json::from_str(&text).map(Some).map_err(|_| row.corrupt("groups_json"))
}
