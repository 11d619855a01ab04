//! Where SQLite and PostgreSQL truly differ, and nowhere else.
//!
//! The stores are written once, over any [`Dialect`]. Its constants are the statements that cannot be the same text on
//! both engines; its supertraits are what the drivers share. Opening a database (files, pools, durability, migrations)
//! is told here per engine.

use std::{path::Path, str::FromStr as _, time::Duration};

use sqlx::{
    AssertSqlSafe, ColumnIndex, ConnectOptions as _, Connection as _, Database, Decode, Encode, Executor,
    IntoArguments, Postgres, Sqlite, SqliteConnection, Type,
    error::DatabaseError,
    migrate::{MigrateError, Migrator},
    pool::PoolOptions,
    postgres::{PgConnectOptions, PgDatabaseError},
    sqlite::{SqliteConnectOptions, SqliteJournalMode, SqliteSynchronous},
};

use super::{StoreError, group, store::Store};
use crate::domain::Durability;

/// How long a deed waits for a connection, and a writer of SQLite for another process.
pub(super) const PATIENCE: Duration = Duration::from_secs(5);

static SQLITE_MIGRATIONS: Migrator = sqlx::migrate!("migrations/sqlite");
static POSTGRES_MIGRATIONS: Migrator = sqlx::migrate!("migrations/postgres");

/// One database engine.
///
/// Everything that generic SQL code asks of a driver is a supertrait here, so that a store says `DB: Dialect` and no
/// more. The language implies only bounds on `Self`; [`Implies`] turns a bound on another type into one.
pub(super) trait Dialect:
    Database<Arguments: IntoArguments<Self>>
    + for<'c> Implies<&'c mut <Self as Database>::Connection, Is: Executor<'c, Database = Self>>
    + for<'n> Implies<&'n str, Is: ColumnIndex<<Self as Database>::Row>>
    + Implies<bool, Is: Kind<Self>>
    + Implies<i64, Is: Kind<Self>>
    + Implies<Option<i64>, Is: Kind<Self>>
    + Implies<String, Is: Kind<Self>>
    + Implies<Option<String>, Is: Kind<Self>>
    + Implies<Option<Vec<u8>>, Is: Kind<Self>>
{
    /// Opens a transaction that writes.
    const BEGIN: &'static str;

    /// Makes transactions that hold the name `$1` wait for each other, where the engine does not do so by itself.
    const HOLD: Option<&'static str>;

    /// Whether writers wait for each other, so that it is worth while to make their changes together.
    const ONE_WRITER: bool;

    /// How many rows a statement changed.
    fn changed(done: &Self::QueryResult) -> u64;
}

impl Dialect for Sqlite {
    // Takes the write lock at once: a transaction that reads first and then finds another writer could only fail.
    const BEGIN: &'static str = "BEGIN IMMEDIATE";
    const HOLD: Option<&'static str> = None;
    const ONE_WRITER: bool = true;

    fn changed(done: &Self::QueryResult) -> u64 {
        done.rows_affected()
    }
}

impl Dialect for Postgres {
    const BEGIN: &'static str = "BEGIN";
    const HOLD: Option<&'static str> = Some("SELECT pg_advisory_xact_lock(hashtextextended($1, 0))");
    const ONE_WRITER: bool = false;

    fn changed(done: &Self::QueryResult) -> u64 {
        done.rows_affected()
    }
}

/// A kind of column: can be sent to the database and read from it.
pub(super) trait Kind<DB: Database>:
    for<'q> Encode<'q, DB> + for<'r> Decode<'r, DB> + Type<DB> + Send + 'static
{
}

impl<DB: Database, T> Kind<DB> for T where T: for<'q> Encode<'q, DB> + for<'r> Decode<'r, DB> + Type<DB> + Send + 'static
{}

/// Holds for every pair of types. As a supertrait, `Implies<T, Is: Bound>` lets every user of the trait rely on
/// `T: Bound`.
pub(super) trait Implies<T>: Same<T, Is = T> {}

