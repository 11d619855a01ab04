//! Local users, their passwords and API keys, in SQL that both engines read. Who is one of them is read here; what changes
//! them is a deed of operators (`operations`), of which the statements are here.

use async_trait::async_trait;
use sqlx::Transaction;

use super::{
    Account, Credentials, KeptKey, LOCAL_REALM, LocalUser, Person, Standing, StoreError,
    accounts::RAISE_EPOCH,
    dialect::Dialect,
    store::{Fields, Statement, Store},
};
use crate::domain::{
    Timestamp, UserId,
    keys::KeyId,
    principal::{Scope, Scopes, User},
};

/// Selects whole users with their passwords.
macro_rules! select_users {
    ($rest:literal) => {
        concat!(
            "SELECT users.id, realm, subject, username, email, display_name, users.created, ",
            "disabled_by_idp, disabled_by_admin, token_epoch, admin, phc ",
            "FROM users LEFT JOIN passwords ON passwords.user_id = users.id WHERE realm = $1 ",
            $rest
        )
    };
}

/// The columns of a key; `key_id` because a key is also read beside its owner.
macro_rules! select_keys {
    ($more:literal, $rest:literal) => {
        concat!(
            "SELECT api_keys.id AS key_id, user_id, hash, label, scopes_json, api_keys.created AS key_created, ",
            "expires, last_used, revoked, replaced_by, overlap_until",
            $more,
            " FROM api_keys ",
            $rest
        )
    };
}

const USER: &str = select_users!("AND username = $2");

const USERS: &str = select_users!("ORDER BY username");

const ADD_USER: &str = "
    INSERT INTO users (id, realm, subject, username, email, display_name, created, updated, admin)
    VALUES ($1, $2, $1, $3, $4, $5, $6, $6, $7)";

const SET_PASSWORD: &str = "
    INSERT INTO passwords (user_id, phc, updated) VALUES ($1, $2, $3)
    ON CONFLICT (user_id) DO UPDATE SET phc = excluded.phc, updated = excluded.updated";

const ADD_KEY: &str = "
    INSERT INTO api_keys (id, user_id, hash, label, scopes_json, created, expires) VALUES ($1, $2, $3, $4, $5, $6, $7)";

const KEY: &str = select_keys!(
    ", users.id, realm, subject, username, disabled_by_idp, disabled_by_admin, token_epoch",
    "JOIN users ON users.id = user_id WHERE api_keys.id = $1"
);

const KEYS: &str = select_keys!("", "WHERE user_id = $1 ORDER BY api_keys.created, api_keys.id");

const TOUCH: &str = "
    UPDATE api_keys SET last_used = $2 WHERE id = $1 AND (last_used IS NULL OR last_used < $3)";

const FOLLOW: &str = "
    UPDATE api_keys SET replaced_by = $2, overlap_until = $3
    WHERE id = $1 AND revoked IS NULL AND replaced_by IS NULL";

const REVOKE: &str = "UPDATE api_keys SET revoked = $2 WHERE id = $1 AND revoked IS NULL";

const RAISE_EPOCH_OF_KEY: &str = "
    UPDATE users SET token_epoch = token_epoch + 1, updated = $2
    WHERE id = (SELECT user_id FROM api_keys WHERE api_keys.id = $1)";

#[async_trait]
impl<DB: Dialect> Credentials for Store<DB> {
    async fn user(&self, username: &str) -> Result<Option<LocalUser>, StoreError> {
        let query = sqlx::query(USER).bind(LOCAL_REALM.to_owned()).bind(username.to_owned());
        query.fetch_optional(&self.read).await?.map(|row| user::<DB>(&row)).transpose()
    }

    async fn users(&self) -> Result<Vec<LocalUser>, StoreError> {
        let rows = sqlx::query(USERS).bind(LOCAL_REALM.to_owned()).fetch_all(&self.read).await?;
        rows.iter().map(user::<DB>).collect()
    }

    async fn key(&self, id: KeyId) -> Result<Option<(KeptKey, Account)>, StoreError> {
        let row = sqlx::query(KEY).bind(id.to_string()).fetch_optional(&self.read).await?;
        row.map(|row| Ok((key::<DB>(&row)?, account::<DB>(&row)?))).transpose()
    }

    async fn keys(&self, of: UserId) -> Result<Vec<KeptKey>, StoreError> {
        let rows = sqlx::query(KEYS).bind(of.to_string()).fetch_all(&self.read).await?;
        rows.iter().map(key::<DB>).collect()
    }

    async fn touch_key(&self, id: KeyId, now: Timestamp, unless_since: Timestamp) -> Result<(), StoreError> {
        let query = sqlx::query(TOUCH).bind(id.to_string()).bind(now.as_microsecond());
        self.change(query.bind(unless_since.as_microsecond())).await.map(drop)
    }
}

