//! Pages of other origins, over the whole service: what a browser is told, and what it is not.

use std::time::Duration;

use axum::{Router, routing::get};
use chunkgate::{
    config::{Config, Sources, load},
    http::cors,
};
use serde_json::json;

use crate::support::{
    Answer, Caller, TestApp, form,
    identity::{Mode, Scripted},
};

const LISTED: &str = "https://app.example.org";
const UNLISTED: &str = "https://app.example.org.evil.example";
const GRANTS: [&str; 6] = [
    "access-control-allow-origin",
    "access-control-allow-credentials",
    "access-control-allow-methods",
    "access-control-allow-headers",
    "access-control-expose-headers",
    "access-control-max-age",
];

type Headers = Vec<(String, String)>;

fn listing(origins: &[&str]) -> impl FnOnce(&mut Config) {
    let origins = origins.iter().map(|origin| (*origin).to_owned()).collect();
    move |config| config.cors.allowed_origins = origins
}

fn named(pairs: &[(&str, &str)]) -> Headers {
    pairs.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()
}

async fn preflight(caller: &Caller, path: &str, origin: &str, method: &str) -> Answer {
    let headers = [("Origin", origin), ("Access-Control-Request-Method", method)];
    caller.send_as_is("OPTIONS", path, &named(&headers), Vec::new()).await
}

async fn from(caller: &Caller, origin: &str, method: &str, path: &str) -> Answer {
    caller.send(method, path, &named(&[("Origin", origin)]), Vec::new()).await
}

fn granted(answer: &Answer) -> Vec<&str> {
    GRANTS.into_iter().filter(|name| answer.header(name).is_some()).collect()
}

#[track_caller]
fn varies(answer: &Answer) {
    let vary = answer.header("vary").unwrap_or_default();
    assert!(vary.split(", ").any(|name| name == "Origin"), "{} {vary:?}", answer.status);
}

/// An answer to a listed origin.
#[track_caller]
fn readable(answer: &Answer, origin: &str) {
    varies(answer);
    assert_eq!(answer.header("access-control-allow-origin"), Some(origin), "{} {}", answer.status, answer.text);
    assert_eq!(answer.header("access-control-allow-credentials"), Some("true"));
    let exposed = answer.header("access-control-expose-headers").expect("exposed headers");
    for name in ["Range", "Retry-After", "WWW-Authenticate", "Upload-Offset", "Tus-Resumable", "Repr-Digest"] {
        assert!(exposed.split(", ").any(|one| one == name), "{name}: {exposed}");
    }
    assert!(answer.header("access-control-allow-methods").is_none());
}

/// An answer to an origin that is not listed, or to none.
#[track_caller]
fn unreadable(answer: &Answer) {
    varies(answer);
    assert_eq!(granted(answer), Vec::<&str>::new(), "{} {}", answer.status, answer.text);
}

#[tokio::test]
async fn a_preflight_needs_no_credentials_and_asks_nobody() {
    let identity = Scripted::start(&[Mode::Ok]).await;
    let url = identity.url();
    let app = TestApp::with(|config| {
        config.identity.url = url;
        listing(&[LISTED])(config);
    })
    .await;
    let caller = app.anonymous();
    let some = "/api/v1/uploads/3672e70a94cc45dea8569c35b7a20339";
    for (path, method) in [
        ("/chunked_upload/", "POST"),
        ("/chunked_upload", "POST"),
        ("/chunked_upload_complete/", "POST"),
        ("/api/v1/uploads", "GET"),
        (some, "DELETE"),
        ("/nowhere", "PATCH"),
    ] {
        let answer = preflight(&caller, path, LISTED, method).await.expect(204);
        assert_eq!(answer.text, "");
        assert_eq!(answer.header("access-control-allow-origin"), Some(LISTED), "{path}");
        assert_eq!(answer.header("access-control-allow-credentials"), Some("true"));
        assert_eq!(answer.header("access-control-max-age"), Some("7200"));
        assert_eq!(answer.header("access-control-allow-methods"), Some("POST, GET, OPTIONS, DELETE, PUT, PATCH, HEAD"));
        let allowed = answer.header("access-control-allow-headers").expect("headers");
        for name in ["Content-Range", "username", "api_key", "X-Api-Key", "X-Signature", "Upload-Token", "signature"] {
            assert!(allowed.split(", ").any(|one| one == name), "{name}: {allowed}");
        }
        assert!(answer.header("access-control-expose-headers").is_none());
        for origin in [UNLISTED, "null", "http://app.example.org", "https://app.example.org:8443", ""] {
            let answer = preflight(&caller, path, origin, method).await.expect(204);
            assert_eq!((granted(&answer), answer.text.as_str()), (vec![], ""), "{path} {origin}");
            let vary = "Origin, Access-Control-Request-Method, Access-Control-Request-Headers";
            assert_eq!(answer.header("vary"), Some(vary));
        }
    }
    assert_eq!(identity.calls(), 0);
    app.stop().await;
}

