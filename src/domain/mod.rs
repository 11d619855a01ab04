//! Ground: plain data and pure rules.
//!
//! Nothing here performs I/O, awaits, or knows a protocol or a database. Time and randomness are passed in, so every
//! rule can be tested with a table of values.

pub mod concat;
pub mod content_digest;
pub mod creation;
pub mod digest;
pub mod events;
pub mod keys;
pub mod limits;
pub mod message_signature;
pub mod names;
pub mod operators;
pub mod principal;
pub mod profile;
pub mod realms;
pub mod revalidation;
pub mod ring;
pub mod signing;
pub mod token;
pub mod units;
pub mod upload;

use std::{fmt, str::FromStr};

use uuid::Uuid;

/// A moment in UTC. Stored in the database as microseconds since the Unix epoch.
pub use jiff::Timestamp;

/// Where time comes from. The service reads [`SystemClock`]; tests pass a clock they can advance.
pub trait Clock: Send + Sync + 'static {
    /// The current moment.
    fn now(&self) -> Timestamp;
}

/// The wall clock of the machine, cut to whole microseconds: the precision both databases keep.
#[derive(Debug, Clone, Copy, Default)]
pub struct SystemClock;

impl Clock for SystemClock {
    #[expect(clippy::disallowed_methods, reason = "the one place where the machine's time enters")]
    fn now(&self) -> Timestamp {
        let micros = Timestamp::now().as_microsecond();
        Timestamp::from_microsecond(micros).unwrap_or(Timestamp::UNIX_EPOCH)
    }
}

/// `at` moved by `life`; saturates at the end of representable time instead of overflowing.
pub fn after(at: Timestamp, life: std::time::Duration) -> Timestamp {
    at.checked_add(life).unwrap_or(Timestamp::MAX)
}

/// `at` moved back by `age`; saturates at the beginning of representable time.
pub fn before(at: Timestamp, age: std::time::Duration) -> Timestamp {
    at.checked_sub(age).unwrap_or(Timestamp::MIN)
}

/// When something counts as kept.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, serde::Deserialize, serde::Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Durability {
    /// When it survives a loss of power: content synced, then the row committed with a synced log.
    #[default]
    Disk,
    /// When it survives the end of the process: neither content nor row waits for the disk.
    Os,
}

/// Defines an id: a random UUID (version 4) that is not interchangeable with the id of another thing.
macro_rules! id {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
        pub struct $name(Uuid);

        impl $name {
            /// A new random id.
            #[expect(clippy::new_without_default, reason = "a default id would be a random value")]
            pub fn new() -> Self {
                Self(Uuid::new_v4())
            }

            /// The spelling of 32 hexadecimal digits without dashes.
            pub fn simple(&self) -> String {
                self.0.simple().to_string()
            }
        }

        /// The dashed spelling, lower case.
        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.hyphenated().fmt(f)
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                fmt::Display::fmt(self, f)
            }
        }

        /// Both spellings name the same thing: 32 hexadecimal digits, or 36 characters with dashes.
        impl FromStr for $name {
            type Err = NotAnId;

            fn from_str(text: &str) -> Result<Self, NotAnId> {
                match text.len() {
                    32 | 36 => Uuid::try_parse(text).map(Self).map_err(|_| NotAnId),
                    _ => Err(NotAnId),
                }
            }
        }
    };
}

id! {
    /// Names one upload, for as long as anything of it is remembered. Unguessable.
    UploadId
}
id! {
    /// Names a local user.
    UserId
}
id! {
    /// Names a line of the trail that operators leave.
    EntryId
}

/// The text is not an id in either spelling.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("not an id")]
pub struct NotAnId;

/// Lower-case hexadecimal.
pub fn hex(bytes: &[u8]) -> String {
    use std::fmt::Write as _;
    bytes.iter().fold(String::with_capacity(bytes.len() * 2), |mut text, byte| {
        let _ = write!(text, "{byte:02x}");
        text
    })
}

/// Decodes hexadecimal of either case; `None` if `text` is anything else.
pub fn unhex(text: &str) -> Option<Vec<u8>> {
    if !text.len().is_multiple_of(2) {
        return None;
    }
    let digit = |byte: &u8| char::from(*byte).to_digit(16);
    text.as_bytes().chunks_exact(2).map(|pair| Some((digit(&pair[0])? * 16 + digit(&pair[1])?) as u8)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_spellings_name_the_same_upload() {
        let id = UploadId::new();
        assert_eq!(id.simple().parse(), Ok(id));
        assert_eq!(id.to_string().parse(), Ok(id));
        assert_eq!(id.to_string().to_uppercase().parse(), Ok(id));
    }

    #[test]
    fn nothing_else_is_an_id() {
        for text in [
            "",
            "x",
            "{00000000-0000-0000-0000-000000000000}",
            "urn:uuid:00000000-0000-0000-0000-000000000000",
            "0000000000000000000000000000000g",
            "../../../../../../../../etc/passw",
        ] {
            assert_eq!(text.parse::<UploadId>(), Err(NotAnId), "{text}");
        }
    }

    #[test]
    fn hex_round_trip_and_refusals() {
        assert_eq!(hex(&[0, 255, 16]), "00ff10");
        assert_eq!(unhex("00FF10"), Some(vec![0, 255, 16]));
        assert_eq!(unhex("0"), None);
        assert_eq!(unhex("+1"), None);
        assert_eq!(unhex("éé"), None);
    }
}
