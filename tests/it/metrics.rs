//! What the service tells Prometheus: that each number moves by the right deed and by no other, that the text is well
//! formed, that the page of `proto-docs` names what there is, and that nothing a client sends becomes a series.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use chunkgate::{
    auth::{Method, Reuse},
    config::Config,
};
use serde_json::json;

use crate::support::{
    Caller, TestApp,
    identity::{Mode, Scripted},
    md5,
};

const PAGE: &str = include_str!("../../proto-docs/metrics.md");

// ---- reading the text ----------------------------------------------------------------------------------------------

/// One family of the text.
#[derive(Debug, Default)]
struct Family {
    kind: String,
    labels: BTreeSet<String>,
    series: BTreeMap<String, f64>,
}

/// The whole text by names without `chunkgate_`.
type Read = BTreeMap<String, Family>;

/// Reads the text format 0.0.4 and panics at whatever is not well formed.
fn read(text: &str) -> Read {
    let mut found = Read::new();
    let (mut helped, mut current) = (String::new(), String::new());
    assert!(text.ends_with('\n'), "the last line ends");
    for line in text.lines() {
        if let Some(help) = line.strip_prefix("# HELP ") {
            let (name, words) = help.split_once(' ').expect("a help");
            assert!(!words.is_empty() && !words.contains('\\'), "{line}");
            helped = name.to_owned();
        } else if let Some(kind) = line.strip_prefix("# TYPE ") {
            let (name, kind) = kind.split_once(' ').expect("a type");
            assert_eq!(name, helped, "a type follows its help");
            assert!(["counter", "gauge", "histogram"].contains(&kind), "{line}");
            assert_eq!(
                kind == "counter",
                name.ends_with("_total"),
                "counters, and they alone, end with _total: {line}"
            );
            current = name.strip_prefix("chunkgate_").expect("the prefix").to_owned();
            let family = Family { kind: kind.to_owned(), ..Family::default() };
            assert!(found.insert(current.clone(), family).is_none(), "twice: {line}");
        } else {
            let family = found.get_mut(&current).expect("a type before its samples");
            sample(line, &current, family);
        }
    }
    found.values().filter(|family| family.kind == "histogram").for_each(cumulative);
    found
}

fn sample(line: &str, of: &str, family: &mut Family) {
    let (series, value) = line.rsplit_once(' ').expect("a value");
    let value: f64 = value.parse().expect("a number");
    assert!(value.is_finite() && value >= 0.0, "{line}");
    let (name, labels) = series.split_once('{').unwrap_or((series, "}"));
    let suffix = name.strip_prefix("chunkgate_").and_then(|name| name.strip_prefix(of)).expect("its family's name");
    let suffixes: &[&str] = if family.kind == "histogram" { &["_bucket", "_sum", "_count"] } else { &[""] };
    assert!(suffixes.contains(&suffix), "{line}");
    for label in labels.strip_suffix('}').expect("closed").split(',').filter(|label| !label.is_empty()) {
        let (name, value) = label.split_once('=').expect("a label");
        let value = value.strip_prefix('"').and_then(|value| value.strip_suffix('"')).expect("quoted");
        assert!(name.bytes().all(|byte| byte.is_ascii_lowercase() || byte == b'_'), "{line}");
        assert!(!value.contains(['"', '\\', '\n']), "{line}");
        if name != "le" {
            family.labels.insert(name.to_owned());
        }
    }
    let key = series.strip_prefix("chunkgate_").expect("the prefix").to_owned();
    assert!(family.series.insert(key, value).is_none(), "twice: {line}");
}

