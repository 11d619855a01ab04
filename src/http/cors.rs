//! Which pages of other origins may use the service, told to the browsers that ask (Fetch standard, "CORS protocol").
//!
//! Promises: every answer says `Vary: Origin`, so that no cache gives one origin's answer to another; an answer to a
//! listed origin carries the grant whatever its status, for without it a page cannot tell a 401 from a broken network;
//! a preflight is answered here, before authentication, and reaches nothing below. An origin that is not listed gets no
//! header of these, and its request is processed as any other: this protects users of browsers, not the service.
//!
//! Not tower-http's layer: that answers every OPTIONS, also those that are no preflight, and tells methods and headers
//! to origins that are not listed.

mod origin;

use std::{sync::Arc, time::Duration};

use axum::{
    extract::{Request, State},
    http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode, header},
    middleware::Next,
    response::{IntoResponse as _, Response},
};
use serde::{Deserialize, Deserializer, de::Error as _};

pub use self::origin::{Listed, is_same};
use super::{entrance::Entered, same_origin};
use crate::domain::realms::Entrance;

/// Section `cors` of the configuration. Each setting falls back alone. A list may also be given as the one string of
/// django-chunked-uploads, separated by commas or blanks, and the switch as text.
#[derive(Debug, Clone, serde::Deserialize, serde::Serialize)]
#[serde(default, deny_unknown_fields)]
pub struct Settings {
    /// Origins of the pages that may use the service; see [`Listed`].
    #[serde(deserialize_with = "list")]
    pub allowed_origins: Vec<String>,
    /// Methods that pages may use.
    #[serde(deserialize_with = "list")]
    pub allowed_methods: Vec<String>,
    /// Headers that pages may send.
    #[serde(deserialize_with = "list")]
    pub allowed_headers: Vec<String>,
    /// Whether pages may send requests with cookies or a browser's own credentials, and read their answers.
    #[serde(deserialize_with = "switch")]
    pub allow_credentials: bool,
    /// Headers of answers that pages may read.
    #[serde(deserialize_with = "list")]
    pub expose_headers: Vec<String>,
    /// How long a browser may remember the answer to a preflight.
    #[serde(with = "crate::domain::units::duration")]
    pub max_age: Duration,
}

/// Those of django-chunked-uploads, then what its successors' protocols use.
const METHODS: &str = "POST GET OPTIONS DELETE PUT PATCH HEAD";
/// The six of django-chunked-uploads first.
const ALLOWED: &str = "Content-Type Content-Range Content-Disposition Content-Description username api_key \
    Authorization X-Api-Key X-Timestamp X-Signature X-Signature-Version timestamp signature Signature-Input \
    Content-Digest Repr-Digest Want-Repr-Digest Upload-Token Upload-Offset Upload-Length Upload-Defer-Length \
    Upload-Metadata Upload-Checksum Upload-Concat Upload-Complete Tus-Resumable Idempotency-Key X-HTTP-Method-Override \
    X-Requested-With X-File-Name X-File-Size X-Request-Id";
/// Each by name: `*` is taken literally where credentials are sent.
const EXPOSED: &str = "Location Range Retry-After WWW-Authenticate X-Request-Id Upload-Offset Upload-Length \
    Upload-Expires Upload-Metadata Upload-Defer-Length Upload-Limit Upload-Concat Upload-Complete Upload-Token \
    Upload-Draft-Interop-Version Tus-Resumable Tus-Version Tus-Extension Tus-Max-Size Tus-Checksum-Algorithm \
    Content-Range Content-Disposition ETag Content-Digest Repr-Digest";
/// Firefox remembers a preflight no longer than this, Chromium for two hours.
const LONGEST: Duration = Duration::from_secs(24 * 60 * 60);
/// Methods that no page can use (Fetch standard, "forbidden method").
const FORBIDDEN: [&str; 3] = ["CONNECT", "TRACE", "TRACK"];

impl Default for Settings {
    fn default() -> Self {
        Self {
            allowed_origins: vec!["http://localhost".into()],
            allowed_methods: words(METHODS),
            allowed_headers: words(ALLOWED),
            allow_credentials: true,
            expose_headers: words(EXPOSED),
            max_age: Duration::from_secs(2 * 60 * 60),
        }
    }
}

impl Settings {
    /// What is wrong: keys and reasons.
    pub fn check(&self) -> Vec<(&'static str, String)> {
        let mut found = Vec::new();
        let mut add = |key, reasons: Vec<String>| found.extend(reasons.into_iter().map(|reason| (key, reason)));
        add("cors.allowed_origins", self.wrong_origins());
        add("cors.allowed_methods", wrong(&self.allowed_methods, method));
        add("cors.allowed_headers", wrong(&self.allowed_headers, header_name));
        add("cors.expose_headers", wrong(&self.expose_headers, header_name));
        if self.max_age > LONGEST {
            add("cors.max_age", vec!["must not be longer than 1day: no browser remembers a preflight longer".into()]);
        }
        found
    }

