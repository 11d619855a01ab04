//! What is sent, and whether it is what was stored.
//!
//! All uploads are windows of one piece of noise: nothing is made while the clock runs, a wrong offset or two swapped
//! chunks show, and two uploads with different seeds differ.

use std::{
    collections::{HashMap, HashSet},
    fs::File,
    io::Read as _,
    path::{Path, PathBuf},
};

use md5::Md5;
use sha2::{Digest as _, Sha256};

use crate::{Fault, noise::noise};

/// Not a multiple of anything that chunks are.
const NOISE_BYTES: usize = (4 << 20) + 4099;
/// At most this is handed to the kernel at once.
const PIECE_BYTES: u64 = 1 << 20;

/// The SHA-256 of an upload, or of a part of it.
pub(crate) type Sum = [u8; 32];

/// The content of every upload.
pub(crate) struct Content {
    noise: Vec<u8>,
    sums: HashMap<Range, Sum>,
    md5s: HashMap<Range, String>,
    next: u64,
}

/// Which bytes: of the upload with this seed, from here, so many.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) struct Range {
    pub(crate) seed: u64,
    pub(crate) from: u64,
    pub(crate) bytes: u64,
}

impl Content {
    pub(crate) fn new() -> Self {
        Self { noise: noise(1, NOISE_BYTES), sums: HashMap::new(), md5s: HashMap::new(), next: 1 }
    }

    /// Seeds that nobody has: the first of so many.
    pub(crate) fn seeds(&mut self, count: u64) -> u64 {
        self.next += count;
        self.next - count
    }

    /// A seed that nobody has yet.
    pub(crate) fn unused(&self) -> u64 {
        self.next
    }

    /// The bytes, in pieces.
    pub(crate) fn pieces(&self, range: Range) -> impl Iterator<Item = &[u8]> {
        let all = self.noise.len() as u64;
        let mut at = (range.seed.wrapping_mul(1_000_003) + range.from) % all;
        let mut left = range.bytes;
        std::iter::from_fn(move || {
            let bytes = left.min(all - at).min(PIECE_BYTES);
            let piece = &self.noise[at as usize..(at + bytes) as usize];
            (at, left) = ((at + bytes) % all, left - bytes);
            (bytes > 0).then_some(piece)
        })
    }

    /// The SHA-256 of these bytes, computed once.
    pub(crate) fn sum(&mut self, range: Range) -> Sum {
        if let Some(known) = self.sums.get(&range) {
            return *known;
        }
        let mut sum = Sha256::new();
        self.pieces(range).for_each(|piece| sum.update(piece));
        let sum = sum.finalize().into();
        self.sums.insert(range, sum);
        sum
    }

    /// Computes the md5 of these bytes, so that it is known when the clock runs.
    pub(crate) fn prepare_md5(&mut self, range: Range) {
        let mut sum = Md5::new();
        self.pieces(range).for_each(|piece| sum.update(piece));
        self.md5s.insert(range, sum.finalize().iter().map(|byte| format!("{byte:02x}")).collect());
    }

    /// The md5 of these bytes, if it was prepared.
    pub(crate) fn md5(&self, range: Range) -> Option<&str> {
        self.md5s.get(&range).map(String::as_str)
    }
}

/// The files below a folder that have been compared before.
#[derive(Default)]
pub(crate) struct Seen(HashSet<PathBuf>);

impl Seen {
    /// Finds a new file for each of `wanted`, by size and content. The ones that were found, or how many are missing.
    pub(crate) fn find(&mut self, folder: &Path, wanted: &[(u64, Sum)]) -> Result<Vec<PathBuf>, Fault> {
        let sizes: HashSet<u64> = wanted.iter().map(|(bytes, _)| *bytes).collect();
        let mut missing: HashMap<Sum, usize> = HashMap::new();
        wanted.iter().for_each(|(_, sum)| *missing.entry(*sum).or_default() += 1);
        let mut found = Vec::new();
        for path in files(folder)? {
            let size = path.metadata().map_or(0, |about| about.len());
            if !sizes.contains(&size) || self.0.contains(&path) {
                continue;
            }
            if let Some(count) = missing.get_mut(&sum_of(&path)?).filter(|count| **count > 0) {
                *count -= 1;
                found.push(path.clone());
            }
            self.0.insert(path);
        }
        match missing.into_values().sum() {
            0 => Ok(found),
            missing => Err(format!("of {} stored files {missing} are not what was sent", wanted.len()).into()),
        }
    }

    /// Forgets and removes these files.
    pub(crate) fn remove(&mut self, files: &[PathBuf]) -> Result<(), Fault> {
        for file in files {
            std::fs::remove_file(file)?;
            self.0.remove(file);
        }
        Ok(())
    }
}

/// Every file below a folder.
pub(crate) fn files(folder: &Path) -> Result<Vec<PathBuf>, Fault> {
    let (mut files, mut folders) = (Vec::new(), vec![folder.to_owned()]);
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(folder)? {
            let entry = entry?;
            match entry.file_type()?.is_dir() {
                true => folders.push(entry.path()),
                false => files.push(entry.path()),
            }
        }
    }
    Ok(files)
}

fn sum_of(path: &Path) -> Result<Sum, Fault> {
    let (mut file, mut sum) = (File::open(path)?, Sha256::new());
    let mut buffer = vec![0; 1 << 20];
    loop {
        match file.read(&mut buffer)? {
            0 => return Ok(sum.finalize().into()),
            read => sum.update(&buffer[..read]),
        }
    }
}