/// Each bucket holds those below it, and the last one everything.
fn cumulative(family: &Family) {
    let mut by_labels: BTreeMap<String, Vec<(f64, f64)>> = BTreeMap::new();
    for (series, value) in family.series.iter().filter(|(series, _)| series.contains("_bucket{")) {
        let (labels, bound) = series.split_once("le=\"").expect("a bound");
        let bound = bound.trim_end_matches("\"}");
        let bound = if bound == "+Inf" { f64::INFINITY } else { bound.parse().expect("a bound") };
        by_labels.entry(labels.trim_end_matches([',', '{']).to_owned()).or_default().push((bound, *value));
    }
    assert!(!by_labels.is_empty());
    for (labels, mut buckets) in by_labels {
        buckets.sort_by(|(one, _), (other, _)| one.total_cmp(other));
        assert!(buckets.windows(2).all(|pair| pair[0].1 <= pair[1].1), "{labels}");
        let (last, everything) = buckets.last().copied().expect("buckets");
        assert!(last.is_infinite(), "{labels}");
        let count = labels.replacen("_bucket", "_count", 1);
        let count = if count.contains('{') { format!("{count}}}") } else { count };
        assert_eq!(family.series.get(&count), Some(&everything), "{count}");
    }
}

/// Everything that the service counts now.
fn now(app: &TestApp) -> BTreeMap<String, f64> {
    read(&app.running().metrics().text()).into_values().flat_map(|family| family.series).collect()
}

/// What of these families grew or shrank while a deed was done; how long things took is left out.
pub(crate) async fn moved<T>(
    app: &TestApp,
    families: &[&str],
    deed: impl Future<Output = T>,
) -> (T, Vec<(String, f64)>) {
    let before = now(app);
    let done = deed.await;
    let all = now(app);
    let of = |series: &str| families.iter().any(|family| series.starts_with(family)) && !series.contains("_bucket");
    let differs = |(series, value): (&String, &f64)| {
        let by = value - before.get(series).copied().unwrap_or_default();
        (of(series) && !series.contains("_sum") && by != 0.0).then(|| (series.clone(), by))
    };
    (done, all.iter().filter_map(differs).collect())
}

/// The same as it is expected, in the order of the text.
pub(crate) fn grew(pairs: &[(&str, f64)]) -> Vec<(String, f64)> {
    let mut pairs: Vec<_> = pairs.iter().map(|(series, by)| ((*series).to_owned(), *by)).collect();
    pairs.sort_by(|one, other| one.0.cmp(&other.0));
    pairs
}

async fn with_scripted(modes: &[Mode], change: impl FnOnce(&mut Config)) -> (TestApp, Scripted) {
    let identity = Scripted::start(modes).await;
    let url = identity.url();
    let app = TestApp::with(|config| {
        config.identity.url = url;
        config.identity.try_timeout = Duration::from_millis(200);
        config.identity.deadline = Duration::from_millis(400);
        change(config);
    })
    .await;
    (app, identity)
}

// ---- the page ------------------------------------------------------------------------------------------------------

#[tokio::test]
async fn the_page_names_every_metric_with_its_type_and_labels_and_no_other() {
    let app = TestApp::start().await;
    app.user("alice").get("/api/v1/uploads").await.expect(200);
    // Workers are known from their first step on.
    while now(&app).keys().filter(|series| series.starts_with("worker_steps_total")).count() < 3 {
        tokio::task::yield_now().await;
    }
    let row = |line: &str| {
        let mut cells =
            line.strip_prefix("| `chunkgate_")?.split('|').map(|cell| cell.replace('`', "").trim().to_owned());
        let (name, kind, labels) = (cells.next()?, cells.next()?, cells.next()?);
        let labels: BTreeSet<_> = labels.split(", ").filter(|label| !label.is_empty()).map(str::to_owned).collect();
        ["counter", "gauge", "histogram"].contains(&kind.as_str()).then_some((name, (kind, labels)))
    };
    let told: BTreeMap<_, _> = PAGE.lines().filter_map(row).collect();
    let text = app.running().metrics().text();
    let there: BTreeMap<_, _> =
        read(&text).into_iter().map(|(name, family)| (name, (family.kind, family.labels))).collect();
    assert_eq!(told, there);
    app.stop().await;
}

