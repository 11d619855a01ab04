//! The contract of the `db` seam, held by SQLite and by PostgreSQL.

use std::{future::Future, path::Path};

use chunkgate::{
    db::{Account, Advance, Page, Profile, Settings, StoreError, Stores, connect},
    domain::{
        Durability, Timestamp, UploadId,
        digest::{Algorithm, Running},
        limits::{Allowance, Kept},
        principal::{Binding, Owner, ProofHash},
        profile::Told,
        upload::{KeptDigest, Placement, State, Upload},
    },
};
use sqlx::{Connection as _, PgConnection, SqliteConnection};

use crate::support;

/// An open database of a test's own.
struct Db {
    url: String,
    stores: Stores,
    folder: Option<tempfile::TempDir>,
}

impl Db {
    async fn sqlite() -> Option<Self> {
        let folder = tempfile::tempdir().expect("a folder");
        let url = format!("sqlite:{}", folder.path().join("new/folder/test.db").display());
        Some(Self { stores: open(&url).await, url, folder: Some(folder) })
    }

    async fn postgres() -> Option<Self> {
        let url = support::postgres::database().await?;
        Some(Self { stores: open(&url).await, url, folder: None })
    }

    async fn remove(self) {
        self.stores.close().await;
        if self.folder.is_none() {
            support::postgres::remove(&self.url).await;
        }
    }

    /// Runs a statement behind the store's back.
    async fn sql(&self, statement: &'static str) {
        match self.url.strip_prefix("sqlite:") {
            Some(path) => {
                let mut connection = SqliteConnection::connect(path).await.expect("opens");
                sqlx::raw_sql(statement).execute(&mut connection).await.expect("runs");
            }
            None => {
                let mut connection = PgConnection::connect(&self.url).await.expect("connects");
                sqlx::raw_sql(statement).execute(&mut connection).await.expect("runs");
            }
        }
    }

    /// Keeps everybody from writing users until `deed` is done.
    async fn without_writers<T>(&self, deed: impl Future<Output = T>) -> T {
        match self.url.strip_prefix("sqlite:") {
            Some(path) => {
                let mut connection = SqliteConnection::connect(path).await.expect("opens");
                let _lock = connection.begin_with("BEGIN IMMEDIATE").await.expect("locks");
                deed.await
            }
            None => {
                let mut connection = PgConnection::connect(&self.url).await.expect("connects");
                let mut lock = connection.begin().await.expect("begins");
                sqlx::raw_sql("LOCK TABLE users IN EXCLUSIVE MODE").execute(&mut *lock).await.expect("locks");
                deed.await
            }
        }
    }
}

async fn open(url: &str) -> Stores {
    connect(&settings(url), Durability::Os).await.expect("opens")
}

fn settings(url: &str) -> Settings {
    Settings { url: url.into(), max_connections: 8 }
}

/// Expands every clause of the contract for every engine.
macro_rules! contract {
    ($($name:ident),* $(,)?) => {
        contract!(@ sqlite: $($name),*);
        contract!(@ postgres: $($name),*);
    };
    (@ $engine:ident: $($name:ident),*) => {
        mod $engine {
            $(#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn $name() {
                let Some(db) = crate::db::Db::$engine().await else { return };
                super::$name(&db).await;
                db.remove().await;
            })*
        }
    };
}

mod accounts;
mod creations;
mod credentials;
mod joins;
mod operations;
mod together;
mod token_keys;
mod uploads;

contract!(what_does_not_fit_is_named, everything_is_there_after_reopening, the_check_writes,);

/// A moment that many seconds after the tests' beginning.
fn at(seconds: i64) -> Timestamp {
    Timestamp::from_second(1_800_000_000 + seconds).expect("in range")
}

/// An upload of nobody, receiving, made at `seconds`, with an hour to go.
fn upload(seconds: i64) -> Upload {
    let id = UploadId::new();
    Upload {
        id,
        owner: None,
        filename: "Été film.mp4".to_owned(),
        content_type: None,
        state: State::Receiving,
        offset: 0,
        size: None,
        digest: None,
        expected: None,
        sum: None,
        placement: Some(Placement(format!("place/{id}"))),
        tail_start: 0,
        max_bytes: None,
        metadata: None,
        completes: false,
        role: None,
        kept: Kept::default(),
        created: at(seconds),
        updated: at(seconds),
        expires: at(seconds + 3600),
        ended: None,
    }
}

