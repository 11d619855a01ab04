//! Passwords: hashed by argon2id, off the async threads, few at a time.
//!
//! One hash takes 19 MiB and tens of milliseconds on purpose, so whoever sends passwords in bulk would take the service's
//! memory and processors with them. At most half of the processors hash; the others wait a while and then hear that the
//! password cannot be checked now.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use argon2::{
    Algorithm, Argon2, Params, Version,
    password_hash::{PasswordHasher as _, PasswordVerifier as _, phc::PasswordHash},
};
use tokio::sync::Semaphore;

/// Longest accepted password, in bytes.
pub const MAX_PASSWORD_BYTES: usize = 1024;
/// Least length of a new password, in characters.
pub const MIN_PASSWORD_CHARS: usize = 8;
/// How long a password waits for its turn.
const PATIENCE: Duration = Duration::from_secs(5);

/// A hash of nothing that anybody knows, of the same cost as a true one. What is sent for an unknown user is compared
/// with it, so that the time of the answer does not tell who exists.
pub const DUMMY: &str = "$argon2id$v=19$m=19456,t=2,p=1\
    $Q2h1bmtnYXRlRHVtbXlTYQ$Tm9ib2R5S25vd3NUaGlzUGFzc3dvcmRBbmROb2JvZHk";

/// m = 19 MiB, t = 2, p = 1.
fn argon2() -> Argon2<'static> {
    let params = Params::new(19 * 1024, 2, 1, None).expect("parameters within the algorithm's bounds");
    Argon2::new(Algorithm::Argon2id, Version::V0x13, params)
}

/// Whether the text is a hash of a password that can be compared with.
pub fn is_hash(phc: &str) -> bool {
    PasswordHash::new(phc).is_ok_and(|read| {
        read.algorithm == Algorithm::Argon2id.ident() && read.hash.is_some() && Params::try_from(&read).is_ok()
    })
}

/// Whether a new password will do.
///
/// # Errors
/// What it must be.
pub fn check(password: &str) -> Result<(), String> {
    if password.chars().count() < MIN_PASSWORD_CHARS {
        return Err(format!("the password must have at least {MIN_PASSWORD_CHARS} characters"));
    }
    if password.len() > MAX_PASSWORD_BYTES || password.chars().any(char::is_control) {
        return Err(format!("the password must have at most {MAX_PASSWORD_BYTES} bytes and no control characters"));
    }
    Ok(())
}

/// The PHC string of a password under a fresh salt. Takes its time on the calling thread.
pub fn hash(password: &str) -> String {
    let mut salt = [0; 16];
    rand::fill(&mut salt);
    let hash: PasswordHash =
        argon2().hash_password_with_salt(password.as_bytes(), &salt).expect("a salt and a password of allowed lengths");
    hash.to_string()
}

/// Compares passwords with hashes.
pub struct Hasher {
    seats: Arc<Semaphore>,
    runs: AtomicU64,
}

/// No turn came in time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Overloaded;

impl Default for Hasher {
    fn default() -> Self {
        let processors = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
        Self { seats: Arc::new(Semaphore::new((processors / 2).max(1))), runs: AtomicU64::new(0) }
    }
}

impl Hasher {
    /// How many passwords were hashed so far.
    pub fn runs(&self) -> u64 {
        self.runs.load(Ordering::Relaxed)
    }

    /// Whether the password is the one of the hash. A hash that cannot be read is nobody's.
    ///
    /// # Errors
    /// [`Overloaded`].
    pub async fn verify(&self, password: String, phc: String) -> Result<bool, Overloaded> {
        let seat = tokio::time::timeout(PATIENCE, self.seats.clone().acquire_owned()).await;
        let seat = seat.map_err(|_| Overloaded)?.map_err(|_| Overloaded)?;
        self.runs.fetch_add(1, Ordering::Relaxed);
        let work = move || {
            // The seat is left when the work ends, also if nobody waits for it any more.
            let _seat = seat;
            // In constant time: the crate compares the outputs so. The cost is that of the stored hash.
            argon2().verify_password(password.as_bytes(), phc.as_str()).is_ok()
        };
        tokio::task::spawn_blocking(work).await.map_err(|_| Overloaded)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn only_the_password_is_right() {
        let hasher = Hasher::default();
        let phc = hash("correct horse");
        assert!(phc.starts_with("$argon2id$v=19$m=19456,t=2,p=1$") && phc != hash("correct horse"));
        for (password, phc, right) in [
            ("correct horse", phc.as_str(), true),
            ("correct hors", &phc, false),
            ("", &phc, false),
            ("correct horse", DUMMY, false),
            ("correct horse", "", false),
            ("correct horse", "correct horse", false),
        ] {
            assert_eq!(hasher.verify(password.into(), phc.into()).await, Ok(right), "{password} {phc}");
            assert_eq!(is_hash(phc), phc.starts_with('$'), "{phc}");
        }
        assert_eq!(hasher.runs(), 6);
        let dummy = PasswordHash::new(DUMMY).expect("is read");
        assert_eq!(
            Params::try_from(&dummy).expect("has parameters").m_cost(),
            19 * 1024,
            "costs what a true one costs"
        );
        assert_eq!(dummy.hash.map(|hash| hash.len()), Some(32));
    }

    #[test]
    fn new_passwords() {
        assert!(check("12345678").is_ok());
        assert!(check("1234567").is_err() && check("1234567\n8").is_err() && check(&"a".repeat(1025)).is_err());
    }
}
