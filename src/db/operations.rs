//! What operators see and do: the seam, and its SQL that both engines read.
//!
//! A change and its entry in the trail are one transaction: there is no deed without a line, and no line that says
//! "done" without the deed.

use async_trait::async_trait;
use sqlx::Transaction;

use super::{
    KeptKey, StoreError,
    credentials::{add_user, follow, insert, password, revoke, set_password},
    dialect::Dialect,
    store::{Fields, Statement, Store},
    uploads::upload,
};
use crate::domain::{
    EntryId, Timestamp, UploadId, UserId,
    keys::KeyId,
    operators::{Deed, Entry, Object, Operator, Outcome},
    principal::User,
    upload::{State, Upload},
};

/// What operators see and do: facts beyond one owner, and the trail of deeds.
#[async_trait]
pub trait Operations: Send + Sync + 'static {
    /// Makes a change as of the entry's time and records the entry, both or neither. `false`: what the change is about
    /// does not stand as it would have to, and nothing happened.
    ///
    /// # Errors
    /// [`StoreError::Conflict`] if a name is taken.
    async fn apply(&self, change: Change<'_>, entry: &Entry) -> Result<bool, StoreError>;

    /// Records an entry without a change: of a deed that was refused.
    async fn note(&self, entry: &Entry) -> Result<(), StoreError>;

    /// The trail, newest first.
    async fn entries(&self, by: &Operator, page: &Search<EntryId>) -> Result<Vec<Entry>, StoreError>;

    /// Users of every realm, newest first.
    async fn people(&self, by: &Operator, page: &Search<UserId>) -> Result<Vec<Person>, StoreError>;

    /// The user of that id.
    async fn person(&self, by: &Operator, id: UserId) -> Result<Option<Person>, StoreError>;

    /// Uploads of every owner, newest first; `owner` and `state` (as of `now`) narrow them.
    async fn all_uploads(
        &self,
        by: &Operator,
        page: &Search<UploadId>,
        owner: Option<UserId>,
        state: Option<State>,
        now: Timestamp,
    ) -> Result<Vec<OwnedUpload>, StoreError>;

    /// The upload of that id, whoever owns it.
    async fn any_upload(&self, by: &Operator, id: UploadId) -> Result<Option<OwnedUpload>, StoreError>;
}

/// What an operator may change. The time is that of the entry beside it.
#[derive(Debug, Clone, Copy)]
pub enum Change<'a> {
    /// Makes a local user, with the hash of a password if there is one.
    AddUser(&'a Person, Option<&'a str>),
    /// Sets whether an operator has disabled the user, if that is not so already. Disabling raises the user's epoch.
    SetDisabled(UserId, bool),
    /// Sets whether the user's password admits as operator, if that is not so already.
    SetAdmin(UserId, bool),
    /// Sets the hash of the user's password, a PHC string, and raises the user's epoch.
    SetPassword(UserId, &'a str),
    /// Records a key.
    AddKey(&'a KeptKey),
    /// Records a key that follows another, and until when that is good beside it, unless the other is revoked or followed
    /// already.
    RotateKey(KeyId, &'a KeptKey, Timestamp),
    /// Revokes a key for good, if it is not revoked already, and raises its user's epoch: an upload token does not tell
    /// which key it was made with.
    RevokeKey(KeyId),
    /// Ends an upload that is in the first state in the second, as [`end`](super::Uploads::end) does, but before its time.
    EndUpload(UploadId, State, State),
}

/// Which part of a list of operators is wanted.
#[derive(Debug, Clone)]
pub struct Search<Id> {
    /// Only what contains this text, without regard to case; empty: everything.
    pub text: String,
    /// Only what comes after this in the list: its time and id.
    pub after: Option<(Timestamp, Id)>,
    /// At most this many.
    pub limit: u32,
}

/// A user as operators see one: everything but what admits.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Person {
    /// The user.
    pub user: User,
    /// Mail address.
    pub email: Option<String>,
    /// Full name.
    pub display_name: Option<String>,
    /// Whether the user's password admits as operator.
    pub admin: bool,
    /// Whether the identity server has disabled the user.
    pub disabled_by_idp: bool,
    /// Whether an operator has.
    pub disabled_by_admin: bool,
    /// Whether a password is set.
    pub has_password: bool,
    /// When the user was first seen, or made.
    pub created: Timestamp,
}

/// An upload and what its owner is called.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OwnedUpload {
    /// The upload.
    pub upload: Upload,
    /// Its owner; none if it has none, or the owner is not known any more.
    pub owner: Option<User>,
}