/// Makes a local user without a password.
pub(super) fn add_user<DB: Dialect>(person: &Person, now: Timestamp) -> Statement<'static, DB> {
    sqlx::query(ADD_USER)
        .bind(person.user.id.to_string())
        .bind(LOCAL_REALM.to_owned())
        .bind(person.user.username.clone())
        .bind(person.email.clone())
        .bind(person.display_name.clone())
        .bind(now.as_microsecond())
        .bind(person.admin)
}

/// Sets the hash of a password.
pub(super) fn password<DB: Dialect>(id: UserId, phc: &str, now: Timestamp) -> Statement<'static, DB> {
    sqlx::query(SET_PASSWORD).bind(id.to_string()).bind(phc.to_owned()).bind(now.as_microsecond())
}

/// Sets the hash of another password; what was admitted by the one before ends with it.
pub(super) async fn set_password<DB: Dialect>(
    tx: &mut Transaction<'static, DB>,
    id: UserId,
    phc: &str,
    now: Timestamp,
) -> Result<(), StoreError> {
    password(id, phc, now).execute(&mut **tx).await?;
    sqlx::query(RAISE_EPOCH).bind(id.to_string()).bind(now.as_microsecond()).execute(&mut **tx).await?;
    Ok(())
}

/// Records which key follows another, unless one does already.
pub(super) fn follow<DB: Dialect>(id: KeyId, next: &KeptKey, overlap_until: Timestamp) -> Statement<'static, DB> {
    sqlx::query(FOLLOW).bind(id.to_string()).bind(next.id.to_string()).bind(overlap_until.as_microsecond())
}

/// Revokes a key; what was admitted by any key of its owner ends with it, for a token does not say which.
pub(super) async fn revoke<DB: Dialect>(
    tx: &mut Transaction<'static, DB>,
    id: KeyId,
    now: Timestamp,
) -> Result<bool, StoreError> {
    let of_now = |statement| sqlx::query(statement).bind(id.to_string()).bind(now.as_microsecond());
    if DB::changed(&of_now(REVOKE).execute(&mut **tx).await?) == 0 {
        return Ok(false);
    }
    of_now(RAISE_EPOCH_OF_KEY).execute(&mut **tx).await?;
    Ok(true)
}

/// Records a key.
pub(super) fn insert<DB: Dialect>(key: &KeptKey) -> Statement<'static, DB> {
    let scopes = serde_json::to_string(&key.scopes.names()).expect("a list of texts is always JSON");
    sqlx::query(ADD_KEY)
        .bind(key.id.to_string())
        .bind(key.user.to_string())
        .bind(key.hash.to_string())
        .bind(key.label.clone())
        .bind(scopes)
        .bind(key.created.as_microsecond())
        .bind(key.expires.map(Timestamp::as_microsecond))
}

fn account<DB: Dialect>(row: &DB::Row) -> Result<Account, StoreError> {
    let row = Fields::<DB>::of(row, "users", "id")?;
    let (realm, username, epoch) = (row.get("realm")?, row.get("username")?, row.count("token_epoch")?);
    let user = User { id: row.parsed("id")?, realm, username, epoch };
    let disabled = row.get::<bool>("disabled_by_idp")? || row.get::<bool>("disabled_by_admin")?;
    Ok(Account { user, subject: row.get("subject")?, disabled, standing: Standing::default() })
}

fn user<DB: Dialect>(row: &DB::Row) -> Result<LocalUser, StoreError> {
    let account = account::<DB>(row)?;
    let row = Fields::<DB>::of(row, "users", "id")?;
    Ok(LocalUser {
        account,
        email: row.get("email")?,
        display_name: row.get("display_name")?,
        created: row.time("created")?,
        phc: row.get("phc")?,
        admin: row.get("admin")?,
    })
}

fn key<DB: Dialect>(row: &DB::Row) -> Result<KeptKey, StoreError> {
    let row = Fields::<DB>::of(row, "api_keys", "key_id")?;
    let follower = row.get::<Option<String>>("replaced_by")?;
    Ok(KeptKey {
        id: row.parsed("key_id")?,
        user: row.parsed("user_id")?,
        hash: row.parsed("hash")?,
        label: row.get("label")?,
        scopes: scopes(&row.get::<String>("scopes_json")?).ok_or_else(|| row.corrupt("scopes_json"))?,
        created: row.time("key_created")?,
        expires: row.maybe_time("expires")?,
        last_used: row.maybe_time("last_used")?,
        revoked: row.maybe_time("revoked")?,
        replaced_by: follower.map(|id| id.parse()).transpose().map_err(|_| row.corrupt("replaced_by"))?,
        overlap_until: row.maybe_time("overlap_until")?,
    })
}

/// A scope that this version does not know makes the key unreadable rather than a key of less or more.
fn scopes(json: &str) -> Option<Scopes> {
    let names: Vec<String> = serde_json::from_str(json).ok()?;
    names.iter().map(|name| Scope::named(name)).collect()
}
