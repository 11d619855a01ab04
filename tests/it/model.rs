//! The upload core held against a model of a few lines, over random interleavings.

mod joining;
mod streaming;

use std::{sync::Arc, time::Duration};

use bytes::Bytes;
use chunkgate::{
    content::local::LocalStore,
    db,
    domain::{
        Durability, UploadId,
        digest::{Algorithm, Digest, Wanted},
        principal::Principal,
        upload::{At, Claim, Refusal, State},
    },
    uploads::{Append, Body, BodyError, Contention, Keep, New, Settings, Target, UploadError, Uploads},
    worker::Tasks,
};
use futures_util::{StreamExt as _, TryStreamExt as _, stream};
use proptest::prelude::*;

use crate::support::{ManualClock, md5, noise};

const LIFE: Duration = Duration::from_secs(1000);

/// One thing that happens.
#[derive(Debug, Clone)]
enum Deed {
    /// A chunk of `length` bytes, claimed to start `ahead` of where the upload stands; `cut`: the client leaves after so
    /// many bytes.
    Append {
        ahead: u64,
        length: usize,
        cut: Option<usize>,
        keep: Keep,
        total: Option<u64>,
    },
    /// A chunk that comes in pieces, with somebody who asks for the offset after each. Then no more comes: a newcomer with
    /// so many bytes takes over, or the client leaves.
    Stream {
        pieces: Vec<usize>,
        newcomer: Option<usize>,
    },
    /// The bytes of a chunk that a crash left behind the committed offset.
    LeaveTail(usize),
    /// Completion, with the right digest or a wrong one.
    Finish {
        right: bool,
    },
    Cancel,
    Expire,
    Restart,
}

fn deeds() -> impl Strategy<Value = Vec<Deed>> {
    let keep = prop_oneof![Just(Keep::Whole), Just(Keep::Received)];
    let ahead = prop_oneof![8 => Just(0u64), 1 => 1u64..50];
    let total = prop_oneof![3 => Just(Some(300u64)), 2 => Just(None), 1 => Just(Some(200))];
    let append = (ahead, 0usize..120, proptest::option::weighted(0.3, 0usize..120), keep, total)
        .prop_map(|(ahead, length, cut, keep, total)| Deed::Append { ahead, length, cut, keep, total });
    let stream = (proptest::collection::vec(1usize..40, 1..4), proptest::option::of(0usize..60))
        .prop_map(|(pieces, newcomer)| Deed::Stream { pieces, newcomer });
    let deed = prop_oneof![
        12 => append,
        2 => stream,
        2 => (1usize..100).prop_map(Deed::LeaveTail),
        3 => any::<bool>().prop_map(|right| Deed::Finish { right }),
        1 => Just(Deed::Cancel),
        1 => Just(Deed::Expire),
        2 => Just(Deed::Restart),
    ];
    proptest::collection::vec(deed, 1..25)
}

/// What the core should know.
struct Model {
    bytes: Vec<u8>,
    size: Option<u64>,
    state: State,
}

/// What should come of a deed: nothing special, or a refusal.
type Outcome = Result<(), UploadError>;

impl Model {
    fn alive(&self) -> Result<(), Refusal> {
        match self.state {
            State::Receiving => Ok(()),
            State::Complete => Err(Refusal::Complete),
            State::Cancelled => Err(Refusal::Cancelled),
            State::Expired => Err(Refusal::Expired),
        }
    }

    fn append(&mut self, at: u64, bytes: &[u8], cut: Option<usize>, keep: Keep, total: Option<u64>) -> Outcome {
        let offset = self.bytes.len() as u64;
        self.alive()?;
        let size = match (self.size, total) {
            (Some(size), Some(total)) if size != total => return Err(Refusal::WrongSize { size }.into()),
            (size, total) => size.or(total),
        };
        // Claims about the whole come before the position: a total named late cannot be less than what is there.
        if let Some(size) = size.filter(|size| *size < offset) {
            return Err(Refusal::BeyondSize { size }.into());
        }
        if at != offset {
            return Err(Refusal::WrongOffset { offset }.into());
        }
        if let Some(size) = size.filter(|size| offset + bytes.len() as u64 > *size) {
            return Err(Refusal::BeyondSize { size }.into());
        }
        match (cut, keep) {
            (Some(_), Keep::Whole) => return Err(BodyError::Disconnected.into()),
            (Some(cut), Keep::Received) => self.bytes.extend_from_slice(&bytes[..cut]),
            (None, _) => self.bytes.extend_from_slice(bytes),
        }
        self.size = size;
        cut.map_or(Ok(()), |_| Err(BodyError::Disconnected.into()))
    }

    fn finish(&mut self, right: bool) -> Outcome {
        match self.state {
            State::Receiving | State::Complete => {}
            State::Cancelled | State::Expired => self.alive()?,
        }
        if self.size != Some(self.bytes.len() as u64) {
            return Err(Refusal::Incomplete { offset: self.bytes.len() as u64 }.into());
        }
        if !right {
            return Err(Refusal::WrongDigest { algorithm: Algorithm::Md5 }.into());
        }
        self.state = State::Complete;
        Ok(())
    }

    fn cancel(&mut self) -> Outcome {
        match self.state {
            State::Receiving | State::Complete => self.state = State::Cancelled,
            State::Cancelled | State::Expired => self.alive()?,
        }
        Ok(())
    }
}

/// A core over real stores in a folder.
struct House {
    folder: tempfile::TempDir,
    clock: Arc<ManualClock>,
    open: Option<(Uploads, db::Stores, Arc<LocalStore>)>,
}