#[tokio::test]
async fn every_metric_in_an_alert_is_there_with_its_labels() {
    let app = TestApp::start().await;
    let text = app.running().metrics().text();
    let families = read(&text);
    let alerts = PAGE.split("## Alerts").nth(1).expect("alerts");
    let mut seen = 0;
    for part in alerts.split("chunkgate_").skip(1) {
        let name: String = part.chars().take_while(|c| c.is_ascii_lowercase() || *c == '_').collect();
        let family = families.get(name.trim_end_matches("_bucket")).unwrap_or_else(|| panic!("{name}"));
        if let Some(label) = part[name.len()..].strip_prefix('{').and_then(|rest| rest.split('}').next())
            && !label.starts_with("worker")
        {
            assert!(family.series.keys().any(|series| series.contains(label)), "{name}: {label}");
        }
        seen += 1;
    }
    assert!(seen >= 10, "{seen}");
    app.stop().await;
}

#[tokio::test]
async fn metrics_are_served_on_their_own_listener_alone() {
    let app = TestApp::start().await;
    assert_eq!(app.running().metrics_address(), None, "off unless asked for");
    app.anonymous().get("/metrics").await.expect(404);
    let app = app.restart(|config| config.metrics.listen = Some(([127, 0, 0, 1], 0).into())).await;
    app.anonymous().get("/metrics").await.expect(404);
    let watcher = app.anonymous().at(&format!("http://{}", app.running().metrics_address().expect("asked for")));
    let answer = watcher.get("/metrics").await.expect(200);
    assert_eq!(answer.header("content-type"), Some("text/plain; version=0.0.4; charset=utf-8"));
    assert_eq!(read(&answer.text)["http_requests_total"].kind, "counter");
    assert_eq!(read(&answer.text)["info"].series.values().sum::<f64>(), 1.0);
    watcher.get("/api/v1/uploads").await.expect(404);
    watcher.send("POST", "/metrics", &[], Vec::new()).await.expect(405);
    app.stop().await;
}

#[tokio::test]
async fn an_address_in_use_keeps_the_service_from_starting() {
    let taken = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    let folder = tempfile::tempdir().expect("a folder");
    let mut config = Config::default();
    config.database.url = format!("sqlite:{}", folder.path().join("test.db").display()).into();
    config.storage.local.path = folder.path().join("files");
    config.identity.token = crate::support::TOKEN.into();
    config.metrics.listen = Some(taken.local_addr().expect("bound"));
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    let clock = std::sync::Arc::new(chunkgate::domain::SystemClock);
    let started = chunkgate::app::start(config, listener, clock, axum::Router::new()).await;
    assert!(started.err().expect("refused").contains("metrics.listen"));
}

// ---- what moves ----------------------------------------------------------------------------------------------------

#[tokio::test]
async fn an_upload_is_counted_from_its_first_chunk_to_its_end() {
    let app = TestApp::start().await;
    let alice = app.user("alice");
    let families = ["upload", "content"];
    let (id, first) =
        moved(&app, &families, async { alice.chunk(None, Some((0, 4, 10)), b"01234").await.expect(200).id() }).await;
    let commit = ("upload_commit_duration_seconds_count", 1.0);
    let bytes = |name: &str| (format!("upload_{name}_bytes_total"), 5.0);
    let (received, acknowledged) = (bytes("received"), bytes("acknowledged"));
    let chunk =
        [(&*received.0, 5.0), (&*acknowledged.0, 5.0), ("upload_chunks_total{result=\"accepted\"}", 1.0), commit];
    assert_eq!(first, grew(&[&chunk[..], &[("uploads_total{event=\"created\"}", 1.0)]].concat()));

    let (_, wrong) =
        moved(&app, &families, async { alice.chunk(Some(&id), Some((3, 9, 10)), b"3456789").await.expect(400) }).await;
    assert_eq!(wrong, grew(&[("upload_chunks_total{result=\"wrong_offset\"}", 1.0)]));
    let (_, early) = moved(&app, &families, async { alice.complete(&id, &md5(b"0123456789")).await.expect(400) }).await;
    assert_eq!(early, grew(&[("upload_completions_total{result=\"incomplete\"}", 1.0)]));
    let (_, second) =
        moved(&app, &families, async { alice.chunk(Some(&id), Some((5, 9, 10)), b"56789").await.expect(200) }).await;
    assert_eq!(second, grew(&chunk));
    let (_, wrong) = moved(&app, &families, async { alice.complete(&id, &md5(b"other")).await.expect(400) }).await;
    assert_eq!(wrong, grew(&[("upload_completions_total{result=\"wrong_digest\"}", 1.0)]));
    let (_, done) = moved(&app, &families, async { alice.complete(&id, &md5(b"0123456789")).await.expect(200) }).await;
    let completed = ("uploads_total{event=\"completed\"}", 1.0);
    assert_eq!(done, grew(&[("upload_completions_total{result=\"accepted\"}", 1.0), completed]));
    let (_, gone) = moved(&app, &families, async { alice.cancel(&id).await.expect(204) }).await;
    assert_eq!(gone, grew(&[("uploads_total{event=\"cancelled\"}", 1.0)]));
    let (_, foreign) =
        moved(&app, &families, async { app.user("bob").chunk(Some(&id), Some((0, 0, 1)), b"0").await.expect(404) })
            .await;
    assert_eq!(foreign, grew(&[("upload_chunks_total{result=\"not_found\"}", 1.0)]));
    app.stop().await;
}

