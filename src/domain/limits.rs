//! What an identity server allows a user, and the rules about it.
//!
//! Some limits bound one upload: its length, its chunks, its type, its life. Two bound all uploads of a user together;
//! they are judged where the counting and the deed are one transaction, or two uploads that begin at once would each
//! find room. One bounds the pace of requests.
//!
//! Who continues an upload by a token brings no limits along. What must hold to an upload's end is [`Kept`] with it.

use std::time::Duration;

use super::{Timestamp, after, upload::Refusal};

/// What a request may wait at most for its turn; so many seconds make the minute of `requests_per_minute`.
const MINUTE: Duration = Duration::from_secs(60);
/// When to look again whether one of the user's uploads is over.
const UPLOADS_AGAIN: Duration = Duration::from_secs(10);
/// What a content is whose type nobody named (RFC 9110 §8.3).
const UNNAMED_TYPE: &str = "application/octet-stream";

/// What the identity server allows a user. `None`: no limit beyond the service's own.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Limits {
    /// Largest file, in bytes.
    pub max_file_bytes: Option<u64>,
    /// Most bytes of all uploads together, growing and complete.
    pub max_total_bytes: Option<u64>,
    /// What was left of somebody else's account when the limits were told.
    pub remaining: Option<Remaining>,
    /// Most uploads that grow at one time.
    pub max_concurrent_uploads: Option<u64>,
    /// Most bytes that one request may add.
    pub max_chunk_bytes: Option<u64>,
    /// Most requests a minute that begin, add to or complete an upload.
    pub requests_per_minute: Option<u64>,
    /// Types of content that may be uploaded: `image/png`, `image/*`, `*/*`.
    pub allowed_content_types: Option<Vec<String>>,
    /// Longest life of an upload that is not complete.
    pub upload_ttl: Option<Duration>,
}

/// Bytes that were left at some time. Uploads that began since use them up.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Remaining {
    /// How many.
    pub bytes: u64,
    /// When it was told.
    pub as_of: Timestamp,
}

/// The limits that stay with an upload to its end, whoever continues it.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Kept {
    /// [`Limits::max_total_bytes`]
    pub max_total_bytes: Option<u64>,
    /// [`Limits::max_chunk_bytes`]
    pub max_chunk_bytes: Option<u64>,
    /// [`Limits::requests_per_minute`]
    pub requests_per_minute: Option<u64>,
    /// [`Limits::upload_ttl`], in seconds.
    pub ttl_seconds: Option<u64>,
    /// [`Limits::remaining`]
    pub remaining: Option<Remaining>,
}

/// What the uploads of a user may take together.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Allowance {
    /// [`Limits::max_total_bytes`]
    pub max_total_bytes: Option<u64>,
    /// [`Limits::remaining`]
    pub remaining: Option<Remaining>,
    /// [`Limits::max_concurrent_uploads`]
    pub max_concurrent_uploads: Option<u64>,
}

/// What the uploads of a user take. Of an upload whose length is known, the whole length counts from the beginning, so
/// that what was admitted can be completed.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Usage {
    /// Bytes of those that grow or are complete.
    pub bytes: u64,
    /// Bytes of those among them that began at the time that was asked about, or later.
    pub bytes_since: u64,
    /// How many grow.
    pub receiving: u64,
}

/// The smaller of two limits.
pub fn smaller(one: Option<u64>, other: Option<u64>) -> Option<u64> {
    [one, other].into_iter().flatten().min()
}

impl Limits {
    /// May content of this type be uploaded? Parameters (`; charset=…`) and case do not matter.
    ///
    /// # Errors
    /// [`Refusal::TypeNotAllowed`]
    pub fn admit_type(&self, content_type: Option<&str>) -> Result<(), Refusal> {
        let Some(allowed) = &self.allowed_content_types else { return Ok(()) };
        let named = content_type.unwrap_or(UNNAMED_TYPE);
        let essence = named.split(';').next().unwrap_or_default().trim();
        match allowed.iter().any(|pattern| is_of(essence, pattern)) {
            true => Ok(()),
            false => Err(Refusal::TypeNotAllowed),
        }
    }

    /// What holds for all uploads of the user together.
    pub fn allowance(&self) -> Allowance {
        let Self { max_total_bytes, remaining, max_concurrent_uploads, .. } = *self;
        Allowance { max_total_bytes, remaining, max_concurrent_uploads }
    }

    /// What stays with an upload that begins under these limits. What no table can hold limits nothing.
    pub fn kept(&self) -> Kept {
        Kept {
            max_total_bytes: holdable(self.max_total_bytes),
            max_chunk_bytes: holdable(self.max_chunk_bytes),
            requests_per_minute: holdable(self.requests_per_minute),
            ttl_seconds: holdable(self.upload_ttl.map(|life| life.as_secs())),
            remaining: self.remaining.filter(|rest| holdable(Some(rest.bytes)).is_some()),
        }
    }
}

