//! Uploads that are joined from parts, held against a model; and every point at which a process can die over one.

use chunkgate::{
    content::ContentStore as _,
    db::Advance,
    domain::{
        Clock as _,
        concat::{Role, Slice},
        upload::Upload,
    },
    uploads::reaper::Reaper,
    worker::{Step, Worker as _},
};

use super::*;

/// Length of every part.
const LENGTH: usize = 40;
const PARTS: usize = 3;

#[derive(Debug, Clone)]
enum Deed {
    Append {
        part: usize,
        length: usize,
        cut: Option<usize>,
    },
    /// A request for an upload of these parts; `dies`: the process does, as soon as it is recorded.
    Join {
        list: Vec<usize>,
        dies: bool,
    },
    CancelPart(usize),
    /// Of the joined uploads that are there, one.
    CancelJoined(usize),
    /// Somebody asks how far it is.
    Ask(usize),
    Reap,
    Expire,
    Restart,
}

fn deeds() -> impl Strategy<Value = Vec<Deed>> {
    let append = (0..PARTS, 0..LENGTH + 5, proptest::option::weighted(0.2, 0..LENGTH))
        .prop_map(|(part, length, cut)| Deed::Append { part, length, cut });
    let join = (proptest::sample::subsequence(vec![0, 1, 2], 1..=PARTS).prop_shuffle(), proptest::bool::weighted(0.2))
        .prop_map(|(list, dies)| Deed::Join { list, dies });
    let deed = prop_oneof![
        14 => append,
        4 => join,
        1 => (0..PARTS).prop_map(Deed::CancelPart),
        1 => (0..PARTS).prop_map(Deed::CancelJoined),
        2 => (0..PARTS).prop_map(Deed::Ask),
        2 => Just(Deed::Reap),
        1 => Just(Deed::Expire),
        2 => Just(Deed::Restart),
    ];
    proptest::collection::vec(deed, 1..30)
}

// ---- the model -----------------------------------------------------------------------------------------------------

/// What the core should know. Nothing begins after the first life is over.
#[derive(Default)]
struct Parts {
    parts: Vec<Model>,
    /// Which parts belong to which joined upload.
    belongs: [Option<usize>; PARTS],
    joined: Vec<Joined>,
    /// In lives.
    now: usize,
}

struct Joined {
    list: Vec<usize>,
    state: State,
    /// When it was over.
    ended: usize,
}

impl Parts {
    /// Upload and request, of a list that may be there already.
    fn join(&mut self, list: &[usize]) -> Result<usize, UploadError> {
        if let Some(known) = self.joined.iter().position(|joined| joined.list == list) {
            self.look(known);
            return match self.joined_state(known) {
                State::Receiving | State::Complete => Ok(known),
                State::Cancelled => Err(Refusal::Cancelled.into()),
                State::Expired => Err(Refusal::Expired.into()),
            };
        }
        if list.iter().any(|part| self.state(*part) != State::Receiving) {
            return Err(UploadError::NotFound);
        }
        if list.iter().any(|part| self.belongs[*part].is_some()) {
            return Err(Refusal::NotAPart.into());
        }
        list.iter().for_each(|part| self.belongs[*part] = Some(self.joined.len()));
        self.joined.push(Joined { list: list.to_vec(), state: State::Receiving, ended: 0 });
        Ok(self.joined.len() - 1)
    }

    /// Somebody looks whether the parts are all there.
    fn look(&mut self, joined: usize) {
        let Joined { list, state: State::Receiving, .. } = &self.joined[joined] else { return };
        let all_there = list.iter().all(|part| self.is_full(*part));
        let broken = list.iter().any(|part| !self.is_full(*part) && self.state(*part) != State::Receiving);
        if all_there || broken {
            self.joined[joined].state = if all_there { State::Complete } else { State::Cancelled };
            self.joined[joined].ended = self.now;
        }
    }