impl House {
    async fn build() -> Self {
        let mut house = Self { folder: tempfile::tempdir().expect("a folder"), clock: Arc::default(), open: None };
        house.open().await;
        house
    }

    async fn open(&mut self) {
        let url = format!("sqlite:{}", self.folder.path().join("db").display());
        let settings = db::Settings { url: url.into(), max_connections: 2 };
        let stores = db::connect(&settings, Durability::Os).await.expect("a database");
        let local = chunkgate::content::local::Settings {
            path: self.folder.path().join("files"),
            durability: Durability::Os,
            ..Default::default()
        };
        let content = Arc::new(LocalStore::open(&local).await.expect("a store"));
        let settings = Settings { expires_after: LIFE, ..Settings::default() };
        let core = Uploads::new(
            stores.uploads.clone(),
            content.clone(),
            self.clock.clone(),
            Tasks::new(),
            settings,
            Arc::default(),
        );
        self.open = Some((core, stores, content));
    }

    async fn restart(&mut self) {
        let (core, stores, content) = self.open.take().expect("open");
        drop((core, content));
        stores.close().await;
        self.open().await;
    }

    fn core(&self) -> &Uploads {
        &self.open.as_ref().expect("open").0
    }

    /// Bytes behind the committed offset, as a crash between content and commit leaves them.
    fn leave_tail(&self, id: UploadId, length: usize) {
        use std::io::Write as _;
        let path = self.folder.path().join(format!("files/partial/{id}.part"));
        if let Ok(mut file) = std::fs::OpenOptions::new().append(true).open(path) {
            file.write_all(&noise(99, length)).expect("written");
        }
    }
}

/// The bytes in small frames; broken off after `cut`.
fn body(bytes: &[u8], cut: Option<usize>) -> Body {
    let sent = &bytes[..cut.unwrap_or(bytes.len())];
    let frames: Vec<_> = sent.chunks(17).map(|frame| Ok(Bytes::copy_from_slice(frame))).collect();
    stream::iter(frames).chain(stream::iter(cut.map(|_| Err(BodyError::Disconnected)))).boxed()
}

async fn play(deeds: Vec<Deed>) {
    let mut house = House::build().await;
    let by = Principal::anonymous();
    let new = New {
        filename: "model".into(),
        content_type: None,
        digest: Some(Wanted::Told(Algorithm::Md5)),
        metadata: None,
        completes: false,
        is_part: false,
    };
    let id = house.core().create(&by, new, None).await.expect("created").id;
    let mut model = Model { bytes: Vec::new(), size: None, state: State::Receiving };
    for (index, deed) in deeds.into_iter().enumerate() {
        let said = format!("{index}: {deed:?}");
        let (expected, got) = match deed {
            Deed::Append { ahead, length, cut, keep, total } => {
                let at = model.bytes.len() as u64 + ahead;
                let bytes = noise(index as u64, length);
                let cut = cut.map(|cut| cut.min(length));
                let claim = Claim { at: At::Exactly(at), length: Some(length as u64), size: total, last: false };
                let append = Append {
                    target: Target::Known(id),
                    claim,
                    keep,
                    contention: Contention::Wait,
                    body: body(&bytes, cut),
                };
                let got = house.core().append(&by, append).await.map(|_| ());
                (model.append(at, &bytes, cut, keep, total), got)
            }
            Deed::Stream { pieces, newcomer } => {
                let bytes = |(number, length)| noise(index as u64 * 10 + number, length);
                let pieces: Vec<_> = (1..).zip(pieces).map(bytes).collect();
                streaming::streamed(&house, id, &mut model, &pieces, newcomer.map(|length| bytes((0, length)))).await;
                agree(&house, id, &model, &said).await;
                continue;
            }
            Deed::LeaveTail(length) => {
                house.leave_tail(id, length);
                continue;
            }
            Deed::Finish { right } => {
                let of = if right { md5(&model.bytes) } else { md5(b"something else") };
                let expected = Digest::from_hex(Algorithm::Md5, &of);
                (model.finish(right), house.core().finish(&by, id, expected).await.map(|_| ()))
            }
            Deed::Cancel => (model.cancel(), house.core().cancel(&by, id).await),
            Deed::Expire => {
                house.clock.advance(LIFE);
                if model.state == State::Receiving {
                    model.state = State::Expired;
                }
                continue;
            }
            Deed::Restart => {
                house.restart().await;
                continue;
            }
        };
        assert_eq!(format!("{got:?}"), format!("{expected:?}"), "{said}");
        agree(&house, id, &model, &said).await;
    }
}

/// Offset, size, state and content are the model's.
async fn agree(house: &House, id: UploadId, model: &Model, said: &str) {
    let by = Principal::anonymous();
    let upload = house.core().status(&by, id).await.expect("known");
    assert_eq!(upload.state_at(house.core().now()), model.state, "{said}");
    assert_eq!((upload.offset, upload.size), (model.bytes.len() as u64, model.size), "{said}");
    assert_eq!(house.core().in_work(), 0, "{said}: the lock is held");
    match model.state {
        State::Receiving | State::Complete => {
            let read = house.core().read(&upload, 0, upload.offset).await.expect("opens");
            let content: Vec<Bytes> = read.try_collect().await.expect("reads");
            assert!(content.concat() == model.bytes, "{said}: content differs");
        }
        State::Cancelled | State::Expired => {
            assert!(house.core().open(&by, id).await.is_err(), "{said}");
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 96, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn the_core_does_what_the_model_says(deeds in deeds()) {
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().expect("a runtime");
        runtime.block_on(play(deeds));
    }
}
