//! What the protocol wants of the answers to a case, and what is wrong with those that came. Pure.
//!
//! An answer is read for its `status` wherever it stands; its frame (status line, type, size, ids, fields) is judged by
//! expectations of its own. So a server that, say, repeats no request id fails one case and not all of them.

use std::time::Duration;

use serde_json::Value;

use super::asking::{Came, Exchange, Silence};
use crate::auth::identity::{Answer, MAX_MESSAGE_BYTES, VERSION, code};

/// What a right proof is called.
const ACTIVE: &str = "active";
const DENIED: &str = "denied";
const UNSUPPORTED: &str = "unsupported";
/// Codes of a denial that the service tells apart, or that say more to its log.
const CODES: &[&str] = &[
    code::INVALID_SIGNATURE,
    "invalid_password",
    code::UNKNOWN_KEY,
    code::KEY_DISABLED,
    code::KEY_EXPIRED,
    code::USER_DISABLED,
    code::UNKNOWN_USER,
    code::TIMESTAMP_OUT_OF_WINDOW,
    code::REPLAYED,
    "scheme_not_allowed",
    code::AUDIENCE_MISMATCH,
    code::RATE_LIMITED,
];
/// Codes of a denial that ends what a user began.
const GONE: &[&str] = &[code::UNKNOWN_USER, code::USER_DISABLED];
/// Longest life of an answer about a right proof, and about a wrong one.
const MOST_TTL_SECONDS: u64 = 300;
const MOST_DENIED_TTL_SECONDS: u64 = 30;
/// Longest life of a refusal that is about the key.
const MOST_REFUSED_KEY_TTL_SECONDS: u64 = 60;
/// The scope of an answer that is about the key, and the codes that it may have.
const OF_KEY: &str = "api_key";
const CODES_OF_KEY: &[&str] = &[code::UNKNOWN_KEY, code::KEY_DISABLED, code::KEY_EXPIRED];
/// Fields of the question's `request`, on which an answer may depend.
const VARY: &[&str] = &["method", "path", "host", "client_ip"];

/// What is wanted of the answers to a case.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Expect {
    /// Something that can be read as an answer at all.
    Answer,
    /// Called active, with a user.
    Active,
    /// The last one called active, with a user; the others are other cases'.
    ActiveAtLast,
    /// Called active, all as the same user.
    SameUser,
    /// Denied, with one of these codes.
    Denied(&'static [&'static str]),
    /// The last one denied, of a user who is not there; the others are other cases'.
    UnknownUserAtLast,
    /// Denied with this code, and with the user's id.
    DeniedUser(&'static str),
    /// Called unsupported.
    Unsupported,
    /// Denied or called unsupported.
    NotActive,
    /// Told that the service itself is not trusted.
    ServiceUnauthorized,
    /// Refused as a request, or as a proof; no fault of the server.
    Refused,
    /// Refused as a request: nothing that reads as a verdict.
    NoVerdict,
    /// As [`Expect::NoVerdict`], or the connection closed.
    TooLarge,
    /// No success.
    NoSuccess,
    /// Active or denied, two by two the same; at most one pair active.
    OneSpelling,
    /// In the time of one try.
    InTime,
    /// Each its own verdict, by turns active and denied, in the time of one try.
    OwnVerdict,
    /// Status 200; or 401 or 403 with a denial.
    StatusLine,
    /// `application/json`.
    ContentType,
    /// The question's request id, and its version.
    SameQuestion,
    /// Not too large.
    Size,
    /// Fields that the service reads.
    Fields,
    /// A life that the service can keep to.
    Cache,
    /// Good for the proof, and not for everybody who uses its key.
    NotOfKey,
    /// A code that the service knows.
    KnownCode,
}

/// What is wrong, and with which of the exchanges.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Flaw {
    pub(super) at: usize,
    pub(super) what: String,
}

