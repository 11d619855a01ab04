//! Scheme v2 as clients meet it: requests that `chunkgate sign` signs, tampered with, sent again, and digests of bodies
//! that somebody exchanged on the way.

use chunkgate::{
    auth::{ContentDigest, Scheme},
    cli::sign::{SignArgs, signed},
    domain::content_digest,
};
use clap::Parser;

use crate::{
    support::{Answer, Caller, TestApp, form, md5},
    tokens::second_node,
};

type Headers = Vec<(String, String)>;

/// A request, whole.
#[derive(Clone)]
struct Sent {
    method: &'static str,
    path: String,
    headers: Headers,
    body: Vec<u8>,
}

impl Sent {
    fn new(method: &'static str, path: &str) -> Self {
        Self { method, path: path.into(), headers: Vec::new(), body: Vec::new() }
    }

    fn with(mut self, name: &str, value: &str) -> Self {
        self.headers.push((name.into(), value.into()));
        self
    }

    /// A chunk for the multipart door.
    fn chunk(upload: Option<&str>, range: &str, bytes: &[u8]) -> Self {
        let mut parts: Vec<form::Part> = upload.map(|id| form::Part::field("upload_id", id)).into_iter().collect();
        parts.push(form::Part::file("file", "test.bin", None, bytes.to_vec()));
        let (content_type, body) = form::multipart(&parts);
        let head = Self::new("POST", "/chunked_upload/").with("Content-Type", &content_type.expect("multipart"));
        Self { body, ..head.with("Content-Range", range) }
    }

    fn complete(upload: &str, md5: &str) -> Self {
        let (content_type, body) =
            form::urlencoded(&[form::Part::field("upload_id", upload), form::Part::field("md5", md5)]);
        let head = Self::new("POST", "/chunked_upload_complete/");
        Self { body, ..head.with("Content-Type", &content_type.expect("a form")) }
    }

    /// A chunk for the raw door.
    fn raw(range: &str, bytes: &[u8]) -> Self {
        let head = Self::new("POST", "/chunked_uploads/upload/").with("Content-Type", "application/octet-stream");
        let head = head.with("Content-Disposition", "attachment; filename=\"raw.bin\"");
        Self { body: bytes.to_vec(), ..head.with("Content-Range", range) }
    }

    fn list() -> Self {
        Self::new("GET", "/api/v1/uploads?state=receiving&limit=5")
    }

    /// With the digest of the body.
    fn digested(self) -> Self {
        let digest = content_digest::of(&self.body);
        self.with("Content-Digest", &digest)
    }

    /// Signed now, as a client of `to` would.
    fn signed(self, app: &TestApp, to: &Caller) -> Self {
        self.signed_with(app, to, &[])
    }

    fn signed_with(mut self, app: &TestApp, to: &Caller, more: &[&str]) -> Self {
        #[derive(Parser)]
        struct Command {
            #[command(flatten)]
            sign: SignArgs,
        }
        let url = format!("{}{}", to.base, self.path);
        let mut words = vec!["sign", "--scheme", "v2", "--format", "headers", "--api-key", "alice-key"];
        words.extend(["--secret", "alice-secret", "--method", self.method, "--url", &url]);
        words.extend(more);
        let headers: Vec<_> = self.headers.iter().map(|(name, value)| format!("--header={name}: {value}")).collect();
        words.extend(headers.iter().map(String::as_str));
        let args = Command::try_parse_from(words).expect("good arguments").sign;
        let printed = signed(&args, chunkgate::domain::Clock::now(&*app.clock)).expect("signed");
        let pairs = printed.lines().filter_map(|line| line.split_once(": "));
        self.headers.extend(pairs.map(|(name, value)| (name.to_owned(), value.to_owned())));
        self
    }

    /// The same with another value of a header.
    fn but(mut self, name: &str, from: &str, to: &str) -> Self {
        let header = self.headers.iter_mut().find(|(known, _)| known.eq_ignore_ascii_case(name)).expect("it is there");
        assert!(header.1.contains(from), "{header:?}");
        header.1 = header.1.replacen(from, to, 1);
        self
    }

    async fn by(&self, caller: &Caller) -> Answer {
        caller.send_as_is(self.method, &self.path, &self.headers, self.body.clone()).await
    }
}

async fn code(answer: Answer, status: u16) -> String {
    answer.expect(status).json()["code"].as_str().unwrap_or_default().to_owned()
}

