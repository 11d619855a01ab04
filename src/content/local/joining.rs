//! Files copied behind one another, within the kernel.
//!
//! `copy_file_range` shares the blocks where the file system can (XFS, btrfs; the pieces must begin at block borders),
//! copies on the server where there is one (NFS), and else copies from cache to cache: the bytes never come here. Where a
//! kernel or a file system does not offer it, and between two file systems, they are read and written, a little at a
//! time.

use std::{fs::File, io, os::unix::fs::FileExt as _, path::PathBuf};

use rustix::io::Errno;

/// Most bytes that one call is asked for.
const MOST: u64 = 64 * 1024 * 1024;
/// How much is in memory where the kernel does not copy, in bytes.
const BUFFER: usize = 1024 * 1024;

/// Copies the pieces, each so many bytes of a file from a place on, to `to` from `at` on.
pub(super) fn copy(to: &File, mut at: u64, pieces: &[(PathBuf, u64, u64)]) -> io::Result<()> {
    for (path, from, length) in pieces {
        let part = File::open(path)?;
        by_kernel(&part, *from, to, at, *length)?;
        at += length;
    }
    Ok(())
}

fn by_kernel(part: &File, mut from: u64, to: &File, mut at: u64, length: u64) -> io::Result<()> {
    let end = from + length;
    while from < end {
        let most = usize::try_from((end - from).min(MOST)).unwrap_or(usize::MAX);
        match rustix::fs::copy_file_range(part, Some(&mut from), to, Some(&mut at), most) {
            // Some file systems say 0 where they mean that they cannot.
            Ok(0) => return by_hand(part, from, to, at, end - from),
            Ok(_) | Err(Errno::INTR) => {}
            Err(Errno::XDEV | Errno::NOSYS | Errno::INVAL | Errno::OPNOTSUPP | Errno::PERM) => {
                return by_hand(part, from, to, at, end - from);
            }
            Err(error) => return Err(error.into()),
        }
    }
    Ok(())
}

fn by_hand(part: &File, mut from: u64, to: &File, mut at: u64, length: u64) -> io::Result<()> {
    let end = from + length;
    let mut buffer = vec![0; BUFFER];
    while from < end {
        let most = usize::try_from(end - from).unwrap_or(BUFFER).min(BUFFER);
        let read = match part.read_at(&mut buffer[..most], from) {
            Ok(0) => return Err(too_short()),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            read => read?,
        };
        to.write_all_at(&buffer[..read], at)?;
        (from, at) = (from + read as u64, at + read as u64);
    }
    Ok(())
}

fn too_short() -> io::Error {
    io::Error::new(io::ErrorKind::NotFound, "a part is shorter than what was acknowledged")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn either_way_copies_the_same() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("part");
        let content: Vec<u8> = (0..3_000_000u32).map(|at| (at / 7) as u8).collect();
        std::fs::write(&path, &content).expect("written");
        let part = File::open(&path).expect("opens");
        for (way, name) in [(by_kernel as fn(&File, u64, &File, u64, u64) -> _, "kernel"), (by_hand, "hand")] {
            let path = folder.path().join(name);
            let to = File::create(&path).expect("made");
            way(&part, 5, &to, 3, 2_500_000).expect("copied");
            let copied = std::fs::read(&path).expect("reads");
            assert!(copied[..3] == [0; 3] && copied[3..] == content[5..2_500_005], "{name}");
            let short = way(&part, 2_999_999, &to, 0, 2).expect_err("a byte is missing");
            assert_eq!(short.kind(), io::ErrorKind::NotFound, "{name}");
        }
    }
}