impl Expect {
    /// In words, for people who have the protocol's page beside them.
    pub(super) fn wants(self) -> String {
        match self {
            Self::Answer => "an answer of JSON, with a status".into(),
            Self::Active | Self::ActiveAtLast => "status \"active\", with user.id and user.username".into(),
            Self::SameUser => "status \"active\", every time with the same user.id and user.username".into(),
            Self::Denied(codes) => format!("status \"denied\" with code {}", codes.join(" or ")),
            Self::UnknownUserAtLast => format!("status \"denied\" with code {}", GONE.join(" or ")),
            Self::DeniedUser(code) => format!("status \"denied\" with code {code} and with user.id"),
            Self::Unsupported => "status \"unsupported\"".into(),
            Self::NotActive => "status \"unsupported\", or \"denied\"".into(),
            Self::ServiceUnauthorized => {
                "HTTP 401 with {\"code\": \"service_unauthorized\"} and without a status".into()
            }
            Self::Refused => "HTTP 4xx, or status \"denied\" or \"unsupported\"".into(),
            Self::NoVerdict => "HTTP 4xx without a verdict, or status \"unsupported\"".into(),
            Self::TooLarge => "HTTP 413 (any 4xx), or a closed connection".into(),
            Self::NoSuccess => "HTTP 404 or 405; no success".into(),
            Self::OneSpelling => {
                "each spelling always active or always denied; hexadecimal in capitals may be active, base64 not".into()
            }
            Self::InTime => "every answer in the time of one try".into(),
            Self::OwnVerdict => "each question its own verdict, in the time of one try".into(),
            Self::StatusLine => "HTTP 200; a denial may also come with 401 or 403".into(),
            Self::ContentType => "Content-Type: application/json".into(),
            Self::SameQuestion => format!("the request_id of the question and version \"{VERSION}\""),
            Self::Size => "at most 64 KiB".into(),
            Self::Fields => "fields of the types and lengths that the protocol's page names".into(),
            Self::Cache => format!(
                "cache.ttl_seconds from 0 to {MOST_TTL_SECONDS} (of a denial to {MOST_DENIED_TTL_SECONDS}), cache.scope \
                 \"proof\" or \"none\" (with {}: \"api_key\", to {MOST_REFUSED_KEY_TTL_SECONDS}), cache.vary of {}",
                CODES_OF_KEY.join(", "),
                VARY.join(", ")
            ),
            Self::NotOfKey => "cache.scope \"proof\" or \"none\", or none at all".into(),
            Self::KnownCode => format!("one of {}", CODES.join(", ")),
        }
    }

    /// What is wrong with what came, if anything.
    pub(super) fn flaw(self, exchanges: &[Exchange], try_timeout: Duration) -> Option<Flaw> {
        let at_last = matches!(self, Self::ActiveAtLast | Self::UnknownUserAtLast);
        let others = if at_last { exchanges.len().saturating_sub(1) } else { 0 };
        let each = exchanges.iter().enumerate().skip(others).find_map(|(at, exchange)| {
            let what = self.one(at, exchange, try_timeout).err()?;
            Some(Flaw { at, what })
        });
        each.or_else(|| self.together(exchanges))
    }

