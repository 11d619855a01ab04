//! An upload, its states, and every rule about it.
//!
//! A rule takes the upload as the database knows it, what the client claims, and the time; it answers with a plan or
//! with a [`Refusal`] that names the fact. The same rule is asked twice: before a body byte is read, and again under the
//! upload's lock.

use serde::{Deserialize, Serialize};

use super::{
    Timestamp, UploadId, UserId,
    concat::Role,
    digest::{Algorithm, Digest},
    limits::{Kept, Limits, smaller},
    principal::Owner,
};

/// Where an upload stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum State {
    /// Bytes are awaited, or a completion.
    Receiving,
    /// Every byte is there and verified; the content can be read.
    Complete,
    /// Cancelled by its owner or an operator. The content is gone, the id stays known for a while.
    Cancelled,
    /// Its time ran out. The content is gone, the id stays known for a while.
    Expired,
}

impl State {
    /// The name used on the wire and in the database.
    pub fn name(self) -> &'static str {
        match self {
            Self::Receiving => "receiving",
            Self::Complete => "complete",
            Self::Cancelled => "cancelled",
            Self::Expired => "expired",
        }
    }

    /// The state of that name.
    pub fn named(name: &str) -> Option<Self> {
        [Self::Receiving, Self::Complete, Self::Cancelled, Self::Expired].into_iter().find(|known| known.name() == name)
    }
}

/// Where the content store keeps an upload. Chosen by the content store and opaque to everybody else.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Placement(pub String);

/// A digest of the whole content, kept up with the offset.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KeptDigest {
    /// Which digest.
    pub algorithm: Algorithm,
    /// The state over the first `offset` bytes, as [`super::digest::Running::save`] writes it.
    pub state: Vec<u8>,
}

/// One upload as the database knows it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Upload {
    /// Its name.
    pub id: UploadId,
    /// Who may see it; nobody owns an anonymous upload.
    pub owner: Option<UserId>,
    /// The client's file name, harmless, for display only. See [`super::names::display_name`].
    pub filename: String,
    /// The client's content type, for display and delivery.
    pub content_type: Option<String>,
    /// The client's own words about it, given back as they came.
    pub metadata: Option<String>,
    /// Whether it is complete as soon as its length is reached. Else its client says when.
    pub completes: bool,
    /// What it is among uploads that are joined from parts.
    pub role: Option<Role>,
    /// Where it stands. [`Upload::state_at`] also knows what has expired but was not yet collected.
    pub state: State,
    /// Bytes acknowledged. Never more than the content store holds.
    pub offset: u64,
    /// Total length in bytes, once a client has named it. Never changes after that.
    pub size: Option<u64>,
    /// Digest over the first `offset` bytes, if a door or a client asked for one.
    pub digest: Option<KeptDigest>,
    /// What its client said at the beginning that the digest will be.
    pub expected: Option<Digest>,
    /// The finished value, once complete.
    pub sum: Option<Digest>,
    /// Where the bytes are; `None` once they are gone.
    pub placement: Option<Placement>,
    /// Where the last chunk began, in bytes.
    pub tail_start: u64,
    /// The limit of its user when it began, in bytes. It holds to the end, whoever continues.
    pub max_bytes: Option<u64>,
    /// The other limits of its user that hold to the end.
    pub kept: Kept,
    /// When it was created.
    pub created: Timestamp,
    /// When the row last changed.
    pub updated: Timestamp,
    /// Until when bytes and completion are accepted.
    pub expires: Timestamp,
    /// When it left [`State::Receiving`].
    pub ended: Option<Timestamp>,
}

/// Where a chunk claims to start.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum At {
    /// At this offset and no other.
    Exactly(u64),
    /// Wherever the upload stands.
    Tail,
}

/// What a client claims about a chunk before its bytes arrive.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Claim {
    /// Where the chunk starts.
    pub at: At,
    /// Length of the chunk in bytes, if claimed.
    pub length: Option<u64>,
    /// Total length of the upload in bytes, if claimed.
    pub size: Option<u64>,
    /// Whether the upload ends with this chunk.
    pub last: bool,
}

