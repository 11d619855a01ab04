//! Upload tokens: their text, and what it says.

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD as BASE64URL};
use hmac::{Hmac, KeyInit as _, Mac as _};
use sha2::Sha256;

use super::text;
use crate::domain::{
    Timestamp, after, hex,
    principal::Owner,
    ring::{Ring, TokenKey},
    token::{LONGEST_LIFE, Sealed, Token},
};

const CLAIM_BYTES: usize = 61;

/// `c`, a claim of 61 bytes, a place and a byte: the claim is signed as the service would, and one byte of its text
/// changed. Anything else and the rest: the text as it is.
///
/// Whatever opens was signed with a key of the ring, says what its bytes say, and is printed as the very same text; a
/// signed claim opens if, and only if, it is one that the service would sign; a changed text never opens.
pub fn upload_token(data: &[u8]) {
    match data.split_first() {
        Some((b'c', rest)) => claimed(rest),
        Some((_, rest)) => assert!(open(&text(rest)).is_none(), "nobody signed this"),
        None => {}
    }
}

fn ring() -> Ring {
    let key = |number| TokenKey { number, secret: [number as u8; 32], signs_from: Timestamp::UNIX_EPOCH };
    Ring::new((1..=3).map(key).collect())
}

/// As the service does: the key by the number in the text.
fn open(text: &str) -> Option<Token> {
    let (ring, sealed) = (ring(), Sealed::parse(text)?);
    let token = sealed.open(ring.key(sealed.key())?)?;
    assert_eq!(token.seal(ring.key(sealed.key())?), text, "two texts for one token");
    Some(token)
}

fn claimed(data: &[u8]) {
    let Some((claim, change)) = data.split_first_chunk::<CLAIM_BYTES>() else { return };
    let number = u32::from_be_bytes(*claim.first_chunk().expect("four bytes"));
    let sealed = sealed(claim, &ring().key(number).map_or([0; 32], |key| key.secret));
    match (open(&sealed), would_be_signed(claim)) {
        (Some(token), true) => says(&token, claim),
        (None, false) => {}
        (opened, _) => panic!("{opened:?} of {claim:?}"),
    }
    let (Some(at), Some(byte)) = (change.first(), change.get(1)) else { return };
    let mut changed = sealed.clone().into_bytes();
    let at = usize::from(*at) % changed.len();
    changed[at] = *byte;
    let changed = text(&changed);
    assert!(changed == sealed || open(&changed).is_none(), "a changed text opens");
}

/// The text of a claim, by what `domain::token` says of it.
fn sealed(claim: &[u8], secret: &[u8; 32]) -> String {
    let mac = Hmac::<Sha256>::new_from_slice(secret).expect("HMAC takes a key of any length");
    let mac = mac.chain_update(b"chunkgate upload token 1\0").chain_update(claim).finalize().into_bytes();
    format!("cgu1_{}", BASE64URL.encode([claim, &mac[..]].concat()))
}

fn time(bytes: &[u8]) -> Option<Timestamp> {
    Timestamp::from_microsecond(i64::from_be_bytes(bytes.try_into().ok()?)).ok()
}

/// Key 0..4, upload 4..20, flags 20, user 21..37, epoch 37..45, issued 45..53, expires 53..61.
fn would_be_signed(claim: &[u8; CLAIM_BYTES]) -> bool {
    let flags = claim[20];
    let known_scopes = flags & 0x70 == 0;
    let owned_or_nobody = flags & 0x80 != 0 || claim[21..37].iter().all(|byte| *byte == 0);
    let (Some(issued), Some(expires)) = (time(&claim[45..53]), time(&claim[53..61])) else { return false };
    let known_key = claim[..3] == [0; 3] && (1..=3).contains(&claim[3]);
    known_key && known_scopes && owned_or_nobody && expires <= after(issued, LONGEST_LIFE)
}

fn says(token: &Token, claim: &[u8; CLAIM_BYTES]) {
    assert_eq!(token.upload.simple(), hex(&claim[4..20]));
    match token.owner {
        Owner::User(id) => assert_eq!((claim[20] & 0x80, id.simple()), (0x80, hex(&claim[21..37]))),
        Owner::Nobody => assert_eq!(claim[20] & 0x80, 0),
    }
    assert_eq!(token.scopes.bits(), claim[20] & 0x0f);
    assert_eq!(token.epoch.to_be_bytes(), claim[37..45]);
    assert_eq!((Some(token.issued), Some(token.expires)), (time(&claim[45..53]), time(&claim[53..61])));
}
