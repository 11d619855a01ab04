//! `Content-Range` of a chunk that comes in, `Range` of content that goes out (RFC 9110 §14).

use std::{fmt, ops::Range, str::FromStr};

/// Where a chunk lies: `bytes 0-9/25`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ContentRange {
    /// First byte.
    pub start: u64,
    /// One past the last byte; equal to `start` for an empty chunk, which is spelled `bytes N-(N-1)/T`.
    pub end: u64,
    /// Length of the whole file.
    pub total: u64,
}

/// Why a `Content-Range` is not the place of a chunk.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum ContentRangeError {
    /// Not of the form `bytes N-N/N`.
    #[error("Content-Range is not of the form bytes FIRST-LAST/TOTAL")]
    Malformed,
    /// The numbers contradict each other, or are larger than any file.
    #[error("Content-Range names bytes that cannot be in the file")]
    OutOfBounds,
}

impl ContentRange {
    /// Bytes in the chunk.
    pub fn length(&self) -> u64 {
        self.end - self.start
    }
}

/// The grammar of django-chunked-upload, `^bytes (\d+)-(\d+)/(\d+)$`: no other unit, no `*`, no blanks.
impl FromStr for ContentRange {
    type Err = ContentRangeError;

    fn from_str(text: &str) -> Result<Self, ContentRangeError> {
        use ContentRangeError::{Malformed, OutOfBounds};
        let (range, total) = text.strip_prefix("bytes ").and_then(|rest| rest.split_once('/')).ok_or(Malformed)?;
        let (first, last) = range.split_once('-').ok_or(Malformed)?;
        if ![first, last, total].into_iter().all(is_number) {
            return Err(Malformed);
        }
        let number = |digits: &str| digits.parse::<i64>().map(i64::unsigned_abs).map_err(|_| OutOfBounds);
        let (start, last, total) = (number(first)?, number(last)?, number(total)?);
        let end = last + 1;
        if start > end || end > total { Err(OutOfBounds) } else { Ok(Self { start, end, total }) }
    }
}

/// As it is parsed. An empty chunk at 0 has no spelling; none is sent.
impl fmt::Display for ContentRange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "bytes {}-{}/{}", self.start, self.end.saturating_sub(1), self.total)
    }
}

/// What a `Range` asks for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Wanted {
    /// Everything: 200. Also the answer to several ranges, other units and nonsense, as RFC 9110 §14.2 allows.
    Whole,
    /// These bytes: 206.
    Part(Range<u64>),
    /// Bytes that are not there: 416.
    Unsatisfiable,
}

/// What `header` asks of a representation of `size` bytes.
pub fn wanted(header: &str, size: u64) -> Wanted {
    let range = header.split_once('=').filter(|(unit, _)| unit.trim().eq_ignore_ascii_case("bytes"));
    match range.and_then(|(_, range)| range.trim().split_once('-')) {
        Some(("", suffix)) if is_number(suffix) => tail(saturated(suffix), size),
        Some((first, "")) if is_number(first) => part(saturated(first), u64::MAX, size),
        Some((first, last)) if is_number(first) && is_number(last) => part(saturated(first), saturated(last), size),
        _ => Wanted::Whole,
    }
}

fn part(first: u64, last: u64, size: u64) -> Wanted {
    match (first <= last, first < size) {
        (false, _) => Wanted::Whole,
        (true, false) => Wanted::Unsatisfiable,
        (true, true) => Wanted::Part(first..last.saturating_add(1).min(size)),
    }
}

fn tail(length: u64, size: u64) -> Wanted {
    match (length, size) {
        (0, _) => Wanted::Unsatisfiable,
        (_, 0) => Wanted::Whole,
        (length, size) => Wanted::Part(size.saturating_sub(length)..size),
    }
}

fn is_number(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit())
}

fn saturated(digits: &str) -> u64 {
    digits.parse().unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn places_of_chunks() {
        use ContentRangeError::{Malformed, OutOfBounds};
        let ok = |start, end, total| Ok(ContentRange { start, end, total });
        for (text, place) in [
            ("bytes 0-9/25", ok(0, 10, 25)),
            ("bytes 20-24/25", ok(20, 25, 25)),
            ("bytes 20-19/25", ok(20, 20, 25)),
            ("bytes 25-24/25", ok(25, 25, 25)),
            ("bytes 00-009/25", ok(0, 10, 25)),
            ("bytes 0-0/1", ok(0, 1, 1)),
            ("bytes 0--1/0", Err(Malformed)),
            ("bytes 0-9/*", Err(Malformed)),
            ("bytes */25", Err(Malformed)),
            ("bytes=0-9/25", Err(Malformed)),
            ("Bytes 0-9/25", Err(Malformed)),
            ("bytes  0-9/25", Err(Malformed)),
            ("bytes 0-9/25 ", Err(Malformed)),
            ("bytes +0-9/25", Err(Malformed)),
            ("bytes 0-9/٢٥", Err(Malformed)),
            ("", Err(Malformed)),
            ("bytes 9-7/25", Err(OutOfBounds)),
            ("bytes 0-25/25", Err(OutOfBounds)),
            ("bytes 26-25/25", Err(OutOfBounds)),
            ("bytes 0-0/0", Err(OutOfBounds)),
            ("bytes 0-9/9223372036854775808", Err(OutOfBounds)),
            ("bytes 0-9223372036854775807/9223372036854775807", Err(OutOfBounds)),
            ("bytes 0-9/99999999999999999999999999", Err(OutOfBounds)),
        ] {
            assert_eq!(text.parse::<ContentRange>(), place, "{text}");
        }
    }

    #[test]
    fn what_a_download_asks_for() {
        for (header, size, answer) in [
            ("bytes=0-9", 25, Wanted::Part(0..10)),
            ("bytes=20-", 25, Wanted::Part(20..25)),
            ("bytes=-5", 25, Wanted::Part(20..25)),
            ("bytes=-50", 25, Wanted::Part(0..25)),
            ("bytes=20-99999999999999999999999", 25, Wanted::Part(20..25)),
            ("Bytes = 0-9", 25, Wanted::Part(0..10)),
            ("bytes=25-", 25, Wanted::Unsatisfiable),
            ("bytes=-0", 25, Wanted::Unsatisfiable),
            ("bytes=0-", 0, Wanted::Unsatisfiable),
            ("bytes=-5", 0, Wanted::Whole),
            ("bytes=9-7", 25, Wanted::Whole),
            ("bytes=0-9,20-24", 25, Wanted::Whole),
            ("bytes=-", 25, Wanted::Whole),
            ("lines=0-9", 25, Wanted::Whole),
            ("bytes", 25, Wanted::Whole),
        ] {
            assert_eq!(wanted(header, size), answer, "{header} of {size}");
        }
    }

    proptest! {
        #[test]
        fn printed_and_parsed_again(start in 0u64..1 << 62, length in 1u64..1 << 40, rest in 0u64..1 << 40) {
            let place = ContentRange { start, end: start + length, total: start + length + rest };
            prop_assert_eq!(place.to_string().parse(), Ok(place));
        }

        #[test]
        fn never_panics(text in "(bytes[ =])?[0-9*,/ -]{0,50}|\\PC{0,40}", size: u64) {
            let _ = text.parse::<ContentRange>();
            if let Wanted::Part(range) = wanted(&text, size) {
                prop_assert!(range.start < range.end && range.end <= size);
            }
        }
    }
}