    fn wrong_origins(&self) -> Vec<String> {
        if !self.allowed_origins.iter().any(|origin| origin == "*") {
            return wrong(&self.allowed_origins, |origin| Listed::parse(origin).map(|_| ()));
        }
        let mut found = Vec::new();
        if self.allow_credentials {
            found.push("`*` needs cors.allow_credentials = false: list the origins instead, or switch that off".into());
        }
        if self.allowed_origins.len() > 1 {
            found.push("`*` stands alone or not at all".into());
        }
        found
    }
}

/// Listed origins whose pages anybody on the way may change.
pub fn insecure<'a>(listed: impl Iterator<Item = &'a String>) -> impl Iterator<Item = &'a str> {
    let insecure = |origin: &&String| Listed::parse(origin).is_ok_and(|listed| listed.is_insecure());
    listed.filter(insecure).map(String::as_str)
}

fn words(text: &str) -> Vec<String> {
    let words = text.split(|c: char| c == ',' || c.is_ascii_whitespace());
    words.filter(|word| !word.is_empty()).map(str::to_owned).collect()
}

#[derive(Deserialize)]
#[serde(untagged, expecting = "a list of strings, or one string separated by commas or blanks")]
enum ListOrText {
    List(Vec<String>),
    Text(String),
}

fn list<'de, D: Deserializer<'de>>(from: D) -> Result<Vec<String>, D::Error> {
    match ListOrText::deserialize(from)? {
        ListOrText::List(list) => Ok(list),
        ListOrText::Text(text) if text.trim_start().starts_with('[') => {
            Err(D::Error::custom("is a list within a string: write it without quotes"))
        }
        ListOrText::Text(text) => Ok(words(&text)),
    }
}

#[derive(Deserialize)]
#[serde(untagged, expecting = "true or false")]
enum SwitchOrText {
    Switch(bool),
    Text(String),
}

fn switch<'de, D: Deserializer<'de>>(from: D) -> Result<bool, D::Error> {
    match SwitchOrText::deserialize(from)? {
        SwitchOrText::Switch(switch) => Ok(switch),
        SwitchOrText::Text(text) => {
            text.to_ascii_lowercase().parse().map_err(|_| D::Error::custom("must be true or false"))
        }
    }
}

fn wrong(list: &[String], judge: impl Fn(&str) -> Result<(), String>) -> Vec<String> {
    list.iter().filter_map(|word| judge(word).err().map(|reason| format!("`{word}` {reason}"))).collect()
}

fn method(name: &str) -> Result<(), String> {
    header_name(name).map_err(|reason| reason.replace("header", "method"))?;
    if name != name.to_ascii_uppercase() {
        return Err(format!("must be upper-case, browsers compare it so: {}", name.to_ascii_uppercase()));
    }
    if FORBIDDEN.contains(&name) {
        return Err("cannot be used by a page".into());
    }
    Ok(())
}

fn header_name(name: &str) -> Result<(), String> {
    if name == "*" {
        return Err("is taken literally where credentials are sent: name each header".into());
    }
    HeaderName::from_bytes(name.as_bytes()).map(|_| ()).map_err(|_| "is not a header name".into())
}

/// Answers to browsers, made once from the settings: at the common entrance, and at the realms' own. A preflight brings no
/// credential, so the entrance is all that there is to decide by.
#[derive(Debug, Clone)]
pub struct Cors {
    common: Arc<Grants>,
    /// In the places of the realms.
    own: Vec<Arc<Grants>>,
}

#[derive(Debug)]
struct Grants {
    origins: Origins,
    methods: HeaderValue,
    headers: HeaderValue,
    credentials: bool,
    exposed: HeaderValue,
    max_age: HeaderValue,
}

#[derive(Debug)]
enum Origins {
    Any,
    Listed(Vec<Listed>),
}

impl Cors {
    /// # Errors
    /// What [`Settings::check`] finds wrong first, by key and reason.
    pub fn new(settings: &Settings) -> Result<Self, String> {
        if let Some((key, reason)) = settings.check().into_iter().next() {
            return Err(format!("{key}: {reason}"));
        }
        let origins = match settings.allowed_origins.as_slice() {
            [any] if any == "*" => Origins::Any,
            listed => Origins::Listed(listed.iter().map(|text| Listed::parse(text)).collect::<Result<_, _>>()?),
        };
        let joined = |list: &[String]| HeaderValue::try_from(list.join(", ")).map_err(|error| error.to_string());
        let grants = Arc::new(Grants {
            origins,
            methods: joined(&settings.allowed_methods)?,
            headers: joined(&settings.allowed_headers)?,
            credentials: settings.allow_credentials,
            exposed: joined(&settings.expose_headers)?,
            max_age: settings.max_age.as_secs().into(),
        });
        Ok(Self { own: vec![grants.clone()], common: grants })
    }