#[tokio::test]
async fn what_is_lost_and_what_outlives_its_time_is_counted() {
    let app = TestApp::start().await;
    let alice = app.user("alice");
    let id = alice.chunk(None, Some((0, 4, 10)), b"01234").await.expect(200).id();
    let file = app.stored().into_iter().next().expect("one file").0;
    std::fs::write(file, b"0").expect("truncated behind the service's back");
    let (answer, missing) =
        moved(&app, &["content", "upload_chunks"], alice.chunk(Some(&id), Some((5, 9, 10)), b"56789")).await;
    assert!(answer.status >= 500, "{}", answer.text);
    assert_eq!(missing[0], ("content_errors_total{error=\"missing\"}".to_owned(), 1.0));
    assert_eq!(missing[1], ("upload_chunks_total{result=\"internal\"}".to_owned(), 1.0));

    app.clock.advance(Duration::from_secs(25 * 60 * 60));
    while now(&app)["uploads_total{event=\"expired\"}"] == 0.0 {
        app.running().workers().nudge();
        tokio::task::yield_now().await;
    }
    let counted = now(&app);
    assert!(counted["worker_steps_total{worker=\"reaper\"}"] >= 1.0);
    assert!(counted["worker_last_step_seconds{worker=\"reaper\"}"] > counted["start_time_seconds"]);
    assert_eq!(counted["worker_last_failure_seconds{worker=\"reaper\"}"], 0.0);
    app.stop().await;
}

#[tokio::test]
async fn the_breaker_is_seen_to_open_and_to_close_and_the_budget_to_end() {
    let (app, identity) = with_scripted(&[Mode::Page(503)], |_| {}).await;
    let alice = app.user("alice");
    let ask = async |times: u32| {
        for _ in 0..times {
            app.clock.advance(Duration::from_millis(1001));
            alice.get("/api/v1/uploads").await;
        }
    };
    assert_eq!(now(&app)["identity_breaker_state{realm=\"default\",state=\"closed\"}"], 1.0);
    let crowd = async {
        let proofs: Vec<_> = (0..40)
            .map(|_| {
                app.clock.advance(Duration::from_secs(1));
                alice.proof()
            })
            .collect();
        // All of them within one second of the service's time.
        for chunk in proofs.chunks(4) {
            let asked = chunk.iter().map(|proof| alice.send_as_is("GET", "/api/v1/uploads", proof, Vec::new()));
            futures_util::future::join_all(asked).await;
        }
    };
    let (_, grown) = moved(&app, &["identity_breaker", "identity_requests_in", "identity_requests_wai"], crowd).await;
    let opened = [
        ("identity_breaker_changes_total{realm=\"default\",state=\"open\"}", 1.0),
        ("identity_breaker_state{realm=\"default\",state=\"closed\"}", -1.0),
        ("identity_breaker_state{realm=\"default\",state=\"open\"}", 1.0),
    ];
    assert_eq!(grown, grew(&opened), "and nothing is left under way");
    let counted = now(&app);
    assert!(counted["identity_requests_total{realm=\"default\",outcome=\"breaker_open\"}"] > 0.0);
    assert!(counted["identity_requests_total{realm=\"default\",outcome=\"status\"}"] >= 20.0);
    assert!(counted["identity_retries_total{realm=\"default\",result=\"made\"}"] > 0.0);

    identity.set(Mode::Ok);
    app.clock.advance(Duration::from_secs(6));
    let (_, grown) = moved(&app, &["identity_breaker_changes"], ask(4)).await;
    let closed = ("identity_breaker_changes_total{realm=\"default\",state=\"closed\"}", 1.0);
    assert_eq!(grown, grew(&[closed, ("identity_breaker_changes_total{realm=\"default\",state=\"half_open\"}", 1.0)]));
    assert_eq!(now(&app)["identity_breaker_state{realm=\"default\",state=\"closed\"}"], 1.0);
    app.stop().await;
}