/// Selects whole entries.
const ENTRIES: &str = "
    SELECT id, at, operator, operator_id, deed, object_kind, object_id, object_name, outcome, detail FROM audit
    WHERE (at, id) < ($1, $2)
      AND ($3 = '' OR LOWER(operator) LIKE LOWER($3) ESCAPE '!' OR deed LIKE LOWER($3) ESCAPE '!'
        OR LOWER(object_name) LIKE LOWER($3) ESCAPE '!' OR object_id = $4)
    ORDER BY at DESC, id DESC LIMIT $5";

const NOTE: &str = "
    INSERT INTO audit (id, at, operator, operator_id, deed, object_kind, object_id, object_name, outcome, detail)
    VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10)";

/// Selects whole users with whether they have a password.
macro_rules! select_people {
    ($rest:literal) => {
        concat!(
            "SELECT users.id, realm, username, token_epoch, email, display_name, admin, disabled_by_idp, disabled_by_admin, ",
            "users.created, phc FROM users LEFT JOIN passwords ON passwords.user_id = users.id ",
            $rest
        )
    };
}

const PERSON: &str = select_people!("WHERE users.id = $1");

const PEOPLE: &str = select_people!(
    "WHERE (users.created, users.id) < ($1, $2)
       AND ($3 = '' OR LOWER(username) LIKE LOWER($3) ESCAPE '!' OR LOWER(email) LIKE LOWER($3) ESCAPE '!'
         OR LOWER(display_name) LIKE LOWER($3) ESCAPE '!' OR users.id = $4)
     ORDER BY users.created DESC, users.id DESC LIMIT $5"
);

/// Selects whole uploads with their owners' names.
macro_rules! select_uploads {
    ($rest:literal) => {
        concat!(
            "SELECT uploads.*, users.id AS owner_id, realm, username, token_epoch ",
            "FROM uploads LEFT JOIN users ON users.id = owner ",
            $rest
        )
    };
}

const ANY_UPLOAD: &str = select_uploads!("WHERE uploads.id = $1");

const ALL_UPLOADS: &str = select_uploads!(
    "WHERE (uploads.created, uploads.id) < ($1, $2)
       AND ($3 = '' OR LOWER(filename) LIKE LOWER($3) ESCAPE '!' OR LOWER(username) LIKE LOWER($3) ESCAPE '!'
         OR uploads.id = $4)
       AND ($6 = '' OR owner = $6)
       AND ($7 = '' OR $7 = CASE WHEN state = 'receiving' AND expires <= $8 THEN 'expired' ELSE state END)
     ORDER BY uploads.created DESC, uploads.id DESC LIMIT $5"
);

const SET_DISABLED: &str = "
    UPDATE users
    SET disabled_by_admin = $2, updated = $3, token_epoch = token_epoch + CASE WHEN $2 THEN 1 ELSE 0 END
    WHERE id = $1 AND disabled_by_admin <> $2";

const SET_ADMIN: &str = "UPDATE users SET admin = $2, updated = $3 WHERE id = $1 AND admin <> $2";

// Its time is over from now on, also for whoever reads only `expires`.
const END: &str = "
    UPDATE uploads
    SET state = $3, updated = $4, ended = $4, expires = CASE WHEN expires < $4 THEN expires ELSE $4 END
    WHERE id = $1 AND state = $2";

