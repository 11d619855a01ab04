//! The catalogue of errors as a test: every error of the core and of the gate, at every door, is what
//! `proto-docs/errors.md` says.

use axum::{http::StatusCode, response::IntoResponse as _};

use super::{
    multipart,
    problem::{Code, Problem},
    raw, tus,
};
use crate::{
    auth::AuthError,
    domain::{Timestamp, digest::Algorithm, principal::Scope, upload::Refusal},
    uploads::{BodyError, UploadError},
};

const DOCUMENT: &str = include_str!("../../proto-docs/errors.md");

fn of_the_gate() -> Vec<AuthError> {
    vec![
        AuthError::Missing,
        AuthError::Malformed(String::new()),
        AuthError::Ambiguous(String::new()),
        AuthError::Stale { server_time: Timestamp::UNIX_EPOCH },
        AuthError::Invalid,
        AuthError::TokenExpired,
        AuthError::Replayed,
        AuthError::SchemeNotAllowed,
        AuthError::Disabled,
        AuthError::CrossSite,
        AuthError::RateLimited { retry_after: std::time::Duration::from_secs(1) },
        AuthError::Unavailable { retry_after: std::time::Duration::from_secs(1) },
    ]
}

fn of_the_core() -> Vec<UploadError> {
    let algorithm = Algorithm::Md5;
    let refusals = [
        Refusal::Expired,
        Refusal::Cancelled,
        Refusal::Complete,
        Refusal::Joined,
        Refusal::Part,
        Refusal::NotAPart,
        Refusal::KeyReused,
        Refusal::Incomplete { offset: 0 },
        Refusal::WrongOffset { offset: 0 },
        Refusal::WrongSize { size: 0 },
        Refusal::BeyondSize { size: 0 },
        Refusal::TooLarge { max_bytes: 0 },
        Refusal::ChunkTooLarge { max_bytes: 0 },
        Refusal::OverQuota { left_bytes: 0 },
        Refusal::TooManyUploads { max_uploads: 0 },
        Refusal::TypeNotAllowed,
        Refusal::TooManyRequests { wait_seconds: 0 },
        Refusal::SlowDown { wait_seconds: 0 },
        Refusal::WrongLength,
        Refusal::WrongDigest { algorithm },
        Refusal::NoDigest { algorithm },
    ];
    let others = [
        UploadError::NotFound,
        UploadError::OutOfScope { scope: Scope::Create },
        UploadError::Forbidden,
        UploadError::Replayed,
        UploadError::NonceRequired,
        UploadError::Body(BodyError::TooSlow),
        UploadError::Body(BodyError::Disconnected),
        UploadError::Body(BodyError::Malformed(String::new())),
        UploadError::Body(BodyError::WrongDigest { algorithm }),
        UploadError::Full,
        UploadError::Busy,
        UploadError::Unavailable(String::new()),
        UploadError::ShuttingDown,
        UploadError::Internal(String::new()),
    ];
    refusals.into_iter().map(UploadError::Refused).chain(others).collect()
}

/// `Refused(WrongOffset { offset: 0 })` → `Refused(WrongOffset)`.
fn name(error: &impl std::fmt::Debug) -> String {
    let text = format!("{error:?}");
    let plain: String = text.split([' ', '{', '"']).next().unwrap_or_default().into();
    let plain = plain.trim_end_matches('(').to_owned();
    if plain.contains('(') && !plain.ends_with(')') { plain + ")" } else { plain }
}

/// Holds a row of the document against the code. `tus`: where that protocol has a status of its own.
fn check(name: &str, problem: Problem, multipart: StatusCode, raw: StatusCode, tus: Option<StatusCode>) {
    let (code, common) = (problem.code().name(), problem.into_response().status());
    let [problem, multipart, raw, tus] = [common, multipart, raw, tus.unwrap_or(common)].map(|status| status.as_u16());
    let expected = format!("| `{code}` | {problem} | {multipart} | {raw} | {tus} |");
    let row = DOCUMENT.lines().find(|row| row.starts_with(&format!("| `{name}` |")));
    let row = row.unwrap_or_else(|| panic!("proto-docs/errors.md has no row for `{name}`; it ends in {expected}"));
    assert!(row.ends_with(&expected), "proto-docs/errors.md: {row}\nshould end in {expected}");
}

#[test]
fn every_error_at_every_door_is_documented() {
    for error in of_the_gate() {
        let name = format!("Gate({})", name(&error));
        check(&name, Problem::from(&error), multipart::status_of_auth(&error), raw::status_of_auth(&error), None);
    }
    for error in of_the_core() {
        let (multipart, raw) = (multipart::status_of_upload(&error), raw::status_of_upload(&error));
        let tus = tus::own_status(&error);
        check(&name(&error), Problem::from(error), multipart, raw, tus);
    }
}

#[test]
fn every_code_is_documented() {
    for code in Code::ALL {
        assert!(DOCUMENT.contains(&format!("`{}`", code.name())), "proto-docs/errors.md lacks {}", code.name());
    }
}