#[tokio::test]
async fn what_is_remembered_shared_and_written_is_counted() {
    let (app, identity) = with_scripted(&[Mode::Ok], |_| {}).await;
    let alice = app.user("alice");
    let proof = alice.proof();
    let ask = || alice.send_as_is("GET", "/api/v1/uploads", &proof, Vec::new());
    let families = ["auth_"];
    let (_, first) = moved(&app, &families, ask()).await;
    let granted = ("auth_requests_total{method=\"signature\",result=\"granted\"}", 1.0);
    assert_eq!(
        first,
        grew(&[
            granted,
            ("auth_duration_seconds_count{source=\"identity\"}", 1.0),
            ("auth_provisioned_total{realm=\"default\",result=\"created\"}", 1.0),
            ("auth_verdicts_kept{realm=\"default\",judge=\"identity\",verdict=\"proven\"}", 1.0),
            ("auth_verdicts_missed_total{realm=\"default\",judge=\"identity\"}", 1.0),
        ])
    );
    let (_, second) = moved(&app, &families, ask()).await;
    let found = ("auth_verdicts_found_total{realm=\"default\",judge=\"identity\",verdict=\"proven\"}", 1.0);
    assert_eq!(second, grew(&[granted, ("auth_duration_seconds_count{source=\"cache\"}", 1.0), found]));

    identity.set(Mode::OkBut(json!({"user": {"id": "u1", "username": "anna"}})));
    app.clock.advance(Duration::from_secs(1));
    let (_, third) = moved(&app, &["auth_provisioned"], alice.get("/api/v1/uploads")).await;
    assert_eq!(third, grew(&[("auth_provisioned_total{realm=\"default\",result=\"updated\"}", 1.0)]));
    app.clock.advance(Duration::from_secs(1));
    let (_, fourth) = moved(&app, &["auth_provisioned"], alice.get("/api/v1/uploads")).await;
    assert_eq!(fourth, grew(&[("auth_provisioned_total{realm=\"default\",result=\"unchanged\"}", 1.0)]));

    let gate = std::sync::Arc::new(tokio::sync::Semaphore::new(0));
    identity.set(Mode::Held(gate.clone()));
    app.clock.advance(Duration::from_secs(1));
    let proof = alice.proof();
    let (asked, answered) = (identity.calls() + 1, || alice.send_as_is("GET", "/api/v1/uploads", &proof, Vec::new()));
    let watch = async {
        identity.has_been_asked(asked).await;
        while now(&app)["auth_verdicts_shared_total{realm=\"default\",judge=\"identity\"}"] < 2.0 {
            tokio::task::yield_now().await;
        }
        assert_eq!(now(&app)["identity_requests_in_flight{realm=\"default\"}"], 1.0);
        assert_eq!(now(&app)["http_requests_in_flight"], 3.0);
        gate.add_permits(1);
    };
    tokio::join!(answered(), answered(), answered(), watch);
    let counted = now(&app);
    assert_eq!(counted["auth_verdicts_shared_total{realm=\"default\",judge=\"identity\"}"], 2.0);
    assert_eq!(
        (counted["identity_requests_in_flight{realm=\"default\"}"], counted["http_requests_in_flight"]),
        (0.0, 0.0)
    );
    app.stop().await;
}

