//! The small grammars of the doors: places of chunks, ranges, file names, digests, times, ids, forms in one line.

use axum::http::{HeaderValue, Uri};

use super::text;
use crate::{
    domain::{
        UploadId, content_digest,
        digest::{Algorithm, Digest},
        names, signing,
    },
    http::{
        form::urlencoded,
        headers::{
            disposition::{Parameters, attachment, file_name},
            forwarded::{Hop, authority, from_the_right, node},
            ranges::{ContentRange, ContentRangeError, Wanted, wanted},
            validators::{if_range_holds, none_match_names},
        },
    },
};

/// The first byte says of what field the rest is the value.
pub fn headers(data: &[u8]) {
    let Some((what, rest)) = data.split_first() else { return };
    let sent = text(rest);
    match what {
        b'c' => content_range(&sent),
        b'r' => range(&sent),
        b'd' => disposition(&sent),
        b'g' => digest(&sent),
        b't' => time(&sent),
        b'i' => id(&sent),
        b'u' => pairs(rest),
        b'e' => conditions(&sent),
        b'f' => forwarded(&sent),
        _ => {}
    }
}

fn number(digits: &str) -> Option<u128> {
    // Longer than any that fits, with or without zeros before it.
    let short = digits.trim_start_matches('0');
    let plain = !digits.is_empty() && digits.bytes().all(|byte| byte.is_ascii_digit());
    plain.then(|| if short.len() > 30 { u128::MAX } else { short.parse().unwrap_or(0) })
}

/// Read exactly when it has the form and its numbers fit; printed, it is read as the same place.
fn content_range(sent: &str) {
    let numbers = || {
        let (range, total) = sent.strip_prefix("bytes ")?.split_once('/')?;
        let (first, last) = range.split_once('-')?;
        Some((number(first)?, number(last)?, number(total)?))
    };
    match (sent.parse::<ContentRange>(), numbers()) {
        (Ok(place), Some((first, last, total))) => {
            assert_eq!(
                (u128::from(place.start), u128::from(place.end), u128::from(place.total)),
                (first, last + 1, total)
            );
            assert!(place.start <= place.end && place.end <= place.total && place.total <= i64::MAX as u64);
            assert_eq!(u128::from(place.length()), last + 1 - first);
            assert_eq!(place.to_string().parse(), Ok(place));
        }
        (Err(ContentRangeError::OutOfBounds), Some((first, last, total))) => {
            let too_large = [first, last, total].into_iter().any(|number| number > i64::MAX as u128);
            assert!(too_large || first > last + 1 || last >= total, "{sent} fits");
        }
        (Err(ContentRangeError::Malformed), None) => {}
        (read, _) => panic!("{sent} is read as {read:?}"),
    }
}

/// A line with the size, then the field. A part lies within the content, and is the one that was asked for.
fn range(sent: &str) {
    let Some((size, sent)) = sent.split_once('\n') else { return };
    let size = size.parse().unwrap_or(10);
    let asked = || {
        let (first, last) = sent.split_once('=')?.1.trim().split_once('-')?;
        Some((number(first), number(last), first.is_empty(), last.is_empty()))
    };
    match (wanted(sent, size), asked()) {
        (Wanted::Whole, _) => {}
        (Wanted::Unsatisfiable, Some((first, last, ..))) => {
            assert!(first.map_or(last == Some(0), |first| first >= size.into()), "{sent} of {size}");
        }
        (Wanted::Part(part), Some((first, last, no_first, no_last))) => {
            assert!(part.start < part.end && part.end <= size, "{sent} of {size}");
            let (start, end, size) = (u128::from(part.start), u128::from(part.end), u128::from(size));
            match (first, last) {
                (Some(first), Some(last)) => assert_eq!((start, end), (first, size.min(last.saturating_add(1)))),
                (Some(first), None) if no_last => assert_eq!((start, end), (first, size)),
                (None, Some(last)) if no_first => assert_eq!((start, end), (size.saturating_sub(last), size)),
                _ => panic!("{sent} of {size}"),
            }
        }
        (wanted, None) => panic!("{sent} is read as {wanted:?}"),
    }
}

