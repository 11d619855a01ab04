//! Where the identity server is, and how long it is waited for.

use std::{path::PathBuf, time::Duration};

use secrecy::{ExposeSecret as _, SecretString};

use super::{MAX_NAME_BYTES, Url};
use crate::db::LOCAL_REALM;

/// Section `identity` of the configuration.
#[derive(Debug, Clone, serde::Deserialize, serde::Serialize)]
#[serde(default, deny_unknown_fields)]
pub struct Settings {
    /// Base URL of the identity server; `/v1/verify` is appended. Use https unless the way to it is private.
    pub url: String,
    /// The service's own token, with which it proves itself to the identity server. Never printed.
    #[serde(serialize_with = "hidden")]
    pub token: SecretString,
    /// A file that holds the token instead.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub token_file: Option<PathBuf>,
    /// With what the identity server proves itself when it tells events; empty: it is not listened to. Never printed.
    #[serde(serialize_with = "hidden")]
    pub events_token: SecretString,
    /// The name under which the identity server knows this service.
    pub audience: String,
    /// The name under which this service files the identity server's users; not that of its own. Changing it makes them
    /// all strangers.
    pub realm: String,
    /// Whether its users become known here by their first right proof. Off: whoever is not known yet is refused.
    pub sign_up: bool,
    /// How long a connection may take.
    #[serde(with = "crate::domain::units::duration")]
    pub connect_timeout: Duration,
    /// How long one try may take, answer included.
    #[serde(with = "crate::domain::units::duration")]
    pub try_timeout: Duration,
    /// How long the whole question may take, waiting and a second try included.
    #[serde(with = "crate::domain::units::duration")]
    pub deadline: Duration,
    /// How often it is asked about a user whose uploads go on without a question.
    #[serde(with = "crate::domain::units::duration")]
    pub revalidate_every: Duration,
    /// How much longer such uploads go on while it gives no answer.
    #[serde(with = "crate::domain::units::duration")]
    pub stale_if_error: Duration,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            url: "http://127.0.0.1:8081".into(),
            token: SecretString::default(),
            token_file: None,
            events_token: SecretString::default(),
            audience: "chunkgate".into(),
            realm: "default".into(),
            sign_up: true,
            connect_timeout: Duration::from_millis(500),
            try_timeout: Duration::from_secs(2),
            deadline: Duration::from_secs(3),
            revalidate_every: Duration::from_secs(15 * 60),
            stale_if_error: Duration::from_secs(10 * 60),
        }
    }
}

fn hidden<S: serde::Serializer>(secret: &SecretString, to: S) -> Result<S::Ok, S::Error> {
    to.serialize_str(if secret.expose_secret().is_empty() { "" } else { "…" })
}

impl Settings {
    /// Whether the values can be used. Reads no file.
    ///
    /// # Errors
    /// One sentence that names the setting and what it must be.
    pub fn check(&self) -> Result<(), String> {
        self.endpoint()?;
        for (name, value) in [("realm", &self.realm), ("audience", &self.audience)] {
            check_name(value).map_err(|reason| format!("identity.{name} {reason}"))?;
        }
        self.check_realm().map_err(|reason| format!("identity.realm {reason}"))?;
        let times = [("connect_timeout", self.connect_timeout), ("try_timeout", self.try_timeout)];
        for (name, time) in times.into_iter().chain([("deadline", self.deadline)]) {
            if time.is_zero() || time > Duration::from_secs(60) {
                return Err(format!("identity.{name} must be more than 0s and at most 60s"));
            }
        }
        Ok(())
    }

    /// Whether the identity server's users are kept apart from the service's own. In one realm, an answer that names a
    /// local user's id would be that user.
    ///
    /// # Errors
    /// What the realm must not be.
    pub fn check_realm(&self) -> Result<(), String> {
        match self.realm == LOCAL_REALM {
            true => Err(format!("must not be {LOCAL_REALM}, under which the service files users of its own")),
            false => Ok(()),
        }
    }

    /// Whether questions can be sent to [`Settings::url`].
    ///
    /// # Errors
    /// What it must be.
    pub fn check_url(&self) -> Result<(), String> {
        let plain = |reason: String| reason.trim_start_matches("identity.url ").to_owned();
        self.endpoint().map(|_| ()).map_err(plain)
    }

