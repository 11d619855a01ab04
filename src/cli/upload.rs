//! `chunkgate upload`: sends files in chunks over the multipart door and resumes where an earlier try stopped.
//!
//! What it promises: a byte the service acknowledged is not sent again, whatever died in between (this command, the
//! network, the service); a file is reported as uploaded only after the service has compared its md5. It keeps no chunk
//! in memory, follows no redirect, and never writes a secret to disk.

mod journal;
mod progress;
mod source;
mod transfer;
mod wire;

use std::{
    collections::BTreeMap,
    num::NonZeroUsize,
    path::{Path, PathBuf},
    time::Duration,
};

use bytesize::ByteSize;
use clap::Args;
use futures_util::{StreamExt as _, stream};
use serde_json::{Value, json};

use super::{
    Failure,
    client::{Client, Connect},
};
use journal::Journal;
use progress::Progress;
use source::Source;
use transfer::{Transfer, Unfinished};
use wire::Door;

/// Arguments of `chunkgate upload`.
#[derive(Debug, Clone, Args)]
pub struct UploadArgs {
    /// The files to upload
    #[arg(required = true, value_name = "FILE")]
    pub files: Vec<PathBuf>,
    /// Where to, and as whom.
    #[command(flatten)]
    pub connect: Connect,
    /// Bytes sent in one request; what is lost at most when a connection breaks
    #[arg(long, value_name = "SIZE", default_value = "8MiB", value_parser = chunk_size)]
    pub chunk_size: ByteSize,
    /// Files uploaded at the same time
    #[arg(long, value_name = "N", default_value = "1")]
    pub parallel: NonZeroUsize,
    /// How long to go on trying without any progress
    #[arg(long, value_name = "DURATION", default_value = "10m", value_parser = humantime::parse_duration)]
    pub retry_for: Duration,
    /// Print one JSON object for each file: id, url, size, offset, state, digest
    #[arg(long)]
    pub json: bool,
    /// Print no progress
    #[arg(long, short)]
    pub quiet: bool,
    /// Path of the multipart door (the service's multipart.prefix)
    #[arg(long, value_name = "PATH", default_value = "/chunked_upload")]
    pub prefix: String,
    /// Form field of the file (the service's multipart.field_name)
    #[arg(long, value_name = "NAME", default_value = "file")]
    pub field_name: String,
    /// Folder that remembers unfinished uploads [default: chunkgate below the user's state folder]
    #[arg(long, value_name = "DIR")]
    pub state_dir: Option<PathBuf>,
}

fn chunk_size(text: &str) -> Result<ByteSize, String> {
    match text.parse::<ByteSize>()? {
        size if size.as_u64() == 0 => Err("must be at least 1 byte".to_owned()),
        size => Ok(size),
    }
}

/// Uploads every file; the others go on when one fails.
///
/// # Errors
/// An argument that cannot be used; or [`Failure::Told`] if any file was not uploaded.
pub async fn run(args: &UploadArgs) -> Result<(), Failure> {
    let client = Client::new(&args.connect)?;
    if !args.prefix.starts_with('/') || args.prefix.ends_with('/') {
        return Err(Failure::Usage("--prefix must begin with / and not end with /".into()));
    }
    let folder = args.state_dir.clone().map_or_else(journal::default_folder, Ok)?;
    let door = Door::new(client, &args.prefix, &args.field_name);
    let progress = Progress::new(args.quiet);
    let every = async {
        let transfers = args.files.iter().enumerate().map(async |(turn, file)| {
            let ended = one(args, &door, &folder, &progress, file).await;
            (turn, ended)
        });
        let mut ended = stream::iter(transfers).buffer_unordered(args.parallel.get());
        // Reports come in the order of the arguments, whichever file is done first.
        let (mut waiting, mut turn, mut failed) = (BTreeMap::new(), 0, 0);
        while let Some((at, outcome)) = ended.next().await {
            waiting.insert(at, outcome);
            while let Some(outcome) = waiting.remove(&turn) {
                failed += usize::from(outcome.is_err());
                report(args, &door, &progress, &args.files[turn], outcome);
                turn += 1;
            }
        }
        failed
    };
    let failed = tokio::select! {
        failed = every => failed,
        _ = tokio::signal::ctrl_c() => {
            progress.say("interrupted; the same command resumes where it stopped");
            return Err(Failure::Told);
        }
    };
    if failed == 0 { Ok(()) } else { Err(Failure::Told) }
}

/// Uploads one file.
async fn one(
    args: &UploadArgs,
    door: &Door,
    folder: &Path,
    progress: &Progress,
    file: &Path,
) -> Result<Value, Unfinished> {
    let source = Source::open(file).map_err(|reason| Unfinished { reason, id: None, offset: 0, size: None })?;
    let meter = progress.file(&shown(file), source.size);
    let journal = Journal::of(folder, door.client(), &source);
    Transfer::new(door, source, journal, meter, args.chunk_size.as_u64(), args.retry_for).run().await
}

fn shown(file: &Path) -> String {
    super::printable(&file.to_string_lossy())
}

/// Says how a file ended.
fn report(args: &UploadArgs, door: &Door, progress: &Progress, file: &Path, outcome: Result<Value, Unfinished>) {
    if let Err(unfinished) = &outcome {
        progress.complain(&format!("chunkgate: {}: {}", shown(file), unfinished.reason));
    }
    match (outcome, args.json) {
        (Ok(uploaded), true) => progress.print(&uploaded.to_string()),
        (Err(unfinished), true) => progress.print(&report_of(door, &unfinished).to_string()),
        (Ok(uploaded), false) => {
            let text = |key: &str| uploaded.get(key).and_then(Value::as_str).unwrap_or_default().to_owned();
            progress.print(&format!("{}: {} {}", shown(file), text("id"), text("url")));
        }
        (Err(_), false) => {}
    }
}

/// The JSON object of a file that was not uploaded: what the service has of it, and why it is not more.
fn report_of(door: &Door, unfinished: &Unfinished) -> Value {
    json!({
        "id": unfinished.id,
        "url": unfinished.id.as_deref().map(|id| door.content_url(id)),
        "size": unfinished.size,
        "offset": unfinished.offset,
        "state": "failed",
        "digest": null,
        "error": unfinished.reason,
    })
}