/// The limit, if a column of 64 bits with sign can hold it.
pub fn holdable(limit: Option<u64>) -> Option<u64> {
    limit.filter(|limit| i64::try_from(*limit).is_ok())
}

fn is_of(essence: &str, pattern: &str) -> bool {
    let ((kind, subtype), (wanted_kind, wanted)) = match (essence.split_once('/'), pattern.trim().split_once('/')) {
        (Some(essence), Some(pattern)) => (essence, pattern),
        _ => return false,
    };
    let fits = |wanted: &str, named: &str| wanted == "*" || wanted.eq_ignore_ascii_case(named);
    fits(wanted_kind, kind) && fits(wanted, subtype)
}

impl Kept {
    /// The smaller of what stays with the upload and what holds for whoever continues it.
    #[must_use]
    pub fn and(self, limits: &Limits) -> Self {
        let now = limits.kept();
        Self {
            max_total_bytes: smaller(self.max_total_bytes, now.max_total_bytes),
            max_chunk_bytes: smaller(self.max_chunk_bytes, now.max_chunk_bytes),
            requests_per_minute: smaller(self.requests_per_minute, now.requests_per_minute),
            ttl_seconds: smaller(self.ttl_seconds, now.ttl_seconds),
            // What is told later may have this upload in it already.
            remaining: self.remaining,
        }
    }

    /// What holds for it and all other uploads of the user together, while it grows.
    pub fn allowance(&self) -> Allowance {
        let Self { max_total_bytes, remaining, .. } = *self;
        Allowance { max_total_bytes, remaining, max_concurrent_uploads: None }
    }

    /// Until when an upload accepts bytes whose life counts from `at`; `service` is the life that the service grants.
    pub fn expires(&self, at: Timestamp, service: Duration) -> Timestamp {
        after(at, self.ttl_seconds.map_or(service, |seconds| service.min(Duration::from_secs(seconds))))
    }
}

impl Allowance {
    /// Whether it bounds nothing, so that nothing need be counted.
    pub fn is_boundless(&self) -> bool {
        *self == Self::default()
    }

    /// From when on [`Usage::bytes_since`] is to be counted.
    pub fn since(&self) -> Timestamp {
        self.remaining.map_or(Timestamp::MAX, |remaining| remaining.as_of)
    }

    /// May another upload begin that takes `bytes`, beside those that are there?
    ///
    /// # Errors
    /// [`Refusal::TooManyUploads`] or [`Refusal::OverQuota`]
    pub fn admit(&self, beside: &Usage, bytes: u64) -> Result<(), Refusal> {
        if let Some(max_uploads) = self.max_concurrent_uploads.filter(|most| beside.receiving >= *most) {
            return Err(Refusal::TooManyUploads { max_uploads });
        }
        self.hold(beside, bytes)
    }

    /// May an upload that is there take `bytes`, beside the others?
    ///
    /// # Errors
    /// [`Refusal::OverQuota`]
    pub fn hold(&self, beside: &Usage, bytes: u64) -> Result<(), Refusal> {
        match self.left(beside) {
            Some(left_bytes) if bytes > left_bytes => Err(Refusal::OverQuota { left_bytes }),
            _ => Ok(()),
        }
    }

    /// How many bytes are left beside those that are there; `None`: nobody counts.
    pub fn left(&self, beside: &Usage) -> Option<u64> {
        let of_total = self.max_total_bytes.map(|most| most.saturating_sub(beside.bytes));
        let of_rest = self.remaining.map(|rest| rest.bytes.saturating_sub(beside.bytes_since));
        smaller(of_total, of_rest)
    }
}

/// May a request go on at `now`? So many may come at once as a minute allows; then one whenever its share of a minute is
/// over. `paid` is until when those before it have used up their shares; the answer is the same with this one.
///
/// # Errors
/// How long to wait.
pub fn pace(paid: Option<Timestamp>, per_minute: u64, now: Timestamp) -> Result<Timestamp, Duration> {
    let Some(share) = MINUTE.checked_div(u32::try_from(per_minute).unwrap_or(u32::MAX)) else { return Err(MINUTE) };
    let paid = after(paid.unwrap_or(now).max(now), share);
    let ahead = Duration::try_from(paid.duration_since(now)).unwrap_or_default();
    match ahead.checked_sub(MINUTE) {
        Some(wait) if !wait.is_zero() => Err(wait),
        _ => Ok(paid),
    }
}