#[async_trait]
impl<DB: Dialect> Operations for Store<DB> {
    async fn apply(&self, change: Change<'_>, entry: &Entry) -> Result<bool, StoreError> {
        let mut tx = self.begin().await?;
        if !carry_out(&mut tx, change, entry.at).await? {
            return Ok(false);
        }
        note(entry).execute(&mut *tx).await?;
        tx.commit().await?;
        Ok(true)
    }

    async fn note(&self, entry: &Entry) -> Result<(), StoreError> {
        self.change(note(entry)).await.map(drop)
    }

    async fn entries(&self, _: &Operator, page: &Search<EntryId>) -> Result<Vec<Entry>, StoreError> {
        let rows = searching::<DB, _>(ENTRIES, page).fetch_all(&self.read).await?;
        rows.iter().map(entry::<DB>).collect()
    }

    async fn people(&self, _: &Operator, page: &Search<UserId>) -> Result<Vec<Person>, StoreError> {
        let rows = searching::<DB, _>(PEOPLE, page).fetch_all(&self.read).await?;
        rows.iter().map(person::<DB>).collect()
    }

    async fn person(&self, _: &Operator, id: UserId) -> Result<Option<Person>, StoreError> {
        let row = sqlx::query(PERSON).bind(id.to_string()).fetch_optional(&self.read).await?;
        row.map(|row| person::<DB>(&row)).transpose()
    }

    async fn all_uploads(
        &self,
        _: &Operator,
        page: &Search<UploadId>,
        owner: Option<UserId>,
        state: Option<State>,
        now: Timestamp,
    ) -> Result<Vec<OwnedUpload>, StoreError> {
        let query = searching::<DB, _>(ALL_UPLOADS, page)
            .bind(owner.map(|id| id.to_string()).unwrap_or_default())
            .bind(state.map_or("", State::name).to_owned())
            .bind(now.as_microsecond());
        query.fetch_all(&self.read).await?.iter().map(owned::<DB>).collect()
    }

    async fn any_upload(&self, _: &Operator, id: UploadId) -> Result<Option<OwnedUpload>, StoreError> {
        let row = sqlx::query(ANY_UPLOAD).bind(id.to_string()).fetch_optional(&self.read).await?;
        row.map(|row| owned::<DB>(&row)).transpose()
    }
}

/// Makes the change; whether there was anything to change.
async fn carry_out<DB: Dialect>(
    tx: &mut Transaction<'static, DB>,
    change: Change<'_>,
    now: Timestamp,
) -> Result<bool, StoreError> {
    let statement = match change {
        Change::AddUser(person, phc) => {
            add_user(person, now).execute(&mut **tx).await?;
            let Some(phc) = phc else { return Ok(true) };
            password(person.user.id, phc, now)
        }
        Change::SetDisabled(id, disabled) => switch(SET_DISABLED, id, disabled, now),
        Change::SetAdmin(id, admin) => switch(SET_ADMIN, id, admin, now),
        Change::SetPassword(id, phc) => return set_password(tx, id, phc, now).await.map(|()| true),
        Change::AddKey(key) => insert(key),
        Change::RotateKey(id, next, overlap_until) => {
            if DB::changed(&follow(id, next, overlap_until).execute(&mut **tx).await?) == 0 {
                return Ok(false);
            }
            insert(next)
        }
        Change::RevokeKey(id) => return revoke(tx, id, now).await,
        Change::EndUpload(id, from, to) => {
            let query = sqlx::query(END).bind(id.to_string()).bind(from.name().to_owned());
            query.bind(to.name().to_owned()).bind(now.as_microsecond())
        }
    };
    Ok(DB::changed(&statement.execute(&mut **tx).await?) == 1)
}

fn switch<DB: Dialect>(statement: &'static str, id: UserId, on: bool, now: Timestamp) -> Statement<'static, DB> {
    sqlx::query(statement).bind(id.to_string()).bind(on).bind(now.as_microsecond())
}

fn note<DB: Dialect>(entry: &Entry) -> Statement<'static, DB> {
    sqlx::query(NOTE)
        .bind(entry.id.to_string())
        .bind(entry.at.as_microsecond())
        .bind(entry.operator.clone())
        .bind(entry.operator_id.map(|id| id.to_string()))
        .bind(entry.deed.name().to_owned())
        .bind(entry.object.kind.clone())
        .bind(entry.object.id.clone())
        .bind(entry.object.name.clone())
        .bind(entry.outcome.name().to_owned())
        .bind(entry.detail.clone())
}