    fn reap(&mut self) {
        (0..self.joined.len()).for_each(|joined| self.look(joined));
        for part in 0..PARTS {
            let joined = self.belongs[part].map(|joined| &self.joined[joined]);
            let now = match joined {
                Some(joined) if joined.state == State::Receiving => continue,
                Some(joined) if joined.ended < self.now => State::Cancelled,
                Some(_) | None if self.now > 0 => State::Expired,
                Some(_) | None => continue,
            };
            if self.parts[part].state == State::Receiving {
                self.parts[part].state = now;
            }
        }
    }

    /// Every byte is there. Whether its time is over does not matter.
    fn is_full(&self, part: usize) -> bool {
        self.parts[part].state == State::Receiving && self.parts[part].bytes.len() == LENGTH
    }

    fn state(&self, part: usize) -> State {
        self.as_of_now(self.parts[part].state)
    }

    fn joined_state(&self, joined: usize) -> State {
        self.as_of_now(self.joined[joined].state)
    }

    fn as_of_now(&self, state: State) -> State {
        if state == State::Receiving && self.now > 0 { State::Expired } else { state }
    }

    fn append(&mut self, part: usize, bytes: &[u8], cut: Option<usize>) -> Outcome {
        if self.state(part) == State::Expired {
            return Err(Refusal::Expired.into());
        }
        let at = self.parts[part].bytes.len() as u64;
        let outcome = self.parts[part].append(at, bytes, cut, Keep::Received, None);
        if let (Ok(()) | Err(UploadError::Body(_)), Some(joined)) =
            (&outcome, self.belongs[part].filter(|_| self.is_full(part)))
        {
            self.look(joined);
        }
        outcome
    }

    fn cancel_part(&mut self, part: usize) -> Outcome {
        match self.state(part) {
            State::Expired => Err(Refusal::Expired.into()),
            _ => self.parts[part].cancel(),
        }
    }

    fn cancel_joined(&mut self, joined: usize) -> Outcome {
        match self.joined_state(joined) {
            State::Receiving | State::Complete => {
                (self.joined[joined].state, self.joined[joined].ended) = (State::Cancelled, self.now);
                Ok(())
            }
            State::Cancelled => Err(Refusal::Cancelled.into()),
            State::Expired => Err(Refusal::Expired.into()),
        }
    }

    fn content(&self, joined: usize) -> Vec<u8> {
        self.joined[joined].list.iter().flat_map(|part| self.parts[*part].bytes.clone()).collect()
    }
}

// ---- the play ------------------------------------------------------------------------------------------------------

fn new(is_part: bool) -> New {
    New { filename: "model".into(), content_type: None, digest: None, metadata: None, completes: false, is_part }
}

impl House {
    fn stores(&self) -> (&db::Stores, &LocalStore) {
        let (_, stores, content) = self.open.as_ref().expect("open");
        (stores, content)
    }

    async fn part(&self) -> UploadId {
        let size = Some(LENGTH as u64);
        self.core().create(&Principal::anonymous(), new(true), size).await.expect("created").id
    }

    async fn add(&self, id: UploadId, at: u64, bytes: &[u8], cut: Option<usize>) -> Result<(), UploadError> {
        let length = Some(bytes.len() as u64);
        let append = Append {
            target: Target::Known(id),
            claim: Claim { at: At::Exactly(at), length, size: None, last: false },
            keep: Keep::Received,
            contention: Contention::Succeed,
            body: body(bytes, cut),
        };
        self.core().append(&Principal::anonymous(), append).await.map(|_| ())
    }

    async fn join(&self, parts: Vec<UploadId>) -> Result<UploadId, UploadError> {
        self.core().join(&Principal::anonymous(), new(false), "a list".into(), parts).await.map(|joined| joined.id)
    }