#[tokio::test]
async fn any_other_options_reaches_its_door() {
    let app = TestApp::with(listing(&[LISTED])).await;
    let caller = app.anonymous();
    let plain = caller.send_as_is("OPTIONS", "/chunked_upload/", &[], Vec::new()).await.expect(200);
    assert_eq!(plain.header("allow"), Some("POST, OPTIONS"));
    unreadable(&plain);
    let asked = from(&caller, LISTED, "OPTIONS", "/chunked_upload/").await.expect(200);
    assert_eq!(asked.header("allow"), Some("POST, OPTIONS"));
    readable(&asked, LISTED);
    let lone = named(&[("Access-Control-Request-Method", "POST")]);
    unreadable(&caller.send_as_is("OPTIONS", "/chunked_upload/", &lone, Vec::new()).await.expect(200));
    app.stop().await;
}

#[tokio::test]
async fn every_answer_tells_a_listed_origin_and_no_other() {
    let identity = Scripted::start(&[Mode::Ok]).await;
    let url = identity.url();
    let app = TestApp::with(|config| {
        config.identity.url = url;
        config.identity.try_timeout = Duration::from_millis(100);
        config.identity.deadline = Duration::from_millis(150);
        listing(&[LISTED])(config);
    })
    .await;
    let panics = async || -> &'static str { panic!("a bug") };
    let varied = async || ([("Vary", "Accept")], "page");
    let pages = Router::new().route("/panic", get(panics)).route("/varied", get(varied));
    let app = app.restart_with_pages(pages).await;
    let (alice, nobody) = (app.user("alice"), app.anonymous());
    let disabled = Mode::Deny(200, "user_disabled", json!({}));
    for (mode, caller, method, path, status) in [
        (Mode::Ok, &alice, "GET", "/api/v1/uploads", 200),
        (Mode::Ok, &nobody, "GET", "/api/v1/uploads", 401),
        (Mode::Ok, &nobody, "GET", "/healthz", 200),
        (Mode::Ok, &nobody, "GET", "/nowhere", 404),
        (Mode::Ok, &nobody, "PUT", "/healthz", 405),
        (Mode::Ok, &nobody, "GET", "/chunked_upload/", 405),
        (Mode::Ok, &nobody, "GET", "/panic", 500),
        (disabled, &alice, "GET", "/api/v1/uploads", 403),
        (Mode::Page(500), &alice, "GET", "/api/v1/uploads", 503),
    ] {
        identity.set(mode);
        for origin in [LISTED, UNLISTED, "null"] {
            // A proof of its own each time: what was proved before may be answered from memory.
            app.clock.advance(Duration::from_secs(1));
            let answer = from(caller, origin, method, path).await.expect(status);
            match origin {
                LISTED => readable(&answer, LISTED),
                _ => unreadable(&answer),
            }
        }
        app.clock.advance(Duration::from_secs(1));
        unreadable(&caller.send(method, path, &[], Vec::new()).await.expect(status));
    }
    let answer = from(&nobody, LISTED, "GET", "/varied").await.expect(200);
    let vary: Vec<_> = answer.headers.get_all("vary").iter().map(|value| value.to_str().expect("text")).collect();
    assert_eq!(vary, ["Accept", "Origin"]);
    let two = named(&[("Origin", LISTED), ("Origin", UNLISTED)]);
    unreadable(&nobody.send_as_is("GET", "/healthz", &two, Vec::new()).await.expect(200));
    app.stop().await;
}

