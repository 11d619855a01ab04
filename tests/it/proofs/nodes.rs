//! Two real services on one database: what one of them has admitted, spent or heard holds at the other.
//!
//! They share nothing but the database, and run on the engine that the run is for; `./check postgres` is theirs.

use std::time::{Duration, Instant};

use bytes::Bytes;
use chunkgate::domain::{
    Timestamp,
    message_signature::{Message, Terms, sign},
};
use serde_json::json;

use super::{
    client::{Client, Span, pieces},
    say,
    stage::Stage,
    until,
};
use crate::support::{Answer, form, watch::watch};

/// Under which both are reached.
const PUBLIC: &str = "files.example";
const DOOR: &str = "/chunked_upload/";
const EVENTS_TOKEN: &str = "events-token-S3CR3T";

type Headers = Vec<(String, String)>;

fn owned(pairs: &[(&str, &str)]) -> Headers {
    pairs.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()
}

/// A request that begins an upload of eight bytes, signed by scheme v2: headers and body.
fn begins(stage: &Stage, nonce: &str) -> (Headers, Vec<u8>) {
    let (content_type, body) = form::multipart(&[form::Part::file("file", "a.bin", None, b"0123".to_vec())]);
    let fields = owned(&[("content-type", &content_type.expect("multipart")), ("content-range", "bytes 0-3/8")]);
    let message =
        Message { method: "POST", scheme: "http", authority: PUBLIC, path: DOOR, query: None, fields: &fields };
    let (created, nonce) = (Timestamp::now(), Some(nonce.to_owned()));
    let terms = Terms { keyid: stage.key.api_key.clone(), created, nonce, more: Vec::new() };
    let (input, signature) = sign(stage.key.secret.as_bytes(), &message, &terms).expect("signed");
    ([fields, owned(&[("signature-input", &input), ("signature", &signature)])].concat(), body)
}

/// Headers of this moment's v1 proof.
fn proof(stage: &Stage) -> Headers {
    stage.key.proof().map(|(name, value)| (name.to_owned(), value)).to_vec()
}

/// An upload of eight bytes with four of them stored: its id, and a proof of it by token.
async fn begun(client: &Client) -> (String, Headers) {
    let first = client.chunk(None, Span { from: 0, length: 4, total: 8 }, half()).await;
    let first = first.expect("an answer").expect(200);
    let token = first.header("upload-token").expect("a token").to_owned();
    watch().keep("an upload token", &token);
    (first.id(), vec![("Upload-Token".to_owned(), token)])
}

fn half() -> impl futures_util::Stream<Item = Bytes> + Send + 'static {
    pieces(Bytes::from_static(b"0123"), Duration::ZERO)
}

async fn status(client: &Client, id: &str, proof: &Headers) -> Answer {
    client.send_as_is("GET", &format!("/api/v1/uploads/{id}"), proof, b"").await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_nonce_that_was_spent_at_one_is_refused_at_the_other() {
    let stage = Stage::open(&[("SERVER__PUBLIC_URL", "http://files.example")]).await;
    let (_second, there) = stage.second().await;
    let here = stage.client();
    for (one, other, nonce) in [(&here, &there, "nonce-0001"), (&there, &here, "nonce-0002")] {
        let (headers, body) = begins(&stage, nonce);
        one.send_as_is("POST", DOOR, &headers, &body).await.expect(200);
        for replayed in [other, one] {
            let refused = replayed.send_as_is("POST", DOOR, &headers, &body).await.expect(401);
            assert!(refused.text.contains("already used"), "{}", refused.text);
        }
    }
    assert_eq!(here.list("receiving").await.len(), 2, "a replay begins nothing");
    // Sent to both at the same moment, it is good at one of them.
    let (headers, body) = begins(&stage, "nonce-0003");
    let (one, other) =
        tokio::join!(here.send_as_is("POST", DOOR, &headers, &body), there.send_as_is("POST", DOOR, &headers, &body));
    let mut answers = [one.status, other.status];
    answers.sort_unstable();
    assert_eq!(answers, [200, 401]);
    assert_eq!(there.list("receiving").await.len(), 3);
    stage.close().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_signature_that_is_good_once_is_good_at_one_of_them() {
    let stage = Stage::open(&[("AUTH__SIGNATURE__V1_REUSE", "once")]).await;
    let (_second, there) = stage.second().await;
    let here = stage.client();
    for (one, other) in [(&here, &there), (&there, &here)] {
        let once = proof(&stage);
        one.send_as_is("GET", "/api/v1/uploads", &once, b"").await.expect(200);
        let refused = other.send_as_is("GET", "/api/v1/uploads", &once, b"").await.expect(401);
        assert_eq!(refused.json()["code"], "replayed");
    }
    stage.close().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_token_of_one_opens_its_upload_at_the_other_and_a_user_disabled_at_one_is_refused_at_both() {
    let stage = Stage::open(&[("IDENTITY__EVENTS_TOKEN", EVENTS_TOKEN)]).await;
    let (_second, there) = stage.second().await;
    let here = stage.client();
    for (one, other) in [(&here, &there), (&there, &here)] {
        let (id, token) = begun(one).await;
        assert_eq!(status(other, &id, &token).await.expect(200).json()["offset"], 4);
    }

    let (id, token) = begun(&there).await;
    let signature = proof(&stage);
    status(&there, &id, &signature).await.expect(200);
    let event = json!({"id": "e1", "type": "user.disabled", "realm": "default", "user_id": "subject-ann",
        "at": Timestamp::now()});
    let told = json!({"version": "1", "events": [event]}).to_string();
    let teller = owned(&[("Authorization", &format!("Bearer {EVENTS_TOKEN}")), ("Content-Type", "application/json")]);
    here.send_as_is("POST", "/api/v1/identity/events", &teller, told.as_bytes()).await.expect(200);
    let began = Instant::now();
    for proof in [&token, &signature] {
        until("the other refuses the user", Duration::from_secs(3), async || {
            let answer = status(&there, &id, proof).await;
            (answer.status == 403).then(|| assert_eq!(answer.json()["code"], "account_disabled"))
        })
        .await;
    }
    say(&format!("nodes: a user disabled at one is refused at the other after {:.1?}", began.elapsed()));
    // The identity server still calls the user active, so a new proof brings it back, and the old token stays over.
    status(&there, &id, &proof(&stage)).await.expect(200);
    assert_eq!(status(&here, &id, &token).await.expect(401).json()["code"], "token_expired");
    stage.close().await;
}
