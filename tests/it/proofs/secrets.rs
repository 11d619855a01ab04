//! With everything logged that can be logged, no secret, signature or key is written anywhere, neither to the log nor to
//! the database.

use std::time::Duration;

use super::{
    client::{Span, pieces},
    files_below, say,
    stage::Stage,
};
use crate::support::{md5, noise};

/// What must be found nowhere, by what it is.
struct Sent(Vec<(&'static str, String)>);

impl Sent {
    fn proof(&mut self, stage: &Stage) -> [(&'static str, String); 3] {
        let proof = stage.key.proof();
        self.0.push(("a signature", proof[2].1.clone()));
        proof
    }

    /// Asks with a proof in these places; the status.
    async fn ask(&mut self, stage: &Stage, how: How) -> u16 {
        let proof = self.proof(stage);
        let http = reqwest::Client::builder().no_proxy().tls_certs_only([]).build().expect("a client");
        let url = format!("{}/api/v1/uploads", stage.base());
        let request = match how {
            How::Headers => proof.into_iter().fold(http.get(url), |request, (name, value)| request.header(name, value)),
            How::Wrong => {
                let wrong = "0123456789abcdef".repeat(4);
                self.0.push(("a wrong signature", wrong.clone()));
                let [key, timestamp, _] = proof;
                http.get(url).header(key.0, key.1).header(timestamp.0, timestamp.1).header("X-Signature", wrong)
            }
            How::Query => {
                let [(_, key), (_, timestamp), (_, signature)] = proof;
                http.get(format!("{url}?api_key={key}&timestamp={timestamp}&signature={signature}"))
            }
            How::QueryNowhere => {
                let [(_, key), (_, timestamp), (_, signature)] = proof;
                http.post(format!("{}/no/such?api_key={key}&timestamp={timestamp}&signature={signature}", stage.base()))
            }
            How::Form => {
                let [(_, key), (_, timestamp), (_, signature)] = proof;
                let fields = format!("api_key={key}&timestamp={timestamp}&signature={signature}&upload_id=1&md5=2");
                let request = http.post(format!("{}/chunked_upload_complete/", stage.base())).body(fields);
                request.header("Content-Type", "application/x-www-form-urlencoded")
            }
        };
        request.send().await.expect("an answer").status().as_u16()
    }
}

/// Where a proof stands.
enum How {
    Headers,
    Wrong,
    Query,
    QueryNowhere,
    Form,
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "a long proof"]
async fn nothing_secret_is_written() {
    let settings = [("LOG__LEVEL", "trace"), ("LOG__FORMAT", "json"), ("AUTH__QUERY_CREDENTIALS", "true")];
    let mut stage = Stage::open(&settings).await;
    let mut sent = Sent(vec![
        ("the secret", stage.key.secret.clone()),
        ("the api_key", stage.key.api_key.clone()),
        ("the service token", stage.token.clone()),
    ]);
    upload(&stage, &mut sent).await;
    assert_eq!(sent.ask(&stage, How::Headers).await, 200);
    assert_eq!(sent.ask(&stage, How::Query).await, 200);
    assert_eq!(sent.ask(&stage, How::QueryNowhere).await, 404);
    assert_eq!(sent.ask(&stage, How::Form).await, 404);
    assert_eq!(sent.ask(&stage, How::Wrong).await, 401);
    stage.identity.kill();
    assert_eq!(sent.ask(&stage, How::Headers).await, 503);
    assert_eq!(sent.ask(&stage, How::Query).await, 503);
    nothing_found(&stage, &sent);
    stage.service.signal("TERM");
    stage.service.ended(Duration::from_secs(20)).await;
    nothing_found(&stage, &sent);
    stage.close().await;
}

async fn upload(stage: &Stage, sent: &mut Sent) {
    let (client, source) = (stage.client(), noise(51, 300_000));
    let span = Span { from: 0, length: source.len() as u64, total: source.len() as u64 };
    let request = client.chunk_request(None, span, pieces(source.clone().into(), Duration::ZERO));
    let (http, request) = request.build_split();
    let mut request = request.expect("a request");
    let signature = request.headers_mut().get("X-Signature").expect("signed").to_str().expect("text").to_owned();
    sent.0.push(("an upload's signature", signature));
    let answer = http.execute(request).await.expect("an answer");
    assert_eq!(answer.status(), 200);
    let token = answer.headers().get("Upload-Token").expect("a token").to_str().expect("text").to_owned();
    let listing = http.get(format!("{}/api/v1/uploads", stage.base())).header("Upload-Token", &token);
    assert_eq!(listing.send().await.expect("an answer").status(), 200);
    sent.0.push(("an upload token", token));
    let answer: serde_json::Value = answer.json().await.expect("JSON");
    client.complete(answer["upload_id"].as_str().expect("an id"), &md5(&source)).await.expect("an answer").expect(200);
}

/// Looks through both logs, the database with its companions, and everything else that lies there but the users file.
fn nothing_found(stage: &Stage, sent: &Sent) {
    let (mut searched, mut leaks) = (0, Vec::new());
    for path in files_below(stage.folder()).into_iter().filter(|path| *path != stage.users()) {
        let bytes = std::fs::read(&path).unwrap_or_default();
        searched += bytes.len();
        for (what, text) in &sent.0 {
            if let Some(at) = memchr::memmem::find(&bytes, text.as_bytes()) {
                let around = &bytes[at.saturating_sub(300)..(at + 100).min(bytes.len())];
                leaks.push(format!("{what} in {}: {}", path.display(), String::from_utf8_lossy(around)));
            }
        }
    }
    assert!(leaks.is_empty(), "{} leaks, the first: {}\nall: {leaks:#?}", leaks.len(), leaks[0]);
    let log = stage.service.log();
    assert!(log.contains("TRACE") && log.contains("/api/v1/uploads"), "a log at trace");
    say(&format!("secrets: {} texts in none of {searched} bytes, {} of them log", sent.0.len(), log.len()));
}