#[tokio::test]
async fn refusals_of_the_head_and_of_a_chunk_are_readable() {
    let app = TestApp::with(|config| {
        config.uploads.max_bytes = Some(bytesize::ByteSize::b(4));
        listing(&[LISTED])(config);
    })
    .await;
    let origin = || ("Origin".to_owned(), LISTED.to_owned());
    let long = [origin(), ("X-Long".to_owned(), "x".repeat(33 * 1024))];
    let answer = app.anonymous().send_as_is("GET", "/healthz", &long, Vec::new()).await;
    assert!((400..500).contains(&answer.status), "{}", answer.status);
    readable(&answer, LISTED);

    let chunk = async |bytes: &[u8]| {
        let (content_type, body) = form::multipart(&[form::Part::file("file", "a.bin", None, bytes.to_vec())]);
        let headers = [origin(), ("Content-Type".to_owned(), content_type.expect("multipart"))];
        app.user("alice").send("POST", "/chunked_upload/", &headers, body).await
    };
    let stored = chunk(b"0123").await.expect(200);
    assert_eq!(stored.header("range"), Some("0-3"));
    readable(&stored, LISTED);
    let refused = chunk(b"01234").await;
    assert!((400..500).contains(&refused.status), "{}", refused.status);
    readable(&refused, LISTED);
    app.stop().await;
}

#[tokio::test]
async fn patterns_ports_and_any_origin() {
    let app = TestApp::with(listing(&["https://*.example.org", "http://localhost:3000"])).await;
    let caller = app.anonymous();
    for (origin, listed) in [
        ("https://a.example.org", true),
        ("http://localhost:3000", true),
        ("https://example.org", false),
        ("https://a.b.example.org", false),
        ("https://evilexample.org", false),
        ("http://a.example.org", false),
        ("https://a.example.org:8443", false),
        ("http://localhost", false),
    ] {
        let told = from(&caller, origin, "GET", "/healthz").await.expect(200);
        assert_eq!(told.header("access-control-allow-origin"), listed.then_some(origin), "{origin}");
        let told = preflight(&caller, "/chunked_upload/", origin, "POST").await.expect(204);
        assert_eq!(told.header("access-control-allow-origin"), listed.then_some(origin), "{origin}");
    }
    let app = app
        .restart(|config| {
            config.cors.allow_credentials = false;
            listing(&["*"])(config);
        })
        .await;
    let caller = app.anonymous();
    for answer in [
        from(&caller, UNLISTED, "GET", "/healthz").await.expect(200),
        preflight(&caller, "/chunked_upload/", UNLISTED, "POST").await.expect(204),
    ] {
        assert_eq!(answer.header("access-control-allow-origin"), Some("*"));
        assert_eq!(answer.header("access-control-allow-credentials"), None);
        varies(&answer);
    }
    unreadable(&from(&caller, "null", "GET", "/healthz").await.expect(200));
    unreadable(&caller.get("/healthz").await.expect(200));
    app.stop().await;
}

/// Origins and whether they are listed: by name, by pattern, or not at all.
const ORIGINS: [(&str, &str, bool); 14] = [
    ("listed", LISTED, true),
    ("listed with a port", "http://localhost:3000", true),
    ("below the pattern", "https://a.example.com", true),
    ("the name behind another's", UNLISTED, false),
    ("a sandboxed page or a file", "null", false),
    ("wrong scheme", "http://app.example.org", false),
    ("another port", "https://app.example.org:8443", false),
    ("without the port", "http://localhost", false),
    ("the pattern's own domain", "https://example.com", false),
    ("two below the pattern", "https://a.b.example.com", false),
    ("the pattern with another port", "https://a.example.com:8443", false),
    ("the pattern with another scheme", "http://a.example.com", false),
    ("the end of a name like the pattern's", "https://evilexample.com", false),
    ("no origin at all", "app.example.org", false),
];

