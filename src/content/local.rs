//! Contents as plain files below one folder.
//!
//! A growing file is written in place at absolute positions; a finished one is moved to its own path by `rename`, so a
//! reader sees the whole file or none. Files and folders are private to the service's user, and all names are made from
//! ids and dates. One process at a time owns the folder: a lock file refuses a second one, because the locks that keep
//! two chunks of an upload apart live in the process.

mod file;
mod joining;
mod patterns;
mod quick;

use std::{
    collections::HashSet,
    fs::{self, DirBuilder, File, OpenOptions, TryLockError},
    io,
    os::unix::fs::{DirBuilderExt as _, FileExt as _, OpenOptionsExt as _},
    path::{Path, PathBuf},
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use async_trait::async_trait;
use bytes::Bytes;
use futures_util::{StreamExt as _, stream::BoxStream};
use serde::{Deserialize, Serialize};
use tokio::{
    io::{AsyncReadExt as _, AsyncSeekExt as _},
    runtime::Handle,
};
use tokio_util::io::ReaderStream;

use self::{
    file::{LocalWriter, length_of},
    patterns::{fixed_part, is_below, render},
    quick::Quick,
};
use super::{ContentError, ContentStore, Start, Writer};
use crate::domain::{Durability, Timestamp, UploadId, concat::Slice, principal::User, upload::Placement};

/// How much is read at once when content is delivered or hashed again, in bytes.
const READ_BYTES: usize = 256 * 1024;
/// How long a starting process waits for its predecessor to leave the folder.
const LOCK_PATIENCE: Duration = Duration::from_secs(10);

/// Section `storage.local` of the configuration.
#[derive(Debug, Clone, Deserialize, Serialize)]
#[serde(default, deny_unknown_fields)]
pub struct Settings {
    /// The folder that holds everything.
    pub path: PathBuf,
    /// Where growing files live, below `path`.
    pub partial_path: String,
    /// Where finished files live, below `path`: date parts as in strftime (UTC), `{upload_id}`, `{user_id}`, `{realm}`.
    pub completed_path: String,
    /// When a chunk counts as kept.
    pub durability: Durability,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            path: "chunkgate-data/files".into(),
            partial_path: "partial/{upload_id}.part".into(),
            completed_path: "chunked_uploads/%Y/%m/%d/{upload_id}".into(),
            durability: Durability::Disk,
        }
    }
}

impl Settings {
    /// What is wrong with the path patterns: keys and reasons.
    pub fn check(&self) -> Vec<(&'static str, String)> {
        patterns::check(self)
    }
}

/// A folder of files.
#[derive(Debug)]
pub struct LocalStore {
    root: Arc<Path>,
    partial: String,
    completed: String,
    folders: Arc<Folders>,
    durability: Durability,
    quick: Arc<Quick>,
    /// Held for the life of the store: the claim on the folder.
    _claim: File,
}

/// Makes folders, and knows which of them have durable names.
#[derive(Debug)]
struct Folders {
    root: PathBuf,
    durability: Durability,
    known: Mutex<HashSet<PathBuf>>,
}

/// Where one upload lives: two paths below the root, fixed at creation so that a changed setting moves nothing.
#[derive(Debug, Deserialize, Serialize)]
struct Paths {
    partial: String,
    complete: String,
}

impl LocalStore {
    /// Claims the folder, making it if needed.
    ///
    /// # Errors
    /// A sentence: the folder cannot be made or written, another process owns it, or a path pattern is unusable.
    pub async fn open(settings: &Settings) -> Result<Self, String> {
        if let Some((key, reason)) = settings.check().into_iter().next() {
            return Err(format!("{key} {reason}"));
        }
        let root = settings.path.clone();
        private_dirs().create(&root).map_err(|error| format!("cannot make the folder {}: {error}", root.display()))?;
        let root = root.canonicalize().map_err(|error| format!("cannot enter {}: {error}", root.display()))?;
        let claim = claim(&root).await?;
        let durability = settings.durability;
        // The root's own name must survive, too.
        sync_dir(root.parent().unwrap_or(&root), durability)
            .map_err(|error| format!("cannot sync the folder above {}: {error}", root.display()))?;
        Ok(Self {
            _claim: claim,
            folders: Arc::new(Folders { root: root.clone(), durability, known: Mutex::default() }),
            root: root.into(),
            partial: settings.partial_path.clone(),
            completed: settings.completed_path.clone(),
            durability: settings.durability,
            quick: Quick::on(&Handle::current()).map_err(|error| format!("cannot start a thread: {error}"))?,
        })
    }

