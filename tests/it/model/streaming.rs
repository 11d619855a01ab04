//! A chunk that comes in pieces: whoever asks in between hears the exact offset, and a newcomer takes over.

use futures_util::{StreamExt as _, stream};
use tokio::sync::mpsc;

use super::*;
use crate::support::until;

/// Plays [`Deed::Stream`]. What was told on the way is never lost, whatever ends the chunk.
pub(super) async fn streamed(
    house: &House,
    id: UploadId,
    model: &mut Model,
    pieces: &[Vec<u8>],
    newcomer: Option<Vec<u8>>,
) {
    let (sender, receiver) = mpsc::unbounded_channel();
    let body = stream::unfold(receiver, async |mut pieces| Some((pieces.recv().await?, pieces)));
    let chunk = append(id, model.offset(), None, Contention::Wait, body.boxed());
    let core = house.core().clone();
    let older = tokio::spawn(async move { core.append(&Principal::anonymous(), chunk).await.map(|_| ()) });
    let mut outcome: Outcome = model.alive().map_err(UploadError::from);
    if outcome.is_ok() {
        until("the chunk is under way", async || (house.core().in_work() == 1).then_some(())).await;
    }
    for piece in pieces {
        if outcome.is_ok() {
            sender.send(Ok(piece.clone().into())).expect("it is read");
            outcome = model.take_in(piece);
            let told = house.core().settled(&Principal::anonymous(), id).await.expect("told");
            assert_eq!(told.offset, model.offset(), "what arrived counts");
        }
    }
    let under_way = outcome.is_ok();
    let succeeded = match newcomer {
        None => false,
        Some(bytes) => succeed(house, id, model, &bytes).await,
    };
    if under_way {
        // Who was succeeded is not heard any more.
        let _ = sender.send(Err(BodyError::Disconnected));
        outcome = Err(if succeeded { UploadError::Busy } else { BodyError::Disconnected.into() });
    }
    assert_eq!(format!("{:?}", older.await.expect("no panic")), format!("{outcome:?}"), "the older chunk");
}

/// A newcomer with a chunk from where the upload stands; whether it was admitted.
async fn succeed(house: &House, id: UploadId, model: &mut Model, bytes: &[u8]) -> bool {
    let at = model.offset();
    let expected = model.append(at, bytes, None, Keep::Received, None);
    let chunk = append(id, at, Some(bytes.len() as u64), Contention::Succeed, body(bytes, None));
    let got = house.core().append(&Principal::anonymous(), chunk).await.map(|_| ());
    assert_eq!(format!("{got:?}"), format!("{expected:?}"), "the newcomer");
    expected.is_ok()
}

fn append(id: UploadId, at: u64, length: Option<u64>, contention: Contention, body: Body) -> Append {
    let claim = Claim { at: At::Exactly(at), length, size: None, last: false };
    Append { target: Target::Known(id), claim, keep: Keep::Received, contention, body }
}

impl Model {
    fn offset(&self) -> u64 {
        self.bytes.len() as u64
    }

    /// A piece of a body whose length nobody told.
    fn take_in(&mut self, piece: &[u8]) -> Outcome {
        let room = self.size.map_or(usize::MAX, |size| size as usize - self.bytes.len());
        self.bytes.extend_from_slice(&piece[..piece.len().min(room)]);
        match self.size.filter(|_| piece.len() > room) {
            Some(size) => Err(Refusal::BeyondSize { size }.into()),
            None => Ok(()),
        }
    }
}