#[tokio::test]
async fn a_file_goes_up_under_signed_requests() {
    let app = TestApp::start().await;
    let alice = app.user("alice");
    let sign = |sent: Sent| sent.signed(&app, &alice);
    let id = sign(Sent::chunk(None, "bytes 0-4/10", b"01234")).by(&alice).await.expect(200).id();
    sign(Sent::chunk(Some(&id), "bytes 5-9/10", b"56789")).by(&alice).await.expect(200);
    sign(Sent::complete(&id, &md5(b"0123456789"))).by(&alice).await.expect(200);
    let content = sign(Sent::new("GET", &format!("/api/v1/uploads/{id}/content"))).by(&alice).await.expect(200);
    assert_eq!(content.bytes, b"0123456789");
    sign(Sent::new("DELETE", &format!("/api/v1/uploads/{id}"))).by(&alice).await.expect(204);
    let raw = sign(Sent::raw("bytes 0-4/5", b"01234")).by(&alice).await.expect(200);
    assert!(raw.text.contains("raw.bin"), "{}", raw.text);
    app.stop().await;
}

#[tokio::test]
async fn whatever_is_covered_cannot_be_changed() {
    let app = TestApp::start().await;
    let alice = app.user("alice");
    let list = || Sent::list().signed(&app, &alice);
    list().by(&alice).await.expect(200);
    Sent { method: "HEAD", ..list() }.by(&alice).await.expect(401);
    for path in
        ["/api/v1/uploads?state=complete&limit=5", "/api/v1/uploads", "/api/v1/uploads/?state=receiving&limit=5"]
    {
        let moved = Sent { path: path.into(), ..list() };
        assert_eq!(code(moved.by(&alice).await, 401).await, "invalid_credentials", "{path}");
    }
    for (name, from, to) in [
        ("Signature-Input", "nonce=\"", "nonce=\"0"),
        ("Signature-Input", "created=", "expires=4000000000;created="),
        ("Signature-Input", "alice-key", "bob-key"),
        ("Signature-Input", "\"@method\" \"@authority\"", "\"@authority\" \"@method\""),
    ] {
        assert_eq!(code(list().but(name, from, to).by(&alice).await, 401).await, "invalid_credentials", "{to}");
    }
    let elsewhere = list().with("Host", "elsewhere.example");
    assert_eq!(code(elsewhere.by(&alice).await, 401).await, "invalid_credentials");

    let chunk = || Sent::raw("bytes 0-4/5", b"01234").digested().signed(&app, &alice);
    for (name, from, to) in [
        ("Content-Range", "/5", "/50"),
        ("Content-Type", "octet-stream", "octet"),
        ("Content-Digest", "=:", "=:A"),
        ("Content-Disposition", "raw", "war"),
    ] {
        chunk().but(name, from, to).by(&alice).await.expect(401);
    }
    // Nothing that decides about the request can be slipped in beside the signature.
    for (name, value) in [
        ("Upload-Offset", "3"),
        ("Upload-Length", "9"),
        ("Upload-Concat", "partial"),
        ("Idempotency-Key", "a"),
        ("X-HTTP-Method-Override", "DELETE"),
    ] {
        assert_eq!(code(list().with(name, value).by(&alice).await, 400).await, "credentials_malformed");
    }
    chunk().by(&alice).await.expect(200);
    app.stop().await;
}

#[tokio::test]
async fn a_signature_that_covers_less_is_refused() {
    let app = TestApp::start().await;
    let alice = app.user("alice");
    for name in ["@method", "@authority", "@path", "@query"] {
        let bare = Sent::list().signed(&app, &alice).but("Signature-Input", &format!("\"{name}\""), "");
        let answer = bare.by(&alice).await.expect(400).json();
        assert_eq!(answer["code"], "credentials_malformed");
        assert!(answer["detail"].as_str().is_some_and(|detail| detail.contains(name)), "{answer}");
    }
    for (from, to, expected) in [
        ("created=", "expires=", "credentials_malformed"),
        ("tag=\"chunkgate\"", "tag=\"other\"", "credentials_malformed"),
        ("hmac-sha256", "hmac-sha512", "credentials_malformed"),
    ] {
        let changed = Sent::list().signed(&app, &alice).but("Signature-Input", from, to);
        assert_eq!(code(changed.by(&alice).await, 400).await, expected);
    }
    // No other credential stands in for a v2 signature that fails, and none may stand beside it.
    let mut both = Sent::list().signed(&app, &alice);
    both.headers.extend(alice.proof());
    assert_eq!(code(both.by(&alice).await, 400).await, "ambiguous_credentials");
    let twice = Sent::list().signed(&app, &alice);
    let input = twice.headers.iter().find(|(name, _)| name == "Signature-Input").expect("there").1.clone();
    let twice = twice.but("Signature-Input", &input, &format!("{input}, b{input}"));
    assert_eq!(code(twice.by(&alice).await, 400).await, "ambiguous_credentials");
    app.stop().await;
}

#[tokio::test]
async fn an_old_signature_hears_what_time_it_is() {
    let app = TestApp::start().await;
    let alice = app.user("alice");
    let sent = Sent::list().signed(&app, &alice);
    app.clock.advance(std::time::Duration::from_secs(302));
    let answer = sent.by(&alice).await.expect(401).json();
    assert_eq!(answer["code"], "timestamp_out_of_window");
    assert!(answer["server_time"].is_string(), "{answer}");
    app.stop().await;
}

