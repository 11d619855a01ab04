//! Moments as headers and as the original JSON spell them.

use jiff::{
    fmt::rfc2822::{DateTimeParser, DateTimePrinter},
    tz::Offset,
};

use crate::domain::Timestamp;

/// `Sun, 22 Nov 2026 10:11:32 GMT` (RFC 9110 §5.6.7); the epoch for years that it cannot spell.
pub fn imf_fixdate(at: Timestamp) -> String {
    DateTimePrinter::new()
        .timestamp_to_rfc9110_string(&at)
        .unwrap_or_else(|_| "Thu, 01 Jan 1970 00:00:00 GMT".to_owned())
}

/// Reads an IMF-fixdate; the obsolete forms of RFC 9110 §5.6.7 are no dates to us, and a condition on them is void.
pub fn parse_imf_fixdate(text: &str) -> Option<Timestamp> {
    DateTimeParser::new().parse_timestamp(text).ok().filter(|_| text.ends_with("GMT"))
}

/// `2026-11-23T10:11:32.581Z`, as Django's JSON encoder spells a moment in UTC: milliseconds cut, not rounded, and no
/// fraction at all when the microseconds are 0. django-chunked-upload sends `expires` like this.
pub fn iso_millis(at: Timestamp) -> String {
    let at = Offset::UTC.to_datetime(at);
    let whole = at.strftime("%Y-%m-%dT%H:%M:%S");
    match at.subsec_nanosecond() {
        0..1000 => format!("{whole}Z"),
        nanos => format!("{whole}.{:03}Z", nanos / 1_000_000),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn at(micros: i64) -> Timestamp {
        Timestamp::from_microsecond(micros).expect("in range")
    }

    #[test]
    fn as_django_spells_it() {
        for (micros, text) in [
            (1_795_428_692_581_999, "2026-11-23T10:11:32.581Z"),
            (1_795_428_692_000_999, "2026-11-23T10:11:32.000Z"),
            (1_795_428_692_000_000, "2026-11-23T10:11:32Z"),
            (-1, "1969-12-31T23:59:59.999Z"),
        ] {
            assert_eq!(iso_millis(at(micros)), text);
        }
        assert_eq!(iso_millis(Timestamp::from_nanosecond(999).expect("in range")), "1970-01-01T00:00:00Z");
    }

    #[test]
    fn dates_of_headers() {
        let moment = at(1_795_428_692_581_999);
        assert_eq!(imf_fixdate(moment), "Mon, 23 Nov 2026 10:11:32 GMT");
        assert_eq!(parse_imf_fixdate("Mon, 23 Nov 2026 10:11:32 GMT"), Some(at(1_795_428_692_000_000)));
        for text in ["", "yesterday", "Monday, 23-Nov-26 10:11:32 GMT", "Mon Nov 23 10:11:32 2026"] {
            assert_eq!(parse_imf_fixdate(text), None, "{text}");
        }
        assert!(imf_fixdate(Timestamp::MIN).ends_with("GMT"));
    }

    proptest! {
        #[test]
        fn printed_and_parsed_again(seconds in 0i64..4_102_444_800, text in "\\PC{0,40}") {
            let moment = at(seconds * 1_000_000);
            prop_assert_eq!(parse_imf_fixdate(&imf_fixdate(moment)), Some(moment));
            prop_assert_eq!(iso_millis(moment).parse::<Timestamp>().ok(), Some(moment));
            let _ = parse_imf_fixdate(&text);
        }
    }
}
