//! The reference identity server, its commands, and the pages that describe it.

use chunkgate::cli::{
    identity::{Directory, ServeArgs, Server},
    sign::SignArgs,
};
use clap::Parser;

use super::*;

const USERS: &str = r#"
[[users]]
id = "u1"
username = "ann"
email = "ann@example.com"
limits = { max_file_bytes = 10 }
[[users.keys]]
api_key = "ann-key"
secret = "ann-secret"
[[users.keys]]
api_key = "old-key"
secret = "old-secret"
disabled = true

[[users]]
id = "u2"
username = "bob"
disabled = true
[[users.keys]]
api_key = "bob-key"
secret = "bob-secret"
"#;

/// The reference server with [`USERS`]; answers with its URL.
async fn reference(dir: &tempfile::TempDir) -> String {
    let path = dir.path().join("users.toml");
    std::fs::write(&path, USERS).expect("a file");
    let users = Directory::open(path).expect("well-formed");
    let mut server = Server::new(users, "service-token".into()).expect("a token");
    server.clock = StillClock::at(NOW);
    server.audience = Some("chunkgate".into());
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    let url = format!("http://{}", listener.local_addr().expect("bound"));
    tokio::spawn(server.serve(listener, std::future::pending()));
    url
}

#[tokio::test]
async fn the_reference_server_judges() {
    let dir = tempfile::tempdir().expect("a folder");
    let url = reference(&dir).await;
    let house = House::asking(&url);
    let ann = house.admit(&signed("ann-key", "ann-secret", NOW)).await.expect("admitted");
    assert_eq!(ann.user.map(|user| user.username).as_deref(), Some("ann"));
    assert_eq!(ann.limits.max_file_bytes, Some(10));
    assert!(house.admit(&signed("ann-key", "ann-secret", NOW - 300)).await.is_ok());
    for (api_key, secret, expected) in [
        ("ann-key", "bob-secret", AuthError::Invalid),
        ("nobody", "ann-secret", AuthError::Invalid),
        ("old-key", "old-secret", AuthError::Disabled),
        ("old-key", "wrong", AuthError::Invalid),
        ("bob-key", "bob-secret", AuthError::Disabled),
        ("bob-key", "wrong", AuthError::Invalid),
    ] {
        assert_eq!(house.refusal(&signed(api_key, secret, NOW)).await, expected, "{api_key} {secret}");
    }
    house.clock.advance(10 * SECOND);
    let ahead = signed("ann-key", "ann-secret", NOW + 305);
    assert!(matches!(house.refusal(&ahead).await, AuthError::Stale { .. }), "outside the server's own window");
    let elsewhere = House::with(&url, Settings::default(), |identity| identity.audience = "other".into());
    assert_eq!(elsewhere.refusal(&signed("ann-key", "ann-secret", NOW)).await, AuthError::Invalid);
    let stranger = House::with(&url, Settings::default(), |identity| identity.token = "guess".into());
    assert!(unavailable(&stranger.refusal(&signed("ann-key", "ann-secret", NOW)).await));
}

#[tokio::test]
async fn the_reference_server_says_what_it_cannot_read() {
    let dir = tempfile::tempdir().expect("a folder");
    let url = reference(&dir).await;
    // The provider of TLS is installed by the service's own client.
    let _house = House::asking(&url);
    let http = reqwest::Client::builder().no_proxy().tls_certs_only([]).build().expect("a client");
    let ask = async |token: &str, body: String| {
        let request = http.post(format!("{url}/v1/verify")).bearer_auth(token).body(body);
        let response = request.send().await.expect("an answer");
        let status = response.status().as_u16();
        (status, response.json::<Value>().await.expect("JSON"))
    };
    let (status, body) = ask("guess", "{}".into()).await;
    assert_eq!((status, &body["code"]), (401, &json!("service_unauthorized")));
    let (status, body) = ask("service-token", "{".into()).await;
    assert_eq!((status, &body["code"]), (400, &json!("malformed_question")));
    let (status, _) = ask("service-token", "x".repeat(70_000)).await;
    assert_eq!(status, 413);
    let mut question = json!({"version": "1", "request_id": "q", "audience": "chunkgate",
        "credential": {"type": "upload_token", "token": "t"}});
    let (status, body) = ask("service-token", question.to_string()).await;
    assert_eq!((status, &body["status"], &body["request_id"]), (200, &json!("unsupported"), &json!("q")));
    question["version"] = json!("2");
    assert_eq!(ask("service-token", question.to_string()).await.0, 400);
    let health = http.get(format!("{url}/v1/health")).send().await.expect("an answer");
    assert_eq!(health.json::<Value>().await.expect("JSON"), json!({"status": "ok"}));
}

