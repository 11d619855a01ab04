//! What an identity server answers: an answer to the question that was asked, or none.

use axum::http::StatusCode;
use serde_json::Value;

use super::MARK;
use crate::auth::identity::{Answer, MAX_GROUPS, MAX_NAME_BYTES, Status, User, decoded};

const ASKED: &str = "q";

/// The first line is the status, the rest the body.
///
/// Who is active has an id and a name, under status 200, and in answer to this question; printed and read again, the
/// answer is the same. Why there is none repeats nothing of the body.
pub fn identity_answer(data: &[u8]) {
    let Some(at) = data.iter().position(|byte| *byte == b'\n') else { return };
    let (status, body) = (&data[..at], &data[at + 1..]);
    let Ok(status) = StatusCode::from_bytes(status) else { return };
    match decoded(status, body, ASKED) {
        Ok(answer) => judge(status, body, &answer),
        Err(error) => assert!(!format!("{error} {error:?}").contains(MARK), "{error}"),
    }
}

fn judge(status: StatusCode, body: &[u8], answer: &Answer) {
    // A field that nobody knows is passed over, even one whose text is broken.
    if let Ok(said) = serde_json::from_slice(body) {
        is_said(&said, answer);
    }
    if answer.status == Status::Active {
        assert_eq!(status, StatusCode::OK);
        acceptable(answer.user.as_ref().expect("an active user"));
    }
    assert!(answer.user.iter().all(|user| is_name(&user.id)));
    let printed = serde_json::to_vec(answer).expect("plain data");
    assert_eq!(decoded(status, &printed, ASKED).as_ref().ok(), Some(answer));
    assert!(decoded(status, &printed, "another").is_err(), "an answer to two questions");
}

fn is_said(said: &Value, answer: &Answer) {
    let word = match answer.status {
        Status::Active => "active",
        Status::Denied => "denied",
        Status::Unsupported => "unsupported",
    };
    assert_eq!((&said["version"], &said["request_id"]), (&"1".into(), &ASKED.into()));
    assert_eq!(said["status"], word);
    assert_ne!(said["code"], "service_unauthorized");
    assert_eq!(said["user"]["id"].as_str(), answer.user.as_ref().map(|user| &*user.id));
}

fn acceptable(user: &User) {
    assert!(is_name(&user.id) && is_name(&user.username));
    let groups = user.groups.value().into_iter().flatten();
    assert!(groups.clone().count() <= MAX_GROUPS);
    for text in groups.chain(user.email.value()).chain(user.display_name.value()) {
        assert!(!text.chars().any(char::is_control));
    }
}

fn is_name(text: &str) -> bool {
    text.len() <= MAX_NAME_BYTES && text.chars().any(|c| !c.is_whitespace()) && !text.chars().any(char::is_control)
}
