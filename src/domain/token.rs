//! Upload tokens: what one says, and its text.
//!
//! `cgu1_` and 124 characters of base64url: which key signed it, which upload it reaches, for whom and for which deeds,
//! under which epoch of the user, since when and until when; then the HMAC-SHA256 of all that under a key of the service.
//! Nothing in it is secret but the MAC: who holds the text holds the right.
//!
//! There is exactly one text for one token. Reading one takes two steps, because which key to verify with stands in the
//! text: [`Sealed::parse`] knows the form and believes nothing, [`Sealed::open`] verifies and only then tells.

use std::{fmt, time::Duration};

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD as BASE64URL};
use hmac::{Hmac, KeyInit as _, Mac as _};
use sha2::Sha256;
use uuid::Uuid;

use super::{
    Timestamp, UploadId, UserId, after,
    principal::{Owner, Principal, Scope, Scopes},
    ring::TokenKey,
    upload::{State, Upload},
};

/// The longest that a token may be good for, whatever is set: a key that signs no more is kept that long.
pub const LONGEST_LIFE: Duration = Duration::from_secs(24 * 60 * 60);

const PREFIX: &str = "cgu1_";
/// Precedes what is signed, and nothing else that the service signs.
const CONTEXT: &[u8] = b"chunkgate upload token 1\0";
const MAC_BYTES: usize = 32;
/// Key 4, upload 16, owned and scopes 1, user 16, epoch 8, issued 8, expires 8.
const CLAIM_BYTES: usize = 61;
/// In the byte of the scopes: the upload belongs to a user.
const OWNED: u8 = 0x80;

/// What a token says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Token {
    /// The one upload that it reaches.
    pub upload: UploadId,
    /// Whose upload it is.
    pub owner: Owner,
    /// What it is good for.
    pub scopes: Scopes,
    /// The owner's epoch when it was made; 0 for nobody.
    pub epoch: u64,
    /// When it was made.
    pub issued: Timestamp,
    /// From when on it is good for nothing.
    pub expires: Timestamp,
}

/// The text of a token that nobody has verified.
#[derive(Clone, Copy)]
pub struct Sealed {
    claim: [u8; CLAIM_BYTES],
    mac: [u8; MAC_BYTES],
}

/// The key's number only.
impl fmt::Debug for Sealed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Sealed").field("key", &self.key()).finish_non_exhaustive()
    }
}

impl Token {
    /// The token that goes with the answer to a write of `by` to `upload`. `None`: none is due.
    ///
    /// Whoever brought another proof gets one each time; whoever brought a token gets the next one past half of its life.
    /// None lives longer than its upload takes bytes, and none is for more than the proof was.
    pub fn due(by: &Principal, upload: &Upload, life: Duration, now: Timestamp) -> Option<Self> {
        let token = Self {
            upload: upload.id,
            owner: by.owner(),
            scopes: by.scopes.without(Scope::Create).without(Scope::Admin),
            epoch: by.user.as_ref().map_or(0, |user| user.epoch),
            issued: now,
            expires: after(now, life.min(LONGEST_LIFE)).min(upload.expires),
        };
        let late = by.token.is_none_or(|old| old.is_past_half(now) && old.expires < token.expires);
        let of_use = upload.state_at(now) == State::Receiving && token.scopes != Scopes::NONE;
        (late && of_use).then_some(token)
    }

    /// The token's text, signed with `key`.
    pub fn seal(&self, key: &TokenKey) -> String {
        let mut bytes = [0; CLAIM_BYTES + MAC_BYTES];
        let (claim, mac) = bytes.split_at_mut(CLAIM_BYTES);
        claim.copy_from_slice(&self.claim(key.number));
        mac.copy_from_slice(&mac_of(key, claim).finalize().into_bytes());
        format!("{PREFIX}{}", BASE64URL.encode(bytes))
    }

    /// Whether half of its life is over.
    fn is_past_half(&self, now: Timestamp) -> bool {
        let half = self.expires.as_microsecond().saturating_sub(self.issued.as_microsecond()) / 2;
        now.as_microsecond() >= self.issued.as_microsecond().saturating_add(half)
    }

    fn claim(&self, key: u32) -> Vec<u8> {
        let (owned, user) = match self.owner {
            Owner::User(id) => (OWNED, id.0),
            Owner::Nobody => (0, Uuid::nil()),
        };
        let times = [self.issued, self.expires].map(|time| time.as_microsecond().to_be_bytes());
        let parts: [&[u8]; 7] = [
            &key.to_be_bytes(),
            self.upload.0.as_bytes(),
            &[owned | self.scopes.bits()],
            user.as_bytes(),
            &self.epoch.to_be_bytes(),
            &times[0],
            &times[1],
        ];
        parts.concat()
    }