    /// The two paths of a placement, made absolute.
    fn paths(&self, placement: &Placement) -> Result<(PathBuf, PathBuf), ContentError> {
        let paths: Paths = serde_json::from_str(&placement.0)
            .map_err(|error| ContentError::Missing(format!("unreadable placement: {error}")))?;
        for path in [&paths.partial, &paths.complete] {
            if !is_below(Path::new(path)) {
                return Err(ContentError::Missing(format!("placement {path:?} leaves the folder")));
            }
        }
        Ok((self.root.join(paths.partial), self.root.join(paths.complete)))
    }

    /// What opens a content, and a word for it; to be run where blocking is allowed.
    fn opening(
        &self,
        placement: &Placement,
        start: Start,
    ) -> Result<(String, impl FnOnce() -> io::Result<File> + use<>), ContentError> {
        let (partial, complete) = self.paths(placement)?;
        let folders = self.folders.clone();
        let doing = format!("writing {}", partial.display());
        let open = move || {
            let at = match start {
                Start::New => return folders.create(&partial),
                Start::At(at) => at,
                Start::Again(at) => {
                    folders.take_back(&complete, &partial, at)?;
                    at
                }
            };
            let file = file::open(&partial, &complete, at)?;
            file::cut(&file, at)?;
            Ok(file)
        };
        Ok((doing, open))
    }

    /// Opens a content that goes on at `at`. What lies beyond may be much, and takes long to be cut.
    async fn reopened(&self, placement: &Placement, at: u64) -> Result<File, ContentError> {
        let (partial, complete) = self.paths(placement)?;
        let doing = format!("writing {}", partial.display());
        let opened = self.quick.run(move || {
            let file = file::open(&partial, &complete, at)?;
            Ok((file::goes_beyond(&file, at)?, file))
        });
        match opened.await.map_err(|source| explain(doing.clone(), source))? {
            (false, file) => Ok(file),
            (true, file) => blocking(doing, move || file.set_len(at).map(|()| file)).await,
        }
    }

    /// Does work on a content, elsewhere if it waits for the disk: for as much durability as is promised, or to find out what
    /// a process left.
    async fn durably<T: Send + 'static>(
        &self,
        start: Start,
        doing: String,
        work: impl FnOnce() -> io::Result<T> + Send + 'static,
    ) -> Result<T, ContentError> {
        match (self.durability, start) {
            (Durability::Disk, _) | (_, Start::Again(_)) => blocking(doing, work).await,
            (Durability::Os, _) => self.quick.run(work).await.map_err(|source| explain(doing, source)),
        }
    }
}

#[async_trait]
impl ContentStore for LocalStore {
    fn place(&self, id: UploadId, owner: Option<&User>, created: Timestamp) -> Placement {
        let paths = Paths {
            partial: render(&self.partial, id, owner, created),
            complete: render(&self.completed, id, owner, created),
        };
        Placement(serde_json::to_string(&paths).expect("two strings"))
    }

    async fn open(&self, placement: &Placement, start: Start) -> Result<Box<dyn Writer>, ContentError> {
        let file = match start {
            Start::At(at) => self.reopened(placement, at).await?,
            Start::New | Start::Again(_) => {
                let (doing, open) = self.opening(placement, start)?;
                self.durably(start, doing, open).await?
            }
        };
        Ok(Box::new(LocalWriter::new(file, start.offset(), self.durability, self.quick.clone())))
    }

    async fn join(&self, placement: &Placement, at: u64, slices: &[Slice]) -> Result<(), ContentError> {
        let start = if at == 0 { Start::New } else { Start::At(at) };
        let ((doing, open), durability) = (self.opening(placement, start)?, self.durability);
        let mut pieces = Vec::new();
        for slice in slices {
            pieces.push((self.paths(&slice.placement)?.0, slice.from, slice.length));
        }
        blocking(doing, move || {
            let file = open()?;
            joining::copy(&file, at, &pieces).inspect_err(|_| file::give_back(&file, at))?;
            file::sync(&file, durability)
        })
        .await
    }