/// What an admitted chunk may do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Plan {
    /// First byte to write.
    pub from: u64,
    /// Most bytes that may be taken in.
    pub at_most: u64,
    /// What to answer a body that exceeds `at_most`.
    pub beyond: Refusal,
    /// Exact number of bytes that must arrive, if claimed.
    pub exactly: Option<u64>,
    /// Total length known after this chunk; `None` while unknown.
    pub size: Option<u64>,
    /// Whether the end of this chunk is the end of the upload.
    pub last: bool,
}

/// Why the rules say no. Each door renders each of these in its own dialect.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, thiserror::Error)]
pub enum Refusal {
    /// The upload's time ran out.
    #[error("the upload has expired")]
    Expired,
    /// The upload was cancelled.
    #[error("the upload was cancelled")]
    Cancelled,
    /// The upload is complete and takes nothing more.
    #[error("the upload is already complete")]
    Complete,
    /// The upload is joined from parts, and nobody adds to it.
    #[error("the upload is joined from parts and takes no bytes itself")]
    Joined,
    /// The upload is a part of another, and no file by itself.
    #[error("the upload is a part of another one and no file by itself")]
    Part,
    /// What is to be joined is no part, or one of another upload.
    #[error("only parts that belong to no other upload can be joined")]
    NotAPart,
    /// The key of a creation stands for another upload than the one that was described with it.
    #[error("the key stands for an upload of another length, or with other metadata")]
    KeyReused,
    /// The upload is not complete yet.
    #[error("the upload has {offset} bytes and is not complete")]
    Incomplete {
        /// Bytes acknowledged.
        offset: u64,
    },
    /// The chunk does not start where the upload stands.
    #[error("the upload stands at {offset}")]
    WrongOffset {
        /// Where it stands.
        offset: u64,
    },
    /// The claimed total is not the one that the first claim fixed.
    #[error("the total length is {size} bytes")]
    WrongSize {
        /// The total that stands.
        size: u64,
    },
    /// The chunk reaches beyond the total.
    #[error("the chunk reaches beyond the total length of {size} bytes")]
    BeyondSize {
        /// The total.
        size: u64,
    },
    /// The file is larger than allowed.
    #[error("the file exceeds the limit of {max_bytes} bytes")]
    TooLarge {
        /// The limit in bytes.
        max_bytes: u64,
    },
    /// The chunk is larger than allowed.
    #[error("a request may add {max_bytes} bytes at most")]
    ChunkTooLarge {
        /// The limit in bytes.
        max_bytes: u64,
    },
    /// All uploads of the user together would take more than allowed.
    #[error("{left_bytes} bytes are left to the user")]
    OverQuota {
        /// What is left, in bytes.
        left_bytes: u64,
    },
    /// As many uploads of the user grow as may.
    #[error("{max_uploads} uploads may grow at one time")]
    TooManyUploads {
        /// How many may.
        max_uploads: u64,
    },
    /// The user may not upload content of this type.
    #[error("content of this type may not be uploaded")]
    TypeNotAllowed,
    /// The user's requests come faster than allowed, and this one would begin an upload.
    #[error("too many requests; wait {wait_seconds} seconds")]
    TooManyRequests {
        /// How long.
        wait_seconds: u64,
    },
    /// The user's requests come faster than allowed. The upload stands as it stood.
    #[error("the upload goes on in {wait_seconds} seconds; requests come too fast")]
    SlowDown {
        /// How long.
        wait_seconds: u64,
    },
    /// Another number of bytes arrived than was claimed.
    #[error("the chunk does not have the claimed length")]
    WrongLength,
    /// The content does not have the expected digest.
    #[error("the {algorithm} digest does not match", algorithm = .algorithm.name())]
    WrongDigest {
        /// Which digest was compared.
        algorithm: Algorithm,
    },
    /// A digest was given that this upload does not keep.
    #[error("no {algorithm} digest is kept for this upload", algorithm = .algorithm.name())]
    NoDigest {
        /// Which digest was asked for.
        algorithm: Algorithm,
    },
}

/// What finishing an upload takes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Finish {
    /// It is receiving and has every byte.
    Now,
    /// It was finished before; answer as then.
    Already,
}

/// The smaller of the service's limit and the user's.
pub fn max_bytes(service: Option<u64>, limits: &Limits) -> Option<u64> {
    smaller(service, limits.max_file_bytes)
}

impl Upload {
    /// The state as of `now`: what has expired counts as expired before the reaper has come by.
    pub fn state_at(&self, now: Timestamp) -> State {
        match self.state {
            State::Receiving if now >= self.expires => State::Expired,
            state => state,
        }
    }