    /// Reads a verified claim. `None`: it says nothing that this version would sign.
    fn read(claim: &[u8; CLAIM_BYTES]) -> Option<Self> {
        let (_, rest) = claim.split_first_chunk::<4>()?;
        let (upload, rest) = rest.split_first_chunk::<16>()?;
        let ([flags], rest) = rest.split_first_chunk::<1>()?;
        let (user, rest) = rest.split_first_chunk::<16>()?;
        let (epoch, rest) = rest.split_first_chunk::<8>()?;
        let (issued, rest) = rest.split_first_chunk::<8>()?;
        let (expires, _) = rest.split_first_chunk::<8>()?;
        let time = |bytes: &[u8; 8]| Timestamp::from_microsecond(i64::from_be_bytes(*bytes)).ok();
        let owner = match (flags & OWNED, Uuid::from_bytes(*user)) {
            (OWNED, id) => Owner::User(UserId(id)),
            (_, id) if id.is_nil() => Owner::Nobody,
            _ => return None,
        };
        let token = Self {
            upload: UploadId(Uuid::from_bytes(*upload)),
            owner,
            scopes: Scopes::of_bits(flags & !OWNED)?,
            epoch: u64::from_be_bytes(*epoch),
            issued: time(issued)?,
            expires: time(expires)?,
        };
        (token.expires <= after(token.issued, LONGEST_LIFE)).then_some(token)
    }
}

impl Sealed {
    /// Reads the form. `None`: it is no token.
    pub fn parse(text: &str) -> Option<Self> {
        let bytes = BASE64URL.decode(text.strip_prefix(PREFIX)?).ok()?;
        let bytes: [u8; CLAIM_BYTES + MAC_BYTES] = bytes.try_into().ok()?;
        let (claim, mac) = bytes.split_first_chunk::<CLAIM_BYTES>()?;
        Some(Self { claim: *claim, mac: mac.try_into().ok()? })
    }

    /// The number of the key that it claims to be signed with.
    pub fn key(&self) -> u32 {
        let [a, b, c, d, ..] = self.claim;
        u32::from_be_bytes([a, b, c, d])
    }

    /// What it says, if `key` signed it. Verifies in constant time.
    pub fn open(&self, key: &TokenKey) -> Option<Token> {
        if self.key() != key.number {
            return None;
        }
        mac_of(key, &self.claim).verify_slice(&self.mac).ok()?;
        Token::read(&self.claim)
    }
}