    /// Records an upload that is to be joined, and nothing more.
    async fn record(&self, parts: &[UploadId]) -> Upload {
        let (stores, content) = self.stores();
        let known = self.core().status(&Principal::anonymous(), parts[0]).await.expect("known");
        let (id, now) = (UploadId::new(), self.clock.now());
        let joined = Upload {
            id,
            role: Some(Role::Joined { listed: "a list".into(), parts: parts.len() as u64 }),
            placement: Some(content.place(id, None, now)),
            offset: 0,
            size: None,
            created: now,
            expires: now + LIFE,
            ..known
        };
        assert!(stores.uploads.insert_joined(&joined, parts, None, None).await.expect("answers"));
        joined
    }

    async fn reap(&self) {
        let mut reaper = Reaper::new(self.core().clone());
        while reaper.step().await.expect("no failure") == Step::More {}
    }
}

async fn play(deeds: Vec<Deed>) {
    let mut house = House::build().await;
    let by = Principal::anonymous();
    let mut model = Parts::default();
    let (mut ids, mut joined) = (Vec::new(), Vec::new());
    for _ in 0..PARTS {
        ids.push(house.part().await);
        model.parts.push(Model { bytes: Vec::new(), size: Some(LENGTH as u64), state: State::Receiving });
    }
    for (index, deed) in deeds.into_iter().enumerate() {
        let said = format!("{index}: {deed:?}");
        let (expected, got) = match deed {
            Deed::Append { part, length, cut } => {
                let (at, bytes) = (model.parts[part].bytes.len() as u64, noise(index as u64, length));
                let cut = cut.map(|cut| cut.min(length));
                let got = house.add(ids[part], at, &bytes, cut).await;
                (model.append(part, &bytes, cut), got)
            }
            Deed::Join { list, dies } => {
                let parts: Vec<_> = list.iter().map(|part| ids[*part]).collect();
                let (before, expected) = (model.joined.len(), model.join(&list));
                if dies && model.joined.len() > before {
                    joined.push(house.record(&parts).await.id);
                    house.restart().await;
                    continue;
                }
                let got = house.join(parts).await;
                if let Ok(at) = expected {
                    joined.extend(got.as_ref().ok().filter(|_| model.joined.len() > before));
                    assert_eq!(got.as_ref().ok(), Some(&joined[at]), "{said}");
                    model.look(at);
                }
                (expected.map(|_| ()), got.map(|_| ()))
            }
            Deed::CancelPart(part) => (model.cancel_part(part), house.core().cancel(&by, ids[part]).await),
            Deed::CancelJoined(which) if which < joined.len() => {
                (model.cancel_joined(which), house.core().cancel(&by, joined[which]).await)
            }
            Deed::Ask(which) if which < joined.len() => {
                model.look(which);
                (Ok(()), house.core().settled(&by, joined[which]).await.map(|_| ()))
            }
            Deed::CancelJoined(_) | Deed::Ask(_) => continue,
            Deed::Reap => {
                house.reap().await;
                model.reap();
                (Ok(()), Ok(()))
            }
            Deed::Expire => {
                house.clock.advance(LIFE);
                model.now += 1;
                continue;
            }
            Deed::Restart => {
                house.restart().await;
                continue;
            }
        };
        assert_eq!(format!("{got:?}"), format!("{expected:?}"), "{said}");
        agree(&house, &ids, &joined, &model, &said).await;
    }
}

/// Every state, every offset and every content is the model's.
async fn agree(house: &House, ids: &[UploadId], joined: &[UploadId], model: &Parts, said: &str) {
    let by = Principal::anonymous();
    let now = house.core().now();
    for (part, id) in ids.iter().enumerate() {
        let upload = house.core().status(&by, *id).await.expect("known");
        let expected = (model.state(part), model.parts[part].bytes.len() as u64);
        assert_eq!((upload.state_at(now), upload.offset), expected, "{said}: part {part}");
    }
    for (which, id) in joined.iter().enumerate() {
        let upload = house.core().status(&by, *id).await.expect("known");
        assert_eq!(upload.state_at(now), model.joined_state(which), "{said}: joined {which}");
        if upload.state == State::Complete {
            assert_holds(house, *id, &model.content(which), said).await;
        }
    }
    assert_eq!(house.core().in_work(), 0, "{said}: a lock is held");
}