async fn inserted(db: &Db, upload: Upload) -> Upload {
    db.stores.uploads.insert(&upload, None, None, &Allowance::default()).await.expect("inserted");
    upload
}

async fn found(db: &Db, id: UploadId) -> Upload {
    db.stores.uploads.find(id, Owner::Nobody).await.expect("answers").expect("is there")
}

fn advance(from: u64, to: u64) -> Advance {
    Advance { from, to, tail_start: from, size: None, digest: None, expires: at(7200), within: None, now: at(1) }
}

fn md5(bytes: &[u8]) -> Running {
    let mut running = Running::new(Algorithm::Md5);
    running.update(bytes);
    running
}

fn kept(bytes: &[u8]) -> Option<KeptDigest> {
    Some(KeptDigest { algorithm: Algorithm::Md5, state: md5(bytes).save() })
}

fn proof(exclusive: bool) -> Binding {
    let id = UploadId::new().simple();
    Binding { proof: ProofHash(id.as_bytes().try_into().expect("32 digits")), exclusive }
}

/// The answers of `many` tasks that begin together.
async fn race<T: Send + 'static, F: Future<Output = T> + Send + 'static>(
    many: usize,
    deed: impl Fn(usize) -> F,
) -> Vec<T> {
    let start = std::sync::Arc::new(tokio::sync::Barrier::new(many));
    let tasks: Vec<_> = (0..many)
        .map(|number| {
            let (start, deed) = (start.clone(), deed(number));
            tokio::spawn(async move {
                start.wait().await;
                deed.await
            })
        })
        .collect();
    let mut answers = Vec::new();
    for task in tasks {
        answers.push(task.await.expect("does not panic"));
    }
    answers
}

fn profile(subject: &str, username: &str) -> Profile {
    let (realm, subject, username) = ("idp".to_owned(), subject.to_owned(), username.to_owned());
    let (email, display_name, groups) = (Told::Nothing, Told::Nothing, Told::Nothing);
    Profile { realm, subject, username, email, display_name, groups, version: None }
}

async fn provisioned(db: &Db, profile: &Profile) -> Account {
    db.stores.accounts.provision(profile, at(0)).await.expect("provisioned").0
}

fn page(state: Option<State>, limit: u32) -> Page {
    Page { state, after: None, limit, now: at(0) }
}

async fn what_does_not_fit_is_named(db: &Db) {
    let uploads = &db.stores.uploads;
    let is_corrupt = |answer: Result<bool, StoreError>, wanted| match answer {
        Err(StoreError::Corrupt { table: "uploads", column, .. }) => assert_eq!(column, wanted),
        other => panic!("{wanted}: {other:?}"),
    };
    let id = inserted(db, upload(0)).await.id;
    is_corrupt(uploads.advance(id, &advance(0, u64::MAX)).await, "offset_bytes");
    is_corrupt(uploads.advance(id, &Advance { size: Some(u64::MAX), ..advance(0, 1) }).await, "size_bytes");
    db.sql("UPDATE uploads SET state = 'lost'").await;
    let answer = uploads.find(id, Owner::Nobody).await;
    is_corrupt(answer.map(|upload| upload.is_some()), "state");
    db.sql("UPDATE uploads SET state = 'complete', sum_algorithm = 'md5', sum_hex = 'abc'").await;
    let answer = uploads.list(Owner::Nobody, &page(None, 1)).await;
    assert_eq!(answer.expect_err("a sum is 16 bytes").to_string(), format!("corrupt uploads.sum_hex of {id}"));
    db.sql("UPDATE uploads SET sum_algorithm = NULL, expires = 9223372036854775807").await;
    is_corrupt(uploads.find(id, Owner::Nobody).await.map(|upload| upload.is_some()), "expires");
}