    /// May these bytes be appended? Order of the checks: life, claims about the whole, position, length.
    ///
    /// # Errors
    /// The first [`Refusal`] that applies.
    pub fn may_append(&self, claim: &Claim, max_bytes: Option<u64>, now: Timestamp) -> Result<Plan, Refusal> {
        let max_bytes = smaller(self.max_bytes, max_bytes);
        match self.state_at(now) {
            State::Receiving | State::Complete if self.is_joined() => return Err(Refusal::Joined),
            State::Receiving => {}
            State::Complete => return Err(Refusal::Complete),
            State::Cancelled => return Err(Refusal::Cancelled),
            State::Expired => return Err(Refusal::Expired),
        }
        plan(self.offset, self.size, claim, max_bytes)
    }

    /// May the upload be finished, and does `expected` fit what it keeps?
    ///
    /// # Errors
    /// The first [`Refusal`] that applies. The digest itself is compared by the caller, who holds the value.
    pub fn may_finish(&self, expected: Option<&Digest>, now: Timestamp) -> Result<Finish, Refusal> {
        let finish = match self.state_at(now) {
            State::Receiving if self.is_part() => return Err(Refusal::Part),
            State::Receiving => Finish::Now,
            State::Complete => Finish::Already,
            State::Cancelled => return Err(Refusal::Cancelled),
            State::Expired => return Err(Refusal::Expired),
        };
        if self.size != Some(self.offset) {
            return Err(Refusal::Incomplete { offset: self.offset });
        }
        match expected.map(|expected| expected.algorithm) {
            Some(algorithm) if self.digest_algorithm() != Some(algorithm) => Err(Refusal::NoDigest { algorithm }),
            Some(_) | None => Ok(finish),
        }
    }

    /// Do the limits of whoever completes it admit what arrived? They may have changed since it began.
    ///
    /// # Errors
    /// [`Refusal::TooLarge`] or [`Refusal::TypeNotAllowed`]
    pub fn admitted_by(&self, limits: &Limits) -> Result<(), Refusal> {
        if let Some(max_bytes) = limits.max_file_bytes.filter(|most| self.offset > *most) {
            return Err(Refusal::TooLarge { max_bytes });
        }
        limits.admit_type(self.content_type.as_deref())
    }

    /// What it takes of its user's account: its whole length, or what is there while that is not known.
    pub fn takes(&self) -> u64 {
        self.size.unwrap_or(self.offset)
    }

    /// Whether its last byte is there and nobody has completed it yet, though no client will say so.
    pub fn is_to_be_completed(&self, now: Timestamp) -> bool {
        self.completes && self.size == Some(self.offset) && self.state_at(now) == State::Receiving
    }

    /// Whether its digest is the one that its client announced, if one was.
    pub fn is_as_said(&self, sum: Option<&Digest>) -> bool {
        self.expected.as_ref().is_none_or(|expected| sum.is_some_and(|sum| expected.matches(sum)))
    }

    /// Whose it is.
    pub fn owner(&self) -> Owner {
        self.owner.map_or(Owner::Nobody, Owner::User)
    }

    /// Which digest is kept or, once complete, was kept.
    pub fn digest_algorithm(&self) -> Option<Algorithm> {
        let kept = self.digest.as_ref().map(|kept| kept.algorithm);
        kept.or(self.sum.as_ref().map(|sum| sum.algorithm))
    }

    /// May the content be read?
    ///
    /// # Errors
    /// [`Refusal::Incomplete`], [`Refusal::Cancelled`] or [`Refusal::Expired`].
    pub fn may_read(&self, now: Timestamp) -> Result<(), Refusal> {
        match self.state_at(now) {
            State::Complete => Ok(()),
            State::Receiving if self.is_part() => Err(Refusal::Part),
            State::Receiving => Err(Refusal::Incomplete { offset: self.offset }),
            State::Cancelled => Err(Refusal::Cancelled),
            State::Expired => Err(Refusal::Expired),
        }
    }

    /// May the upload be cancelled? Also a complete one: its content is then removed.
    ///
    /// # Errors
    /// [`Refusal::Cancelled`] or [`Refusal::Expired`] if it already ended without content.
    pub fn may_cancel(&self, now: Timestamp) -> Result<(), Refusal> {
        match self.state_at(now) {
            State::Receiving | State::Complete => Ok(()),
            State::Cancelled => Err(Refusal::Cancelled),
            State::Expired => Err(Refusal::Expired),
        }
    }
}

