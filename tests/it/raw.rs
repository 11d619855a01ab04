//! The raw door: chunks that find their upload, replays, lost answers, and pages that come back.

mod conditions;

use serde_json::{Value, json};

use crate::support::{Answer, Caller, TestApp, form, noise};

const UPLOAD: &str = "/chunked_uploads/upload/";

fn named(headers: &[(&str, &str)]) -> Vec<(String, String)> {
    headers.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()
}

fn head(name: &str, (from, to, total): (u64, u64, u64)) -> Vec<(String, String)> {
    named(&[
        ("Content-Disposition", &format!("attachment; filename=\"{name}\"")),
        ("Content-Range", &format!("bytes {from}-{to}/{total}")),
    ])
}

/// Somebody with a cookie jar, or without one.
struct Page {
    caller: Caller,
    cookie: Option<String>,
    keeps: bool,
}

impl Page {
    fn of(caller: Caller) -> Self {
        Self { caller, cookie: None, keeps: true }
    }

    fn without_cookies(caller: Caller) -> Self {
        Self { caller, cookie: None, keeps: false }
    }

    /// Another tab of the same browser.
    fn tab(&self) -> Self {
        Self { caller: self.caller.clone(), cookie: self.cookie.clone(), keeps: self.keeps }
    }

    async fn send(&mut self, method: &str, path: &str, headers: &[(String, String)], body: &[u8]) -> Answer {
        let mut headers = headers.to_vec();
        headers.extend(self.cookie.iter().map(|cookie| ("Cookie".to_owned(), cookie.clone())));
        let answer = self.caller.send(method, path, &headers, body.to_vec()).await;
        if let Some(set) = answer.header("set-cookie").filter(|_| self.keeps) {
            self.cookie = set.split(';').next().map(str::to_owned);
        }
        answer
    }

    async fn chunk(&mut self, name: &str, range: (u64, u64, u64), bytes: &[u8]) -> Answer {
        self.send("POST", UPLOAD, &head(name, range), bytes).await
    }

    async fn probe(&mut self) -> Value {
        self.send("GET", UPLOAD, &[], b"").await.expect(200).json()
    }

    async fn done(&mut self, id: &str) -> Answer {
        self.send("POST", &format!("{UPLOAD}done/{id}/"), &[], b"").await
    }

    async fn delete(&mut self, id: &str) -> Answer {
        self.send("DELETE", &format!("/chunked_uploads/{id}/delete/"), &[], b"").await
    }

    /// What the finished upload holds.
    async fn content(&mut self, id: &str) -> Vec<u8> {
        self.caller.get(&format!("/api/v1/uploads/{id}/content")).await.expect(200).bytes
    }
}

fn id(answer: &Answer) -> String {
    answer.json()[0]["upload_uuid"].as_str().expect("an id").to_owned()
}

fn size(answer: &Answer) -> u64 {
    answer.json()[0]["size"].as_u64().expect("a size")
}

fn assert_stands_at(answer: &Answer, offset: u64) {
    assert_eq!((answer.status, &answer.json()["offset"]), (409, &json!(offset)), "{}", answer.text);
    let range = (offset > 0).then(|| format!("0-{}", offset.saturating_sub(1)));
    assert_eq!(answer.header("range"), range.as_deref());
}

#[tokio::test]
async fn a_client_without_cookies() {
    let app = TestApp::start().await;
    let mut page = Page::without_cookies(app.user("alice"));
    let first = page.chunk("a.bin", (0, 3, 10), b"0123").await.expect(200);
    assert_eq!(size(&page.chunk("a.bin", (4, 7, 10), b"4567").await.expect(200)), 8);
    assert_eq!(page.probe().await[0]["size"], 8);
    let last = page.chunk("a.bin", (8, 9, 10), b"89").await.expect(200);
    assert_eq!(id(&first), id(&last));
    let complete = page.done(&id(&last)).await.expect(200).json();
    assert_eq!(complete[0]["state"], "COMPLETE");
    assert_eq!(complete[0]["video_url"], first.json()[0]["url"]);
    assert_eq!(page.content(&id(&last)).await, b"0123456789");
    assert_eq!(page.probe().await, json!([]));
    app.stop().await;
}

