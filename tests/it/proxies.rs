//! Behind proxies: whose word is believed about who sends a request, and what for. Every test's client is on loopback, and
//! speaks as a proxy would.

use chunkgate::{
    auth::Method,
    config::Config,
    domain::{
        Clock as _,
        message_signature::{Message, Terms, sign},
    },
};

use crate::support::{
    Answer, Caller, TestApp,
    identity::{Mode, Scripted},
};

type Pairs<'a> = &'a [(&'a str, &'a str)];

const FOR: &str = "X-Forwarded-For";
const PROTO: &str = "X-Forwarded-Proto";
const HOST: &str = "X-Forwarded-Host";
/// What nginx says with the lines of `proto-docs/operations.md`.
const NGINX: Pairs = &[(FOR, "192.0.2.1"), (PROTO, "https"), (HOST, "up.example:8443")];

fn trusting(proxies: &[&str]) -> impl FnOnce(&mut Config) {
    let proxies = proxies.iter().map(|text| text.parse().expect("a network")).collect();
    move |config| config.server.trusted_proxies = proxies
}

fn owned(pairs: Pairs<'_>) -> Vec<(String, String)> {
    pairs.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()
}

/// An upload of ten bytes at the tus door.
async fn begun(caller: &Caller, more: Pairs<'_>) -> Answer {
    let headers = [&[("Tus-Resumable", "1.0.0"), ("Upload-Length", "10")], more].concat();
    caller.send("POST", "/files/", &owned(&headers), Vec::new()).await
}

/// Where the upload lies, without its id.
fn below(answer: &Answer) -> &str {
    let location = answer.header("location").expect("a place");
    location.rsplit_once('/').expect("an id").0
}

/// A whole file at the raw door.
async fn raw(caller: &Caller, more: Pairs<'_>) -> Answer {
    let head = [("Content-Disposition", "attachment; filename=\"a.bin\""), ("Content-Range", "bytes 0-4/5")];
    caller.send("POST", "/chunked_uploads/upload/", &owned(&[&head, more].concat()), b"01234".to_vec()).await
}

#[tokio::test]
async fn nobody_is_believed_unless_it_is_a_trusted_proxy() {
    let identity = Scripted::start(&[Mode::Ok]).await;
    let app = TestApp::with(|config| config.identity.url = identity.url()).await;
    let app = app.restart(trusting(&["10.0.0.0/8", "127.0.0.2"])).await;
    let said = [NGINX, &[("Forwarded", "for=192.0.2.1;proto=https;host=up.example")]].concat();
    let made = begun(&app.user("ann"), &said).await.expect(201);
    assert_eq!(below(&made), format!("{}/files", app.base));
    let shown = raw(&app.user("ann"), &said).await.expect(200);
    assert!(shown.json()[0]["url"].as_str().is_some_and(|url| url.starts_with(&app.base)), "{}", shown.text);
    assert!(shown.header("set-cookie").is_some_and(|cookie| !cookie.contains("Secure")));
    let question = identity.asked()[0].question["request"].clone();
    assert_eq!([&question["client_ip"], &question["host"]], ["127.0.0.1", app.base.trim_start_matches("http://")]);
    app.stop().await;
}

#[tokio::test]
async fn the_identity_server_is_told_of_the_client_and_not_of_the_proxy() {
    let identity = Scripted::start(&[Mode::Ok]).await;
    let app = TestApp::with(|config| {
        config.identity.url = identity.url();
        trusting(&["127.0.0.1", "10.0.0.0/8"])(config);
    })
    .await;
    let own = app.base.trim_start_matches("http://").to_owned();
    let cases: [(Pairs, &str, &str); 8] = [
        (&[], "127.0.0.1", &own),
        (NGINX, "192.0.2.1", "up.example:8443"),
        (&[(FOR, "9.9.9.9, 192.0.2.1, 10.1.1.1")], "192.0.2.1", &own),
        (&[(FOR, "9.9.9.9"), (FOR, "[2001:db8::1]:4711")], "2001:db8::1", &own),
        (&[(FOR, "9.9.9.9, unknown, 10.1.1.1")], "10.1.1.1", &own),
        (&[(FOR, "nonsense")], "127.0.0.1", &own),
        (&[("Forwarded", "for=9.9.9.9, for=\"[2001:db8::1]\";host=up.example")], "2001:db8::1", "up.example"),
        (&[("Forwarded", "for=9.9.9.9;host=evil.example"), (FOR, "192.0.2.1")], "192.0.2.1", &own),
    ];
    for (at, (said, client, host)) in cases.into_iter().enumerate() {
        begun(&app.user(&format!("user-{at}")), said).await.expect(201);
        let question = identity.asked()[at].question["request"].clone();
        assert_eq!([&question["client_ip"], &question["host"]], [client, host], "{said:?}");
    }
    app.stop().await;
}