/// A route of each kind of every door: path, method, and what its door answers to an OPTIONS that is no preflight.
const DOORS: [(&str, &str, u16); 10] = [
    ("/chunked_upload/", "POST", 200),
    ("/chunked_upload_complete/", "POST", 200),
    ("/chunked_uploads/upload/", "POST", 200),
    ("/chunked_uploads/upload/done/3672e70a-94cc-45de-a856-9c35b7a20339/", "POST", 200),
    ("/chunked_uploads/3672e70a-94cc-45de-a856-9c35b7a20339/delete/", "DELETE", 200),
    ("/files/", "POST", 200),
    ("/files/3672e70a-94cc-45de-a856-9c35b7a20339", "PATCH", 200),
    ("/api/v1/uploads", "GET", 405),
    ("/api/v1/uploads/3672e70a-94cc-45de-a856-9c35b7a20339", "DELETE", 405),
    ("/api/v1/uploads/3672e70a-94cc-45de-a856-9c35b7a20339/content", "GET", 405),
];

#[tokio::test]
async fn preflights_of_every_origin_at_every_door() {
    for credentials in [true, false] {
        let app = TestApp::with(|config| {
            config.cors.allow_credentials = credentials;
            listing(&[LISTED, "https://*.example.com", "http://localhost:3000"])(config);
        })
        .await;
        let caller = app.anonymous();
        for (what, origin, listed) in ORIGINS {
            for (path, method, plain) in DOORS {
                let place = format!("{what}, {method} {path}, credentials: {credentials}");
                let answer = preflight(&caller, path, origin, method).await.expect(204);
                let expected = [
                    listed.then_some(origin),
                    (listed && credentials).then_some("true"),
                    listed.then_some("POST, GET, OPTIONS, DELETE, PUT, PATCH, HEAD"),
                ];
                assert_eq!([0, 1, 2].map(|at| answer.header(GRANTS[at])), expected, "{place}");
                let grants = if listed { 4 + usize::from(credentials) } else { 0 };
                assert_eq!(granted(&answer).len(), grants, "{place}");
                assert!(
                    answer.header("vary").is_some_and(|vary| vary.starts_with("Origin, Access-Control-Request-Method"))
                );

                let asked = from(&caller, origin, "OPTIONS", path).await;
                assert_eq!(asked.status, plain, "no preflight: {place}");
                assert_eq!(asked.header("access-control-allow-origin"), listed.then_some(origin), "{place}");
                assert!(asked.header("access-control-allow-methods").is_none(), "{place}");
            }
        }
        for (path, method, plain) in DOORS {
            let lone = named(&[("Access-Control-Request-Method", method)]);
            let answer = caller.send_as_is("OPTIONS", path, &lone, Vec::new()).await.expect(plain);
            assert_eq!(granted(&answer), Vec::<&str>::new(), "no origin: {method} {path}");
        }
        app.stop().await;
    }
}

// ---- settings ------------------------------------------------------------------------------------------------------

fn settings(variables: &[(&str, &str)]) -> Result<cors::Settings, String> {
    let environment = variables.iter().map(|(key, value)| (format!("CHUNKGATE_CORS__{key}"), (*value).to_owned()));
    load(&Sources { environment: environment.collect(), ..Sources::default() })
        .map(|loaded| loaded.config.cors)
        .map_err(|error| error.to_string())
}

fn from_file(text: &str) -> Result<cors::Settings, String> {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("c.toml");
    std::fs::write(&path, format!("[cors]\n{text}\n")).expect("a file");
    load(&Sources { file: Some(path), ..Sources::default() })
        .map(|loaded| loaded.config.cors)
        .map_err(|error| error.to_string())
}

fn tree(settings: &cors::Settings) -> serde_json::Value {
    serde_json::to_value(settings).expect("settings serialize")
}