impl<S: ?Sized, T> Implies<T> for S {}

/// Names `T` a second time; see [`Implies`].
pub(super) trait Same<T> {
    /// `T`.
    type Is;
}

impl<S: ?Sized, T> Same<T> for S {
    type Is = T;
}

/// The file that a `sqlite:` URL names.
pub(super) fn sqlite_path(path: &str) -> Result<&str, String> {
    let path = path.strip_prefix("//").unwrap_or(path);
    match path.is_empty() || path.contains(":memory:") {
        true => Err("must name a file, as in sqlite:PATH".into()),
        false => Ok(path),
    }
}

/// What a `postgres://` URL says.
pub(super) fn postgres_options(url: &str) -> Result<PgConnectOptions, String> {
    let hint = "must be postgres://USER:PASSWORD@HOST/NAME, user and password percent-encoded";
    PgConnectOptions::from_str(url).map_err(|_| hint.to_owned())
}

/// Opens the SQLite file at `path`, makes it if it does not exist, and brings its tables up to date.
pub(super) async fn open_sqlite(path: &str, readers: u32, durability: Durability) -> Result<Store<Sqlite>, StoreError> {
    let path = sqlite_path(path).map_err(|reason| StoreError::Failed(format!("database.url {reason}")))?;
    make_file(Path::new(path))
        .await
        .map_err(|error| StoreError::Unavailable(format!("cannot open {path}: {error}")))?;
    let options = sqlite_options(path, durability);
    migrate_sqlite(&options).await.map_err(|error| error.within(&format!("cannot open {path}")))?;
    // One writer: writers of this process queue for the connection instead of finding the file busy.
    let write = file_pool(1).after_connect(|connection, _| Box::pin(prepare_groups(connection)));
    let write = write.connect_lazy_with(options.clone().pragma("temp_store", "MEMORY"));
    let read = file_pool(readers).connect_lazy_with(options.pragma("query_only", "ON"));
    Ok(Store::new(read, write))
}

fn sqlite_options(path: &str, durability: Durability) -> SqliteConnectOptions {
    let synchronous = match durability {
        Durability::Disk => SqliteSynchronous::Full,
        Durability::Os => SqliteSynchronous::Normal,
    };
    SqliteConnectOptions::new()
        .filename(path)
        .journal_mode(SqliteJournalMode::Wal)
        .synchronous(synchronous)
        .foreign_keys(true)
        .busy_timeout(PATIENCE)
}

async fn prepare_groups(connection: &mut SqliteConnection) -> sqlx::Result<()> {
    // Made of constants alone.
    sqlx::raw_sql(AssertSqlSafe(group::preparation())).execute(connection).await.map(drop)
}

/// Makes the file, readable by its owner only; SQLite gives its companions (`-wal`, `-shm`) the same mode.
async fn make_file(path: &Path) -> std::io::Result<()> {
    if let Some(parent) = path.parent().filter(|parent| !parent.as_os_str().is_empty()) {
        tokio::fs::create_dir_all(parent).await?;
    }
    tokio::fs::OpenOptions::new().append(true).create(true).mode(0o600).open(path).await?;
    // The file's name must survive a loss of power as its rows do.
    let folder = path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
    tokio::fs::File::open(folder).await?.sync_all().await
}

/// One transaction around all migrations: of two processes that start at once the second finds them done.
async fn migrate_sqlite(options: &SqliteConnectOptions) -> Result<(), StoreError> {
    let mut connection = options.connect().await?;
    let mut tx = connection.begin_with(Sqlite::BEGIN).await?;
    SQLITE_MIGRATIONS.run(&mut *tx).await?;
    tx.commit().await?;
    Ok(connection.close().await?)
}