#[tokio::test]
async fn two_files_in_one_session_and_two_tabs() {
    let app = TestApp::start().await;
    let mut one = Page::of(app.user("alice"));
    let a = id(&one.chunk("a.bin", (0, 3, 8), b"aaaa").await.expect(200));
    let mut other = one.tab();
    let b = id(&one.chunk("b.bin", (0, 3, 8), b"bbbb").await.expect(200));
    let c = id(&other.chunk("c.bin", (0, 3, 8), b"cccc").await.expect(200));
    assert!(a != b && b != c && a != c);
    // The same name and total, with other bytes: another file.
    let a2 = id(&other.chunk("a.bin", (0, 4, 8), b"zzzzz").await.expect(200));
    assert_ne!(a, a2);
    for (elsewhere, name, from, bytes, whole, upload) in [
        (false, "a.bin", 4, b"AAAA".as_slice(), b"aaaaAAAA", &a),
        (true, "c.bin", 4, b"CCCC", b"ccccCCCC", &c),
        (true, "b.bin", 4, b"BBBB", b"bbbbBBBB", &b),
        (false, "a.bin", 5, b"ZZZ", b"zzzzzZZZ", &a2),
    ] {
        let page = if elsewhere { &mut other } else { &mut one };
        let answer = page.chunk(name, (from, 7, 8), bytes).await.expect(200);
        assert_eq!((&id(&answer), size(&answer)), (upload, 8), "{name}");
        assert_eq!(page.done(upload).await.expect(200).json()[0]["state"], "COMPLETE");
        assert_eq!(page.content(upload).await, whole);
    }
    app.stop().await;
}

#[tokio::test]
async fn gaps_and_foreign_ranges_name_the_offset() {
    let app = TestApp::start().await;
    let mut page = Page::of(app.user("alice"));
    assert_stands_at(&page.chunk("a.bin", (5, 9, 20), b"56789").await, 0);
    assert_eq!(page.probe().await, json!([]), "nothing was made");
    page.chunk("a.bin", (0, 4, 20), b"01234").await.expect(200);
    assert_stands_at(&page.chunk("a.bin", (10, 14, 20), b"abcde").await, 5);
    assert_stands_at(&page.chunk("a.bin", (2, 3, 20), b"xx").await, 5);
    assert_stands_at(&page.chunk("b.bin", (5, 9, 20), b"56789").await, 0);
    for (range, bytes) in
        [("bytes 0-4/*", "01234"), ("bytes 9-7/20", ""), ("bytes 5-20/20", "0123456789abcdef"), ("x", "")]
    {
        let headers = named(&[("Content-Disposition", "attachment; filename=\"a.bin\""), ("Content-Range", range)]);
        let refused = page.send("POST", UPLOAD, &headers, bytes.as_bytes()).await.expect(400);
        assert!(refused.json()["detail"].is_string(), "{range}");
    }
    page.chunk("a.bin", (5, 9, 20), b"short").await.expect(200);
    page.chunk("a.bin", (10, 14, 20), b"sh").await.expect(400);
    page.chunk("a.bin", (10, 14, 99), b"abcde").await.expect(400);
    assert_eq!(page.probe().await[0]["size"], 10, "refusals change nothing");
    app.stop().await;
}

#[tokio::test]
async fn what_is_stored_may_be_sent_again() {
    let app = TestApp::start().await;
    let content = noise(1, 300_000);
    let mut page = Page::of(app.user("alice"));
    let upload = id(&page.chunk("a.bin", (0, 99_999, 300_000), &content[..100_000]).await.expect(200));
    page.chunk("a.bin", (100_000, 199_999, 300_000), &content[100_000..200_000]).await.expect(200);
    let mut stranger = Page::without_cookies(app.user("alice"));
    for (from, to) in [(0, 100_000), (100_000, 200_000), (50_000, 50_010), (0, 200_000)] {
        let again = stranger.chunk("a.bin", (from, to - 1, 300_000), &content[from as usize..to as usize]).await;
        assert_eq!((id(&again), size(&again.expect(200))), (upload.clone(), 200_000), "{from}-{to}");
    }
    // The beginning is there already, the rest is not.
    let across = stranger.chunk("a.bin", (150_000, 249_999, 300_000), &content[150_000..250_000]).await.expect(200);
    assert_eq!((id(&across), size(&across)), (upload.clone(), 250_000));
    stranger.chunk("a.bin", (250_000, 299_999, 300_000), &content[250_000..]).await.expect(200);
    assert_eq!(stranger.done(&upload).await.expect(200).json()[0]["state"], "COMPLETE");
    assert!(stranger.content(&upload).await == content);
    stranger.chunk("a.bin", (250_000, 299_999, 300_000), &content[250_000..]).await.expect(409);
    app.stop().await;
}