#[tokio::test]
async fn a_request_that_begins_or_ends_an_upload_is_good_once_at_every_node() {
    let app = TestApp::with(|config| config.server.public_url = Some("https://files.example".into())).await;
    let (second, there) = second_node(&app, |_| {}).await;
    let here = app.user("alice");
    let public = here.clone().at("https://files.example");
    let sign = |sent: Sent| sent.signed(&app, &public);

    let create = sign(Sent::chunk(None, "bytes 0-4/10", b"01234"));
    let id = create.by(&here).await.expect(200).id();
    create.by(&there).await.expect(401);
    create.by(&here).await.expect(401);
    assert_eq!(app.stored().len(), 1, "a replayed create leaves nothing");

    // What writes a chunk needs no nonce: sent again it does not continue the upload.
    let chunk = sign(Sent::chunk(Some(&id), "bytes 5-9/10", b"56789"));
    chunk.by(&here).await.expect(200);
    chunk.by(&here).await.expect(400);

    // A deed that is refused spends nothing.
    let complete = sign(Sent::complete(&id, &md5(b"0123456789")));
    let wrong = sign(Sent::complete(&id, &md5(b"other")));
    wrong.by(&here).await.expect(400);
    wrong.by(&here).await.expect(400);
    complete.by(&here).await.expect(200);
    complete.by(&here).await.expect(401);
    let again = sign(Sent::complete(&id, &md5(b"0123456789")));
    again.by(&here).await.expect(200);
    again.by(&here).await.expect(401);

    let other = sign(Sent::chunk(None, "bytes 0-4/10", b"01234")).by(&here).await.expect(200).id();
    let nonce = ["--nonce", "one-and-the-same"];
    let cancel = |id: &str| Sent::new("DELETE", &format!("/api/v1/uploads/{id}")).signed_with(&app, &public, &nonce);
    cancel(&id).by(&there).await.expect(204);
    assert_eq!(code(cancel(&other).by(&here).await, 401).await, "replayed");
    sign(Sent::new("GET", &format!("/api/v1/uploads/{other}"))).by(&here).await.expect(200);
    second.stop(std::future::pending()).await;
    app.stop().await;
}

#[tokio::test]
async fn without_a_nonce_nothing_begins_and_nothing_ends() {
    use chunkgate::domain::{
        Clock as _,
        message_signature::{Message, Terms, sign},
    };
    let app = TestApp::start().await;
    let alice = app.user("alice");
    let bare = |mut sent: Sent| {
        let fields: Headers =
            sent.headers.iter().map(|(name, value)| (name.to_ascii_lowercase(), value.clone())).collect();
        let authority = alice.base.trim_start_matches("http://");
        let (method, path) = (sent.method, sent.path.as_str());
        let message = Message { method, scheme: "http", authority, path, query: None, fields: &fields };
        let terms = Terms { keyid: "alice-key".into(), created: app.clock.now(), nonce: None, more: Vec::new() };
        let (input, value) = sign(b"alice-secret", &message, &terms).expect("signed");
        sent.headers.extend([("Signature-Input".to_owned(), input), ("Signature".to_owned(), value)]);
        sent
    };
    let refused = bare(Sent::chunk(None, "bytes 0-4/10", b"01234")).by(&alice).await.expect(400);
    assert!(refused.text.contains("nonce"), "{}", refused.text);
    let id = alice.chunk(None, Some((0, 4, 10)), b"01234").await.expect(200).id();
    bare(Sent::chunk(Some(&id), "bytes 5-9/10", b"56789")).by(&alice).await.expect(200);
    bare(Sent::complete(&id, &md5(b"0123456789"))).by(&alice).await.expect(400);
    let one = format!("/api/v1/uploads/{id}");
    assert_eq!(code(bare(Sent::new("DELETE", &one)).by(&alice).await, 400).await, "nonce_required");
    assert_eq!(bare(Sent::new("GET", &one)).by(&alice).await.expect(200).json()["state"], "receiving");
    app.stop().await;
}

#[tokio::test]
async fn a_creation_that_is_sent_again_under_its_key_is_signed_again() {
    let app = TestApp::start().await;
    let alice = app.user("alice");
    let begin = || {
        let head = Sent::new("POST", "/files/").with("Tus-Resumable", "1.0.0").with("Upload-Length", "10");
        head.with("Idempotency-Key", "a-key").signed(&app, &alice)
    };
    let sent = begin();
    let made = sent.by(&alice).await.expect(201);
    // Who only has the request hears nothing of what it made.
    let replayed = sent.by(&alice).await;
    assert!(replayed.header("location").is_none() && replayed.header("upload-token").is_none());
    assert_eq!(code(replayed, 401).await, "replayed");
    let again = begin();
    assert_eq!(again.by(&alice).await.expect(201).header("location"), made.header("location"));
    assert_eq!(code(again.by(&alice).await, 401).await, "replayed", "it was spent on the answer");
    let other = begin().but("Idempotency-Key", "a-key", "b-key");
    assert_eq!(code(other.by(&alice).await, 401).await, "invalid_credentials");
    app.stop().await;
}

