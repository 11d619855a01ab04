//! What an identity server says of a user, and what becomes of what is known.
//!
//! Answers overtake each other: of two that were asked for at once the older may arrive last. Where the identity server
//! numbers its profiles, an older one never overwrites a newer.

use std::collections::BTreeSet;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

use super::Timestamp;

/// One attribute of a profile, as it is said.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub enum Told<T> {
    /// Nothing: what is known stays.
    #[default]
    Nothing,
    /// That there is none (`null`): what is known goes.
    Cleared,
    /// This.
    Is(T),
}

/// Orders the profiles of one user. Numbers and times share one scale, on which today's times lie above any number that
/// was counted up from one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Version(pub i64);

/// What an identity server says of a user.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Profile {
    /// Which identity server.
    pub realm: String,
    /// The identity server's stable, opaque id of the user.
    pub subject: String,
    /// The name to show.
    pub username: String,
    /// Mail address.
    pub email: Told<String>,
    /// Full name.
    pub display_name: Told<String>,
    /// Groups, replaced as a whole.
    pub groups: Told<Vec<String>>,
    /// Which of the user's profiles this is. `None`: nobody counts them, and the last to arrive holds.
    pub version: Option<Version>,
}

/// What is known of a user from its profiles.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Known {
    /// The name to show.
    pub username: String,
    /// Mail address.
    pub email: Option<String>,
    /// Full name.
    pub display_name: Option<String>,
    /// Groups, without order or repetition.
    pub groups: Option<BTreeSet<String>>,
    /// The newest version that was said.
    pub version: Option<Version>,
}

impl Known {
    /// What is known once `told` is. `name_taken`: another user of the realm has the name that is told, and keeps it.
    #[must_use]
    pub fn told(&self, told: &Profile, name_taken: bool) -> Self {
        if let (Some(known), Some(version)) = (self.version, told.version)
            && version <= known
        {
            return self.clone();
        }
        Self {
            username: if name_taken { self.username.clone() } else { told.username.clone() },
            email: told.email.clone().over(&self.email),
            display_name: told.display_name.clone().over(&self.display_name),
            groups: told.groups.clone().map(BTreeSet::from_iter).over(&self.groups),
            version: told.version.or(self.version),
        }
    }
}

impl<T> Told<T> {
    /// The value, if one is said.
    pub fn value(&self) -> Option<&T> {
        match self {
            Self::Is(value) => Some(value),
            Self::Nothing | Self::Cleared => None,
        }
    }

    /// Whether nothing is said.
    pub fn is_nothing(&self) -> bool {
        matches!(self, Self::Nothing)
    }

    fn map<U>(self, into: impl FnOnce(T) -> U) -> Told<U> {
        match self {
            Self::Nothing => Told::Nothing,
            Self::Cleared => Told::Cleared,
            Self::Is(value) => Told::Is(into(value)),
        }
    }
}

impl<T: Clone> Told<T> {
    /// What is known afterwards.
    fn over(self, known: &Option<T>) -> Option<T> {
        match self {
            Self::Nothing => known.clone(),
            Self::Cleared => None,
            Self::Is(value) => Some(value),
        }
    }
}

/// Says a value, or nothing.
impl<T> From<Option<T>> for Told<T> {
    fn from(value: Option<T>) -> Self {
        value.map_or(Self::Nothing, Self::Is)
    }
}

/// A field that is absent says nothing, by its default.
impl<'de, T: Deserialize<'de>> Deserialize<'de> for Told<T> {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        Ok(Option::deserialize(from)?.map_or(Self::Cleared, Self::Is))
    }
}

impl<T: Serialize> Serialize for Told<T> {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        self.value().serialize(to)
    }
}

/// As it stands on the wire: a whole number or a time (RFC 3339).
#[derive(Deserialize)]
#[serde(untagged)]
enum Written {
    Number(i64),
    Time(Timestamp),
}

impl<'de> Deserialize<'de> for Version {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        Ok(match Written::deserialize(from)? {
            Written::Number(number) => Self(number),
            Written::Time(time) => Self(time.as_microsecond()),
        })
    }
}

impl Serialize for Version {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        to.serialize_i64(self.0)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn profile(version: Option<i64>, email: Told<String>, groups: Told<Vec<String>>) -> Profile {
        let (realm, subject, username) = ("idp".to_owned(), "s1".to_owned(), format!("ada {version:?}"));
        Profile { realm, subject, username, email, display_name: Told::Nothing, groups, version: version.map(Version) }
    }

    /// One that leaves nothing open.
    fn whole(version: i64, email: Option<String>, groups: Vec<String>) -> Profile {
        let display_name = Told::Cleared;
        Profile { display_name, ..profile(Some(version), email.map_or(Told::Cleared, Told::Is), Told::Is(groups)) }
    }

    #[test]
    fn nothing_null_and_a_value() {
        let is = |text: &str| Told::Is(text.to_owned());
        let known = Known::default().told(&profile(None, is("a@example.org"), Told::Is(vec!["x".into()])), false);
        let again = known.told(&profile(None, Told::Nothing, Told::Nothing), false);
        assert_eq!(again, known);
        let cleared = known.told(&profile(None, Told::Cleared, Told::Nothing), false);
        assert_eq!((cleared.email, cleared.groups), (None, known.groups.clone()));
        let emptied = known.told(&profile(None, Told::Nothing, Told::Is(Vec::new())), false);
        assert_eq!((emptied.email, emptied.groups), (known.email, Some(BTreeSet::new())));
    }

    #[test]
    fn versions_as_they_are_written() {
        let read = |text: &str| serde_json::from_str::<Option<Version>>(text).ok();
        assert_eq!(read("7"), Some(Some(Version(7))));
        assert_eq!(read("null"), Some(None));
        assert_eq!(read("\"1970-01-01T00:00:01Z\""), Some(Some(Version(1_000_000))));
        assert_eq!(read("\"1970-01-01T01:00:01+01:00\""), Some(Some(Version(1_000_000))));
        for wrong in ["1.5", "\"7\"", "true", "{}", "99999999999999999999"] {
            assert_eq!(read(wrong), None, "{wrong}");
        }
    }

    proptest! {
        #[test]
        fn whole_profiles_may_come_in_any_order(
            (said, order) in proptest::collection::btree_map(
                any::<i64>(), (proptest::option::of("[ab]"), proptest::collection::vec("[ab]", 0..3)), 1..6,
            ).prop_map(|all| all.into_iter().map(|(version, (email, groups))| whole(version, email, groups)).collect::<Vec<_>>())
            .prop_flat_map(|said| (Just(said.clone()), Just(said).prop_shuffle())),
        ) {
            let arrive = |order: &[Profile]| order.iter().fold(Known::default(), |known, told| known.told(told, false));
            prop_assert_eq!(arrive(&order), arrive(&said));
        }

        #[test]
        fn an_older_one_changes_nothing(
            older in any::<i64>(), newer in any::<i64>(), open: bool, email in "[ab]", name_taken: bool,
        ) {
            prop_assume!(older <= newer);
            let known = Known::default().told(&whole(newer, Some("now".into()), Vec::new()), false);
            let told = if open { Told::Nothing } else { Told::Is(email) };
            prop_assert_eq!(known.told(&profile(Some(older), told, Told::Cleared), name_taken), known);
        }
    }
}
