//! The original django-chunked-upload.

use serde_json::{Value, json};

/// What this service answers where the recording leaves the bettered answer open: `(scenario, step, answer)`.
///
/// The last one is the only place where a kept answer is bettered: an md5 in upper case is the same md5.
fn settled(scenario: &str, step: usize) -> Option<Value> {
    match (scenario, step) {
        ("complete-too-early", 1) => {
            Some(json!({"status": 400, "body": {"detail": "Upload is not complete", "offset": 20}}))
        }
        ("total-changes-and-bytes-beyond-the-total", 1) => {
            Some(json!({"status": 400, "body": {"detail": "Total size does not match the first chunk's (25 bytes)"}}))
        }
        ("total-changes-and-bytes-beyond-the-total", 3) => Some(json!({"status": 400})),
        ("no-trailing-slash", 1) => Some(json!({"status": 404, "body": {"detail": "Not found"}})),
        ("unknown-and-foreign-id", 0 | 1 | 3 | 4) => Some(json!({"status": 404, "body": {"detail": "Not found"}})),
        ("complete-refused-then-right", 7) => Some(json!({"status": 200, "body": {}})),
        _ => None,
    }
}

#[tokio::test]
async fn every_recorded_scenario_is_answered() {
    let counted = super::replay(include_str!("../../fixtures/golden-multipart.json"), settled).await;
    assert_eq!(counted, (30, 126), "the whole recording");
}
