//! The recorded requests and answers of both originals, replayed.
//!
//! `keep`: status, body and `Allow` exactly as recorded. `better`: the steps with a `better` key answer what it says (a
//! `{}` is settled by name, beside each recording); the steps before the first of them are kept.

mod multipart;
mod raw;

use std::collections::HashMap;

use chunkgate::{auth::Method, config::Config, db};
use serde::Deserialize;
use serde_json::Value;

use crate::{
    local,
    support::{Answer, TestApp, fill, form},
};

#[derive(Deserialize)]
struct Scenario {
    name: String,
    verdict: String,
    settings: HashMap<String, Value>,
    steps: Vec<Step>,
}

#[derive(Deserialize)]
struct Step {
    request: Request,
    response: Expected,
    better: Option<Value>,
    #[serde(default)]
    wait_ms: u64,
}

#[derive(Deserialize)]
struct Request {
    method: String,
    path: String,
    #[serde(rename = "as")]
    user: Option<String>,
    /// Which cookies; absent: those of the user; null: none are kept.
    #[serde(default, deserialize_with = "given")]
    jar: Option<Option<String>>,
    headers: HashMap<String, String>,
    fields: Option<Vec<(String, String)>>,
    encoding: Option<String>,
    file: Option<Part>,
    parts: Option<Vec<Part>>,
    body: Option<Raw>,
}

#[derive(Deserialize)]
#[serde(untagged)]
enum Raw {
    Text(String),
    Filled {
        size: usize,
        fill: String,
        #[serde(default)]
        from: usize,
    },
}

fn given<'de, D: serde::Deserializer<'de>>(jar: D) -> Result<Option<Option<String>>, D::Error> {
    Option::deserialize(jar).map(Some)
}

#[derive(Deserialize)]
struct Part {
    field: String,
    value: Option<String>,
    filename: Option<String>,
    content_type: Option<String>,
    #[serde(default)]
    size: usize,
    #[serde(default)]
    fill: String,
    #[serde(default)]
    from: usize,
}

#[derive(Deserialize)]
struct Expected {
    status: u16,
    headers: HashMap<String, String>,
    body: Value,
}

/// Settles what a recording leaves open: the answer to `(scenario, step)`.
type Settled = fn(&str, usize) -> Option<Value>;

/// Replays every scenario; how many scenarios and steps there were.
async fn replay(text: &str, settled: Settled) -> (usize, usize) {
    let scenarios: Vec<Scenario> = serde_json::from_str(text).expect("the recording");
    let (mut scenes, mut steps) = (0, 0);
    for scenario in &scenarios {
        let app = TestApp::with(|config| apply(config, &scenario.settings)).await;
        let seen = given_to(&app).await;
        let mut replay = Replay { app: &app, scenario, settled, seen, jars: HashMap::new(), diverged: false };
        for (index, step) in scenario.steps.iter().enumerate() {
            replay.step(index, step).await;
            steps += 1;
        }
        app.stop().await;
        scenes += 1;
    }
    (scenes, steps)
}

/// What the recording's placeholders stand for at the start. Alice is a local user where the scenario wants one.
async fn given_to(app: &TestApp) -> HashMap<String, String> {
    let mut given = HashMap::from([("{base}".to_owned(), app.base.clone())]);
    let mut give = |name: &str, value: String| given.insert(name.to_owned(), value);
    if app.config.auth.methods == [Method::Signature] {
        give("{alice_key}", "alice-key".into());
        return given;
    }
    let stores = db::connect(&app.config.database, app.config.storage.local.durability).await.expect("connects");
    let alice = local::add_user(&stores, "alice", &app.clock).await;
    let (key, kept) = local::new_key(alice, &*app.clock);
    local::keep_key(&stores, &kept).await;
    stores.close().await;
    give("{alice_key}", key.reveal().to_owned());
    give("{alice_basic}", local::right("alice").trim_start_matches("Basic ").to_owned());
    given
}

/// The scenario's settings, by the names of the configuration.
fn apply(config: &mut Config, settings: &HashMap<String, Value>) {
    for (key, value) in settings {
        let text = || value.as_str().expect("text").to_owned();
        let truth = || value.as_bool().expect("a truth");
        match key.as_str() {
            "auth.anonymous" => config.auth.anonymous = truth(),
            "auth.methods" => {
                config.auth.methods = serde_json::from_value(value.clone()).expect("methods");
                config.auth.pepper = local::PEPPER.into();
            }
            "cors.allowed_origins" => {
                config.cors.allowed_origins = serde_json::from_value(value.clone()).expect("a list")
            }
            "auth.query_credentials" => config.auth.query_credentials = truth(),
            "multipart.field_name" => config.multipart.field_name = text(),
            "multipart.require_md5" => config.multipart.require_md5 = truth(),
            "multipart.require_content_range" => config.multipart.require_content_range = truth(),
            "uploads.expires_after" => {
                config.uploads.expires_after =
                    text().trim_end_matches('s').parse().map(std::time::Duration::from_secs).expect("seconds")
            }
            "uploads.max_bytes" => config.uploads.max_bytes = value.as_u64().map(bytesize::ByteSize::b),
            other => panic!("unknown setting {other}"),
        }
    }
}