impl Refusal {
    /// When the same request may succeed, of a refusal that passes.
    pub fn retry_after(self) -> Option<Duration> {
        match self {
            Self::TooManyRequests { wait_seconds } | Self::SlowDown { wait_seconds } => {
                Some(Duration::from_secs(wait_seconds))
            }
            Self::TooManyUploads { .. } => Some(UPLOADS_AGAIN),
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const NOW: Timestamp = Timestamp::UNIX_EPOCH;

    #[test]
    fn types() {
        let allowed = Some(["image/*", "video/mp4"].map(str::to_owned).to_vec());
        let limits = Limits { allowed_content_types: allowed, ..Limits::default() };
        for (named, admitted) in [
            (Some("image/png"), true),
            (Some("IMAGE/PNG; q=1"), true),
            (Some("video/mp4"), true),
            (Some("video/mp42"), false),
            (Some("video"), false),
            (Some("text/html;image/png"), false),
            (None, false),
        ] {
            assert_eq!(limits.admit_type(named).is_ok(), admitted, "{named:?}");
        }
        let only = |pattern: &str| Limits { allowed_content_types: Some(vec![pattern.into()]), ..Limits::default() };
        assert_eq!(only("application/octet-stream").admit_type(None), Ok(()));
        assert_eq!(only("*/*").admit_type(Some("a/b")), Ok(()));
        assert_eq!(only("*").admit_type(Some("a/b")), Err(Refusal::TypeNotAllowed));
        let none = Limits { allowed_content_types: Some(Vec::new()), ..Limits::default() };
        assert_eq!(none.admit_type(Some("a/b")), Err(Refusal::TypeNotAllowed));
        assert_eq!(Limits::default().admit_type(None), Ok(()));
    }

    #[test]
    fn all_uploads_together() {
        let remaining = Some(Remaining { bytes: 50, as_of: NOW });
        let allowance = Allowance { max_total_bytes: Some(100), remaining, max_concurrent_uploads: Some(2) };
        let beside = |bytes, bytes_since, receiving| Usage { bytes, bytes_since, receiving };
        assert_eq!(allowance.admit(&beside(50, 0, 1), 50), Ok(()));
        assert_eq!(allowance.admit(&beside(50, 0, 1), 51), Err(Refusal::OverQuota { left_bytes: 50 }));
        assert_eq!(allowance.admit(&beside(50, 20, 1), 31), Err(Refusal::OverQuota { left_bytes: 30 }));
        assert_eq!(allowance.admit(&beside(200, 0, 1), 0), Ok(()), "an empty file takes nothing");
        assert_eq!(allowance.admit(&beside(0, 0, 2), 0), Err(Refusal::TooManyUploads { max_uploads: 2 }));
        assert_eq!(allowance.hold(&beside(0, 0, 2), 50), Ok(()), "one that is there has its place");
        assert!(Limits::default().allowance().is_boundless());
    }

    #[test]
    fn the_shorter_life_holds() {
        let kept = |seconds| Kept { ttl_seconds: seconds, ..Kept::default() };
        let lives = |seconds| kept(seconds).expires(NOW, MINUTE).duration_since(NOW).as_secs();
        assert_eq!((lives(None), lives(Some(10)), lives(Some(100))), (60, 10, 60));
    }

    #[test]
    fn a_minutes_requests_at_once_and_then_one_by_one() {
        let mut paid = None;
        for _ in 0..3 {
            paid = Some(pace(paid, 3, NOW).expect("goes on"));
        }
        assert_eq!(pace(paid, 3, NOW), Err(Duration::from_secs(20)));
        let later = after(NOW, Duration::from_secs(20));
        paid = Some(pace(paid, 3, later).expect("goes on"));
        assert!(pace(paid, 3, later).is_err());
        assert_eq!(pace(None, 0, NOW), Err(MINUTE));
        assert!(pace(None, u64::MAX, NOW).is_ok());
    }

    proptest! {
        #[test]
        fn whoever_waits_as_told_goes_on_and_nobody_exceeds_two_minutes_worth(
            per_minute in 1u64..50, gaps in proptest::collection::vec(0u64..5000, 1..200),
        ) {
            let (mut paid, mut now, mut last_minute) = (None, NOW, Vec::new());
            for gap in gaps {
                now = after(now, Duration::from_millis(gap));
                match pace(paid, per_minute, now) {
                    Ok(next) => {
                        paid = Some(next);
                        last_minute.push(now);
                    }
                    Err(wait) => prop_assert!(pace(paid, per_minute, after(now, wait)).is_ok()),
                }
                last_minute.retain(|at| after(*at, MINUTE) > now);
                prop_assert!(last_minute.len() as u64 <= 2 * per_minute);
            }
        }
    }
}
