//! The embedded files: the browser client for pages of every origin, and the demo page beside it.

use crate::support::{Answer, TestApp};

const FOREIGN: &str = "https://elsewhere.example";

async fn get(app: &TestApp, path: &str, headers: &[(&str, &str)]) -> Answer {
    let headers: Vec<_> = headers.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
    app.anonymous().send("GET", path, &headers, Vec::new()).await
}

#[tokio::test]
async fn pages_of_any_origin_import_the_client() {
    let app = TestApp::start().await.restart_with_pages(chunkgate::http::pages::client()).await;
    for (path, content_type) in [
        ("/client/chunkgate.mjs", "text/javascript; charset=utf-8"),
        ("/client/digest-worker.mjs", "text/javascript; charset=utf-8"),
        ("/client/chunkgate.d.mts", "text/plain; charset=utf-8"),
        ("/client/chunkgate.css", "text/css; charset=utf-8"),
        ("/client/chunked_upload.html", "text/html; charset=utf-8"),
    ] {
        let answer = get(&app, path, &[("Origin", FOREIGN)]).await.expect(200);
        for (header, value) in [
            ("content-type", content_type),
            ("access-control-allow-origin", "*"),
            ("cross-origin-resource-policy", "cross-origin"),
            ("x-content-type-options", "nosniff"),
            ("cache-control", "no-cache"),
        ] {
            assert_eq!(answer.header(header), Some(value), "{path}");
        }
        let etag = answer.header("etag").expect("an etag");
        let known = get(&app, path, &[("Origin", FOREIGN), ("If-None-Match", etag)]).await.expect(304);
        assert_eq!(
            (known.header("etag"), known.header("access-control-allow-origin")),
            (Some(etag), Some("*")),
            "{path}"
        );
        get(&app, path, &[("If-None-Match", "\"another\"")]).await.expect(200);
    }
    get(&app, "/", &[]).await.expect(404);
    app.stop().await;
}

/// A module that is not served would be found by whoever imports it.
#[tokio::test]
async fn every_module_that_a_file_names_is_there() {
    let app = TestApp::start().await.restart_with_pages(chunkgate::http::pages::demo()).await;
    let mut paths = vec!["/".to_owned()];
    let mut at = 0;
    while let Some(path) = paths.get(at).cloned() {
        let text = get(&app, &path, &[]).await.expect(200).text;
        let names = text.split('"').skip(1).step_by(2).filter(|name| !name.contains([' ', '\n', '`']));
        let files = names.filter(|name| [".mjs", ".js", ".css", ".svg"].iter().any(|end| name.ends_with(end)));
        for name in files {
            let path = name.strip_prefix("./").map_or(name.to_owned(), |name| format!("/client/{name}"));
            if path.starts_with('/') && !paths.contains(&path) {
                paths.push(path);
            }
        }
        at += 1;
    }
    assert!(paths.len() > 15, "{paths:?}");
    app.stop().await;
}