struct Replay<'a> {
    app: &'a TestApp,
    scenario: &'a Scenario,
    settled: Settled,
    seen: HashMap<String, String>,
    /// Cookies, by jar.
    jars: HashMap<String, HashMap<String, String>>,
    /// A bettered step changed the state, so what follows was recorded in another one.
    diverged: bool,
}

impl Replay<'_> {
    async fn step(&mut self, index: usize, step: &Step) {
        self.app.clock.advance(std::time::Duration::from_millis(step.wait_ms));
        let answer = self.send(&step.request).await;
        let place = format!("{} step {index}: {}", self.scenario.name, answer.text);
        let named = (self.settled)(&self.scenario.name, index);
        match step.better.as_ref().map(|better| named.clone().unwrap_or(better.clone())).or(named) {
            Some(better) => {
                assert!(better.get("status").is_some(), "{place}: what is better is not settled");
                assert_eq!(better["status"], answer.status, "{place}");
                if let Some(body) = better.get("body") {
                    self.matches(body, &answer.json(), &place);
                }
                self.diverged |= answer.status != step.response.status;
            }
            None if !self.diverged || self.scenario.verdict == "keep" || answer.status == step.response.status => {
                self.kept(&step.response, &answer, &place);
            }
            None => panic!("{place}: not as recorded ({})", step.response.status),
        }
    }

    fn kept(&mut self, expected: &Expected, answer: &Answer, place: &str) {
        assert_eq!(answer.status, expected.status, "{place}");
        assert_eq!(answer.header("allow"), expected.headers.get("Allow").map(String::as_str), "{place}");
        if expected.body == "" {
            assert_eq!(answer.text, "", "{place}");
        } else {
            assert_eq!(
                answer.header("content-type"),
                expected.headers.get("Content-Type").map(String::as_str),
                "{place}"
            );
            self.matches(&expected.body, &answer.json(), place);
        }
    }

    /// Compares values; a placeholder takes what stands there at first sight and is equal from then on.
    fn matches(&mut self, expected: &Value, got: &Value, place: &str) {
        match (expected, got) {
            (Value::Object(expected), Value::Object(got)) => {
                assert!(expected.keys().eq(got.keys()), "{place}: keys");
                for (key, value) in expected {
                    match key.as_str() {
                        "total_size" => assert_eq!(number(value), got[key].as_u64(), "{place}: an integer"),
                        "url" | "video_url" if value != "" => self.names_the_content(&got[key], place),
                        _ => self.matches(value, &got[key], place),
                    }
                }
            }
            (Value::Array(expected), Value::Array(got)) => {
                assert_eq!(expected.len(), got.len(), "{place}");
                for (expected, got) in expected.iter().zip(got) {
                    self.matches(expected, got, place);
                }
            }
            (Value::String(pattern), Value::String(value)) if pattern.contains('{') => {
                self.placeholder(pattern, value, place);
            }
            _ => assert_eq!(expected, got, "{place}"),
        }
    }

    fn placeholder(&mut self, pattern: &str, value: &str, place: &str) {
        let pattern = pattern.replace("{base}", &self.app.base);
        let Some((before, (name, after))) =
            pattern.split_once('{').and_then(|(before, rest)| Some((before, rest.split_once('}')?)))
        else {
            return assert_eq!(pattern, value, "{place}");
        };
        let taken = value.strip_prefix(before).and_then(|value| value.strip_suffix(after));
        let taken = taken.unwrap_or_else(|| panic!("{place}: {value} is not {pattern}"));
        let name = format!("{{{name}}}");
        let known = self.seen.entry(name.clone()).or_insert_with(|| taken.to_owned());
        assert_eq!(known, taken, "{place}: {name}");
        well_formed(&name, taken, place);
    }

    /// Where the original had a path of its own, an absolute URL of the content.
    fn names_the_content(&self, url: &Value, place: &str) {
        let id = url.as_str().and_then(|url| url.strip_prefix(&format!("{}/api/v1/uploads/", self.app.base)));
        let id = id.and_then(|rest| rest.strip_suffix("/content")).unwrap_or_else(|| panic!("{place}: {url}"));
        well_formed("{uuid}", id, place);
    }

    fn filled(&self, text: &str) -> String {
        let mut text = text.to_owned();
        if let Some(id) = self.seen.get("{upload_id}") {
            let dashed = format!("{}-{}-{}-{}-{}", &id[..8], &id[8..12], &id[12..16], &id[16..20], &id[20..]);
            text = text.replace("{upload_id_dashed}", &dashed);
        }
        if let Some(id) = self.seen.get("{uuid}") {
            text = text.replace("{uuid_hex}", &id.replace('-', ""));
        }
        self.seen.iter().fold(text, |text, (name, value)| text.replace(name, value))
    }

    async fn send(&mut self, request: &Request) -> Answer {
        let caller = match request.user.as_deref() {
            Some(user) => self.app.user(user),
            None => self.app.anonymous(),
        };
        let (content_type, body) = self.body(request);
        let mut headers: Vec<(String, String)> = request.headers.clone().into_iter().collect();
        headers.iter_mut().for_each(|(_, value)| *value = self.filled(value));
        headers.extend(content_type.map(|value| ("Content-Type".to_owned(), value)));
        let jar = request.jar.clone().unwrap_or(Some(request.user.clone().unwrap_or_default()));
        let cookies = jar.as_ref().and_then(|jar| self.jars.get(jar)).into_iter().flatten();
        let cookies: Vec<String> = cookies.map(|(name, value)| format!("{name}={value}")).collect();
        if !cookies.is_empty() {
            headers.push(("Cookie".into(), cookies.join("; ")));
        }
        let answer = caller.send(&request.method, &self.filled(&request.path), &headers, body).await;
        if let Some(jar) = jar {
            let sent = answer.headers.get_all("set-cookie").iter().filter_map(|line| line.to_str().ok());
            let pairs = sent.filter_map(|line| line.split(';').next()?.split_once('='));
            let pairs = pairs.map(|(name, value)| (name.to_owned(), value.to_owned()));
            self.jars.entry(jar).or_default().extend(pairs);
        }
        answer
    }

    /// The fields of a form; the original's kind of credentials becomes alice's signature.
    fn fields(&self, request: &Request) -> Vec<(String, String)> {
        let mut fields: Vec<(String, String)> = request.fields.clone().unwrap_or_default();
        let signed = self.app.config.auth.methods == [Method::Signature];
        if signed && fields.iter().any(|(_, value)| value == "{alice_key}") {
            fields.retain(|(name, _)| name != "username" && name != "api_key");
            let names = ["api_key", "timestamp", "signature"].map(str::to_owned);
            let values = self.app.user("alice").proof().into_iter().map(|(_, value)| value);
            fields.extend(names.into_iter().zip(values));
        }
        fields
    }

    fn body(&self, request: &Request) -> (Option<String>, Vec<u8>) {
        let mut parts = Vec::new();
        for (name, value) in self.fields(request) {
            parts.push(form::Part::field(&name, &self.filled(&value)));
        }
        for part in request.parts.iter().flatten().chain(&request.file) {
            parts.push(match (&part.value, &part.filename) {
                (Some(value), _) => form::Part::field(&part.field, &self.filled(value)),
                (None, Some(filename)) => form::Part::file(
                    &part.field,
                    filename,
                    part.content_type.as_deref(),
                    fill(&part.fill, part.from, part.size),
                ),
                (None, None) => panic!("a part is a field or a file"),
            });
        }
        let multipart = request.file.is_some() || request.parts.is_some() || request.encoding.is_some();
        match (&request.body, multipart, request.fields.is_some()) {
            (Some(Raw::Text(body)), ..) => (None, self.filled(body).into_bytes()),
            (Some(Raw::Filled { size, fill: pattern, from }), ..) => (None, fill(pattern, *from, *size)),
            (None, true, _) => form::multipart(&parts),
            (None, false, true) => form::urlencoded(&parts),
            (None, false, false) => (None, Vec::new()),
        }
    }
}

fn number(value: &Value) -> Option<u64> {
    value.as_u64().or_else(|| value.as_str()?.parse().ok())
}

fn well_formed(name: &str, value: &str, place: &str) {
    if name.starts_with("{upload_id") {
        assert!(value.len() == 32 && value.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f')), "{place}: {value}");
    }
    if name.starts_with("{uuid") || name.starts_with("{delete_id") {
        let dashes: Vec<_> = value.match_indices('-').map(|(at, _)| at).collect();
        assert!(value.len() == 36 && dashes == [8, 13, 18, 23] && value == value.to_lowercase(), "{place}: {value}");
    }
    if name.starts_with("{expires") {
        let fraction = value.strip_suffix('Z').and_then(|value| value.get(19..)).expect("UTC");
        assert!(fraction.is_empty() || (fraction.len() == 4 && fraction.starts_with('.')), "{place}: {value}");
    }
}