    /// The same, with a further realm: pages of these origins may use the service there, and no others. Without them: the
    /// same as at the common entrance.
    ///
    /// # Errors
    /// As [`Cors::new`].
    pub fn with_realm(mut self, settings: &Settings, origins: Option<&[String]>) -> Result<Self, String> {
        let grants = match origins {
            Some(origins) => Self::new(&Settings { allowed_origins: origins.to_vec(), ..settings.clone() })?.common,
            None => self.common.clone(),
        };
        self.own.push(grants);
        Ok(self)
    }
}

impl Cors {
    /// Whether a page of the origin that the request names may act with what the browser knows of its user.
    pub fn grants_credentials(&self, at: Entrance, request: &HeaderMap) -> bool {
        let grants = self.at(at);
        grants.credentials && grants.origin(request).is_some()
    }

    fn at(&self, entrance: Entrance) -> &Grants {
        match entrance {
            Entrance::Common => &self.common,
            Entrance::Own(at) => &self.own[at],
        }
    }
}

impl Grants {
    /// The value of `Access-Control-Allow-Origin` for a request; none without an origin, or with one that is not listed.
    fn origin(&self, request: &HeaderMap) -> Option<HeaderValue> {
        let mut sent = request.get_all(header::ORIGIN).iter();
        let (Some(origin), None) = (sent.next(), sent.next()) else { return None };
        let text = origin.to_str().ok()?;
        match &self.origins {
            // Sandboxed frames and local files send it, whoever wrote them.
            _ if text == "null" => None,
            Origins::Any => Some(HeaderValue::from_static("*")),
            Origins::Listed(listed) => listed.iter().any(|listed| listed.admits(text)).then(|| origin.clone()),
        }
    }

    fn grant(&self, origin: HeaderValue, answer: &mut HeaderMap) {
        answer.insert(header::ACCESS_CONTROL_ALLOW_ORIGIN, origin);
        if self.credentials {
            answer.insert(header::ACCESS_CONTROL_ALLOW_CREDENTIALS, HeaderValue::from_static("true"));
        }
    }

    fn preflight(&self, request: &HeaderMap) -> Response {
        let vary = "Origin, Access-Control-Request-Method, Access-Control-Request-Headers";
        let mut response = (StatusCode::NO_CONTENT, [(header::VARY, vary)]).into_response();
        if let Some(origin) = self.origin(request) {
            let answer = response.headers_mut();
            self.grant(origin, answer);
            insert(answer, header::ACCESS_CONTROL_ALLOW_METHODS, &self.methods);
            insert(answer, header::ACCESS_CONTROL_ALLOW_HEADERS, &self.headers);
            insert(answer, header::ACCESS_CONTROL_MAX_AGE, &self.max_age);
        }
        response
    }

    fn finish(&self, origin: Option<HeaderValue>, answer: &mut HeaderMap) {
        if !varies_by_origin(answer) {
            answer.append(header::VARY, HeaderValue::from_static("Origin"));
        }
        if let Some(origin) = origin {
            self.grant(origin, answer);
            insert(answer, header::ACCESS_CONTROL_EXPOSE_HEADERS, &self.exposed);
        }
    }
}

/// An empty list is no header.
fn insert(answer: &mut HeaderMap, name: HeaderName, value: &HeaderValue) {
    if !value.is_empty() {
        answer.insert(name, value.clone());
    }
}

fn varies_by_origin(answer: &HeaderMap) -> bool {
    let named = answer.get_all(header::VARY).iter().filter_map(|value| value.to_str().ok());
    let mut names = named.flat_map(|value| value.split(',')).map(str::trim);
    names.any(|name| name == "*" || name.eq_ignore_ascii_case("origin"))
}

fn is_preflight(request: &Request) -> bool {
    request.method() == Method::OPTIONS
        && request.headers().contains_key(header::ORIGIN)
        && request.headers().contains_key(header::ACCESS_CONTROL_REQUEST_METHOD)
}

/// The layer.
pub async fn cors(State(cors): State<Cors>, request: Request, next: Next) -> Response {
    let grants = cors.at(Entered::of(request.extensions()).entrance());
    // What operators do is for the console of this origin, whatever is listed.
    let kept = same_origin::is_kept(request.uri().path());
    let (nobody, asked) = (HeaderMap::new(), request.headers());
    let asked = if kept { &nobody } else { asked };
    if is_preflight(&request) {
        return grants.preflight(asked);
    }
    let origin = grants.origin(asked);
    let mut response = next.run(request).await;
    grants.finish(origin, response.headers_mut());
    response
}
