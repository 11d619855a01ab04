//! Many steps in one statement of SQLite: one way to the connection's thread and back for all of them, and a transaction
//! of its own around them, without another way to begin it or to commit it.
//!
//! The steps go, as one JSON array, into a view that every writing connection has for them alone. Its triggers hold the very
//! texts of which a step is made by itself, and take the steps in their order, so that each finds what those before it left.
//! A step that does not change its one row undoes them all.
//!
//! What is deliberately not here: which step it was, and what to tell whom. Whoever wants to know makes them one by one.

use std::fmt::Write as _;

use serde::{Serialize, Serializer, ser::Error as _};
use sqlx::error::DatabaseError;

use super::{
    StoreError,
    accounts::SPEND,
    changes::{ADVANCE, BIND, COMPLETE, COMPLETE_WITH, INSERT},
    creations::NAME,
    dialect::{self, Dialect},
    step::{Step, Value},
};

/// What can be a step of a group, and which of its values is bytes: JSON has none.
const TEXTS: [(&str, Option<usize>); 7] = [
    (INSERT, Some(9)),
    (BIND, None),
    (NAME, None),
    (ADVANCE, Some(6)),
    (COMPLETE_WITH, None),
    (COMPLETE, None),
    (SPEND, None),
];

/// Each step is an array of its text's place in [`TEXTS`] and its values, so that `$n` stands at n.
const MAKE: &str = "INSERT INTO temp.steps (text, said) SELECT value ->> 0, value FROM json_each($1)";

/// What a connection needs before it can make groups.
pub(super) fn preparation() -> String {
    let mut sql = "CREATE TEMP VIEW steps (text, said) AS SELECT NULL, NULL;".to_owned();
    for (place, (text, bytes)) in TEXTS.into_iter().enumerate() {
        let _ = write!(
            sql,
            "CREATE TEMP TRIGGER step_{place} INSTEAD OF INSERT ON steps WHEN NEW.text = {place} BEGIN
                {};
                SELECT RAISE(ABORT, 'not made') WHERE changes() <> 1;
            END;",
            reading_json(text, bytes),
        );
    }
    sql
}

/// Makes every step, or none. `false`: one of them cannot be made, and nothing changed.
///
/// # Errors
/// The database cannot answer now: whether anything changed is not known.
pub(super) async fn make<DB: Dialect>(steps: &[Step], on: &mut DB::Connection) -> Result<bool, StoreError> {
    let steps: Vec<_> = steps.iter().map(InGroup).collect();
    let steps = serde_json::to_string(&steps).map_err(|error| StoreError::Failed(error.to_string()))?;
    match sqlx::query(MAKE).bind(steps).execute(on).await {
        Ok(_) => Ok(true),
        // Whatever it is about one of them, the others are not to suffer from it.
        Err(sqlx::Error::Database(error)) if !dialect::is_passing(&*error) => {
            if !is_constraint(&*error) {
                tracing::warn!(%error, "changes that wait for each other are made one by one");
            }
            Ok(false)
        }
        Err(error) => Err(error.into()),
    }
}

/// Whether a row was not as a step wants it, which happens.
fn is_constraint(error: &dyn DatabaseError) -> bool {
    const SQLITE_CONSTRAINT: u32 = 19;
    let code = error.code().and_then(|code| code.parse::<u32>().ok());
    code.is_some_and(|extended| extended & 0xff == SQLITE_CONSTRAINT)
}

/// The text with its values read from JSON instead.
fn reading_json(text: &str, bytes: Option<usize>) -> String {
    let mut pieces = text.split('$');
    let mut sql = pieces.next().unwrap_or_default().to_owned();
    for piece in pieces {
        let rest = piece.trim_start_matches(|char: char| char.is_ascii_digit());
        let number = &piece[..piece.len() - rest.len()];
        let is_bytes = bytes.is_some_and(|bytes| bytes.to_string() == number);
        let decode = if is_bytes { "unhex" } else { "" };
        let _ = write!(sql, "{decode}(NEW.said ->> {number}){rest}");
    }
    sql
}

struct InGroup<'a>(&'a Step);

impl Serialize for InGroup<'_> {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        let place = TEXTS.iter().position(|(text, _)| *text == self.0.text);
        let place =
            place.and_then(|place| i64::try_from(place).ok()).ok_or_else(|| S::Error::custom("no such step"))?;
        to.collect_seq([&Value::Number(Some(place))].into_iter().chain(&self.0.values))
    }
}
