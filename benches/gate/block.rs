//! One file on one way: its chunks are timed, its content is verified.

use std::time::{Duration, Instant};

use sha2::{Digest as _, Sha256};

use crate::{
    Fault,
    load::switches,
    noise::noise,
    process::cpu,
    stage::Stage,
    way::{Sender, Way},
    wire::{Connection, Request},
};

/// What every chunk carries.
pub(crate) const CHUNK_BYTES: usize = 64 * 1024;

/// What was measured of one file.
pub(crate) struct Block {
    /// How long each chunk took, from its first byte to the last of its answer; the shortest first.
    pub(crate) spans: Vec<Duration>,
    /// From the first chunk to the last.
    pub(crate) wall: Duration,
    /// What the service used meanwhile.
    pub(crate) service: Duration,
    /// What the identity server used meanwhile.
    pub(crate) identity: Duration,
    /// How often the service's threads waited meanwhile.
    pub(crate) switches: u64,
}

/// Sends a file of a first chunk, which is not timed, and `chunks` more.
pub(crate) fn send(stage: &Stage, way: Way, round: usize, chunks: usize) -> Result<Block, Fault> {
    let file = noise(round as u64, (chunks + 1) * CHUNK_BYTES);
    let name = format!("{}-{round}.bin", way.name());
    let mut sender = Sender::new(way, stage);
    let mut connection = Connection::open(stage.service)?;
    let first = sender.written(chunk(&file, &name, 0))?;
    let id = sender.learn(&connection.send(&first)?.success()?)?;
    let requests: Vec<_> = (1..=chunks).map(|at| sender.written(chunk(&file, &name, at))).collect::<Result<_, _>>()?;
    let asked = stage.questions()?;
    let block = timed(stage, &mut connection, &requests)?;
    let asked = stage.questions()? - asked;
    if asked != way.questions(chunks) {
        return Err(format!("{asked} questions for {chunks} chunks").into());
    }
    complete(&sender, &mut connection, &id, &file)?;
    stage.clear(&id)?;
    Ok(block)
}

fn timed(stage: &Stage, connection: &mut Connection, requests: &[Vec<u8>]) -> Result<Block, Fault> {
    let (service, identity) = (stage.service_id(), stage.identity_id());
    let used = || Ok::<_, Fault>((cpu(service)?, cpu(identity)?, switches(service)?));
    let mut spans = Vec::with_capacity(requests.len());
    let (before, began) = (used()?, Instant::now());
    for request in requests {
        let sent = Instant::now();
        let answer = connection.send(request)?;
        spans.push(sent.elapsed());
        answer.success()?;
    }
    let (wall, after) = (began.elapsed(), used()?);
    spans.sort();
    let (service, identity) = (after.0 - before.0, after.1 - before.1);
    Ok(Block { spans, wall, service, identity, switches: after.2.saturating_sub(before.2) })
}

/// A chunk as a page of django-chunked-uploads sends it.
fn chunk<'a>(file: &'a [u8], name: &str, at: usize) -> Request<'a> {
    let (from, to) = (at * CHUNK_BYTES, (at + 1) * CHUNK_BYTES);
    let fields = [
        ("content-disposition", format!("attachment; filename=\"{name}\"")),
        ("content-range", format!("bytes {from}-{}/{}", to - 1, file.len())),
        ("content-type", "application/octet-stream".to_owned()),
    ];
    let fields = fields.map(|(name, value)| (name.to_owned(), value)).to_vec();
    Request { method: "POST", path: "/chunked_uploads/upload/", fields, body: &file[from..to] }
}

/// Completes the upload, and reads it back.
fn complete(sender: &Sender<'_>, connection: &mut Connection, id: &str, file: &[u8]) -> Result<(), Fault> {
    let done = format!("/chunked_uploads/upload/done/{id}/");
    let answer = connection.send(&sender.written(Request::bare("POST", &done))?)?.success()?.text();
    if !answer.contains("COMPLETE") {
        return Err(format!("not complete: {answer}").into());
    }
    let content = format!("/api/v1/uploads/{id}/content");
    let content = connection.send(&sender.written(Request::bare("GET", &content))?)?.success()?.body;
    match Sha256::digest(&content) == Sha256::digest(file) {
        true => Ok(()),
        false => Err("the content is another".into()),
    }
}