/// May a new upload begin with this chunk?
///
/// # Errors
/// The first [`Refusal`] that applies; a first chunk starts at 0.
pub fn may_begin(claim: &Claim, max_bytes: Option<u64>) -> Result<Plan, Refusal> {
    plan(0, None, claim, max_bytes)
}

fn plan(offset: u64, fixed: Option<u64>, claim: &Claim, max_bytes: Option<u64>) -> Result<Plan, Refusal> {
    let size = match (fixed, claim.size) {
        (Some(fixed), Some(claimed)) if fixed != claimed => return Err(Refusal::WrongSize { size: fixed }),
        (fixed, claimed) => fixed.or(claimed),
    };
    // A total that is named late cannot be less than what is already there.
    if let Some(size) = size.filter(|size| *size < offset) {
        return Err(Refusal::BeyondSize { size });
    }
    let limit = max_bytes.unwrap_or(i64::MAX as u64);
    if size.is_some_and(|size| size > limit) {
        return Err(Refusal::TooLarge { max_bytes: limit });
    }
    let from = match claim.at {
        At::Exactly(at) if at != offset => return Err(Refusal::WrongOffset { offset }),
        At::Exactly(_) | At::Tail => offset,
    };
    let beyond = match size {
        Some(size) => Refusal::BeyondSize { size },
        None => Refusal::TooLarge { max_bytes: limit },
    };
    let room = size.unwrap_or(limit).saturating_sub(from);
    if claim.length.is_some_and(|length| length > room) {
        return Err(beyond);
    }
    let (at_most, beyond) = match claim.length {
        Some(length) => (length, Refusal::WrongLength),
        None => (room, beyond),
    };
    Ok(Plan { from, at_most, beyond, exactly: claim.length, size, last: claim.last })
}

impl Plan {
    /// The same plan, for a chunk of at most `max_bytes`.
    ///
    /// # Errors
    /// [`Refusal::ChunkTooLarge`] if more is claimed.
    pub fn in_chunks_of(self, max_bytes: Option<u64>) -> Result<Self, Refusal> {
        let Some(max_bytes) = max_bytes.filter(|most| self.at_most > *most) else { return Ok(self) };
        let beyond = Refusal::ChunkTooLarge { max_bytes };
        match self.exactly {
            Some(_) => Err(beyond),
            None => Ok(Self { at_most: max_bytes, beyond, ..self }),
        }
    }

    /// The same plan where so many bytes are left to the user, and nobody said how many will come.
    #[must_use]
    pub fn with_room(self, left: Option<u64>) -> Self {
        match left.filter(|left| self.size.is_none() && self.exactly.is_none() && self.at_most > *left) {
            Some(left_bytes) => Self { at_most: left_bytes, beyond: Refusal::OverQuota { left_bytes }, ..self },
            None => self,
        }
    }

    /// Holds the bytes that arrived against the claims; answers with the total length as known from now on.
    ///
    /// # Errors
    /// [`Refusal::WrongLength`], or [`Refusal::WrongSize`] if the upload was to end here and is not at its end.
    pub fn settle(&self, received: u64) -> Result<Option<u64>, Refusal> {
        if self.exactly.is_some_and(|exactly| exactly != received) {
            return Err(Refusal::WrongLength);
        }
        let reached = self.from + received;
        match self.size {
            Some(size) if self.last && reached != size => Err(Refusal::WrongSize { size }),
            None if self.last => Ok(Some(reached)),
            size => Ok(size),
        }
    }
}

#[cfg(test)]
pub(super) mod tests {
    use std::time::Duration;

    use super::*;
    use crate::domain::after;
    use proptest::prelude::*;

    fn claim(at: u64, length: u64, size: u64) -> Claim {
        Claim { at: At::Exactly(at), length: Some(length), size: Some(size), last: false }
    }

