//! The original django-chunked-uploads.

use serde_json::{Value, json};

/// An upload as an answer shows it; `of` tells several of one scenario apart.
fn shown(name: &str, total: u64, of: &str, size: u64) -> Value {
    json!([{
        "name": name, "total_size": total, "upload_uuid": format!("{{uuid{of}}}"), "url": "{url}",
        "delete_type": "DELETE", "delete_url": format!("{{base}}/chunked_uploads/{{delete_id{of}}}/delete/"),
        "size": size,
    }])
}

/// What this service answers where the recording leaves the bettered answer open: `(scenario, step, answer)`.
fn settled(scenario: &str, step: usize) -> Option<Value> {
    let ok = |body: Value| Some(json!({"status": 200, "body": body}));
    let stands_at = |offset: u64| {
        Some(json!({"status": 409, "body": {"detail": format!("the upload stands at {offset}"), "offset": offset}}))
    };
    let failed = json!([{"state": "FAIL", "video_url": ""}]);
    match (scenario, step) {
        // Answered before authentication; what is granted to whom is tested in `cors`.
        ("cors-preflight" | "cors-preflight-with-authentication-wired", _) => Some(json!({"status": 204})),
        // The start of the last chunk, so that the page sends that one again and then calls done.
        ("probe-when-all-bytes-are-there", 1) => ok(shown("movie.mp4", 10, "", 0)),
        ("done-by-somebody-else", 2) => ok(shown("movie.mp4", 5, "", 0)),
        ("no-cookie", 2) => ok(shown("movie.mp4", 10, "", 5)),
        // The name and the total are those of a cancelled upload.
        ("after-delete", 5) => Some(json!({"status": 410, "body": {"detail": "the upload was cancelled"}})),
        ("out-of-order", 0) => stands_at(0),
        ("out-of-order", 1) => ok(shown("movie.mp4", 10, "", 5)),
        ("out-of-order", 2) => ok(failed),
        ("lying-totals", 1) => Some(json!({"status": 400, "body": {"detail": "the total length is 10 bytes"}})),
        ("lying-totals", 2) => Some(json!({"status": 400})),
        ("lying-totals", 3) => ok(failed),
        // A name without quotes is read; a form is no file, and its fields are no credentials here.
        ("bad-first-chunk", 1) => ok(shown("movie.mp4", 10, "", 5)),
        ("bad-first-chunk", 3) => Some(json!({"status": 401})),
        ("file-names", 0) => ok(shown("My Movie (1).mp4", 3, "_a", 3)),
        ("file-names", 1) => ok(shown("Été film.mp4", 3, "_b", 3)),
        ("file-names", 2) => ok(shown("a=b.mp4", 3, "_c", 3)),
        ("file-names", 3) => ok(shown("passwd", 3, "_d", 3)),
        // Decoded, it is the same name, with the same content: the same upload.
        ("file-names", 4) => ok(shown("passwd", 3, "_d", 3)),
        ("file-names", 5) => ok(shown(".bashrc", 3, "_e", 3)),
        ("file-names", 6) => ok(shown("%%%.mp4", 3, "_f", 3)),
        ("file-names", 7) => ok(shown("Foo-Bar Baz.tar.gz", 3, "_g", 3)),
        _ => None,
    }
}

#[tokio::test]
async fn every_recorded_scenario_is_answered() {
    let counted = super::replay(include_str!("../../fixtures/golden-raw.json"), settled).await;
    assert_eq!(counted, (32, 111), "the whole recording");
}