#[tokio::test]
async fn other_bytes_under_the_same_name_begin_anew() {
    let app = TestApp::start().await;
    let (old, new) = (noise(1, 400_000), noise(2, 400_000));
    let mut new = new;
    new[..300_000].copy_from_slice(&old[..300_000]);
    let mut page = Page::of(app.user("alice"));
    let first = id(&page.chunk("a.bin", (0, 349_999, 400_000), &old[..350_000]).await.expect(200));
    let second = page.chunk("a.bin", (0, 399_999, 400_000), &new).await.expect(200);
    assert_ne!(first, id(&second));
    assert_eq!(page.done(&id(&second)).await.expect(200).json()[0]["state"], "COMPLETE");
    assert!(page.content(&id(&second)).await == new, "whole, though its beginning was compared first");
    app.stop().await;
}

#[tokio::test]
async fn a_lost_done_is_made_up_for() {
    let app = TestApp::start().await;
    let mut page = Page::of(app.user("alice"));
    page.chunk("a.bin", (0, 5, 10), b"012345").await.expect(200);
    let upload = id(&page.chunk("a.bin", (6, 9, 10), b"6789").await.expect(200));
    // The page comes back: it goes on at the size it is told, and calls done after the last chunk.
    let probe = page.probe().await;
    assert_eq!((&probe[0]["size"], &probe[0]["total_size"]), (&json!(6), &json!(10)));
    let again = page.chunk("a.bin", (6, 9, 10), b"6789").await.expect(200);
    assert_eq!((id(&again), size(&again)), (upload.clone(), 10));
    let complete = page.done(&upload).await.expect(200);
    assert_eq!(complete.json()[0]["state"], "COMPLETE");
    assert_eq!(page.done(&upload.replace('-', "")).await.expect(200).text, complete.text);
    assert_eq!(page.content(&upload).await, b"0123456789");
    app.stop().await;
}

#[tokio::test]
async fn done_too_early_destroys_nothing() {
    let app = TestApp::start().await;
    let mut page = Page::of(app.user("alice"));
    let upload = id(&page.chunk("a.bin", (0, 4, 10), b"01234").await.expect(200));
    let failed = page.done(&upload).await.expect(200);
    assert_eq!(failed.json(), json!([{"state": "FAIL", "video_url": ""}]));
    assert_eq!(page.probe().await, json!([]), "the session forgets it");
    assert_eq!(id(&page.chunk("a.bin", (5, 9, 10), b"56789").await.expect(200)), upload);
    assert_eq!(page.done(&upload).await.expect(200).json()[0]["state"], "COMPLETE");
    app.stop().await;
}

#[tokio::test]
async fn what_is_anothers_is_not_there() {
    let app = TestApp::start().await;
    let (mut alice, mut bob) = (Page::of(app.user("alice")), Page::of(app.user("bob")));
    let upload = id(&alice.chunk("a.bin", (0, 4, 10), b"01234").await.expect(200));
    bob.cookie = alice.cookie.clone();
    assert_eq!(bob.probe().await, json!([]));
    assert_stands_at(&bob.chunk("a.bin", (5, 9, 10), b"56789").await, 0);
    bob.done(&upload).await.expect(404);
    bob.delete(&upload).await.expect(404);
    assert_ne!(id(&bob.chunk("a.bin", (0, 4, 10), b"01234").await.expect(200)), upload);
    let mut nobody = Page::of(app.anonymous());
    for (method, path) in [("GET", UPLOAD), ("POST", UPLOAD), ("DELETE", UPLOAD)] {
        let refused = nobody.send(method, path, &head("a.bin", (0, 0, 1)), b"x").await.expect(401);
        assert!(refused.header("www-authenticate").is_some_and(|value| value.starts_with("Chunkgate")));
    }
    nobody.done(&upload).await.expect(401);
    nobody.delete(&upload).await.expect(401);
    nobody.send("OPTIONS", UPLOAD, &[], b"").await.expect(200);
    assert_eq!(alice.probe().await[0]["size"], 5);
    app.stop().await;
}

