//! The recorded requests and answers of the original django-chunked-upload, replayed.
//!
//! `keep`: status, body and `Allow` exactly as recorded. `better`: the steps with a `better` key answer what it says (a
//! `{}` is settled here, by name); the steps before the first of them are kept.

use std::collections::HashMap;

use chunkgate::config::Config;
use serde::Deserialize;
use serde_json::{Value, json};

use crate::support::{Answer, Caller, TestApp, fill, form};

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
    headers: HashMap<String, String>,
    fields: Option<Vec<(String, String)>>,
    encoding: Option<String>,
    file: Option<Part>,
    parts: Option<Vec<Part>>,
    body: Option<String>,
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

/// What this service answers where the recording leaves the bettered answer open: `(scenario, step, answer)`.
///
/// The last one is the only place where a kept answer is bettered: an md5 in upper case is the same md5.
fn settled(scenario: &str, step: usize) -> Option<Value> {
    match (scenario, step) {
        ("complete-too-early", 1) => {
            Some(json!({"status": 400, "body": {"detail": "Upload is not complete", "offset": 20}}))
        }
        ("total-changes-and-bytes-beyond-the-total", 1) => {
            Some(json!({"status": 400, "body": {"detail": "Total size does not match the first chunk's (25 bytes)"}}))
        }
        ("total-changes-and-bytes-beyond-the-total", 3) => Some(json!({"status": 400})),
        ("no-trailing-slash", 1) => Some(json!({"status": 404, "body": {"detail": "Not found"}})),
        ("unknown-and-foreign-id", 0 | 1 | 3 | 4) => Some(json!({"status": 404, "body": {"detail": "Not found"}})),
        ("complete-refused-then-right", 7) => Some(json!({"status": 200, "body": {}})),
        _ => None,
    }
}

#[tokio::test]
async fn every_recorded_scenario_is_answered() {
    let text = include_str!("../fixtures/golden-multipart.json");
    let scenarios: Vec<Scenario> = serde_json::from_str(text).expect("the recording");
    let (mut scenes, mut steps) = (0, 0);
    for scenario in &scenarios {
        let app = TestApp::with(|config| apply(config, &scenario.settings)).await;
        let mut replay = Replay { app: &app, scenario, seen: HashMap::new(), diverged: false };
        for (index, step) in scenario.steps.iter().enumerate() {
            replay.step(index, step).await;
            steps += 1;
        }
        app.stop().await;
        scenes += 1;
    }
    assert_eq!((scenes, steps), (30, 126), "the whole recording");
}

/// The scenario's settings, by the names of the configuration.
fn apply(config: &mut Config, settings: &HashMap<String, Value>) {
    for (key, value) in settings {
        let text = || value.as_str().expect("text").to_owned();
        let truth = || value.as_bool().expect("a truth");
        match key.as_str() {
            "auth.anonymous" => config.auth.anonymous = truth(),
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
    seen: HashMap<String, String>,
    /// A bettered step changed the state, so what follows was recorded in another one.
    diverged: bool,
}

impl Replay<'_> {
    async fn step(&mut self, index: usize, step: &Step) {
        self.app.clock.advance(std::time::Duration::from_millis(step.wait_ms));
        let answer = self.send(&step.request).await;
        let place = format!("{} step {index}: {}", self.scenario.name, answer.text);
        let named = settled(&self.scenario.name, index);
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
                    self.matches(value, &got[key], place);
                }
            }
            (Value::String(name), Value::String(value)) if name.starts_with('{') => {
                let known = self.seen.entry(name.clone()).or_insert_with(|| value.clone());
                assert_eq!(known, value, "{place}: {name}");
                well_formed(name, value, place);
            }
            _ => assert_eq!(expected, got, "{place}"),
        }
    }

    fn filled(&self, text: &str) -> String {
        let mut text = text.to_owned();
        if let Some(id) = self.seen.get("{upload_id}") {
            let dashed = format!("{}-{}-{}-{}-{}", &id[..8], &id[8..12], &id[12..16], &id[16..20], &id[20..]);
            text = text.replace("{upload_id_dashed}", &dashed);
        }
        self.seen.iter().fold(text, |text, (name, value)| text.replace(name, value))
    }

    async fn send(&self, request: &Request) -> Answer {
        let caller = match request.user.as_deref() {
            Some(user) => self.app.user(user),
            None => self.app.anonymous(),
        };
        let (content_type, body) = self.body(request);
        let mut headers: Vec<(String, String)> = request.headers.clone().into_iter().collect();
        headers.extend(content_type.map(|value| ("Content-Type".to_owned(), value)));
        self.exchange(&caller, request, headers, body).await
    }

    async fn exchange(
        &self,
        caller: &Caller,
        request: &Request,
        headers: Vec<(String, String)>,
        body: Vec<u8>,
    ) -> Answer {
        caller.send(&request.method, &self.filled(&request.path), &headers, body).await
    }

    fn body(&self, request: &Request) -> (Option<String>, Vec<u8>) {
        let mut parts = Vec::new();
        for (name, value) in request.fields.iter().flatten() {
            parts.push(form::Part::field(name, &self.filled(value)));
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
            (Some(body), ..) => (None, self.filled(body).into_bytes()),
            (None, true, _) => form::multipart(&parts),
            (None, false, true) => form::urlencoded(&parts),
            (None, false, false) => (None, Vec::new()),
        }
    }
}

fn well_formed(name: &str, value: &str, place: &str) {
    if name.starts_with("{upload_id") {
        assert!(value.len() == 32 && value.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f')), "{place}: {value}");
    }
    if name.starts_with("{expires") {
        let fraction = value.strip_suffix('Z').and_then(|value| value.get(19..)).expect("UTC");
        assert!(fraction.is_empty() || (fraction.len() == 4 && fraction.starts_with('.')), "{place}: {value}");
    }
}