    /// An upload of nobody with a minute to go.
    pub(in crate::domain) fn receiving(offset: u64, size: Option<u64>) -> Upload {
        let created = Timestamp::UNIX_EPOCH;
        Upload {
            id: UploadId::new(),
            owner: None,
            filename: String::new(),
            content_type: None,
            state: State::Receiving,
            offset,
            size,
            digest: None,
            expected: None,
            sum: None,
            placement: None,
            tail_start: 0,
            max_bytes: None,
            metadata: None,
            completes: false,
            role: None,
            kept: Kept::default(),
            created,
            updated: created,
            expires: after(created, Duration::from_secs(60)),
            ended: None,
        }
    }

    #[test]
    fn chunks_of_25_bytes() {
        let now = Timestamp::UNIX_EPOCH;
        let upload = receiving(10, Some(25));
        let ask = |claim: Claim| upload.may_append(&claim, Some(25), now).map(|plan| plan.at_most);
        assert_eq!(ask(claim(10, 10, 25)), Ok(10));
        assert_eq!(ask(claim(10, 15, 25)), Ok(15));
        assert_eq!(ask(claim(10, 0, 25)), Ok(0));
        assert_eq!(ask(claim(0, 10, 25)), Err(Refusal::WrongOffset { offset: 10 }));
        assert_eq!(ask(claim(22, 3, 25)), Err(Refusal::WrongOffset { offset: 10 }));
        assert_eq!(ask(claim(10, 10, 99)), Err(Refusal::WrongSize { size: 25 }));
        assert_eq!(ask(claim(10, 16, 25)), Err(Refusal::BeyondSize { size: 25 }));
        assert_eq!(ask(Claim { at: At::Tail, length: None, size: None, last: false }), Ok(15));
        let late = receiving(10, None).may_append(&claim(10, 0, 9), None, now);
        assert_eq!(late, Err(Refusal::BeyondSize { size: 9 }));
    }

    #[test]
    fn the_limit_holds_for_claimed_and_for_unclaimed_lengths() {
        assert_eq!(may_begin(&claim(0, 10, 25), Some(20)), Err(Refusal::TooLarge { max_bytes: 20 }));
        let unclaimed = Claim { at: At::Exactly(0), length: None, size: None, last: true };
        let plan = may_begin(&unclaimed, Some(20)).expect("nothing claimed");
        assert_eq!((plan.at_most, plan.beyond), (20, Refusal::TooLarge { max_bytes: 20 }));
        assert_eq!(plan.settle(7), Ok(Some(7)));
    }

    #[test]
    fn the_limit_that_an_upload_began_under_stays() {
        let upload = Upload { max_bytes: Some(20), ..receiving(10, None) };
        let ask = |size, limit| upload.may_append(&Claim { size, ..claim(10, 10, 0) }, limit, Timestamp::UNIX_EPOCH);
        assert_eq!(ask(None, None).map(|plan| plan.at_most), Ok(10));
        assert_eq!(ask(Some(21), None), Err(Refusal::TooLarge { max_bytes: 20 }));
        assert_eq!(ask(Some(21), Some(99)), Err(Refusal::TooLarge { max_bytes: 20 }));
        assert_eq!(ask(Some(20), Some(19)), Err(Refusal::TooLarge { max_bytes: 19 }));
        let unclaimed = Claim { length: None, size: None, ..claim(10, 0, 0) };
        assert_eq!(upload.may_append(&unclaimed, None, Timestamp::UNIX_EPOCH).map(|plan| plan.at_most), Ok(10));
    }

    #[test]
    fn a_chunk_is_bounded_by_itself() {
        let plan = |length| may_begin(&Claim { length, ..claim(0, 0, 25) }, None).expect("fits");
        assert_eq!(plan(Some(10)).in_chunks_of(Some(10)), Ok(plan(Some(10))));
        assert_eq!(plan(Some(11)).in_chunks_of(Some(10)), Err(Refusal::ChunkTooLarge { max_bytes: 10 }));
        let bounded = plan(None).in_chunks_of(Some(10)).expect("nothing claimed");
        assert_eq!((bounded.at_most, bounded.beyond), (10, Refusal::ChunkTooLarge { max_bytes: 10 }));
        assert_eq!(plan(None).in_chunks_of(None), Ok(plan(None)));
    }