#[test]
fn the_published_vectors_hold() {
    let vectors = include_str!("../../../proto-docs/vectors/signature-v1.json");
    let vectors: Value = serde_json::from_str(vectors).expect("JSON");
    let text = |case: &Value, name: &str| case[name].as_str().expect("text").to_owned();
    let cases = |name: &str| vectors[name].as_array().expect("a list").clone();
    assert!(!cases("valid").is_empty() && !cases("invalid").is_empty());
    for case in cases("valid") {
        let (secret, timestamp) = (text(&case, "secret"), text(&case, "timestamp"));
        assert_eq!(signing::sign_v1(secret.as_bytes(), &timestamp), text(&case, "signature"), "{case}");
        let seconds = signing::parse_timestamp(&timestamp).map(|at| at.as_second());
        assert_eq!(seconds, case["unix_seconds"].as_i64(), "{case}");
    }
    for case in cases("invalid") {
        let (secret, timestamp) = (text(&case, "secret"), text(&case, "timestamp"));
        assert!(!signing::verify_v1(secret.as_bytes(), &timestamp, &text(&case, "signature")), "{case}");
    }
}

#[test]
fn the_published_vectors_of_signed_requests_hold() {
    use chunkgate::domain::message_signature::{Flaw, Message, Signed, read, verify};
    let vectors = include_str!("../../../proto-docs/vectors/signature-v2.json");
    let vectors: Value = serde_json::from_str(vectors).expect("JSON");
    let text = |case: &Value, name: &str| case[name].as_str().expect("text").to_owned();
    let judged = |case: &Value| -> Result<Signed, Flaw> {
        let request = &case["request"];
        let fields: Vec<(String, String)> = serde_json::from_value(request["headers"].clone()).expect("pairs");
        let message = Message {
            method: &text(request, "method"),
            scheme: &text(request, "scheme"),
            authority: &text(request, "authority"),
            path: &text(request, "path"),
            query: request["query"].as_str(),
            fields: &fields,
        };
        read(&message, &text(case, "signature_input"), &text(case, "signature"), Default::default())
    };
    for case in vectors["valid"].as_array().expect("a list") {
        let signed = judged(case).expect("of the profile");
        assert_eq!(signed.base, text(case, "signature_base"), "{case}");
        assert!(verify(text(case, "secret").as_bytes(), &signed.base, &signed.value), "{case}");
    }
    for case in vectors["invalid"].as_array().expect("a list") {
        let right = judged(case).map(|signed| verify(text(case, "secret").as_bytes(), &signed.base, &signed.value));
        match case["why"].as_str() {
            Some("malformed") => assert!(matches!(right, Err(Flaw::Malformed(_))), "{case}"),
            _ => assert_eq!(right, Ok(false), "{case}"),
        }
    }
}

#[test]
fn the_documented_messages_are_messages() {
    let page = include_str!("../../../proto-docs/identity-server.md");
    let (mut questions, mut answers) = (0, 0);
    for block in page.split("```json\n").skip(1).filter_map(|rest| rest.split("```").next()) {
        let json: Value = serde_json::from_str(block).expect("JSON");
        if json.get("credential").is_some() {
            serde_json::from_value::<identity::Question>(json).expect(block);
            questions += 1;
        } else if json.get("status").is_some() {
            let answer = serde_json::from_value::<identity::Answer>(json).expect(block);
            assert_eq!(answer.flaw(&answer.request_id), None, "{block}");
            answers += 1;
        }
    }
    assert!(questions >= 1 && answers >= 3, "{questions} questions, {answers} answers");
}

#[test]
fn the_commands_take_what_is_documented() {
    #[derive(Debug, Parser)]
    enum Command {
        Identity(ServeArgs),
        Sign(SignArgs),
    }
    let parse = |line: &str| Command::try_parse_from(line.split(' '));
    let serve = parse("chunkgate identity --listen 127.0.0.1:0 --users users.toml --token t0ken-text");
    assert!(!format!("{:?}", serve.expect("good")).contains("t0ken-text"));
    assert!(parse("chunkgate identity --users users.toml --token-file token").is_ok());
    assert!(parse("chunkgate identity --users users.toml --token a --token-file b").is_err());
    assert!(parse("chunkgate sign --api-key k --secret s --timestamp 1700000000 --scheme v1 --format query").is_ok());
    assert!(parse("chunkgate sign --api-key k --secret s --scheme v9").is_err());
}