    fn one(self, at: usize, exchange: &Exchange, try_timeout: Duration) -> Result<(), String> {
        let came = match (&exchange.came, self) {
            (Ok(came), _) => came,
            (Err(Silence::Broken(_)), Self::TooLarge) => return Ok(()),
            (Err(Silence::Broken(why)), _) => return Err(format!("the connection failed: {why}")),
            (Err(Silence::Late(waited)), _) => return Err(format!("nothing came in {} s", waited.as_secs())),
        };
        let answer = Read::of(came);
        match self {
            Self::Answer => came.is_answer(&answer),
            Self::Active | Self::ActiveAtLast | Self::SameUser => answer.is_active(),
            Self::Denied(codes) => answer.is_denied(codes),
            Self::UnknownUserAtLast => answer.is_denied(GONE),
            Self::DeniedUser(code) => answer.is_denied(&[code]).and_then(|()| answer.names("id")),
            Self::Unsupported => answer.is(&[UNSUPPORTED]),
            Self::NotActive => answer.is(&[DENIED, UNSUPPORTED]),
            Self::ServiceUnauthorized => answer.distrusts(),
            Self::Refused => came.is_refusal(&answer, &[DENIED, UNSUPPORTED]),
            Self::NoVerdict | Self::TooLarge => came.is_refusal(&answer, &[UNSUPPORTED]),
            Self::NoSuccess => came.is_no_success(),
            Self::OneSpelling => answer.is(&[ACTIVE, DENIED]),
            Self::InTime => came.is_in(try_timeout),
            Self::OwnVerdict => answer.is(&[[ACTIVE, DENIED][at % 2]]).and_then(|()| came.is_in(try_timeout)),
            // Of what is no answer, other cases speak.
            _ if answer.status().is_none() => Ok(()),
            Self::StatusLine => answer.under(came.status),
            Self::ContentType => came.is_json(),
            Self::SameQuestion => answer.repeats(&exchange.ask.request_id),
            Self::Size => came.is_small(),
            Self::Fields => answer.can_be_read(),
            Self::Cache => answer.may_be_kept(),
            Self::NotOfKey => answer.is_not_of_key(),
            Self::KnownCode => answer.has_known_code(),
        }
    }

    /// What only several answers can show.
    fn together(self, exchanges: &[Exchange]) -> Option<Flaw> {
        let answers: Vec<Read> = exchanges.iter().filter_map(|e| e.came.as_ref().ok()).map(Read::of).collect();
        let flaw = |at: usize, what: &str| Some(Flaw { at, what: what.to_owned() });
        match self {
            Self::SameUser => {
                let other = answers.iter().position(|answer| answer.user() != answers[0].user())?;
                flaw(other, "the user differs from that of the first answer")
            }
            Self::OneSpelling => {
                let unsteady = answers.chunks(2).position(|pair| pair[0].status() != pair[pair.len() - 1].status());
                let base64 = answers.iter().skip(2).position(|answer| answer.status() == Some(ACTIVE));
                match (unsteady, base64) {
                    (Some(pair), _) => flaw(pair * 2 + 1, "the same question was judged in two ways"),
                    (None, Some(at)) => flaw(at + 2, "base64 is taken besides hexadecimal"),
                    (None, None) => None,
                }
            }
            _ => None,
        }
    }
}

/// The body of what came, as far as it is a JSON object.
struct Read(Option<Value>);

impl Read {
    fn of(came: &Came) -> Self {
        Self(serde_json::from_slice(&came.body).ok().filter(Value::is_object))
    }

    fn text(&self, pointer: &str) -> Option<&str> {
        self.0.as_ref()?.pointer(pointer)?.as_str()
    }

    fn status(&self) -> Option<&str> {
        self.text("/status")
    }

    fn user(&self) -> (Option<&str>, Option<&str>) {
        (self.text("/user/id"), self.text("/user/username"))
    }

    fn is(&self, wanted: &[&str]) -> Result<(), String> {
        match self.status() {
            Some(status) if wanted.contains(&status) => Ok(()),
            Some(status) => Err(format!("status is {status:?}")),
            None => Err("no status".into()),
        }
    }

    fn names(&self, field: &str) -> Result<(), String> {
        match self.text(&format!("/user/{field}")) {
            Some(name) if !name.trim().is_empty() => Ok(()),
            _ => Err(format!("user.{field} is missing")),
        }
    }

    fn is_active(&self) -> Result<(), String> {
        self.is(&[ACTIVE])?;
        self.names("id")?;
        self.names("username")
    }

    fn is_denied(&self, codes: &[&str]) -> Result<(), String> {
        self.is(&[DENIED])?;
        match self.text("/code") {
            Some(code) if codes.contains(&code) => Ok(()),
            Some(code) => Err(format!("code is {code:?}")),
            None => Err("code is missing".into()),
        }
    }

