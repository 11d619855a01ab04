//! The machine's ceiling: a socket written to a file, without HTTP, names, facts or anybody's proof.
//!
//! A frame is three little-endian numbers of eight bytes, which file, from where, how many bytes, and then the bytes. A
//! frame is answered with one byte, after `fdatasync` if that is asked for. One thread a connection.

use std::{
    fs::{File, OpenOptions},
    io::{Read as _, Write as _},
    net::{SocketAddr, TcpListener, TcpStream},
    os::unix::fs::FileExt as _,
    path::{Path, PathBuf},
};

use crate::Fault;

/// Where one more byte gained nothing any more.
const BUFFER_BYTES: usize = 256 * 1024;

/// Runs a sink instead of the bench
#[derive(clap::Args)]
pub(crate) struct Sink {
    #[arg(long)]
    listen: SocketAddr,
    #[arg(long)]
    folder: PathBuf,
    /// Answers when the bytes are on the disk
    #[arg(long)]
    sync: bool,
}

/// A frame before its bytes.
pub(crate) fn frame(file: u64, from: u64, bytes: u64) -> [u8; 24] {
    let mut frame = [0; 24];
    for (place, number) in frame.chunks_exact_mut(8).zip([file, from, bytes]) {
        place.copy_from_slice(&number.to_le_bytes());
    }
    frame
}

impl Sink {
    pub(crate) fn run(&self) -> Result<(), Fault> {
        let listener = TcpListener::bind(self.listen)?;
        std::thread::scope(|threads| {
            for stream in listener.incoming() {
                let stream = stream?;
                threads.spawn(move || serve(stream, &self.folder, self.sync));
            }
            Ok(())
        })
    }
}

/// Until the client leaves, whose business it is what became of its last frame.
fn serve(mut stream: TcpStream, folder: &Path, sync: bool) -> std::io::Result<()> {
    stream.set_nodelay(true)?;
    let mut buffer = vec![0; BUFFER_BYTES];
    let mut known: Option<(u64, File)> = None;
    loop {
        let mut frame = [0; 24];
        stream.read_exact(&mut frame)?;
        let [name, mut from, mut left] = [0, 8, 16].map(|at| number(&frame[at..at + 8]));
        let file = match known.take() {
            Some((same, file)) if same == name => file,
            _ => OpenOptions::new().create(true).truncate(false).write(true).open(folder.join(name.to_string()))?,
        };
        while left > 0 {
            let bytes = left.min(BUFFER_BYTES as u64);
            stream.read_exact(&mut buffer[..bytes as usize])?;
            file.write_all_at(&buffer[..bytes as usize], from)?;
            (from, left) = (from + bytes, left - bytes);
        }
        if sync {
            file.sync_data()?;
        }
        stream.write_all(&[1])?;
        known = Some((name, file));
    }
}

fn number(bytes: &[u8]) -> u64 {
    bytes.iter().rev().fold(0, |number, byte| number << 8 | u64::from(*byte))
}