    async fn put(&self, placement: &Placement, start: Start, frames: Vec<Bytes>) -> Result<(), ContentError> {
        let ((doing, open), durability) = (self.opening(placement, start)?, self.durability);
        self.durably(start, doing, move || {
            let file = open()?;
            file::write(&file, &frames, start.offset())?;
            file::sync(&file, durability)
        })
        .await
    }

    async fn finish(&self, placement: &Placement, size: u64) -> Result<(), ContentError> {
        let (partial, complete) = self.paths(placement)?;
        let (folders, durability) = (self.folders.clone(), self.durability);
        self.durably(Start::At(size), format!("finishing {}", complete.display()), move || {
            let folder = complete.parent().unwrap_or(&folders.root);
            match OpenOptions::new().write(true).open(&partial) {
                Ok(file) => {
                    file::cut(&file, size)?;
                    file::sync(&file, durability)?;
                    folders.make(folder)?;
                    fs::rename(&partial, &complete)?;
                }
                // Moved before, by a process that ended before it could record so.
                Err(error) if error.kind() == io::ErrorKind::NotFound && length_of(&complete) == Some(size) => {}
                Err(error) => return Err(error),
            }
            sync_dir(folder, durability)?;
            sync_dir(partial.parent().unwrap_or(&folders.root), durability)
        })
        .await
    }

    async fn read(
        &self,
        placement: &Placement,
        from: u64,
        length: u64,
    ) -> Result<BoxStream<'static, Result<Bytes, ContentError>>, ContentError> {
        let (partial, complete) = self.paths(placement)?;
        let doing = format!("reading {}", complete.display());
        let file = blocking(doing.clone(), move || File::open(&complete).or_else(|_| File::open(&partial))).await?;
        let mut file = tokio::fs::File::from_std(file);
        file.seek(io::SeekFrom::Start(from)).await.map_err(|source| explain(doing.clone(), source))?;
        let bytes = ReaderStream::with_capacity(file.take(length), READ_BYTES);
        Ok(bytes.map(move |read| read.map_err(|source| explain(doing.clone(), source))).boxed())
    }

    async fn delete(&self, placement: &Placement) -> Result<(), ContentError> {
        let (partial, complete) = self.paths(placement)?;
        blocking(format!("removing {}", complete.display()), move || {
            for path in [partial, complete] {
                match fs::remove_file(path) {
                    Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
                    Ok(()) | Err(_) => {}
                }
            }
            Ok(())
        })
        .await
    }

    async fn unfinished(&self) -> Result<Vec<(UploadId, Placement)>, ContentError> {
        let (root, pattern) = (self.root.clone(), self.partial.clone());
        let found = blocking("listing unfinished files".into(), move || {
            let mut found = Vec::new();
            collect(&root, &root.join(fixed_part(&pattern)), &pattern, &mut found)?;
            Ok(found)
        })
        .await?;
        let place = |(id, partial): (UploadId, String)| {
            // Nothing is known of a complete place; naming the same file twice makes `delete` remove just this one.
            let paths = Paths { complete: partial.clone(), partial };
            (id, Placement(serde_json::to_string(&paths).expect("two strings")))
        };
        Ok(found.into_iter().map(place).collect())
    }

    async fn check(&self) -> Result<(), ContentError> {
        let folders = self.folders.clone();
        let (from, to) = (self.root.join(fixed_part(&self.partial)), self.root.join(fixed_part(&self.completed)));
        blocking("writing a probe".into(), move || {
            folders.make(&from)?;
            folders.make(&to)?;
            // Through both folders, because a mount between them would make every completion fail.
            let (probe, moved) = (from.join(".probe"), to.join(".probe"));
            let tried = OpenOptions::new()
                .write(true)
                .create(true)
                .truncate(true)
                .mode(0o600)
                .open(&probe)
                .and_then(|file| file.write_all_at(b"probe", 0))
                .and_then(|()| fs::rename(&probe, &moved));
            // Whatever came of it, nothing stays.
            let _ = fs::remove_file(&probe);
            tried.and_then(|()| fs::remove_file(&moved))
        })
        .await
    }
}

/// Runs file work off the async threads.
async fn blocking<T: Send + 'static>(
    doing: String,
    work: impl FnOnce() -> io::Result<T> + Send + 'static,
) -> Result<T, ContentError> {
    match tokio::task::spawn_blocking(work).await {
        Ok(done) => done.map_err(|source| explain(doing, source)),
        Err(panic) => Err(explain(doing, io::Error::other(panic))),
    }
}

