//! Forged requests: a page of somebody else's makes a browser send what the browser knows of its user.

use chunkgate::{auth::Method, db};

use crate::{
    local::{PEPPER, add_user, keep_key, new_key, right},
    support::{Answer, TestApp, form},
};

type Pairs<'a> = &'a [(&'a str, &'a str)];

const EVIL: (&str, &str) = ("Origin", "https://evil.example");
const CROSS: (&str, &str) = ("Sec-Fetch-Site", "cross-site");
const LISTED: (&str, &str) = ("Origin", "https://app.example");

/// A service with the user ann, and her API key.
async fn service() -> (TestApp, String) {
    let app = TestApp::with(|config| {
        config.auth.methods = vec![Method::Signature, Method::ApiKey, Method::Basic];
        config.auth.pepper = PEPPER.into();
        config.cors.allowed_origins = vec![LISTED.1.into()];
    })
    .await;
    let stores = db::connect(&app.config.database, app.config.storage.local.durability).await.expect("connects");
    let ann = add_user(&stores, "ann", &app.clock).await;
    let (key, kept) = new_key(ann, &*app.clock);
    keep_key(&stores, &kept).await;
    stores.close().await;
    (app, format!("ApiKey ann:{}", key.reveal()))
}

async fn send(app: &TestApp, method: &str, path: &str, headers: Pairs<'_>, body: Vec<u8>) -> Answer {
    let headers: Vec<_> = headers.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
    app.anonymous().send_as_is(method, path, &headers, body).await
}

async fn chunk(app: &TestApp, proof: &str, more: Pairs<'_>) -> Answer {
    let (content_type, body) = form::multipart(&[form::Part::file("file", "test.bin", None, b"01234".to_vec())]);
    let content_type = content_type.expect("multipart");
    let headers = [&[("Authorization", proof), ("Content-Type", &content_type)], more].concat();
    send(app, "POST", "/chunked_upload/", &headers, body).await
}

#[tokio::test]
async fn a_password_does_not_act_for_the_page_of_somebody_else() {
    let (app, key) = service().await;
    let own = ("Origin", app.base.clone());
    let own = (own.0, &*own.1);
    let cases: [(Pairs, u16); 10] = [
        (&[], 200),
        (&[own], 200),
        (&[("Sec-Fetch-Site", "same-origin"), own], 200),
        (&[EVIL], 403),
        (&[("Origin", "null")], 403),
        (&[CROSS, EVIL], 403),
        (&[CROSS], 403),
        (&[("Sec-Fetch-Site", "same-site"), ("Origin", "http://127.0.0.1:1")], 403),
        (&[CROSS, LISTED], 200),
        (&[LISTED], 200),
    ];
    for (headers, status) in cases {
        let answer = chunk(&app, &right("ann"), headers).await;
        assert_eq!(answer.status, status, "{headers:?}: {}", answer.text);
        // No other credential travels by itself.
        chunk(&app, &key, headers).await.expect(200);
    }
    let app = app.restart(|config| config.cors.allow_credentials = false).await;
    chunk(&app, &right("ann"), &[LISTED]).await.expect(403);
    let app = app.restart(|config| config.server.public_url = Some("https://up.example".into())).await;
    chunk(&app, &right("ann"), &[("Origin", "https://up.example")]).await.expect(200);
    chunk(&app, &right("ann"), &[("Origin", "http://up.example")]).await.expect(403);
    app.stop().await;
}

#[tokio::test]
async fn every_door_refuses_and_nothing_is_judged() {
    let (app, _) = service().await;
    let wrong = "Basic YW5uOmd1ZXNz";
    let id = "0190f0d4-6f0e-4c32-9f5e-2f6d3a8f5b1c";
    let routes = [
        ("POST", "/chunked_upload/".to_owned()),
        ("POST", "/chunked_upload_complete/".to_owned()),
        ("POST", "/chunked_uploads/upload/".to_owned()),
        ("DELETE", "/chunked_uploads/upload/".to_owned()),
        ("POST", format!("/chunked_uploads/upload/done/{id}/")),
        ("DELETE", format!("/chunked_uploads/{id}/delete/")),
        ("DELETE", format!("/api/v1/uploads/{id}")),
    ];
    for (method, path) in &routes {
        for proof in [right("ann").as_str(), wrong, wrong] {
            let headers = [("Authorization", proof), CROSS, EVIL];
            let answer = send(&app, method, path, &headers, Vec::new()).await.expect(403);
            assert!(answer.text.contains("another origin"), "{method} {path}: {}", answer.text);
        }
    }
    let headers = [("Authorization", right("ann")), (CROSS.0, CROSS.1.into())];
    let headers: Vec<_> = headers.iter().map(|(name, value)| (*name, value.as_str())).collect();
    let answer = send(&app, "DELETE", &routes[6].1, &headers, Vec::new()).await;
    assert_eq!(answer.json()["code"], "cross_site_request");
    // More wrong passwords than an address has guesses, and none of them was one.
    send(&app, "GET", "/api/v1/uploads", &headers, Vec::new()).await.expect(200);
    assert_eq!(app.stored(), []);
    app.stop().await;
}
