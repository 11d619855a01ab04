//! The conditions under which django-chunked-uploads lost, mixed up or doubled bytes, one test for each: its name says
//! the condition, its comment what the original makes of it.

use serde_json::json;

use super::{Page, UPLOAD, assert_stands_at, head, id, named, size};
use crate::support::{TestApp, noise};

async fn completed(page: &mut Page, upload: &str, content: &[u8]) {
    assert_eq!(page.done(upload).await.expect(200).json()[0]["state"], "COMPLETE");
    assert!(page.content(upload).await == content);
}

/// Put together as they came: COMPLETE, with `5555500000` for a file.
#[tokio::test]
async fn out_of_order() {
    let app = TestApp::start().await;
    let mut page = Page::of(app.user("alice"));
    assert_stands_at(&page.chunk("a.bin", (5, 9, 10), b"55555").await, 0);
    let upload = id(&page.chunk("a.bin", (0, 4, 10), b"00000").await.expect(200));
    page.chunk("a.bin", (5, 9, 10), b"55555").await.expect(200);
    completed(&mut page, &upload, b"0000055555").await;
    app.stop().await;
}

/// Counted twice: FAIL, and everything is deleted.
#[tokio::test]
async fn duplicate_chunk() {
    let app = TestApp::start().await;
    let mut page = Page::of(app.user("alice"));
    let upload = id(&page.chunk("a.bin", (0, 4, 10), b"01234").await.expect(200));
    for (range, bytes, stands) in [((0, 4, 10), b"01234", 5), ((5, 9, 10), b"56789", 10), ((5, 9, 10), b"56789", 10)] {
        let answer = page.chunk("a.bin", range, bytes).await.expect(200);
        assert_eq!((id(&answer), size(&answer)), (upload.clone(), stands));
    }
    completed(&mut page, &upload, b"0123456789").await;
    app.stop().await;
}

/// The body is the whole file, as here.
#[tokio::test]
async fn no_content_range() {
    let app = TestApp::start().await;
    let mut page = Page::of(app.user("alice"));
    let headers = named(&[("Content-Disposition", "attachment; filename=\"a.bin\"")]);
    let whole = page.send("POST", UPLOAD, &headers, b"0123456789").await.expect(200);
    assert_eq!((size(&whole), &whole.json()[0]["total_size"]), (10, &json!(10)));
    completed(&mut page, &id(&whole), b"0123456789").await;
    app.stop().await;
}

/// Later totals are ignored.
#[tokio::test]
async fn total_differs_between_chunks() {
    let app = TestApp::start().await;
    let mut page = Page::of(app.user("alice"));
    let upload = id(&page.chunk("a.bin", (0, 4, 10), b"01234").await.expect(200));
    for total in [11, 99, 10_000] {
        let refused = page.chunk("a.bin", (5, 9, total), b"56789").await.expect(400);
        assert_eq!(refused.json()["detail"], "the total length is 10 bytes");
    }
    page.chunk("a.bin", (5, 9, 10), b"56789").await.expect(200);
    completed(&mut page, &upload, b"0123456789").await;
    app.stop().await;
}

/// Accepted; done says FAIL and deletes everything.
#[tokio::test]
async fn more_bytes_than_total() {
    let app = TestApp::start().await;
    let mut page = Page::of(app.user("alice"));
    let upload = id(&page.chunk("a.bin", (0, 4, 10), b"01234").await.expect(200));
    page.chunk("a.bin", (5, 10, 10), b"56789a").await.expect(400);
    page.chunk("a.bin", (10, 10, 10), b"a").await.expect(400);
    page.chunk("a.bin", (5, 9, 10), b"56789a").await.expect(400);
    page.chunk("a.bin", (5, 9, 10), b"56789").await.expect(200);
    completed(&mut page, &upload, b"0123456789").await;
    app.stop().await;
}

/// A chunk of no bytes, and COMPLETE, as here.
#[tokio::test]
async fn empty_file() {
    let app = TestApp::start().await;
    let mut page = Page::of(app.user("alice"));
    let headers = named(&[("Content-Disposition", "attachment; filename=\"a.bin\"")]);
    let empty = page.send("POST", UPLOAD, &headers, b"").await.expect(200);
    assert_eq!((size(&empty), &empty.json()[0]["total_size"]), (0, &json!(0)));
    completed(&mut page, &id(&empty), b"").await;
    app.stop().await;
}

/// Harmless, as here.
#[tokio::test]
async fn zero_byte_final_chunk() {
    let app = TestApp::start().await;
    let mut page = Page::of(app.user("alice"));
    let upload = id(&page.chunk("a.bin", (0, 9, 10), b"0123456789").await.expect(200));
    let last = page.chunk("a.bin", (10, 9, 10), b"").await.expect(200);
    assert_eq!((id(&last), size(&last)), (upload.clone(), 10));
    completed(&mut page, &upload, b"0123456789").await;
    app.stop().await;
}