#[tokio::test]
async fn cancelled_is_cancelled() {
    let app = TestApp::start().await;
    let mut page = Page::of(app.user("alice"));
    let upload = id(&page.chunk("a.bin", (0, 4, 10), b"01234").await.expect(200));
    let json = named(&[("Accept", "application/json, text/javascript, */*; q=0.01")]);
    let deleted = page.send("DELETE", &format!("/chunked_uploads/{upload}/delete"), &json, b"").await.expect(200);
    assert_eq!(deleted.text, "{}");
    assert_eq!(app.stored(), []);
    page.delete(&upload).await.expect(410);
    page.done(&upload).await.expect(410);
    page.chunk("a.bin", (5, 9, 10), b"56789").await.expect(410);
    assert_eq!(page.probe().await, json!([]));
    page.delete("999999").await.expect(404);
    app.stop().await;
}

#[tokio::test]
async fn credentials_in_the_body_of_a_delete() {
    let app = TestApp::start().await;
    let alice = app.user("alice");
    let mut page = Page::of(alice.clone());
    let upload = id(&page.chunk("a.bin", (0, 4, 10), b"01234").await.expect(200));
    let proof = alice.proof().into_iter().zip(["api_key", "timestamp", "signature"]);
    let fields: Vec<_> = proof.map(|((_, value), name)| form::Part::field(name, &value)).collect();
    let (content_type, body) = form::urlencoded(&fields);
    let headers = named(&[("Content-Type", &content_type.expect("a form"))]);
    let path = format!("/chunked_uploads/{upload}/delete/");
    app.anonymous().send("DELETE", &path, &headers, b"api_key=x".to_vec()).await.expect(401);
    assert_eq!(app.anonymous().send("DELETE", &path, &headers, body).await.expect(200).text, "");
    app.stop().await;
}

#[tokio::test]
async fn a_broken_chunk_keeps_what_arrived() {
    use futures_util::StreamExt as _;
    let app = TestApp::start().await;
    let alice = app.user("alice");
    let mut page = Page::of(alice.clone());
    for first in [true, false] {
        let name = format!("{first}.bin");
        let content = noise(3, 400_000);
        let from = if first { 0 } else { 100_000 };
        if !first {
            page.chunk(&name, (0, 99_999, 400_000), &content[..100_000]).await.expect(200);
        }
        let mut headers = alice.proof();
        headers.extend(head(&name, (from, 399_999, 400_000)));
        headers.push(("Content-Length".into(), (400_000 - from).to_string()));
        let piece = content[from as usize..250_000].to_vec();
        let broken = futures_util::stream::once(async { Ok::<_, std::io::Error>(piece) }).chain(
            futures_util::stream::once(async {
                tokio::time::sleep(std::time::Duration::from_millis(300)).await;
                Err(std::io::Error::other("gone"))
            }),
        );
        let body = reqwest::Body::wrap_stream(broken);
        alice.try_send("POST", UPLOAD, &headers, body).await.expect_err("the connection broke");
        let mut probe = Value::Null;
        for _ in 0..100 {
            probe = page.send("GET", &format!("{UPLOAD}?file={name}"), &[], b"").await.expect(200).json();
            if probe["file"]["size"] == 250_000 {
                break;
            }
            tokio::time::sleep(std::time::Duration::from_millis(50)).await;
        }
        assert_eq!(probe["file"]["size"], 250_000, "first: {first}");
        let rest = page.chunk(&name, (250_000, 399_999, 400_000), &content[250_000..]).await.expect(200);
        page.done(&id(&rest)).await.expect(200);
        assert!(page.content(&id(&rest)).await == content);
    }
    app.stop().await;
}