async fn everything_is_there_after_reopening(db: &Db) {
    let user = provisioned(db, &profile("s1", "ada")).await;
    let binding = proof(true);
    let mine = Upload { owner: Some(user.user.id), ..upload(0) };
    db.stores.uploads.insert(&mine, Some(binding), None, &Allowance::default()).await.expect("inserted");
    assert!(db.stores.accounts.spend(binding.proof, at(10)).await.expect("answers"));
    db.stores.close().await;
    assert!(matches!(db.stores.uploads.exists(mine.id).await, Err(StoreError::Unavailable(_))), "closed");

    for durability in [Durability::Disk, Durability::Os] {
        let again = connect(&settings(&db.url), durability).await.expect("opens again");
        let found = again.uploads.find(mine.id, Owner::User(user.user.id)).await.expect("answers");
        assert_eq!(found.as_ref(), Some(&mine));
        assert_eq!(again.accounts.find(user.user.id).await.expect("answers"), Some(user.clone()));
        assert_eq!(again.accounts.bound(binding.proof).await.expect("answers"), [(mine.id, user.user.id)]);
        assert!(!again.accounts.spend(binding.proof, at(10)).await.expect("answers"));
        again.close().await;
    }
}

async fn the_check_writes(db: &Db) {
    for _ in 0..2 {
        db.stores.accounts.check().await.expect("works");
    }
    db.sql("DROP TABLE probe").await;
    assert!(matches!(db.stores.accounts.check().await, Err(StoreError::Failed(_))));
}

#[test]
fn migrations_come_in_pairs() {
    let names = |engine: &str| {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("migrations").join(engine);
        let files = std::fs::read_dir(folder).expect("a folder");
        let mut names: Vec<_> = files.map(|file| file.expect("a file").file_name()).collect();
        names.sort();
        names
    };
    assert!(!names("sqlite").is_empty());
    assert_eq!(names("sqlite"), names("postgres"));
}

/// The sentence with which opening `url` fails.
async fn refusal(url: &str) -> String {
    connect(&settings(url), Durability::Disk).await.err().expect("does not open").to_string()
}

#[tokio::test]
async fn what_cannot_be_opened_is_said_in_one_sentence() {
    let folder = tempfile::tempdir().expect("a folder");
    std::fs::write(folder.path().join("file"), "not a folder, nor a database").expect("written");
    let path = |name: &str| format!("sqlite:{}", folder.path().join(name).display());
    for (url, wanted) in [
        ("mysql://u:secret@localhost/x".to_owned(), "must begin with sqlite: or postgres://"),
        ("secret".to_owned(), "must begin with sqlite: or postgres://"),
        ("sqlite:".to_owned(), "must name a file"),
        ("sqlite::memory:".to_owned(), "must name a file"),
        (path("file/test.db"), "cannot open"),
        (path("file"), "not a database"),
        ("postgres://u:secret@localhost:port/x".to_owned(), "must be postgres://"),
        ("postgres://u:secret@127.0.0.1:1/x".to_owned(), "PostgreSQL at 127.0.0.1:1, database \"x\": "),
    ] {
        let sentence = refusal(&url).await;
        assert!(sentence.contains(wanted) && !sentence.contains("secret"), "{url}: {sentence}");
    }
}

#[tokio::test]
async fn the_file_is_its_owners_alone() {
    use std::os::unix::fs::PermissionsExt as _;
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("deep/er/test.db");
    let stores = open(&format!("sqlite:{}", file.display())).await;
    stores.accounts.check().await.expect("works");
    for entry in std::fs::read_dir(file.parent().expect("a folder")).expect("readable") {
        let entry = entry.expect("an entry");
        let mode = entry.metadata().expect("known").permissions().mode();
        assert_eq!(mode & 0o777, 0o600, "{:?}", entry.file_name());
    }
    stores.close().await;
}

#[tokio::test]
async fn a_newer_database_is_refused() {
    let db = Db::sqlite().await.expect("SQLite is always there");
    db.sql("INSERT INTO _sqlx_migrations VALUES (9999, 'later', CURRENT_TIMESTAMP, TRUE, x'00', 0)").await;
    assert!(refusal(&db.url).await.contains("newer version"));
}