/// Connects to PostgreSQL and brings the tables up to date.
pub(super) async fn open_postgres(url: &str, most: u32, durability: Durability) -> Result<Store<Postgres>, StoreError> {
    let commit = match durability {
        Durability::Disk => "on",
        Durability::Os => "off",
    };
    let options = postgres_options(url)
        .map_err(|reason| StoreError::Failed(format!("database.url {reason}")))?
        .application_name("chunkgate")
        .options([("synchronous_commit", commit)]);
    migrate_postgres(&options).await.map_err(|error| error.within(&address(&options)))?;
    let both = pool(most).connect_lazy_with(options);
    Ok(Store::new(both.clone(), both))
}

/// On a connection of its own: a pool would hide why it cannot connect behind its own patience.
async fn migrate_postgres(options: &PgConnectOptions) -> Result<(), StoreError> {
    let silence = |_| StoreError::Unavailable("no answer".to_owned());
    let mut connection = tokio::time::timeout(PATIENCE, options.connect()).await.map_err(silence)??;
    POSTGRES_MIGRATIONS.run(&mut connection).await?;
    Ok(connection.close().await?)
}

/// Where a PostgreSQL is, without user and password.
fn address(options: &PgConnectOptions) -> String {
    let database = options.get_database().unwrap_or_default();
    match options.get_socket() {
        Some(folder) => format!("PostgreSQL in {}, database {database:?}", folder.display()),
        None => format!("PostgreSQL at {}:{}, database {database:?}", options.get_host(), options.get_port()),
    }
}

fn pool<DB: Database>(most: u32) -> PoolOptions<DB> {
    PoolOptions::new().max_connections(most.max(1)).acquire_timeout(PATIENCE)
}

/// A connection to a file does not break while it is idle. To ask each one before its use whether it did would be one more
/// way to its thread and back for every statement.
fn file_pool(most: u32) -> PoolOptions<Sqlite> {
    pool(most).test_before_acquire(false)
}

/// Whether the disk of the database is full: SQLITE_FULL, or PostgreSQL's `disk_full`.
pub(super) fn is_full(error: &dyn DatabaseError) -> bool {
    let code = error.code().unwrap_or_default();
    match error.try_downcast_ref::<PgDatabaseError>() {
        Some(_) => code == "53100",
        None => code.parse().is_ok_and(|code: u32| code & 0xff == 13),
    }
}

/// Whether the same statement may succeed later.
pub(super) fn is_passing(error: &dyn DatabaseError) -> bool {
    let code = error.code().unwrap_or_default();
    match error.try_downcast_ref::<PgDatabaseError>() {
        Some(_) => passes_on_postgres(&code),
        None => code.parse().is_ok_and(passes_on_sqlite),
    }
}

/// Classes 08 connection, 40 deadlock and serialization, 53 resources (disk full, too many connections), 57 operator
/// (shutdown, cancel), 58 system; 25006 a standby, 55P03 a lock.
fn passes_on_postgres(code: &str) -> bool {
    ["08", "40", "53", "57", "58"].iter().any(|class| code.starts_with(class)) || ["25006", "55P03"].contains(&code)
}

/// The low byte is the primary code: BUSY, LOCKED, NOMEM, READONLY (a disk remounted after errors), IOERR, FULL, CANTOPEN.
fn passes_on_sqlite(code: u32) -> bool {
    [5, 6, 7, 8, 10, 13, 14].contains(&(code & 0xff))
}

impl From<MigrateError> for StoreError {
    fn from(error: MigrateError) -> Self {
        match error {
            MigrateError::Execute(error) | MigrateError::ExecuteMigration(error, _) => error.into(),
            MigrateError::VersionMissing(version) => {
                Self::Failed(format!("a newer version of the service has changed the tables (migration {version})"))
            }
            error => Self::Failed(error.to_string()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_passes() {
        for code in ["08006", "53100", "57P01", "40001", "25006"] {
            assert!(passes_on_postgres(code), "{code}");
        }
        for code in ["23505", "42P01", "22003"] {
            assert!(!passes_on_postgres(code), "{code}");
        }
        assert!(passes_on_sqlite(5 | 2 << 8) && passes_on_sqlite(10 | 34 << 8));
        assert!(!passes_on_sqlite(1) && !passes_on_sqlite(11));
    }
}
