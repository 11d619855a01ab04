//! The pump: from the body of a request into the content, then one commit.
//!
//! It outlasts its request, because a handler is dropped when its client leaves, and bytes that arrived must not depend on
//! that. Frames are gathered and then written; the socket's own buffer takes the next ones meanwhile. All batches of the
//! process share one [`Budget`].
//!
//! Nothing is acknowledged before it is durable and its row is committed. A chunk is admitted as [`Keep`] says: as a
//! whole or not at all, or as far as it came.

use std::sync::{
    Arc,
    atomic::{AtomicUsize, Ordering},
};

use bytes::{Bytes, BytesMut};
use futures_util::StreamExt as _;

use super::{Body, BodyError, Parts, UploadError, append::Chunk, drain::Drain, lock::Guard};
use crate::{
    domain::{
        digest::Running,
        upload::{Plan, Refusal},
    },
    worker::Tasks,
};

/// How many bytes are gathered before they are written: with less, system calls cost more than the copy. A full read
/// buffer of a connection goes as it is, and is free for the next bytes unless they are being hashed.
const BATCH_BYTES: usize = 160 * 1024;
/// Smaller frames are copied: a frame is a slice of its connection's read buffer and keeps the whole of it, so that the
/// frames of slow clients would hold many times what the budget counts.
const SMALL_FRAME: usize = 64 * 1024;
/// Bytes gathered or being written in the whole process. When they are used up, batches get smaller, nobody waits.
const BUDGET_BYTES: usize = 16 * 1024 * 1024;
/// A long body of a streaming door is committed every so many bytes.
const CHECKPOINT_BYTES: u64 = 16 * 1024 * 1024;

/// A reader who wants the offset waits for so many bytes at most that are on their way in.
const READER_BYTES: u64 = 1024 * 1024;

/// What becomes of a chunk that did not arrive whole.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Keep {
    /// Nothing of it is admitted. For doors that POST chunks as parts of a form.
    Whole,
    /// What arrived is admitted. For doors that stream.
    Received,
}

/// The process-wide allowance for gathered bytes.
#[derive(Debug, Clone, Default)]
pub(super) struct Budget {
    used: Arc<AtomicUsize>,
}

/// Bytes taken from the budget; given back on drop.
pub(super) struct Share {
    budget: Budget,
    bytes: usize,
}

impl Budget {
    fn share(&self) -> Share {
        Share { budget: self.clone(), bytes: 0 }
    }
}

impl Share {
    /// Takes `bytes` more, if they are there.
    fn grow(&mut self, bytes: usize) -> bool {
        let took = self.budget.used.try_update(Ordering::Relaxed, Ordering::Relaxed, |used| {
            (used + bytes <= BUDGET_BYTES).then_some(used + bytes)
        });
        if took.is_ok() {
            self.bytes += bytes;
        }
        took.is_ok()
    }
}

impl Drop for Share {
    fn drop(&mut self) {
        self.budget.used.fetch_sub(self.bytes, Ordering::Relaxed);
    }
}

/// What a pump took in so far: durable, and not yet committed.
pub(super) struct Received {
    /// Bytes written and synced since the plan's start.
    pub(super) bytes: u64,
    /// Digest up to them.
    pub(super) digest: Option<Running>,
    /// Whether more may follow, or why the body ended.
    pub(super) then: Then,
}

/// How it goes on after [`Received`].
pub(super) enum Then {
    /// This was a checkpoint: commit, and go on pumping.
    More,
    /// The body came to its end.
    End,
    /// The body was cut short. What arrived is to be kept.
    CutShort(UploadError),
}

/// What comes next of a body.
enum Step<T> {
    Bytes(T),
    /// Nothing yet, and a reader wants to know how far it got.
    Pause,
    End,
}

/// One body on its way into one content.
pub(super) struct Pump<'a> {
    plan: Plan,
    keep: Keep,
    guard: &'a Guard,
    tasks: &'a Tasks,
    body: Body,
    batch: Batch,
    drain: Drain,
    taken: u64,
    checkpoint: u64,
    /// Up to where a reader waits for what is here already.
    reader: Option<u64>,
}

impl<'a> Pump<'a> {
    /// A pump that has taken in nothing.
    pub(super) fn new(chunk: &'a Chunk, body: Body, parts: &'a Parts, drain: Drain) -> Self {
        Self {
            plan: chunk.plan,
            keep: chunk.keep,
            guard: &chunk.guard,
            tasks: &parts.tasks,
            body,
            batch: Batch::new(&parts.budget),
            drain,
            taken: 0,
            checkpoint: CHECKPOINT_BYTES,
            reader: None,
        }
    }