/// A list with what each has in common: `$1` and `$2` where it goes on, `$3` what is looked for as a pattern, `$4` the
/// same as an id, `$5` how many.
fn searching<DB: Dialect, Id: ToString>(list: &'static str, page: &Search<Id>) -> Statement<'static, DB> {
    let (time, id) = match &page.after {
        Some((time, id)) => (time.as_microsecond(), id.to_string()),
        None => (i64::MAX, String::new()),
    };
    let query = sqlx::query(list).bind(time).bind(id).bind(pattern(&page.text)).bind(as_id(&page.text));
    query.bind(i64::from(page.limit))
}

/// A pattern of `LIKE` with `!` as its escape, for whatever contains the text; empty for every row.
fn pattern(text: &str) -> String {
    if text.is_empty() {
        return String::new();
    }
    let literal = |c: char| matches!(c, '!' | '%' | '_').then_some('!').into_iter().chain([c]);
    format!("%{}%", text.chars().flat_map(literal).collect::<String>())
}

/// An id as the tables spell it, whichever way it was typed; any other text as it is.
fn as_id(text: &str) -> String {
    text.parse::<UploadId>().map_or_else(|_| text.to_owned(), |id| id.to_string())
}

fn entry<DB: Dialect>(row: &DB::Row) -> Result<Entry, StoreError> {
    let row = Fields::<DB>::of(row, "audit", "id")?;
    let text = |column| row.get::<String>(column);
    let operator_id = row.get::<Option<String>>("operator_id")?;
    Ok(Entry {
        id: row.parsed("id")?,
        at: row.time("at")?,
        operator: text("operator")?,
        operator_id: operator_id.map(|id| id.parse()).transpose().map_err(|_| row.corrupt("operator_id"))?,
        deed: Deed::named(&text("deed")?).ok_or_else(|| row.corrupt("deed"))?,
        object: Object { kind: text("object_kind")?, id: text("object_id")?, name: text("object_name")? },
        outcome: Outcome::named(&text("outcome")?).ok_or_else(|| row.corrupt("outcome"))?,
        detail: text("detail")?,
    })
}

fn person<DB: Dialect>(row: &DB::Row) -> Result<Person, StoreError> {
    let row = Fields::<DB>::of(row, "users", "id")?;
    Ok(Person {
        user: User {
            id: row.parsed("id")?,
            realm: row.get("realm")?,
            username: row.get("username")?,
            epoch: row.count("token_epoch")?,
        },
        email: row.get("email")?,
        display_name: row.get("display_name")?,
        admin: row.get("admin")?,
        disabled_by_idp: row.get("disabled_by_idp")?,
        disabled_by_admin: row.get("disabled_by_admin")?,
        has_password: row.get::<Option<String>>("phc")?.is_some(),
        created: row.time("created")?,
    })
}

fn owned<DB: Dialect>(row: &DB::Row) -> Result<OwnedUpload, StoreError> {
    let upload = upload::<DB>(row)?;
    let row = Fields::<DB>::of(row, "uploads", "id")?;
    let owner = match row.get::<Option<String>>("owner_id")? {
        Some(_) => {
            let (realm, username, epoch) = (row.get("realm")?, row.get("username")?, row.count("token_epoch")?);
            Some(User { id: row.parsed("owner_id")?, realm, username, epoch })
        }
        None => None,
    };
    Ok(OwnedUpload { upload, owner })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_typed_is_looked_for_as_it_is() {
        assert_eq!(pattern(""), "");
        assert_eq!(pattern("100%_a!"), "%100!%!_a!!%");
        assert_eq!(as_id("3672E70A94CC45DEA8569C35B7A20339"), "3672e70a-94cc-45de-a856-9c35b7a20339");
        assert_eq!(as_id("film"), "film");
    }
}
