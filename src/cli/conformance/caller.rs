//! Who the cases speak for: the keys they may use, and the questions made of them.
//!
//! A question is the service's own ([`Question`]), as JSON, so that cases can spoil it.

use std::{
    sync::atomic::{AtomicI64, Ordering},
    time::Duration,
};

use reqwest::Method;
use secrecy::{ExposeSecret as _, SecretString};
use serde_json::{Value, json};

use super::asking::{Ask, Token};
use crate::{
    auth::identity::{Proof, Question, Request, Service, VERSION},
    domain::{Clock as _, SystemClock, signing},
};

/// A name and what only its owner knows.
pub(super) struct Pair {
    pub(super) name: String,
    pub(super) secret: SecretString,
}

/// What was given on the command line.
pub(super) struct Caller {
    /// A key of a user who may act.
    pub(super) good: Pair,
    pub(super) disabled_user: Option<Pair>,
    pub(super) disabled_key: Option<Pair>,
    /// Username and key.
    pub(super) plain_key: Option<Pair>,
    /// Username and password.
    pub(super) basic: Option<Pair>,
    /// The id of a user who may act.
    pub(super) user_id: Option<String>,
    pub(super) audience: String,
    pub(super) realm: String,
    pub(super) window: Duration,
    /// How many proofs were made of the good key.
    pub(super) made: AtomicI64,
    /// When the first one was, in unix seconds.
    pub(super) began: i64,
}

impl Caller {
    /// Unix seconds, so many from now.
    pub(super) fn time(&self, from_now: i64) -> String {
        (SystemClock.now().as_second() + from_now).to_string()
    }

    /// So far inside the window's edge, and so far beyond it, clocks may differ.
    pub(super) fn margin(&self) -> i64 {
        (self.window_secs() / 10).max(5)
    }

    /// The window in seconds.
    pub(super) fn window_secs(&self) -> i64 {
        i64::try_from(self.window.as_secs()).unwrap_or(i64::MAX / 2)
    }

    /// A right proof of the good key at this time, as it is spelled.
    pub(super) fn at(&self, timestamp: &str) -> Value {
        signed(&self.good, timestamp)
    }

    /// A right proof of the good key, about now. Each is of another second: some servers take a proof once.
    pub(super) fn now(&self) -> Value {
        let back = self.made.fetch_add(1, Ordering::Relaxed) % (self.window_secs() - 2 * self.margin()).max(1);
        self.at(&(self.began - back).to_string())
    }

    /// The good key with a signature that does not fit, as right as `spoil` leaves it.
    pub(super) fn spoilt(&self, spoil: impl FnOnce(&str) -> String) -> Value {
        let mut proof = self.now();
        let signature = spoil(proof["signature"].as_str().unwrap_or_default());
        proof["signature"] = signature.into();
        proof
    }

    /// The question about a credential.
    pub(super) fn question(&self, credential: Value) -> Value {
        let question = Question {
            version: VERSION.into(),
            request_id: uuid::Uuid::now_v7().to_string(),
            realm: self.realm.clone(),
            audience: self.audience.clone(),
            service: Service {
                id: env!("CARGO_PKG_NAME").into(),
                version: env!("CARGO_PKG_VERSION").into(),
                node: uuid::Uuid::nil().to_string(),
            },
            credential: Proof::Unknown,
            request: Request {
                method: "POST".into(),
                path: "/chunked_upload/".into(),
                host: Some("uploads.example".into()),
                client_ip: Some("192.0.2.7".into()),
            },
            want: vec!["user".into(), "limits".into()],
        };
        let mut question = serde_json::to_value(question).unwrap_or_default();
        question["credential"] = credential;
        question
    }

    /// Asks about a credential.
    pub(super) fn ask(&self, credential: Value) -> Ask {
        posted(&self.question(credential))
    }

    /// Asks whether the user of that id may still act.
    pub(super) fn introspect(&self, user_id: &str) -> Ask {
        let mut question = self.question(Value::Null);
        if let Some(fields) = question.as_object_mut() {
            fields.retain(|name, _| !matches!(name.as_str(), "credential" | "request" | "want"));
        }
        question["user_id"] = user_id.into();
        Ask { route: "introspect", ..posted(&question) }
    }
}

/// Sends a question as it is.
pub(super) fn posted(question: &Value) -> Ask {
    let request_id = question["request_id"].as_str().map_or_else(|| uuid::Uuid::now_v7().to_string(), str::to_owned);
    Ask {
        method: Method::POST,
        route: "verify",
        query: String::new(),
        token: Token::Right,
        content_type: "application/json",
        request_id,
        body: question.to_string().into_bytes(),
        afresh: false,
    }
}

/// A right proof of this key.
pub(super) fn signed(key: &Pair, timestamp: &str) -> Value {
    proof(&key.name, timestamp, &signing::sign_v1(key.secret.expose_secret().as_bytes(), timestamp))
}

/// A proof of these three texts.
pub(super) fn proof(api_key: &str, timestamp: &str, signature: &str) -> Value {
    json!({"type": "signature", "scheme": "v1", "api_key": api_key, "timestamp": timestamp, "signature": signature})
}

/// A key that is shown as it is.
pub(super) fn plain_key(username: &str, key: &str) -> Value {
    json!({"type": "api_key", "username": username, "api_key": key})
}

/// A name and a password.
pub(super) fn basic(username: &str, password: &str) -> Value {
    json!({"type": "basic", "username": username, "password": password})
}