    fn distrusts(&self) -> Result<(), String> {
        match (self.text("/code"), self.status()) {
            (Some(code::SERVICE_UNAUTHORIZED), None | Some(DENIED)) => Ok(()),
            (_, Some(status)) => Err(format!("the question was answered: status is {status:?}")),
            (Some(code), None) => Err(format!("code is {code:?}")),
            (None, None) => Err("no code".into()),
        }
    }

    fn under(&self, http: u16) -> Result<(), String> {
        match (http, self.status()) {
            (200, _) | (401 | 403, Some(DENIED)) => Ok(()),
            (_, status) => Err(format!("status {:?} under HTTP {http}", status.unwrap_or_default())),
        }
    }

    fn repeats(&self, request_id: &str) -> Result<(), String> {
        if self.text("/request_id") != Some(request_id) {
            return Err(format!("request_id is not the question's, {request_id}"));
        }
        match self.text("/version") {
            Some(VERSION) => Ok(()),
            _ => Err(format!("version is not \"{VERSION}\"")),
        }
    }

    /// As the service reads it. Its ids are another case's.
    fn can_be_read(&self) -> Result<(), String> {
        let mut answer = self.0.clone().unwrap_or_default();
        answer["version"] = VERSION.into();
        answer["request_id"] = VERSION.into();
        let answer: Answer = serde_json::from_value(answer).map_err(|error| error.to_string())?;
        answer.flaw(VERSION).map_or(Ok(()), |flaw| Err(flaw.to_owned()))
    }

    fn may_be_kept(&self) -> Result<(), String> {
        let cache = self.0.as_ref().and_then(|answer| answer.get("cache")).filter(|cache| !cache.is_null());
        let Some(cache) = cache else { return Ok(()) };
        let about_key =
            self.status() == Some(DENIED) && self.text("/code").is_some_and(|code| CODES_OF_KEY.contains(&code));
        let of_key = about_key && self.text("/cache/scope") == Some(OF_KEY);
        let most = match self.status() {
            Some(ACTIVE) => MOST_TTL_SECONDS,
            _ if of_key => MOST_REFUSED_KEY_TTL_SECONDS,
            _ => MOST_DENIED_TTL_SECONDS,
        };
        let among = |value: &Value, known: &[&str]| value.as_str().is_some_and(|text| known.contains(&text));
        let within = |value: &Value| value.as_u64().is_some_and(|seconds| seconds <= most);
        let vary = |value: &Value| value.as_array().is_some_and(|all| all.iter().all(|name| among(name, VARY)));
        match (cache.get("ttl_seconds"), cache.get("scope"), cache.get("vary")) {
            (Some(ttl), ..) if !within(ttl) => Err(format!("cache.ttl_seconds is {ttl}")),
            (_, Some(scope), _) if !of_key && !among(scope, &["proof", "none"]) => {
                Err(format!("cache.scope is {scope}"))
            }
            (.., Some(names)) if !vary(names) => Err(format!("cache.vary is {names}")),
            _ => Ok(()),
        }
    }

    fn is_not_of_key(&self) -> Result<(), String> {
        match self.text("/cache/scope") {
            Some(OF_KEY) => Err(format!("cache.scope is {OF_KEY:?}")),
            _ => Ok(()),
        }
    }

    fn has_known_code(&self) -> Result<(), String> {
        match (self.status(), self.text("/code")) {
            (Some(DENIED), Some(code)) if !CODES.contains(&code) => Err(format!("code is {code:?}")),
            (Some(DENIED), None) => Err("code is missing".into()),
            _ => Ok(()),
        }
    }
}