    /// Whether the token is set, in itself or in its file, and can be sent.
    ///
    /// # Errors
    /// One sentence that names the setting and what it must be.
    pub fn check_token(&self) -> Result<(), String> {
        self.secret().map(|_| ())
    }

    /// Where questions about proofs are sent.
    pub(crate) fn endpoint(&self) -> Result<Url, String> {
        self.route("verify")
    }

    /// Where questions of that kind are sent.
    pub(crate) fn route(&self, kind: &str) -> Result<Url, String> {
        let wrong = || "identity.url must look like https://identity.example or http://127.0.0.1:8081".to_owned();
        let mut url = Url::parse(&self.url).map_err(|_| wrong())?;
        let plain = url.query().is_none() && url.fragment().is_none();
        if !matches!(url.scheme(), "http" | "https") || !url.has_host() || !plain {
            return Err(wrong());
        }
        if !url.username().is_empty() || url.password().is_some() {
            return Err("identity.url must not hold a password; use identity.token".into());
        }
        let path = format!("{}/v1/{kind}", url.path().trim_end_matches('/'));
        url.set_path(&path);
        Ok(url)
    }

    /// The token, from wherever it is given.
    pub(crate) fn secret(&self) -> Result<SecretString, String> {
        let token = match &self.token_file {
            None => self.token.clone(),
            Some(_) if !self.token.expose_secret().is_empty() => {
                return Err("identity.token and identity.token_file are both set; keep one".into());
            }
            Some(path) => std::fs::read_to_string(path)
                .map(|text| text.trim().into())
                .map_err(|error| format!("identity.token_file {}: {error}", path.display()))?,
        };
        let bytes = token.expose_secret().as_bytes();
        if bytes.is_empty() || !bytes.iter().all(u8::is_ascii_graphic) {
            return Err(
                "identity.token must be set, in visible ASCII characters, as the identity server expects it".into()
            );
        }
        Ok(token)
    }
}

/// Whether the text can name a realm or an audience: it stands in headers, in answers and in other people's settings.
///
/// # Errors
/// What it must be.
pub fn check_name(text: &str) -> Result<(), String> {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-._~:/".contains(&byte);
    match (1..=MAX_NAME_BYTES).contains(&text.len()) && text.bytes().all(plain) {
        true => Ok(()),
        false => Err("must consist of 1 to 255 letters, digits and -._~:/".into()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn with_url(url: &str) -> Settings {
        Settings { url: url.into(), token: "t0ken".into(), ..Settings::default() }
    }

    #[test]
    fn urls() {
        for (url, endpoint) in [
            ("http://127.0.0.1:8081", "http://127.0.0.1:8081/v1/verify"),
            ("https://id.example/", "https://id.example/v1/verify"),
            ("https://id.example/base/", "https://id.example/base/v1/verify"),
        ] {
            assert_eq!(with_url(url).endpoint().map(String::from).as_deref(), Ok(endpoint));
        }
        for url in ["", "id.example", "ftp://id.example", "https://u:p@id.example", "http://a/?x", "http://a/#x"] {
            assert!(with_url(url).check().is_err(), "{url}");
        }
    }

    #[test]
    fn settings_that_cannot_be_used() {
        let good = with_url("http://localhost");
        assert_eq!(good.check(), Ok(()));
        assert!(Settings { realm: "a\"b".into(), ..good.clone() }.check().is_err());
        assert!(Settings { realm: String::new(), ..good.clone() }.check().is_err());
        assert!(Settings { realm: "local".into(), ..good.clone() }.check().is_err());
        assert!(Settings { deadline: Duration::ZERO, ..good.clone() }.check().is_err());
        assert!(Settings { token: "".into(), ..good.clone() }.secret().is_err());
        assert!(Settings { token: "a b".into(), ..good.clone() }.secret().is_err());
        assert!(Settings { token_file: Some("x".into()), ..good.clone() }.secret().is_err());
    }

    #[test]
    fn the_token_may_stand_in_a_file_and_is_never_printed() {
        let dir = tempfile::tempdir().expect("a folder");
        let path = dir.path().join("token");
        std::fs::write(&path, "t0ken\n").expect("a file");
        let settings = Settings { token_file: Some(path), ..Settings::default() };
        assert_eq!(settings.secret().expect("read").expose_secret(), "t0ken");
        let printed = format!("{:?} {}", with_url("http://a"), toml::to_string(&with_url("http://a")).expect("TOML"));
        assert!(!printed.contains("t0ken"), "{printed}");
    }
}