    #[test]
    fn what_is_left_bounds_what_nobody_counted() {
        let unclaimed = Claim { at: At::Exactly(0), length: None, size: None, last: true };
        let plan = may_begin(&unclaimed, Some(20)).expect("nothing claimed");
        let bounded = plan.with_room(Some(10));
        assert_eq!((bounded.at_most, bounded.beyond), (10, Refusal::OverQuota { left_bytes: 10 }));
        assert_eq!((plan.with_room(Some(20)), plan.with_room(None)), (plan, plan));
        let claimed = may_begin(&claim(0, 10, 25), None).expect("fits");
        assert_eq!(claimed.with_room(Some(5)), claimed, "what is claimed is judged as a whole");
    }

    #[test]
    fn what_arrived_is_held_against_the_limits_of_today() {
        let upload = Upload { content_type: Some("text/html".into()), ..receiving(25, Some(25)) };
        let limits = |max_file_bytes, types: Option<&str>| Limits {
            max_file_bytes,
            allowed_content_types: types.map(|one| vec![one.to_owned()]),
            ..Limits::default()
        };
        assert_eq!(upload.admitted_by(&limits(Some(25), Some("text/*"))), Ok(()));
        assert_eq!(upload.admitted_by(&limits(Some(24), None)), Err(Refusal::TooLarge { max_bytes: 24 }));
        assert_eq!(upload.admitted_by(&limits(None, Some("image/*"))), Err(Refusal::TypeNotAllowed));
    }

    #[test]
    fn life_comes_first() {
        let mut upload = receiving(10, Some(25));
        let late = upload.expires;
        let any = claim(3, 3, 3);
        assert_eq!(upload.may_append(&any, None, late), Err(Refusal::Expired));
        assert_eq!(upload.may_finish(None, late), Err(Refusal::Expired));
        assert_eq!(upload.may_cancel(late), Err(Refusal::Expired));
        upload.state = State::Complete;
        assert_eq!(upload.may_append(&any, None, late), Err(Refusal::Complete));
        upload.state = State::Cancelled;
        assert_eq!(upload.may_append(&any, None, late), Err(Refusal::Cancelled));
        assert_eq!(upload.may_read(late), Err(Refusal::Cancelled));
    }

    #[test]
    fn finishing_needs_every_byte_and_the_digest_that_is_kept() {
        let now = Timestamp::UNIX_EPOCH;
        let md5 = Digest::from_hex(Algorithm::Md5, &"00".repeat(16)).expect("16 bytes");
        assert_eq!(receiving(20, Some(25)).may_finish(None, now), Err(Refusal::Incomplete { offset: 20 }));
        assert_eq!(receiving(20, None).may_finish(None, now), Err(Refusal::Incomplete { offset: 20 }));
        let whole = receiving(25, Some(25));
        assert_eq!(whole.may_finish(None, now), Ok(Finish::Now));
        assert_eq!(whole.may_finish(Some(&md5), now), Err(Refusal::NoDigest { algorithm: Algorithm::Md5 }));
    }

    #[test]
    fn settling() {
        let plan = may_begin(&claim(0, 10, 25), None).expect("fits");
        assert_eq!(plan.settle(10), Ok(Some(25)));
        assert_eq!(plan.settle(9), Err(Refusal::WrongLength));
        let upload = receiving(0, Some(25));
        let whole = Claim { at: At::Exactly(0), length: None, size: None, last: true };
        let plan = upload.may_append(&whole, None, Timestamp::UNIX_EPOCH).expect("fits");
        assert_eq!(plan.settle(24), Err(Refusal::WrongSize { size: 25 }));
        assert_eq!(plan.settle(25), Ok(Some(25)));
    }

    proptest! {
        #[test]
        fn an_admitted_chunk_never_leaves_the_file(
            offset in 0u64..100, size in proptest::option::of(0u64..100), at in 0u64..100,
            length in proptest::option::of(0u64..100), claimed in proptest::option::of(0u64..100),
            limit in proptest::option::of(0u64..100), last: bool,
        ) {
            let offset = size.map_or(offset, |size| offset.min(size));
            let claim = Claim { at: At::Exactly(at), length, size: claimed, last };
            if let Ok(plan) = receiving(offset, size).may_append(&claim, limit, Timestamp::UNIX_EPOCH) {
                prop_assert_eq!(plan.from, offset);
                prop_assert!(plan.size.is_none() || size.is_none() || plan.size == size);
                if let Some(size) = plan.size {
                    prop_assert!(plan.from + plan.at_most <= size);
                }
                if let Some(limit) = limit {
                    prop_assert!(plan.from + plan.at_most <= limit.max(offset));
                }
            }
        }
    }
}