/// The outcome that callers tell apart, from what the system said.
fn explain(doing: String, source: io::Error) -> ContentError {
    match source.kind() {
        // EFBIG: the file system cannot hold a file of that size; for the client it is full.
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded | io::ErrorKind::FileTooLarge => ContentError::Full,
        io::ErrorKind::NotFound => ContentError::Missing(format!("{doing}: {source}")),
        _ => ContentError::Failed { doing, source },
    }
}

fn private_dirs() -> DirBuilder {
    let mut dirs = DirBuilder::new();
    dirs.recursive(true).mode(0o700);
    dirs
}

impl Folders {
    /// Most folders remembered; beyond that they are synced once more, which only costs.
    const MOST: usize = 10_000;

    /// Makes `folder` and what is missing above it, up to the root, and each name durable in its parent: also the name of
    /// a folder that somebody else has made and not yet synced.
    fn make(&self, folder: &Path) -> io::Result<()> {
        let known = || self.known.lock().unwrap_or_else(PoisonError::into_inner);
        if folder == self.root || (known().contains(folder) && folder.is_dir()) {
            return Ok(());
        }
        let parent = folder.parent().unwrap_or(&self.root);
        self.make(parent)?;
        private_dirs().create(folder)?;
        sync_dir(parent, self.durability)?;
        let mut known = known();
        if known.len() >= Self::MOST {
            known.clear();
        }
        known.insert(folder.to_owned());
        Ok(())
    }

    /// Moves a finished file back to where it grows, if it has more than `at` bytes and none is there.
    fn take_back(&self, complete: &Path, partial: &Path, at: u64) -> io::Result<()> {
        if partial.exists() || length_of(complete).is_none_or(|length| length <= at) {
            return Ok(());
        }
        fs::rename(complete, partial)?;
        // The other folder may keep the name: what is cut away was never acknowledged.
        sync_dir(partial.parent().unwrap_or(&self.root), self.durability)
    }

    /// Makes an empty file with a durable name, or empties the one that is there.
    fn create(&self, path: &Path) -> io::Result<File> {
        let folder = path.parent().unwrap_or(&self.root);
        self.make(folder)?;
        let file = OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(path)?;
        sync_dir(folder, self.durability)?;
        Ok(file)
    }
}

/// Makes the names in a folder durable: a synced file is lost if its name is.
fn sync_dir(folder: &Path, durability: Durability) -> io::Result<()> {
    match durability {
        Durability::Disk => File::open(folder)?.sync_all(),
        Durability::Os => Ok(()),
    }
}

/// Claims the folder for this process; waits a little for a predecessor that is just leaving.
async fn claim(root: &Path) -> Result<File, String> {
    let path = root.join(".lock");
    let file = OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(false)
        .mode(0o600)
        .open(&path)
        .map_err(|error| format!("cannot write below {}: {error}", root.display()))?;
    let until = tokio::time::Instant::now() + LOCK_PATIENCE;
    loop {
        match file.try_lock() {
            Ok(()) => return Ok(file),
            Err(TryLockError::Error(error)) => return Err(format!("cannot lock {}: {error}", path.display())),
            Err(TryLockError::WouldBlock) if tokio::time::Instant::now() >= until => {
                return Err(format!("another process already serves the folder {}", root.display()));
            }
            Err(TryLockError::WouldBlock) => tokio::time::sleep(Duration::from_millis(100)).await,
        }
    }
}

/// Gathers the files below `folder` whose names are made like the pattern's.
fn collect(root: &Path, folder: &Path, pattern: &str, found: &mut Vec<(UploadId, String)>) -> io::Result<()> {
    let entries = match fs::read_dir(folder) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        entries => entries?,
    };
    let name = pattern.rsplit('/').next().unwrap_or(pattern);
    let (before, after) = name.split_once("{upload_id}").unwrap_or((name, ""));
    for entry in entries {
        let entry = entry?;
        if entry.file_type()?.is_dir() {
            collect(root, &entry.path(), pattern, found)?;
            continue;
        }
        let file_name = entry.file_name().to_string_lossy().into_owned();
        let id = file_name.strip_prefix(before).and_then(|rest| rest.strip_suffix(after)).map(str::parse);
        if let (Some(Ok(id)), Ok(below)) = (id, entry.path().strip_prefix(root)) {
            found.push((id, below.to_string_lossy().into_owned()));
        }
    }
    Ok(())
}