#[tokio::test]
async fn a_service_and_a_key_can_ask_for_v2() {
    let app = TestApp::with(|config| config.auth.signature.min_scheme = Scheme::V2).await;
    let alice = app.user("alice");
    let answer = alice.get("/api/v1/uploads").await.expect(401);
    assert!(answer.header("www-authenticate").is_some_and(|value| value.contains("schemes=\"signature-v2\"")));
    assert_eq!(answer.json()["code"], "scheme_not_allowed");
    Sent::list().signed(&app, &alice).by(&alice).await.expect(200);

    let app = app.restart(|config| config.auth.signature.min_scheme = Scheme::V1).await;
    let alice = app.user("alice");
    alice.get("/api/v1/uploads").await.expect(200);
    let users = std::fs::read_to_string(&app.users).expect("there");
    let strict = users.replace("secret = \"alice-secret\"", "secret = \"alice-secret\"\nmin_scheme = \"v2\"");
    std::fs::write(&app.users, strict).expect("written");
    app.clock.advance(std::time::Duration::from_secs(61));
    assert_eq!(code(alice.get("/api/v1/uploads").await, 401).await, "scheme_not_allowed");
    Sent::list().signed(&app, &alice).by(&alice).await.expect(200);
    app.stop().await;
}

#[tokio::test]
async fn a_body_that_is_not_what_its_digest_says_is_not_admitted() {
    let app = TestApp::start().await;
    let alice = app.user("alice");
    let exchanged = |sent: Sent| {
        let mut sent = sent.digested();
        let at = sent.body.windows(5).position(|window| window == b"01234").expect("there");
        sent.body[at] ^= 1;
        sent
    };
    let unsigned = |mut sent: Sent| {
        sent.headers.extend(alice.proof());
        sent
    };
    for sent in [
        unsigned(exchanged(Sent::chunk(None, "bytes 0-4/10", b"01234"))),
        unsigned(exchanged(Sent::raw("bytes 0-4/5", b"01234"))),
        unsigned(Sent::raw("bytes 0-4/5", b"01234").with("Content-Digest", "sha-256=01234")),
        exchanged(Sent::raw("bytes 0-4/5", b"01234")).signed(&app, &alice),
    ] {
        let answer = sent.by(&alice).await.expect(400);
        assert!(answer.json()["detail"].is_string(), "in the door's own words: {}", answer.text);
    }
    assert_eq!(alice.get("/api/v1/uploads").await.expect(200).json()["uploads"], serde_json::json!([]));
    assert!(app.stored().is_empty(), "{:?}", app.stored());

    // An upload stays where it stood.
    let id = alice.chunk(None, Some((0, 4, 10)), b"56789").await.expect(200).id();
    unsigned(exchanged(Sent::chunk(Some(&id), "bytes 5-9/10", b"01234"))).by(&alice).await.expect(400);
    assert_eq!(alice.get(&format!("/api/v1/uploads/{id}")).await.json()["offset"], 5);
    unsigned(Sent::chunk(Some(&id), "bytes 5-9/10", b"01234").digested()).by(&alice).await.expect(200);
    let mut complete = Sent::complete(&id, &md5(b"5678901234")).digested();
    complete.body.push(b'&');
    unsigned(complete).by(&alice).await.expect(400);
    unsigned(Sent::complete(&id, &md5(b"5678901234")).digested()).by(&alice).await.expect(200);
    app.stop().await;
}

#[tokio::test]
async fn a_digest_can_be_demanded() {
    let app = TestApp::with(|config| config.auth.signature.content_digest = ContentDigest::Required).await;
    let alice = app.user("alice");
    let sign = |sent: Sent| sent.signed(&app, &alice);
    let chunk = || Sent::chunk(None, "bytes 0-4/10", b"01234");
    sign(chunk()).by(&alice).await.expect(400);
    let md5 = "md5=:1B2M2Y8AsgTpgAmY7PhCfg==:";
    sign(chunk().with("Content-Digest", md5)).by(&alice).await.expect(400);
    let id = sign(chunk().digested()).by(&alice).await.expect(200).id();
    sign(Sent::new("DELETE", &format!("/api/v1/uploads/{id}"))).by(&alice).await.expect(204);
    alice.chunk(None, Some((0, 4, 10)), b"01234").await.expect(200);
    app.stop().await;
}
