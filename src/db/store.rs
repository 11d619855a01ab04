//! What the stores share: the pools, the reading of rows, and the turning of the drivers' errors into ours.

use std::str::FromStr;

use sqlx::{Database, Pool, Row as _, Transaction, query::Query};

use super::{
    StoreError,
    dialect::{self, Dialect, Kind},
    together::Together,
};
use crate::domain::Timestamp;

/// A statement with its values.
pub(super) type Statement<'q, DB> = Query<'q, DB, <DB as Database>::Arguments>;

/// An open database. Implements every trait of this seam.
pub(super) struct Store<DB: Database> {
    /// For deeds that only look.
    pub(super) read: Pool<DB>,
    /// For deeds that change something.
    pub(super) write: Pool<DB>,
    /// The changes that come with every chunk.
    pub(super) together: Together<DB>,
}

impl<DB: Dialect> Store<DB> {
    /// Over these pools.
    pub(super) fn new(read: Pool<DB>, write: Pool<DB>) -> Self {
        Self { read, write, together: Together::default() }
    }

    /// Opens a transaction that writes. Dropping it undoes it.
    pub(super) async fn begin(&self) -> Result<Transaction<'static, DB>, StoreError> {
        Ok(self.together.without(self.write.begin_with(DB::BEGIN)).await??)
    }

    /// Runs one statement as a transaction of its own; how many rows it changed.
    pub(super) async fn change(&self, statement: Statement<'_, DB>) -> Result<u64, StoreError> {
        Ok(DB::changed(&self.together.without(statement.execute(&self.write)).await??))
    }

    /// Waits for the connections in use and closes all; SQLite folds its log into the file.
    pub(super) async fn close(&self) {
        self.read.close().await;
        // Whoever still has the connection gives it back.
        if self.together.without(self.write.close()).await.is_err() {
            self.write.close().await;
        }
    }
}

/// Makes transactions that hold the same name wait for each other.
pub(super) async fn hold<DB: Dialect>(tx: &mut Transaction<'_, DB>, name: String) -> Result<(), StoreError> {
    if let Some(hold) = DB::HOLD {
        sqlx::query(hold).bind(name).execute(&mut **tx).await?;
    }
    Ok(())
}

/// A row of a table, read column by column. Whatever does not fit is [`StoreError::Corrupt`].
pub(super) struct Fields<'r, DB: Database> {
    row: &'r DB::Row,
    table: &'static str,
    id: String,
}

impl<'r, DB: Dialect> Fields<'r, DB> {
    /// The row of `table` whose id is in the column `key`.
    pub(super) fn of(row: &'r DB::Row, table: &'static str, key: &'static str) -> Result<Self, StoreError> {
        let id = row.try_get(key).map_err(|_| corrupt(table, key, "an unreadable row"))?;
        Ok(Self { row, table, id })
    }

    /// The value as the driver reads it.
    pub(super) fn get<T: Kind<DB>>(&self, column: &'static str) -> Result<T, StoreError> {
        self.row.try_get(column).map_err(|_| self.corrupt(column))
    }

    /// A count that cannot be negative.
    pub(super) fn count(&self, column: &'static str) -> Result<u64, StoreError> {
        u64::try_from(self.get::<i64>(column)?).map_err(|_| self.corrupt(column))
    }

    /// A count that may be unknown.
    pub(super) fn maybe_count(&self, column: &'static str) -> Result<Option<u64>, StoreError> {
        let count = self.get::<Option<i64>>(column)?;
        count.map(u64::try_from).transpose().map_err(|_| self.corrupt(column))
    }

    /// A moment.
    pub(super) fn time(&self, column: &'static str) -> Result<Timestamp, StoreError> {
        Timestamp::from_microsecond(self.get(column)?).map_err(|_| self.corrupt(column))
    }

    /// A moment that may not have come.
    pub(super) fn maybe_time(&self, column: &'static str) -> Result<Option<Timestamp>, StoreError> {
        let micros = self.get::<Option<i64>>(column)?;
        micros.map(Timestamp::from_microsecond).transpose().map_err(|_| self.corrupt(column))
    }

    /// A text that spells something.
    pub(super) fn parsed<T: FromStr>(&self, column: &'static str) -> Result<T, StoreError> {
        self.get::<String>(column)?.parse().map_err(|_| self.corrupt(column))
    }

    /// What to answer when this column does not make sense.
    pub(super) fn corrupt(&self, column: &'static str) -> StoreError {
        corrupt(self.table, column, &self.id)
    }
}

/// What to answer when a value does not make sense.
pub(super) fn corrupt(table: &'static str, column: &'static str, id: &str) -> StoreError {
    StoreError::Corrupt { table, column, id: id.to_owned() }
}

impl StoreError {
    /// The same error, saying what it happened to.
    pub(super) fn within(self, what: &str) -> Self {
        match self {
            Self::Unavailable(why) => Self::Unavailable(format!("{what}: {why}")),
            Self::Failed(why) => Self::Failed(format!("{what}: {why}")),
            other => other,
        }
    }
}

impl From<sqlx::Error> for StoreError {
    fn from(error: sqlx::Error) -> Self {
        match error {
            sqlx::Error::Database(error) if error.is_unique_violation() => Self::Conflict,
            sqlx::Error::Database(error) if dialect::is_full(&*error) => Self::Full,
            sqlx::Error::Database(error) if dialect::is_passing(&*error) => Self::Unavailable(error.to_string()),
            sqlx::Error::Database(error) => Self::Failed(error.to_string()),
            error @ (sqlx::Error::Io(_)
            | sqlx::Error::Tls(_)
            | sqlx::Error::PoolTimedOut
            | sqlx::Error::PoolClosed
            | sqlx::Error::WorkerCrashed
            | sqlx::Error::BeginFailed) => Self::Unavailable(error.to_string()),
            error => Self::Failed(error.to_string()),
        }
    }
}
