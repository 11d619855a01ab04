//! What is remembered of an unfinished upload, so that another run can go on with it.
//!
//! One small file for each (service, key, path of the file); its size and time of change are inside, so that a file that
//! changed since is recognised as such. Replaced atomically after every chunk, removed at completion, readable by its
//! owner alone, and without any secret: it names the upload, the next run signs for itself.

use std::{
    fs,
    io::Write as _,
    os::unix::{
        ffi::OsStrExt as _,
        fs::{DirBuilderExt as _, OpenOptionsExt as _},
    },
    path::{Path, PathBuf},
};

use serde::{Deserialize, Serialize};

use super::{super::client::Client, source::Source};
use crate::domain::digest::{Algorithm, Running};

/// Raise it when the meaning of an entry changes; entries of other versions are not read.
const VERSION: u32 = 1;

/// The memory of one upload.
pub(super) struct Journal {
    file: PathBuf,
    blank: Entry,
}

/// What is written.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct Entry {
    version: u32,
    url: String,
    api_key: Option<String>,
    path: String,
    size: u64,
    modified: String,
    id: String,
    offset: u64,
}

/// What an earlier run left.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Left {
    Nothing,
    /// An upload of this file, with its offset as last heard.
    Upload {
        id: String,
        offset: u64,
    },
    /// An upload of a file of that name with other content.
    Changed,
}

/// Where memory is kept unless told otherwise: below the XDG state folder.
pub(super) fn default_folder() -> Result<PathBuf, String> {
    let absolute = |name| std::env::var_os(name).map(PathBuf::from).filter(|path| path.is_absolute());
    absolute("XDG_STATE_HOME")
        .or_else(|| absolute("HOME").map(|home| home.join(".local/state")))
        .map(|state| state.join("chunkgate"))
        .ok_or_else(|| "no state folder: set HOME, or give --state-dir".to_owned())
}

impl Journal {
    pub(super) fn of(folder: &Path, client: &Client, source: &Source) -> Self {
        let blank = Entry {
            version: VERSION,
            url: client.base().to_owned(),
            api_key: client.api_key().map(str::to_owned),
            path: source.path.to_string_lossy().into_owned(),
            size: source.size,
            modified: source.modified.clone(),
            id: String::new(),
            offset: 0,
        };
        let mut name = Running::new(Algorithm::Sha256);
        for part in [blank.url.as_bytes(), client.api_key().unwrap_or_default().as_bytes()] {
            name.update(part);
            name.update(b"\0");
        }
        name.update(source.path.as_os_str().as_bytes());
        Self { file: folder.join(format!("{}.json", name.finish().to_hex())), blank }
    }

    /// What an earlier run left. What cannot be read is nothing.
    pub(super) fn read(&self) -> Left {
        let entry = fs::read(&self.file).ok().and_then(|text| serde_json::from_slice::<Entry>(&text).ok());
        match entry {
            Some(entry) if entry.version != VERSION => Left::Nothing,
            Some(entry) if entry.size == self.blank.size && entry.modified == self.blank.modified => {
                Left::Upload { id: entry.id, offset: entry.offset }
            }
            Some(_) => Left::Changed,
            None => Left::Nothing,
        }
    }

    /// Remembers how far the upload got.
    pub(super) fn write(&self, id: &str, offset: u64) -> std::io::Result<()> {
        let folder = self.file.parent().unwrap_or(Path::new("."));
        fs::DirBuilder::new().recursive(true).mode(0o700).create(folder)?;
        let entry = Entry { id: id.to_owned(), offset, ..self.blank.clone() };
        let beside = self.file.with_extension(format!("{}.tmp", std::process::id()));
        let mut file = fs::OpenOptions::new().create(true).write(true).truncate(true).mode(0o600).open(&beside)?;
        file.write_all(&serde_json::to_vec_pretty(&entry)?)?;
        fs::rename(&beside, &self.file)
    }

    /// Forgets the upload.
    pub(super) fn remove(&self) {
        // Not there is fine; anything else shows at the next write.
        let _ = fs::remove_file(&self.file);
    }
}