#[tokio::test]
async fn names_as_clients_send_them() {
    let app = TestApp::start().await;
    let mut page = Page::without_cookies(app.user("alice"));
    for (sent, shown) in [
        ("attachment; filename=\"My%20Movie%20(1).mp4\"", "My Movie (1).mp4"),
        ("attachment; filename=\"%C3%89t%C3%A9;=.mp4\"", "Été;=.mp4"),
        ("attachment; filename=\"C:\\fake\\..%2Fa%00b%0D%0A.txt\"", "ab.txt"),
        ("attachment; filename=\"%E2%80%AEgpj.exe\"", "gpj.exe"),
        ("attachment; filename*=UTF-8''%C3%A9.bin", "é.bin"),
        ("attachment; filename=\"%ff\"", "\u{fffd}"),
    ] {
        let headers = named(&[("Content-Disposition", sent)]);
        let answer = page.send("POST", UPLOAD, &headers, b"012").await.expect(200);
        assert_eq!(answer.json()[0]["name"], shown, "{sent}");
    }
    for sent in ["attachment", "attachment; filename=\"\"", "attachment; filename=\"../\"", "filename=\"open"] {
        page.send("POST", UPLOAD, &named(&[("Content-Disposition", sent)]), b"012").await.expect(400);
    }
    page.send("POST", UPLOAD, &[], b"012").await.expect(400);
    let form = named(&[
        ("Content-Disposition", "attachment; filename=\"a\""),
        ("Content-Type", "multipart/form-data; boundary=x"),
    ]);
    page.send("POST", UPLOAD, &form, b"--x--").await.expect(400);
    app.stop().await;
}

#[tokio::test]
async fn the_older_dialect() {
    let app = TestApp::start().await;
    let mut page = Page::of(app.user("alice"));
    let headers = named(&[("X-File-Name", "%C3%A9.bin"), ("X-File-Size", "10")]);
    let first = page.send("POST", UPLOAD, &headers, b"01234").await.expect(200);
    assert_eq!((first.json()[0]["name"].clone(), size(&first)), (json!("é.bin"), 5));
    let last = page.send("POST", UPLOAD, &headers, b"56789").await.expect(200);
    assert_eq!((id(&first), size(&last)), (id(&last), 10));
    page.send("POST", UPLOAD, &headers, b"more than all of it").await.expect(400);
    page.done(&id(&last)).await.expect(200);
    assert_eq!(page.content(&id(&last)).await, b"0123456789");
    let whole = page.send("POST", UPLOAD, &named(&[("X-File-Name", "w"), ("X-File-Size", "3")]), b"012").await;
    assert_eq!(size(&whole.expect(200)), 3);
    app.stop().await;
}

#[tokio::test]
async fn the_probe_by_name() {
    let app = TestApp::start().await;
    let mut page = Page::without_cookies(app.user("alice"));
    let path = format!("{UPLOAD}?file=%C3%A9%20a.bin");
    assert_eq!(page.send("GET", &path, &[], b"").await.expect(200).json(), json!({"file": null}));
    page.chunk("%C3%A9%20a.bin", (0, 4, 10), b"01234").await.expect(200);
    page.chunk("b.bin", (0, 4, 10), b"01234").await.expect(200);
    let found = page.send("GET", &path, &[], b"").await.expect(200).json();
    assert_eq!((&found["file"]["name"], &found["file"]["size"]), (&json!("é a.bin"), &json!(5)));
    let mut bob = Page::of(app.user("bob"));
    assert_eq!(bob.send("GET", &path, &[], b"").await.expect(200).json(), json!({"file": null}));
    page.send("HEAD", &path, &[], b"").await.expect(200);
    app.stop().await;
}

#[tokio::test]
async fn nobody_in_particular_is_known_by_cookie_alone() {
    let app = TestApp::with(|config| config.auth.anonymous = true).await;
    let mut page = Page::of(app.anonymous());
    let upload = id(&page.chunk("a.bin", (0, 4, 10), b"01234").await.expect(200));
    let mut other = Page::of(app.anonymous());
    assert_eq!(other.probe().await, json!([]));
    assert_stands_at(&other.chunk("a.bin", (5, 9, 10), b"56789").await, 0);
    let found = other.send("GET", &format!("{UPLOAD}?file=a.bin"), &[], b"").await.expect(200);
    assert_eq!(found.json(), json!({"file": null}));
    assert_eq!(id(&page.chunk("a.bin", (5, 9, 10), b"56789").await.expect(200)), upload);
    assert_eq!(page.done(&upload).await.expect(200).json()[0]["state"], "COMPLETE");
    app.stop().await;
}