/// A name that comes in is shown harmless, and goes out as what it is.
fn disposition(sent: &str) {
    if let Some(name) = file_name(sent) {
        // A byte that is no UTF-8 is replaced by three.
        assert!(!name.is_empty() && name.len() <= 3 * sent.len());
        let shown = names::display_name(&name);
        assert!(shown.len() <= 255 && !shown.contains(|c: char| "/\\".contains(c) || c.is_control()));
        assert_eq!(names::display_name(&shown), shown, "harmless at once");
    }
    let header = attachment(sent);
    let out = header.to_str().expect("visible ASCII").to_owned();
    let parameters =
        Parameters::parse(out.strip_prefix("attachment;").expect("never shown in place")).expect("our own");
    assert_eq!(parameters.extended("filename").as_deref(), Some(sent));
    // A quoted value is read as it was written.
    let quoted = format!("a=\"{}\"; b=c", sent.replace('\\', "\\\\").replace('"', "\\\""));
    let parameters = Parameters::parse(&quoted).expect("well formed");
    assert_eq!((parameters.get("a"), parameters.get("b")), (Some(sent), Some("c")));
}

/// Digests have their length, each algorithm once, and are printed as they were read.
fn digest(sent: &str) {
    let Some(digests) = content_digest::read(sent) else { return };
    let strong = |digest: &Digest| matches!(digest.algorithm, Algorithm::Sha256 | Algorithm::Sha512);
    assert_eq!(content_digest::are_strong(&digests), digests.iter().any(strong));
    for (at, digest) in digests.iter().enumerate() {
        assert_eq!(digest.value.len(), digest.algorithm.length());
        assert!(digests[..at].iter().all(|other| other.algorithm != digest.algorithm), "an algorithm twice");
        assert!(sent.contains(content_digest::registered(digest.algorithm)));
    }
    let printed = digests.iter().map(content_digest::written).collect::<Vec<_>>().join(", ");
    assert!(digests.is_empty() || content_digest::read(&printed) == Some(digests), "{printed}");
}

/// Digits mean themselves; whatever is read can be compared with any window.
fn time(sent: &str) {
    let Some(time) = signing::parse_timestamp(sent) else { return };
    if let Ok(digits) = sent.parse::<i64>() {
        let micros = if sent.len() == 10 { digits * 1_000_000 } else { digits * 1_000 };
        assert_eq!(time.as_microsecond(), micros);
    }
    for now in [jiff::Timestamp::MIN, jiff::Timestamp::UNIX_EPOCH, jiff::Timestamp::MAX] {
        let near = signing::within(std::time::Duration::from_secs(300), time, now);
        assert_eq!(near, (time.as_microsecond() as i128 - now.as_microsecond() as i128).abs() <= 300_000_000);
    }
}

/// An id is 32 hexadecimal digits, in one of two spellings.
fn id(sent: &str) {
    let Ok(id) = sent.parse::<UploadId>() else { return };
    assert_eq!(id.simple(), sent.replace('-', "").to_ascii_lowercase());
    assert!(id.simple() == sent.to_ascii_lowercase() || id.to_string() == sent.to_ascii_lowercase());
}

/// Pairs are read again as they are written.
fn pairs(sent: &[u8]) {
    let pairs = urlencoded(sent);
    let written = form_urlencoded::Serializer::new(String::new()).extend_pairs(&pairs).finish();
    assert_eq!(urlencoded(written.as_bytes()), pairs);
    assert!(pairs.len() <= sent.len() + 1);
}

/// What a proxy adds is read the same, whatever stands before it; what may stand in a URL is its whole authority.
fn forwarded(sent: &str) {
    const OWN: &str = "for=\"[2001:db8::17]:80\";host=up.example";
    let line = format!("{sent},{OWN}");
    assert_eq!(from_the_right(&line).next().map(Hop::parse), Some(Hop::parse(OWN)));
    assert_eq!(from_the_right(&line).map(|element| element.len() + 1).sum::<usize>(), line.len() + 1);
    assert!(from_the_right(sent).map(Hop::parse).all(|hop| hop.host.is_none_or(|host| sent.contains(&host))));
    if let Some(address) = node(sent) {
        assert_eq!(node(&address.to_string()), Some(address));
    }
    if let Some(host) = authority(sent) {
        let url = format!("http://{host}/").parse::<Uri>().expect("a URL");
        assert_eq!(url.authority().map(|known| known.as_str()), Some(&*host));
    }
}

/// A condition holds only for a tag that stands in it.
fn conditions(sent: &str) {
    const TAG: &str = "\"tag\"";
    assert!(!none_match_names(sent, TAG) || sent.contains(TAG) || sent.trim() == "*");
    assert_eq!(if_range_holds(sent, TAG), sent.trim() == TAG);
    let listed = format!("\"a\", W/{TAG}, {sent}");
    assert!(none_match_names(&listed, TAG));
    let _ = HeaderValue::from_str(sent);
}
