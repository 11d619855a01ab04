//! One growing file: how it is opened, written, cut and synced. Everything here but the writer may block.

use std::{
    fs::{self, File, OpenOptions},
    io::{self, IoSlice},
    path::Path,
    sync::Arc,
};

use async_trait::async_trait;
use bytes::Bytes;

use super::{super::Writer, blocking, explain, quick::Quick};
use crate::{content::ContentError, domain::Durability};

/// A growing file and where its next byte goes.
pub(super) struct LocalWriter {
    file: Arc<File>,
    at: u64,
    durability: Durability,
    quick: Arc<Quick>,
}

impl LocalWriter {
    /// Writes from `at` on.
    pub(super) fn new(file: File, at: u64, durability: Durability, quick: Arc<Quick>) -> Self {
        Self { file: Arc::new(file), at, durability, quick }
    }
}

#[async_trait]
impl Writer for LocalWriter {
    async fn write(&mut self, frames: Vec<Bytes>) -> Result<(), ContentError> {
        let (file, at) = (self.file.clone(), self.at);
        let length: u64 = frames.iter().map(|frame| frame.len() as u64).sum();
        let written = self.quick.run(move || write(&file, &frames, at).inspect_err(|_| give_back(&file, at))).await;
        written.map_err(|source| explain("writing a chunk".into(), source))?;
        self.at += length;
        Ok(())
    }

    async fn sync(&mut self) -> Result<(), ContentError> {
        if self.durability == Durability::Os {
            return Ok(());
        }
        let (file, durability) = (self.file.clone(), self.durability);
        blocking("syncing a chunk".into(), move || sync(&file, durability)).await
    }
}

/// Opens a growing file that has `at` bytes, or more.
pub(super) fn open(partial: &Path, complete: &Path, at: u64) -> io::Result<File> {
    match OpenOptions::new().write(true).open(partial) {
        // Finished by a process that ended before it could record so: whole, and in its place.
        Err(error) if error.kind() == io::ErrorKind::NotFound && length_of(complete) == Some(at) => {
            OpenOptions::new().write(true).open(complete)
        }
        file => file,
    }
}

/// Writes all frames at `at` with as few calls as the kernel allows, copying nothing.
pub(super) fn write(file: &File, frames: &[Bytes], mut at: u64) -> io::Result<()> {
    /// Linux takes at most this many buffers in one call (`UIO_MAXIOV`).
    const MOST: usize = 1024;
    for frames in frames.chunks(MOST) {
        let mut slices: Vec<IoSlice<'_>> = frames.iter().map(|frame| IoSlice::new(frame)).collect();
        let mut rest = slices.as_mut_slice();
        IoSlice::advance_slices(&mut rest, 0);
        while !rest.is_empty() {
            match rustix::io::pwritev(file, rest, at) {
                Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
                Ok(written) => {
                    at += written as u64;
                    IoSlice::advance_slices(&mut rest, written);
                }
                Err(rustix::io::Errno::INTR) => {}
                Err(error) => return Err(error.into()),
            }
        }
    }
    Ok(())
}

/// Makes what was written durable, as far as that is promised.
pub(super) fn sync(file: &File, durability: Durability) -> io::Result<()> {
    match durability {
        Durability::Disk => file.sync_data(),
        Durability::Os => Ok(()),
    }
}

/// Cuts what came of a write that failed. On a full disk it takes what others need: the database, for any commit.
pub(super) fn give_back(file: &File, at: u64) {
    // If that fails too, whoever opens the file next cuts it.
    let _ = file.set_len(at);
}

/// Cuts what lies beyond `at`.
pub(super) fn cut(file: &File, at: u64) -> io::Result<()> {
    if goes_beyond(file, at)? { file.set_len(at) } else { Ok(()) }
}

/// Whether there is something beyond `at`.
pub(super) fn goes_beyond(file: &File, at: u64) -> io::Result<bool> {
    match file.metadata()?.len() {
        length if length < at => {
            Err(io::Error::new(io::ErrorKind::NotFound, format!("the file has {length} bytes, {at} were acknowledged")))
        }
        length => Ok(length > at),
    }
}

/// Length of a plain file, if there is one.
pub(super) fn length_of(path: &Path) -> Option<u64> {
    fs::metadata(path).ok().filter(fs::Metadata::is_file).map(|file| file.len())
}