#[test]
fn the_originals_settings_are_accepted_as_they_are() {
    let original = settings(&[
        ("ALLOWED_ORIGINS", "http://localhost"),
        ("ALLOWED_METHODS", "POST, GET, OPTIONS, DELETE"),
        ("ALLOWED_HEADERS", "Content-Type, Content-Range, Content-Disposition, Content-Description, username, api_key"),
        ("ALLOW_CREDENTIALS", "true"),
    ])
    .expect("valid");
    assert_eq!(original.allowed_origins, ["http://localhost"]);
    assert_eq!(original.allowed_methods, ["POST", "GET", "OPTIONS", "DELETE"]);
    assert_eq!((original.allowed_headers.len(), original.allow_credentials), (6, true));
    let origins = ["https://a.example.org", "https://b.example.org:8443"];
    for text in [
        "allowed_origins = 'https://a.example.org https://b.example.org:8443'",
        "allowed_origins = 'https://a.example.org,https://b.example.org:8443'",
        "allowed_origins = ' https://a.example.org ,\thttps://b.example.org:8443 '",
        "allowed_origins = ['https://a.example.org', 'https://b.example.org:8443']",
    ] {
        assert_eq!(from_file(text).expect("valid").allowed_origins, origins, "{text}");
    }
    let list = "[\"https://a.example.org\", \"https://b.example.org:8443\"]";
    assert_eq!(settings(&[("ALLOWED_ORIGINS", list)]).expect("valid").allowed_origins, origins);
    for (text, on) in [("'true'", true), ("'True'", true), ("'false'", false), ("false", false)] {
        let read = from_file(&format!("allow_credentials = {text}")).expect("valid");
        assert_eq!(read.allow_credentials, on, "{text}");
    }
}

#[test]
fn each_setting_falls_back_alone() {
    let defaults = tree(&cors::Settings::default());
    for (key, value, read) in [
        ("allowed_origins", "https://a.example.org", json!(["https://a.example.org"])),
        ("allowed_methods", "GET", json!(["GET"])),
        ("allowed_headers", "X-One", json!(["X-One"])),
        ("allow_credentials", "false", json!(false)),
        ("expose_headers", "X-One, X-Two", json!(["X-One", "X-Two"])),
        ("max_age", "5m", json!("5m")),
    ] {
        let mut expected = defaults.clone();
        expected[key] = read;
        let given = tree(&settings(&[(&key.to_uppercase(), value)]).expect("valid"));
        assert_eq!(given, expected, "{key}");
    }
}

#[test]
fn what_cannot_be_kept_refuses_the_start() {
    for (text, key) in [
        ("allowed_origins = ['*']", "allowed_origins"),
        ("allowed_origins = '*'", "allowed_origins"),
        ("allowed_origins = ['*', 'https://a.example.org']\nallow_credentials = false", "allowed_origins"),
        ("allowed_origins = ['null']", "allowed_origins"),
        ("allowed_origins = ['example.org']", "allowed_origins"),
        ("allowed_origins = ['https://Example.org']", "allowed_origins"),
        ("allowed_origins = ['https://example.org/']", "allowed_origins"),
        ("allowed_origins = ['https://*example.org']", "allowed_origins"),
        ("allowed_origins = ['https://*.org']", "allowed_origins"),
        ("allowed_origins = '[1]'", "allowed_origins"),
        ("allowed_origins = 5", "allowed_origins"),
        ("allowed_methods = ['patch']", "allowed_methods"),
        ("allowed_methods = '*'", "allowed_methods"),
        ("allowed_methods = 'TRACE'", "allowed_methods"),
        ("allowed_headers = '*'", "allowed_headers"),
        ("allowed_headers = ['X One']", "allowed_headers"),
        ("expose_headers = '*'", "expose_headers"),
        ("allow_credentials = 'perhaps'", "allow_credentials"),
        ("max_age = '2days'", "max_age"),
        ("max_age = 7200", "max_age"),
    ] {
        let refused = from_file(text).expect_err(text);
        let lines = refused.lines().filter(|line| line.contains("c.toml:")).count();
        assert!(lines == 1 && refused.contains(&format!(": cors.{key}: ")), "{text}: {refused}");
    }
    assert!(from_file("allowed_origins = '*'\nallow_credentials = false").is_ok());
    assert!(from_file("allowed_origins = []").is_ok());

    let settings = cors::Settings { allowed_origins: vec!["*".into()], ..cors::Settings::default() };
    let refused = cors::Cors::new(&settings).expect_err("refused");
    assert!(refused.starts_with("cors.allowed_origins: `*` needs cors.allow_credentials = false"), "{refused}");
}
