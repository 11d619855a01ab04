//! Moments as the wire spells them.

use jiff::tz::Offset;

use crate::domain::Timestamp;

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

/// `Sun, 06 Nov 1994 08:49:37 GMT` (RFC 9110 §5.6.7); what is below a second is cut.
pub fn http_date(at: Timestamp) -> String {
    at.strftime("%a, %d %b %Y %H:%M:%S GMT").to_string()
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
    fn as_http_spells_it() {
        assert_eq!(http_date(at(784_111_777_999_999)), "Sun, 06 Nov 1994 08:49:37 GMT");
    }

    proptest! {
        #[test]
        fn whole_seconds_are_read_as_they_were(seconds in 0i64..4_102_444_800) {
            let moment = at(seconds * 1_000_000);
            prop_assert_eq!(iso_millis(moment).parse::<Timestamp>().ok(), Some(moment));
        }
    }
}