/// The short body is a chunk, and so it is here; `a_broken_chunk_keeps_what_arrived` does it to first and later chunks.
#[tokio::test]
async fn truncated_body() {
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    let app = TestApp::start().await;
    let alice = app.user("alice");
    let mut page = Page::of(alice.clone());
    let mut request = format!("POST {UPLOAD} HTTP/1.1\r\nHost: test\r\nContent-Length: 10\r\n");
    for (name, value) in alice.proof().into_iter().chain(head("a.bin", (0, 9, 10))) {
        request.push_str(&format!("{name}: {value}\r\n"));
    }
    let mut stream = tokio::net::TcpStream::connect(app.base.trim_start_matches("http://")).await.expect("connects");
    stream.write_all(format!("{request}\r\n01234").as_bytes()).await.expect("sent");
    stream.shutdown().await.expect("half closed");
    let mut rest = Vec::new();
    let _ = stream.read_to_end(&mut rest).await;
    let probe = page.probe().await;
    assert_eq!(probe[0]["size"], 5, "{}", String::from_utf8_lossy(&rest));
    let upload = id(&page.chunk("a.bin", (5, 9, 10), b"56789").await.expect(200));
    completed(&mut page, &upload, b"0123456789").await;
    app.stop().await;
}

/// Each chunk begins an upload of its own.
#[tokio::test]
async fn no_cookie_kept() {
    let app = TestApp::start().await;
    let mut page = Page::without_cookies(app.user("alice"));
    let upload = id(&page.chunk("a.bin", (0, 4, 10), b"01234").await.expect(200));
    assert_eq!(id(&page.chunk("a.bin", (5, 9, 10), b"56789").await.expect(200)), upload);
    assert_eq!(app.stored().len(), 1);
    completed(&mut page, &upload, b"0123456789").await;
    app.stop().await;
}

/// Sessions are read, changed and written without a lock: two first chunks begin two uploads, and chunks are lost or
/// doubled. Here first chunks may begin two as well, since neither can be seen by the other; what follows goes into one.
#[tokio::test(flavor = "multi_thread")]
async fn concurrency() {
    let app = TestApp::start().await;
    let content = noise(9, 200_000);
    let alice = app.user("alice");
    let first =
        id(&Page::of(alice.clone()).chunk("a.bin", (0, 99_999, 200_000), &content[..100_000]).await.expect(200));
    let rivals: Vec<_> = (0..16)
        .map(|_| {
            let (alice, bytes) = (alice.clone(), content[100_000..].to_vec());
            tokio::spawn(async move {
                Page::without_cookies(alice).chunk("a.bin", (100_000, 199_999, 200_000), &bytes).await
            })
        })
        .collect();
    for rival in rivals {
        let answer = rival.await.expect("no panic").expect(200);
        assert_eq!((id(&answer), size(&answer)), (first.clone(), 200_000), "all sent the same, and it is there");
    }
    assert_eq!(app.stored().len(), 1);
    completed(&mut Page::of(alice), &first, &content).await;
    app.stop().await;
}

/// A late chunk after the cancel makes an upload that nobody knows of.
#[tokio::test]
async fn late_chunk_after_delete() {
    let app = TestApp::start().await;
    for keeps_cookies in [true, false] {
        let mut page = Page { keeps: keeps_cookies, ..Page::of(app.user("alice")) };
        let upload = id(&page.chunk("a.bin", (0, 4, 10), b"01234").await.expect(200));
        page.delete(&upload).await.expect(200);
        page.chunk("a.bin", (5, 9, 10), b"56789").await.expect(410);
        assert_eq!((app.stored(), page.probe().await), (Vec::new(), json!([])));
    }
    app.stop().await;
}

/// The stem is made harmless, the extension is kept raw. Here no name from a client is part of a path.
#[tokio::test]
async fn path_traversal() {
    let app = TestApp::start().await;
    let mut page = Page::without_cookies(app.user("alice"));
    for (sent, shown) in [
        ("../../etc/passwd", "passwd"),
        ("..%2F..%2Fetc%2Fpasswd", "passwd"),
        ("..\\..\\boot.ini", "boot.ini"),
        ("/etc/cron.d/x.%2F..%2Fy", "y"),
        ("a%00.mp4/../b", "b"),
    ] {
        let answer = page.chunk(sent, (0, 2, 6), b"012").await.expect(200);
        assert_eq!(answer.json()[0]["name"], shown, "{sent}");
        let stored = app.stored();
        let own = |path: &std::path::PathBuf| path.ends_with(format!("partial/{}.part", id(&answer)));
        assert_eq!(stored.iter().filter(|(path, _)| own(path)).count(), 1, "{sent}: {stored:?}");
        page.delete(&id(&answer)).await.expect(200);
    }
    app.stop().await;
}
