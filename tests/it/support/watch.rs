//! What must be found nowhere: the secrets that the tests use, looked for in whatever the service writes.
//!
//! Everything is logged, at `trace`, into the one watch of the process. Where a service of the tests stops, what was
//! logged since and its whole database are searched; refusals are searched as they come, and the error streams and
//! folders of other processes where those end. Secrets carry [`TAG`] where their form allows it; the others (signatures,
//! API keys) are told to the watch as they are made.

use std::{
    collections::BTreeMap,
    io,
    path::Path,
    sync::{Arc, LazyLock, Mutex, MutexGuard, PoisonError},
};

use chunkgate::db;
use memchr::memmem;
use secrecy::ExposeSecret as _;
use tracing_subscriber::{EnvFilter, fmt::MakeWriter};

use super::postgres;

/// Stands in every secret that may look as it likes: passwords, peppers, tokens.
pub(crate) const TAG: &str = "S3CR3T";

/// Everything but what the client logs that here runs in the same process: it may know what it sends.
const FILTER: &str = "trace,reqwest=off";

/// Shortest text that is taken for a secret: what is shorter occurs by chance.
const SHORTEST: usize = 8;

/// Collects a log and knows what must not be in it.
#[derive(Clone)]
pub(crate) struct Watch(Arc<Inner>);

struct Inner {
    /// What must not be found, and what it is.
    secrets: Mutex<BTreeMap<String, &'static str>>,
    /// Logged and not yet searched.
    log: Mutex<Vec<u8>>,
}

static WATCH: LazyLock<Watch> = LazyLock::new(|| {
    let watch = Watch::new();
    for secret in ["alice-secret", "bob-secret", "demo-secret"] {
        watch.keep("a signing secret", secret);
    }
    tracing::subscriber::set_global_default(watch.subscriber()).expect("nobody else listens");
    watch
});

/// The watch of this process; the first call begins it.
pub(crate) fn watch() -> &'static Watch {
    &WATCH
}

impl Watch {
    pub(crate) fn new() -> Self {
        let secrets = Mutex::new(BTreeMap::from([(TAG.to_owned(), "a tagged secret")]));
        Self(Arc::new(Inner { secrets, log: Mutex::default() }))
    }

    /// What writes every event into this watch.
    pub(crate) fn subscriber(&self) -> impl tracing::Subscriber + Send + Sync + use<> {
        tracing_subscriber::fmt()
            .with_env_filter(EnvFilter::new(FILTER))
            .with_ansi(false)
            .with_writer(self.clone())
            .finish()
    }

    /// From now on `secret` must not be found.
    pub(crate) fn keep(&self, what: &'static str, secret: &str) {
        assert!(secret.len() >= SHORTEST, "{what} is too short to be looked for");
        lock(&self.0.secrets).insert(secret.to_owned(), what);
    }

    /// What of it stands in `bytes`, with what is around it.
    pub(crate) fn search(&self, place: &str, bytes: &[u8]) -> Vec<String> {
        let found = |(secret, what): (&String, &&str)| {
            let at = memmem::find(bytes, secret.as_bytes())?;
            let around = &bytes[at.saturating_sub(200)..(at + 200).min(bytes.len())];
            Some(format!("{what} in {place}: {}", String::from_utf8_lossy(around)))
        };
        lock(&self.0.secrets).iter().filter_map(found).collect()
    }

    /// Searches what was logged since the last time.
    pub(crate) fn search_log(&self) -> Vec<String> {
        let logged = std::mem::take(&mut *lock(&self.0.log));
        self.search("the log", &logged)
    }

    /// How many of the lines that were logged and not yet searched have all of this in them.
    pub(crate) fn lines(&self, all: &[&str]) -> usize {
        let log = lock(&self.0.log);
        let has = |line: &&[u8]| all.iter().all(|text| memmem::find(line, text.as_bytes()).is_some());
        log.split(|byte| *byte == b'\n').filter(has).count()
    }

    /// Searches everything in a database: of SQLite the files themselves, with what was deleted and not yet overwritten.
    pub(crate) async fn search_database(&self, settings: &db::Settings) -> Vec<String> {
        let url = settings.url.expose_secret();
        let Some(path) = url.strip_prefix("sqlite:") else {
            return self.search("the database", &postgres::dump(url).await);
        };
        let files = [path.to_owned(), format!("{path}-wal")];
        files.iter().flat_map(|file| self.search_file(Path::new(file))).collect()
    }

    /// Searches a file; one that is not there holds nothing.
    pub(crate) fn search_file(&self, path: &Path) -> Vec<String> {
        self.search(&path.display().to_string(), &std::fs::read(path).unwrap_or_default())
    }

    /// Asserts that a search came to nothing.
    #[track_caller]
    pub(crate) fn assert_kept(found: &[String]) {
        assert!(found.is_empty(), "{} secrets were written down, the first: {}", found.len(), found[0]);
    }
}

impl<'a> MakeWriter<'a> for Watch {
    type Writer = Lines<'a>;

    fn make_writer(&'a self) -> Lines<'a> {
        Lines(&self.0.log)
    }
}

/// Appends to the log.
pub(crate) struct Lines<'a>(&'a Mutex<Vec<u8>>);

impl io::Write for Lines<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        lock(self.0).extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// A test that failed while it held the watch must not silence the others.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[tokio::test]
async fn what_is_written_down_is_found() {
    let app = super::TestApp::start().await;
    let alice = app.user("alice");
    let planted = uuid::Uuid::new_v4().to_string();
    let watch = Watch::new();
    watch.keep("a planted secret", &planted);
    let found = |found: Vec<String>, place: &str| {
        assert!(
            found.iter().any(|leak| leak.contains("a planted secret") && leak.contains(place)),
            "{place}: {found:?}"
        );
    };
    assert_eq!(watch.search_database(&app.config.database).await, Vec::<String>::new());
    assert_eq!(watch.search_log(), Vec::<String>::new());

    let file = super::form::Part::file("file", &format!("{planted}.bin"), None, b"01234".to_vec());
    let (content_type, body) = super::form::multipart(&[file]);
    let headers = [("Content-Type".to_owned(), content_type.expect("multipart"))];
    alice.send("POST", "/chunked_upload/", &headers, body).await.expect(200);
    found(watch.search_database(&app.config.database).await, "");

    tracing::subscriber::with_default(watch.subscriber(), || tracing::trace!(planted, "something"));
    found(watch.search_log(), "the log");
    tracing::subscriber::with_default(watch.subscriber(), || tracing::trace!("pass{TAG}word"));
    assert!(watch.search_log()[0].starts_with("a tagged secret"));
    assert_eq!(watch.search_log(), Vec::<String>::new(), "each line is searched once");

    let path = app.files().with_file_name("stderr.log");
    std::fs::write(&path, format!("error: {planted} is wrong")).expect("written");
    found(watch.search_file(&path), "stderr.log");
    app.stop().await;
}

#[tokio::test]
async fn what_the_services_log_arrives() {
    let app = super::TestApp::start().await;
    let mut arrived = false;
    // Where tests share a process, another one may search the log first.
    for _ in 0..20 {
        app.user("alice").get("/api/v1/uploads").await.expect(200);
        let logged = String::from_utf8_lossy(&lock(&watch().0.log)).into_owned();
        arrived |= logged.contains(" TRACE ") && logged.contains("http.path=\"/api/v1/uploads\"");
    }
    assert!(arrived);
    app.stop().await;
}
