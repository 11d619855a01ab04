//! The signature scheme of the clients, version 1: form, time window, and the HMAC itself.
//!
//! `signature = lower-case hex HMAC-SHA256(key = secret, message = timestamp exactly as sent)`. The service checks form
//! and window and never holds a secret; the reference identity server and the command line client sign and verify.

use std::time::Duration;

use hmac::{Hmac, KeyInit as _, Mac as _};
use sha2::Sha256;

use super::Timestamp;

/// Longest accepted `api_key`, in bytes.
pub const MAX_API_KEY_BYTES: usize = 256;
/// Longest accepted timestamp, in bytes.
pub const MAX_TIMESTAMP_BYTES: usize = 40;
/// Accepted lengths of a signature, in bytes of its text.
pub const SIGNATURE_BYTES: std::ops::RangeInclusive<usize> = 16..=512;

/// Signs a timestamp: lower-case hexadecimal.
pub fn sign_v1(secret: &[u8], timestamp: &str) -> String {
    super::hex(&mac(secret, timestamp).finalize().into_bytes())
}

/// Verifies in constant time. A signature that is not hexadecimal is wrong.
pub fn verify_v1(secret: &[u8], timestamp: &str, signature: &str) -> bool {
    super::unhex(signature).is_some_and(|value| mac(secret, timestamp).verify_slice(&value).is_ok())
}

/// A keyed hash under way.
pub(super) type HmacSha256 = Hmac<Sha256>;

pub(super) fn mac(secret: &[u8], message: &str) -> HmacSha256 {
    HmacSha256::new_from_slice(secret).expect("HMAC takes a key of any length").chain_update(message.as_bytes())
}

/// Whether the text has the form of an api_key: 1 to 256 visible ASCII characters.
pub fn is_api_key(text: &str) -> bool {
    (1..=MAX_API_KEY_BYTES).contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_graphic())
}

/// Whether the text has the form of a signature: 16 to 512 characters of hexadecimal, base64 or base64url.
pub fn is_signature(text: &str) -> bool {
    SIGNATURE_BYTES.contains(&text.len())
        && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"+/-_=".contains(&byte))
}

/// Reads a signed timestamp: 10 digits are seconds since the Unix epoch, 13 digits milliseconds, anything else RFC 3339.
pub fn parse_timestamp(text: &str) -> Option<Timestamp> {
    if text.len() > MAX_TIMESTAMP_BYTES {
        return None;
    }
    let digits = text.bytes().all(|byte| byte.is_ascii_digit());
    match (digits, text.len()) {
        (true, 10) => Timestamp::from_second(text.parse().ok()?).ok(),
        (true, 13) => Timestamp::from_millisecond(text.parse().ok()?).ok(),
        (true, _) => None,
        (false, _) => text.parse().ok(),
    }
}

/// Whether `signed` lies within `window` of `now`, on either side, both ends included.
pub fn within(window: Duration, signed: Timestamp, now: Timestamp) -> bool {
    let apart = now.as_microsecond().abs_diff(signed.as_microsecond());
    u128::from(apart) <= window.as_micros()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const SECRET: &[u8] = b"demo-secret";

    #[test]
    fn known_value() {
        // printf 1700000000 | openssl dgst -sha256 -hmac demo-secret
        assert_eq!(sign_v1(SECRET, "1700000000"), "e79878a0dfdf6c69a40c41dd4c202e09480e0d8e94c2aab57dbba4c78ee20c46");
    }

    #[test]
    fn timestamps_in_three_spellings() {
        let expected = Timestamp::from_second(1_700_000_000).ok();
        for text in ["1700000000", "1700000000000", "2023-11-14T22:13:20Z", "2023-11-14T23:13:20+01:00"] {
            assert_eq!(parse_timestamp(text), expected, "{text}");
        }
        for text in ["", "now", "170000000", "17000000000", "-170000000", "2023-11-14", "1700000000 ", &"9".repeat(41)]
        {
            assert_eq!(parse_timestamp(text), None, "{text}");
        }
    }

    #[test]
    fn the_window_is_closed_on_both_sides() {
        let window = Duration::from_secs(300);
        let now = Timestamp::from_second(1_700_000_000).expect("valid");
        let at = |seconds: i64, micros: i64| {
            Timestamp::from_microsecond((1_700_000_000 + seconds) * 1_000_000 + micros).expect("valid")
        };
        assert!(within(window, at(-300, 0), now));
        assert!(within(window, at(300, 0), now));
        assert!(!within(window, at(-300, -1), now));
        assert!(!within(window, at(300, 1), now));
        assert!(!within(window, Timestamp::MIN, Timestamp::MAX));
    }

    #[test]
    fn forms() {
        assert!(is_api_key("demo-key") && !is_api_key("") && !is_api_key("a b") && !is_api_key("é"));
        assert!(!is_api_key(&"k".repeat(257)));
        assert!(is_signature(&"a0".repeat(32)) && !is_signature("short") && !is_signature(&"a\n".repeat(32)));
    }

    proptest! {
        #[test]
        fn any_changed_byte_is_refused(secret in ".{0,40}", timestamp in "[0-9]{10}", at in 0usize..64, to in "[0-9a-f]") {
            let signature = sign_v1(secret.as_bytes(), &timestamp);
            prop_assert!(verify_v1(secret.as_bytes(), &timestamp, &signature));
            let mut tampered = signature.clone();
            tampered.replace_range(at..=at, &to);
            prop_assert_eq!(verify_v1(secret.as_bytes(), &timestamp, &tampered), tampered == signature);
        }

        #[test]
        fn no_timestamp_panics(text in "\\PC{0,60}") {
            let _ = parse_timestamp(&text);
        }
    }
}