#[tokio::test]
async fn every_kind_of_credential_and_every_refusal_is_counted() {
    let app = TestApp::with(|config| {
        config.auth.methods = Method::ALL.to_vec();
        config.auth.pepper = "a pepper for S3CR3T tests".into();
        config.auth.signature.v1_reuse = Reuse::Once;
    })
    .await;
    let alice = app.user("alice");
    let headers = |pairs: &[(&str, &str)]| -> Vec<(String, String)> {
        pairs.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()
    };
    let ask = async |headers: Vec<(String, String)>| {
        let ask = alice.send_as_is("GET", "/api/v1/uploads", &headers, Vec::new());
        let (_, grown) = moved(&app, &["auth_requests"], ask).await;
        let [(series, 1.0)] = &grown[..] else { panic!("{grown:?}") };
        series.trim_start_matches("auth_requests_total").replace('"', "")
    };
    let proof = alice.proof();
    assert_eq!(ask(proof.clone()).await, "{method=signature,result=granted}");
    assert_eq!(ask(proof.clone()).await, "{method=signature,result=replayed}");
    assert_eq!(ask(Vec::new()).await, "{method=none,result=missing}");
    let twice = [proof.clone(), headers(&[("api_key", "bob-key")])].concat();
    assert_eq!(ask(twice).await, "{method=unsound,result=ambiguous}");
    assert_eq!(ask(proof[..2].to_vec()).await, "{method=unsound,result=malformed}");
    let long_ago = (proof[1].1.parse::<i64>().expect("seconds") - 1000).to_string();
    let old = headers(&[("X-Api-Key", "alice-key"), ("X-Timestamp", &long_ago), ("X-Signature", &"ab".repeat(32))]);
    assert_eq!(ask(old).await, "{method=signature,result=timestamp_out_of_window}");
    assert_eq!(ask(headers(&[("Upload-Token", "nonsense")])).await, "{method=upload_token,result=invalid}");
    assert_eq!(ask(headers(&[("username", "x"), ("api_key", "y")])).await, "{method=api_key,result=invalid}");
    let basic = headers(&[("Authorization", "Basic YTpi"), ("Sec-Fetch-Site", "cross-site")]);
    assert_eq!(ask(basic.clone()).await, "{method=basic,result=invalid}");
    let cross = alice.send_as_is("DELETE", "/api/v1/uploads/0123", &basic, Vec::new());
    let (_, grown) = moved(&app, &["auth_requests"], cross).await;
    assert_eq!(grown, grew(&[("auth_requests_total{method=\"basic\",result=\"cross_site\"}", 1.0)]));

    let guess = || headers(&[("username", "x"), ("api_key", "y")]);
    let guesses = async {
        for _ in 0..12 {
            alice.send_as_is("GET", "/api/v1/uploads", &guess(), Vec::new()).await;
        }
    };
    let (_, grown) = moved(&app, &["auth_guesses", "auth_requests"], guesses).await;
    let by = |series: &str| grown.iter().find(|(grown, _)| grown == series).map(|(_, by)| *by);
    let refused = by("auth_guesses_slowed_total{how=\"refused\"}").expect("slowed");
    assert_eq!(by("auth_requests_total{method=\"api_key\",result=\"rate_limited\"}"), Some(refused));
    assert!((1.0..12.0).contains(&refused), "{refused}");
    app.stop().await;
}