fn mac_of(key: &TokenKey, claim: &[u8]) -> Hmac<Sha256> {
    let mac = Hmac::<Sha256>::new_from_slice(&key.secret).expect("HMAC takes a key of any length");
    mac.chain_update(CONTEXT).chain_update(claim)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::{principal::Scope, signing, upload::tests::receiving};
    use proptest::prelude::*;

    fn key(number: u32) -> TokenKey {
        TokenKey { number, secret: [7; 32], signs_from: Timestamp::UNIX_EPOCH }
    }

    fn token() -> Token {
        let issued = Timestamp::from_second(1_700_000_000).expect("a time");
        Token {
            upload: UploadId::new(),
            owner: Owner::User(UserId::new()),
            scopes: [Scope::Read, Scope::Write].into_iter().collect(),
            epoch: 3,
            issued,
            expires: after(issued, Duration::from_secs(3600)),
        }
    }

    fn any_token() -> impl Strategy<Value = Token> {
        let life = 0..=LONGEST_LIFE.as_micros() as i64;
        (0u8..16, any::<bool>(), any::<u64>(), 0i64..4_000_000_000_000_000, life).prop_map(
            |(scopes, owned, epoch, issued, life)| Token {
                upload: UploadId::new(),
                owner: if owned { Owner::User(UserId::new()) } else { Owner::Nobody },
                scopes: Scopes::of_bits(scopes).expect("four bits"),
                epoch,
                issued: Timestamp::from_microsecond(issued).expect("a time"),
                expires: Timestamp::from_microsecond(issued + life).expect("a time"),
            },
        )
    }

    #[test]
    fn a_text_fits_everywhere() {
        let text = token().seal(&key(1));
        assert_eq!(text.len(), PREFIX.len() + 124);
        assert!(text.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_".contains(&byte)), "{text}");
        assert!(!format!("{:?}", Sealed::parse(&text)).contains(&text[40..80]));
    }

    #[test]
    fn another_key_or_another_number_does_not_open_it() {
        let sealed = Sealed::parse(&token().seal(&key(1))).expect("a token");
        assert!(sealed.open(&key(1)).is_some());
        assert_eq!(sealed.open(&key(2)), None);
        assert_eq!(sealed.open(&TokenKey { secret: [8; 32], ..key(1) }), None);
    }

    #[test]
    fn nothing_else_that_is_signed_is_a_token() {
        let claim = token().claim(1);
        let plain = signing::sign_v1(&key(1).secret, &String::from_utf8_lossy(&claim));
        let mac = crate::domain::unhex(&plain).expect("hexadecimal");
        let text = format!("{PREFIX}{}", BASE64URL.encode([claim, mac].concat()));
        assert_eq!(Sealed::parse(&text).expect("the form").open(&key(1)), None);
    }

    #[test]
    fn a_token_that_lives_too_long_is_none() {
        let long = Token { expires: after(token().issued, LONGEST_LIFE + Duration::from_secs(1)), ..token() };
        assert_eq!(Sealed::parse(&long.seal(&key(1))).expect("the form").open(&key(1)), None);
    }

    #[test]
    fn half_a_life() {
        let token = token();
        let at = |seconds| after(token.issued, Duration::from_secs(seconds));
        assert!(!token.is_past_half(at(1799)) && token.is_past_half(at(1800)) && token.is_past_half(at(9999)));
    }

    fn upload(expires: u64) -> Upload {
        let created = token().issued;
        let expires = after(created, Duration::from_secs(expires));
        Upload { created, updated: created, expires, ..receiving(0, None) }
    }

    #[test]
    fn a_token_is_for_less_than_the_proof_and_for_no_longer_than_the_upload() {
        let (life, now) = (Duration::from_secs(3600), token().issued);
        let nobody = Principal::anonymous();
        let short = Token::due(&nobody, &upload(600), life, now).expect("due");
        assert_eq!((short.owner, short.expires), (Owner::Nobody, after(now, Duration::from_secs(600))));
        assert!(!short.scopes.contain(Scope::Create) && short.scopes.contain(Scope::Delete));
        let narrow = |scope| Principal { scopes: [scope].into_iter().collect(), ..Principal::anonymous() };
        let scopes = |by: &Principal| Token::due(by, &upload(600), life, now).map(|token| token.scopes.names());
        assert_eq!(scopes(&narrow(Scope::Write)), Some(vec!["upload:write"]));
        assert_eq!(scopes(&narrow(Scope::Create)), None, "it would be good for nothing");
        let over = Upload { state: State::Complete, ..upload(600) };
        assert_eq!(Token::due(&nobody, &over, life, now), None);
        assert_eq!(Token::due(&nobody, &upload(0), life, now), None);
    }

    proptest! {
        #[test]
        fn what_is_printed_is_read(token in any_token(), number: u32) {
            let sealed = Sealed::parse(&token.seal(&key(number)));
            prop_assert_eq!(sealed.map(|sealed| sealed.key()), Some(number));
            prop_assert_eq!(sealed.and_then(|sealed| sealed.open(&key(number))), Some(token));
        }

        #[test]
        fn any_changed_bit_is_refused(token in any_token(), at: prop::sample::Index, bit in 0u8..8) {
            let mut text = token.seal(&key(1)).into_bytes();
            text[at.index(PREFIX.len() + 124)] ^= 1 << bit;
            let text = String::from_utf8_lossy(&text);
            prop_assert_eq!(Sealed::parse(&text).and_then(|sealed| sealed.open(&key(1))), None);
        }

        #[test]
        fn a_longer_or_shorter_text_is_refused(token in any_token(), cut in 0usize..129, more in "[A-Za-z0-9_=-]{1,4}") {
            let text = token.seal(&key(1));
            prop_assert!(Sealed::parse(&text[..cut]).is_none());
            prop_assert!(Sealed::parse(&(text + &more)).is_none());
        }

        #[test]
        fn nothing_panics(text in "\\PC{0,200}", shaped in "cgu1_[A-Za-z0-9_-]{124}") {
            for text in [text, shaped] {
                let opened = Sealed::parse(&text).and_then(|sealed| sealed.open(&key(sealed.key())));
                prop_assert_eq!(opened, None);
            }
        }
    }
}
