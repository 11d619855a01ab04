//! The file to upload: what it is, its bytes as a stream, and the md5 that grows while they are read.

use std::{
    io::{Error, ErrorKind, SeekFrom},
    path::{Path, PathBuf},
    sync::{Arc, Mutex, PoisonError},
};

use bytes::{Bytes, BytesMut};
use futures_util::{Stream, TryStreamExt as _, stream};
use tokio::{
    fs::File,
    io::{AsyncReadExt as _, AsyncSeekExt as _},
};

use crate::domain::digest::{Algorithm, Running};

/// Bytes read at once.
const READ_BYTES: usize = 256 * 1024;

/// A file as it was when the upload began.
pub(super) struct Source {
    pub(super) path: PathBuf,
    pub(super) name: String,
    pub(super) size: u64,
    /// When it was last changed, as seconds and nanoseconds since the Unix epoch.
    pub(super) modified: String,
    sum: Arc<Mutex<Sum>>,
}

/// The md5 of the bytes before `upto`.
struct Sum {
    md5: Running,
    upto: u64,
}

impl Sum {
    /// Takes in what is new of `bytes`, which stand at `at`. A chunk that is sent twice counts once.
    fn see(&mut self, at: u64, bytes: &[u8]) {
        let Ok(seen) = usize::try_from(self.upto.saturating_sub(at)) else { return };
        if let (true, Some(new)) = (at <= self.upto, bytes.get(seen..)) {
            self.md5.update(new);
            self.upto += new.len() as u64;
        }
    }
}

impl Source {
    pub(super) fn open(path: &Path) -> Result<Self, String> {
        let cannot = |error: Error| format!("cannot be read: {error}");
        let path = path.canonicalize().map_err(cannot)?;
        let facts = path.metadata().map_err(cannot)?;
        if !facts.is_file() {
            return Err("is not a file; give the files one by one".to_owned());
        }
        let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        let sum = Arc::new(Mutex::new(Sum { md5: Running::new(Algorithm::Md5), upto: 0 }));
        Ok(Self { size: facts.len(), modified: modified(&facts), path, name, sum })
    }

    /// Whether the file is still the one that was opened.
    pub(super) fn is_unchanged(&self) -> bool {
        self.path.metadata().is_ok_and(|facts| facts.len() == self.size && modified(&facts) == self.modified)
    }

    /// The bytes from `from` on, `length` of them. They are taken into the md5 as they pass.
    pub(super) async fn read(
        &self,
        from: u64,
        length: u64,
    ) -> Result<impl Stream<Item = Result<Bytes, Error>> + Send + use<>, Error> {
        let mut file = File::open(&self.path).await?;
        file.seek(SeekFrom::Start(from)).await?;
        let sum = Arc::clone(&self.sum);
        Ok(stream::try_unfold((file, from, from + length), move |(mut file, at, end)| {
            let sum = Arc::clone(&sum);
            async move {
                let wanted = usize::try_from(end - at).unwrap_or(READ_BYTES).min(READ_BYTES);
                if wanted == 0 {
                    return Ok(None);
                }
                let mut part = BytesMut::zeroed(wanted);
                let read = file.read(&mut part).await?;
                if read == 0 {
                    return Err(Error::new(ErrorKind::UnexpectedEof, "the file became shorter"));
                }
                part.truncate(read);
                sum.lock().unwrap_or_else(PoisonError::into_inner).see(at, &part);
                Ok(Some((part.freeze(), (file, at + read as u64, end))))
            }
        }))
    }

    /// Takes everything before `upto` into the md5 that has not been: the part that an earlier run sent.
    pub(super) async fn catch_up(&self, upto: u64) -> Result<(), Error> {
        let from = self.sum.lock().unwrap_or_else(PoisonError::into_inner).upto;
        if from < upto {
            self.read(from, upto - from).await?.try_for_each(|_| async { Ok(()) }).await?;
        }
        Ok(())
    }

    /// The md5 of the whole file, in lower-case hexadecimal.
    pub(super) async fn md5(&self) -> Result<String, Error> {
        self.catch_up(self.size).await?;
        Ok(self.sum.lock().unwrap_or_else(PoisonError::into_inner).md5.clone().finish().to_hex())
    }
}

fn modified(facts: &std::fs::Metadata) -> String {
    let since = facts.modified().ok().and_then(|at| at.duration_since(std::time::UNIX_EPOCH).ok()).unwrap_or_default();
    format!("{}.{:09}", since.as_secs(), since.subsec_nanos())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn the_md5_counts_every_byte_once() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("abc");
        std::fs::write(&path, b"abcdefghij").expect("a file");
        let source = Source::open(&path).expect("a file");
        for (from, length) in [(0, 4), (0, 4), (2, 5), (0, 3)] {
            let parts: Vec<Bytes> = source.read(from, length).await.expect("opens").try_collect().await.expect("reads");
            assert_eq!(parts.concat().len() as u64, length);
        }
        // printf abcdefghij | md5sum
        assert_eq!(source.md5().await.expect("reads"), "a925576942e94b2ef57a066101b48876");
        assert!(source.read(8, 5).await.expect("opens").try_collect::<Vec<_>>().await.is_err());
    }
}