#[tokio::test]
async fn requests_are_counted_by_door_and_answer_those_too_that_no_door_saw() {
    let app = TestApp::start().await;
    let alice = app.user("alice");
    let seen = async |method: &str, path: &str, headers: &[(&str, &str)]| {
        let headers: Vec<_> = headers.iter().map(|(name, value)| ((*name).into(), (*value).into())).collect();
        let (_, grown) =
            moved(&app, &["http_requests_total", "cors"], alice.send(method, path, &headers, Vec::new())).await;
        let grown: Vec<_> = grown.into_iter().map(|(series, _)| series.replace('"', "")).collect();
        grown.join(" ").replace("http_requests_total", "")
    };
    assert_eq!(seen("GET", "/api/v1/uploads", &[]).await, "{door=native,method=GET,status=2xx}");
    assert_eq!(seen("HEAD", "/healthz", &[]).await, "{door=health,method=HEAD,status=2xx}");
    assert_eq!(seen("POST", "/chunked_upload/", &[]).await, "{door=multipart,method=POST,status=4xx}");
    assert_eq!(seen("PUT", "/chunked_uploads/upload/", &[]).await, "{door=raw,method=PUT,status=4xx}");
    assert_eq!(seen("GET", "/api/v1/admin/users", &[]).await, "{door=admin,method=GET,status=4xx}");
    assert_eq!(seen("BREW", "/no/such", &[]).await, "{door=other,method=other,status=4xx}");
    let long = "x".repeat(40_000);
    assert_eq!(seen("GET", "/api/v1/uploads", &[("X-Long", &long)]).await, "{door=native,method=GET,status=4xx}");
    let preflight = |origin| [("Origin", origin), ("Access-Control-Request-Method", "POST")];
    let granted = seen("OPTIONS", "/chunked_upload/", &preflight("http://localhost")).await;
    assert_eq!(granted, "{door=multipart,method=OPTIONS,status=2xx}");
    let refused = seen("OPTIONS", "/chunked_upload/", &preflight("https://elsewhere.example")).await;
    assert!(refused.starts_with("cors_refused_total "), "{refused}");
    app.stop().await;
}

// ---- what must not happen ------------------------------------------------------------------------------------------

#[tokio::test]
async fn nothing_that_a_client_sends_becomes_a_series() {
    let (app, identity) = with_scripted(&[Mode::Ok], |_| {}).await;
    let alice = app.user("alice");
    alice.get("/api/v1/uploads").await;
    while now(&app).keys().filter(|series| series.starts_with("worker_steps_total")).count() < 3 {
        tokio::task::yield_now().await;
    }
    let before: BTreeSet<String> = now(&app).into_keys().collect();
    for round in 0..30 {
        app.clock.advance(Duration::from_secs(1));
        identity.set(match round % 3 {
            0 => Mode::OkBut(json!({"user": {"id": format!("u{round}"), "username": format!("made-up-{round}")}})),
            1 => Mode::Deny(401, "invalid_signature", json!({"code": format!("made-up-{round}")})),
            _ => Mode::OkBut(json!({"status": format!("made-up-{round}")})),
        });
        let own = |name: &str| (name.to_owned(), format!("made-up-{round}"));
        let headers = [own("X-Forwarded-For"), own("Origin"), own("User-Agent"), own("X-Request-Id")];
        alice.send(&format!("MADE{round}"), &format!("/made-up-{round}"), &headers, Vec::new()).await;
        alice.send("GET", &format!("/api/v1/uploads/made-up-{round}?made-up={round}"), &headers, Vec::new()).await;
        alice.send("GET", "/api/v1/uploads", &headers, Vec::new()).await;
        strange_key(&alice, round).await;
    }
    let after: BTreeSet<String> = now(&app).into_keys().collect();
    assert_eq!(before, after);
    let text = app.running().metrics().text();
    for word in ["made-up", "alice", "127.0.0.1", "u1"] {
        assert!(!text.to_lowercase().contains(&format!("\"{word}")), "{word}");
    }
    assert!(text.len() < 256 * 1024, "{} bytes", text.len());
    app.stop().await;
}

async fn strange_key(caller: &Caller, round: usize) {
    let headers =
        [("api_key", format!("made-up-{round}")), ("timestamp", "1700000000".into()), ("signature", "ab".repeat(32))];
    let headers = headers.map(|(name, value)| (name.to_owned(), value));
    caller.send_as_is("GET", "/api/v1/uploads", &headers, Vec::new()).await;
}

#[tokio::test]
async fn two_services_in_one_process_count_for_themselves() {
    let (one, other) = (TestApp::start().await, TestApp::start().await);
    let untouched = now(&other)["http_requests_total{door=\"native\",method=\"GET\",status=\"2xx\"}"];
    one.user("alice").get("/api/v1/uploads").await.expect(200);
    let counted = |app: &TestApp| now(app)["http_requests_total{door=\"native\",method=\"GET\",status=\"2xx\"}"];
    assert_eq!((counted(&one), counted(&other)), (1.0, untouched));
    one.stop().await;
    other.stop().await;
}