#[tokio::test]
async fn urls_and_cookies_follow_the_public_url() {
    let app = TestApp::with(|config| {
        config.server.public_url = Some("https://upload.example.org".into());
        config.raw.prefix = "/c".into();
    })
    .await;
    let alice = app.user("alice");
    let ask = async |site: &str, name: &str| {
        let mut headers = head(name, (0, 4, 10));
        headers.extend(named(&[("Sec-Fetch-Site", site)]));
        alice.send("POST", "/c/upload", &headers, b"01234".to_vec()).await.expect(200)
    };
    let far = ask("cross-site", "a").await;
    let upload = id(&far);
    let cookie = "Path=/; Max-Age=1209600; HttpOnly";
    let expected = format!("chunkgate_session={upload}; {cookie}; SameSite=None; Secure");
    assert_eq!(far.header("set-cookie"), Some(expected.as_str()));
    assert_eq!(far.json()[0]["url"], format!("https://upload.example.org/api/v1/uploads/{upload}/content"));
    assert_eq!(far.json()[0]["delete_url"], format!("https://upload.example.org/c/{upload}/delete/"));
    let near = ask("same-site", "b").await;
    let expected = format!("chunkgate_session={}; {cookie}; SameSite=Lax; Secure", id(&near));
    assert_eq!(near.header("set-cookie"), Some(expected.as_str()));
    app.stop().await;
}

#[tokio::test]
async fn a_chunk_sent_again_does_not_go_on_in_another_file_of_its_name_and_size() {
    let app = TestApp::start().await;
    let (mut one, mut other) = (Page::of(app.user("alice")), Page::of(app.user("alice")));
    let a = id(&one.chunk("f", (0, 9, 20), b"AAAAAAAAAA").await.expect(200));
    let b = id(&other.chunk("f", (0, 9, 20), b"BBBBBBBBBB").await.expect(200));
    assert_ne!(a, b);
    one.chunk("f", (10, 19, 20), b"AAAAAAAAAA").await.expect(200);
    let again = one.chunk("f", (10, 19, 20), b"AAAAAAAAAA").await.expect(200);
    assert_eq!((id(&again), size(&again)), (a.clone(), 20), "its answer was lost, no more");
    // Without a cookie the bytes tell.
    let again = Page::of(app.user("alice")).chunk("f", (10, 19, 20), b"AAAAAAAAAA").await.expect(200);
    assert_eq!(id(&again), a);
    other.chunk("f", (10, 19, 20), b"BBBBBBBBBB").await.expect(200);
    for (page, upload, content) in [(&mut one, &a, [b'A'; 20]), (&mut other, &b, [b'B'; 20])] {
        page.done(upload).await.expect(200);
        assert_eq!(page.content(upload).await, content);
    }
    app.stop().await;
}

#[tokio::test]
async fn done_compares_the_digest_that_the_page_names() {
    let app = TestApp::start().await;
    let alice = app.user("alice");
    let mut page = Page::of(alice.clone());
    let upload = id(&page.chunk("a.bin", (0, 9, 10), b"0123456789").await.expect(200));
    let path = format!("{UPLOAD}done/{upload}/");
    let done = async |digest: &str| alice.send("POST", &path, &named(&[("Repr-Digest", digest)]), Vec::new()).await;
    let (right, wrong) = ("md5=:eB5eJF1ptWaXm4bijSPyxw==:", "md5=:1B2M2Y8AsgTpgAmY7PhCfg==:");

    for (digest, detail) in [
        (wrong, "the md5 digest does not match"),
        ("sha-256=:hNiYd/DUBB77a/kaFvAkjy/Vc+avBcGflr7bn4gveII=:", "no sha256 digest is kept for this upload"),
        ("sha-256=:AAAA:", "Repr-Digest is malformed"),
        ("md5=nonsense", "Repr-Digest is malformed"),
    ] {
        assert_eq!(done(digest).await.expect(400).json()["detail"], detail, "{digest}");
    }
    assert_eq!(page.probe().await[0]["upload_uuid"], json!(upload), "nothing is destroyed");

    // Before and after completion alike, and without one as ever.
    for digest in [right, right, "unixsum=:AAAA:"] {
        let answer = done(digest).await.expect(200);
        assert_eq!(answer.json()[0]["state"], "COMPLETE");
        assert_eq!(answer.header("repr-digest"), Some(right));
    }
    assert_eq!(page.done(&upload).await.expect(200).header("repr-digest"), Some(right));
    done(wrong).await.expect(400);
    assert_eq!(page.content(&upload).await, b"0123456789");
    app.stop().await;
}