    /// Pumps to the body's end or, where what arrives is kept, to the next checkpoint.
    ///
    /// # Errors
    /// Whatever keeps the chunk from being admitted. With [`Keep::Received`], what ends a body early is no error but
    /// told beside what arrived.
    pub(super) async fn run(&mut self) -> Result<Received, UploadError> {
        let then = loop {
            match self.take_in().await {
                Ok(Step::Bytes(())) if self.keep == Keep::Received && self.taken >= self.checkpoint => {
                    self.checkpoint += CHECKPOINT_BYTES;
                    break Then::More;
                }
                Ok(Step::Bytes(())) => {}
                Ok(Step::Pause) => break Then::More,
                Ok(Step::End) => break Then::End,
                Err(error) if self.keep == Keep::Whole => return Err(error),
                Err(error) => break Then::CutShort(error),
            }
        };
        let Received { bytes, digest, then } = self.guard.at_work(self.drain.received(self.batch.take(), then)).await?;
        match (self.keep, then) {
            (Keep::Whole, Then::CutShort(error)) => Err(error),
            (_, then) => Ok(Received { bytes, digest, then }),
        }
    }

    /// Takes in one frame, unless a reader wants the offset to be exact first.
    async fn take_in(&mut self) -> Result<Step<()>, UploadError> {
        let mut frame = match self.next().await? {
            Step::Bytes(frame) => frame,
            Step::Pause => return Ok(Step::Pause),
            Step::End => return Ok(Step::End),
        };
        self.guard.progressed();
        let room = self.plan.at_most - self.taken;
        let beyond = frame.len() as u64 > room;
        if beyond {
            frame.truncate(room as usize);
        }
        self.taken += frame.len() as u64;
        if let Some(full) = self.batch.push(frame) {
            self.guard.at_work(self.drain.write(full)).await?;
        }
        if beyond { Err(self.plan.beyond.into()) } else { Ok(Step::Bytes(())) }
    }

    /// The next bytes, unless somebody else needs the upload or the service stops.
    async fn next(&mut self) -> Result<Step<Bytes>, UploadError> {
        loop {
            if self.reader.is_some_and(|most| self.taken >= most) {
                self.reader = None;
                return Ok(Step::Pause);
            }
            tokio::select! {
                biased;
                () = self.guard.asked_to_let_go() => return Err(UploadError::Busy),
                () = self.tasks.letting_go() => return Err(UploadError::ShuttingDown),
                () = self.guard.asked_to_commit(), if self.reader.is_none() => match self.keep {
                    Keep::Received => self.reader = Some(self.taken + READER_BYTES),
                    // Of a chunk that is taken whole nothing can be committed yet.
                    Keep::Whole => self.guard.committed(),
                },
                frame = self.body.next() => return Ok(frame.transpose()?.map_or(Step::End, Step::Bytes)),
                // Nothing more is here now.
                () = std::future::ready(()), if self.reader.is_some() => {
                    self.reader = None;
                    return Ok(Step::Pause);
                }
            }
        }
    }
}

/// Frames gathered for one write.
pub(super) struct Batch {
    pub(super) frames: Vec<Bytes>,
    /// Small frames after them.
    small: BytesMut,
    pub(super) bytes: usize,
    pub(super) share: Share,
}

impl Batch {
    fn new(budget: &Budget) -> Self {
        Self { frames: Vec::new(), small: BytesMut::new(), bytes: 0, share: budget.share() }
    }

    /// Adds a frame; gives back the batch when it is time to write it.
    fn push(&mut self, frame: Bytes) -> Option<Self> {
        if frame.is_empty() {
            return None;
        }
        let fits = self.share.grow(frame.len());
        self.bytes += frame.len();
        if frame.len() < SMALL_FRAME {
            self.small.extend_from_slice(&frame);
        } else {
            self.seal();
            self.frames.push(frame);
        }
        (!fits || self.bytes >= BATCH_BYTES).then(|| self.take())
    }

    /// Puts the small frames behind the others.
    fn seal(&mut self) {
        if !self.small.is_empty() {
            self.frames.push(std::mem::take(&mut self.small).freeze());
        }
    }

    fn take(&mut self) -> Self {
        self.seal();
        let fresh = Self::new(&self.share.budget);
        std::mem::replace(self, fresh)
    }
}

impl From<BodyError> for UploadError {
    fn from(error: BodyError) -> Self {
        match error {
            BodyError::WrongDigest { algorithm } => Refusal::WrongDigest { algorithm }.into(),
            error => Self::Body(error),
        }
    }
}