#[tokio::test]
async fn urls_lead_back_through_the_proxy() {
    let app = TestApp::with(trusting(&["127.0.0.0/8"])).await;
    let alice = app.user("alice");
    let own = app.base.trim_start_matches("http://").to_owned();
    let cases: [(Pairs, &str); 7] = [
        (NGINX, "https://up.example:8443"),
        (&[(PROTO, "https")], &format!("https://{own}")),
        (&[(HOST, "up.example")], "http://up.example"),
        (&[("Forwarded", "for=192.0.2.1;host=\"[2001:db8::1]:80\";proto=HTTPS")], "https://[2001:db8::1]:80"),
        // Two proxies, of which the outer one was asked.
        (&[(FOR, "192.0.2.1, 127.0.0.9"), (PROTO, "https, http"), (HOST, "up.example, inner")], "https://up.example"),
        // A client's own, to which the proxy adds.
        (
            &[(FOR, "9.9.9.9, 192.0.2.1"), (PROTO, "https, http"), (HOST, "evil.example, up.example")],
            "http://up.example",
        ),
        (&[(PROTO, "javascript"), (HOST, "up.example/\"><script>")], &app.base),
    ];
    for (said, base) in cases {
        assert_eq!(below(&begun(&alice, said).await.expect(201)), format!("{base}/files"), "{said:?}");
        let shown = raw(&alice, said).await.expect(200).json()[0].clone();
        for url in [&shown["url"], &shown["delete_url"]] {
            assert!(url.as_str().is_some_and(|url| url.starts_with(&format!("{base}/"))), "{said:?} {url}");
        }
        alice
            .send("DELETE", &format!("/api/v1/uploads/{}", shown["upload_uuid"].as_str().expect("an id")), &[], vec![])
            .await
            .expect(204);
    }
    let cookie = raw(&app.user("bob"), NGINX).await.expect(200).header("set-cookie").expect("a cookie").to_owned();
    assert!(cookie.ends_with("; Secure"), "{cookie}");
    app.stop().await;
}

#[tokio::test]
async fn what_is_set_goes_before_what_a_proxy_says() {
    let app = TestApp::with(trusting(&["127.0.0.1"])).await;
    let app = app.restart(|config| config.server.public_url = Some("https://files.example".into())).await;
    let said: Pairs = &[(FOR, "192.0.2.1"), (PROTO, "http"), (HOST, "up.example")];
    assert_eq!(below(&begun(&app.user("alice"), said).await.expect(201)), "https://files.example/files");
    app.stop().await;
}

/// A listing that is signed for `https://authority`.
async fn listing_for(app: &TestApp, authority: &str, nonce: &str, said: Pairs<'_>) -> Answer {
    let message =
        Message { method: "GET", scheme: "https", authority, path: "/api/v1/uploads", query: None, fields: &[] };
    let more = vec!["@target-uri".to_owned()];
    let terms = Terms { keyid: "alice-key".into(), created: app.clock.now(), nonce: Some(nonce.into()), more };
    let (input, value) = sign(b"alice-secret", &message, &terms).expect("signed");
    let mut headers = owned(said);
    headers.extend([("Signature-Input".to_owned(), input), ("Signature".to_owned(), value)]);
    app.anonymous().send_as_is("GET", "/api/v1/uploads", &headers, Vec::new()).await
}

#[tokio::test]
async fn a_signature_is_for_the_host_that_the_proxy_was_asked_for() {
    let app = TestApp::with(trusting(&["127.0.0.1"])).await;
    let said: Pairs = &[(FOR, "192.0.2.1"), (PROTO, "https"), (HOST, "up.example")];
    listing_for(&app, "up.example", "the-first-nonce", said).await.expect(200);
    listing_for(&app, "other.example", "the-second-nonce", said).await.expect(401);
    let app = app.restart(|config| config.server.trusted_proxies = Default::default()).await;
    listing_for(&app, "up.example", "the-third-nonce", said).await.expect(401);
    app.stop().await;
}

#[tokio::test]
async fn who_guesses_is_slowed_and_nobody_else_behind_the_same_proxy() {
    let app = TestApp::with(|config| {
        config.auth.methods = vec![Method::Basic];
        trusting(&["127.0.0.1"])(config);
    })
    .await;
    let guess = async |from: &str| {
        let headers = [("Authorization", "Basic bm9ib2R5Om5vdGhpbmc="), (FOR, from)];
        app.anonymous().send_as_is("GET", "/api/v1/uploads", &owned(&headers), Vec::new()).await.status
    };
    for at in 0..10 {
        // What the client itself says before it changes nothing.
        assert_eq!(guess(&format!("203.0.113.{at}, 192.0.2.1")).await, 401);
    }
    assert_eq!(guess("192.0.2.1").await, 429);
    assert_eq!(guess("192.0.2.2").await, 401);
    assert_eq!(guess("192.0.2.1, 192.0.2.2").await, 401);
    app.stop().await;
}