async fn assert_holds(house: &House, id: UploadId, content: &[u8], said: &str) {
    let upload = house.core().open(&Principal::anonymous(), id).await.expect("complete");
    assert_eq!(upload.size, Some(content.len() as u64), "{said}");
    let read = house.core().read(&upload, 0, upload.offset).await.expect("opens");
    let stored: Vec<Bytes> = read.try_collect().await.expect("reads");
    assert!(stored.concat() == content, "{said}: content differs");
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 96, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn uploads_are_joined_as_the_model_says(deeds in deeds()) {
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().expect("a runtime");
        runtime.block_on(play(deeds));
    }
}

// ---- dying over it -------------------------------------------------------------------------------------------------

/// How far a process came before it died.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Died {
    BeforeTheCopy,
    InTheCopy,
    BetweenSteps,
    BeforeTheCommit,
    BeforeTheMove,
    AfterTheMove,
}

/// Leaves what a process leaves that dies there.
async fn leave(house: &House, joined: &Upload, died: Died) {
    let (stores, content) = house.stores();
    let placement = joined.placement.as_ref().expect("a place");
    let size = (2 * LENGTH) as u64;
    let mut slices = Vec::new();
    for part in stores.uploads.parts(joined).await.expect("answers") {
        slices.push(Slice { placement: part.placement.expect("a place"), from: 0, length: part.offset });
    }
    let copied = if died < Died::BeforeTheCommit { &slices[..1] } else { &slices[..] };
    if died > Died::BeforeTheCopy {
        content.join(placement, 0, copied).await.expect("copied");
    }
    let recorded = match died {
        Died::BeforeTheCopy | Died::InTheCopy | Died::BeforeTheCommit => 0,
        Died::BetweenSteps => LENGTH as u64,
        Died::BeforeTheMove | Died::AfterTheMove => size,
    };
    let (tail_start, expires, now) = (0, joined.expires, joined.created);
    let advance =
        Advance { from: 0, to: recorded, tail_start, size: Some(size), digest: None, expires, within: None, now };
    assert!(stores.uploads.advance(joined.id, &advance).await.expect("answers"));
    if died == Died::AfterTheMove {
        content.finish(placement, size).await.expect("moved");
    }
}

#[tokio::test]
async fn wherever_a_process_dies_over_it_it_is_joined_by_whoever_asks_next() {
    use Died::{AfterTheMove, BeforeTheCommit, BeforeTheCopy, BeforeTheMove, BetweenSteps, InTheCopy};
    let by = Principal::anonymous();
    let mut house = House::build().await;
    for died in [BeforeTheCopy, InTheCopy, BetweenSteps, BeforeTheCommit, BeforeTheMove, AfterTheMove] {
        for asks in ["whoever asks for the offset", "who reads", "who makes it again", "the reaper"] {
            let content = noise(died as u64, 2 * LENGTH);
            let mut parts = Vec::new();
            for bytes in content.chunks(LENGTH) {
                let part = house.part().await;
                house.add(part, 0, bytes, None).await.expect("added");
                parts.push(part);
            }
            let joined = house.record(&parts).await;
            leave(&house, &joined, died).await;
            house.restart().await;
            match asks {
                "who reads" => drop(house.core().open(&by, joined.id).await.expect("complete")),
                "who makes it again" => assert_eq!(house.join(parts).await.expect("the same"), joined.id),
                "the reaper" => house.reap().await,
                _ => drop(house.core().settled(&by, joined.id).await.expect("told")),
            }
            let said = format!("{died:?}, {asks}");
            assert_eq!(house.core().status(&by, joined.id).await.expect("known").state, State::Complete, "{said}");
            assert_holds(&house, joined.id, &content, &said).await;
        }
    }
}