impl Came {
    fn is_answer(&self, answer: &Read) -> Result<(), String> {
        match (self.status, answer.status()) {
            (300..=399, _) => {
                Err(format!("a redirect to {}; none is followed", self.location.as_deref().unwrap_or("nowhere")))
            }
            (_, Some(_)) => Ok(()),
            _ if answer.text("/code") == Some(code::SERVICE_UNAUTHORIZED) => {
                Err("the server does not trust the service: is this the right --token?".into())
            }
            (404 | 405, None) => Err("nobody is asked here: is this the right --url?".into()),
            (_, None) if answer.0.is_none() => Err("the body is no JSON object".into()),
            (_, None) => Err("the JSON has no status".into()),
        }
    }

    fn is_refusal(&self, answer: &Read, verdicts: &[&str]) -> Result<(), String> {
        match (self.status, answer.status()) {
            (_, Some(status)) if !verdicts.contains(&status) => Err(format!("status is {status:?}")),
            (..=499, Some(_)) | (400..=499, None) => Ok(()),
            (http, _) => Err(format!("HTTP {http}")),
        }
    }

    fn is_no_success(&self) -> Result<(), String> {
        match self.status {
            200..=399 => Err(format!("HTTP {}", self.status)),
            _ => Ok(()),
        }
    }

    fn is_in(&self, time: Duration) -> Result<(), String> {
        match self.took <= time {
            true => Ok(()),
            false => Err(format!("took {} ms, more than {} ms", self.took.as_millis(), time.as_millis())),
        }
    }

    fn is_json(&self) -> Result<(), String> {
        let essence = self.content_type.split(';').next().unwrap_or_default().trim();
        match essence.eq_ignore_ascii_case("application/json") {
            true => Ok(()),
            false => Err(format!("Content-Type is {:?}", self.content_type)),
        }
    }

    fn is_small(&self) -> Result<(), String> {
        match self.body.len() <= MAX_MESSAGE_BYTES {
            true => Ok(()),
            false => Err(format!("{} bytes and perhaps more", self.body.len())),
        }
    }
}

#[cfg(test)]
mod tests {
    use reqwest::Method;

    use super::{
        super::asking::{Ask, Token},
        *,
    };

    fn exchange(came: Result<(u16, &str), Silence>) -> Exchange {
        let ask = Ask {
            method: Method::POST,
            route: "verify",
            query: String::new(),
            token: Token::Right,
            content_type: "application/json",
            request_id: "q".into(),
            body: Vec::new(),
            afresh: false,
        };
        let came = came.map(|(status, body)| Came {
            status,
            content_type: "application/json".into(),
            location: None,
            body: body.into(),
            took: Duration::from_secs(1),
        });
        Exchange { ask, came }
    }

    fn flaw(expect: Expect, came: Vec<Result<(u16, &str), Silence>>) -> Option<Flaw> {
        let exchanges: Vec<Exchange> = came.into_iter().map(exchange).collect();
        expect.flaw(&exchanges, Duration::from_secs(1))
    }

    #[test]
    fn what_the_doors_of_the_tests_cannot_show() {
        let active = || Ok((200, r#"{"status": "active", "user": {"id": "u", "username": "n"}}"#));
        let refused = || Ok((401, r#"{"code": "service_unauthorized"}"#));
        let broken = || Err(Silence::Broken("reset".into()));
        assert_eq!(flaw(Expect::ActiveAtLast, vec![refused(), active()]), None);
        let last = flaw(Expect::ActiveAtLast, vec![active(), refused()]);
        assert_eq!(last, Some(Flaw { at: 1, what: "no status".into() }));
        assert_eq!(flaw(Expect::TooLarge, vec![broken()]), None);
        assert!(flaw(Expect::Refused, vec![broken()]).is_some());
        assert!(flaw(Expect::TooLarge, vec![Err(Silence::Late(Duration::from_secs(10)))]).is_some());
        assert_eq!(flaw(Expect::InTime, vec![active()]), None, "the end of the time is in time");
        let moved = exchange(Ok((307, "")));
        assert!(Expect::Answer.flaw(&[moved], Duration::ZERO).is_some_and(|flaw| flaw.what.contains("redirect")));
    }
}
